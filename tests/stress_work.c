#include "stress_inside.h"

#include "inputs.h"
#include "naive_attention.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Stock tokens and queries. */
static bool take(stress_day *d, void *out, size_t bytes)
{
    fo_error error;
    if (d->op->alloc(d->device, bytes, out, &error) == FO_OK)
        return true;
    return stress_trouble(d, "opening: %s", error.message);
}

/* Values as the cache rounds them, here and there. */
static bool stock(stress_day *d, float **here, float **there, int stream)
{
    fo_error error;
    size_t n = (size_t)d->rows * (size_t)d->width;
    uint64_t seed = d->options->seed;
    *here = malloc(n * sizeof **here);
    if (!*here || !take(d, there, n * sizeof **there))
        return stress_trouble(d, "no memory for the stock");
    if (stream == 1)
        fill_values(*here, n / (size_t)d->options->D, (size_t)d->options->D,
                    seed, 1);
    else
        fill_normal(*here, n, seed, (uint64_t)stream);
    for (size_t i = 0; i < n && stream == 2; i++)
        (*here)[i] *= 3; /* peaked scores */
    if (stream != 2) {
        void *rounded = malloc(fo_dtype_bytes(d->options->dtype, (int64_t)n));
        if (!rounded)
            return stress_trouble(d, "no memory for the stock");
        fo_dtype_store(d->options->dtype, *here, rounded, (int64_t)n);
        fo_dtype_load(d->options->dtype, rounded, *here, (int64_t)n);
        free(rounded);
    }
    if (d->op->upload(d->device, *there, *here, n * sizeof **here, &error) ==
        FO_OK)
        return true;
    return stress_trouble(d, "opening: %s", error.message);
}

/* Take the arrays of a step. */
static bool take_arrays(stress_day *d)
{
    const stress_options *o = d->options;
    size_t row = (size_t)d->width * sizeof(float);
    fo_workload load = {.max_tokens = STRESS_MOST,
                        .max_sequences = STRESS_MOST,
                        .max_length = d->room,
                        .max_columns = 1,
                        .max_rows = 1,
                        .H = o->heads,
                        .K = o->heads,
                        .D = o->D,
                        .V = 1};
    d->workspace.bytes = d->op->workspace_bytes(d->device, &load);
    d->judged_k = malloc((size_t)d->room * row);
    d->judged_v = malloc((size_t)d->room * row);
    d->got = malloc(row);
    d->want = malloc((size_t)d->width * sizeof *d->want);
    d->seen = calloc((size_t)o->blocks, sizeof *d->seen);
    if (!d->judged_k || !d->judged_v || !d->got || !d->want || !d->seen)
        return stress_trouble(d, "no memory for the judge");
    return take(d, &d->new_k, STRESS_MOST * row) &&
           take(d, &d->new_v, STRESS_MOST * row) &&
           take(d, &d->out, STRESS_MOST * row) &&
           take(d, &d->slots, STRESS_LONGEST * sizeof *d->slots) &&
           take(d, &d->numbers, 5 * STRESS_MOST * sizeof *d->numbers) &&
           take(d, &d->workspace.data, d->workspace.bytes);
}

/* Poison the cache. */
/* NaN in every slot: a key that nobody wrote is seen, and all memory is there
 * from the start. */
static bool poison_cache(stress_day *d)
{
    const fo_kv *kv = fo_block_manager_layer(d->blocks, 0);
    fo_error error;
    size_t bytes = (size_t)d->token_bytes / 2 * (size_t)d->options->blocks *
                   (size_t)d->options->B;
    if (d->op->fill(d->device, kv->k, 0xff, bytes, &error) == FO_OK &&
        d->op->fill(d->device, kv->v, 0xff, bytes, &error) == FO_OK)
        return true;
    return stress_trouble(d, "opening: %s", error.message);
}

/* Open a day. */
bool stress_open(stress_day *d)
{
    const stress_options *o = d->options;
    fo_error error;
    d->op = o->backend;
    d->width = o->heads * o->D;
    d->room = o->longest + 1;
    d->rows = d->room + STRESS_SPARE;
    d->next_id = 1;
    if (d->room > STRESS_LONGEST || o->most > STRESS_MOST - 8)
        return stress_trouble(d, "too large a day");
    fo_block_config config = {.total_blocks = o->blocks,
                              .block_size = o->B,
                              .num_layers = 1,
                              .kv_heads = o->heads,
                              .head_dim = o->D,
                              .dtype = o->dtype,
                              .max_sequences = STRESS_MOST,
                              .max_length = d->room};
    d->token_bytes = (double)fo_block_config_token_bytes(&config);
    if (d->op->open(NULL, &d->device, &error) != FO_OK ||
        fo_block_manager_open(d->device, &config, &d->blocks, &error) != FO_OK)
        return stress_trouble(d, "opening: %s", error.message);
    if (!stock(d, &d->k, &d->there_k, 0) || !stock(d, &d->v, &d->there_v, 1) ||
        !stock(d, &d->q, &d->there_q, 2) || !take_arrays(d) || !poison_cache(d))
        return false;
    d->host_bytes = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    d->device_bytes = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    return true;
}

/* Close a day. */
void stress_close(stress_day *d)
{
    float *here[] = {d->k, d->v, d->q, d->judged_k, d->judged_v, d->got};
    void *there[] = {d->there_k, d->there_v, d->there_q,
                     d->new_k,   d->new_v,   d->out,
                     d->slots,   d->numbers, d->workspace.data};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++)
        free(here[i]);
    free(d->want);
    free(d->seen);
    fo_memory_free(d->lost);
    fo_block_manager_close(&d->blocks);
    for (size_t i = 0; d->device && i < sizeof there / sizeof *there; i++)
        d->op->free(d->device, there[i]);
    if (d->device)
        d->op->close(&d->device);
}

/* Give every guest one token more. */
/* Those that the pool refuses leave. */
static bool grow(stress_day *d)
{
    fo_error error, results[STRESS_MOST];
    fo_block_request requests[STRESS_MOST];
    for (int i = 0; i < d->live; i++)
        requests[i] = (fo_block_request){d->guests[i].id, 1, 0};
    if (fo_block_manager_extend_batch(d->blocks, requests, results, d->live,
                                      &error) != FO_OK)
        return stress_trouble(d, "growing: %s", error.message);
    for (int i = d->live - 1; i >= 0; i--) {
        d->guests[i].length++;
        if (results[i].status == FO_OK)
            continue;
        d->guests[i].length--;
        if (!stress_refused(d, &results[i], 1) || !stress_leave(d, i))
            return false;
    }
    return true;
}

/* Put a step's numbers on the device. */
typedef struct numbers {
    const int32_t *token, *query_start, *length, *row;
    int longest;
} numbers;

static bool put_numbers(stress_day *d, numbers *out)
{
    fo_error error;
    int n = d->live;
    int32_t all[5 * STRESS_MOST];
    int64_t slots[STRESS_MOST];
    const fo_block_table *table = fo_block_manager_table(d->blocks);
    out->longest = 0;
    for (int i = 0; i < n; i++) {
        stress_guest *g = &d->guests[i];
        bool forget = d->options->plant == STRESS_FORGET_A_COPY && g->parent;
        all[i] = g->text[g->length - 1];
        all[n + i] = g->length;
        all[2 * n + i] = fo_block_table_row(table, g->id);
        slots[i] = fo_block_table_slot(table, forget ? g->parent : g->id,
                                       g->length - 1);
        g->parent = 0;
        out->longest = g->length > out->longest ? g->length : out->longest;
        d->result->attended += g->length * d->token_bytes;
    }
    for (int i = 0; i <= n; i++)
        all[3 * n + i] = i;
    out->token = d->numbers;
    out->length = d->numbers + n;
    out->row = d->numbers + 2 * n;
    out->query_start = d->numbers + 3 * n;
    if (d->op->upload(d->device, d->numbers, all,
                      (size_t)(4 * n + 1) * sizeof *all, &error) != FO_OK ||
        d->op->upload(d->device, d->slots, slots, (size_t)n * sizeof *slots,
                      &error) != FO_OK)
        return stress_trouble(d, "uploading: %s", error.message);
    return true;
}

/* Attend with every guest. */
bool stress_decode(stress_day *d, int *first_query)
{
    const stress_options *o = d->options;
    const fo_kv *kv = fo_block_manager_layer(d->blocks, 0);
    fo_error error;
    numbers at;
    if (!grow(d) || !put_numbers(d, &at))
        return false;
    int n = d->live;
    *first_query = (int)stress_draw(d, (uint32_t)(d->rows - STRESS_MOST));
    fo_attention attention = {.N = n,
                              .T = n,
                              .H = o->heads,
                              .q_stride = d->width,
                              .scale = 1 / sqrtf((float)o->D),
                              .max_length = at.longest,
                              .query_start = at.query_start,
                              .length = at.length};
    fo_block_tables tables = fo_block_manager_tables(d->blocks, at.row);
    const float *q = d->there_q + (int64_t)*first_query * d->width;
    fo_status status = d->op->gather_rows(d->device, d->new_k, d->there_k,
                                          at.token, n, d->width, &error);
    if (status == FO_OK)
        status = d->op->gather_rows(d->device, d->new_v, d->there_v, at.token,
                                    n, d->width, &error);
    if (status == FO_OK)
        status = d->op->kv_write(d->device, kv, d->new_k, d->new_v, d->width,
                                 d->slots, n, &error);
    if (status == FO_OK)
        status = d->op->attention_decode(d->device, d->out, q, kv, &tables,
                                         &attention, d->workspace, &error);
    if (status == FO_OK)
        status = d->op->sync(d->device, &error);
    d->result->decoded += n;
    return status == FO_OK || stress_trouble(d, "attending: %s", error.message);
}

/* Hold a result against the judge. */
bool stress_judge(stress_day *d, int first_query)
{
    const stress_options *o = d->options;
    fo_error error;
    if (d->live == 0)
        return true;
    int i = (int)stress_draw(d, (uint32_t)d->live);
    const stress_guest *g = &d->guests[i];
    size_t row = (size_t)d->width * sizeof(float);
    for (int p = 0; p < g->length; p++) {
        int64_t to = (int64_t)p * d->width;
        int64_t from = (int64_t)g->text[p] * d->width;
        memcpy(d->judged_k + to, d->k + from, row);
        memcpy(d->judged_v + to, d->v + from, row);
    }
    int32_t start[] = {0, 1}, length[] = {g->length};
    fo_attention attention = {.N = 1,
                              .T = 1,
                              .H = o->heads,
                              .q_stride = d->width,
                              .scale = 1 / sqrtf((float)o->D),
                              .max_length = g->length,
                              .query_start = start,
                              .length = length};
    naive_attention(d->want, d->q + (int64_t)(first_query + i) * d->width,
                    d->judged_k, d->judged_v, d->room, o->heads, o->D,
                    &attention, NAIVE_RIGHT);
    if (d->op->download(d->device, d->got, d->out + (int64_t)i * d->width, row,
                        &error) != FO_OK)
        return stress_trouble(d, "downloading: %s", error.message);
    fo_comparison c = fo_comparison_begin(o->tolerance);
    for (int j = 0; j < d->width; j++)
        fo_comparison_add(&c, d->got[j], d->want[j]);
    char report[256];
    d->result->judged++;
    d->result->worst = fmax(d->result->worst, c.worst_error);
    return fo_comparison_verdict(&c, "judged", report, sizeof report) ||
           stress_trouble(d, "sequence %" PRId64 " of %d tokens: %s", g->id,
                          g->length, report);
}
