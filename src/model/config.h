/* The numbers that make a model: read from the metadata, checked against each
 * other. Letters as in common/backend.h.
 *
 * Sources: the GGUF specification for the keys; "Phi-3 Technical Report" (Abdin
 * et al., 2024) and "LongRoPE" (Ding et al., 2024) for what they mean. */
#ifndef FOLIO_MODEL_CONFIG_H
#define FOLIO_MODEL_CONFIG_H

#include "common/backend.h"
#include "model/gguf.h"

typedef enum fo_arch {
    FO_ARCH_PHI3,
    FO_ARCH_LLAMA,
} fo_arch;

/* Describe a model by its numbers. */
typedef struct fo_config {
    fo_arch arch;
    int C, H, K, D, F, V, L;
    int context;          /* tokens the model was made for                   */
    int original_context; /* before longrope stretched it; else the same     */
    int rotary;           /* leading dimensions of a head that rotate, even  */
    fo_rope_style rope_style;
    float rope_base;
    float rope_attn_factor; /* scales cos and sin; 1 without longrope        */
    int window;             /* keys a query sees; 0: all                     */
    float epsilon;          /* of every rmsnorm                              */
} fo_config;

/* FO_UNKNOWN names a key that is missing, FO_FORMAT one whose value cannot be,
 * FO_UNSUPPORTED an architecture or a feature that Folio does not compute. */
fo_status fo_config_read(const fo_gguf *gguf, fo_config *config,
                         fo_error *error);

/* "phi3" or "llama": as the file spells it. */
const char *fo_arch_name(fo_arch arch);

/* Bytes of K and V that one token adds over all layers; f32, f16 or bf16. */
uint64_t fo_config_kv_bytes(const fo_config *config, fo_dtype dtype);

#endif
