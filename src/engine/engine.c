#include "engine/engine_inside.h"

#include "common/memory.h"
#include "engine/plan.h"

#include <inttypes.h>

/* Bound how often a waiting request is overtaken. */
enum { MOST_OVERTAKES = 16 };

/* Bound what is kept, and what is planned. */
enum { ROWS_A_SEQUENCE = 4, MOST_BLOCKS = 1 << 24 };

#define SLAB_BYTES (UINT64_C(64) << 20)

/* Close an engine. */
void fo_engine_close(fo_engine **engine)
{
    fo_engine *e = *engine;
    fo_job *const *jobs;
    if (!e)
        return;
    if (e->scheduler)
        for (int n = fo_scheduler_jobs(e->scheduler, &jobs); n-- > 0;)
            fo_memory_free(jobs[n]);
    fo_scheduler_close(&e->scheduler);
    fo_prefix_cache_close(&e->cache);
    fo_block_manager_close(&e->blocks);
    fo_model_close(&e->model);
    fo_memory_free(e->slots);
    fo_memory_free(e->results);
    fo_memory_free(e->logit_row);
    fo_memory_free(e->likeliest);
    fo_memory_free(e);
    *engine = NULL;
}

/* Settle the settings of an engine. */
static int given(int value, int otherwise)
{
    return value > 0 ? value : otherwise;
}

static fo_status settle(fo_engine_options *b, const fo_engine_options *o,
                        fo_error *error)
{
    const int counts[] = {o->context,     o->max_tokens, o->max_sequences,
                          o->max_waiting, o->block_size, o->total_blocks};
    static const char *const names[] = {"context",       "max_tokens",
                                        "max_sequences", "max_waiting",
                                        "block_size",    "total_blocks"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i] < 0)
            return fo_fail(error, FO_ARG, "%s is %d", names[i], counts[i]);
    if (o->kv_dtype != FO_F32 && o->kv_dtype != FO_F16 &&
        o->kv_dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache cannot be stored as %s",
                       fo_dtype_info_get(o->kv_dtype)->name);
    *b = *o;
    b->max_sequences = given(o->max_sequences, 32);
    b->max_waiting = given(o->max_waiting, 1024);
    b->block_size = given(o->block_size, 16);
    return FO_OK;
}

/* Plan what will be taken. */
/* Sequences that may be known at once, those that are kept included. */
static int rows_of(const fo_engine_options *b)
{
    return b->no_prefix_cache ? b->max_sequences
                              : ROWS_A_SEQUENCE * b->max_sequences;
}

/* Choose the number of blocks, and refuse what does not fit. */
static fo_status plan(fo_engine *e, const char *path, fo_error *error)
{
    fo_engine_options *b = &e->bounds;
    fo_plan_request asked = {.context = b->context,
                             .max_tokens = b->max_tokens,
                             .max_sequences = b->max_sequences,
                             .block_size = b->block_size,
                             .rows = rows_of(b),
                             .total_blocks = given(b->total_blocks, 1),
                             .kv_dtype = b->kv_dtype};
    fo_plan plan;
    fo_status status = fo_plan_make(e->device, path, &asked, &plan, error);
    if (status != FO_OK)
        return status;
    if (b->slab_blocks == 0)
        b->slab_blocks = (int)(1 + (SLAB_BYTES - 1) / plan.block_bytes);
    if (b->total_blocks > 0)
        return FO_OK;
    uint64_t B = (uint64_t)b->block_size, context = (uint64_t)plan.context;
    uint64_t most = (context + B - 1) / B * (uint64_t)b->max_sequences;
    uint64_t fit =
        1 + (plan.available - plan.required) / 10 * 9 / plan.block_bytes;
    if (fit > most)
        fit = most;
    asked.total_blocks = b->total_blocks =
        (int)(fit < MOST_BLOCKS ? fit : MOST_BLOCKS);
    return fo_plan_make(e->device, path, &asked, &plan, error);
}

/* Open the model and its blocks. */
static fo_status open_model(fo_engine *e, const char *path, fo_error *error)
{
    fo_model_options options = {.context = e->bounds.context,
                                .max_tokens = e->bounds.max_tokens,
                                .max_sequences = e->bounds.max_sequences};
    fo_status status =
        fo_model_open(e->device, path, &options, &e->model, error);
    if (status != FO_OK)
        return status;
    e->bounds.context = fo_model_bounds(e->model)->context;
    e->bounds.max_tokens = fo_model_bounds(e->model)->max_tokens;
    e->window = fo_model_config(e->model)->window;
    return FO_OK;
}

static fo_status open_blocks(fo_engine *e, fo_error *error)
{
    const fo_config *c = fo_model_config(e->model);
    const fo_engine_options *b = &e->bounds;
    fo_block_config shape = {.total_blocks = b->total_blocks,
                             .block_size = b->block_size,
                             .num_layers = c->L,
                             .kv_heads = c->K,
                             .head_dim = c->D,
                             .dtype = b->kv_dtype,
                             .max_sequences = rows_of(b),
                             .max_length = b->context,
                             .slab_blocks =
                                 b->slab_blocks > 0 ? b->slab_blocks : 0};
    fo_status status =
        fo_block_manager_open(e->device, &shape, &e->blocks, error);
    if (status == FO_OK && !b->no_prefix_cache)
        status = fo_prefix_cache_open(e->blocks, e->window, &e->cache, error);
    return status;
}

/* Take the memory of a step. */
static fo_status open_step(fo_engine *e, fo_error *error)
{
    size_t N = (size_t)e->bounds.max_sequences;
    size_t T = (size_t)e->bounds.max_tokens;
    size_t rows = (size_t)rows_of(&e->bounds);
    size_t structs = N * (sizeof *e->results + sizeof *e->turns +
                          sizeof *e->requests + sizeof *e->sampling) +
                     rows * sizeof *e->leaving;
    size_t indices = T * (sizeof *e->slots + 2 * sizeof *e->tokens) +
                     (6 * N + 1) * sizeof *e->row;
    e->results = fo_memory_alloc(1, structs, error);
    if (e->results)
        e->slots = fo_memory_alloc(1, indices, error);
    if (!e->slots)
        return FO_NOMEM;
    e->turns = (fo_turn *)(e->results + N);
    e->requests = (fo_block_request *)(e->turns + N);
    e->sampling = (fo_sampling *)(e->requests + N);
    e->leaving = (leaver *)(e->sampling + N);
    e->tokens = (int32_t *)(e->slots + T);
    e->positions = e->tokens + T;
    e->query_start = e->positions + T;
    e->length = e->query_start + N + 1;
    e->row = e->length + N;
    e->logit_rows = e->row + N;
    e->drawn = e->logit_rows + N;
    e->asking = e->drawn + N;
    e->stats.metadata_bytes = sizeof *e + structs + indices;
    return FO_OK;
}

/* Open an engine. */
static fo_status build(fo_engine *e, const char *path,
                       const fo_engine_options *options, fo_error *error)
{
    fo_status status = settle(&e->bounds, options, error);
    if (status == FO_OK)
        status = plan(e, path, error);
    if (status == FO_OK)
        status = open_model(e, path, error);
    if (status == FO_OK)
        status = open_blocks(e, error);
    if (status == FO_OK)
        status = open_step(e, error);
    if (status != FO_OK)
        return status;
    fo_scheduler_limits limits = {.max_tokens = e->bounds.max_tokens,
                                  .max_running = e->bounds.max_sequences,
                                  .max_waiting = e->bounds.max_waiting,
                                  .max_overtakes = MOST_OVERTAKES};
    e->room = fo_engine_room(e);
    return fo_scheduler_open(&limits, &e->scheduler, error);
}

fo_status fo_engine_open(fo_device *device, const char *path,
                         const fo_engine_options *options, fo_engine **out,
                         fo_error *error)
{
    fo_engine_options defaults = {0};
    *out = NULL;
    fo_engine *e = fo_memory_alloc(1, sizeof *e, error);
    if (!e)
        return FO_NOMEM;
    e->device = device;
    fo_status status = build(e, path, options ? options : &defaults, error);
    if (status != FO_OK)
        fo_engine_close(&e);
    *out = e;
    return status;
}

/* Tell the state of an engine. */
bool fo_engine_idle(const fo_engine *e)
{
    return fo_scheduler_running(e->scheduler) == 0 &&
           fo_scheduler_waiting(e->scheduler) == 0;
}

fo_status fo_engine_stats_get(const fo_engine *e, fo_engine_stats *stats,
                              fo_error *error)
{
    *stats = e->stats;
    stats->running = fo_scheduler_running(e->scheduler);
    stats->waiting = fo_scheduler_waiting(e->scheduler);
    if (e->cache)
        stats->cache = fo_prefix_cache_stats_get(e->cache);
    return fo_block_manager_stats(e->blocks, &stats->blocks, error);
}

const fo_model *fo_engine_model(const fo_engine *e)
{
    return e->model;
}

const fo_block_manager *fo_engine_blocks(const fo_engine *e)
{
    return e->blocks;
}

const fo_engine_options *fo_engine_bounds(const fo_engine *e)
{
    return &e->bounds;
}

/* Check that the parts agree. */
/* A sequence is what its job says; nobody else has one. */
fo_status fo_engine_check(const fo_engine *e, fo_error *error)
{
    const fo_block_table *table = fo_block_manager_table(e->blocks);
    fo_job *const *jobs;
    int count = fo_scheduler_jobs(e->scheduler, &jobs);
    int known = e->leaving_count; /* sequences that belong to somebody */
    fo_status status = fo_block_manager_check(e->blocks, error);
    if (status == FO_OK)
        status = fo_scheduler_check(e->scheduler, error);
    if (status == FO_OK && e->cache) {
        status = fo_prefix_cache_check(e->cache, error);
        known += fo_prefix_cache_stats_get(e->cache).kept_sequences;
    }
    for (int i = 0; i < count && status == FO_OK; i++) {
        int32_t length = fo_block_table_length(table, jobs[i]->id);
        known += length >= 0;
        bool right = jobs[i]->running ? length == jobs[i]->stored ||
                                            (length < 0 && !jobs[i]->stored)
                                      : length < 0;
        if (!right && !e->untidy)
            status = fo_fail(error, FO_DEVICE,
                             "request %" PRId64 " stores %d tokens, its "
                             "sequence %d",
                             jobs[i]->id, jobs[i]->stored, length);
    }
    int sequences = fo_block_table_stats_get(table).sequences;
    if (status == FO_OK && sequences != known)
        status = fo_fail(error, FO_DEVICE, "%d sequences for %d requests",
                         sequences, known);
    return status;
}
