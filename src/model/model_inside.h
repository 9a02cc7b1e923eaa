/* The model, laid open to the files that make it up. */
#ifndef FOLIO_MODEL_MODEL_INSIDE_H
#define FOLIO_MODEL_MODEL_INSIDE_H

#include "model/model.h"
#include "model/weights.h"

/* Hold a model and its buffers. */
/* The numbers that describe a step, on the host or on the device. */
typedef struct indices {
    int64_t *slots;         /* (max_tokens)        */
    int32_t *tokens;        /* (max_tokens)        */
    int32_t *positions;     /* (max_tokens)        */
    int32_t *query_start;   /* (max_sequences + 1) */
    int32_t *prefill_start; /* (max_sequences + 1) of the prefill part alone */
    int32_t *length;        /* (max_sequences)     */
    int32_t *row;           /* (max_sequences)     */
} indices;

struct fo_model {
    fo_device *device;
    fo_gguf *gguf;
    fo_config config;
    fo_model_options bounds;
    fo_tokenizer *tokenizer;
    fo_weights *weights;

    indices host, step; /* step: the device's copy               */
    size_t index_bytes;
    float *frequency;      /* (rotary / 2)                        */
    float *stream;         /* (T, C)                              */
    float *narrow;         /* (T, C)                              */
    float *wide;           /* (T, (H + 2 K) D) or (T, 2 F)        */
    float *inner;          /* (T, H D) or (T, F)                  */
    float *logits;         /* (max_logits, V)                     */
    int32_t *logit_rows;   /* (max_logits)                        */
    fo_sampling *sampling; /* (max_sequences)                     */
    int32_t *drawn;        /* (max_sequences)                     */
    fo_workspace workspace;
    int last_tokens; /* T of the last pass, 0 if it failed  */
    int last_logits; /* rows of the last call for logits    */
};

/* Leave at the first failure. */
#define TRY(call)                                                              \
    do {                                                                       \
        fo_status status = (call);                                             \
        if (status != FO_OK)                                                   \
            return status;                                                     \
    } while (0)

#endif
