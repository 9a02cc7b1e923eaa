/* Rung 2 of prefill: a tile of rows meets a strip of keys in shared memory, in
 * float32 arithmetic. */
#ifndef FOLIO_CUDA_ATTENTION_PREFILL_TILED_CUH
#define FOLIO_CUDA_ATTENTION_PREFILL_TILED_CUH

#include "cuda/attention_prefill.cuh"

namespace FO_SIDE
{

/* Cut the work of rung 2. */
/* 16 teams of 8 lanes. A team has `each` rows; its member m has keys m, m + 8,
 * m + 16 and m + 24 of a strip, and of the sums the fours of columns m, m + 8
 * and so on. */
template <int D> struct tiled_cut {
    enum {
        threads = 128,
        team = 8,
        each = D <= 128 ? 4 : 2,
        rows = threads / team * each,
        keys = 32,
        scores = keys / team,
        pitch = D + 4, /* from row to row: an odd number of fours */
        fours = (D / 4 + team - 1) / team,
    };
};

template <int D> struct tiled_shared {
    using cut = tiled_cut<D>;
    float q[cut::rows][cut::pitch];
    float strip[cut::keys][cut::pitch]; /* keys at first, then values */
    float weight[cut::rows][cut::keys + 4];
    int64_t place[cut::keys]; /* in the pool, -1: out of sight */
};

/* Hold what a member of a team computes. */
template <int D> struct tiled_member {
    using cut = tiled_cut<D>;
    int row;                 /* the team's first */
    int member;              /* of the team      */
    int position[cut::each]; /* of the rows      */
    float score[cut::each][cut::scores];
    softmax<4 * cut::fours> s[cut::each]; /* totals of this member's keys */
};

template <int D>
__device__ inline void begin_member(tiled_member<D> &m,
                                    const prefill_tile &tile)
{
    using cut = tiled_cut<D>;
    m.row = (int)threadIdx.x / cut::team * cut::each;
    m.member = (int)threadIdx.x % cut::team;
#pragma unroll
    for (int i = 0; i < cut::each; i++) {
        m.position[i] = position_of(tile, m.row + i);
        softmax_begin(m.s[i]);
    }
}

/* Bring the queries of a tile to shared memory. */
template <int D>
__device__ inline void bring_queries(tiled_shared<D> &shared,
                                     const attention_call &call,
                                     const prefill_tile &tile)
{
    using cut = tiled_cut<D>;
    for (int i = (int)threadIdx.x; i < cut::rows * D; i += cut::threads) {
        int r = i / D, d = i % D;
        shared.q[r][d] =
            r < tile.rows ? query_of(call, tile, r)[d] * call.scale : 0.0f;
    }
}

/* Widen sixteen stored bytes. */
__device__ inline void widen(float (&x)[4], const float *from)
{
    load_four(x, from);
}

__device__ inline float widen(unsigned bits, const __half *)
{
    return __half2float(__ushort_as_half((unsigned short)bits));
}

__device__ inline float widen(unsigned bits, const __nv_bfloat16 *)
{
    return __uint_as_float(bits << 16);
}

template <class T> __device__ inline void widen(float (&x)[8], const T *from)
{
    uint4 bits = load_16(from);
    const uint32_t word[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = widen(word[i] & 0xffff, from);
        x[2 * i + 1] = widen(word[i] >> 16, from);
    }
}

/* Bring a strip of keys or values to shared memory. */
template <class T, int D>
__device__ inline void bring_strip(tiled_shared<D> &shared, const T *pool)
{
    using cut = tiled_cut<D>;
    constexpr int piece = 16 / (int)sizeof(T), pieces = D / piece;
    for (int i = (int)threadIdx.x; i < cut::keys * pieces; i += cut::threads) {
        int key = i / pieces, d = i % pieces * piece;
        float x[piece] = {};
        if (shared.place[key] >= 0)
            widen(x, pool + shared.place[key] + d);
#pragma unroll
        for (int j = 0; j < piece; j += 4)
            store_four(&shared.strip[key][d + j], x[j], x[j + 1], x[j + 2],
                       x[j + 3]);
    }
}

/* Score a strip of keys. */
template <int D>
__device__ inline void score_strip(tiled_member<D> &m,
                                   const tiled_shared<D> &shared)
{
    using cut = tiled_cut<D>;
#pragma unroll
    for (int i = 0; i < cut::each; i++)
#pragma unroll
        for (int c = 0; c < cut::scores; c++)
            m.score[i][c] = 0;
#pragma unroll 4
    for (int d = 0; d < D; d += 4) {
        float k[cut::scores][4], q[4];
#pragma unroll
        for (int c = 0; c < cut::scores; c++)
            load_four(k[c], &shared.strip[m.member + cut::team * c][d]);
#pragma unroll
        for (int i = 0; i < cut::each; i++) {
            load_four(q, &shared.q[m.row + i][d]);
#pragma unroll
            for (int c = 0; c < cut::scores; c++)
#pragma unroll
                for (int x = 0; x < 4; x++)
                    m.score[i][c] += q[x] * k[c][x];
        }
    }
}

/* Weigh the scores of a team. */
template <int D>
__device__ inline void weigh_strip(tiled_member<D> &m, tiled_shared<D> &shared,
                                   int from, int window)
{
    using cut = tiled_cut<D>;
#pragma unroll
    for (int i = 0; i < cut::each; i++) {
        float largest = m.s[i].maximum;
#pragma unroll
        for (int c = 0; c < cut::scores; c++) {
            int behind = m.position[i] - (from + m.member + cut::team * c);
            if (!sees(behind, window))
                m.score[i][c] = -INFINITY;
            largest = fmaxf(largest, m.score[i][c]);
        }
        softmax_rescale(m.s[i], team_max<cut::team>(largest));
#pragma unroll
        for (int c = 0; c < cut::scores; c++) {
            float weight = softmax_weight(m.score[i][c], m.s[i].maximum);
            m.s[i].total += weight;
            shared.weight[m.row + i][m.member + cut::team * c] = weight;
        }
    }
}

/* Add the values of a strip. */
template <int D>
__device__ inline void add_strip(tiled_member<D> &m,
                                 const tiled_shared<D> &shared)
{
    using cut = tiled_cut<D>;
#pragma unroll 1
    for (int key = 0; key < cut::keys; key += 4) {
        float weight[cut::each][4], v[4];
#pragma unroll
        for (int i = 0; i < cut::each; i++)
            load_four(weight[i], &shared.weight[m.row + i][key]);
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int c = 0; c < cut::fours; c++) {
                int column = 4 * (m.member + cut::team * c);
                if (column >= D)
                    continue;
                load_four(v, &shared.strip[key + j][column]);
#pragma unroll
                for (int i = 0; i < cut::each; i++)
#pragma unroll
                    for (int x = 0; x < 4; x++)
                        m.s[i].sum[4 * c + x] += weight[i][j] * v[x];
            }
    }
}

/* Write the answers of a team. */
template <int D>
__device__ inline void write_answers(const tiled_member<D> &m,
                                     const attention_call &call,
                                     const prefill_tile &tile)
{
    using cut = tiled_cut<D>;
#pragma unroll
    for (int i = 0; i < cut::each; i++) {
        float total = team_sum<cut::team>(m.s[i].total);
        if (m.row + i >= tile.rows)
            continue;
        const float *sum = m.s[i].sum;
        float *out = answer_of(call, tile, m.row + i);
#pragma unroll
        for (int c = 0; c < cut::fours; c++) {
            int column = 4 * (m.member + cut::team * c);
            if (column < D)
                store_four(out + column, softmax_end(sum[4 * c], total),
                           softmax_end(sum[4 * c + 1], total),
                           softmax_end(sum[4 * c + 2], total),
                           softmax_end(sum[4 * c + 3], total));
        }
    }
}

/* Lead a tile of rows along its strips. */
template <class T, int D>
__global__ void __launch_bounds__(tiled_cut<D>::threads)
    attention_prefill_tiled(attention_call call)
{
    using cut = tiled_cut<D>;
    auto &shared = shared_memory<tiled_shared<D>>();
    prefill_tile tile = find_tile<cut::rows>(call);
    if (tile.rows <= 0)
        return;
    key_span seen = keys_in_sight(call, tile);
    tiled_member<D> m;
    begin_member(m, tile);
    bring_queries(shared, call, tile);
    int thread = (int)threadIdx.x;
    for (int from = seen.first / cut::keys * cut::keys; from < seen.last;
         from += cut::keys) {
        if (thread < cut::keys)
            shared.place[thread] =
                place_of(call, tile.sequence, tile.head, seen, from + thread);
        __syncthreads();
        bring_strip(shared, (const T *)call.k);
        __syncthreads();
        score_strip(m, shared);
        weigh_strip(m, shared, from, call.window);
        __syncthreads();
        bring_strip(shared, (const T *)call.v);
        __syncthreads();
        add_strip(m, shared);
    }
    write_answers(m, call, tile);
}

} // namespace FO_SIDE

#endif
