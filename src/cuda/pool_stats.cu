/* What the books say, and whether they agree with themselves. */
#include "cuda/pool.cuh"

extern "C" {
#include "common/pool_books.h"
}

namespace FO_SIDE
{

/* Count the tokens stored, each once, on the device. */
struct count_totals {
    unsigned long long tokens, shared;
    int32_t highest;
};

__device__ void note_tokens(const pool_books &pool)
{
    int32_t B = pool.shape.B;
    int64_t entries = (int64_t)pool.shape.max_rows * pool.shape.max_blocks;
    for (int64_t e = (int)threadIdx.x; e < entries; e += (int)blockDim.x) {
        int32_t block = pool.table[e];
        int32_t row = (int32_t)(e / pool.shape.max_blocks);
        int64_t begin = e % pool.shape.max_blocks * B;
        if (block >= 0 && begin < pool.length[row])
            atomicMin(&pool.block_claim[block],
                      -smaller(pool.length[row] - (int32_t)begin, B));
    }
}

__global__ void __launch_bounds__(POOL_THREADS) count_tokens(pool_books pool)
{
    auto &totals = shared_memory<count_totals>();
    if (threadIdx.x == 0)
        totals = {0, 0, 0};
    note_tokens(pool);
    __syncthreads();
    unsigned long long tokens = 0, shared = 0;
    int32_t highest = 0;
    for (int b = (int)threadIdx.x; b < pool.shape.num_blocks;
         b += (int)blockDim.x) {
        int32_t noted = pool.block_claim[b];
        tokens += noted == NOBODY ? 0ull : (unsigned long long)-noted;
        shared += pool.count[b] > 1;
        highest = pool.count[b] > 0 ? b + 1 : highest;
        pool.block_claim[b] = NOBODY;
    }
    atomicAdd(&totals.tokens, tokens);
    atomicAdd(&totals.shared, shared);
    atomicMax(&totals.highest, highest);
    __syncthreads();
    if (threadIdx.x == 0) {
        pool.numbers->tokens = totals.tokens;
        pool.numbers->shared = totals.shared;
        pool.numbers->highest = totals.highest;
    }
}

/* Tell what the books say. */
fo_status cuda_pool_stats(fo_device *device, const fo_pool *pool,
                          fo_pool_stats *stats, fo_error *error)
{
    const fo_pool_shape *shape = &pool->books.shape;
    pool_numbers now;
    int64_t most = (int64_t)shape->max_rows * shape->max_blocks;
    FO_LAUNCH(count_tokens, dim3(1), dim3((unsigned)threads_for(most)),
              sizeof(count_totals), of(device)->stream, pool->books);
    fo_status status = check_launch("count_tokens", error);
    if (status == FO_OK)
        status =
            cuda_download(device, &now, pool->books.numbers, sizeof now, error);
    if (status != FO_OK)
        return status;
    *stats = {
        .total = now.total,
        .free = now.free,
        .held = now.total - now.free,
        .highest = now.highest,
        .shared = (int32_t)now.shared,
        .peak = now.peak,
        .allocations = now.allocations,
        .reuses = now.allocations - (uint64_t)now.peak,
        .tokens = now.tokens,
        .illegal = now.illegal,
        .metadata_bytes = pool->bytes + sizeof *pool,
    };
    return FO_OK;
}

/* Check the books on the host. */
static fo_status check_claims(const int32_t *claims, int32_t n,
                              const char *what, fo_error *error)
{
    for (int32_t i = 0; i < n; i++)
        if (claims[i] != NOBODY)
            return fo_fail(error, FO_DEVICE,
                           "%s %d is claimed by %d between calls", what, i,
                           claims[i]);
    return FO_OK;
}

/* The books as they are in `copy`, on the host. */
static fo_status check_copy(const pool_books *copy, int32_t *tally,
                            fo_error *error)
{
    const fo_pool_shape *shape = &copy->shape;
    fo_pool_books books = {.shape = *shape,
                           .total = copy->numbers->total,
                           .free = copy->numbers->free,
                           .fresh = copy->numbers->peak,
                           .table = copy->table,
                           .length = copy->length,
                           .first = copy->first,
                           .blocks = copy->blocks,
                           .count = copy->count,
                           .stack = copy->stack,
                           .tally = tally};
    fo_status status = fo_pool_books_check(&books, error);
    if (status == FO_OK)
        status = check_claims(copy->row_claim, shape->max_rows, "row", error);
    if (status == FO_OK)
        status =
            check_claims(copy->block_claim, shape->num_blocks, "block", error);
    return status;
}

fo_status cuda_pool_check(fo_device *device, const fo_pool *pool,
                          fo_error *error)
{
    const fo_pool_shape *shape = &pool->books.shape;
    size_t scratch = (size_t)shape->num_blocks * sizeof(int32_t);
    char *here = (char *)fo_memory_alloc(1, pool->bytes + scratch, error);
    if (!here)
        return FO_NOMEM;
    pool_books copy;
    lay_out(&copy, shape, here);
    fo_status status =
        cuda_download(device, here, pool->books.numbers, pool->bytes, error);
    if (status == FO_OK)
        status = check_copy(&copy, (int32_t *)(here + pool->bytes), error);
    fo_memory_free(here);
    return status;
}

} // namespace FO_SIDE
