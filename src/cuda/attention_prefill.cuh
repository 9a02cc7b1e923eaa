/* What the rungs of prefill share: how a block finds its tile of rows, what a
 * row sees, and where a key lies.
 *
 * The rows of a sequence and a kv head are its queries with each head of the
 * group, token by token: row r is token r / G with head r % G of the group. A
 * tile is a few of these rows that follow each other. */
#ifndef FOLIO_CUDA_ATTENTION_PREFILL_CUH
#define FOLIO_CUDA_ATTENTION_PREFILL_CUH

#include "cuda/attention.cuh"

namespace FO_SIDE
{

/* Find the last sequence that begins no later than a place. */
/* `begin(n)` never falls as n rises. -1: even the first begins later. */
template <class Begin>
__device__ inline int last_to_begin(int N, int place, Begin begin)
{
    int low = -1, high = N;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (begin(middle) <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Describe a tile of rows. */
struct prefill_tile {
    int sequence;
    int head;     /* the kv head                        */
    int G;        /* query heads of a kv head           */
    int row;      /* the first, counted in the sequence */
    int rows;     /* 0 or less: nothing to do           */
    int token;    /* the sequence's first query         */
    int position; /* of that query                      */
};

/* Find the tile of a block. */
/* The slots of sequence n begin where the sequences before it would end if
 * their rows were one run, and n more. */
template <int ROWS>
__device__ inline prefill_tile find_tile(const attention_call &call)
{
    int G = call.H / call.K;
    auto begin = [&](int n) {
        return (int)((int64_t)call.query_start[n] * G / ROWS) + n;
    };
    prefill_tile tile = {};
    int slot = (int)(gridDim.x - 1 - blockIdx.x);
    int n = last_to_begin(call.N, slot, begin);
    if (n < 0)
        return tile;
    int queries = call.query_start[n + 1] - call.query_start[n];
    tile.sequence = n;
    tile.head = (int)blockIdx.y;
    tile.G = G;
    tile.row = (slot - begin(n)) * ROWS;
    tile.rows = min(queries * G - tile.row, ROWS);
    tile.token = call.query_start[n];
    tile.position = call.length[n] - queries;
    return tile;
}

/* Count the slots of a launch. */
/* For tiles of so many rows; every sequence may take one slot more than the
 * rows before it fill. */
inline unsigned prefill_slots(const attention_call &call, int rows)
{
    int64_t all = (int64_t)call.T * (call.H / call.K);
    return (unsigned)(all / rows + call.N);
}

/* Say what the rows of a tile see. */
/* A row that the tile lacks stands at -1, where it sees nothing. */
__device__ inline int position_of(const prefill_tile &tile, int r)
{
    return r < tile.rows ? tile.position + (tile.row + r) / tile.G : -1;
}

__device__ inline key_span keys_in_sight(const attention_call &call,
                                         const prefill_tile &tile)
{
    int low = position_of(tile, 0), high = position_of(tile, tile.rows - 1);
    return keys_in_sight(call, low, high - low + 1);
}

/* Whether a query sees the key so many positions before its own. */
__device__ inline bool sees(int behind, int window)
{
    return behind >= 0 && (window == 0 || behind < window);
}

/* Find a row of a tile among queries and answers. */
__device__ inline const float *query_of(const attention_call &call,
                                        const prefill_tile &tile, int r)
{
    int64_t token = tile.token + (tile.row + r) / tile.G;
    int64_t head = tile.head * tile.G + (tile.row + r) % tile.G;
    return call.q + token * call.q_stride + head * call.D;
}

__device__ inline float *answer_of(const attention_call &call,
                                   const prefill_tile &tile, int r)
{
    int64_t token = tile.token + (tile.row + r) / tile.G;
    int64_t head = tile.head * tile.G + (tile.row + r) % tile.G;
    return call.out + (token * call.H + head) * call.D;
}

/* Find the place of a key. */
/* In numbers from the start of the pool. A key out of sight has none, -1, and
 * no block is looked up for it. */
__device__ inline int64_t place_of(const attention_call &call, int sequence,
                                   int head, key_span seen, int key)
{
    if (key < seen.first || key >= seen.last)
        return -1;
    int index = block_index(call, key);
    int32_t block = block_of(call, sequence, index);
    require_block(call, block);
    return key_row(call, block, head, key, index) * call.D;
}

/* Agree among the lanes of a team. */
/* A team is a power of two of neighbouring lanes that share rows; all teams of
 * the warp take part. */
template <int TEAM> __device__ inline float team_max(float value)
{
#pragma unroll
    for (int step = 1; step < TEAM; step *= 2)
        value = fmaxf(value, __shfl_xor_sync(FO_ALL_LANES, value, step));
    return value;
}

template <int TEAM> __device__ inline float team_sum(float value)
{
#pragma unroll
    for (int step = 1; step < TEAM; step *= 2)
        value += __shfl_xor_sync(FO_ALL_LANES, value, step);
    return value;
}

/* Read and write four floats at once. */
__device__ inline void load_four(float (&x)[4], const float *from)
{
    uint4 bits = load_16(from);
    x[0] = __uint_as_float(bits.x);
    x[1] = __uint_as_float(bits.y);
    x[2] = __uint_as_float(bits.z);
    x[3] = __uint_as_float(bits.w);
}

__device__ inline void store_four(float *to, float a, float b, float c, float d)
{
    store_16(to, make_uint4(__float_as_uint(a), __float_as_uint(b),
                            __float_as_uint(c), __float_as_uint(d)));
}

/* Declare prefill for any layout of the keys. */
/* Attention of a batch whose arguments have been checked, by a rung; 0: the
 * best one for the shape. */
fo_status prefill_launch(const attention_call &call, const fo_kv *kv, int rung,
                         cudaStream_t stream, fo_error *error);

} // namespace FO_SIDE

#endif
