/* The pool on the device: the books in its memory, and kernels of one block
 * that keep them. The ids and counts are those of cpu/pool.c after every
 * call. */
#include "cuda/device.cuh"

extern "C" {
#include "common/pool_books.h"
}

/* Say which pool is behind the pointer. */
namespace FO_SIDE
{

/* Hold the books. */
/* What changes by itself: numbers for the host to read, in device memory. */
struct pool_numbers {
    int32_t free; /* depth of the stack                                   */
    int32_t peak; /* most ever held, and so the lowest block never handed */
                  /* out                                                  */
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

/* Work in rounds. */
/* Hold what a round shares. */
enum { POOL_THREADS = 256, NOBODY = INT32_MAX };

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
        int32_t held = pool.shape.num_blocks - free + total;
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

/* Serve the requests of a call in order, on the device. */
__global__ void __launch_bounds__(POOL_THREADS)
    extend_rows(pool_books pool, const fo_pool_request *requests,
                fo_pool_grant *grants, int n)
{
    auto &round = shared_memory<extend_round>();
    for (int begin = 0; begin < n;)
        begin = extend_run(pool, round, requests, grants, begin, n);
}

__global__ void __launch_bounds__(POOL_THREADS)
    release_rows(pool_books pool, const fo_pool_keep *keeps, int n)
{
    auto &round = shared_memory<release_round>();
    for (int begin = 0; begin < n;)
        begin = release_run(pool, round, keeps, begin, n);
}

__global__ void __launch_bounds__(POOL_THREADS)
    share_rows(pool_books pool, const fo_pool_fork *forks, int n)
{
    auto &round = shared_memory<share_round>();
    for (int begin = 0; begin < n;)
        begin = share_run(pool, round, forks, begin, n);
}

/* Count the tokens stored, each once, on the device. */
struct count_totals {
    unsigned long long tokens, shared;
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
        totals.tokens = totals.shared = 0;
    note_tokens(pool);
    __syncthreads();
    unsigned long long tokens = 0, shared = 0;
    for (int b = (int)threadIdx.x; b < pool.shape.num_blocks;
         b += (int)blockDim.x) {
        int32_t noted = pool.block_claim[b];
        tokens += noted == NOBODY ? 0ull : (unsigned long long)-noted;
        shared += pool.count[b] > 1;
        pool.block_claim[b] = NOBODY;
    }
    atomicAdd(&totals.tokens, tokens);
    atomicAdd(&totals.shared, shared);
    __syncthreads();
    if (threadIdx.x == 0) {
        pool.numbers->tokens = totals.tokens;
        pool.numbers->shared = totals.shared;
    }
}

/* Begin with every row empty and every block free. */
__global__ void begin_books(pool_books pool)
{
    int32_t blocks = pool.shape.num_blocks, rows = pool.shape.max_rows;
    int64_t entries = (int64_t)rows * pool.shape.max_blocks;
    int64_t all = (int64_t)gridDim.x * blockDim.x;
    int64_t me = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t e = me; e < entries; e += all)
        pool.table[e] = -1;
    for (int64_t r = me; r < rows; r += all) {
        pool.length[r] = pool.first[r] = pool.blocks[r] = 0;
        pool.row_claim[r] = NOBODY;
    }
    for (int64_t b = me; b < blocks; b += all) {
        pool.count[b] = 0;
        pool.block_claim[b] = NOBODY;
        pool.stack[b] = blocks - 1 - (int32_t)b;
    }
    if (me == 0) {
        pool.numbers->free = blocks;
        pool.numbers->peak = 0;
        pool.numbers->allocations = pool.numbers->illegal = 0;
        pool.numbers->tokens = pool.numbers->shared = 0;
    }
}

/* Lay out the books in one piece of memory. */
/* The bytes of all; points into `memory` unless it is null. */
static size_t lay_out(pool_books *books, const fo_pool_shape *shape,
                      void *memory)
{
    size_t rows = (size_t)shape->max_rows, total = (size_t)shape->num_blocks;
    size_t entries = rows * (size_t)shape->max_blocks;
    size_t numbers = entries + 4 * rows + 3 * total;
    size_t bytes = sizeof(pool_numbers) + numbers * sizeof(int32_t);
    if (!memory)
        return bytes;
    books->shape = *shape;
    books->numbers = (pool_numbers *)memory;
    books->table = (int32_t *)(books->numbers + 1);
    books->length = books->table + entries;
    books->first = books->length + rows;
    books->blocks = books->first + rows;
    books->row_claim = books->blocks + rows;
    books->count = books->row_claim + rows;
    books->stack = books->count + total;
    books->block_claim = books->stack + total;
    return bytes;
}

/* Judge a shape. */
static fo_status judge(const fo_pool_shape *shape, fo_error *error)
{
    if (shape->num_blocks < 1 || shape->B < 1 || shape->max_rows < 1 ||
        shape->max_blocks < 1)
        return fo_fail(error, FO_ARG,
                       "a pool of %d blocks of %d tokens, %d rows of %d blocks",
                       shape->num_blocks, shape->B, shape->max_rows,
                       shape->max_blocks);
    int64_t entries = (int64_t)shape->max_rows * shape->max_blocks;
    if (shape->num_blocks > 1 << 30 || entries > INT32_MAX)
        return fo_fail(error, FO_UNSUPPORTED,
                       "a pool of %d blocks and %lld entries; the device's "
                       "has at most 2^30 and 2^31",
                       shape->num_blocks, (long long)entries);
    return FO_OK;
}

/* Measure the pool of the device. */
size_t cuda_pool_bytes(fo_device *device, const fo_pool_shape *shape)
{
    (void)device;
    return lay_out(nullptr, shape, nullptr);
}

/* Open and close the pool of the device. */
fo_status cuda_pool_open(fo_device *device, const fo_pool_shape *shape,
                         fo_pool **out, fo_error *error)
{
    *out = NULL;
    fo_status status = judge(shape, error);
    if (status != FO_OK)
        return status;
    fo_pool *pool = (fo_pool *)fo_memory_alloc(1, sizeof *pool, error);
    if (!pool)
        return FO_NOMEM;
    void *memory = NULL;
    pool->bytes = cuda_pool_bytes(device, shape);
    status = cuda_alloc(device, pool->bytes, &memory, error);
    if (status == FO_OK) {
        lay_out(&pool->books, shape, memory);
        FO_LAUNCH(begin_books, dim3(64), dim3(POOL_THREADS), 0,
                  of(device)->stream, pool->books);
        status = check_launch("begin_books", error);
    }
    if (status != FO_OK)
        cuda_pool_close(device, &pool);
    *out = pool;
    return status;
}

void cuda_pool_close(fo_device *device, fo_pool **pool)
{
    if (!*pool)
        return;
    cuda_free(device, (*pool)->books.numbers);
    fo_memory_free(*pool);
    *pool = NULL;
}

/* Launch the calls. */
/* Threads for up to this much work: whole warps, one at least. */
static int threads_for(int64_t work)
{
    int threads = WARP;
    while (threads < POOL_THREADS && threads < work)
        threads *= 2;
    return threads;
}

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

/* Tell what the books say. */
fo_pool_view cuda_pool_view(fo_device *, const fo_pool *pool)
{
    const pool_books *books = &pool->books;
    return {books->table, books->length, books->first, books->blocks};
}

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
        .total = shape->num_blocks,
        .free = now.free,
        .held = shape->num_blocks - now.free,
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
/* The books as they are in `bytes` at `here`, a copy on the host. */
static fo_pool_books read_books(const fo_pool *pool, char *here, int32_t *tally)
{
    pool_books copy;
    lay_out(&copy, &pool->books.shape, here);
    return {.shape = copy.shape,
            .free = copy.numbers->free,
            .fresh = copy.numbers->peak,
            .table = copy.table,
            .length = copy.length,
            .first = copy.first,
            .blocks = copy.blocks,
            .count = copy.count,
            .stack = copy.stack,
            .tally = tally};
}

fo_status cuda_pool_check(fo_device *device, const fo_pool *pool,
                          fo_error *error)
{
    size_t scratch = (size_t)pool->books.shape.num_blocks * sizeof(int32_t);
    char *here = (char *)fo_memory_alloc(1, pool->bytes + scratch, error);
    if (!here)
        return FO_NOMEM;
    fo_status status =
        cuda_download(device, here, pool->books.numbers, pool->bytes, error);
    fo_pool_books books =
        read_books(pool, here, (int32_t *)(here + pool->bytes));
    if (status == FO_OK)
        status = fo_pool_books_check(&books, error);
    fo_memory_free(here);
    return status;
}

} // namespace FO_SIDE
