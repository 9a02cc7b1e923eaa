/* The pool's bookkeeping once more, with nothing clever in it: lists that are
 * searched and moved, holders that are counted by looking. It judges the real
 * pools. */
#ifndef FOLIO_TESTS_NAIVE_POOL_H
#define FOLIO_TESTS_NAIVE_POOL_H

#include "common/backend.h"

#include <stdbool.h>

enum { naive_most_blocks = 64, naive_most_rows = 8, naive_most_entries = 16 };

typedef struct naive_row {
    int32_t length, first, blocks;
    int32_t entry[naive_most_entries];
} naive_row;

typedef struct naive_pool {
    fo_pool_shape shape;
    int total; /* blocks in use */
    int free_count;
    int32_t free_list[naive_most_blocks]; /* the next one to go comes first */
    naive_row rows[naive_most_rows];
    bool was_held[naive_most_blocks];
    fo_pool_stats stats; /* peak, allocations, reuses and illegal are kept */
} naive_pool;

void naive_pool_open(naive_pool *pool, const fo_pool_shape *shape);
fo_pool_grant naive_pool_extend(naive_pool *pool, fo_pool_request request);
void naive_pool_release(naive_pool *pool, fo_pool_keep keep);
void naive_pool_share(naive_pool *pool, fo_pool_fork fork);
bool naive_pool_resize(naive_pool *pool, int blocks);
fo_pool_stats naive_pool_stats(const naive_pool *pool);
int naive_pool_holders(const naive_pool *pool, int32_t block);

#endif
