#include "naive_pool.h"

#include <string.h>

/* Judge: open. */
void naive_pool_open(naive_pool *pool, const fo_pool_shape *shape)
{
    memset(pool, 0, sizeof *pool);
    pool->shape = *shape;
    pool->free_count = pool->total = shape->num_blocks;
    for (int i = 0; i < shape->num_blocks; i++)
        pool->free_list[i] = i;
    for (int r = 0; r < shape->max_rows; r++)
        for (int i = 0; i < naive_most_entries; i++)
            pool->rows[r].entry[i] = -1;
}

static bool has_row(const naive_pool *pool, int32_t row)
{
    return row >= 0 && row < pool->shape.max_rows;
}

/* Judge: count holders by looking. */
int naive_pool_holders(const naive_pool *pool, int32_t block)
{
    int holders = 0;
    for (int r = 0; r < pool->shape.max_rows; r++)
        for (int i = 0; i < naive_most_entries; i++)
            holders += pool->rows[r].entry[i] == block;
    return holders;
}

/* Judge: move blocks between the list and the rows. */
static int32_t remove_first(naive_pool *pool)
{
    int32_t block = pool->free_list[0];
    pool->free_count--;
    memmove(pool->free_list, pool->free_list + 1,
            (size_t)pool->free_count * sizeof(int32_t));
    pool->stats.allocations++;
    pool->stats.reuses += pool->was_held[block];
    pool->was_held[block] = true;
    return block;
}

static void insert_first_unless_held(naive_pool *pool, int32_t block)
{
    if (naive_pool_holders(pool, block) > 0)
        return;
    memmove(pool->free_list + 1, pool->free_list,
            (size_t)pool->free_count * sizeof(int32_t));
    pool->free_list[0] = block;
    pool->free_count++;
}

/* Judge: extend. */
fo_pool_grant naive_pool_extend(naive_pool *pool, fo_pool_request request)
{
    fo_pool_grant grant = {-1, -1, -1, -1};
    int32_t B = pool->shape.B, copy = -1, wanted = 0;
    naive_row *row =
        has_row(pool, request.row) ? &pool->rows[request.row] : NULL;
    if (!row || request.length < row->length || request.room < request.length) {
        pool->stats.illegal++;
        return grant;
    }
    /* Judge: ask of every new position whose block it would lie in. */
    int32_t end = row->blocks;
    for (int32_t p = row->length; p < request.room; p++) {
        if (p / B >= end) {
            wanted++;
            end = p / B + 1;
        } else if (p / B < row->blocks &&
                   naive_pool_holders(pool, row->entry[p / B]) > 1 &&
                   copy < 0) {
            wanted++;
            copy = p / B;
        }
    }
    grant.wanted = wanted;
    if (request.room > pool->shape.max_blocks * B || wanted > pool->free_count)
        return grant;
    /* Judge: grant it. */
    grant.granted = wanted;
    row->length = request.length;
    if (copy >= 0) {
        grant.copy_from = row->entry[copy];
        grant.copy_to = row->entry[copy] = remove_first(pool);
    }
    while (row->blocks < end)
        row->entry[row->blocks++] = remove_first(pool);
    int32_t held = pool->total - pool->free_count;
    pool->stats.peak = held > pool->stats.peak ? held : pool->stats.peak;
    return grant;
}

/* Judge: release. */
void naive_pool_release(naive_pool *pool, fo_pool_keep keep)
{
    int32_t B = pool->shape.B;
    naive_row *row = has_row(pool, keep.row) ? &pool->rows[keep.row] : NULL;
    bool all = keep.first == 0 && keep.length == 0 && keep.room == 0;
    if (!row || keep.first < 0 || keep.first > keep.length ||
        keep.length > row->length || keep.length > keep.room ||
        (keep.length < row->first * B && !all)) {
        pool->stats.illegal++;
        return;
    }
    for (int32_t i = naive_most_entries - 1; i >= 0; i--) {
        int32_t block = row->entry[i];
        bool kept = i >= keep.first / B && (int64_t)i * B < keep.room;
        if (block < 0 || kept)
            continue;
        row->entry[i] = -1;
        insert_first_unless_held(pool, block);
    }
    /* Judge: see where the row now begins and ends. */
    row->length = keep.length;
    if (row->first < keep.first / B)
        row->first = keep.first / B;
    while (row->blocks > row->first && row->entry[row->blocks - 1] < 0)
        row->blocks--;
    if (all)
        row->first = row->blocks = 0;
}

/* Judge: share. */
void naive_pool_share(naive_pool *pool, fo_pool_fork fork)
{
    int32_t B = pool->shape.B;
    bool legal = has_row(pool, fork.from) && has_row(pool, fork.to);
    const naive_row *from = legal ? &pool->rows[fork.from] : NULL;
    naive_row *to = legal ? &pool->rows[fork.to] : NULL;
    if (!legal || to->length != 0 || to->blocks != 0 || fork.length < 0 ||
        fork.length > from->length || fork.length < from->first * B) {
        pool->stats.illegal++;
        return;
    }
    to->length = fork.length;
    to->first = to->blocks = from->first;
    for (int32_t i = from->first; i * B < fork.length; i++)
        to->entry[to->blocks++] = from->entry[i];
}

/* Judge: resize. */
bool naive_pool_resize(naive_pool *pool, int blocks)
{
    if (blocks < 0 || blocks > pool->shape.num_blocks)
        return false;
    for (int block = blocks; block < pool->shape.num_blocks; block++)
        if (naive_pool_holders(pool, block) > 0)
            return false;
    int kept = 0;
    for (int i = 0; i < pool->free_count; i++)
        if (pool->free_list[i] < blocks)
            pool->free_list[kept++] = pool->free_list[i];
    for (int block = pool->total; block < blocks; block++)
        pool->free_list[kept++] = block;
    pool->free_count = kept;
    pool->total = blocks;
    return true;
}

/* Judge: statistics. */
fo_pool_stats naive_pool_stats(const naive_pool *pool)
{
    int32_t holders[naive_most_blocks] = {0}, tokens[naive_most_blocks] = {0};
    fo_pool_stats stats = pool->stats;
    stats.total = pool->total;
    stats.free = pool->free_count;
    for (int r = 0; r < pool->shape.max_rows; r++)
        for (int i = 0; i < pool->shape.max_blocks; i++) {
            const naive_row *row = &pool->rows[r];
            int32_t block = row->entry[i], k = 0;
            if (block < 0)
                continue;
            holders[block]++;
            while (k < pool->shape.B && i * pool->shape.B + k < row->length)
                k++;
            tokens[block] = k > tokens[block] ? k : tokens[block];
        }
    for (int block = 0; block < pool->shape.num_blocks; block++) {
        stats.held += holders[block] > 0;
        stats.highest = holders[block] > 0 ? block + 1 : stats.highest;
        stats.shared += holders[block] > 1;
        stats.tokens += (uint64_t)tokens[block];
    }
    return stats;
}
