/* What the attention kernels of the CUDA side share: the walk over the block
 * table, the running softmax and how two of them merge (Milakov and Gimelshein
 * 2018), and how a kernel template is picked for a type and a head size. */
#ifndef FOLIO_CUDA_ATTENTION_CUH
#define FOLIO_CUDA_ATTENTION_CUH

#include "cuda/device.cuh"
#include "cuda/instructions.cuh"

#include <math.h>

namespace FO_SIDE
{

/* Hand a kernel its arguments. */
/* One op's arguments, passed to kernels by value; letters and arrays as in
 * common/backend.h. */
struct attention_call {
    float *out;                 /* (T, H, D)                              */
    const float *q;             /* (T, H, D), q_stride                    */
    const void *k;              /* [num_blocks][K][B][D]                  */
    const void *v;              /* the same                               */
    const int32_t *table;       /* (max_rows, max_blocks), or null: block */
    const int32_t *row;         /* (N)   n is the one block of sequence n */
    const int32_t *query_start; /* (N + 1)                                */
    const int32_t *length;      /* (N)                                    */
    int N, T, H, K, D, B;
    int num_blocks, max_blocks;
    int q_stride, window, max_length;
    float scale;      /* of scores, log2(e) included: weights are powers of 2 */
    uint32_t inverse; /* of B, see block_index                               */
};

/* Declare what both attention ops do on the host. */
/* FO_ARG as on the CPU, wherever the host can see the reason. */
fo_status attention_check(const fo_kv *kv, const fo_attention *attention,
                          fo_error *error);

/* `tables` is null where block n holds sequence n. */
attention_call attention_call_make(float *out, const float *q, const fo_kv *kv,
                                   const fo_block_tables *tables,
                                   const fo_attention *attention);

/* Whether rows of keys can be read 16 bytes at a time. */
bool attention_aligned(const fo_kv *kv);

/* Find the keys in sight. */
struct key_span {
    int first, last; /* keys [first, last) */
};

/* What `tokens` queries see between them, the first of them at `position`. */
__device__ inline key_span keys_in_sight(const attention_call &call,
                                         int position, int tokens)
{
    int first = call.window ? position - call.window + 1 : 0;
    return {max(first, 0), position + tokens};
}

/* Divide a position by the block size. */
/* key / B, without a division: the product is short by one at most. */
__device__ inline int block_index(const attention_call &call, int key)
{
    uint32_t i = __umulhi((uint32_t)key, call.inverse);
    return (int)(i + ((i + 1) * (uint32_t)call.B <= (uint32_t)key));
}

/* Walk over the block table. */
/* The entries of sequence n; null where its one block is n. */
__device__ inline const int32_t *block_entries(const attention_call &call,
                                               int n)
{
    return call.table ? call.table + (int64_t)call.row[n] * call.max_blocks
                      : nullptr;
}

/* The block that holds keys i B to (i + 1) B of sequence n, -1: not in the
 * table. */
__device__ inline int32_t block_at(const attention_call &call,
                                   const int32_t *entries, int n, int i)
{
    if (!entries)
        return i == 0 ? n : -1;
    return i < call.max_blocks ? entries[i] : -1;
}

__device__ inline int32_t block_of(const attention_call &call, int n, int i)
{
    return block_at(call, block_entries(call, n), n, i);
}

/* A key in sight must have a block; a table that denies it ends the launch. */
__device__ inline void require_block(const attention_call &call, int32_t block)
{
    if ((uint32_t)block >= (uint32_t)call.num_blocks)
        __trap();
}

/* Rows of D numbers from the start of the pool to a key of a kv head. */
__device__ inline int64_t key_row(const attention_call &call, int32_t block,
                                  int head, int key, int index)
{
    return ((int64_t)block * call.K + head) * call.B + (key - index * call.B);
}

/* Keep a running softmax. */
/* Of some keys: the largest score m, the sum l of all 2^(score - m), and for
 * some dimensions the values times 2^(score - m). */
template <int VALUES> struct softmax {
    float maximum;
    float total;
    float sum[VALUES];
};

template <int VALUES> __device__ inline void softmax_begin(softmax<VALUES> &s)
{
    s.maximum = -INFINITY;
    s.total = 0;
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        s.sum[i] = 0;
}

/* Weigh a score. */
/* 2^(score - maximum). Where nothing has been seen the maximum is -inf, and
 * (-inf) - (-inf) would be NaN: what was gathered then weighs nothing. A score
 * that is NaN stays one. */
__device__ inline float softmax_weight(float score, float maximum)
{
    return exp2f(score - (maximum == -INFINITY ? 0.0f : maximum));
}

template <int VALUES>
__device__ inline void softmax_rescale(softmax<VALUES> &s, float maximum)
{
    float kept = softmax_weight(s.maximum, maximum);
    s.maximum = maximum;
    s.total *= kept;
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        s.sum[i] *= kept;
}

/* Merge the softmaxes of two lanes. */
/* Each lane with the one whose number differs by `step`; both get the same
 * bits. All lanes of the warp take part. */
template <int VALUES>
__device__ inline void softmax_merge_lanes(softmax<VALUES> &s, int step)
{
    float other = __shfl_xor_sync(FO_ALL_LANES, s.maximum, step);
    softmax_rescale(s, fmaxf(s.maximum, other));
    s.total += __shfl_xor_sync(FO_ALL_LANES, s.total, step);
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        s.sum[i] += __shfl_xor_sync(FO_ALL_LANES, s.sum[i], step);
}

/* Divide by the total. */
/* A query that sees no key yields zeros. */
__device__ inline float softmax_end(float sum, float total)
{
    return total == 0 ? 0.0f : sum / total;
}

/* Copy tiles of keys and values into shared memory. */
/* TILE rows of K and of V, STRIDE numbers apart, by all THREADS of a block. The
 * blocks of a tile are looked up one step before its bytes are asked for, so
 * that the walk over the table never waits. Rows beyond the last key are zeros,
 * and nothing is read for them: neither table nor pool. */
template <class T, int D, int TILE, int STRIDE, int THREADS> struct tile_copy {
    static constexpr int width = 16 / (int)sizeof(T); /* numbers a copy */
    static constexpr int chunks = D / width;          /* copies a row   */
    static constexpr int pieces = (TILE * chunks + THREADS - 1) / THREADS;

    const int32_t *entries; /* of the sequence                          */
    int32_t block[pieces];  /* of this thread's copies in the next tile */

    /* Look up the blocks of a tile. */
    __device__ void look_up(const attention_call &call, int n, int from,
                            int last)
    {
#pragma unroll
        for (int i = 0; i < pieces; i++) {
            int key = from + ((int)threadIdx.x + i * THREADS) / chunks;
            block[i] = key < last && in_tile(i)
                           ? block_at(call, entries, n, block_index(call, key))
                           : 0;
        }
    }

    /* Ask for the keys and values of a tile. */
    __device__ void request(const attention_call &call, int head, int from,
                            int last, T *k, T *v)
    {
#pragma unroll
        for (int i = 0; i < pieces; i++) {
            int piece = (int)threadIdx.x + i * THREADS;
            int row = piece / chunks, column = piece % chunks * width;
            int key = from + row;
            if (!in_tile(i))
                return;
            require_block(call, block[i]);
            int64_t at =
                key_row(call, block[i], head, key, block_index(call, key)) * D +
                column;
            at = key < last ? at : 0;
            copy_async_16_or_zero(k + row * STRIDE + column,
                                  (const T *)call.k + at, key < last);
            copy_async_16_or_zero(v + row * STRIDE + column,
                                  (const T *)call.v + at, key < last);
        }
    }

    static __device__ bool in_tile(int i)
    {
        return TILE * chunks % THREADS == 0 || i + 1 < pieces ||
               (int)threadIdx.x + i * THREADS < TILE * chunks;
    }
};

/* Pick a kernel by type and head size. */
template <class T> struct type_tag {
    using type = T;
};

template <int N> struct size_tag {
    static constexpr int value = N;
};

/* Call `use` with the tag of a cache's type; kv->dtype has been checked. */
template <class F> fo_status with_type(fo_dtype dtype, F use)
{
    switch (dtype) {
    case FO_F16:
        return use(type_tag<__half>());
    case FO_BF16:
        return use(type_tag<__nv_bfloat16>());
    default:
        return use(type_tag<float>());
    }
}

/* Call `use` with the tag of a head size, or say that there is no kernel. */
template <class F> fo_status with_head_dim(int D, fo_error *error, F use)
{
    switch (D) {
    case 64:
        return use(size_tag<64>());
    case 80:
        return use(size_tag<80>());
    case 96:
        return use(size_tag<96>());
    case 128:
        return use(size_tag<128>());
    case 256:
        return use(size_tag<256>());
    default:
        return fo_fail(error, FO_UNSUPPORTED,
                       "no attention kernel for heads of %d", D);
    }
}

} // namespace FO_SIDE

#endif
