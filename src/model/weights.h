/* A model's tensors, found by name, checked against the configuration, and
 * mapped into a device in the type in which the file stores them. */
#ifndef FOLIO_MODEL_WEIGHTS_H
#define FOLIO_MODEL_WEIGHTS_H

#include "common/backend.h"
#include "model/config.h"
#include "model/gguf.h"

/* Name the weights of one layer. */
/* Weights that an architecture does not have are null (data null). Norms are
 * float32 in the device's memory. */
typedef struct fo_layer_weights {
    const float *attn_norm; /* (C) */
    fo_weight qkv;          /* Phi-3: ((H + 2 K) D, C), all Q, all K, all V */
    fo_weight q;            /* Llama: (H D, C) */
    fo_weight k;            /* Llama: (K D, C) */
    fo_weight v;            /* Llama: (K D, C) */
    fo_weight attn_out;     /* (C, H D) */
    const float *ffn_norm;  /* (C) */
    fo_weight gate_up;      /* Phi-3: (2 F, C), gate first */
    fo_weight gate;         /* Llama: (F, C) */
    fo_weight up;           /* Llama: (F, C) */
    fo_weight down;         /* (C, F) */
} fo_layer_weights;
/* Name the weights of a model. */

typedef struct fo_weights {
    fo_weight embedding;      /* (V, C) */
    fo_weight output;         /* (V, C); the embedding itself when tied */
    const float *output_norm; /* (C), device memory */
    /* Each frequency of RoPE is divided by its factor; null: by 1. In host
     * memory, borrowed from the file. `rope_long` serves a context beyond the
     * original one, `rope_short` any other; Llama's single list is both. */
    const float *rope_long;   /* (rotary / 2) */
    const float *rope_short;  /* (rotary / 2) */
    fo_layer_weights *layers; /* (L) */
    int L;
    fo_device *device;
    const void **mapped; /* every pointer that map returned */
    int mapped_count;
} fo_weights;

/* Bytes of tensor data that opening will map: what it will ask of a device that
 * does not compute in host memory. Read from the file's descriptions alone. */
uint64_t fo_weights_bytes(const fo_gguf *gguf);

/* `device` and `gguf` must outlive the weights. FO_UNKNOWN: a tensor is
 * missing; FO_FORMAT: it has another shape than the configuration says;
 * FO_UNSUPPORTED: its type is none that Folio computes, or the file holds a
 * tensor (a bias, say) that this architecture does not have; and whatever the
 * device's map returns. */
fo_status fo_weights_open(fo_device *device, const fo_gguf *gguf,
                          const fo_config *config, fo_weights **out,
                          fo_error *error);
void fo_weights_close(fo_weights **weights);

#endif
