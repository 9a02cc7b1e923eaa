/* The pool on the device: the books in its memory, and kernels of one block
 * that keep them. The ids and counts are those of cpu/pool.c after every
 * call. */
#ifndef FOLIO_CUDA_POOL_CUH
#define FOLIO_CUDA_POOL_CUH

#include "cuda/device.cuh"

/* Say which pool is behind the pointer. */
namespace FO_SIDE
{

/* Hold the books. */
/* What changes by itself: numbers for the host to read, in device memory. */
struct pool_numbers {
    int32_t total;   /* blocks in use                                     */
    int32_t free;    /* depth of the stack                                */
    int32_t peak;    /* most ever held, and so the lowest block never     */
                     /* handed out                                        */
    int32_t highest; /* 1 + the highest block held; of the last count     */
    unsigned long long allocations;
    unsigned long long illegal;
    unsigned long long tokens; /* stored; of the last count                */
    unsigned long long shared; /* held more than once; of the last count   */
};

/* The arrays; everything they point to is device memory. */
struct pool_books {
    fo_pool_shape shape;
    pool_numbers *numbers;
    int32_t *table;       /* (max_rows, max_blocks)                        */
    int32_t *length;      /* (max_rows)                                    */
    int32_t *first;       /* (max_rows)                                    */
    int32_t *blocks;      /* (max_rows)                                    */
    int32_t *count;       /* (num_blocks)                                  */
    int32_t *stack;       /* (num_blocks), the top at free - 1             */
    int32_t *row_claim;   /* (max_rows), NOBODY between calls              */
    int32_t *block_claim; /* (num_blocks), NOBODY between calls            */
};

} // namespace FO_SIDE

/* The host's side of the pool. */
struct fo_pool {
    FO_SIDE::pool_books books;
    size_t bytes; /* of device memory, which begins at books.numbers */
};

namespace FO_SIDE
{

/* The bytes of all books; points into `memory` unless it is null. */
size_t lay_out(pool_books *books, const fo_pool_shape *shape, void *memory);

} // namespace FO_SIDE

namespace FO_SIDE
{

enum { POOL_THREADS = 256, NOBODY = INT32_MAX };

/* Find what a row has, on the device. */
__device__ inline int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

__device__ inline int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

__device__ inline int32_t *entries_of(const pool_books &pool, int32_t row)
{
    return pool.table + (int64_t)row * pool.shape.max_blocks;
}

/* Blocks that hold `tokens` tokens. */
__device__ inline int32_t blocks_for(const pool_books &pool, int32_t tokens)
{
    return tokens / pool.shape.B + (tokens % pool.shape.B != 0);
}

/* Choose the threads of a call. */
/* Threads for up to this much work: whole warps, one at least. */
inline int threads_for(int64_t work)
{
    int threads = WARP;
    while (threads < POOL_THREADS && threads < work)
        threads *= 2;
    return threads;
}

} // namespace FO_SIDE

#endif
