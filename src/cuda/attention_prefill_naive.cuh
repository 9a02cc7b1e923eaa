/* Rung 1 of prefill: a warp for each query and head, one key after another. It
 * takes every head dim up to 256. */
#ifndef FOLIO_CUDA_ATTENTION_PREFILL_NAIVE_CUH
#define FOLIO_CUDA_ATTENTION_PREFILL_NAIVE_CUH

#include "cuda/attention_prefill.cuh"

namespace FO_SIDE
{

enum {
    naive_warps = 4, /* of a block */
    naive_threads = naive_warps * (int)WARP,
    naive_largest = 256,                     /* head dim             */
    naive_share = naive_largest / (int)WARP, /* of a row, for a lane */
};

/* Share a row among the lanes of a warp. */
/* Lane l holds numbers l, l + 32 and so on; those beyond D are 0. */
template <class T>
__device__ inline void load_row(float (&x)[naive_share], const T *row, int D,
                                float factor)
{
#pragma unroll
    for (int i = 0; i < naive_share; i++) {
        int d = lane() + WARP * i;
        x[i] = d < D ? to_float(row[d]) * factor : 0.0f;
    }
}

/* Fold one key into the softmax of a warp. */
template <class T>
__device__ inline void fold_key(softmax<naive_share> &s,
                                const float (&q)[naive_share], const T *key,
                                const T *value, int D)
{
    float k[naive_share], v[naive_share], score = 0;
    load_row(k, key, D, 1.0f);
#pragma unroll
    for (int i = 0; i < naive_share; i++)
        score += q[i] * k[i];
    score = warp_sum(score);
    softmax_rescale(s, fmaxf(s.maximum, score));
    float weight = softmax_weight(score, s.maximum);
    load_row(v, value, D, weight);
    s.total += weight;
#pragma unroll
    for (int i = 0; i < naive_share; i++)
        s.sum[i] += v[i];
}

/* Attend with one query and one head. */
template <class T>
__device__ inline void attend_alone(const attention_call &call, int n,
                                    int token, int head)
{
    int position = call.length[n] - call.query_start[n + 1] + token;
    int kv_head = head / (call.H / call.K);
    key_span seen = keys_in_sight(call, position, 1);
    int64_t at = (int64_t)token * call.q_stride + (int64_t)head * call.D;
    float q[naive_share];
    load_row(q, call.q + at, call.D, call.scale);
    softmax<naive_share> s;
    softmax_begin(s);
    for (int key = seen.first; key < seen.last; key++) {
        int64_t place = place_of(call, n, kv_head, seen, key);
        fold_key(s, q, (const T *)call.k + place, (const T *)call.v + place,
                 call.D);
    }
    float *out = call.out + ((int64_t)token * call.H + head) * call.D;
#pragma unroll
    for (int i = 0; i < naive_share; i++) {
        int d = lane() + WARP * i;
        if (d < call.D)
            out[d] = softmax_end(s.sum[i], s.total);
    }
}

/* Give each query and head a warp. */
template <class T>
__global__ void __launch_bounds__(naive_threads)
    attention_prefill_naive(attention_call call)
{
    int64_t row = (int64_t)blockIdx.x * naive_warps + warp();
    int token = (int)(row / call.H), head = (int)(row % call.H);
    if (token >= call.T)
        return;
    int n = last_to_begin(call.N, token,
                          [&](int n) { return call.query_start[n]; });
    if (n >= 0 && token < call.query_start[n + 1])
        attend_alone<T>(call, n, token, head);
}

} // namespace FO_SIDE

#endif
