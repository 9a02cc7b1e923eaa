#include "attention_case.h"

#include "common/memory.h"
#include "common/rng.h"
#include "compare.h"
#include "inputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const float *row_of(const attention_case *c, const float *rows, int n,
                           int j, int head)
{
    return rows + (((int64_t)n * c->L + j) * c->spec.K + head) * c->spec.D;
}

/* Make keys and values as the cache will hold them. */
static void round_to(fo_dtype dtype, float *x, size_t n)
{
    void *stored = fo_memory_alloc(fo_dtype_bytes(dtype, (int64_t)n), 1, NULL);
    fo_dtype_store(dtype, x, stored, (int64_t)n);
    fo_dtype_load(dtype, stored, x, (int64_t)n);
    fo_memory_free(stored);
}

static void make_keys(attention_case *c)
{
    const attention_spec *s = &c->spec;
    size_t rows = (size_t)s->N * (size_t)c->L * (size_t)s->K;
    size_t n = rows * (size_t)s->D;
    c->k = fo_memory_alloc(n, sizeof *c->k, NULL);
    c->v = fo_memory_alloc(n, sizeof *c->v, NULL);
    for (uint64_t i = 0; i < (uint64_t)s->N; i++) {
        size_t stored = (size_t)(c->length[i] < c->L ? c->length[i] + 1 : c->L);
        size_t at = i * (size_t)c->L * (size_t)(s->K * s->D);
        fill_normal(c->k + at, stored * (size_t)(s->K * s->D), s->seed, 10 + i);
        fill_values(c->v + at, stored * (size_t)s->K, (size_t)s->D, s->seed,
                    20 + i);
    }
    round_to(s->dtype, c->k, n);
    round_to(s->dtype, c->v, n);
}

/* Aim half of the queries at a key they see. */
static void make_queries(attention_case *c)
{
    const attention_spec *s = &c->spec;
    const fo_attention *a = &c->attention;
    poison(c->q, (size_t)a->T * (size_t)a->q_stride * sizeof *c->q);
    for (int n = 0; n < s->N; n++)
        for (int t = c->query_start[n]; t < c->query_start[n + 1]; t++)
            for (int h = 0; h < s->H; h++) {
                uint64_t row = (uint64_t)t * (uint64_t)s->H + (uint64_t)h;
                float *q = c->q + (int64_t)t * a->q_stride + h * s->D;
                fill_normal(q, (size_t)s->D, s->seed, 1000 + row);
                int p = c->length[n] - c->query_start[n + 1] + t;
                if (p < 0 || (t + h) % 2)
                    continue;
                int most = a->window && a->window <= p ? a->window : p + 1;
                int j = p - (int)(fo_rng_uniform(s->seed, 3, row) * most);
                aim_query(q, row_of(c, c->k, n, j, h / (s->H / s->K)),
                          (size_t)s->D, s->score ? s->score : 12);
            }
}

/* Open and close a case. */
attention_case *attention_case_open(fo_device *device,
                                    const attention_spec *spec)
{
    attention_case *c = fo_memory_alloc(1, sizeof *c, NULL);
    *c = (attention_case){.spec = *spec, .device = device, .L = 1};
    for (int n = 0; n < spec->N; n++) {
        c->length[n] = spec->lengths[n];
        c->query_start[n + 1] = c->query_start[n] + spec->queries[n];
        c->L = c->length[n] > c->L ? c->length[n] : c->L;
    }
    c->attention = (fo_attention){
        .N = spec->N,
        .T = c->query_start[spec->N],
        .H = spec->H,
        .q_stride = spec->H * spec->D + spec->padding,
        .scale = 1 / sqrtf((float)spec->D),
        .window = spec->window,
        .max_length = c->L,
        .query_start = c->query_start,
        .length = c->length,
    };
    make_keys(c);
    c->q = fo_memory_alloc((size_t)c->attention.T,
                           (size_t)c->attention.q_stride * sizeof *c->q, NULL);
    make_queries(c);
    return c;
}

void attention_case_close(attention_case **c)
{
    fo_memory_free((*c)->q);
    fo_memory_free((*c)->k);
    fo_memory_free((*c)->v);
    fo_memory_free(*c);
    *c = NULL;
}

/* Tell a case's size and ask its judge. */
size_t attention_case_values(const attention_case *c)
{
    return (size_t)c->attention.T * (size_t)c->spec.H * (size_t)c->spec.D;
}

void attention_case_judge(const attention_case *c, double *out, naive_slip slip)
{
    naive_attention(out, c->q, c->k, c->v, c->L, c->spec.K, c->spec.D,
                    &c->attention, slip);
}

/* Write one sequence's rows into a pool. */
static void put_row(const attention_case *c, const fo_kv *kv, char *pool,
                    const float *rows, int n, int j, int64_t block)
{
    for (int h = 0; h < kv->K; h++) {
        int64_t at = block;
        at = at * kv->K + h;
        at = at * kv->B + j % kv->B;
        at = at * kv->D;
        fo_dtype_store(kv->dtype, row_of(c, rows, n, j, h),
                       pool + fo_dtype_bytes(kv->dtype, at), kv->D);
    }
}

/* Hold a case's arrays in device memory. */
typedef struct laid_out {
    guarded q, query_start, length, k, v, out, workspace;
    fo_attention attention; /* with arrays in device memory */
    fo_workspace room;
} laid_out;

static laid_out lay_out(const attention_case *c, const void *k, const void *v,
                        size_t pool_bytes)
{
    const fo_attention *a = &c->attention;
    fo_workload workload = {.max_tokens = a->T,
                            .max_sequences = a->N,
                            .max_length = c->L,
                            .H = a->H,
                            .K = c->spec.K,
                            .D = c->spec.D};
    size_t row = (size_t)a->q_stride * sizeof(float);
    laid_out l = {
        .q = guarded_copy(c->device, c->q, (size_t)a->T * row),
        .query_start = guarded_copy(c->device, c->query_start,
                                    ((size_t)a->N + 1) * sizeof(int32_t)),
        .length =
            guarded_copy(c->device, c->length, (size_t)a->N * sizeof(int32_t)),
        .k = guarded_copy(c->device, k, pool_bytes),
        .v = guarded_copy(c->device, v, pool_bytes),
        .out =
            guarded_open(c->device, attention_case_values(c) * sizeof(float)),
        .workspace = guarded_open(
            c->device,
            c->device->backend->workspace_bytes(c->device, &workload)),
        .attention = *a,
    };
    l.attention.query_start = l.query_start.data;
    l.attention.length = l.length.data;
    l.room = (fo_workspace){l.workspace.data, l.workspace.bytes};
    return l;
}

/* Take the answer and see that nothing else changed. */
static void take_in(laid_out *l, float *out)
{
    guarded_read(&l->out, out);
    guarded *all[] = {&l->q, &l->query_start, &l->length,   &l->k,
                      &l->v, &l->out,         &l->workspace};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        guarded_close(all[i]);
}

/* Run a case over one block a sequence. */
static char *poisoned(size_t bytes)
{
    char *data = fo_memory_alloc(bytes, 1, NULL);
    poison(data, bytes);
    return data;
}

void attention_case_contiguous(const attention_case *c, float *out)
{
    const attention_spec *s = &c->spec;
    fo_kv kv = {NULL, NULL, s->dtype, s->N, s->K, c->L + 3, s->D};
    size_t bytes =
        fo_dtype_bytes(s->dtype, (int64_t)kv.num_blocks * kv.K * kv.B * kv.D);
    char *k = poisoned(bytes), *v = poisoned(bytes);
    for (int n = 0; n < s->N; n++)
        for (int j = 0; j < c->length[n]; j++) {
            put_row(c, &kv, k, c->k, n, j, n);
            put_row(c, &kv, v, c->v, n, j, n);
        }
    laid_out l = lay_out(c, k, v, bytes);
    kv.k = l.k.data;
    kv.v = l.v.data;
    fo_error error = {0};
    fo_status status = c->device->backend->attention_contiguous(
        c->device, l.out.data, l.q.data, &kv, &l.attention, l.room, &error);
    if (status != FO_OK)
        fail_msg("%s: %s", fo_status_name(status), error.message);
    take_in(&l, out);
    fo_memory_free(k);
    fo_memory_free(v);
}

/* Run a case over blocks. */
/* Deal out the blocks of a pool. */
typedef struct paging {
    int num_blocks, max_blocks;
    int32_t *table; /* (N + 1, max_blocks) */
    int32_t row[ATTENTION_CASE_SEQUENCES];
} paging;

static int32_t *shuffle(int n, uint64_t order)
{
    int32_t *cards = fo_memory_alloc((size_t)n, sizeof *cards, NULL);
    for (int i = 0; i < n; i++)
        cards[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(fo_rng_uniform(order, 4, (uint64_t)i) * (float)(i + 1));
        int32_t card = cards[i];
        cards[i] = cards[j];
        cards[j] = card;
    }
    return cards;
}

static int first_seen_block(const attention_case *c, int n)
{
    int queries = c->query_start[n + 1] - c->query_start[n];
    int first = c->length[n] - queries - c->attention.window + 1;
    return c->attention.window && first > 0 ? first / c->spec.B : 0;
}

static paging deal(const attention_case *c, uint64_t order)
{
    static const int32_t junk[] = {-1, INT32_MAX, INT32_MIN, 1 << 20};
    int N = c->spec.N, B = c->spec.B;
    paging p = {.num_blocks = 5, .max_blocks = (c->L + B - 1) / B + 3};
    for (int n = 0; n < N; n++)
        p.num_blocks += (c->length[n] + B - 1) / B;
    size_t entries = ((size_t)N + 1) * (size_t)p.max_blocks;
    p.table = fo_memory_alloc(entries, sizeof *p.table, NULL);
    for (size_t i = 0; i < entries; i++)
        p.table[i] = junk[i % 4];
    int32_t *cards = shuffle(p.num_blocks, order);
    for (int n = 0, dealt = 0; n < N; n++) {
        p.row[n] = N - n;
        int32_t *row = p.table + (int64_t)p.row[n] * p.max_blocks;
        for (int i = 0; i * B < c->length[n]; i++, dealt++)
            row[i] = i < first_seen_block(c, n) ? -1 : cards[dealt];
    }
    fo_memory_free(cards);
    return p;
}

static void put_sequence(const attention_case *c, const fo_kv *kv, char *k,
                         char *v, const paging *p, int n)
{
    for (int j = 0; j < c->length[n]; j++) {
        int32_t block =
            p->table[(int64_t)p->row[n] * p->max_blocks + j / kv->B];
        if (block < 0)
            continue;
        put_row(c, kv, k, c->k, n, j, block);
        put_row(c, kv, v, c->v, n, j, block);
    }
}

/* Call the op for prefill or decode. */
static void call_paged(const attention_case *c, laid_out *l, const fo_kv *kv,
                       const paging *p, bool prefill)
{
    const fo_backend *backend = c->device->backend;
    size_t entries = ((size_t)c->spec.N + 1) * (size_t)p->max_blocks;
    guarded table =
        guarded_copy(c->device, p->table, entries * sizeof *p->table);
    guarded row =
        guarded_copy(c->device, p->row, (size_t)c->spec.N * sizeof *p->row);
    fo_block_tables tables = {table.data, p->max_blocks, row.data};
    for (int n = 0; n < c->spec.N; n++)
        prefill |= c->query_start[n + 1] - c->query_start[n] != 1;
    fo_error error = {0};
    fo_status status =
        (prefill ? backend->attention_prefill : backend->attention_decode)(
            c->device, l->out.data, l->q.data, kv, &tables, &l->attention,
            l->room, &error);
    if (status != FO_OK)
        fail_msg("%s: %s", fo_status_name(status), error.message);
    guarded_close(&table);
    guarded_close(&row);
}

void attention_case_paged(const attention_case *c, uint64_t order, bool prefill,
                          float *out)
{
    const attention_spec *s = &c->spec;
    paging p = deal(c, order);
    fo_kv kv = {NULL, NULL, s->dtype, p.num_blocks, s->K, s->B, s->D};
    size_t bytes =
        fo_dtype_bytes(s->dtype, (int64_t)kv.num_blocks * kv.K * kv.B * kv.D);
    char *k = poisoned(bytes), *v = poisoned(bytes);
    for (int n = 0; n < s->N; n++)
        put_sequence(c, &kv, k, v, &p, n);
    laid_out l = lay_out(c, k, v, bytes);
    kv.k = l.k.data;
    kv.v = l.v.data;
    call_paged(c, &l, &kv, &p, prefill);
    take_in(&l, out);
    fo_memory_free(k);
    fo_memory_free(v);
    fo_memory_free(p.table);
}

attention_case attention_case_part(const attention_case *c, int n, int first,
                                   int count)
{
    attention_case part = *c;
    int queries = c->query_start[n + 1] - c->query_start[n];
    part.spec.N = 1;
    part.attention.N = 1;
    part.attention.T = count;
    part.query_start[1] = count;
    part.length[0] = c->length[n] - queries + first + count;
    part.q += (int64_t)(c->query_start[n] + first) * c->attention.q_stride;
    part.attention.query_start = NULL;
    part.attention.length = NULL;
    part.query_start[0] = 0;
    int64_t rows = (int64_t)n * c->L * c->spec.K * c->spec.D;
    part.k += rows;
    part.v += rows;
    return part;
}

/* Judge one case. */
void attention_case_check(fo_device *device, const attention_spec *spec,
                          attention_tally *tally)
{
    if (tally->asked++ % 9 > 0 && getenv("FOLIO_QUICK"))
        return;
    attention_case *c = attention_case_open(device, spec);
    size_t n = attention_case_values(c);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    attention_case_judge(c, want, NAIVE_RIGHT);
    if (spec->B > 0)
        attention_case_paged(c, spec->seed + 1, false, got);
    else
        attention_case_contiguous(c, got);
    double error = assert_close(
        got, want, n, TOLERANCE_F32, "H %d K %d D %d B %d %s window %d seed %d",
        spec->H, spec->K, spec->D, spec->B,
        fo_dtype_info_get(spec->dtype)->name, spec->window, (int)spec->seed);
    tally->worst = error > tally->worst ? error : tally->worst;
    tally->cases++;
    fo_memory_free(got);
    fo_memory_free(want);
    attention_case_close(&c);
}

void attention_tally_print(const attention_tally *tally, const char *what)
{
    assert_true(tally->cases > 0);
    print_message("%s: %d cases, worst error %.2g\n", what, tally->cases,
                  tally->worst);
}
