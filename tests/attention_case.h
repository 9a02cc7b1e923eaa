/* A batch of sequences to attend over: made from a few numbers, laid out in a
 * device's memory so that nothing may be read or written by mistake. */
#ifndef FOLIO_TESTS_ATTENTION_CASE_H
#define FOLIO_TESTS_ATTENTION_CASE_H

#include "common/backend.h"
#include "naive_attention.h"

#include <stdbool.h>

enum { ATTENTION_CASE_SEQUENCES = 8 };

/* Describe a case by a few numbers. */
typedef struct attention_spec {
    int H, K, D;
    int B; /* of the paged layout; 0: one block a sequence */
    fo_dtype dtype;
    int window;
    int N;
    int lengths[ATTENTION_CASE_SEQUENCES];
    int queries[ATTENTION_CASE_SEQUENCES]; /* the last ones of each sequence */
    int padding; /* NaNs between the rows of q                      */
    float score; /* of a query with the key it is aimed at, 0: 12   */
    uint64_t seed;
} attention_spec;

typedef struct attention_case {
    attention_spec spec;
    fo_device *device;
    fo_attention attention; /* with arrays in host memory */
    int32_t query_start[ATTENTION_CASE_SEQUENCES + 1];
    int32_t length[ATTENTION_CASE_SEQUENCES];
    int L;    /* room for tokens in k and v               */
    float *q; /* (T, H, D), q_stride                      */
    float *k; /* (N, L, K, D), as the cache's type rounds */
    float *v; /* (N, L, K, D), the same                   */
} attention_case;

/* Declare what a case can do. */
attention_case *attention_case_open(fo_device *device,
                                    const attention_spec *spec);
void attention_case_close(attention_case **c);

/* T H D, the size of the output. */
size_t attention_case_values(const attention_case *c);

void attention_case_judge(const attention_case *c, double *out /* (T, H, D) */,
                          naive_slip slip);

/* Run attention_contiguous; fails the test unless it returns FO_OK and keeps to
 * its memory. */
void attention_case_contiguous(const attention_case *c,
                               float *out /* (T, H, D) */);

typedef struct attention_tally {
    int asked; /* cases that the grid names */
    int cases; /* cases that ran            */
    double worst;
} attention_tally;

/* Make a case, run it, over blocks if it has a size of block, and fail the test
 * unless the judge agrees. */
void attention_case_check(fo_device *device, const attention_spec *spec,
                          attention_tally *tally);

/* Fails the test if no case ran. */
void attention_tally_print(const attention_tally *tally, const char *what);

/* Declare the paged side of a case. */
/* Run a case over blocks that lie in a pool in a shuffled order, another one
 * for each number. attention_decode, unless `prefill` or some sequence has not
 * just one query. Blocks that no query sees have been given back: their table
 * entry is -1. */
void attention_case_paged(const attention_case *c, uint64_t order, bool prefill,
                          float *out /* (T, H, D) */);

/* The queries [first, first + count) of sequence n alone, as if the later
 * tokens had not come yet; no judge can look at it. Borrows from `c`; not to be
 * closed. */
attention_case attention_case_part(const attention_case *c, int n, int first,
                                   int count);

#endif
