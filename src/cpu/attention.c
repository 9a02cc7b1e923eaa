#include "cpu/attention.h"
#include "cpu/cpu.h"

#include <math.h>
#include <omp.h>

enum { tile_rows = 64 }; /* about so many rows share what they read */

typedef struct job {
    float *out;
    const float *q;
    const cpu_attention_keys *keys;
    const fo_attention *attention;
} job;

/* Begin the rows of a tile. */
static const float *query_of(const job *job, const cpu_attention_rows *rows,
                             int r)
{
    int64_t token = rows->tile->first + r / rows->G;
    int64_t head = (int64_t)rows->head * rows->G + r % rows->G;
    return job->q + token * job->attention->q_stride + head * rows->D;
}

static void begin(const job *job, const cpu_attention_rows *rows)
{
    int D = rows->D;
    for (int r = 0; r < rows->count; r++) {
        const float *q = query_of(job, rows, r);
        for (int i = 0; i < D; i++) {
            rows->q[(int64_t)r * D + i] = q[i] * job->attention->scale;
            rows->sum[(int64_t)r * D + i] = 0;
        }
        rows->maximum[r] = -INFINITY;
        rows->total[r] = 0;
    }
}

/* End the rows of a tile. */
static void end(const job *job, const cpu_attention_rows *rows)
{
    int D = rows->D;
    for (int r = 0; r < rows->count; r++) {
        int64_t token = rows->tile->first + r / rows->G;
        int64_t head = (int64_t)rows->head * rows->G + r % rows->G;
        float *out = job->out + (token * job->attention->H + head) * D;
        const float *sum = rows->sum + (int64_t)r * D;
        float total = rows->total[r];
        for (int i = 0; i < D; i++)
            out[i] = total == 0 ? 0 : sum[i] / total;
    }
}

/* Attend with one tile and one kv head. */
static void attend(const job *job, cpu_attention_rows *rows,
                   const cpu_attention_tile *tile, int head)
{
    rows->tile = tile;
    rows->head = head;
    rows->count = tile->tokens * rows->G;
    begin(job, rows);
    cpu_attention_span seen =
        cpu_attention_visible(job->attention, tile->position, tile->tokens);
    for (int from = seen.first, to; from < seen.last; from = to) {
        to = (from / cpu_attention_strip + 1) * cpu_attention_strip;
        to = to < seen.last ? to : seen.last;
        cpu_attention_fold(rows, from, to);
    }
    end(job, rows);
}

/* List the tiles of a batch. */
static int tile_tokens(int G)
{
    return G < tile_rows ? tile_rows / G : 1;
}

static int list_tiles(cpu_attention_tile *tiles, const fo_attention *a,
                      const int32_t *query_start, int most)
{
    int count = 0;
    for (int n = 0; n < a->N; n++) {
        int start = query_start ? query_start[n] : n;
        int end = query_start ? query_start[n + 1] : n + 1;
        for (int first = start; first < end; first += most)
            tiles[count++] = (cpu_attention_tile){
                .sequence = n,
                .first = first,
                .tokens = end - first < most ? end - first : most,
                .position = a->length[n] - end + first,
            };
    }
    return count;
}

/* Measure the workspace of attention. */
static size_t tile_bytes(int T, int N, int G)
{
    size_t most = (size_t)(T / tile_tokens(G)) + (size_t)N;
    return (most * sizeof(cpu_attention_tile) + 63) / 64 * 64;
}

static size_t thread_floats(int G, int D)
{
    size_t count = (size_t)tile_tokens(G) * (size_t)G;
    size_t row = 2 * (size_t)D + cpu_attention_strip + 2;
    return (count * row + cpu_attention_strip * (size_t)D + 15) / 16 * 16;
}

size_t cpu_attention_workspace(const fo_workload *workload)
{
    if (workload->K <= 0)
        return 0;
    int G = workload->H / workload->K;
    return tile_bytes(workload->max_tokens, workload->max_sequences, G) +
           (size_t)omp_get_max_threads() * thread_floats(G, workload->D) *
               sizeof(float);
}

/* Carve out the rows of a thread. */
static cpu_attention_rows carve(float *room, const job *job)
{
    const fo_kv *kv = job->keys->kv;
    cpu_attention_rows rows = {
        .keys = job->keys,
        .attention = job->attention,
        .G = job->attention->H / kv->K,
        .D = kv->D,
        .key_bytes = fo_dtype_bytes(kv->dtype, kv->D),
    };
    int64_t count = (int64_t)tile_tokens(rows.G) * rows.G;
    rows.q = room;
    rows.sum = rows.q + count * rows.D;
    rows.strip = rows.sum + count * rows.D;
    rows.weights = rows.strip + (int64_t)cpu_attention_strip * rows.D;
    rows.maximum = rows.weights + count * cpu_attention_strip;
    rows.total = rows.maximum + count;
    return rows;
}

/* Attend with a whole batch. */
fo_status cpu_attention_batch(float *out, const float *q,
                              const cpu_attention_keys *keys,
                              const fo_attention *attention,
                              const int32_t *query_start,
                              fo_workspace workspace, fo_error *error)
{
    if (attention->N == 0)
        return FO_OK;
    int K = keys->kv->K, G = attention->H / K;
    size_t listed = tile_bytes(attention->T, attention->N, G);
    size_t each = thread_floats(G, keys->kv->D) * sizeof(float);
    if (workspace.bytes < listed + each)
        return fo_fail_short(error, FO_ARG, listed + each, workspace.bytes,
                             "attention needs %zu bytes of workspace, not %zu",
                             listed + each, workspace.bytes);
    size_t fit = (workspace.bytes - listed) / each;
    int threads = omp_get_max_threads();
    threads = fit < (size_t)threads ? (int)fit : threads;
    cpu_attention_tile *tiles = workspace.data;
    char *room = (char *)workspace.data + listed;
    int64_t count = list_tiles(tiles, attention, query_start, tile_tokens(G));
    job job = {out, q, keys, attention};
#pragma omp parallel num_threads(threads)
    {
        size_t offset = each * (size_t)omp_get_thread_num();
        cpu_attention_rows rows = carve((float *)(room + offset), &job);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count * K; i++)
            attend(&job, &rows, &tiles[count - 1 - i / K], (int)(i % K));
    }
    return FO_OK;
}

/* Check that heads, sizes and types fit each other. */
static fo_status check_shapes(const fo_kv *kv, const fo_attention *attention,
                              fo_error *error)
{
    if (kv->K <= 0 || kv->B <= 0 || kv->D <= 0 || attention->H <= 0 ||
        attention->H % kv->K != 0)
        return fo_fail(error, FO_ARG,
                       "%d heads over %d kv heads of %d numbers in blocks of "
                       "%d",
                       attention->H, kv->K, kv->D, kv->B);
    if (kv->dtype != FO_F32 && kv->dtype != FO_F16 && kv->dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache of type %s",
                       fo_dtype_info_get(kv->dtype)->name);
    if (attention->N < 0 || attention->T < 0 || attention->window < 0)
        return fo_fail(error, FO_ARG,
                       "%d sequences, %d queries, a window of %d", attention->N,
                       attention->T, attention->window);
    return FO_OK;
}

/* Check where each sequence's queries begin. */
fo_status cpu_attention_check(const fo_kv *kv, const fo_attention *attention,
                              const int32_t *query_start, fo_error *error)
{
    fo_status status = check_shapes(kv, attention, error);
    if (status != FO_OK)
        return status;
    if (!query_start && attention->T != attention->N)
        return fo_fail(error, FO_ARG,
                       "a decode step of %d queries for %d sequences",
                       attention->T, attention->N);
    for (int n = 0; n < attention->N && query_start; n++) {
        int start = query_start[n], end = query_start[n + 1];
        if (start < 0 || end < start || end > attention->T)
            return fo_fail(error, FO_ARG,
                           "sequence %d has queries %d to %d of %d", n, start,
                           end, attention->T);
    }
    return FO_OK;
}

/* Attend over one block a sequence. */
static int32_t own_block(const fo_block_tables *tables, int n, int i)
{
    (void)tables, (void)i;
    return n;
}

fo_status cpu_attention_contiguous(fo_device *device, float *out,
                                   const float *q, const fo_kv *kv,
                                   const fo_attention *attention,
                                   fo_workspace workspace, fo_error *error)
{
    (void)device;
    const int32_t *start = attention->query_start;
    fo_status status = cpu_attention_check(kv, attention, start, error);
    if (status != FO_OK)
        return status;
    for (int n = 0; n < attention->N; n++)
        if (n >= kv->num_blocks || attention->length[n] > kv->B)
            return fo_fail_short(
                error, FO_ARG, (uint64_t)attention->length[n], (uint64_t)kv->B,
                "sequence %d of %d tokens in a cache of %d "
                "blocks of %d",
                n, attention->length[n], kv->num_blocks, kv->B);
    cpu_attention_keys keys = {kv, NULL, own_block};
    return cpu_attention_batch(out, q, &keys, attention, start, workspace,
                               error);
}
