#include "cuda/pool_round.cuh"

namespace FO_SIDE
{

/* Weigh a fork. */
struct share_job {
    int32_t from, to;   /* rows; -1: the fork breaks a rule              */
    int32_t first, end; /* entries that both will have                   */
};

using share_round = pool_round<share_job>;

struct offspring {
    int32_t from, to; /* rows, -1 where there is none                    */
    int32_t length;
    share_job job;
};

__device__ offspring weigh(const pool_books &pool, const fo_pool_fork *fork)
{
    int32_t from = fork->from, to = fork->to, length = fork->length;
    int32_t rows = pool.shape.max_rows;
    offspring o = {from < rows ? larger(from, -1) : -1,
                   to < rows ? larger(to, -1) : -1,
                   length,
                   {-1, -1, 0, 0}};
    if (o.from < 0 || o.to < 0)
        return o;
    int32_t first = pool.first[from];
    if (pool.blocks[to] == 0 && length >= 0 && length <= pool.length[from] &&
        length / pool.shape.B >= first)
        o.job = {from, to, first, blocks_for(pool, length)};
    return o;
}

/* Copy the entries of a run. */
__device__ void copy_entries(const pool_books &pool, const share_round &round,
                             int forks)
{
    int32_t total = round.total;
    for (int32_t j = (int)threadIdx.x; j < total; j += (int)blockDim.x) {
        int t = owner_of(round, forks, j);
        int32_t entry = round.jobs[t].first + (j - round.offset[t]);
        int32_t block = entries_of(pool, round.jobs[t].from)[entry];
        entries_of(pool, round.jobs[t].to)[entry] = block;
        atomicAdd(&pool.count[block], 1);
    }
}

/* Serve a run of forks. */
__device__ int share_run(const pool_books &pool, share_round &round,
                         const fo_pool_fork *forks, int begin, int n)
{
    int i = begin + (int)threadIdx.x;
    offspring o = {-1, -1, 0, {-1, -1, 0, 0}};
    if (i < n)
        o = weigh(pool, &forks[i]);
    open_run(round, begin, n);
    claim(pool.row_claim, o.to, i);
    __syncthreads();
    bool first_of_row = has_claim(pool.row_claim, o.to, i);
    bool from_is_old = o.from < 0 || pool.row_claim[o.from] >= i;
    int32_t pieces = o.job.end - o.job.first;
    int32_t sum = scan(round, pieces);
    if (i < n && !(first_of_row && from_is_old))
        atomicMin(&round.end, i);
    give_up_claim(pool.row_claim, o.to, first_of_row);
    __syncthreads();
    int end = round.end;
    /* Give a row its beginning. */
    if (i < end) {
        round.offset[threadIdx.x] = sum - pieces;
        round.jobs[threadIdx.x] = o.job;
        if (o.job.to >= 0) {
            pool.first[o.to] = o.job.first;
            pool.blocks[o.to] = o.job.end;
            pool.length[o.to] = o.length;
        } else {
            atomicAdd(&pool.numbers->illegal, 1ull);
        }
        if (i == end - 1)
            round.total = sum;
    }
    __syncthreads();
    copy_entries(pool, round, end - begin);
    __syncthreads();
    return end;
}

/* Serve the forks of a call in order. */
__global__ void __launch_bounds__(POOL_THREADS)
    share_rows(pool_books pool, const fo_pool_fork *forks, int n)
{
    auto &round = shared_memory<share_round>();
    for (int begin = 0; begin < n;)
        begin = share_run(pool, round, forks, begin, n);
}

/* Launch the forks. */
fo_status cuda_pool_share(fo_device *device, fo_pool *pool,
                          const fo_pool_fork *forks, int n, fo_error *error)
{
    int64_t most = (int64_t)n * pool->books.shape.max_blocks;
    if (n == 0)
        return FO_OK;
    FO_LAUNCH(share_rows, dim3(1), dim3((unsigned)threads_for(most)),
              sizeof(share_round), of(device)->stream, pool->books, forks, n);
    return check_launch("share_rows", error);
}

} // namespace FO_SIDE
