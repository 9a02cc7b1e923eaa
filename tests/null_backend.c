/* Include what doing nothing takes. */
#include "null_backend.h"

#include "common/memory.h"

#include <stdbool.h>
#include <string.h>

/* Most slots of a backend that does nothing look at few of their arguments. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

struct fo_pool {
    fo_pool_shape shape;
    int32_t *table; /* (max_rows, max_blocks), all -1 */
    int32_t *zeros; /* (max_rows)                     */
    uint64_t illegal;
};

/* Open, close and describe the null device. */
static fo_status null_open(const fo_device_options *options, fo_device **out,
                           fo_error *error)
{
    *out = fo_memory_alloc(1, sizeof **out, error);
    if (!*out)
        return FO_NOMEM;
    (*out)->backend = &null_backend;
    return FO_OK;
}

static void null_close(fo_device **device)
{
    fo_memory_free(*device);
    *device = NULL;
}

static void null_info(fo_device *device, fo_device_info *info)
{
    *info = (fo_device_info){.name = "null"};
}

/* Hand out host memory. */
static fo_status null_alloc(fo_device *device, size_t bytes, void **out,
                            fo_error *error)
{
    *out = fo_memory_alloc(bytes, 1, error);
    return *out ? FO_OK : FO_NOMEM;
}

static void null_free(fo_device *device, void *data)
{
    fo_memory_free(data);
}

static fo_status null_map(fo_device *device, const void *host, size_t bytes,
                          const void **out, fo_error *error)
{
    *out = host;
    return FO_OK;
}

static void null_unmap(fo_device *device, const void *data)
{
}

/* Reserve addresses and refuse memory. */
static fo_status null_reserve(fo_device *device, size_t bytes, void **out,
                              fo_error *error)
{
    return null_alloc(device, 0, out, error);
}

static fo_status null_commit(fo_device *device, void *reserved, size_t bytes,
                             fo_error *error)
{
    if (bytes == 0)
        return FO_OK;
    return fo_fail_short(error, FO_NOMEM, bytes, 0,
                         "the null device has no memory to commit");
}

/* Copy and fill host memory. */
static fo_status null_copy(fo_device *device, void *to, const void *from,
                           size_t bytes, fo_error *error)
{
    if (bytes > 0)
        memmove(to, from, bytes);
    return FO_OK;
}

static fo_status null_fill(fo_device *device, void *to, uint8_t byte,
                           size_t bytes, fo_error *error)
{
    if (bytes > 0)
        memset(to, byte, bytes);
    return FO_OK;
}

/* Wait for nothing. */
static fo_status null_sync(fo_device *device, fo_error *error)
{
    return FO_OK;
}

static size_t null_workspace_bytes(fo_device *device,
                                   const fo_workload *workload)
{
    return 0;
}

/* Write zeros, as many as the shape says. */
static fo_status zero(void *out, int64_t count, size_t size)
{
    if (count > 0)
        memset(out, 0, (size_t)count * size);
    return FO_OK;
}

/* Compute layers of zeros. */
static fo_status null_embed(fo_device *device, float *out,
                            const int32_t *tokens, const fo_weight *table,
                            int T, fo_error *error)
{
    return zero(out, (int64_t)T * table->C, sizeof *out);
}

static fo_status null_rmsnorm(fo_device *device, float *out, const float *x,
                              const float *weight, int T, int C, float epsilon,
                              fo_error *error)
{
    return zero(out, (int64_t)T * C, sizeof *out);
}

static fo_status null_linear(fo_device *device, float *out, const float *x,
                             const fo_weight *weight, int T,
                             fo_workspace workspace, fo_error *error)
{
    return zero(out, (int64_t)T * weight->R, sizeof *out);
}

static fo_status null_add(fo_device *device, float *out, const float *x,
                          const float *y, int64_t n, fo_error *error)
{
    return zero(out, n, sizeof *out);
}

/* Rotate, gate and gather zeros. */
static fo_status null_rope(fo_device *device, float *x, const fo_rope *rope,
                           fo_error *error)
{
    for (int t = 0; t < rope->T; t++)
        zero(x + (int64_t)t * rope->stride, (int64_t)rope->heads * rope->D,
             sizeof *x);
    return FO_OK;
}

static fo_status null_silu_mul(fo_device *device, float *out, const float *gate,
                               const float *up, int T, int F, int stride,
                               fo_error *error)
{
    return zero(out, (int64_t)T * F, sizeof *out);
}

static fo_status null_gather_rows(fo_device *device, float *out, const float *x,
                                  const int32_t *rows, int n, int C,
                                  fo_error *error)
{
    return zero(out, (int64_t)n * C, sizeof *out);
}

/* Ignore the cache and attend to nothing. */
static fo_status null_kv_write(fo_device *device, const fo_kv *kv,
                               const float *k, const float *v, int stride,
                               const int64_t *slots, int T, fo_error *error)
{
    return FO_OK;
}

static fo_status null_kv_copy(fo_device *device, const fo_kv *kv,
                              const int32_t *from, const int32_t *to, int n,
                              fo_error *error)
{
    return FO_OK;
}

static fo_status null_attention(fo_device *device, float *out, const float *q,
                                const fo_kv *kv, const fo_block_tables *tables,
                                const fo_attention *attention,
                                fo_workspace workspace, fo_error *error)
{
    return zero(out, (int64_t)attention->T * attention->H * kv->D, sizeof *out);
}

static fo_status null_attention_contiguous(fo_device *device, float *out,
                                           const float *q, const fo_kv *kv,
                                           const fo_attention *attention,
                                           fo_workspace workspace,
                                           fo_error *error)
{
    return zero(out, (int64_t)attention->T * attention->H * kv->D, sizeof *out);
}

static fo_status null_sample(fo_device *device, int32_t *tokens,
                             const float *logits, const fo_sampling *sampling,
                             int N, int V, fo_workspace workspace,
                             fo_error *error)
{
    return zero(tokens, N, sizeof *tokens);
}

/* Open and close a pool without blocks. */
static void null_pool_close(fo_device *device, fo_pool **pool)
{
    if (!*pool)
        return;
    fo_memory_free((*pool)->table);
    fo_memory_free((*pool)->zeros);
    fo_memory_free(*pool);
    *pool = NULL;
}

static size_t null_pool_bytes(fo_device *device, const fo_pool_shape *shape)
{
    return 0;
}

static fo_status null_pool_open(fo_device *device, const fo_pool_shape *shape,
                                fo_pool **out, fo_error *error)
{
    *out = NULL;
    if (shape->num_blocks > 0)
        return fo_fail_short(error, FO_NOMEM, (uint64_t)shape->num_blocks, 0,
                             "the null device has no blocks");
    fo_pool *pool = fo_memory_alloc(1, sizeof *pool, error);
    if (!pool)
        return FO_NOMEM;
    size_t rows = (size_t)shape->max_rows, row = (size_t)shape->max_blocks;
    pool->shape = *shape;
    pool->zeros = fo_memory_alloc(rows, sizeof *pool->zeros, error);
    if (pool->zeros)
        pool->table = fo_memory_alloc(rows * row, sizeof *pool->table, error);
    if (!pool->table) {
        null_pool_close(device, &pool);
        return FO_NOMEM;
    }
    memset(pool->table, 0xff, rows * row * sizeof *pool->table);
    *out = pool;
    return FO_OK;
}

/* Refuse every block. */
static fo_pool_view null_pool_view(fo_device *device, const fo_pool *pool)
{
    return (fo_pool_view){.table = pool->table,
                          .length = pool->zeros,
                          .first = pool->zeros,
                          .blocks = pool->zeros};
}

static fo_status null_pool_extend(fo_device *device, fo_pool *pool,
                                  const fo_pool_request *requests,
                                  fo_pool_grant *grants, int n, fo_error *error)
{
    for (int i = 0; i < n; i++) {
        int32_t length = requests[i].length, room = requests[i].room;
        bool legal = 0 <= length && length <= room;
        int32_t wanted =
            legal ? (room + pool->shape.B - 1) / pool->shape.B : -1;
        grants[i] = (fo_pool_grant){wanted, wanted == 0 ? 0 : -1, -1, -1};
        pool->illegal += !legal;
    }
    return FO_OK;
}

/* Count what breaks a rule. */
static fo_status null_pool_release(fo_device *device, fo_pool *pool,
                                   const fo_pool_keep *keeps, int n,
                                   fo_error *error)
{
    for (int i = 0; i < n; i++)
        pool->illegal +=
            keeps[i].first != 0 || keeps[i].length != 0 || keeps[i].room < 0;
    return FO_OK;
}

static fo_status null_pool_share(fo_device *device, fo_pool *pool,
                                 const fo_pool_fork *forks, int n,
                                 fo_error *error)
{
    for (int i = 0; i < n; i++)
        pool->illegal += forks[i].length != 0;
    return FO_OK;
}

static fo_status null_pool_resize(fo_device *device, fo_pool *pool, int blocks,
                                  fo_error *error)
{
    if (blocks == 0)
        return FO_OK;
    return fo_fail(error, FO_ARG, "%d blocks of 0", blocks);
}

static fo_status null_pool_stats(fo_device *device, const fo_pool *pool,
                                 fo_pool_stats *stats, fo_error *error)
{
    *stats = (fo_pool_stats){.illegal = pool->illegal};
    return FO_OK;
}

/* Refuse each step. */
static fo_status null_step_request(fo_device *device, const fo_steps *steps,
                                   fo_error *error)
{
    for (int n = 0; n < steps->N; n++)
        steps->request[n] = (fo_pool_request){steps->row[n], 1, 1};
    return FO_OK;
}

static fo_status null_step_place(fo_device *device, const fo_steps *steps,
                                 fo_error *error)
{
    for (int n = 0; n < steps->N; n++) {
        steps->end[n] = FO_STEP_REFUSED;
        steps->position[n] = steps->length[n] = 0;
        steps->slot[n] = steps->copy_from[n] = steps->copy_to[n] = -1;
        if (steps->keep)
            steps->keep[n] = (fo_pool_keep){.row = steps->row[n]};
    }
    return FO_OK;
}

static fo_status null_step_append(fo_device *device, const fo_steps *steps,
                                  fo_error *error)
{
    return FO_OK;
}

static fo_status null_pool_check(fo_device *device, const fo_pool *pool,
                                 fo_error *error)
{
    return FO_OK;
}

/* Fill the table of the null device. */
const fo_backend null_backend = {
    .name = "null",
    .open = null_open,
    .close = null_close,
    .info = null_info,
    .alloc = null_alloc,
    .free = null_free,
    .map = null_map,
    .unmap = null_unmap,
    .upload = null_copy,
    .download = null_copy,
    .copy = null_copy,
    .fill = null_fill,
    .reserve = null_reserve,
    .commit = null_commit,
    .unreserve = null_free,
    .sync = null_sync,
    .workspace_bytes = null_workspace_bytes,
    .embed = null_embed,
    .rmsnorm = null_rmsnorm,
    .linear = null_linear,
    .add = null_add,
    .rope = null_rope,
    .silu_mul = null_silu_mul,
    .gather_rows = null_gather_rows,
    .kv_write = null_kv_write,
    .kv_copy = null_kv_copy,
    .attention_prefill = null_attention,
    .attention_decode = null_attention,
    .attention_contiguous = null_attention_contiguous,
    .sample = null_sample,
    /* Fill its slots for a pool. */
    .pool_bytes = null_pool_bytes,
    .pool_open = null_pool_open,
    .pool_close = null_pool_close,
    .pool_view = null_pool_view,
    .pool_extend = null_pool_extend,
    .pool_release = null_pool_release,
    .pool_share = null_pool_share,
    .pool_resize = null_pool_resize,
    .pool_stats = null_pool_stats,
    .pool_check = null_pool_check,
    .step_request = null_step_request,
    .step_place = null_step_place,
    .step_append = null_step_append,
};

/* List the required slots. */
/* clang-format off */
#define REQUIRED_SLOTS(X) \
    X(name) X(open) X(close) X(info) X(alloc) X(free) X(map) X(unmap) \
    X(upload) X(download) X(copy) X(fill) X(reserve) X(commit) X(unreserve) \
    X(sync) X(workspace_bytes) \
    X(embed) X(rmsnorm) X(linear) X(add) X(rope) X(silu_mul) \
    X(gather_rows) X(kv_write) X(kv_copy) X(attention_prefill) \
    X(attention_decode) X(attention_contiguous) X(sample) X(pool_bytes) \
    X(pool_open) X(pool_close) X(pool_view) X(pool_extend) X(pool_release) \
    X(pool_share) X(pool_resize) X(pool_stats) X(pool_check) X(step_request) \
    X(step_place) X(step_append)
#define ENTRY(slot) {#slot, offsetof(fo_backend, slot)},

/* clang-format on */

static const struct {
    const char *name;
    size_t offset;
} required[] = {REQUIRED_SLOTS(ENTRY)};

enum { REQUIRED = sizeof required / sizeof required[0], OPTIONAL = 4 };

_Static_assert(sizeof(fo_backend) == (REQUIRED + OPTIONAL) * sizeof(void *),
               "a new slot belongs in the list above");

/* Find the first missing slot. */
const char *backend_missing_slot(const fo_backend *backend)
{
    static const char null[sizeof(void *)];
    for (size_t i = 0; i < REQUIRED; i++)
        if (memcmp((const char *)backend + required[i].offset, null,
                   sizeof null) == 0)
            return required[i].name;
    return NULL;
}
