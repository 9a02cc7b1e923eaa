#include "cuda/attention_decode.cuh"

namespace FO_SIDE
{
namespace
{

/* Score one key with one thread. */
template <class T>
__device__ float score_key(const attention_call &call, const float *q,
                           const T *key)
{
    float sum = 0;
    for (int i = 0; i < call.D; i++)
        sum = fmaf(q[i] * call.scale, to_float(key[i]), sum);
    return sum;
}

/* Find a key or value row. */
template <class T>
__device__ const T *find_row(const attention_call &call, const void *pool,
                             int n, int head, int key)
{
    int index = key / call.B;
    int32_t block = block_of(call, n, index);
    require_block(call, block);
    return (const T *)pool + key_row(call, block, head, key, index) * call.D;
}

/* V1: one thread a query head. */
template <class T> __global__ void attention_decode_v1(attention_call call)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (int64_t)call.N * call.H)
        return;
    int n = (int)(i / call.H), h = (int)(i % call.H);
    int head = h / (call.H / call.K);
    const float *q = call.q + (int64_t)n * call.q_stride + (int64_t)h * call.D;
    float *out = call.out + i * call.D;
    key_span seen = keys_in_sight(call, call.length[n] - 1, 1);
    float maximum = -INFINITY, total = 0;
    for (int j = seen.first; j < seen.last; j++)
        maximum = fmaxf(
            maximum, score_key(call, q, find_row<T>(call, call.k, n, head, j)));
    for (int d = 0; d < call.D; d++)
        out[d] = 0;
    for (int j = seen.first; j < seen.last; j++) {
        const T *k = find_row<T>(call, call.k, n, head, j);
        const T *v = find_row<T>(call, call.v, n, head, j);
        float weight = softmax_weight(score_key(call, q, k), maximum);
        total += weight;
        for (int d = 0; d < call.D; d++)
            out[d] = fmaf(weight, to_float(v[d]), out[d]);
    }
    for (int d = 0; d < call.D; d++)
        out[d] = softmax_end(out[d], total);
}

/* Size the blocks of V2 to V4. */
constexpr int THREADS = 128;
constexpr int STRIP = 1024;    /* keys whose scores are kept at a time */
constexpr int MOST_DIMS = 256; /* of a head                            */

struct strip_shared {
    float score[STRIP];
    float part[THREADS];
    float sum[THREADS * 8 + WARP]; /* V4: what each thread gathered */
};

/* Reduce over a block, one thread adding up. */
struct largest {
    static __device__ float fold(float a, float b)
    {
        return fmaxf(a, b);
    }
};

struct added {
    static __device__ float fold(float a, float b)
    {
        return a + b;
    }
};

template <class OP> __device__ float reduce_serially(float *part, float value)
{
    part[threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < THREADS; i++)
            part[0] = OP::fold(part[0], part[i]);
    __syncthreads();
    float result = part[0];
    __syncthreads();
    return result;
}

/* Reduce over a block by halves. */
template <class OP> __device__ float reduce_by_halves(float *part, float value)
{
    int t = (int)threadIdx.x;
    part[t] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half)
            part[t] = OP::fold(part[t], part[t + half]);
        __syncthreads();
    }
    float result = part[0];
    __syncthreads();
    return result;
}

/* Load 16 bytes as numbers. */
template <class T>
__device__ void load_wide(float (&to)[16 / sizeof(T)], const T *from)
{
    uint4 loaded = load_16(from);
    uint32_t words[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int i = 0; i < (int)(16 / sizeof(T)); i++)
        to[i] = unpack<T>(words, i);
}

template <class T>
__device__ float score_key_wide(const attention_call &call, const float *q,
                                const T *key)
{
    constexpr int width = 16 / sizeof(T);
    float sum = 0;
    for (int i = 0; i < call.D; i += width) {
        float x[width];
        load_wide(x, key + i);
#pragma unroll
        for (int j = 0; j < width; j++)
            sum = fmaf(q[i + j] * call.scale, x[j], sum);
    }
    return sum;
}

/* Let each thread own dimensions of the output. */
/* V2 and V3: thread t adds up dimensions t and t + THREADS. */
template <class T> struct narrow_sums {
    float sum[MOST_DIMS / THREADS];

    __device__ void begin()
    {
        for (int i = 0; i < MOST_DIMS / THREADS; i++)
            sum[i] = 0;
    }

    /* Add the weighted values of a strip, one number at a time. */
    __device__ void add(const attention_call &call, const float *weight, int n,
                        int head, int from, int keys, float kept)
    {
#pragma unroll
        for (int i = 0; i < MOST_DIMS / THREADS; i++) {
            int d = (int)threadIdx.x + i * THREADS;
            if (d >= call.D)
                continue;
            sum[i] *= kept;
            for (int j = 0; j < keys; j++)
                sum[i] = fmaf(
                    weight[j],
                    to_float(find_row<T>(call, call.v, n, head, from + j)[d]),
                    sum[i]);
        }
    }

    __device__ void end(const attention_call &call, strip_shared &, float *out,
                        float total)
    {
#pragma unroll
        for (int i = 0; i < MOST_DIMS / THREADS; i++) {
            int d = (int)threadIdx.x + i * THREADS;
            if (d < call.D)
                out[d] = softmax_end(sum[i], total);
        }
    }
};

/* Let each thread own 16 bytes of some values. */
/* V4: D / width threads read a row; as many rows as fit go side by side. */
template <class T> struct wide_sums {
    static constexpr int width = 16 / sizeof(T);
    static constexpr int stride = THREADS + WARP / width; /* see end */
    float sum[width];

    __device__ void begin()
    {
        for (int i = 0; i < width; i++)
            sum[i] = 0;
    }

    /* Add the weighted values of a strip, 16 bytes at a time. */
    __device__ void add(const attention_call &call, const float *weight, int n,
                        int head, int from, int keys, float kept)
    {
        int chunks = call.D / width, rows = THREADS / chunks;
        int row = (int)threadIdx.x / chunks, chunk = (int)threadIdx.x % chunks;
#pragma unroll
        for (int i = 0; i < width; i++)
            sum[i] *= kept;
        for (int j = row; j < keys && row < rows; j += rows) {
            float x[width];
            load_wide(x, find_row<T>(call, call.v, n, head, from + j) +
                             chunk * width);
#pragma unroll
            for (int i = 0; i < width; i++)
                sum[i] = fmaf(weight[j], x[i], sum[i]);
        }
    }

    /* Add up the rows of all threads. */
    __device__ void end(const attention_call &call, strip_shared &shared,
                        float *out, float total)
    {
        int chunks = call.D / width, rows = THREADS / chunks;
#pragma unroll
        for (int i = 0; i < width; i++)
            shared.sum[i * stride + (int)threadIdx.x] = sum[i];
        __syncthreads();
        for (int d = (int)threadIdx.x; d < call.D; d += THREADS) {
            float all = 0;
            for (int row = 0; row < rows; row++)
                all +=
                    shared.sum[d % width * stride + row * chunks + d / width];
            out[d] = softmax_end(all, total);
        }
    }
};

/* Choose how a rung reduces and loads. */
template <class T> struct v2_style {
    using sums = narrow_sums<T>;
    template <class OP> static __device__ float reduce(float *part, float value)
    {
        return reduce_serially<OP>(part, value);
    }
    static __device__ float score(const attention_call &call, const float *q,
                                  const T *key)
    {
        return score_key(call, q, key);
    }
};

template <class T> struct v3_style : v2_style<T> {
    template <class OP> static __device__ float reduce(float *part, float value)
    {
        return reduce_by_halves<OP>(part, value);
    }
};

template <class T> struct v4_style : v3_style<T> {
    using sums = wide_sums<T>;
    static __device__ float score(const attention_call &call, const float *q,
                                  const T *key)
    {
        return score_key_wide(call, q, key);
    }
};

/* Attend with one block a query head, a strip at a time. */
template <class T, class STYLE>
__device__ void attend_in_strips(const attention_call &call)
{
    auto &shared = shared_memory<strip_shared>();
    int n = (int)blockIdx.y, h = (int)blockIdx.x, t = (int)threadIdx.x;
    int head = h / (call.H / call.K);
    int64_t row = (int64_t)n * call.H + h;
    const float *q = call.q + (int64_t)n * call.q_stride + (int64_t)h * call.D;
    key_span seen = keys_in_sight(call, call.length[n] - 1, 1);
    float maximum = -INFINITY, total = 0;
    typename STYLE::sums sums;
    sums.begin();
    for (int from = seen.first; from < seen.last; from += STRIP) {
        int keys = min(seen.last - from, STRIP);
        /* Score a strip and find its largest score. */
        float most = maximum;
        for (int j = t; j < keys; j += THREADS) {
            float score = STYLE::score(
                call, q, find_row<T>(call, call.k, n, head, from + j));
            shared.score[j] = score;
            most = fmaxf(most, score);
        }
        most = STYLE::template reduce<largest>(shared.part, most);
        /* Turn the scores of a strip into weights. */
        float kept = softmax_weight(maximum, most), some = 0;
        maximum = most;
        for (int j = t; j < keys; j += THREADS) {
            shared.score[j] = softmax_weight(shared.score[j], maximum);
            some += shared.score[j];
        }
        total = total * kept + STYLE::template reduce<added>(shared.part, some);
        sums.add(call, shared.score, n, head, from, keys, kept);
        __syncthreads();
    }
    sums.end(call, shared, call.out + row * call.D, total);
}

/* V2, V3 and V4: one block a query head. */
template <class T> __global__ void attention_decode_v2(attention_call call)
{
    attend_in_strips<T, v2_style<T>>(call);
}

template <class T> __global__ void attention_decode_v3(attention_call call)
{
    attend_in_strips<T, v3_style<T>>(call);
}

template <class T> __global__ void attention_decode_v4(attention_call call)
{
    attend_in_strips<T, v4_style<T>>(call);
}

} // namespace

/* Launch one of the first four rungs. */
fo_status decode_first(const decode_launch &launch, int rung, fo_error *error)
{
    const attention_call &call = launch.call;
    if (rung > 1 && call.D > MOST_DIMS)
        return fo_fail(error, FO_UNSUPPORTED,
                       "no attention kernel for heads of %d", call.D);
    return with_type(launch.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        int64_t threads = (int64_t)call.N * call.H;
        dim3 grid = rung == 1 ? dim3((unsigned)((threads + 31) / 32))
                              : dim3((unsigned)call.H, (unsigned)call.N);
        dim3 block(rung == 1 ? 32 : THREADS);
        size_t shared = rung == 1 ? 0 : sizeof(strip_shared);
        if (rung == 1)
            FO_LAUNCH(attention_decode_v1<T>, grid, block, shared,
                      launch.stream, call);
        else if (rung == 2)
            FO_LAUNCH(attention_decode_v2<T>, grid, block, shared,
                      launch.stream, call);
        else if (rung == 3)
            FO_LAUNCH(attention_decode_v3<T>, grid, block, shared,
                      launch.stream, call);
        else
            FO_LAUNCH(attention_decode_v4<T>, grid, block, shared,
                      launch.stream, call);
        return check_launch("attention_decode_v1..v4", error);
    });
}

} // namespace FO_SIDE
