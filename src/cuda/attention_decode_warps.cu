#include "cuda/attention_decode.cuh"

namespace FO_SIDE
{
namespace
{

/* Size the blocks of V5 and V6. */
constexpr int WARPS = 4, THREADS = WARPS * WARP;

/* Keys a team reads in one step: two or four loads of 16 bytes in flight for
 * keys, and as many for values. */
template <class T> constexpr int keys_at_once = sizeof(T) == 2 ? 4 : 2;

template <int D> struct warps_shared {
    stored_softmax<D> part[WARPS];
};

/* Load the rows of one step. */
/* Row `u` of a team is key first + u teams + its number in the warp. Beyond the
 * last key the last one stands in, so that what is loaded is never wild. */
template <class T, int D, int KEYS>
__device__ void load_step(share_words<T, D> (&k)[KEYS],
                          share_words<T, D> (&v)[KEYS], bool (&seen)[KEYS],
                          const attention_call &call, const int32_t *entries,
                          int n, int head, int first, int last)
{
    using share = row_share<T, D>;
    int64_t row[KEYS];
#pragma unroll
    for (int u = 0; u < KEYS; u++) {
        int key = first + u * share::teams + lane() / share::team;
        seen[u] = key < last;
        key = min(key, last - 1);
        int index = block_index(call, key);
        int32_t block = block_at(call, entries, n, index);
        require_block(call, block);
        row[u] = key_row(call, block, head, key, index);
    }
#pragma unroll
    for (int u = 0; u < KEYS; u++)
        load_share<T, D>(k[u], (const T *)call.k + row[u] * D);
#pragma unroll
    for (int u = 0; u < KEYS; u++)
        load_share<T, D>(v[u], (const T *)call.v + row[u] * D);
}

/* Attend with the warps of a block. */
template <class T, int D>
__device__ void attend_by_warps(const attention_call &call,
                                const partial_results &partials, bool whole)
{
    using share = row_share<T, D>;
    constexpr int KEYS = keys_at_once<T>, step = KEYS * share::teams;
    auto &shared = shared_memory<warps_shared<D>>();
    int h = (int)blockIdx.x, n = (int)blockIdx.y, split = (int)blockIdx.z;
    int head = h / (call.H / call.K);
    decode_span span = find_split(call, n, split, whole);
    if (span.idle)
        return;
    share_values<T, D> q[1];
    share_softmax<T, D> state[1];
    load_query<T, D>(q[0], call, n, h, true);
    softmax_begin(state[0]);
    const int32_t *entries = block_entries(call, n);
    for (int from = span.keys.first + warp() * step; from < span.keys.last;
         from += WARPS * step) {
        share_words<T, D> k[KEYS], v[KEYS];
        bool seen[KEYS];
        load_step<T, D>(k, v, seen, call, entries, n, head, from,
                        span.keys.last);
        fold_keys<T, D>(state, q, k, v, seen);
    }
    merge_teams<T, D>(state);
    store_state<T, D>(shared.part[warp()], state[0]);
    __syncthreads();
    for (int d = (int)threadIdx.x; d < D; d += THREADS)
        finish_head<D>(call, partials, shared.part, WARPS, 1, n, h, split,
                       span.count, d);
}

} // namespace

/* V5 and V6: whole queries, and queries in splits. */
template <class T, int D>
__global__ void __launch_bounds__(THREADS)
    attention_decode_v5(attention_call call)
{
    attend_by_warps<T, D>(call, partial_results{}, true);
}

template <class T, int D>
__global__ void __launch_bounds__(THREADS)
    attention_decode_v6(attention_call call, partial_results partials)
{
    attend_by_warps<T, D>(call, partials, false);
}

/* Launch V5 or V6. */
fo_status decode_warps(const decode_launch &launch, int rung, fo_error *error)
{
    const attention_call &call = launch.call;
    return with_type(launch.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        return with_head_dim(call.D, error, [&](auto size) {
            constexpr int D = decltype(size)::value;
            dim3 grid((unsigned)call.H, (unsigned)call.N);
            dim3 block(THREADS);
            size_t shared = sizeof(warps_shared<D>);
            if (rung == 5) {
                FO_LAUNCH((attention_decode_v5<T, D>), grid, block, shared,
                          launch.stream, call);
                return check_launch("attention_decode_v5", error);
            }
            grid.z = (unsigned)launch.splits;
            FO_LAUNCH((attention_decode_v6<T, D>), grid, block, shared,
                      launch.stream, call,
                      find_partials(launch.workspace, call, launch.splits));
            return check_launch("attention_decode_v6", error);
        });
    });
}

} // namespace FO_SIDE
