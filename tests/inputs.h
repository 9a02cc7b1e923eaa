/* What the tests feed to the ops: the same bits on every machine, chosen so
 * that a wrong kernel cannot give a right answer by luck. */
#ifndef FOLIO_TESTS_INPUTS_H
#define FOLIO_TESTS_INPUTS_H

#include "common/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n values, uniform in [low, high). */
void fill_uniform(float *x, size_t n, float low, float high, uint64_t seed,
                  uint64_t stream);

/* n values of mean 0 and variance 1 (the sum of twelve uniforms less 6). */
void fill_normal(float *x, size_t n, uint64_t seed, uint64_t stream);

/* Values for attention: each row has a mean of its own between 0.5 and 1.5, so
 * that an average over rows neither tends to zero nor forgets its weights. */
void fill_values(float *v /* (rows, D) */, size_t rows, size_t D, uint64_t seed,
                 uint64_t stream);

/* A query whose score q k / sqrt(D) with this key is `score`. Against a normal
 * key of another token the score has mean 0 and deviation score / sqrt(D). */
void aim_query(float *q /* (D) */, const float *key /* (D) */, size_t D,
               float score);

/* Bytes 0xff: NaN as f32, f16 and bf16, -1 as an integer. */
void poison(void *data, size_t bytes);

/* Device memory between two strips of guard bytes. The inside starts poisoned.
 * Each function fails the cmocka test if the device does. */
typedef struct guarded {
    fo_device *device;
    void *data; /* (bytes), device memory aligned to 64 */
    size_t bytes;
    void *whole;
} guarded;

guarded guarded_open(fo_device *device, size_t bytes);

/* The same, holding a copy of host memory. */
guarded guarded_copy(fo_device *device, const void *host, size_t bytes);

/* Copy the inside to the host. */
void guarded_read(const guarded *g, void *host);

/* Whether no guard byte has changed. */
bool guarded_intact(const guarded *g);

/* Fail the test if a guard byte has changed; give the memory back. */
void guarded_close(guarded *g);

#endif
