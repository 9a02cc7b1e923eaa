/* Rung 3 of prefill: tensor cores, and copies that run while they work. T is
 * __half or __nv_bfloat16, as the cache is stored. */
#ifndef FOLIO_CUDA_ATTENTION_PREFILL_TENSOR_CUH
#define FOLIO_CUDA_ATTENTION_PREFILL_TENSOR_CUH

#include "cuda/attention_matrix.cuh"
#include "cuda/attention_prefill.cuh"

namespace FO_SIDE
{

/* Cut the work of rung 3. */
/* Four warps of 16 rows meet tiles of keys. */
template <int D> struct tensor_cut {
    enum {
        warps = 4,
        threads = warps * (int)WARP,
        rows = warps * ROWS,
        keys = D <= 128 ? 64 : 32,
    };
};

template <class T, int D> struct tensor_shared {
    using cut = tensor_cut<D>;
    query_rows<T, D> query[cut::warps];
    alignas(16) padded_row<T, D> key[cut::keys];
    alignas(16) padded_row<T, D> value[cut::keys];
    int64_t place[2][cut::keys]; /* in the pool, -1: out of sight */
};

/* Hold what a warp computes. */
/* A lane's part, as the tensor cores deal it out: of rows lane / 4 and lane / 4
 * + 8. */
template <int D> struct tensor_warp {
    using cut = tensor_cut<D>;
    int low, high;   /* positions of the warp's first and last row */
    int position[2]; /* of the lane's rows                         */
    float unit[2];
    float score[cut::keys / 16][2][4]; /* weights later */
    matrix_state<D> s;
};

/* Begin the rows of a tensor warp. */
template <class T, int D>
__device__ inline void begin_warp(tensor_warp<D> &w, query_rows<T, D> &query,
                                  const attention_call &call,
                                  const prefill_tile &tile)
{
    int first = warp() * ROWS, last = min(first + ROWS, tile.rows) - 1;
    for (int r = 0; r < ROWS; r++)
        store_query(query, r,
                    first + r <= last ? query_of(call, tile, first + r)
                                      : nullptr,
                    call.scale);
    __syncwarp();
    w.low = position_of(tile, first);
    w.high = last < first ? -1 : position_of(tile, last);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        w.position[i] = position_of(tile, first + lane() / 4 + 8 * i);
        w.unit[i] = query.unit[lane() / 4 + 8 * i];
    }
    matrix_begin(w.s);
}

/* Ask for a tile of keys or values. */
template <class T, int D>
__device__ inline void request(padded_row<T, D> *tile, const void *pool,
                               const int64_t *place)
{
    using cut = tensor_cut<D>;
    for (int i = (int)threadIdx.x; i < cut::keys * D / 8; i += cut::threads) {
        int key = i / (D / 8), d = i % (D / 8) * 8;
        int64_t at = place[key];
        copy_async_16_or_zero(&tile[key][d],
                              (const T *)pool + (at < 0 ? 0 : at) + d, at >= 0);
    }
    copy_async_commit();
}

/* Say whether a warp sees nothing of a tile. */
template <int D>
__device__ inline bool is_blind(const tensor_warp<D> &w, int from, int window)
{
    int behind = w.low - (from + tensor_cut<D>::keys - 1);
    return w.high < from || (window > 0 && behind >= window);
}

/* Begin the scores of a tile. */
template <int D> __device__ inline void begin_scores(tensor_warp<D> &w)
{
#pragma unroll
    for (int i = 0; i < tensor_cut<D>::keys / 8; i++)
#pragma unroll
        for (int x = 0; x < 4; x++)
            w.score[i / 2][i % 2][x] = 0;
}

/* Hide the keys that a row does not see. */
/* Most tiles lie wholly in sight of all rows of a warp. */
template <int D>
__device__ inline void hide(tensor_warp<D> &w, int from, int window)
{
    using cut = tensor_cut<D>;
    if (sees(w.low - (from + cut::keys - 1), window) &&
        sees(w.high - from, window))
        return;
#pragma unroll
    for (int i = 0; i < cut::keys / 8; i++)
#pragma unroll
        for (int x = 0; x < 4; x++) {
            int key = from + i * 8 + lane() % 4 * 2 + x % 2;
            if (!sees(w.position[x / 2] - key, window))
                w.score[i / 2][i % 2][x] = -INFINITY;
        }
}

/* Turn the scores of a tile into weights. */
/* 2^14 times those of rung 2, in sums and totals alike: a half then tells a
 * weight of 2^-38 from nothing. */
template <int D> __device__ inline void weigh_tile(tensor_warp<D> &w)
{
    using cut = tensor_cut<D>;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float most = -INFINITY;
#pragma unroll
        for (int i = 0; i < cut::keys / 4; i++)
            most = fmaxf(most, w.score[i / 4][i / 2 % 2][2 * r + i % 2]);
        most = fmaxf(w.s.maximum[r], row_max(most) * w.unit[r]);
        matrix_rescale(w.s, r, most);
        float base = most == -INFINITY ? 0.0f : most - 14.0f;
#pragma unroll
        for (int i = 0; i < cut::keys / 4; i++) {
            float &x = w.score[i / 4][i / 2 % 2][2 * r + i % 2];
            x = exp2f(fmaf(x, w.unit[r], -base));
        }
    }
}

/* Pack the weights of a tile and add its values. */
template <class T, int D>
using tensor_weights = packed_weights<T>[tensor_cut<D>::keys / 16];

template <class T, int D>
__device__ inline void pack_tile(tensor_warp<D> &w,
                                 tensor_weights<T, D> &weights)
{
#pragma unroll
    for (int i = 0; i < tensor_cut<D>::keys / 16; i++)
        pack_weights<T>(weights[i], w.s, w.score[i]);
}

template <class T, int D>
__device__ inline void add_values(tensor_warp<D> &w,
                                  const tensor_weights<T, D> &weights,
                                  const tensor_shared<T, D> &shared)
{
#pragma unroll
    for (int i = 0; i < tensor_cut<D>::keys / 16; i++)
        multiply_values<T, D>(w.s, weights[i], shared.value + 16 * i);
}

/* Write the answers of a warp. */
/* Two neighbouring lanes swap halves, so that each has four columns to write.
 */
template <int D>
__device__ inline void write_answers(const tensor_warp<D> &w,
                                     const attention_call &call,
                                     const prefill_tile &tile)
{
    bool odd = lane() % 2;
    int column = lane() % 2 * 8 + lane() % 4 / 2 * 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float total = row_sum(w.s.total[r]);
        int row = warp() * ROWS + lane() / 4 + 8 * r;
        float *out = row < tile.rows ? answer_of(call, tile, row) : nullptr;
#pragma unroll
        for (int i = 0; i < D / 8; i += 2) {
            float mine[2], other[2];
#pragma unroll
            for (int x = 0; x < 2; x++) {
                float left = softmax_end(w.s.sum[i][2 * r + x], total);
                float right = softmax_end(w.s.sum[i + 1][2 * r + x], total);
                mine[x] = odd ? right : left;
                other[x] = __shfl_xor_sync(FO_ALL_LANES, odd ? left : right, 1);
            }
            /* Write four columns of a row. */
            if (out && odd)
                store_four(out + i * 8 + column, other[0], other[1], mine[0],
                           mine[1]);
            else if (out)
                store_four(out + i * 8 + column, mine[0], mine[1], other[0],
                           other[1]);
        }
    }
}

/* Work through the tiles of keys. */
template <class T, int D>
__device__ inline void
work_through(tensor_warp<D> &w, tensor_shared<T, D> &shared,
             query_fragments<T, D> &fragments, const attention_call &call,
             const prefill_tile &tile, key_span seen)
{
    using cut = tensor_cut<D>;
    int key = (int)threadIdx.x; /* of a tile, that this thread looks up */
    int from = seen.first / cut::keys * cut::keys, turn = 0;
    for (; from < seen.last; turn = 1 - turn, from += cut::keys) {
        bool blind = is_blind(w, from, call.window);
        tensor_weights<T, D> weights;
        /* Score a tile of keys while its values are on their way. */
        int64_t next = -1;
        copy_async_wait<0>();
        __syncthreads();
        request<T, D>(shared.value, call.v, shared.place[turn]);
        if (key < cut::keys)
            next = place_of(call, tile.sequence, tile.head, seen,
                            from + cut::keys + key);
        if (!blind) {
            begin_scores(w);
            multiply_keys<T, D>(w.score, fragments, shared.query[warp()],
                                shared.key);
            hide(w, from, call.window);
            weigh_tile(w);
            pack_tile<T>(w, weights);
        }
        if (key < cut::keys)
            shared.place[1 - turn][key] = next;
        /* Add a tile of values while the next keys are on their way. */
        copy_async_wait<0>();
        __syncthreads();
        if (from + cut::keys < seen.last)
            request<T, D>(shared.key, call.k, shared.place[1 - turn]);
        if (!blind)
            add_values<T>(w, weights, shared);
    }
    copy_async_wait<0>();
}

/* Lead a tile of rows along its keys. */
template <class T, int D>
__global__ void __launch_bounds__(tensor_cut<D>::threads)
    attention_prefill_tensor(attention_call call)
{
    using cut = tensor_cut<D>;
    auto &shared = shared_memory<tensor_shared<T, D>>();
    prefill_tile tile = find_tile<cut::rows>(call);
    if (tile.rows <= 0)
        return;
    key_span seen = keys_in_sight(call, tile);
    int thread = (int)threadIdx.x, from = seen.first / cut::keys * cut::keys;
    if (thread < cut::keys)
        shared.place[0][thread] =
            place_of(call, tile.sequence, tile.head, seen, from + thread);
    __syncthreads();
    request<T, D>(shared.key, call.k, shared.place[0]);
    query_fragments<T, D> fragments;
    tensor_warp<D> w;
    begin_warp(w, shared.query[warp()], call, tile);
    fragments.begin(shared.query[warp()]);
    work_through(w, shared, fragments, call, tile, seen);
    write_answers(w, call, tile);
}

} // namespace FO_SIDE

#endif
