#include "cuda/attention_decode.cuh"

namespace FO_SIDE
{
namespace
{

/* Size the pipeline of V7. */
constexpr int WARPS = 4, THREADS = WARPS * WARP, STAGES = 3;

constexpr int grow_tile(int keys, int key_bytes)
{
    return 2 * keys * key_bytes > 16 * 1024 ? keys
                                            : grow_tile(2 * keys, key_bytes);
}

/* Keys of a tile: 16 KB of keys and values, and at least a key a team. */
template <class T, int D>
constexpr int tile_keys = grow_tile(WARPS *row_share<T, D>::teams,
                                    2 * D * (int)sizeof(T));

template <class T, int D> struct tile {
    alignas(16) T k[tile_keys<T, D>][D];
    alignas(16) T v[tile_keys<T, D>][D];
};

/* The tiles in flight; at the end what the warps have gathered. */
template <class T, int D, int GROUP> union groups_shared {
    tile<T, D> stage[STAGES];
    stored_softmax<D> part[WARPS][GROUP];
};

/* Deal the work of a block to its warps. */
/* A block serves `heads` query heads of one kv head, GROUP of them a warp; the
 * warps that share heads share out the keys of each tile. */
struct block_share {
    int n, head, split; /* sequence, kv head, split             */
    int first_head;     /* of the block's query heads           */
    int heads;          /* that exist                           */
    int head_parts;     /* warps side by side over query heads  */
    int key_parts;      /* warps side by side over keys         */
    int head_part;      /* of this warp                         */
    int key_part;       /* of this warp                         */
};

template <int GROUP>
__device__ block_share find_share(const attention_call &call, int head_parts)
{
    int packs = (int)gridDim.x / call.K, each = head_parts * GROUP;
    int pack = (int)blockIdx.x % packs, group = call.H / call.K;
    block_share b;
    b.n = (int)blockIdx.y;
    b.head = (int)blockIdx.x / packs;
    b.split = (int)blockIdx.z;
    b.first_head = b.head * group + pack * each;
    b.heads = min(each, group - pack * each);
    b.head_parts = head_parts;
    b.key_parts = WARPS / head_parts;
    b.head_part = warp() / b.key_parts;
    b.key_part = warp() % b.key_parts;
    return b;
}

/* Fold a tile from shared memory. */
template <class T, int D, int GROUP>
__device__ void fold_tile(share_softmax<T, D> (&state)[GROUP],
                          const share_values<T, D> (&q)[GROUP],
                          const tile<T, D> &tile, const block_share &b,
                          int from, int last)
{
    using share = row_share<T, D>;
    constexpr int each = tile_keys<T, D> / WARPS;
    constexpr int KEYS = each / share::teams;
    for (int part = b.key_part; part < WARPS; part += b.key_parts) {
        share_words<T, D> k[KEYS], v[KEYS];
        bool seen[KEYS];
#pragma unroll
        for (int u = 0; u < KEYS; u++) {
            int row = part * each + u * share::teams + lane() / share::team;
            seen[u] = from + row < last;
            load_share<T, D>(k[u], tile.k[row]);
            load_share<T, D>(v[u], tile.v[row]);
        }
        fold_keys<T, D>(state, q, k, v, seen);
    }
}

/* Run tiles through the pipeline. */
template <class T, int D, int GROUP>
__device__ void
run_pipeline(share_softmax<T, D> (&state)[GROUP],
             const share_values<T, D> (&q)[GROUP], tile<T, D> (&stage)[STAGES],
             const attention_call &call, const block_share &b, key_span keys)
{
    constexpr int TILE = tile_keys<T, D>;
    tile_copy<T, D, TILE, D, THREADS> copy;
    int tiles = (keys.last - keys.first + TILE - 1) / TILE;
    copy.entries = block_entries(call, b.n);
    copy.look_up(call, b.n, keys.first, keys.last);
    /* Fill the pipeline. */
    for (int i = 0; i < STAGES - 1; i++) {
        int from = keys.first + i * TILE;
        if (i < tiles)
            copy.request(call, b.head, from, keys.last, stage[i].k[0],
                         stage[i].v[0]);
        copy_async_commit();
        copy.look_up(call, b.n, from + TILE, keys.last);
    }
    for (int i = 0; i < tiles; i++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        /* Ask for the tile that many steps ahead. */
        int ahead = i + STAGES - 1, from = keys.first + ahead * TILE;
        if (ahead < tiles)
            copy.request(call, b.head, from, keys.last,
                         stage[ahead % STAGES].k[0],
                         stage[ahead % STAGES].v[0]);
        copy_async_commit();
        copy.look_up(call, b.n, from + TILE, keys.last);
        fold_tile<T, D>(state, q, stage[i % STAGES], b, keys.first + i * TILE,
                        keys.last);
    }
    copy_async_wait<0>();
    __syncthreads();
}

} // namespace

/* V7: a group of query heads, fed by a pipeline. */
template <class T, int D, int GROUP>
__global__ void __launch_bounds__(THREADS)
    attention_decode_v7(attention_call call, partial_results partials,
                        int head_parts)
{
    auto &shared = shared_memory<groups_shared<T, D, GROUP>>();
    block_share b = find_share<GROUP>(call, head_parts);
    decode_span span = find_split(call, b.n, b.split, false);
    if (span.idle)
        return;
    share_values<T, D> q[GROUP];
    share_softmax<T, D> state[GROUP];
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        int h = b.head_part * GROUP + g;
        load_query<T, D>(q[g], call, b.n, b.first_head + h, h < b.heads);
        softmax_begin(state[g]);
    }
    run_pipeline<T, D>(state, q, shared.stage, call, b, span.keys);
    merge_teams<T, D>(state);
#pragma unroll
    for (int g = 0; g < GROUP; g++)
        store_state<T, D>(shared.part[warp()][g], state[g]);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < b.heads * D; i += THREADS) {
        int h = i / D;
        finish_head<D>(call, partials,
                       &shared.part[h / GROUP * b.key_parts][h % GROUP],
                       b.key_parts, GROUP, b.n, b.first_head + h, b.split,
                       span.count, i % D);
    }
}

/* Launch V7. */
template <class T, int D, int GROUP>
fo_status launch_groups(const decode_launch &launch, fo_error *error)
{
    const attention_call &call = launch.call;
    int group = call.H / call.K, head_parts = 1;
    while (head_parts < WARPS && head_parts * GROUP < group)
        head_parts *= 2;
    int packs = (group + head_parts * GROUP - 1) / (head_parts * GROUP);
    dim3 grid((unsigned)(call.K * packs), (unsigned)call.N,
              (unsigned)launch.splits);
    FO_LAUNCH((attention_decode_v7<T, D, GROUP>), grid, dim3(THREADS),
              sizeof(groups_shared<T, D, GROUP>), launch.stream, call,
              find_partials(launch.workspace, call, launch.splits), head_parts);
    return check_launch("attention_decode_v7", error);
}

fo_status decode_groups(const decode_launch &launch, fo_error *error)
{
    return with_type(launch.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        return with_head_dim(launch.call.D, error, [&](auto size) {
            constexpr int D = decltype(size)::value;
            return launch.call.H == launch.call.K
                       ? launch_groups<T, D, 1>(launch, error)
                       : launch_groups<T, D, 4>(launch, error);
        });
    });
}

} // namespace FO_SIDE
