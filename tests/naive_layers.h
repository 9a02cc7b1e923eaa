/* The ops of a layer in float64, one value at a time, sharing no code with
 * src/cpu: not even the reading of stored weights. */
#ifndef FOLIO_TESTS_NAIVE_LAYERS_H
#define FOLIO_TESTS_NAIVE_LAYERS_H

#include "common/backend.h"

/* Value (r, c) of a stored matrix. */
double naive_weight(const fo_weight *weight, int r, int c);

void naive_embed(double *out /* (T, C) */, const int32_t *tokens /* (T) */,
                 const fo_weight *table /* (V, C) */, int T);
void naive_rmsnorm(double *out /* (T, C) */, const float *x /* (T, C) */,
                   const float *weight /* (C) */, int T, int C, double epsilon);
void naive_linear(double *out /* (T, R) */, const float *x /* (T, C) */,
                  const fo_weight *weight, int T);
void naive_add(double *out, const float *x, const float *y, size_t n);
void naive_silu_mul(double *out /* (T, F) */, const float *gate,
                    const float *up, int T, int F, int stride);
/* All of x, the floats between tokens included: (T, stride). */
void naive_rope(double *out, const float *x, const fo_rope *rope);

#endif
