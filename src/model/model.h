/* A model: its weights on a device and the forward pass over them.
 *
 * Letters as in common/backend.h. The forward pass is that of "Phi-3 Technical
 * Report" (Abdin et al., 2024) and "Llama 2" (Touvron et al., 2023). */
#ifndef FOLIO_MODEL_MODEL_H
#define FOLIO_MODEL_MODEL_H

#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

typedef struct fo_model fo_model;

/* Say how much a model must be ready for. */
/* Upper bounds; 0 stands for the default. */
typedef struct fo_model_options {
    int context;       /* tokens of one sequence; default: the model's own */
    int max_tokens;    /* T of one forward pass; default: 512              */
    int max_sequences; /* N of one forward pass; default: 1                */
    int max_logits;    /* rows of one call for logits; default: N          */
} fo_model_options;

/* Describe one step over many sequences. */
/* T tokens of N sequences. Sequence n owns the tokens query_start[n] up to
 * query_start[n + 1], which are its last ones: it holds length[n] tokens, these
 * included. The arrays are the host's and are read before the call returns;
 * `kv` is the host's too, `table` the device's. */
typedef struct fo_batch {
    int T, N;
    const int32_t *tokens;      /* (T) ids in [0, V)                      */
    const int32_t *positions;   /* (T) below the context                  */
    const int64_t *slots;       /* (T) where their K and V go; -1 nowhere */
    const int32_t *query_start; /* (N + 1)                                */
    const int32_t *length;      /* (N)                                    */
    const int32_t *row;         /* (N) of the table                       */
    const int32_t *table;       /* (rows, max_blocks)                     */
    int max_blocks;
    const fo_kv *kv; /* (L) the cache of each layer            */
    int decodes;     /* the first `decodes` sequences own one token each and
                      * are attended by attention_decode, the others by
                      * attention_prefill. 0: all by attention_decode if all
                      * own one token, else none */
} fo_batch;

/* Declare the life of a model. */
/* Map the file and its weights, and take all memory that a step needs. `device`
 * must outlive the model. Errors: those of the file, its configuration, its
 * tokenizer and its weights; FO_LIMIT when the context asked for exceeds what
 * the model was made for; FO_NOMEM. */
fo_status fo_model_open(fo_device *device, const char *path,
                        const fo_model_options *options, fo_model **out,
                        fo_error *error);
void fo_model_close(fo_model **model);

/* `options` with no 0 left in them. FO_LIMIT as above. */
fo_status fo_model_settle(const fo_config *config,
                          const fo_model_options *options,
                          fo_model_options *bounds, fo_error *error);

/* What a model of these settled bounds takes of the device's memory, to the
 * byte, besides its weights. Takes nothing. */
uint64_t fo_model_bytes(fo_device *device, const fo_config *config,
                        const fo_model_options *bounds);

/* All borrowed; valid until the model is closed. */
const fo_config *fo_model_config(const fo_model *model);
const fo_gguf *fo_model_gguf(const fo_model *model);
const fo_tokenizer *fo_model_tokenizer(const fo_model *model);

/* The bounds in force, with no 0 left in them. */
const fo_model_options *fo_model_bounds(const fo_model *model);

/* Declare the forward pass. */
/* Run the tokens through all layers, writing their keys and values. What
 * follows the last layer is kept for fo_model_logits. FO_ARG: an id outside
 * [0, V); FO_DEVICE. */
fo_status fo_model_forward(fo_model *model, const fo_batch *batch,
                           fo_error *error);

/* The logits of `n` tokens of the last pass, given by their index in its batch.
 * *logits is device memory of the model, (n, V), until the next call. */
fo_status fo_model_logits(fo_model *model, const int32_t *rows /* (n) */, int n,
                          const float **logits, fo_error *error);

/* Draw a token from each of the first N rows of the last logits. FO_ARG:
 * settings out of range. FO_DEVICE: some logits yield no token; theirs is -1,
 * the others are drawn. Where the device itself fails, none is touched. */
fo_status fo_model_sample(fo_model *model,
                          const fo_sampling *sampling /* (N) */, int N,
                          int32_t *tokens /* (N) */, fo_error *error);

/* FO_ARG: settings out of range. */
fo_status fo_model_check_sampling(const fo_sampling *sampling, fo_error *error);

/* One token of each sequence of `steps`, whose arrays lie on the device and may
 * have been written by ops that have not ended yet: run steps->token through
 * all layers and draw into steps->drawn. Nothing is transferred, and nothing
 * waits. No steps->length exceeds `max_length`. FO_DEVICE. */
fo_status fo_model_decode(fo_model *model, const fo_steps *steps,
                          const fo_kv *kv /* (L) */, int max_length,
                          fo_error *error);

#endif
