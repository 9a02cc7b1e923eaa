/* Attention on the tensor cores: sixteen queries of a warp meet keys and values
 * that lie in shared memory. T is __half or __nv_bfloat16, as the cache is. */
#ifndef FOLIO_CUDA_ATTENTION_MATRIX_CUH
#define FOLIO_CUDA_ATTENTION_MATRIX_CUH

#include "cuda/attention.cuh"

namespace FO_SIDE
{

/* Lay out rows for the tensor cores. */
constexpr int ROWS = 16; /* queries of a warp */

/* A row in shared memory: its successor begins on other banks. */
template <class T, int D> using padded_row = T[D + 8];

/* Queries, times the scale, divided by a power of two and written as a sum of
 * two numbers. */
template <class T, int D> struct query_rows {
    alignas(16) padded_row<T, D> high[ROWS];
    alignas(16) padded_row<T, D> low[ROWS];
    float unit[ROWS]; /* the power of two */
};

/* Write a query as a sum of two halves. */
/* By a whole warp; zeros where `q` is null. */
template <class T, int D>
__device__ inline void store_query(query_rows<T, D> &to, int row,
                                   const float *q, float scale)
{
    float most = 0;
    for (int d = lane(); d < D && q; d += WARP)
        most = fmaxf(most, fabsf(q[d] * scale));
    uint32_t exponent = __float_as_uint(warp_max(most)) & 0x7f800000u;
    float unit = exponent ? __uint_as_float(exponent) : 1.0f;
    for (int d = lane(); d < D; d += WARP) {
        float x = q ? q[d] * scale / unit : 0.0f;
        T high = from_float<T>(x);
        to.high[row][d] = high;
        to.low[row][d] = from_float<T>(x - to_float(high));
    }
    if (lane() == 0)
        to.unit[row] = unit;
}

/* Load fragments for the tensor cores. */
/* Rows of queries: a 16 x 16 piece of (ROWS, D). */
template <class T, int STRIDE>
__device__ inline void load_rows(uint32_t (&a)[4],
                                 const T (&rows)[ROWS][STRIDE], int column)
{
    load_matrix_x4(a, &rows[lane() % 16][column + lane() / 16 * 8]);
}

/* Keys: 16 of them by 16 dimensions, as the columns of two products. */
template <class T, int STRIDE>
__device__ inline void load_keys(uint32_t (&b)[2][2], const T (*k)[STRIDE],
                                 int column)
{
    uint32_t words[4];
    load_matrix_x4(
        words, &k[lane() / 16 * 8 + lane() % 8][column + lane() / 8 % 2 * 8]);
    b[0][0] = words[0], b[0][1] = words[1];
    b[1][0] = words[2], b[1][1] = words[3];
}

/* Values: 16 keys by 16 dimensions, turned, for two products. */
template <class T, int STRIDE>
__device__ inline void load_values(uint32_t (&b)[2][2], const T (*v)[STRIDE],
                                   int column)
{
    uint32_t words[4];
    load_matrix_x4_transposed(words, &v[lane() % 16][column + lane() / 16 * 8]);
    b[0][0] = words[0], b[0][1] = words[1];
    b[1][0] = words[2], b[1][1] = words[3];
}

/* Keep the queries where they are quickest. */
/* In registers, unless they are too many. */
template <class T, int D> struct query_fragments {
    static constexpr bool kept = D <= 128;
    uint32_t high[kept ? D / 16 : 1][4];
    uint32_t low[kept ? D / 16 : 1][4];

    __device__ void begin(const query_rows<T, D> &rows)
    {
        if constexpr (kept) {
#pragma unroll
            for (int i = 0; i < D / 16; i++) {
                load_rows(high[i], rows.high, i * 16);
                load_rows(low[i], rows.low, i * 16);
            }
        }
    }

    /* Where piece i stands. */
    __device__ int find(const query_rows<T, D> &rows, int i)
    {
        if constexpr (kept)
            return i;
        load_rows(high[0], rows.high, i * 16);
        load_rows(low[0], rows.low, i * 16);
        return 0;
    }
};

/* Score keys with sixteen queries. */
/* Sixteens of keys. As the tensor cores deal it out: score[s][t][2 r + c] of a
 * lane is the product of query lane / 4 + 8 r with key 16 s + 8 t + lane % 4 *
 * 2
 * + c. */
template <class T, int D, int SIXTEENS>
__device__ inline void
multiply_keys(float (&score)[SIXTEENS][2][4], query_fragments<T, D> &fragments,
              const query_rows<T, D> &rows, const padded_row<T, D> *k)
{
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        int at = fragments.find(rows, i);
#pragma unroll
        for (int s = 0; s < SIXTEENS; s++) {
            uint32_t b[2][2];
            load_keys(b, k + 16 * s, i * 16);
#pragma unroll
            for (int t = 0; t < 2; t++) {
                mma_16816<T>(score[s][t], fragments.high[at], b[t]);
                mma_16816<T>(score[s][t], fragments.low[at], b[t]);
            }
        }
    }
}

/* Keep the softmaxes of sixteen queries. */
/* A lane's part: queries lane / 4 and lane / 4 + 8; `total` of its own keys
 * only, sum[i][2 r + c] of dimension 8 i + lane % 4 * 2 + c. */
template <int D> struct matrix_state {
    float maximum[2];
    float total[2];
    float sum[D / 8][4];
};

template <int D> __device__ inline void matrix_begin(matrix_state<D> &s)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        s.maximum[r] = -INFINITY;
        s.total[r] = 0;
    }
#pragma unroll
    for (int i = 0; i < D / 8; i++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            s.sum[i][c] = 0;
}

/* Agree on a row and rescale it. */
__device__ inline float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(FO_ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(FO_ALL_LANES, x, 2));
}

__device__ inline float row_sum(float x)
{
    x += __shfl_xor_sync(FO_ALL_LANES, x, 1);
    return x + __shfl_xor_sync(FO_ALL_LANES, x, 2);
}

template <int D>
__device__ inline void matrix_rescale(matrix_state<D> &s, int r, float maximum)
{
    float kept = softmax_weight(s.maximum[r], maximum);
    s.maximum[r] = maximum;
    s.total[r] *= kept;
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        s.sum[i][2 * r] *= kept;
        s.sum[i][2 * r + 1] *= kept;
    }
}

/* Pack weights for the tensor cores. */
__device__ inline uint32_t bits_of(__half x)
{
    return __half_as_ushort(x);
}

__device__ inline uint32_t bits_of(__nv_bfloat16 x)
{
    return __bfloat16_as_ushort(x);
}

/* Two numbers to a word; what the type cannot hold of them stays behind. */
template <class T> __device__ inline uint32_t pack_pair(float &x, float &y)
{
    T a = from_float<T>(x), b = from_float<T>(y);
    x -= to_float(a);
    y -= to_float(b);
    return bits_of(a) | bits_of(b) << 16;
}

/* Add the values of sixteen keys. */
/* bfloat16 has eight bits of precision: there a weight is a sum of two. */
template <class T> constexpr int weight_terms = 1;
template <> inline constexpr int weight_terms<__nv_bfloat16> = 2;

template <class T> using packed_weights = uint32_t[weight_terms<T>][4];

template <class T, int D>
__device__ inline void pack_weights(packed_weights<T> &packed,
                                    matrix_state<D> &s, float (&weight)[2][4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float &x = weight[i / 2][i % 2 * 2], &y = weight[i / 2][i % 2 * 2 + 1];
        float all = x + y;
#pragma unroll
        for (int term = 0; term < weight_terms<T>; term++)
            packed[term][i] = pack_pair<T>(x, y);
        s.total[i % 2] += all - (x + y);
    }
}

template <class T, int D>
__device__ inline void multiply_values(matrix_state<D> &s,
                                       const packed_weights<T> &packed,
                                       const padded_row<T, D> *v)
{
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        uint32_t b[2][2];
        load_values(b, v, i * 16);
#pragma unroll
        for (int term = 0; term < weight_terms<T>; term++) {
            mma_16816<T>(s.sum[2 * i], packed[term], b[0]);
            mma_16816<T>(s.sum[2 * i + 1], packed[term], b[1]);
        }
    }
}

} // namespace FO_SIDE

#endif
