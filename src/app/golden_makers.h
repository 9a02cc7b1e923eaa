/* The makers of golden inputs, one an op. Each adds to `made` the tensors and
 * words that its op takes, with the sizes of `spec`. */
#ifndef FOLIO_APP_GOLDEN_MAKERS_H
#define FOLIO_APP_GOLDEN_MAKERS_H

#include "app/golden_case.h"
#include "common/backend.h"

/* The longest row that a maker draws, and the most that one of attention deals:
 * blocks, and numbers in all of its keys. */
enum { GOLDEN_COLUMNS = 256, GOLDEN_BLOCKS = 128, GOLDEN_KEYS = 1 << 18 };

/* Describe a row of the table of cases. */
typedef struct golden_spec {
    const char *name;
    const char *op;
    fo_dtype dtype; /* of weights or of the cache */
    int T, C, R, H, K, D, B, V;
    int longest; /* tokens of the longest sequence */
    int window;
    int rotary;
    fo_rope_style style;
} golden_spec;

/* A case of any sizes; false if `op` names no maker. */
bool golden_case_of(const golden_spec *spec, uint64_t seed, golden_case *made);

void golden_make_embed(golden_case *made, const golden_spec *spec);
void golden_make_rmsnorm(golden_case *made, const golden_spec *spec);
void golden_make_linear(golden_case *made, const golden_spec *spec);
void golden_make_add(golden_case *made, const golden_spec *spec);
void golden_make_silu_mul(golden_case *made, const golden_spec *spec);
void golden_make_gather_rows(golden_case *made, const golden_spec *spec);
void golden_make_rope(golden_case *made, const golden_spec *spec);
void golden_make_kv_write(golden_case *made, const golden_spec *spec);
void golden_make_kv_copy(golden_case *made, const golden_spec *spec);
void golden_make_attention(golden_case *made, const golden_spec *spec);
void golden_make_sample(golden_case *made, const golden_spec *spec);
void golden_make_pool(golden_case *made, const golden_spec *spec);

#endif
