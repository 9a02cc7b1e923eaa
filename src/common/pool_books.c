#include "common/pool_books.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* Check the invariant. */
enum { free_mark = -1 };

/* Mark the blocks of the stack. */
static fo_status mark_stack(const fo_pool_books *pool, fo_error *error)
{
    int32_t total = pool->total;
    if (total < 0 || total > pool->shape.num_blocks)
        return fo_fail(error, FO_DEVICE, "%d blocks in use of %d", total,
                       pool->shape.num_blocks);
    if (pool->free < 0 || pool->free > total)
        return fo_fail(error, FO_DEVICE, "a stack of %d for %d blocks",
                       pool->free, total);
    for (int32_t i = 0; i < pool->free; i++) {
        int32_t block = pool->stack[i];
        if (block < 0 || block >= total)
            return fo_fail(error, FO_DEVICE, "no block %d, yet it is free",
                           block);
        if (pool->tally[block] == free_mark)
            return fo_fail(error, FO_DEVICE, "block %d is free twice", block);
        pool->tally[block] = free_mark;
    }
    return FO_OK;
}

/* Tally the blocks of a row. */
static fo_status tally_row(const fo_pool_books *pool, int32_t row,
                           fo_error *error)
{
    const int32_t *entries =
        pool->table + (size_t)row * (size_t)pool->shape.max_blocks;
    int64_t first = pool->first[row], blocks = pool->blocks[row];
    int64_t length = pool->length[row], B = pool->shape.B;
    if (first < 0 || first * B > length || length > blocks * B ||
        blocks > pool->shape.max_blocks)
        return fo_fail(error, FO_DEVICE,
                       "row %d stores %" PRId64 " tokens in entries %" PRId64
                       " to %" PRId64,
                       row, length, first, blocks);
    for (int32_t i = 0; i < pool->shape.max_blocks; i++) {
        /* Tally one entry. */
        int32_t block = entries[i];
        bool inside = i >= first && i < blocks;
        if (inside ? block < 0 || block >= pool->total : block != -1)
            return fo_fail(error, FO_DEVICE, "row %d has block %d at entry %d",
                           row, block, i);
        if (!inside)
            continue;
        if (pool->tally[block] == free_mark)
            return fo_fail(error, FO_DEVICE,
                           "row %d holds block %d, which is free", row, block);
        pool->tally[block]++;
    }
    return FO_OK;
}

fo_status fo_pool_books_check(const fo_pool_books *pool, fo_error *error)
{
    int32_t all = pool->shape.num_blocks, *tally = pool->tally;
    memset(tally, 0, (size_t)all * sizeof(int32_t));
    fo_status status = mark_stack(pool, error);
    for (int32_t row = 0; row < pool->shape.max_rows && status == FO_OK; row++)
        status = tally_row(pool, row, error);
    for (int32_t block = 0; block < all && status == FO_OK; block++) {
        /* Compare a block's tally with its count. */
        int32_t holders = tally[block] == free_mark ? 0 : tally[block];
        if (tally[block] == 0 && block < pool->total)
            status = fo_fail(error, FO_DEVICE,
                             "block %d is lost: not free, held by none", block);
        else if (pool->count[block] != holders)
            status = fo_fail(error, FO_DEVICE,
                             "block %d counts %d holders and has %d", block,
                             pool->count[block], holders);
        else if (block >= pool->fresh && holders)
            status = fo_fail(error, FO_DEVICE, "fresh block %d is held", block);
    }
    return status;
}
