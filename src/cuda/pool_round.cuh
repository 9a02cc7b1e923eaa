/* A call to the pool is served in rounds, each a run of requests that do not
 * depend on each other. */
#ifndef FOLIO_CUDA_POOL_ROUND_CUH
#define FOLIO_CUDA_POOL_ROUND_CUH

#include "cuda/pool.cuh"

namespace FO_SIDE
{

/* Hold what a round shares. */
/* In shared memory: the run that is being served. Its requests come one a
 * thread; request t of it needs `pieces` of some work, numbered from offset[t]
 * on, and job[t] says which. */
template <class job> struct pool_round {
    int32_t warp_total[WARP];
    int32_t end;   /* index of the request after the run's last */
    int32_t total; /* pieces of the whole run                   */
    int32_t offset[POOL_THREADS];
    job jobs[POOL_THREADS];
};

/* Add up over the threads. */
__device__ inline int32_t add(int32_t a, int32_t b)
{
    return a > INT32_MAX - b ? INT32_MAX : a + b;
}

/* The sum of the values, each 0 or more, of this thread and all before it. All
 * threads of the block take part. */
template <class round_type>
__device__ int32_t scan(round_type &round, int32_t value)
{
    int32_t sum = value;
    for (int step = 1; step < WARP; step *= 2) {
        int32_t below = __shfl_up_sync(FO_ALL_LANES, sum, step);
        if (lane() >= step)
            sum = add(sum, below);
    }
    __syncthreads();
    if (lane() == WARP - 1)
        round.warp_total[warp()] = sum;
    __syncthreads();
    for (int w = 0; w < warp(); w++)
        sum = add(sum, round.warp_total[w]);
    return sum;
}

/* The sum of all values of the scan just made. */
template <class round_type> __device__ int32_t total_of(const round_type &round)
{
    int32_t sum = 0;
    for (int w = 0; w < (int)blockDim.x / WARP; w++)
        sum = add(sum, round.warp_total[w]);
    return sum;
}

/* Find whose piece it is. */
template <class round_type>
__device__ int owner_of(const round_type &round, int requests, int32_t piece)
{
    int low = 0, high = requests; /* offset[low] <= piece */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (round.offset[middle] <= piece)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Claim, and see who has it. */
/* The run may go from request `begin` as far as there are threads. */
template <class round_type>
__device__ void open_run(round_type &round, int begin, int n)
{
    int threads = (int)blockDim.x;
    if (threadIdx.x == 0)
        round.end = n - begin < threads ? n : begin + threads;
}

/* Request i claims place `at` of an array; -1 is no place. */
__device__ inline void claim(int32_t *claims, int32_t at, int i)
{
    if (at >= 0)
        atomicMin(&claims[at], i);
}

__device__ inline bool has_claim(const int32_t *claims, int32_t at, int i)
{
    return at < 0 || claims[at] == i;
}

__device__ inline void give_up_claim(int32_t *claims, int32_t at, bool had)
{
    if (at >= 0 && had)
        claims[at] = NOBODY;
}

} // namespace FO_SIDE

#endif
