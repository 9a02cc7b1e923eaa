/* One golden in the making: the inputs of one op, as named tensors and words.
 *
 * Inputs are drawn from the seed by counter (Philox), so that the same case has
 * the same bits on every run. A case that cannot be made, for want of memory,
 * ends the program: only `folio golden` makes cases. */
#ifndef FOLIO_APP_GOLDEN_CASE_H
#define FOLIO_APP_GOLDEN_CASE_H

#include "common/safetensors.h"

#include <stdbool.h>

enum { GOLDEN_TENSORS = 24, GOLDEN_WORDS = 24 };

/* Describe a case that is being made. */
typedef struct golden_case {
    const char *name; /* of the file, without its suffix; a literal */
    fo_safetensor tensors[GOLDEN_TENSORS];
    int count;
    fo_metadata words[GOLDEN_WORDS];
    int word_count;
    uint64_t seed;
    uint64_t drawn; /* numbers taken from the seed so far */
} golden_case;

/* Declare the making of a case. */
/* A zeroed tensor of the case; `shape` has `rank` sizes, slowest first. */
void *golden_case_tensor(golden_case *made, const char *name, fo_dtype dtype,
                         int rank, const int64_t *shape);

/* A word of the case, as printf would write it. */
__attribute__((format(printf, 3, 4))) void
golden_case_word(golden_case *made, const char *key, const char *format, ...);

/* The next number of the case's seed, uniform in [-1, 1). */
float golden_case_draw(golden_case *made);

/* The next whole number of the case's seed, 0 <= n < below. */
int golden_case_choose(golden_case *made, int below);

/* Free what the case owns. */
void golden_case_close(golden_case *made);

/* The cases there are, made one at a time; false past the last. */
bool golden_case_make(int index, golden_case *made);

#endif
