#include "naive_attention.h"

#include "common/memory.h"

#include <math.h>

/* Hold what the judge works on. */
typedef struct judge {
    double *out;
    const float *q, *k, *v;
    int L, K, D;
    const fo_attention *attention;
    naive_slip slip;
    double *weights; /* (L) */
} judge;

static const float *row_of(const judge *judge, const float *rows, int n, int j,
                           int head)
{
    return rows + (((int64_t)n * judge->L + j) * judge->K + head) * judge->D;
}

/* Decide what a query sees, with or without a slip. */
static int head_read(const judge *judge, int h)
{
    if (judge->slip == NAIVE_HEAD_BY_MODULO)
        return h % judge->K;
    return h / (judge->attention->H / judge->K);
}

static int first_seen(const judge *judge, int p)
{
    int window = judge->attention->window;
    int first = window ? p - window + 1 : 0;
    if (window && judge->slip == NAIVE_WINDOW_TOO_LONG)
        first--;
    if (window && judge->slip == NAIVE_WINDOW_TOO_SHORT)
        first++;
    return first > 0 ? first : 0;
}

static int end_seen(const judge *judge, int p)
{
    int end = p + 1;
    if (judge->slip == NAIVE_KEY_TOO_MANY && end < judge->L)
        end++;
    if (judge->slip == NAIVE_KEY_TOO_FEW)
        end--;
    return end;
}

static double scale_of(const judge *judge)
{
    return judge->slip == NAIVE_UNSCALED ? 1 : judge->attention->scale;
}

/* Attend with one query. */
static void attend(const judge *judge, int n, int64_t token, int h, int p)
{
    const fo_attention *a = judge->attention;
    int kv_head = head_read(judge, h);
    int first = first_seen(judge, p), end = end_seen(judge, p);
    const float *q = judge->q + token * a->q_stride + (int64_t)h * judge->D;
    double largest = -INFINITY, total = 0;
    for (int j = first; j < end; j++) {
        const float *k = row_of(judge, judge->k, n, j, kv_head);
        double score = 0;
        for (int d = 0; d < judge->D; d++)
            score += (double)q[d] * k[d];
        judge->weights[j] = score * scale_of(judge);
        largest = fmax(largest, judge->weights[j]);
    }
    double *out = judge->out + (token * a->H + h) * judge->D;
    for (int d = 0; d < judge->D; d++)
        out[d] = 0;
    for (int j = first; j < end; j++) {
        const float *v = row_of(judge, judge->v, n, j, kv_head);
        double weight = exp(judge->weights[j] - largest);
        total += weight;
        for (int d = 0; d < judge->D; d++)
            out[d] += weight * v[d];
    }
    for (int d = 0; d < judge->D && total > 0; d++)
        out[d] /= total;
}

/* Judge a whole batch. */
void naive_attention(double *out, const float *q, const float *k,
                     const float *v, int L, int K, int D,
                     const fo_attention *attention, naive_slip slip)
{
    double *weights = fo_memory_alloc((size_t)L, sizeof *weights, NULL);
    judge judge = {out, q, k, v, L, K, D, attention, slip, weights};
    for (int n = 0; n < attention->N; n++) {
        int start = attention->query_start[n];
        int end = attention->query_start[n + 1];
        for (int t = start; t < end; t++)
            for (int h = 0; h < attention->H; h++)
                attend(&judge, n, t, h, attention->length[n] - end + t);
    }
    fo_memory_free(weights);
}

/* Collect rows from blocks, one value at a time. */
void naive_gather(float *rows, int L, const fo_kv *kv, const void *pool,
                  const fo_block_tables *tables, const fo_attention *attention)
{
    for (int n = 0; n < attention->N; n++)
        for (int j = 0; j < attention->length[n]; j++) {
            int64_t block = n;
            if (tables)
                block =
                    tables->table[(int64_t)tables->row[n] * tables->max_blocks +
                                  j / kv->B];
            for (int h = 0; h < kv->K && block >= 0; h++)
                for (int d = 0; d < kv->D; d++) {
                    int64_t from =
                        ((block * kv->K + h) * kv->B + j % kv->B) * kv->D + d;
                    int64_t to = (((int64_t)n * L + j) * kv->K + h) * kv->D + d;
                    const char *value =
                        (const char *)pool + fo_dtype_bytes(kv->dtype, from);
                    fo_dtype_load(kv->dtype, value, rows + to, 1);
                }
        }
}
