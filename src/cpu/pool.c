#include "cpu/pool.h"
#include "common/memory.h"
#include "common/pool_books.h"
#include "cpu/cpu.h"

#include <stdbool.h>
#include <string.h>

/* Measure the pool. */
size_t cpu_pool_bytes(fo_device *device, const fo_pool_shape *shape)
{
    (void)device;
    size_t rows = (size_t)shape->max_rows, total = (size_t)shape->num_blocks;
    size_t entries = rows * (size_t)shape->max_blocks;
    return (entries + 3 * rows + 3 * total) * sizeof(int32_t);
}

/* Open and close the pool. */
fo_status cpu_pool_open(fo_device *device, const fo_pool_shape *shape,
                        fo_pool **out, fo_error *error)
{
    *out = NULL;
    if (shape->num_blocks < 1 || shape->B < 1 || shape->max_rows < 1 ||
        shape->max_blocks < 1)
        return fo_fail(error, FO_ARG,
                       "a pool of %d blocks of %d tokens, %d rows of %d blocks",
                       shape->num_blocks, shape->B, shape->max_rows,
                       shape->max_blocks);
    fo_pool *pool = fo_memory_alloc(1, sizeof *pool, error);
    if (!pool)
        return FO_NOMEM;
    pool->shape = *shape;
    /* Lay out the arrays in one piece of memory. */
    size_t entries = (size_t)shape->max_rows * (size_t)shape->max_blocks;
    size_t rows = (size_t)shape->max_rows, total = (size_t)shape->num_blocks;
    void *memory;
    pool->bytes = cpu_pool_bytes(device, shape);
    fo_status status = cpu_alloc(device, pool->bytes, &memory, error);
    if (status != FO_OK) {
        fo_memory_free(pool);
        return status;
    }
    pool->table = memory;
    pool->length = pool->table + entries;
    pool->first = pool->length + rows;
    pool->blocks = pool->first + rows;
    pool->count = pool->blocks + rows;
    pool->stack = pool->count + total;
    pool->tally = pool->stack + total;
    /* Start with every row empty and every block free. */
    memset(pool->table, -1, entries * sizeof(int32_t));
    memset(pool->length, 0, (3 * rows + total) * sizeof(int32_t));
    for (int32_t i = 0; i < shape->num_blocks; i++)
        pool->stack[i] = shape->num_blocks - 1 - i;
    pool->free = pool->total = shape->num_blocks;
    *out = pool;
    return FO_OK;
}

void cpu_pool_close(fo_device *device, fo_pool **pool)
{
    if (!*pool)
        return;
    cpu_free(device, (*pool)->table);
    fo_memory_free(*pool);
    *pool = NULL;
}

/* Take a block off the stack, or put one back. */
static int32_t take(fo_pool *pool)
{
    int32_t block = pool->stack[--pool->free];
    pool->count[block] = 1;
    pool->fresh += block == pool->fresh;
    pool->allocations++;
    return block;
}

static void drop(fo_pool *pool, int32_t block)
{
    if (--pool->count[block] == 0)
        pool->stack[pool->free++] = block;
}

/* Find what a row has. */
static bool known(const fo_pool *pool, int32_t row)
{
    return row >= 0 && row < pool->shape.max_rows;
}

static int32_t *entries_of(const fo_pool *pool, int32_t row)
{
    return pool->table + (size_t)row * (size_t)pool->shape.max_blocks;
}

/* Blocks that hold `tokens` tokens. */
static int32_t blocks_for(const fo_pool *pool, int32_t tokens)
{
    return tokens / pool->shape.B + (tokens % pool->shape.B != 0);
}

/* The entry of a shared block that positions from `length` up begin inside, or
 * -1. */
static int32_t shared_entry(const fo_pool *pool, int32_t row)
{
    int32_t length = pool->length[row], entry = length / pool->shape.B;
    if (length % pool->shape.B == 0 ||
        pool->count[entries_of(pool, row)[entry]] == 1)
        return -1;
    return entry;
}

/* Extend one row. */
static void extend(fo_pool *pool, const fo_pool_request *request,
                   fo_pool_grant *grant)
{
    int32_t row = request->row;
    *grant = (fo_pool_grant){-1, -1, -1, -1};
    if (!known(pool, row) || request->length < pool->length[row] ||
        request->room < request->length) {
        pool->illegal++;
        return;
    }
    /* Count the blocks the request wants. */
    int32_t have = pool->blocks[row];
    int32_t need = blocks_for(pool, request->room);
    int32_t shared = -1;
    if (request->room > pool->length[row])
        shared = shared_entry(pool, row);
    grant->wanted = (need > have ? need - have : 0) + (shared >= 0);
    if (need > pool->shape.max_blocks || grant->wanted > pool->free)
        return;
    /* Hand them over. */
    int32_t *entries = entries_of(pool, row);
    if (shared >= 0) {
        grant->copy_from = entries[shared];
        grant->copy_to = take(pool);
        entries[shared] = grant->copy_to;
        drop(pool, grant->copy_from);
    }
    for (int32_t i = have; i < need; i++)
        entries[i] = take(pool);
    pool->blocks[row] = need > have ? need : have;
    pool->length[row] = request->length;
    grant->granted = grant->wanted;
    if (pool->peak < pool->total - pool->free)
        pool->peak = pool->total - pool->free;
}

/* Let go of what a row need not keep. */
static void release_entries(fo_pool *pool, int32_t row, int32_t from,
                            int32_t to)
{
    int32_t *entries = entries_of(pool, row);
    for (int32_t i = to - 1; i >= from; i--) {
        drop(pool, entries[i]);
        entries[i] = -1;
    }
}

static bool keep_is_legal(const fo_pool *pool, const fo_pool_keep *keep)
{
    if (!known(pool, keep->row) || keep->first < 0 ||
        keep->length < keep->first || keep->room < keep->length ||
        keep->length > pool->length[keep->row])
        return false;
    return keep->room == 0 ||
           keep->length / pool->shape.B >= pool->first[keep->row];
}

static void release(fo_pool *pool, const fo_pool_keep *keep)
{
    if (!keep_is_legal(pool, keep)) {
        pool->illegal++;
        return;
    }
    int32_t row = keep->row;
    int32_t first = pool->first[row], blocks = pool->blocks[row];
    int32_t low = keep->first / pool->shape.B;
    int32_t high = blocks_for(pool, keep->room);
    low = low > first ? low : first;
    high = high < blocks ? high : blocks;
    high = high > low ? high : low;
    release_entries(pool, row, high, blocks);
    release_entries(pool, row, first, low);
    pool->first[row] = keep->room ? low : 0;
    pool->blocks[row] = keep->room ? high : 0;
    pool->length[row] = keep->length;
}

/* Share the front of a row. */
static bool fork_is_legal(const fo_pool *pool, const fo_pool_fork *fork)
{
    return known(pool, fork->from) && known(pool, fork->to) &&
           pool->blocks[fork->to] == 0 && fork->length >= 0 &&
           fork->length <= pool->length[fork->from] &&
           fork->length / pool->shape.B >= pool->first[fork->from];
}

static void share(fo_pool *pool, const fo_pool_fork *fork)
{
    if (!fork_is_legal(pool, fork)) {
        pool->illegal++;
        return;
    }
    int32_t first = pool->first[fork->from];
    int32_t blocks = blocks_for(pool, fork->length);
    const int32_t *from = entries_of(pool, fork->from);
    int32_t *to = entries_of(pool, fork->to);
    for (int32_t i = first; i < blocks; i++) {
        to[i] = from[i];
        pool->count[from[i]]++;
    }
    pool->first[fork->to] = first;
    pool->blocks[fork->to] = blocks;
    pool->length[fork->to] = fork->length;
}

/* Serve the requests of a call in order. */
fo_status cpu_pool_extend(fo_device *device, fo_pool *pool,
                          const fo_pool_request *requests,
                          fo_pool_grant *grants, int n, fo_error *error)
{
    (void)device, (void)error;
    for (int i = 0; i < n; i++)
        extend(pool, &requests[i], &grants[i]);
    return FO_OK;
}

fo_status cpu_pool_release(fo_device *device, fo_pool *pool,
                           const fo_pool_keep *keeps, int n, fo_error *error)
{
    (void)device, (void)error;
    for (int i = 0; i < n; i++)
        release(pool, &keeps[i]);
    return FO_OK;
}

fo_status cpu_pool_share(fo_device *device, fo_pool *pool,
                         const fo_pool_fork *forks, int n, fo_error *error)
{
    (void)device, (void)error;
    for (int i = 0; i < n; i++)
        share(pool, &forks[i]);
    return FO_OK;
}

/* Count what the pool holds. */
fo_pool_view cpu_pool_view(fo_device *device, const fo_pool *pool)
{
    (void)device;
    return (fo_pool_view){pool->table, pool->length, pool->first, pool->blocks};
}

/* Count the tokens stored, each once. */
static uint64_t tokens_stored(const fo_pool *pool)
{
    int32_t B = pool->shape.B, *fullest = pool->tally;
    uint64_t tokens = 0;
    memset(fullest, 0, (size_t)pool->shape.num_blocks * sizeof(int32_t));
    for (int32_t row = 0; row < pool->shape.max_rows; row++) {
        const int32_t *entries = entries_of(pool, row);
        int32_t end = blocks_for(pool, pool->length[row]);
        for (int32_t i = pool->first[row]; i < end; i++) {
            int32_t left = pool->length[row] - i * B;
            int32_t here = left < B ? left : B, *most = &fullest[entries[i]];
            tokens += here > *most ? (uint64_t)(here - *most) : 0;
            *most = here > *most ? here : *most;
        }
    }
    return tokens;
}

/* 1 + the highest block held, or 0. */
static int32_t highest(const fo_pool *pool)
{
    int32_t blocks = pool->total;
    while (blocks > 0 && pool->count[blocks - 1] == 0)
        blocks--;
    return blocks;
}

fo_status cpu_pool_stats(fo_device *device, const fo_pool *pool,
                         fo_pool_stats *stats, fo_error *error)
{
    (void)device, (void)error;
    *stats = (fo_pool_stats){
        .total = pool->total,
        .free = pool->free,
        .held = pool->total - pool->free,
        .highest = highest(pool),
        .peak = pool->peak,
        .allocations = pool->allocations,
        .reuses = pool->allocations - (uint64_t)pool->fresh,
        .illegal = pool->illegal,
        .metadata_bytes = pool->bytes + sizeof *pool,
    };
    for (int32_t block = 0; block < pool->total; block++)
        stats->shared += pool->count[block] > 1;
    stats->tokens = tokens_stored(pool);
    return FO_OK;
}

/* Resize the pool. */
static void bring_into_use(fo_pool *pool, int32_t blocks)
{
    int32_t more = blocks - pool->total;
    memmove(pool->stack + more, pool->stack,
            (size_t)pool->free * sizeof(int32_t));
    for (int32_t i = 0; i < more; i++)
        pool->stack[i] = blocks - 1 - i;
    pool->free += more;
}

static void take_out_of_use(fo_pool *pool, int32_t blocks)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < pool->free; i++)
        if (pool->stack[i] < blocks)
            pool->stack[kept++] = pool->stack[i];
    pool->free = kept;
}

fo_status cpu_pool_resize(fo_device *device, fo_pool *pool, int blocks,
                          fo_error *error)
{
    (void)device;
    int32_t held = highest(pool), most = pool->shape.num_blocks;
    if (blocks < 0 || blocks > most)
        return fo_fail(error, FO_ARG, "%d blocks of %d", blocks, most);
    if (blocks < held)
        return fo_fail_short(error, FO_FULL, (uint64_t)held, (uint64_t)blocks,
                             "block %d is held, and %d blocks are to stay",
                             held - 1, blocks);
    if (blocks > pool->total)
        bring_into_use(pool, blocks);
    else
        take_out_of_use(pool, blocks);
    pool->total = blocks;
    return FO_OK;
}

/* Lay the books open to the check. */
fo_status cpu_pool_check(fo_device *device, const fo_pool *pool,
                         fo_error *error)
{
    (void)device;
    fo_pool_books books = {.shape = pool->shape,
                           .total = pool->total,
                           .free = pool->free,
                           .fresh = pool->fresh,
                           .table = pool->table,
                           .length = pool->length,
                           .first = pool->first,
                           .blocks = pool->blocks,
                           .count = pool->count,
                           .stack = pool->stack,
                           .tally = pool->tally};
    return fo_pool_books_check(&books, error);
}
