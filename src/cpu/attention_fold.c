#include "cpu/attention.h"

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
static const float *read_run(const cpu_attention_rows *rows, const char *pool,
                             int from, int to, float *room, int *count)
{
    const fo_kv *kv = rows->keys->kv;
    int i = from / kv->B, within = from - i * kv->B;
    int64_t block =
        rows->keys->block_of(rows->keys->tables, rows->tile->sequence, i);
    int64_t key = (block * kv->K + rows->head) * kv->B + within;
    const char *run = pool + key * (int64_t)rows->key_bytes;
    int left = kv->B - within;
    *count = to - from < left ? to - from : left;
    if (kv->dtype == FO_F32)
        return (const float *)run;
    fo_dtype_load(kv->dtype, run, room, (int64_t)*count * kv->D);
    return room;
}

/* Bring a strip together in one piece. */
static const float *read_strip(const cpu_attention_rows *rows, const char *pool,
                               int from, int to)
{
    int count;
    for (int at = from; at < to; at += count) {
        float *place = rows->strip + (int64_t)(at - from) * rows->D;
        const float *run = read_run(rows, pool, at, to, place, &count);
        if (count == to - from)
            return run;
        if (run != place)
            memcpy(place, run, (size_t)count * (size_t)rows->D * sizeof(float));
    }
    return rows->strip;
}

/* Score the keys of a strip. */
static float dot(const float *x, const float *y, int D)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < D; i++)
        sum += x[i] * y[i];
    return sum;
}

static void score(const cpu_attention_rows *rows, int from, int to)
{
    const char *keys = rows->keys->kv->k;
    int D = rows->D, n = to - from, count;
    if (rows->count > 1) {
        const float *k = read_strip(rows, keys, from, to);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows->count, n, D,
                    1, rows->q, D, k, D, 0, rows->weights, cpu_attention_strip);
        return;
    }
    for (int done = 0; done < n; done += count) {
        const float *k =
            read_run(rows, keys, from + done, to, rows->strip, &count);
        for (int j = 0; j < count; j++)
            rows->weights[done + j] = dot(rows->q, k + (int64_t)j * D, D);
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
    return x < -87.0f ? 0.0f : power.value;
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
static void add_weighted(float *restrict sum, const float *w, const float *v,
                         int count, int D)
{
    int j = 0;
    for (; j + 4 <= count; j += 4, w += 4, v += 4 * (int64_t)D)
#pragma omp simd
        for (int i = 0; i < D; i++)
            sum[i] = sum[i] + w[0] * v[i] + w[1] * v[D + i] +
                     w[2] * v[2 * D + i] + w[3] * v[3 * D + i];
    for (; j < count; j++, w++, v += D)
#pragma omp simd
        for (int i = 0; i < D; i++)
            sum[i] = sum[i] + w[0] * v[i];
}

static void add_values(const cpu_attention_rows *rows, int from, int to)
{
    const char *values = rows->keys->kv->v;
    int D = rows->D, n = to - from, count;
    if (rows->count > 1) {
        const float *v = read_strip(rows, values, from, to);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows->count, D,
                    n, 1, rows->weights, cpu_attention_strip, v, D, 1,
                    rows->sum, D);
        return;
    }
    for (int done = 0; done < n; done += count) {
        const float *v =
            read_run(rows, values, from + done, to, rows->strip, &count);
        add_weighted(rows->sum, rows->weights + done, v, count, D);
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
