/* The judge of attention: float64, loops that follow the definition, keys and
 * values in the order of the text. Independent of src/cpu. */
#ifndef FOLIO_TESTS_NAIVE_ATTENTION_H
#define FOLIO_TESTS_NAIVE_ATTENTION_H

#include "common/backend.h"

/* Mistakes the judge can make on purpose, to test the tests. */
typedef enum naive_slip {
    NAIVE_RIGHT,
    NAIVE_WINDOW_TOO_LONG,  /* sees the key W before its own       */
    NAIVE_WINDOW_TOO_SHORT, /* misses the oldest key of the window */
    NAIVE_KEY_TOO_MANY,     /* sees the key after its own          */
    NAIVE_KEY_TOO_FEW,      /* misses its own key                  */
    NAIVE_HEAD_BY_MODULO,   /* reads kv head h mod K               */
    NAIVE_UNSCALED,
    NAIVE_SLIPS,
} naive_slip;

/* Attention of a batch; the arrays of `attention` lie in host memory. Sequence
 * n has room for L tokens in k and v. */
void naive_attention(double *out /* (T, H, D) */,
                     const float *q /* (T, H, D), q_stride */,
                     const float *k /* (N, L, K, D) */,
                     const float *v /* (N, L, K, D) */, int L, int K, int D,
                     const fo_attention *attention, naive_slip slip);

/* Collect keys or values (`pool`, one of kv's two) that lie in blocks into rows
 * in the order of the text; without tables, block n is sequence n. Rows that no
 * block holds stay as they are. */
void naive_gather(float *rows /* (N, L, K, D) */, int L, const fo_kv *kv,
                  const void *pool, const fo_block_tables *tables,
                  const fo_attention *attention);

#endif
