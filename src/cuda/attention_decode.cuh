/* The ladder of decode kernels: how they are called, how the keys of a sequence
 * are cut into splits, and what the rungs that work by lanes have in common. */
#ifndef FOLIO_CUDA_ATTENTION_DECODE_CUH
#define FOLIO_CUDA_ATTENTION_DECODE_CUH

#include "cuda/attention.cuh"

namespace FO_SIDE
{

/* Declare the rungs. */
/* What a rung is launched with. */
struct decode_launch {
    attention_call call;
    fo_dtype dtype;
    cudaStream_t stream;
    float *workspace; /* split_floats of it */
    int splits;       /* most of any query  */
};

/* Each launches kernels; FO_UNSUPPORTED: not that head size. */
fo_status decode_first(const decode_launch &launch, int rung, fo_error *error);
fo_status decode_warps(const decode_launch &launch, int rung, fo_error *error);
fo_status decode_groups(const decode_launch &launch, fo_error *error);
fo_status decode_matrix(const decode_launch &launch, fo_error *error);

/* Merge the partial results of all queries; after a rung that splits. */
fo_status merge_splits(const decode_launch &launch, fo_error *error);

/* Cut the keys of a query into splits. */
constexpr int SPLIT_KEYS = 256, MOST_SPLITS = 64;

struct split_plan {
    int keys;  /* of one split                 */
    int count; /* of splits, 0 where no key is */
};

/* From the number of keys in sight alone: whoever else is in the batch, the
 * same keys are added in the same order. */
__host__ __device__ inline split_plan plan_splits(int keys)
{
    int each = (keys + MOST_SPLITS - 1) / MOST_SPLITS;
    each = each > SPLIT_KEYS ? (each + 63) / 64 * 64 : SPLIT_KEYS;
    return {each, (keys + each - 1) / each};
}

/* No query has more splits than this, which never falls as keys are added. */
inline int most_splits(int keys)
{
    int64_t count = ((int64_t)keys + SPLIT_KEYS - 1) / SPLIT_KEYS;
    return count < 1 ? 1 : count < MOST_SPLITS ? (int)count : MOST_SPLITS;
}

/* The most keys that one query of a batch sees. */
inline int attention_reach(const fo_attention *a)
{
    return a->window && a->window < a->max_length ? a->window : a->max_length;
}

/* Find the keys of one split. */
struct decode_span {
    key_span keys; /* of this split; empty: nothing to do        */
    int count;     /* splits of the query                        */
    bool idle;     /* a split that this query does not have      */
};

/* A query without keys has one empty split, which writes its zeros. */
__device__ inline decode_span find_split(const attention_call &call, int n,
                                         int split, bool whole)
{
    key_span seen = keys_in_sight(call, call.length[n] - 1, 1);
    if (whole)
        return {seen, 1, false};
    split_plan plan = plan_splits(seen.last - seen.first);
    int first = seen.first + split * plan.keys;
    int last = min(first + plan.keys, seen.last);
    return {{first, last}, max(plan.count, 1), split > 0 && first >= seen.last};
}

/* Lay out the partial results. */
/* A softmax a query head and split: first all pairs {maximum, total}, (N, H,
 * splits, 2), then all sums, (N, H, splits, D). */
inline size_t split_floats(int64_t N, int64_t H, int64_t D, int splits)
{
    return splits > 1 ? (size_t)(N * H * splits * (D + 2)) : 0;
}

struct partial_results {
    float *pairs;
    float *sums;
    int splits;
};

__host__ __device__ inline partial_results
find_partials(float *workspace, const attention_call &call, int splits)
{
    return {workspace, workspace + (int64_t)call.N * call.H * splits * 2,
            splits};
}

__device__ inline int64_t partial_index(const attention_call &call,
                                        const partial_results &partials, int n,
                                        int h, int split)
{
    return ((int64_t)n * call.H + h) * partials.splits + split;
}

/* Share a row among the lanes of a team. */
/* `team` lanes hold a row of D numbers; lane t has, for each round r, the
 * `width` numbers from (r team + t) width on: one load, of 16 bytes where the
 * size of the row allows. */
template <class T, int D> struct row_share {
    static constexpr int team = D <= 128 ? 8 : 16;
    static constexpr int teams = WARP / team; /* in a warp */
    static constexpr int values = D / team;
    static constexpr int words = values * (int)sizeof(T) / 4;
    static constexpr int load = words % 4 == 0 ? 4 : words % 2 == 0 ? 2 : 1;
    static constexpr int rounds = words / load;
    static constexpr int width = values / rounds;

    /* Where the lane's i-th value stands in the row. */
    static __device__ int column(int i)
    {
        return (i / width * team + lane() % team) * width + i % width;
    }
};

template <class T, int D> using share_words = uint32_t[row_share<T, D>::words];
template <class T, int D> using share_values = float[row_share<T, D>::values];
template <class T, int D>
using share_softmax = softmax<row_share<T, D>::values>;

/* Load a lane's share of a row. */
template <class T, int D>
__device__ inline void load_share(share_words<T, D> &to, const T *row)
{
    using share = row_share<T, D>;
#pragma unroll
    for (int r = 0; r < share::rounds; r++) {
        const T *from = row + share::column(r * share::width);
        if constexpr (share::load == 4) {
            uint4 words = load_16(from);
            to[4 * r] = words.x;
            to[4 * r + 1] = words.y;
            to[4 * r + 2] = words.z;
            to[4 * r + 3] = words.w;
        } else if constexpr (share::load == 2) {
            uint64_t words = *(const uint64_t *)from;
            to[2 * r] = (uint32_t)words;
            to[2 * r + 1] = (uint32_t)(words >> 32);
        } else {
            to[r] = *(const uint32_t *)from;
        }
    }
}

/* Unpack the numbers of a word. */
/* Value i of an array of words. */
template <class T> __device__ inline float unpack(const uint32_t *words, int i);

template <> __device__ inline float unpack<float>(const uint32_t *words, int i)
{
    return __uint_as_float(words[i]);
}

template <> __device__ inline float unpack<__half>(const uint32_t *words, int i)
{
    return __half2float(
        __ushort_as_half((unsigned short)(words[i / 2] >> i % 2 * 16)));
}

template <>
__device__ inline float unpack<__nv_bfloat16>(const uint32_t *words, int i)
{
    return __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u
                                 : words[i / 2] << 16);
}

/* Load a lane's share of a query. */
/* Times the scale; zeros where there is no such head. Sixteen bytes at a time
 * where rows of queries begin on multiples of 16. */
template <class T, int D>
__device__ inline void load_query(share_values<T, D> &q,
                                  const attention_call &call, int n, int h,
                                  bool present)
{
    using share = row_share<T, D>;
    constexpr int step = share::width % 4 == 0 ? 4 : 1;
    const float *row = call.q + (int64_t)n * call.q_stride + (int64_t)h * D;
    bool wide = step == 4 && (uintptr_t)row % 16 == 0;
#pragma unroll
    for (int i = 0; i < share::values; i += step) {
        const float *from = row + share::column(i);
        uint4 words = {};
        if (present && wide)
            words = load_16(from);
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int c = 0; c < step; c++) {
            float x = wide ? __uint_as_float(word[c]) : present ? from[c] : 0;
            q[i + c] = x * call.scale;
        }
    }
}

/* Score some keys with the queries of a team. */
template <class T, int D, int GROUP, int KEYS>
__device__ inline void
score_keys(float (&score)[GROUP][KEYS], const share_values<T, D> (&q)[GROUP],
           const share_words<T, D> (&k)[KEYS], const bool (&seen)[KEYS])
{
    using share = row_share<T, D>;
#pragma unroll
    for (int u = 0; u < KEYS; u++)
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float sum = 0;
#pragma unroll
            for (int i = 0; i < share::values; i++)
                sum = fmaf(q[g][i], unpack<T>(k[u], i), sum);
#pragma unroll
            for (int step = 1; step < share::team; step *= 2)
                sum += __shfl_xor_sync(FO_ALL_LANES, sum, step);
            score[g][u] = seen[u] ? sum : -INFINITY;
        }
}

/* Fold some keys into the softmaxes of a team. */
template <class T, int D, int GROUP, int KEYS>
__device__ inline void fold_keys(share_softmax<T, D> (&state)[GROUP],
                                 const share_values<T, D> (&q)[GROUP],
                                 const share_words<T, D> (&k)[KEYS],
                                 const share_words<T, D> (&v)[KEYS],
                                 const bool (&seen)[KEYS])
{
    float score[GROUP][KEYS];
    score_keys<T, D>(score, q, k, seen);
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        float maximum = state[g].maximum;
#pragma unroll
        for (int u = 0; u < KEYS; u++)
            maximum = fmaxf(maximum, score[g][u]);
        softmax_rescale(state[g], maximum);
#pragma unroll
        for (int u = 0; u < KEYS; u++) {
            float weight = softmax_weight(score[g][u], maximum);
            state[g].total += weight;
#pragma unroll
            for (int i = 0; i < row_share<T, D>::values; i++)
                state[g].sum[i] =
                    fmaf(weight, unpack<T>(v[u], i), state[g].sum[i]);
        }
    }
}

/* Merge the teams of a warp. */
template <class T, int D, int GROUP>
__device__ inline void merge_teams(share_softmax<T, D> (&state)[GROUP])
{
#pragma unroll
    for (int g = 0; g < GROUP; g++)
#pragma unroll
        for (int step = row_share<T, D>::team; step < WARP; step *= 2)
            softmax_merge_lanes(state[g], step);
}

/* Leave a softmax in shared memory. */
/* The whole softmax of one query head over some of its keys. */
template <int D> struct stored_softmax {
    float maximum;
    float total;
    float sum[D];
};

template <class T, int D>
__device__ inline void store_state(stored_softmax<D> &to,
                                   const share_softmax<T, D> &s)
{
    using share = row_share<T, D>;
    if (lane() == 0) {
        to.maximum = s.maximum;
        to.total = s.total;
    }
    if (lane() < share::team) {
#pragma unroll
        for (int i = 0; i < share::values; i++)
            to.sum[share::column(i)] = s.sum[i];
    }
}

/* Merge what the warps of a block have gathered. */
/* The `parts` softmaxes of one query head, `apart` from each other, in rising
 * order; `d` is the dimension of this thread. Writes the output of a query that
 * has one split, and a partial result otherwise. */
template <int D>
__device__ inline void
finish_head(const attention_call &call, const partial_results &partials,
            const stored_softmax<D> *part, int parts, int apart, int n, int h,
            int split, int count, int d)
{
    float maximum = -INFINITY, total = 0, sum = 0;
    for (int i = 0; i < parts; i++)
        maximum = fmaxf(maximum, part[i * apart].maximum);
    for (int i = 0; i < parts; i++) {
        float weight = softmax_weight(part[i * apart].maximum, maximum);
        total += weight * part[i * apart].total;
        sum += weight * part[i * apart].sum[d];
    }
    if (count == 1) {
        call.out[((int64_t)n * call.H + h) * D + d] = softmax_end(sum, total);
        return;
    }
    int64_t at = partial_index(call, partials, n, h, split);
    if (d == 0) {
        partials.pairs[at * 2] = maximum;
        partials.pairs[at * 2 + 1] = total;
    }
    partials.sums[at * D + d] = sum;
}

} // namespace FO_SIDE

#endif
