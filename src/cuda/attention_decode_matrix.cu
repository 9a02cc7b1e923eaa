#include "cuda/attention_decode.cuh"

namespace FO_SIDE
{
namespace
{

/* Size the tiles of V8. */
constexpr int ROWS = 16;  /* query heads of a block */
constexpr int STAGES = 2; /* tiles in flight        */

template <int D> struct matrix_size {
    static constexpr int warps = D <= 128 ? 4 : 2; /* 16 keys of a tile each */
    static constexpr int threads = warps * WARP;
    static constexpr int tile = warps * 16;
    static constexpr int stride = D + 8; /* rows begin on other banks */
};

template <class T, int D> using padded_row = T[matrix_size<D>::stride];

template <class T, int D> struct matrix_tile {
    alignas(16) T k[matrix_size<D>::tile][matrix_size<D>::stride];
    alignas(16) T v[matrix_size<D>::tile][matrix_size<D>::stride];
};

/* Lay out the shared memory of V8. */
/* The queries, each divided by a power of two and written as a sum of two. */
template <class T, int D> struct query_rows {
    alignas(16) T high[ROWS][matrix_size<D>::stride];
    alignas(16) T low[ROWS][matrix_size<D>::stride];
    float unit[ROWS]; /* the power of two, times the scale */
};

template <class T, int D> struct matrix_shared {
    query_rows<T, D> query;
    union {
        matrix_tile<T, D> stage[STAGES];
        stored_softmax<D> part[matrix_size<D>::warps][ROWS]; /* at the end */
    };
};

/* Write the queries as sums of two halves. */
template <class T, int D>
__device__ void store_queries(query_rows<T, D> &to, const attention_call &call,
                              int n, int first_head, int heads)
{
    for (int row = warp(); row < ROWS; row += matrix_size<D>::warps) {
        const float *q = call.q + (int64_t)n * call.q_stride +
                         (int64_t)(first_head + row) * D;
        float most = 0;
        for (int d = lane(); d < D && row < heads; d += WARP)
            most = fmaxf(most, fabsf(q[d]));
        uint32_t exponent = __float_as_uint(warp_max(most)) & 0x7f800000u;
        float unit = exponent ? __uint_as_float(exponent) : 1.0f;
        for (int d = lane(); d < D; d += WARP) {
            float x = row < heads ? q[d] / unit : 0.0f;
            T high = from_float<T>(x);
            to.high[row][d] = high;
            to.low[row][d] = from_float<T>(x - to_float(high));
        }
        if (lane() == 0)
            to.unit[row] = unit * call.scale;
    }
}

/* Load fragments for the tensor cores. */
/* Rows of queries: a 16 x 16 piece of (ROWS, D). */
template <class T, int STRIDE>
__device__ void load_rows(uint32_t (&a)[4], const T (&rows)[ROWS][STRIDE],
                          int column)
{
    load_matrix_x4(a, &rows[lane() % 16][column + lane() / 16 * 8]);
}

/* Keys: 16 of them by 16 dimensions, as the columns of two products. */
template <class T, int STRIDE>
__device__ void load_keys(uint32_t (&b)[2][2], const T (*k)[STRIDE], int column)
{
    uint32_t words[4];
    load_matrix_x4(
        words, &k[lane() / 16 * 8 + lane() % 8][column + lane() / 8 % 2 * 8]);
    b[0][0] = words[0], b[0][1] = words[1];
    b[1][0] = words[2], b[1][1] = words[3];
}

/* Values: 16 keys by 16 dimensions, turned, for two products. */
template <class T, int STRIDE>
__device__ void load_values(uint32_t (&b)[2][2], const T (*v)[STRIDE],
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

/* Score sixteen keys with sixteen queries. */
/* As the tensor cores deal it out: score[t][2 r + c] of a lane is the product
 * of query lane / 4 + 8 r with key 8 t + lane % 4 * 2 + c. */
template <class T, int D>
__device__ void
multiply_keys(float (&score)[2][4], query_fragments<T, D> &fragments,
              const query_rows<T, D> &rows, const padded_row<T, D> *k)
{
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        uint32_t b[2][2];
        load_keys(b, k, i * 16);
        int at = fragments.find(rows, i);
#pragma unroll
        for (int t = 0; t < 2; t++) {
            mma_16816<T>(score[t], fragments.high[at], b[t]);
            mma_16816<T>(score[t], fragments.low[at], b[t]);
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

template <int D> __device__ void matrix_begin(matrix_state<D> &s)
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

/* Turn sixteen by sixteen scores into weights. */
/* `first` of the sixteen keys is in sight, those from `last` on are not. */
template <int D>
__device__ void weigh(matrix_state<D> &s, float (&score)[2][4],
                      const float (&unit)[2], int first, int last)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float most = s.maximum[r];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float &x = score[i / 2][2 * r + i % 2];
            int key = first + i / 2 * 8 + lane() % 4 * 2 + i % 2;
            x = key < last ? x * unit[r] : -INFINITY;
            most = fmaxf(most, x);
        }
        most = fmaxf(most, __shfl_xor_sync(FO_ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(FO_ALL_LANES, most, 2));
        float kept = softmax_weight(s.maximum[r], most);
        s.maximum[r] = most;
        s.total[r] *= kept;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            s.sum[i][2 * r] *= kept;
            s.sum[i][2 * r + 1] *= kept;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float &x = score[i / 2][2 * r + i % 2];
            x = softmax_weight(x, most);
        }
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
template <class T> __device__ uint32_t pack_pair(float &x, float &y)
{
    T a = from_float<T>(x), b = from_float<T>(y);
    x -= to_float(a);
    y -= to_float(b);
    return bits_of(a) | bits_of(b) << 16;
}

/* Add the values of sixteen keys. */
/* bfloat16 has eight bits of precision: there a weight is a sum of two. */
template <class T> constexpr int weight_terms = 1;
template <> constexpr int weight_terms<__nv_bfloat16> = 2;

template <class T, int D>
__device__ void multiply_values(matrix_state<D> &s, float (&weight)[2][4],
                                const padded_row<T, D> *v)
{
    uint32_t a[weight_terms<T>][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float &x = weight[i / 2][i % 2 * 2], &y = weight[i / 2][i % 2 * 2 + 1];
        float all = x + y;
#pragma unroll
        for (int term = 0; term < weight_terms<T>; term++)
            a[term][i] = pack_pair<T>(x, y);
        s.total[i % 2] += all - (x + y);
    }
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        uint32_t b[2][2];
        load_values(b, v, i * 16);
#pragma unroll
        for (int term = 0; term < weight_terms<T>; term++) {
            mma_16816<T>(s.sum[2 * i], a[term], b[0]);
            mma_16816<T>(s.sum[2 * i + 1], a[term], b[1]);
        }
    }
}

/* Leave sixteen softmaxes in shared memory. */
template <int D>
__device__ void store_matrix(stored_softmax<D> (&part)[ROWS],
                             matrix_state<D> &s, int heads)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int row = lane() / 4 + 8 * r;
        s.total[r] += __shfl_xor_sync(FO_ALL_LANES, s.total[r], 1);
        s.total[r] += __shfl_xor_sync(FO_ALL_LANES, s.total[r], 2);
        if (row >= heads)
            continue;
        if (lane() % 4 == 0) {
            part[row].maximum = s.maximum[r];
            part[row].total = s.total[r];
        }
#pragma unroll
        for (int i = 0; i < D / 8; i++)
#pragma unroll
            for (int c = 0; c < 2; c++)
                part[row].sum[8 * i + lane() % 4 * 2 + c] = s.sum[i][2 * r + c];
    }
}

/* Run tiles through the tensor cores. */
template <class T, int D>
__device__ void run_tiles(matrix_state<D> &state, matrix_shared<T, D> &shared,
                          const attention_call &call, int n, int head,
                          key_span keys)
{
    using size = matrix_size<D>;
    tile_copy<T, D, size::tile, size::stride, size::threads> copy;
    query_fragments<T, D> fragments;
    int mine = warp() * 16;
    copy.look_up(call, n, keys.first, keys.last);
    copy.request(call, head, keys.first, keys.last, shared.stage[0].k[0],
                 shared.stage[0].v[0]);
    copy_async_commit();
    copy.look_up(call, n, keys.first + size::tile, keys.last);
    __syncthreads();
    fragments.begin(shared.query);
    float unit[2] = {shared.query.unit[lane() / 4],
                     shared.query.unit[lane() / 4 + 8]};
    int stage = 0;
    for (int from = keys.first; from < keys.last; from += size::tile) {
        copy_async_wait<0>();
        __syncthreads();
        /* Ask for the next tile. */
        int next = from + size::tile;
        if (next < keys.last)
            copy.request(call, head, next, keys.last,
                         shared.stage[1 - stage].k[0],
                         shared.stage[1 - stage].v[0]);
        copy_async_commit();
        copy.look_up(call, n, next + size::tile, keys.last);
        if (from + mine < keys.last) {
            float score[2][4] = {};
            multiply_keys<T, D>(score, fragments, shared.query,
                                &shared.stage[stage].k[mine]);
            weigh(state, score, unit, from + mine, keys.last);
            multiply_values<T, D>(state, score, &shared.stage[stage].v[mine]);
        }
        stage = 1 - stage;
    }
    copy_async_wait<0>();
    __syncthreads();
}

} // namespace

/* V8: a group of query heads on the tensor cores. */
template <class T, int D>
__global__ void __launch_bounds__(matrix_size<D>::threads)
    attention_decode_v8(attention_call call, partial_results partials)
{
    auto &shared = shared_memory<matrix_shared<T, D>>();
    int group = call.H / call.K, packs = (int)gridDim.x / call.K;
    int n = (int)blockIdx.y, split = (int)blockIdx.z;
    int head = (int)blockIdx.x / packs, pack = (int)blockIdx.x % packs;
    int first_head = head * group + pack * ROWS;
    int heads = min(group - pack * ROWS, ROWS);
    decode_span span = find_split(call, n, split, false);
    if (span.idle)
        return;
    store_queries(shared.query, call, n, first_head, heads);
    matrix_state<D> state;
    matrix_begin(state);
    run_tiles(state, shared, call, n, head, span.keys);
    store_matrix(shared.part[warp()], state, heads);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < heads * D; i += matrix_size<D>::threads)
        finish_head<D>(call, partials, &shared.part[0][i / D],
                       matrix_size<D>::warps, ROWS, n, first_head + i / D,
                       split, span.count, i % D);
}

/* Launch V8. */
template <class T>
fo_status launch_matrix(const decode_launch &launch, fo_error *error)
{
    const attention_call &call = launch.call;
    return with_head_dim(call.D, error, [&](auto size) {
        constexpr int D = decltype(size)::value;
        int packs = (call.H / call.K + ROWS - 1) / ROWS;
        dim3 grid((unsigned)(call.K * packs), (unsigned)call.N,
                  (unsigned)launch.splits);
        FO_LAUNCH((attention_decode_v8<T, D>), grid,
                  dim3(matrix_size<D>::threads), sizeof(matrix_shared<T, D>),
                  launch.stream, call,
                  find_partials(launch.workspace, call, launch.splits));
        return check_launch("attention_decode_v8", error);
    });
}

fo_status decode_matrix(const decode_launch &launch, fo_error *error)
{
    if (launch.dtype == FO_F16)
        return launch_matrix<__half>(launch, error);
    if (launch.dtype == FO_BF16)
        return launch_matrix<__nv_bfloat16>(launch, error);
    return fo_fail(error, FO_UNSUPPORTED,
                   "tensor cores multiply no keys of type %s",
                   fo_dtype_info_get(launch.dtype)->name);
}

} // namespace FO_SIDE
