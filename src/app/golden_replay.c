#include "app/golden_replay.h"

#include "app/golden_case.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

/* Keep what a replay has in hand. */
typedef struct replay {
    fo_device *device;
    const fo_backend *backend;
    const fo_safetensors *file;
    golden_outputs *outputs;
    void *on_device[GOLDEN_TENSORS];
    int held;
    void *sources[GOLDEN_OUTPUTS]; /* on the device, one an output */
    fo_status status;              /* the first failure            */
    fo_error *error;
} replay;

static void *take(replay *r, size_t bytes)
{
    void *memory = NULL;
    if (r->status == FO_OK)
        r->status = r->backend->alloc(r->device, bytes, &memory, r->error);
    if (r->status == FO_OK)
        r->on_device[r->held++] = memory;
    return memory;
}

/* Look up what the file holds. */
static const char *word(replay *r, const char *key)
{
    const char *text = fo_safetensors_metadata(r->file, key);
    if (!text && r->status == FO_OK)
        r->status =
            fo_fail(r->error, FO_FORMAT, "the golden has no word '%s'", key);
    return text ? text : "0";
}

static const fo_safetensor *tensor(replay *r, const char *name)
{
    static const fo_safetensor none = {.rank = 0};
    const fo_safetensor *found = fo_safetensors_find(r->file, name);
    if (!found && r->status == FO_OK)
        r->status =
            fo_fail(r->error, FO_FORMAT, "the golden has no tensor '%s'", name);
    return found ? found : &none;
}

static int size(replay *r, const char *name, int dimension)
{
    return (int)tensor(r, name)->shape[dimension];
}

static fo_dtype type(replay *r, const char *key)
{
    fo_dtype dtype = fo_dtype_parse(word(r, key));
    if (dtype == FO_DTYPE_COUNT && r->status == FO_OK)
        r->status = fo_fail(r->error, FO_FORMAT, "%s is no number type", key);
    return dtype;
}

static const void *host(replay *r, const char *name, fo_dtype dtype,
                        int64_t count)
{
    const fo_safetensor *found = tensor(r, name);
    if (r->status == FO_OK &&
        (found->dtype != dtype || found->bytes != fo_dtype_bytes(dtype, count)))
        r->status =
            fo_fail(r->error, FO_FORMAT, "'%s' is not %lld values of %s", name,
                    (long long)count, fo_dtype_info_get(dtype)->name);
    return found->data;
}

/* Bring inputs and outputs to the device. */
static void *input(replay *r, const char *name)
{
    const fo_safetensor *given = tensor(r, name);
    void *memory = take(r, given->bytes);
    if (r->status == FO_OK)
        r->status = r->backend->upload(r->device, memory, given->data,
                                       given->bytes, r->error);
    return memory;
}

static void *output(replay *r, const char *name, fo_dtype dtype, int rank,
                    const int64_t *shape)
{
    fo_safetensor *made = &r->outputs->tensors[r->outputs->count];
    *made = (fo_safetensor){.name = name, .dtype = dtype, .rank = rank};
    int64_t values = 1;
    for (int i = 0; i < rank; i++)
        values *= made->shape[i] = shape[i];
    made->bytes = fo_dtype_bytes(dtype, values);
    void *memory = take(r, made->bytes);
    if (r->status == FO_OK)
        r->status =
            r->backend->fill(r->device, memory, 0xff, made->bytes, r->error);
    r->sources[r->outputs->count++] = memory;
    return memory;
}

static void *in_place(replay *r, const char *name, const char *from)
{
    const fo_safetensor *given = tensor(r, from);
    void *memory = output(r, name, given->dtype, given->rank, given->shape);
    if (r->status == FO_OK)
        r->status = r->backend->upload(r->device, memory, given->data,
                                       given->bytes, r->error);
    return memory;
}

/* Give an op its workspace. */
static fo_workspace workspace_for(replay *r, const fo_workload *workload)
{
    fo_workspace workspace = {
        .bytes = r->backend->workspace_bytes(r->device, workload)};
    workspace.data = take(r, workspace.bytes);
    return workspace;
}

/* Replay an embedding. */
static fo_weight weight(replay *r, const char *name)
{
    return (fo_weight){
        .data = input(r, name),
        .dtype = type(r, "weight_type"),
        .R = size(r, name, 0),
        .C = atoi(word(r, "columns")),
    };
}

static fo_status replay_embed(replay *r)
{
    fo_weight table = weight(r, "table");
    int T = size(r, "tokens", 0);
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){T, table.C});
    const int32_t *tokens = input(r, "tokens");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->embed(r->device, out, tokens, &table, T, r->error);
}

/* Replay the ops of a layer. */
static fo_status replay_rmsnorm(replay *r)
{
    int T = size(r, "x", 0), C = size(r, "x", 1);
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){T, C});
    const float *x = input(r, "x"), *scale = input(r, "weight");
    float epsilon = strtof(word(r, "epsilon"), NULL);
    if (r->status != FO_OK)
        return r->status;
    return r->backend->rmsnorm(r->device, out, x, scale, T, C, epsilon,
                               r->error);
}

static fo_status replay_linear(replay *r)
{
    fo_weight matrix = weight(r, "weight");
    int T = size(r, "x", 0);
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){T, matrix.R});
    const float *x = input(r, "x");
    fo_workspace workspace = workspace_for(
        r, &(fo_workload){
               .max_tokens = T, .max_columns = matrix.C, .max_rows = matrix.R});
    if (r->status != FO_OK)
        return r->status;
    return r->backend->linear(r->device, out, x, &matrix, T, workspace,
                              r->error);
}

static fo_status replay_add(replay *r)
{
    int T = size(r, "x", 0), C = size(r, "x", 1);
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){T, C});
    const float *x = input(r, "x"), *y = input(r, "y");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->add(r->device, out, x, y, (int64_t)T * C, r->error);
}

static fo_status replay_silu_mul(replay *r)
{
    int T = size(r, "x", 0), stride = size(r, "x", 1), F = stride / 2;
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){T, F});
    const float *gate = input(r, "x");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->silu_mul(r->device, out, gate, gate + F, T, F, stride,
                                r->error);
}

static fo_status replay_gather_rows(replay *r)
{
    int n = size(r, "rows", 0), C = size(r, "x", 1);
    float *out = output(r, "out", FO_F32, 2, (int64_t[]){n, C});
    const float *x = input(r, "x");
    const int32_t *rows = input(r, "rows");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->gather_rows(r->device, out, x, rows, n, C, r->error);
}

static fo_status replay_rope(replay *r)
{
    int heads = atoi(word(r, "heads"));
    float *out = in_place(r, "out", "x");
    fo_rope rope = {
        .T = size(r, "x", 0),
        .heads = heads,
        .D = heads > 0 ? size(r, "x", 1) / heads : 0,
        .stride = size(r, "x", 1),
        .rotary = 2 * size(r, "frequency", 0),
        .style = strcmp(word(r, "style"), "neox") == 0 ? FO_ROPE_NEOX
                                                       : FO_ROPE_NORMAL,
        .scale = strtof(word(r, "scale"), NULL),
        .frequency = input(r, "frequency"),
        .position = input(r, "position"),
    };
    if (r->status != FO_OK)
        return r->status;
    return r->backend->rope(r->device, out, &rope, r->error);
}

/* Replay the ops of the cache. */
static fo_kv cache(replay *r, void *k, void *v)
{
    return (fo_kv){
        .k = k,
        .v = v,
        .dtype = type(r, "cache_type"),
        .num_blocks = size(r, "k", 0),
        .K = size(r, "k", 1),
        .B = size(r, "k", 2),
        .D = size(r, "k", 3),
    };
}

static fo_status replay_kv_write(replay *r)
{
    fo_kv kv = cache(r, in_place(r, "out_k", "k"), in_place(r, "out_v", "v"));
    const float *k = input(r, "new_k"), *v = input(r, "new_v");
    const int64_t *slots = input(r, "slots");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->kv_write(r->device, &kv, k, v, kv.K * kv.D, slots,
                                size(r, "slots", 0), r->error);
}

static fo_status replay_kv_copy(replay *r)
{
    fo_kv kv = cache(r, in_place(r, "out_k", "k"), in_place(r, "out_v", "v"));
    const int32_t *from = input(r, "from"), *to = input(r, "to");
    if (r->status != FO_OK)
        return r->status;
    return r->backend->kv_copy(r->device, &kv, from, to, size(r, "from", 0),
                               r->error);
}

/* Replay attention. */
static fo_status replay_attention(replay *r)
{
    const char *op = word(r, "op");
    fo_kv kv = cache(r, input(r, "k"), input(r, "v"));
    fo_attention attention = {
        .N = size(r, "length", 0),
        .T = size(r, "q", 0),
        .H = size(r, "q", 1),
        .q_stride = size(r, "q", 1) * size(r, "q", 2),
        .scale = strtof(word(r, "scale"), NULL),
        .window = atoi(word(r, "window")),
        .query_start = input(r, "query_start"),
        .length = input(r, "length"),
    };
    /* Find the longest sequence. */
    const int32_t *lengths = host(r, "length", FO_I32, attention.N);
    for (int n = 0; n < attention.N && r->status == FO_OK; n++) {
        if (lengths[n] > attention.max_length)
            attention.max_length = lengths[n];
    }
    const float *q = input(r, "q");
    const fo_safetensor *shape = tensor(r, "q");
    float *out = output(r, "out", FO_F32, 3, shape->shape);
    fo_workspace workspace =
        workspace_for(r, &(fo_workload){.max_tokens = attention.T,
                                        .max_sequences = attention.N,
                                        .max_length = attention.max_length,
                                        .H = attention.H,
                                        .K = kv.K,
                                        .D = kv.D});
    if (r->status == FO_OK && strcmp(op, "attention_contiguous") == 0)
        return r->backend->attention_contiguous(
            r->device, out, q, &kv, &attention, workspace, r->error);
    fo_block_tables tables = {.table = input(r, "table"),
                              .max_blocks = size(r, "table", 1),
                              .row = input(r, "row")};
    if (r->status != FO_OK)
        return r->status;
    /* Call the op with a table. */
    if (strcmp(op, "attention_decode") == 0)
        return r->backend->attention_decode(r->device, out, q, &kv, &tables,
                                            &attention, workspace, r->error);
    return r->backend->attention_prefill(r->device, out, q, &kv, &tables,
                                         &attention, workspace, r->error);
}

/* Replay the sampler. */
static fo_status replay_sample(replay *r)
{
    enum { MOST_ROWS = 64 };
    int N = size(r, "logits", 0), V = size(r, "logits", 1);
    const float *temperature = host(r, "temperature", FO_F32, N);
    const float *top_p = host(r, "top_p", FO_F32, N);
    const int32_t *top_k = host(r, "top_k", FO_I32, N);
    const int64_t *seed = host(r, "seed", FO_I64, N);
    const int64_t *position = host(r, "position", FO_I64, N);
    int32_t *out = output(r, "out", FO_I32, 1, (int64_t[]){N});
    const float *logits = input(r, "logits");
    fo_workspace workspace = workspace_for(
        r, &(fo_workload){.max_sequences = N, .max_tokens = N, .V = V});
    fo_sampling rows[MOST_ROWS], *settings = take(r, sizeof rows);
    if (r->status != FO_OK)
        return r->status;
    if (N > MOST_ROWS)
        return fo_fail(r->error, FO_FORMAT, "%d rows to sample, at most %d", N,
                       MOST_ROWS);
    for (int n = 0; n < N; n++)
        rows[n] = (fo_sampling){.temperature = temperature[n],
                                .top_p = top_p[n],
                                .top_k = top_k[n],
                                .seed = (uint64_t)seed[n],
                                .position = (uint64_t)position[n]};
    r->status = r->backend->upload(r->device, settings, rows, sizeof *rows * N,
                                   r->error);
    if (r->status != FO_OK)
        return r->status;
    return r->backend->sample(r->device, out, logits, settings, N, V, workspace,
                              r->error);
}

/* Carry out one op of the story. */
static fo_status tell(replay *r, fo_pool *pool, const int32_t *op,
                      void *request, fo_pool_grant *grant)
{
    const fo_backend *backend = r->backend;
    fo_status status = backend->upload(r->device, request, op + 1,
                                       sizeof(fo_pool_keep), r->error);
    if (status != FO_OK)
        return status;
    if (op[0] == 0)
        return backend->pool_extend(r->device, pool, request, grant, 1,
                                    r->error);
    if (op[0] == 1)
        return backend->pool_release(r->device, pool, request, 1, r->error);
    return backend->pool_share(r->device, pool, request, 1, r->error);
}

/* Write down the pool after one op. */
static fo_status write_down(replay *r, fo_pool *pool, int32_t *table,
                            size_t table_bytes, int32_t *length,
                            size_t length_bytes, int32_t *counts)
{
    fo_pool_view view = r->backend->pool_view(r->device, pool);
    fo_pool_stats stats;
    fo_status status =
        r->backend->copy(r->device, table, view.table, table_bytes, r->error);
    if (status == FO_OK)
        status = r->backend->copy(r->device, length, view.length, length_bytes,
                                  r->error);
    if (status == FO_OK)
        status = r->backend->pool_stats(r->device, pool, &stats, r->error);
    if (status == FO_OK)
        status = r->backend->upload(r->device, counts,
                                    (int32_t[]){stats.free, stats.held},
                                    2 * sizeof *counts, r->error);
    return status;
}

/* Replay the pool. */
static fo_status replay_pool(replay *r)
{
    int steps = size(r, "ops", 0);
    const int32_t *ops = host(r, "ops", FO_I32, (int64_t)steps * 5);
    fo_pool_shape shape = {.num_blocks = atoi(word(r, "num_blocks")),
                           .B = atoi(word(r, "block_size")),
                           .max_rows = atoi(word(r, "max_rows")),
                           .max_blocks = atoi(word(r, "max_blocks"))};
    int rows = shape.max_rows, columns = shape.max_blocks;
    int32_t *grants = output(r, "out_grants", FO_I32, 2, (int64_t[]){steps, 4});
    int32_t *tables =
        output(r, "out_tables", FO_I32, 3, (int64_t[]){steps, rows, columns});
    int32_t *lengths =
        output(r, "out_lengths", FO_I32, 2, (int64_t[]){steps, rows});
    int32_t *counts = output(r, "out_counts", FO_I32, 2, (int64_t[]){steps, 2});
    void *request = take(r, sizeof(fo_pool_keep));
    fo_pool *pool = NULL;
    if (r->status != FO_OK)
        return r->status;
    fo_status status =
        r->backend->pool_open(r->device, &shape, &pool, r->error);
    for (int i = 0; i < steps && status == FO_OK; i++) {
        status = tell(r, pool, ops + 5 * i, request,
                      (fo_pool_grant *)(grants + 4 * i));
        if (status == FO_OK)
            status = write_down(r, pool, tables + (int64_t)i * rows * columns,
                                sizeof *tables * rows * columns,
                                lengths + (int64_t)i * rows,
                                sizeof *lengths * rows, counts + 2 * i);
    }
    r->backend->pool_close(r->device, &pool);
    return status;
}

/* List the ops that can be replayed. */
static const struct {
    const char *op;
    fo_status (*run)(replay *r);
} replays[] = {
    {"embed", replay_embed},
    {"rmsnorm", replay_rmsnorm},
    {"linear", replay_linear},
    {"add", replay_add},
    {"silu_mul", replay_silu_mul},
    {"gather_rows", replay_gather_rows},
    {"rope", replay_rope},
    {"kv_write", replay_kv_write},
    {"kv_copy", replay_kv_copy},
    {"attention_contiguous", replay_attention},
    {"attention_decode", replay_attention},
    {"attention_prefill", replay_attention},
    {"sample", replay_sample},
    {"pool", replay_pool},
};

/* Fetch the outputs and let go of the device. */
static void fetch(replay *r)
{
    for (int i = 0; i < r->outputs->count && r->status == FO_OK; i++) {
        fo_safetensor *made = &r->outputs->tensors[i];
        made->data = fo_memory_alloc(made->bytes, 1, r->error);
        r->status =
            made->data
                ? r->backend->download(r->device, (void *)made->data,
                                       r->sources[i], made->bytes, r->error)
                : FO_NOMEM;
    }
    for (int i = 0; i < r->held; i++)
        r->backend->free(r->device, r->on_device[i]);
    if (r->status != FO_OK)
        golden_outputs_close(r->outputs);
}

void golden_outputs_close(golden_outputs *outputs)
{
    for (int i = 0; i < outputs->count; i++)
        fo_memory_free((void *)outputs->tensors[i].data);
    *outputs = (golden_outputs){0};
}

/* Find the op and replay it. */
fo_status golden_replay(fo_device *device, const fo_safetensors *file,
                        golden_outputs *outputs, fo_error *error)
{
    *outputs = (golden_outputs){0};
    replay r = {.device = device,
                .backend = device->backend,
                .file = file,
                .outputs = outputs,
                .error = error};
    const char *op = word(&r, "op");
    fo_status (*run)(replay *) = NULL;
    for (size_t i = 0; i < sizeof replays / sizeof *replays; i++) {
        if (strcmp(replays[i].op, op) == 0)
            run = replays[i].run;
    }
    if (!run)
        return fo_fail(error, FO_UNKNOWN, "no op is called '%s'", op);
    r.status = run(&r);
    fetch(&r);
    return r.status;
}
