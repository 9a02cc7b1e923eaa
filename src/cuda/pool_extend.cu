#include "cuda/pool_round.cuh"

namespace FO_SIDE
{

/* Weigh a request to the device. */
struct wish {
    int32_t row, length; /* asked for; row is -1 where there is none    */
    int32_t have, need;  /* blocks before and after                     */
    int32_t wanted;      /* blocks, or -1: the request breaks a rule    */
    int32_t copy;        /* entry of the shared block, or -1            */
    int32_t shared;      /* the block itself, or -1                     */
};

__device__ wish weigh(const pool_books &pool, const fo_pool_request *request)
{
    wish w = {request->row, request->length, 0, 0, -1, -1, -1};
    int32_t room = request->room, B = pool.shape.B;
    if (w.row < 0 || w.row >= pool.shape.max_rows) {
        w.row = -1;
        return w;
    }
    int32_t length = pool.length[w.row];
    if (w.length < length || room < w.length)
        return w;
    w.have = pool.blocks[w.row];
    w.need = blocks_for(pool, room);
    /* See whether the new tokens begin inside a shared block. */
    if (room > length && length % B != 0) {
        int32_t block = entries_of(pool, w.row)[length / B];
        if (pool.count[block] > 1) {
            w.copy = length / B;
            w.shared = block;
        }
    }
    w.wanted = (w.need > w.have ? w.need - w.have : 0) + (w.copy >= 0);
    return w;
}

/* Hand over the blocks of a run. */
struct extend_job {
    int32_t row;
    int32_t begin; /* first new entry                                    */
    int32_t copy;  /* entry that gets the first piece instead, or -1     */
};

using extend_round = pool_round<extend_job>;

__device__ void hand_over(const pool_books &pool, const extend_round &round,
                          int requests, int32_t free)
{
    int32_t total = round.total;
    for (int32_t j = (int)threadIdx.x; j < total; j += (int)blockDim.x) {
        int t = owner_of(round, requests, j);
        int32_t copy = round.jobs[t].copy, within = j - round.offset[t];
        int32_t entry = round.jobs[t].begin + within - (copy >= 0);
        if (copy >= 0 && within == 0)
            entry = copy;
        int32_t block = pool.stack[free - 1 - j];
        entries_of(pool, round.jobs[t].row)[entry] = block;
        pool.count[block] = 1;
    }
    if (threadIdx.x == 0) {
        int32_t held = pool.numbers->total - free + total;
        pool.numbers->free = free - total;
        pool.numbers->allocations += (unsigned long long)total;
        if (pool.numbers->peak < held)
            pool.numbers->peak = held;
    }
}

/* Serve a run of requests. */
/* Serve the run that begins at request `begin`; the index after it. */
__device__ int extend_run(const pool_books &pool, extend_round &round,
                          const fo_pool_request *requests,
                          fo_pool_grant *grants, int begin, int n)
{
    int i = begin + (int)threadIdx.x;
    wish w = {-1, 0, 0, 0, -1, -1, -1};
    if (i < n)
        w = weigh(pool, &requests[i]);
    int32_t free = pool.numbers->free;
    open_run(round, begin, n);
    claim(pool.row_claim, w.row, i);
    claim(pool.block_claim, w.shared, i);
    __syncthreads();
    bool first_of_row = has_claim(pool.row_claim, w.row, i);
    bool first_of_block = has_claim(pool.block_claim, w.shared, i);
    bool fits = w.need <= pool.shape.max_blocks && w.wanted <= free;
    int32_t pieces = fits && w.wanted > 0 ? w.wanted : 0;
    int32_t sum = scan(round, pieces);
    if (i < n && !(first_of_row && first_of_block))
        atomicMin(&round.end, i);
    else if (i < n && sum > free)
        atomicMin(&round.end, i + 1);
    give_up_claim(pool.row_claim, w.row, first_of_row);
    give_up_claim(pool.block_claim, w.shared, first_of_block);
    __syncthreads();
    int end = round.end;
    /* Grant what a request wants. */
    if (i < end) {
        bool granted = w.wanted >= 0 && fits && sum <= free;
        bool copied = granted && w.copy >= 0;
        int32_t offset = sum - pieces;
        grants[i].wanted = w.wanted;
        grants[i].granted = granted ? w.wanted : -1;
        grants[i].copy_from = copied ? w.shared : -1;
        grants[i].copy_to = copied ? pool.stack[free - 1 - offset] : -1;
        round.offset[threadIdx.x] = offset;
        round.jobs[threadIdx.x] = {w.row, w.have, w.copy};
        if (granted) {
            pool.length[w.row] = w.length;
            pool.blocks[w.row] = w.need > w.have ? w.need : w.have;
        }
        if (copied)
            pool.count[w.shared]--;
        if (w.wanted < 0)
            atomicAdd(&pool.numbers->illegal, 1ull);
        if (i == end - 1)
            round.total = granted ? sum : offset;
    }
    __syncthreads();
    hand_over(pool, round, end - begin, free);
    __syncthreads();
    return end;
}

/* Serve the requests of a call in order, on the device. */
__global__ void __launch_bounds__(POOL_THREADS)
    extend_rows(pool_books pool, const fo_pool_request *requests,
                fo_pool_grant *grants, int n)
{
    auto &round = shared_memory<extend_round>();
    for (int begin = 0; begin < n;)
        begin = extend_run(pool, round, requests, grants, begin, n);
}

/* Launch an extension. */
fo_status cuda_pool_extend(fo_device *device, fo_pool *pool,
                           const fo_pool_request *requests,
                           fo_pool_grant *grants, int n, fo_error *error)
{
    if (n == 0)
        return FO_OK;
    FO_LAUNCH(extend_rows, dim3(1), dim3((unsigned)threads_for(n)),
              sizeof(extend_round), of(device)->stream, pool->books, requests,
              grants, n);
    return check_launch("extend_rows", error);
}

} // namespace FO_SIDE
