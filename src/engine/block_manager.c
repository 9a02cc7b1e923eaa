#include "common/memory.h"
#include "engine/block_manager_inside.h"

#include <assert.h>
#include <inttypes.h>

/* Reckon the bytes. */
uint64_t fo_block_config_token_bytes(const fo_block_config *config)
{
    uint64_t values = (uint64_t)config->kv_heads * (uint64_t)config->head_dim;
    return 2 * (uint64_t)config->num_layers *
           fo_dtype_bytes(config->dtype, (int64_t)values);
}

uint64_t fo_block_config_bytes(const fo_block_config *config)
{
    return fo_block_config_token_bytes(config) *
           (uint64_t)config->total_blocks * (uint64_t)config->block_size;
}

/* Judge a configuration. */
static fo_status judge_config(fo_device *device, const fo_block_config *config,
                              fo_error *error)
{
    const int *counts[] = {&config->total_blocks, &config->block_size,
                           &config->num_layers,   &config->kv_heads,
                           &config->head_dim,     &config->max_sequences,
                           &config->max_length};
    static const char *const names[] = {
        "total_blocks", "block_size",    "num_layers", "kv_heads",
        "head_dim",     "max_sequences", "max_length"};
    if (config->slab_blocks < 0)
        return fo_fail(error, FO_ARG, "slab_blocks is %d", config->slab_blocks);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (*counts[i] < 1 || *counts[i] > 1 << 30)
            return fo_fail(error, FO_ARG, "%s is %d", names[i], *counts[i]);
    if (config->dtype != FO_F32 && config->dtype != FO_F16 &&
        config->dtype != FO_BF16)
        return fo_fail(error, FO_UNSUPPORTED,
                       "keys and values are stored as f32, f16 or bf16");
    /* Refuse what the device cannot hold. */
    fo_device_info info;
    device->backend->info(device, &info);
    double wanted = 2.0 * config->num_layers * config->kv_heads *
                    config->head_dim *
                    (double)fo_dtype_bytes(config->dtype, 1) *
                    config->total_blocks * config->block_size;
    if (wanted >= 0x1p63 ||
        (!config->slab_blocks && wanted > (double)info.memory_free)) {
        uint64_t bytes = wanted < 0x1p63 ? (uint64_t)wanted : UINT64_MAX;
        return fo_fail_short(error, FO_NOMEM, bytes, info.memory_free,
                             "%d blocks of keys and values take %.0f bytes, "
                             "%" PRIu64 " are free",
                             config->total_blocks, wanted, info.memory_free);
    }
    return FO_OK;
}

/* Allocate K and V of every layer. */
static fo_status open_layers(fo_block_manager *m, fo_error *error)
{
    const fo_block_config *c = &m->config;
    m->layers = fo_memory_alloc((size_t)c->num_layers, sizeof(fo_kv), error);
    if (!m->layers)
        return FO_NOMEM;
    size_t bytes = fo_block_config_bytes(c) / 2 / (uint64_t)c->num_layers;
    fo_status (*take)(fo_device *, size_t, void **, fo_error *) =
        c->slab_blocks ? m->op->reserve : m->op->alloc;
    fo_status status = FO_OK;
    for (int i = 0; i < c->num_layers && status == FO_OK; i++) {
        fo_kv *kv = &m->layers[i];
        *kv = (fo_kv){.dtype = c->dtype,
                      .num_blocks = c->total_blocks,
                      .K = c->kv_heads,
                      .B = c->block_size,
                      .D = c->head_dim};
        status = take(m->device, bytes, &kv->k, error);
        if (status == FO_OK)
            status = take(m->device, bytes, &kv->v, error);
    }
    m->edge = c->total_blocks;
    if (c->slab_blocks && status == FO_OK) {
        m->edge = 0;
        status = m->op->pool_resize(m->device, m->pool, 0, error);
    }
    return status;
}

/* Allocate what a call to the pool needs. */
enum {
    asked_bytes = sizeof(fo_pool_request) + sizeof(fo_pool_grant),
    there_bytes = asked_bytes + 2 * sizeof(int32_t),
    here_bytes = sizeof(claim) + sizeof(fo_pool_keep) +
                 sizeof(fo_pool_request) + sizeof(fo_pool_grant) +
                 4 * sizeof(int32_t) + sizeof(bool),
};

_Static_assert(sizeof(fo_pool_keep) <= asked_bytes &&
                   sizeof(fo_pool_fork) <= asked_bytes,
               "any of the three fits");

static fo_status open_staging(fo_block_manager *m, fo_error *error)
{
    size_t N = (size_t)m->config.max_sequences;
    m->claims = fo_memory_alloc(N, here_bytes, error);
    if (!m->claims)
        return FO_NOMEM;
    m->keeps = (fo_pool_keep *)(m->claims + N);
    m->requests = (fo_pool_request *)(m->keeps + N);
    m->grants = (fo_pool_grant *)(m->requests + N);
    m->rows = (int32_t *)(m->grants + N);
    m->from = m->rows + N;
    m->copies = m->from + N;
    m->claimed = (bool *)(m->copies + 2 * N);
    m->bytes = sizeof *m + N * (here_bytes + there_bytes) +
               (size_t)m->config.num_layers * sizeof(fo_kv);
    return m->op->alloc(m->device, N * there_bytes, &m->there, error);
}

/* Foretell what the tables take. */
static fo_pool_shape pool_shape(const fo_block_config *config)
{
    return (fo_pool_shape){
        .num_blocks = config->total_blocks,
        .B = config->block_size,
        .max_rows = config->max_sequences,
        .max_blocks = (config->max_length - 1) / config->block_size + 1,
    };
}

uint64_t fo_block_config_table_bytes(fo_device *device,
                                     const fo_block_config *config)
{
    fo_pool_shape shape = pool_shape(config);
    return device->backend->pool_bytes(device, &shape) +
           (uint64_t)config->max_sequences * there_bytes;
}

/* Open a manager. */
fo_status fo_block_manager_open(fo_device *device,
                                const fo_block_config *config,
                                fo_block_manager **out, fo_error *error)
{
    *out = NULL;
    fo_status status = judge_config(device, config, error);
    if (status != FO_OK)
        return status;
    fo_block_manager *m = fo_memory_alloc(1, sizeof *m, error);
    if (!m)
        return FO_NOMEM;
    m->device = device;
    m->op = device->backend;
    m->config = *config;
    m->shape = pool_shape(config);
    status = m->op->pool_open(device, &m->shape, &m->pool, error);
    if (status == FO_OK)
        status =
            fo_block_table_open(device, m->pool, &m->shape, &m->table, error);
    if (status == FO_OK)
        status = open_layers(m, error);
    if (status == FO_OK)
        status = open_staging(m, error);
    if (status == FO_OK)
        *out = m;
    else
        fo_block_manager_close(&m);
    return status;
}

void fo_block_manager_close(fo_block_manager **manager)
{
    fo_block_manager *m = *manager;
    if (!m)
        return;
    void (*give)(fo_device *, void *) =
        m->config.slab_blocks ? m->op->unreserve : m->op->free;
    for (int i = 0; m->layers && i < m->config.num_layers; i++) {
        give(m->device, m->layers[i].v);
        give(m->device, m->layers[i].k);
    }
    fo_memory_free(m->layers);
    m->op->free(m->device, m->there);
    fo_memory_free(m->claims);
    fo_block_table_close(&m->table);
    m->op->pool_close(m->device, &m->pool);
    fo_memory_free(m);
    *manager = NULL;
}

/* Keep part of a sequence. */
static fo_status find(fo_block_manager *m, int64_t sequence, fo_block_row *row,
                      fo_error *error)
{
    fo_status status = fo_block_manager_settle(m, error);
    if (status != FO_OK)
        return status;
    if (fo_block_table_sequence(m->table, sequence, row))
        return FO_OK;
    return fo_fail(error, FO_UNKNOWN, "no sequence %" PRId64, sequence);
}

static fo_status keep(fo_block_manager *m, const fo_block_row *row,
                      int64_t first, int64_t length, int64_t room,
                      fo_error *error)
{
    fo_pool_keep asked = {row->row, (int32_t)first, (int32_t)length,
                          (int32_t)room};
    fo_status status =
        m->op->upload(m->device, m->there, &asked, sizeof asked, error);
    if (status != FO_OK)
        return status;
    m->rows[0] = row->row;
    m->from[0] = row->first;
    m->behind = 1;
    status = m->op->pool_release(m->device, m->pool, m->there, 1, error);
    fo_status read = fo_block_manager_settle(m, NULL);
    if (read != FO_OK)
        read = fo_block_manager_settle(m, status == FO_OK ? error : NULL);
    return status == FO_OK ? read : status;
}

fo_status fo_block_manager_free_sequence(fo_block_manager *m, int64_t sequence,
                                         fo_error *error)
{
    fo_block_row row;
    fo_status status = find(m, sequence, &row, error);
    if (status == FO_OK)
        status = keep(m, &row, 0, 0, 0, error);
    if (status == FO_OK)
        fo_block_table_remove(m->table, sequence);
    return status;
}

fo_status fo_block_manager_trim(fo_block_manager *m, int64_t sequence,
                                int first, fo_error *error)
{
    fo_block_row row;
    fo_status status = find(m, sequence, &row, error);
    if (status != FO_OK)
        return status;
    if (first < 0 || first > row.length)
        return fo_fail(error, FO_ARG,
                       "sequence %" PRId64 " cannot begin at %d of %d tokens",
                       sequence, first, row.length);
    return keep(m, &row, first, row.length,
                (int64_t)row.blocks * m->config.block_size, error);
}

fo_status fo_block_manager_truncate(fo_block_manager *m, int64_t sequence,
                                    int length, fo_error *error)
{
    fo_block_row row;
    fo_status status = find(m, sequence, &row, error);
    if (status != FO_OK)
        return status;
    int64_t begin = (int64_t)row.first * m->config.block_size;
    if (length < 0 || length > row.length || (length > 0 && length < begin))
        return fo_fail(error, FO_ARG,
                       "sequence %" PRId64 " has tokens %" PRId64
                       " to %d, and cannot step back to %d",
                       sequence, begin, row.length, length);
    return keep(m, &row, length ? begin : 0, length, length, error);
}

/* Free a block. */
/* Whether any sequence holds a block. */
static bool held(const fo_block_manager *m, int32_t block)
{
    for (int32_t r = 0; r < m->shape.max_rows; r++) {
        fo_block_row row = fo_block_table_at(m->table, r);
        for (int32_t i = row.first; i < row.blocks; i++)
            if (row.entries[i] == block)
                return true;
    }
    return false;
}

/* Say what is wrong with freeing a block that is neither the last nor the first
 * of the sequence. */
static fo_status blame(const fo_block_manager *m, const fo_block_row *row,
                       int64_t sequence, int32_t block, fo_error *error)
{
    if (block < 0 || block >= m->config.total_blocks)
        return fo_fail(error, FO_UNKNOWN, "no block %d among %d", block,
                       m->config.total_blocks);
    for (int32_t i = row->first; i < row->blocks; i++)
        if (row->entries[i] == block)
            return fo_fail(error, FO_ARG,
                           "block %d lies inside sequence %" PRId64, block,
                           sequence);
    if (held(m, block))
        return fo_fail(error, FO_ARG,
                       "block %d is another's, not sequence %" PRId64 "'s",
                       block, sequence);
    return fo_fail(error, FO_ARG, "block %d is free already", block);
}

fo_status fo_block_manager_free_block(fo_block_manager *m, int64_t sequence,
                                      int32_t block, fo_error *error)
{
    fo_block_row row;
    fo_status status = find(m, sequence, &row, error);
    if (status != FO_OK)
        return status;
    int64_t B = m->config.block_size, begin = row.first * B;
    int64_t end = (row.blocks - 1) * B;
    bool any = row.first < row.blocks;
    if (any && row.entries[row.blocks - 1] == block) {
        int64_t length = row.length < end ? row.length : end;
        return keep(m, &row, end ? begin : 0, length, end, error);
    }
    if (any && row.entries[row.first] == block && begin + B <= row.length)
        return keep(m, &row, begin + B, row.length, row.blocks * B, error);
    return blame(m, &row, sequence, block, error);
}

/* Fork a sequence. */
fo_status fo_block_manager_fork(fo_block_manager *m, int64_t from, int64_t to,
                                int tokens, fo_error *error)
{
    fo_block_row row;
    fo_status status = find(m, from, &row, error);
    if (status != FO_OK)
        return status;
    int64_t begin = (int64_t)row.first * m->config.block_size;
    if (tokens < begin || tokens > row.length)
        return fo_fail(error, FO_ARG,
                       "sequence %" PRId64 " has tokens %" PRId64
                       " to %d, and cannot fork at %d",
                       from, begin, row.length, tokens);
    if (fo_block_table_row(m->table, to) >= 0)
        return fo_fail(error, FO_ARG, "sequence %" PRId64 " is in use", to);
    int32_t place = fo_block_table_add(m->table, to);
    if (place < 0)
        return fo_fail_short(error, FO_FULL, 1, 0,
                             "all %d sequences are in use",
                             m->config.max_sequences);
    /* Share the blocks on the device. */
    fo_pool_fork asked = {row.row, place, tokens};
    int32_t start = 0;
    status = m->op->upload(m->device, m->there, &asked, sizeof asked, error);
    if (status == FO_OK)
        status = m->op->pool_share(m->device, m->pool, m->there, 1, error);
    if (status == FO_OK)
        status = fo_block_table_refresh(m->table, &place, &start, 1, error);
    if (status != FO_OK) {
        m->claims[0] = (claim){.sequence = to, .newcomer = true};
        m->rows[0] = place;
        m->pending = 1;
        (void)fo_block_manager_settle(m, NULL);
    }
    return status;
}

/* Tell the state. */
fo_status fo_block_manager_stats(const fo_block_manager *m,
                                 fo_block_stats *stats, fo_error *error)
{
    *stats = (fo_block_stats){.table = fo_block_table_stats_get(m->table),
                              .kv_bytes = fo_block_config_bytes(&m->config)};
    stats->committed_bytes =
        stats->kv_bytes / (uint64_t)m->config.total_blocks * (uint64_t)m->edge;
    fo_status status =
        m->op->pool_stats(m->device, m->pool, &stats->pool, error);
    if (status != FO_OK)
        return status;
    const fo_pool_stats *pool = &stats->pool;
    stats->metadata_bytes =
        m->bytes + stats->table.bytes + pool->metadata_bytes;
    if (pool->held)
        stats->utilisation =
            (double)pool->tokens / pool->held / m->config.block_size;
    if (pool->allocations)
        stats->reuse_rate = (double)pool->reuses / (double)pool->allocations;
    return FO_OK;
}

fo_status fo_block_manager_check(const fo_block_manager *m, fo_error *error)
{
    fo_pool_stats stats;
    fo_status status = m->op->pool_check(m->device, m->pool, error);
    if (status == FO_OK)
        status = fo_block_table_check(m->table, error);
    if (status == FO_OK)
        status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    if (stats.illegal)
        return fo_fail(error, FO_DEVICE,
                       "the manager broke the pool's rules %" PRIu64 " times",
                       stats.illegal);
    return FO_OK;
}

const fo_block_config *fo_block_manager_config(const fo_block_manager *m)
{
    return &m->config;
}

const fo_block_table *fo_block_manager_table(const fo_block_manager *m)
{
    return m->table;
}

const fo_kv *fo_block_manager_layer(const fo_block_manager *m, int layer)
{
    assert(layer >= 0 && layer < m->config.num_layers);
    return &m->layers[layer];
}

const fo_kv *fo_block_manager_layers(const fo_block_manager *m)
{
    return m->layers;
}

fo_block_tables fo_block_manager_tables(const fo_block_manager *m,
                                        const int32_t *row)
{
    fo_pool_view view = m->op->pool_view(m->device, m->pool);
    return (fo_block_tables){view.table, m->shape.max_blocks, row};
}
