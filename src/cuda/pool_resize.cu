#include "cuda/pool_round.cuh"

namespace FO_SIDE
{

/* Look for the highest block held. */
/* In shared memory. */
struct resize_round {
    int32_t warp_total[WARP];
    int32_t highest;
};

/* 1 + the highest block held, or 0. */
__device__ int32_t highest_held(const pool_books &pool, resize_round &round)
{
    int32_t highest = 0;
    if (threadIdx.x == 0)
        round.highest = 0;
    __syncthreads();
    for (int b = (int)threadIdx.x; b < pool.shape.num_blocks;
         b += (int)blockDim.x)
        if (pool.count[b] > 0)
            highest = b + 1;
    atomicMax(&round.highest, highest);
    __syncthreads();
    return round.highest;
}

/* Change the stack of the device. */
__device__ int32_t bring_into_use(const pool_books &pool, int32_t free,
                                  int32_t total, int32_t blocks)
{
    int32_t more = blocks - total;
    for (int32_t end = free; end > 0; end -= (int)blockDim.x) {
        int32_t i = end - 1 - (int)threadIdx.x;
        int32_t block = i >= 0 ? pool.stack[i] : 0;
        __syncthreads();
        if (i >= 0)
            pool.stack[i + more] = block;
    }
    __syncthreads();
    for (int32_t i = (int)threadIdx.x; i < more; i += (int)blockDim.x)
        pool.stack[i] = blocks - 1 - i;
    return free + more;
}

__device__ int32_t take_out_of_use(const pool_books &pool, resize_round &round,
                                   int32_t free, int32_t blocks)
{
    int32_t kept = 0;
    for (int32_t begin = 0; begin < free; begin += (int)blockDim.x) {
        int32_t i = begin + (int)threadIdx.x;
        int32_t block = i < free ? pool.stack[i] : blocks;
        int32_t sum = scan(round, block < blocks);
        if (block < blocks)
            pool.stack[kept + sum - 1] = block;
        kept += total_of(round);
    }
    return kept;
}

__global__ void __launch_bounds__(POOL_THREADS)
    resize_stack(pool_books pool, int32_t blocks)
{
    auto &round = shared_memory<resize_round>();
    int32_t free = pool.numbers->free, total = pool.numbers->total;
    int32_t highest = highest_held(pool, round);
    bool fits = highest <= blocks;
    if (fits && blocks > total)
        free = bring_into_use(pool, free, total, blocks);
    else if (fits)
        free = take_out_of_use(pool, round, free, blocks);
    if (threadIdx.x == 0) {
        pool.numbers->highest = highest;
        pool.numbers->free = free;
        pool.numbers->total = fits ? blocks : total;
    }
}

/* Launch a resize. */
fo_status cuda_pool_resize(fo_device *device, fo_pool *pool, int blocks,
                           fo_error *error)
{
    int32_t most = pool->books.shape.num_blocks;
    if (blocks < 0 || blocks > most)
        return fo_fail(error, FO_ARG, "%d blocks of %d", blocks, most);
    pool_numbers now;
    FO_LAUNCH(resize_stack, dim3(1), dim3((unsigned)threads_for(most)),
              sizeof(resize_round), of(device)->stream, pool->books, blocks);
    fo_status status = check_launch("resize_stack", error);
    if (status == FO_OK)
        status =
            cuda_download(device, &now, pool->books.numbers, sizeof now, error);
    if (status == FO_OK && now.highest > blocks)
        status = fo_fail_short(error, FO_FULL, (uint64_t)now.highest,
                               (uint64_t)blocks,
                               "block %d is held, and %d blocks are to stay",
                               now.highest - 1, blocks);
    return status;
}

} // namespace FO_SIDE
