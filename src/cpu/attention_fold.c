#include "cpu/attention.h"
#include "cpu/lanes.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* Find the keys that some queries see. */
cpu_attention_span cpu_attention_visible(const fo_attention *attention,
                                         int position, int tokens)
{
    int first = attention->window ? position - attention->window + 1 : 0;
    return (cpu_attention_span){first > 0 ? first : 0, position + tokens};
}

/* Find a run of keys or values that lie side by side. */
static const char *find_run(const cpu_attention_rows *rows, const char *pool,
                            int from, int to, int *count)
{
    const fo_kv *kv = rows->keys->kv;
    int i = from / kv->B, within = from - i * kv->B;
    int64_t block =
        rows->keys->block_of(rows->keys->tables, rows->tile->sequence, i);
    int64_t key = (block * kv->K + rows->head) * kv->B + within;
    int left = kv->B - within;
    *count = to - from < left ? to - from : left;
    return pool + key * (int64_t)rows->key_bytes;
}

/* Bring a strip together in one piece. */
static const float *gather_strip(const cpu_attention_rows *rows,
                                 const char *pool, int from, int to)
{
    fo_dtype dtype = rows->keys->kv->dtype;
    int count;
    for (int at = from; at < to; at += count) {
        const char *run = find_run(rows, pool, at, to, &count);
        if (dtype == FO_F32 && count == to - from)
            return (const float *)(const void *)run;
        fo_dtype_load(dtype, run, rows->strip + (int64_t)(at - from) * rows->D,
                      (int64_t)count * rows->D);
    }
    return rows->strip;
}

/* Take the scalar product with a stored key. */
LANES_INLINE float dot(fo_dtype dtype, const float *q, const char *key, int D)
{
    lanes sums = {0};
    int c = 0;
    for (; c + LANES <= D; c += LANES)
        sums = lanes_multiply_add(lanes_load(q + c),
                                  lanes_unpack(dtype, key, c), sums);
    float sum = lanes_sum(sums);
    if (c < D) {
        float rest[LANES] = {0};
        fo_dtype_load(dtype, key + fo_dtype_bytes(dtype, c), rest, D - c);
        for (int i = 0; c + i < D; i++)
            sum += q[c + i] * rest[i];
    }
    return sum;
}

/* Add stored values to a sum. */
LANES_INLINE void add_some(fo_dtype dtype, float *sum, const float *w,
                           const char *v, size_t value_bytes, int count, int D)
{
    int c = 0;
    for (; c + LANES <= D; c += LANES) {
        lanes s = lanes_load(sum + c);
        for (int j = 0; j < count; j++)
            s = lanes_multiply_add(
                lanes_unpack(dtype, v + (size_t)j * value_bytes, c),
                w[j] - (lanes){0}, s);
        memcpy(sum + c, &s, sizeof s);
    }
    for (int j = 0; j < count && c < D; j++) {
        float rest[LANES] = {0};
        fo_dtype_load(dtype,
                      v + (size_t)j * value_bytes + fo_dtype_bytes(dtype, c),
                      rest, D - c);
        for (int i = 0; c + i < D; i++)
            sum[c + i] += w[j] * rest[i];
    }
}

/* Score a run, or add it, by its type. */
LANES_INLINE void ask_for(const char *from, size_t bytes)
{
    enum { line = 64 }; /* bytes fetched at once */
    for (size_t at = 0; at < bytes; at += line)
        __builtin_prefetch(from + at);
}

LANES_INLINE void score_as(fo_dtype dtype, const cpu_attention_rows *rows,
                           const char *run, const char *next, float *scores,
                           int count)
{
    size_t bytes = rows->key_bytes;
    for (int j = 0; j < count; j++, run += bytes, next += bytes) {
        ask_for(next, bytes);
        scores[j] = dot(dtype, rows->q, run, rows->D);
    }
}

LANES_INLINE void add_as(fo_dtype dtype, const cpu_attention_rows *rows,
                         const char *run, const char *next, const float *w,
                         int count)
{
    size_t bytes = rows->key_bytes;
    int j = 0;
    for (; j + 4 <= count; j += 4, run += 4 * bytes, next += 4 * bytes) {
        ask_for(next, 4 * bytes);
        add_some(dtype, rows->sum, w + j, run, bytes, 4, rows->D);
    }
    for (; j < count; j++, run += bytes)
        add_some(dtype, rows->sum, w + j, run, bytes, 1, rows->D);
}

static void score_run(const cpu_attention_rows *rows, const char *run,
                      const char *next, float *scores, int count)
{
    switch (rows->keys->kv->dtype) {
    case FO_F16:
        return score_as(FO_F16, rows, run, next, scores, count);
    case FO_BF16:
        return score_as(FO_BF16, rows, run, next, scores, count);
    default:
        return score_as(FO_F32, rows, run, next, scores, count);
    }
}

static void add_run(const cpu_attention_rows *rows, const char *run,
                    const char *next, const float *w, int count)
{
    switch (rows->keys->kv->dtype) {
    case FO_F16:
        return add_as(FO_F16, rows, run, next, w, count);
    case FO_BF16:
        return add_as(FO_BF16, rows, run, next, w, count);
    default:
        return add_as(FO_F32, rows, run, next, w, count);
    }
}

/* Say which run comes next. */
static const char *after_keys(const cpu_attention_rows *rows, int at, int from,
                              int to)
{
    int count;
    if (at < to)
        return find_run(rows, rows->keys->kv->k, at, to, &count);
    return find_run(rows, rows->keys->kv->v, from, to, &count);
}

static const char *after_values(const cpu_attention_rows *rows, int at, int to)
{
    int count, end = rows->tile->position + 1;
    if (at < to)
        return find_run(rows, rows->keys->kv->v, at, to, &count);
    if (to < end)
        return find_run(rows, rows->keys->kv->k, to, end, &count);
    return (const char *)rows->sum;
}

/* Score the keys of a strip. */
static void score(const cpu_attention_rows *rows, int from, int to)
{
    const char *keys = rows->keys->kv->k;
    int D = rows->D, count;
    if (rows->count > 1) {
        const float *k = gather_strip(rows, keys, from, to);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows->count,
                    to - from, D, 1, rows->q, D, k, D, 0, rows->weights,
                    cpu_attention_strip);
        return;
    }
    for (int at = from; at < to; at += count) {
        const char *run = find_run(rows, keys, at, to, &count);
        const char *next = after_keys(rows, at + count, from, to);
        score_run(rows, run, next, rows->weights + at - from, count);
    }
}

/* Raise e to a power that is not positive. */
static inline float exponential(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23 */
    union {
        float value;
        uint32_t bits;
    } n = {x * 1.44269504f + shift}, power;
    float whole = n.value - shift;
    float r = x - whole * 0.693145752f - whole * 1.42860677e-6f;
    float series = 1.0f / 5040;
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    power.value = series * r + 1.0f;
    power.bits += n.bits << 23;
    return x >= -87.0f ? power.value : x < -87.0f ? 0.0f : x;
}

/* Find the largest of some scores. */
static float largest(const float *x, int n, float so_far)
{
    enum { lanes = 8 };
    float best[lanes];
    for (int k = 0; k < lanes; k++)
        best[k] = so_far;
    int j = 0;
    for (; j + lanes <= n; j += lanes)
        for (int k = 0; k < lanes; k++)
            best[k] = x[j + k] > best[k] ? x[j + k] : best[k];
    for (; j < n; j++)
        best[0] = x[j] > best[0] ? x[j] : best[0];
    for (int k = 1; k < lanes; k++)
        best[0] = best[k] > best[0] ? best[k] : best[0];
    return best[0];
}

/* Turn the scores of a row into weights. */
static void weigh(const cpu_attention_rows *rows, int r, int first, int last,
                  int n)
{
    float *w = rows->weights + (int64_t)r * cpu_attention_strip;
    float maximum = largest(w + first, last - first, rows->maximum[r]);
    float total = 0;
    float base = maximum == -INFINITY ? 0 : maximum;
#pragma omp simd reduction(+ : total)
    for (int j = first; j < last; j++) {
        w[j] = exponential(w[j] - base);
        total += w[j];
    }
    for (int j = 0; j < first; j++)
        w[j] = 0;
    for (int j = last; j < n; j++)
        w[j] = 0;
    /* Measure what was gathered against the new maximum. */
    if (maximum == rows->maximum[r]) {
        rows->total[r] += total;
        return;
    }
    float kept = exponential(rows->maximum[r] - base);
    rows->maximum[r] = maximum;
    rows->total[r] = rows->total[r] * kept + total;
    float *sum = rows->sum + (int64_t)r * rows->D;
    for (int i = 0; i < rows->D; i++)
        sum[i] *= kept;
}

/* Add the weighted values of a strip. */
static void add_values(const cpu_attention_rows *rows, int from, int to)
{
    const char *values = rows->keys->kv->v;
    int D = rows->D, count;
    if (rows->count > 1) {
        const float *v = gather_strip(rows, values, from, to);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows->count, D,
                    to - from, 1, rows->weights, cpu_attention_strip, v, D, 1,
                    rows->sum, D);
        return;
    }
    for (int at = from; at < to; at += count) {
        const char *run = find_run(rows, values, at, to, &count);
        const char *next = after_values(rows, at + count, to);
        add_run(rows, run, next, rows->weights + at - from, count);
    }
}

/* Fold one strip into the running softmax. */
static int cut(int x, int most)
{
    return x < 0 ? 0 : x > most ? most : x;
}

void cpu_attention_fold(const cpu_attention_rows *rows, int from, int to)
{
    int n = to - from;
    score(rows, from, to);
    for (int r = 0; r < rows->count; r++) {
        cpu_attention_span seen = cpu_attention_visible(
            rows->attention, rows->tile->position + r / rows->G, 1);
        weigh(rows, r, cut(seen.first - from, n), cut(seen.last - from, n), n);
    }
    add_values(rows, from, to);
}
