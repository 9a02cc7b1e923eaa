#include "cuda/attention_decode.cuh"
#include "cuda/attention_matrix.cuh"

namespace FO_SIDE
{
namespace
{

/* Size the tiles of V8. */
constexpr int STAGES = 2; /* tiles in flight */

template <int D> struct matrix_size {
    static constexpr int warps = D <= 128 ? 4 : 2; /* 16 keys of a tile each */
    static constexpr int threads = warps * WARP;
    static constexpr int tile = warps * 16;
};

/* Lay out the shared memory of V8. */
template <class T, int D> struct matrix_tile {
    alignas(16) padded_row<T, D> k[matrix_size<D>::tile];
    alignas(16) padded_row<T, D> v[matrix_size<D>::tile];
};

template <class T, int D> struct matrix_shared {
    query_rows<T, D> query;
    union {
        matrix_tile<T, D> stage[STAGES];
        stored_softmax<D> part[matrix_size<D>::warps][ROWS]; /* at the end */
    };
};

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
        most = row_max(most);
        matrix_rescale(s, r, most);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float &x = score[i / 2][2 * r + i % 2];
            x = softmax_weight(x, most);
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
        s.total[r] = row_sum(s.total[r]);
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
    tile_copy<T, D, size::tile, D + 8, size::threads> copy;
    query_fragments<T, D> fragments;
    int mine = warp() * 16;
    copy.entries = block_entries(call, n);
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
            float score[1][2][4] = {};
            multiply_keys<T, D>(score, fragments, shared.query,
                                &shared.stage[stage].k[mine]);
            weigh(state, score[0], unit, from + mine, keys.last);
            packed_weights<T> packed;
            pack_weights<T>(packed, state, score[0]);
            multiply_values<T, D>(state, packed, &shared.stage[stage].v[mine]);
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
    for (int row = warp(); row < ROWS; row += matrix_size<D>::warps)
        store_query(shared.query, row,
                    row < heads ? call.q + (int64_t)n * call.q_stride +
                                      (int64_t)(first_head + row) * D
                                : nullptr,
                    call.scale);
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
