#include "cuda/pool_round.cuh"

namespace FO_SIDE
{

/* Drop the blocks of a run. */
struct release_job {
    int32_t row;
    int32_t high, blocks; /* entries high .. blocks - 1 go, the last first, */
    int32_t first, low;   /* then first .. low - 1, the last first          */
};

using release_round = pool_round<release_job>;

/* The entry that drop j of the run gives back. */
__device__ int32_t *entry_of(const pool_books &pool, const release_round &round,
                             int keeps, int32_t j)
{
    int t = owner_of(round, keeps, j);
    int32_t back = j - round.offset[t] + 1;
    int32_t upper = round.jobs[t].blocks - round.jobs[t].high;
    int32_t entry = back <= upper ? round.jobs[t].blocks - back
                                  : round.jobs[t].low - (back - upper);
    return entries_of(pool, round.jobs[t].row) + entry;
}

__device__ void drop_all(const pool_books &pool, const release_round &round,
                         int keeps)
{
    int32_t total = round.total;
    for (int32_t j = (int)threadIdx.x; j < total; j += (int)blockDim.x) {
        int32_t block = *entry_of(pool, round, keeps, j);
        atomicSub(&pool.count[block], 1);
        atomicMin(&pool.block_claim[block], -j);
    }
}

/* Push the blocks that nobody holds. */
__device__ void push_free(const pool_books &pool, release_round &round,
                          int keeps, int32_t free)
{
    int32_t total = round.total;
    for (int32_t begin = 0; begin < total; begin += (int)blockDim.x) {
        int32_t j = begin + (int)threadIdx.x, block = -1;
        bool last = false, push = false;
        if (j < total) {
            int32_t *entry = entry_of(pool, round, keeps, j);
            block = *entry;
            *entry = -1;
            last = has_claim(pool.block_claim, block, -j);
            push = last && pool.count[block] == 0;
        }
        int32_t sum = scan(round, push);
        if (push)
            pool.stack[free + sum - 1] = block;
        give_up_claim(pool.block_claim, block, last);
        free += total_of(round);
    }
    if (threadIdx.x == 0)
        pool.numbers->free = free;
}

/* Weigh a keep. */
struct parting {
    int32_t row; /* -1: none                                             */
    bool legal;
    int32_t length;
    release_job job;
    bool empties; /* the row is new again                                */
};

__device__ parting weigh(const pool_books &pool, const fo_pool_keep *keep)
{
    parting p = {keep->row, false, keep->length, {-1, 0, 0, 0, 0}, false};
    int32_t from = keep->first, room = keep->room, B = pool.shape.B;
    if (p.row < 0 || p.row >= pool.shape.max_rows) {
        p.row = -1;
        return p;
    }
    int32_t first = pool.first[p.row], blocks = pool.blocks[p.row];
    p.legal = from >= 0 && from <= p.length && p.length <= room &&
              p.length <= pool.length[p.row] &&
              (room == 0 || p.length / B >= first);
    if (!p.legal)
        return p;
    int32_t low = larger(from / B, first);
    int32_t high = larger(smaller(blocks_for(pool, room), blocks), low);
    p.job = {p.row, high, blocks, first, low};
    p.empties = room == 0;
    return p;
}

/* Serve a run of keeps. */
__device__ int release_run(const pool_books &pool, release_round &round,
                           const fo_pool_keep *keeps, int begin, int n)
{
    int i = begin + (int)threadIdx.x;
    parting p = {-1, false, 0, {-1, 0, 0, 0, 0}, false};
    if (i < n)
        p = weigh(pool, &keeps[i]);
    int32_t free = pool.numbers->free;
    open_run(round, begin, n);
    claim(pool.row_claim, p.row, i);
    __syncthreads();
    bool first_of_row = has_claim(pool.row_claim, p.row, i);
    int32_t pieces = p.job.blocks - p.job.high + (p.job.low - p.job.first);
    int32_t sum = scan(round, pieces);
    if (i < n && !first_of_row)
        atomicMin(&round.end, i);
    give_up_claim(pool.row_claim, p.row, first_of_row);
    __syncthreads();
    int end = round.end;
    /* Shorten a row. */
    if (i < end) {
        round.offset[threadIdx.x] = sum - pieces;
        round.jobs[threadIdx.x] = p.job;
        if (p.legal) {
            pool.first[p.row] = p.empties ? 0 : p.job.low;
            pool.blocks[p.row] = p.empties ? 0 : p.job.high;
            pool.length[p.row] = p.length;
        } else {
            atomicAdd(&pool.numbers->illegal, 1ull);
        }
        if (i == end - 1)
            round.total = sum;
    }
    __syncthreads();
    drop_all(pool, round, end - begin);
    __syncthreads();
    push_free(pool, round, end - begin, free);
    __syncthreads();
    return end;
}

/* Serve the keeps of a call in order. */
__global__ void __launch_bounds__(POOL_THREADS)
    release_rows(pool_books pool, const fo_pool_keep *keeps, int n)
{
    auto &round = shared_memory<release_round>();
    for (int begin = 0; begin < n;)
        begin = release_run(pool, round, keeps, begin, n);
}

/* Launch a release. */
fo_status cuda_pool_release(fo_device *device, fo_pool *pool,
                            const fo_pool_keep *keeps, int n, fo_error *error)
{
    int64_t most = (int64_t)n * pool->books.shape.max_blocks;
    if (n == 0)
        return FO_OK;
    FO_LAUNCH(release_rows, dim3(1), dim3((unsigned)threads_for(most)),
              sizeof(release_round), of(device)->stream, pool->books, keeps, n);
    return check_launch("release_rows", error);
}

} // namespace FO_SIDE
