#include "simt_kernels.h"

#include "simt_run.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

/* Shuffle in every way. */
__global__ static void shuffle(uint32_t *out /* (33, 4, 32) */, int width)
{
    unsigned lane = threadIdx.x;
    for (unsigned i = 0; i <= 32; i++) {
        unsigned v = 100 + lane, *row = out + i * 128 + lane;
        row[0] = __shfl_sync(ALL, v, (int)i, width);
        row[32] = __shfl_up_sync(ALL, v, i, width);
        row[64] = __shfl_down_sync(ALL, v, i, width);
        row[96] = __shfl_xor_sync(ALL, v, (int)i, width);
    }
}

__global__ static void shuffle_wide(uint64_t *out /* (32) */)
{
    uint64_t mine = threadIdx.x * UINT64_C(0x100000001);
    out[threadIdx.x] = __shfl_sync(ALL, mine, 31 - (int)threadIdx.x);
}

bool simt_shuffle(uint32_t *out, int width)
{
    return RUN(1, 32, 0, shuffle, out, width);
}

bool simt_shuffle_wide(uint64_t *out)
{
    return RUN(1, 32, 0, shuffle_wide, out);
}

/* Vote in two groups. */
__global__ static void vote(uint32_t *out /* (3, 32) */, uint32_t votes,
                            uint32_t mask)
{
    unsigned lane = threadIdx.x;
    bool inside = mask >> lane & 1;
    uint32_t group = inside ? mask : ~mask;
    int mine = votes >> lane & 1;
    if (inside) {
        out[lane] = __ballot_sync(group, mine);
        out[32 + lane] = (uint32_t)__any_sync(group, mine);
        out[64 + lane] = (uint32_t)__all_sync(group, mine);
    } else {
        out[64 + lane] = (uint32_t)__all_sync(group, mine);
        out[32 + lane] = (uint32_t)__any_sync(group, mine);
        out[lane] = __ballot_sync(group, mine);
    }
}

bool simt_vote(uint32_t *out, uint32_t votes, uint32_t mask)
{
    return RUN(1, 32, 0, vote, out, votes, mask);
}

/* Go round a block in steps. */
__global__ static void rounds(int *out /* (threads) */, int count)
{
    int *cells = &shared<int>(), n = (int)blockDim.x, me = (int)threadIdx.x;
    cells[me] = me;
    __syncthreads();
    for (int i = 0; i < count; i++) {
        int next = cells[(me + 1) % n];
        __syncthreads();
        cells[me] = next + 1;
        __syncthreads();
    }
    out[me] = cells[me];
}

__global__ static void count(int *out /* (threads) */)
{
    int odd = threadIdx.x % 2, few = threadIdx.x < 3;
    out[threadIdx.x] =
        100 * __syncthreads_count(odd) + __syncthreads_count(few);
}

bool simt_rounds(int *out, int threads, int times)
{
    return RUN(1, threads, threads * sizeof(int), rounds, out, times);
}

bool simt_count(int *out, int threads)
{
    return RUN(1, threads, 0, count, out);
}

/* Change the same numbers from every thread. */
__global__ static void atomics(int32_t *i, uint32_t *u, uint64_t *w, float *f)
{
    int me = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&i[0], me);
    atomicSub(&i[1], me);
    atomicMin(&i[2], -me);
    atomicMax(&i[3], me);
    atomicAdd(&u[0], (unsigned)me);
    atomicMin(&u[1], (unsigned)-me);
    atomicMax(&u[2], (unsigned)-me);
    atomicAnd(&u[3], ~(1u << me % 32));
    atomicOr(&u[4], 1u << me % 32);
    atomicXor(&u[5], (unsigned)me);
    atomicAdd((unsigned long long *)&w[0], UINT64_C(0x100000000));
    atomicMax((unsigned long long *)&w[1], (unsigned long long)me << 33);
    atomicAdd(f, 0.5f);
}

bool simt_atomics(int32_t *i, uint32_t *u, uint64_t *w, float *f, int blocks,
                  int threads)
{
    return RUN(blocks, threads, 0, atomics, i, u, w, f);
}

/* Spin on a lock. */
__global__ static void lock(int *out /* (2) */)
{
    while (atomicCAS(&out[0], 0, 1) != 0)
        ;
    int seen = atomicExch(&out[1], -1); /* nobody else may see the -1 */
    atomicExch(&out[1], seen + 1);
    __threadfence();
    atomicExch(&out[0], 0);
}

bool simt_lock(int *out, int threads)
{
    return RUN(1, threads, 0, lock, out);
}

/* Write down the order of events. */
__global__ static void order(int *out /* (1 + blocks * threads) */)
{
    __syncwarp();
    int me = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    out[1 + atomicAdd(&out[0], 1)] = me;
}

bool simt_order(int *out, int blocks, int threads)
{
    return RUN(blocks, threads, 0, order, out);
}

/* Forget a barrier. */
__global__ static void neighbours(int *out /* (threads) */)
{
    int *cells = &shared<int>(), me = (int)threadIdx.x;
    cells[me] = me;
    out[me] = me > 0 ? cells[me - 1] : -1; /* no barrier, and it shows */
}

bool simt_neighbours(int *out, int threads)
{
    return RUN(1, threads, threads * sizeof(int), neighbours, out);
}

/* Multiply matrices as tensor cores do. */
struct product_shared {
    uint16_t a[16][16], b[16][8];
};

template <class T>
__global__ static void product(float *d, const uint16_t *a, const uint16_t *b)
{
    auto &s = shared<product_shared>();
    int l = (int)threadIdx.x;
    for (int i = l; i < 256; i += 32)
        s.a[i / 16][i % 16] = a[i];
    for (int i = l; i < 128; i += 32)
        s.b[i / 8][i % 8] = b[i];
    __syncwarp();
    uint32_t ra[4], rb[4], rb2[2];
    load_matrix_x4(ra, &s.a[l % 16][l / 16 * 8]);
    load_matrix_x4_transposed(rb, &s.b[l % 16][0]);
    rb2[0] = rb[0];
    rb2[1] = rb[1];
    float sums[4] = {0, 0, 0, 0};
    mma_16816<T>(sums, ra, rb2);
    for (int i = 0; i < 4; i++)
        d[(l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2] = sums[i];
}

bool simt_product(float *d, const uint16_t *a, const uint16_t *b, bool bf16)
{
    size_t bytes = sizeof(product_shared);
    return bf16 ? RUN(1, 32, bytes, product<__nv_bfloat16>, d, a, b)
                : RUN(1, 32, bytes, product<__half>, d, a, b);
}

/* Load matrices as tensor cores want them. */
struct matrices_shared {
    uint16_t rows[32][8];
};

__global__ static void matrices(uint32_t *out, const uint16_t *in,
                                bool transposed)
{
    auto &s = shared<matrices_shared>();
    int l = (int)threadIdx.x;
    store_16(s.rows[l], load_16(in + l * 8));
    __syncwarp();
    uint32_t r[4];
    if (transposed)
        load_matrix_x4_transposed(r, s.rows[l]);
    else
        load_matrix_x4(r, s.rows[l]);
    for (int i = 0; i < 4; i++)
        out[l * 4 + i] = r[i];
}

bool simt_matrices(uint32_t *out, const uint16_t *in, bool transposed)
{
    return RUN(1, 32, sizeof(matrices_shared), matrices, out, in, transposed);
}

/* Copy without waiting. */
/* The looks between are unobserved: they are the mistake that a checker
 * reports, and here we want to see what a reader would have seen. */
SIM_UNOBSERVED static void look(uint32_t *out)
{
    memcpy(out, sim::shared_base(), 48);
}

__global__ static void copy(uint32_t *out /* (3, 3, 4) */,
                            const uint32_t *in /* (2, 4) */)
{
    uint32_t *s = &shared<uint32_t>();
    copy_async_16(s, in);
    copy_async_16_or_zero(s + 4, in, false);
    copy_async_commit();
    copy_async_16(s + 8, in + 4);
    copy_async_commit();
    look(out);
    copy_async_wait<1>();
    look(out + 12);
    copy_async_wait<0>();
    look(out + 24);
}

bool simt_copy(uint32_t *out, const uint32_t *in)
{
    return RUN(1, 1, 48, copy, out, in);
}

/* Look at shared memory that nobody wrote. */
SIM_UNOBSERVED static void poison(uint32_t *out, int words)
{
    memcpy(out, sim::shared_base(), (size_t)words * 4);
    memset(sim::shared_base(), 1, (size_t)words * 4);
}

bool simt_poison(uint32_t *out, int words)
{
    return RUN(2, 1, words * sizeof(uint32_t), poison, out, words);
}

/* Convert all halves. */
__global__ static void widen(float *out /* (2, 65536) */)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = __half2float(__ushort_as_half((unsigned short)i));
    out[65536 + i] = __bfloat162float(__ushort_as_bfloat16((unsigned short)i));
}

__global__ static void narrow(uint16_t *out /* (2, n) */, const float *in,
                              int n)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        out[i] = __half_as_ushort(__float2half_rn(in[i]));
        out[n + i] = __bfloat16_as_ushort(__float2bfloat16_rn(in[i]));
    }
}

bool simt_widen(float *out)
{
    return RUN(256, 256, 0, widen, out);
}

bool simt_narrow(uint16_t *out, const float *in, int n)
{
    return RUN((n + 255) / 256, 256, 0, narrow, out, in, n);
}

/* Write down every index. */
__global__ static void indices(uint32_t *out /* (threads, 6) */)
{
    uint32_t block =
        (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    uint32_t thread =
        (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    uint32_t *row =
        out + 6 * (block * blockDim.x * blockDim.y * blockDim.z + thread);
    row[0] = threadIdx.x;
    row[1] = threadIdx.y;
    row[2] = threadIdx.z;
    row[3] = blockIdx.x;
    row[4] = blockIdx.y;
    row[5] = blockIdx.z;
}

bool simt_indices(uint32_t *out, const uint32_t g[3], const uint32_t b[3])
{
    dim3 grid(g[0], g[1], g[2]), block(b[0], b[1], b[2]);
    return RUN(grid, block, 0, indices, out);
}

/* Compute what C spells otherwise. */
__global__ static void arithmetic(uint32_t *out /* (n, n, 12) */,
                                  const uint32_t *in /* (n) */, int n)
{
    int me = (int)threadIdx.x;
    uint32_t a = in[me / n], b = in[me % n], *row = out + me * 12;
    uint64_t wide = (uint64_t)a << 32 | b;
    row[0] = (uint32_t)__popc(a);
    row[1] = (uint32_t)__popcll(wide);
    row[2] = (uint32_t)__ffs((int)a);
    row[3] = (uint32_t)__ffsll((long long)wide);
    row[4] = (uint32_t)__clz((int)a);
    row[5] = (uint32_t)__clzll((long long)wide);
    row[6] = __umulhi(a, b);
    row[7] = (uint32_t)__mulhi((int)a, (int)b);
    row[8] = (uint32_t)(__umul64hi(wide, wide) >> 32);
    row[9] = __byte_perm(a, b, 0x6250);
    row[10] = __float_as_uint(__uint_as_float(a));
    row[11] = (uint32_t)max(min((int)a, (int)b), -5);
}

bool simt_arithmetic(uint32_t *out, const uint32_t *in, int n)
{
    return RUN(1, n * n, 0, arithmetic, out, in, n);
}

/* Break the rules of barriers. */
__global__ static void divergent_barrier(int *out, bool right)
{
    if (right || threadIdx.x < 20)
        __syncthreads(); // planted: waits for threads that vote
    out[threadIdx.x] = __any_sync(ALL, 1);
}

__global__ static void two_barriers(int *out, bool right)
{
    if (right || threadIdx.x < 32)
        __syncthreads(); // planted: one of two barriers
    else
        __syncthreads(); // planted: the other of two barriers
    out[threadIdx.x] = 1;
}

__global__ static void exit_before_barrier(int *out, bool right)
{
    if (threadIdx.x >= 40 && !right)
        return;
    out[threadIdx.x] = 1;
    __syncthreads(); // planted: not all threads come
}

__global__ static void barrier_in_a_loop(int *out, bool right)
{
    int turns = right ? 3 : 2 + (int)threadIdx.x / 32;
    for (int i = 0; i < turns; i++)
        __syncthreads(); // planted: the second warp turns once more
    out[threadIdx.x] = 1;
}

/* Break the rules of masks. */
__global__ static void not_in_mask(int *out, bool right)
{
    uint32_t mask = right ? ALL : ALL << 1;
    out[threadIdx.x] = __shfl_sync(mask, 1, 5); // planted: without lane 0
}

__global__ static void two_functions(int *out, bool right)
{
    if (right || threadIdx.x % 2)
        out[threadIdx.x] = __shfl_xor_sync(ALL, 1, 2); // planted: a shuffle
    else
        out[threadIdx.x] = __any_sync(ALL, 1); // planted: a vote
}

__global__ static void two_masks(int *out, bool right)
{
    uint32_t mask = right ? 0xffffu << threadIdx.x / 16 % 2 * 16
                    : threadIdx.x % 32 < 16 ? 0x1ffffu
                                            : 0xffff8000u;
    if (threadIdx.x < 32)
        out[threadIdx.x] = __any_sync(mask, 1); // planted: masks overlap
}

__global__ static void absent_lane(int *out, bool right)
{
    uint32_t mask = 0xffff;
    int from = right ? 3 : 19;
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_sync(mask, 1, from); // planted: lane 19
}

/* Break the rules of matrix instructions. */
__global__ static void part_of_a_warp(int *out, bool right)
{
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    float d[4] = {1, 1, 1, 1};
    if (right || threadIdx.x < 56)
        mma_16816<__half>(d, a, b); // planted: without the last lanes
    out[threadIdx.x] = (int)d[0];
}

__global__ static void two_products(int *out, bool right)
{
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    float d[4] = {1, 1, 1, 1};
    if (right || threadIdx.x % 2)
        mma_16816<__half>(d, a, b); // planted: one product
    else
        mma_16816<__half>(d, a, b); // planted: another product
    out[threadIdx.x] = (int)d[0];
}

/* Never come to an end. */
__global__ static void spin(int *out, bool right)
{
    if (threadIdx.x == 40 && right)
        atomicExch(&out[63], 1);
    while (atomicAdd(&out[63], 0) == 0) // planted: nobody sets it
        ;
    if (threadIdx.x < 63)
        out[threadIdx.x] = 1;
}

__global__ static void trap(int *out, bool right)
{
    out[threadIdx.x] = 1;
    if (threadIdx.x == 33 && !right)
        __trap(); // planted: a trap
}

/* Run a kernel that is wrong, or its twin. */
bool simt_planted(simt_fault fault, bool right, int *out)
{
    static void (*const kernels[SIMT_FAULTS])(int *, bool) = {
        divergent_barrier, two_barriers, exit_before_barrier,
        barrier_in_a_loop, not_in_mask,  two_functions,
        two_masks,         absent_lane,  part_of_a_warp,
        two_products,      spin,         trap,
    };
    auto kernel = kernels[fault];
    return run("planted", 1, 64, 0,
               [=]() SIM_UNOBSERVED { kernel(out, right); });
}
