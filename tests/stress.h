/* A long day of a block manager: sequences arrive, are attended to, fork and
 * leave, and after every step the books must be right.
 *
 * All that happens is drawn from the seed, and none of it from a clock: two
 * runs of one seed do the same, the longer one goes on where the other ends. */
#ifndef FOLIO_TESTS_STRESS_H
#define FOLIO_TESTS_STRESS_H

#include "common/backend.h"
#include "common/compare.h"
#include "stress_pace.h"

#include <stdbool.h>
#include <stdio.h>

/* Describe a day. */
/* Mistakes made on purpose, to test the test. */
typedef enum stress_plant {
    STRESS_HONEST,
    STRESS_LOSE_A_BLOCK,  /* a sequence leaves, but one block stays held */
    STRESS_LOSE_BYTES,    /* an allocation that is never given back      */
    STRESS_WRONG_SLOT,    /* one token goes to its neighbour's slot      */
    STRESS_FORGET_A_COPY, /* a fork writes where its parent reads        */
    STRESS_PLANTS,
} stress_plant;

typedef struct stress_options {
    const fo_backend *backend;
    int blocks, B, heads, D; /* as many kv heads as heads, one layer */
    fo_dtype dtype;
    int fewest, most;      /* sequences at once   */
    int shortest, longest; /* tokens of one       */
    int round;             /* steps from one plan of the house to the next */
    uint64_t seed;
    double seconds;         /* to run; or with 0   */
    int64_t steps;          /* so many steps       */
    int judge_every;        /* steps               */
    fo_tolerance tolerance; /* of a judged result  */
    stress_plant plant;
    FILE *progress; /* a line a minute; null: none */
    FILE *series;   /* a line a slice, as CSV; null: none */
} stress_options;

/* The true head shape: 32 heads of 128, 1000 blocks of 16, 10 to 50 sequences
 * of 64 to 512 tokens, on the CPU. */
stress_options stress_true_shape(void);

/* Tell how a day went. */
typedef struct stress_result {
    int64_t steps, arrived, refused, forked, left;
    int64_t prefilled, decoded; /* tokens                               */
    int64_t judged;             /* results held against the judge       */
    double worst;               /* error among them                     */
    double attended;            /* bytes of K and V                     */
    int32_t peak;               /* blocks                               */
    double utilisation;         /* tokens stored to slots held, the mean */
    double metadata;            /* bytes of it to bytes of K and V      */
    double reuse_rate;
    uint64_t digest; /* of what was done and which blocks it got       */
    stress_pace pace;
    char trouble[512]; /* what went wrong first, in words */
} stress_result;

/* Whether it went well. */
bool stress_run(const stress_options *options, stress_result *result);

#endif
