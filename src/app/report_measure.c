#include "app/report.h"
#include "common/memory.h"

#include <string.h>

/* Choose where to measure. */
enum { BLOCK = 16, SLAB_BYTES = 64 << 20 };

static int last_context(const app_report *r)
{
    return r->contexts[r->count - 1];
}

/* The next multiple of `step` or context beyond `tokens`; or `tokens`. */
static int next_stop(const app_report *r, int step, int tokens)
{
    int last = last_context(r), next = tokens / step * step + step;
    for (int i = 0; i < r->count; i++)
        if (r->contexts[i] > tokens && r->contexts[i] < next)
            next = r->contexts[i];
    return next < last ? next : last;
}

static fo_status make_room(const app_report *r, int step, app_samples *out,
                           fo_error *error)
{
    size_t most = (size_t)(last_context(r) / step + r->count + 2);
    *out = (app_samples){0};
    out->at = fo_memory_alloc(most, sizeof *out->at, error);
    return out->at ? FO_OK : FO_NOMEM;
}

/* Note a sample. */
static uint64_t since(uint64_t now, uint64_t start)
{
    return now > start ? now - start : 0;
}

static fo_status note(fo_device *device, const fo_block_manager *blocks,
                      int tokens, const fo_usage *start, app_samples *out,
                      fo_error *error)
{
    fo_usage u;
    fo_block_stats stats;
    fo_status status = device->backend->sync(device, error);
    if (status == FO_OK)
        status = fo_usage_get(device, blocks, &u, error);
    if (status == FO_OK)
        status = fo_block_manager_stats(blocks, &stats, error);
    if (status != FO_OK)
        return status;
    u.own = since(u.own, start->own);
    u.host = since(u.host, start->host);
    u.resident = since(u.resident, start->resident);
    out->at[out->count++] = (app_sample){tokens, stats.pool.held, u};
    return FO_OK;
}

/* Write keys and values into new slots. */
typedef struct scribe {
    fo_device *device;
    fo_block_manager *blocks;
    int most, width; /* tokens of one call, floats of one of them */
    int64_t *here;   /* (most)                                    */
    int64_t *slots;  /* (most), device memory                     */
    float *rows;     /* (most, width), device memory              */
} scribe;

static fo_status store(scribe *s, int from, int count, fo_error *error)
{
    const fo_backend *op = s->device->backend;
    fo_status status = fo_block_manager_extend(s->blocks, 0, count, error);
    if (status != FO_OK)
        return status;
    fo_block_table_slots(fo_block_manager_table(s->blocks), 0, from, count,
                         s->here);
    status = op->upload(s->device, s->slots, s->here,
                        (size_t)count * sizeof *s->here, error);
    int layers = fo_block_manager_config(s->blocks)->num_layers;
    for (int i = 0; i < layers && status == FO_OK; i++)
        status =
            op->kv_write(s->device, fo_block_manager_layer(s->blocks, i),
                         s->rows, s->rows, s->width, s->slots, count, error);
    return status;
}

/* Open what a scribe needs. */
static fo_status open_scribe(scribe *s, fo_error *error)
{
    const fo_backend *op = s->device->backend;
    size_t most = (size_t)s->most, bytes = most * (size_t)s->width * 4;
    void *slots = NULL, *rows = NULL;
    s->here = fo_memory_alloc(most, sizeof *s->here, error);
    if (!s->here)
        return FO_NOMEM;
    fo_status status =
        op->alloc(s->device, most * sizeof *s->slots, &slots, error);
    if (status == FO_OK)
        status = op->alloc(s->device, bytes, &rows, error);
    s->slots = slots;
    s->rows = rows;
    if (status == FO_OK)
        status = op->fill(s->device, rows, 0x3e, bytes, error);
    return status;
}

static void close_scribe(scribe *s)
{
    fo_block_manager_close(&s->blocks);
    s->device->backend->free(s->device, s->rows);
    s->device->backend->free(s->device, s->slots);
    fo_memory_free(s->here);
    s->device->backend->close(&s->device);
}

/* Choose the shape of the cache. */
static fo_block_config cache_of(const app_report *r)
{
    const app_shape *s = &r->shape;
    fo_block_config c = {
        .total_blocks = (last_context(r) - 1) / BLOCK + 1,
        .block_size = BLOCK,
        .num_layers = s->L,
        .kv_heads = s->K,
        .head_dim = s->C / s->H,
        .dtype = r->kv_dtype,
        .max_sequences = 1,
        .max_length = last_context(r),
    };
    uint64_t block = fo_block_config_token_bytes(&c) * BLOCK;
    c.slab_blocks = block < SLAB_BYTES ? (int)(SLAB_BYTES / block) : 1;
    return c;
}

/* Grow a cache of all layers. */
static fo_status grow(const app_report *r, scribe *s, int step,
                      app_samples *out, fo_error *error)
{
    fo_usage start;
    const fo_block_config config = cache_of(r);
    out->token_bytes = fo_block_config_token_bytes(&config);
    fo_status status = open_scribe(s, error);
    if (status == FO_OK)
        status = fo_usage_get(s->device, NULL, &start, error);
    if (status == FO_OK)
        status = fo_block_manager_open(s->device, &config, &s->blocks, error);
    if (status == FO_OK)
        status = note(s->device, s->blocks, 0, &start, out, error);
    for (int tokens = 0; status == FO_OK && tokens < last_context(r);) {
        int next = next_stop(r, step, tokens);
        status = store(s, tokens, next - tokens, error);
        tokens = next;
        if (status == FO_OK)
            status = note(s->device, s->blocks, tokens, &start, out, error);
    }
    return status;
}

fo_status app_measure_cache(const app_report *r, int step, app_samples *out,
                            fo_error *error)
{
    scribe s = {.most = step, .width = r->shape.K * (r->shape.C / r->shape.H)};
    fo_status status = make_room(r, step, out, error);
    if (status == FO_OK)
        status = r->backend->open(NULL, &s.device, error);
    if (status != FO_OK)
        return status;
    status = grow(r, &s, step, out, error);
    close_scribe(&s);
    return status;
}

/* Run a session. */
static fo_status prefill(const app_report *r, fo_session *session,
                         fo_device *device, const fo_usage *start, int step,
                         app_samples *out, fo_error *error)
{
    const fo_block_manager *blocks = fo_session_blocks(session);
    int32_t *ids = fo_memory_alloc((size_t)step, sizeof *ids, error);
    if (!ids)
        return FO_NOMEM;
    fo_status status = note(device, blocks, 0, start, out, error);
    for (int tokens = 0; status == FO_OK && tokens < last_context(r);) {
        int next = next_stop(r, step, tokens);
        for (int i = tokens; i < next; i++)
            ids[i - tokens] = 3 + i * 7 % 256;
        status = fo_session_prefill(session, ids, (size_t)(next - tokens), NULL,
                                    error);
        tokens = next;
        if (status == FO_OK)
            status = note(device, blocks, tokens, start, out, error);
    }
    fo_memory_free(ids);
    return status;
}

/* Plan it, load it and measure it. */
static fo_status run(const app_report *r, fo_device *device, const char *model,
                     int step, app_samples *out, fo_error *error)
{
    fo_plan plan;
    fo_usage start;
    fo_session *session;
    const fo_session_options options = {
        .context = last_context(r), .chunk = step, .kv_dtype = r->kv_dtype};
    const fo_plan_request request = {.context = last_context(r),
                                     .max_tokens = step,
                                     .max_logits = step < 32 ? step : 32,
                                     .loop_tokens = -1,
                                     .kv_dtype = r->kv_dtype};
    fo_status status = fo_plan_make(device, model, &request, &plan, error);
    if (status == FO_OK)
        status = fo_usage_get(device, NULL, &start, error);
    if (status == FO_OK)
        status = fo_session_load(device, model, &options, &session, error);
    if (status != FO_OK)
        return status;
    out->token_bytes = plan.token_bytes;
    out->plan = plan;
    status = prefill(r, session, device, &start, step, out, error);
    fo_session_unload(&session);
    return status;
}

fo_status app_measure_session(const app_report *r, const char *model, int step,
                              app_samples *out, fo_error *error)
{
    fo_device *device;
    fo_status status = make_room(r, step, out, error);
    if (status == FO_OK)
        status = r->backend->open(NULL, &device, error);
    if (status != FO_OK)
        return status;
    status = run(r, device, model, step, out, error);
    r->backend->close(&device);
    return status;
}
