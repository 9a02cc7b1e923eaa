/* The CPU's pool, laid open: for pool.c, and for tests that break it on
 * purpose. Words and rules: common/backend.h. */
#ifndef FOLIO_CPU_POOL_H
#define FOLIO_CPU_POOL_H

#include "common/backend.h"

/* A block is fresh until it is first handed out. The stack starts with block 0
 * on top and all blocks fresh; what is pushed later lies above the fresh ones,
 * and what comes into use beneath them, so that the fresh blocks are always
 * those from `fresh` up. */
struct fo_pool {
    fo_pool_shape shape;
    int32_t total; /* blocks in use: 0 .. total - 1              */
    int32_t free;  /* depth of the stack                         */
    int32_t fresh; /* the lowest block never handed out          */
    int32_t peak;  /* most ever held                             */
    uint64_t allocations;
    uint64_t illegal;
    size_t bytes;    /* of the one piece of memory all arrays share */
    int32_t *table;  /* (max_rows, max_blocks), where it begins     */
    int32_t *length; /* (max_rows)                                  */
    int32_t *first;  /* (max_rows)                                  */
    int32_t *blocks; /* (max_rows)                                  */
    int32_t *count;  /* (num_blocks)                                */
    int32_t *stack;  /* (num_blocks), the top at free - 1           */
    int32_t *tally;  /* (num_blocks), scratch of stats and check    */
};

#endif
