#include "common/log.h"
#include "engine/block_manager_inside.h"

#include <assert.h>
#include <inttypes.h>

/* Commit the blocks of every layer. */
/* Bytes of one block in one of the 2 L arrays. */
static size_t array_bytes(const fo_block_manager *m)
{
    return fo_block_config_token_bytes(&m->config) *
           (size_t)m->config.block_size / 2 / (size_t)m->config.num_layers;
}

static void *array_at(const fo_block_manager *m, int i)
{
    return i % 2 ? m->layers[i / 2].v : m->layers[i / 2].k;
}

static fo_status commit(fo_block_manager *m, int32_t blocks, fo_error *error)
{
    int arrays = 2 * m->config.num_layers;
    size_t bytes = array_bytes(m);
    for (int i = 0; i < arrays; i++) {
        fo_error why = {.status = FO_OK};
        fo_status status = m->op->commit(m->device, array_at(m, i),
                                         (size_t)blocks * bytes, &why);
        if (status == FO_OK)
            continue;
        for (int k = 0; k < i; k++)
            (void)m->op->commit(m->device, array_at(m, k),
                                (size_t)m->edge * bytes, NULL);
        /* Say what all arrays together would have taken. */
        uint64_t wanted = (uint64_t)arrays * why.required;
        uint64_t available = why.available + (uint64_t)i * why.required;
        if (status == FO_NOMEM)
            return fo_fail_short(error, FO_NOMEM, wanted, available,
                                 "%d blocks more take %" PRIu64
                                 " bytes, %" PRIu64 " are available",
                                 blocks - m->edge, wanted, available);
        if (error)
            *error = why;
        return status;
    }
    return FO_OK;
}

/* Log that memory has come or gone. */
static void tell(const fo_block_manager *m, const char *event, int32_t blocks)
{
    uint64_t block = 2 * (uint64_t)m->config.num_layers * array_bytes(m);
    fo_log_field fields[] = {
        {"blocks", (uint64_t)blocks},
        {"bytes", (uint64_t)blocks * block},
        {"committed_bytes", (uint64_t)m->edge * block},
    };
    fo_log_write(FO_LOG_INFO, event, fields, 3);
}

/* Move the edge of the blocks. */
static fo_status move_edge(fo_block_manager *m, int32_t blocks, fo_error *error)
{
    int32_t before = m->edge;
    fo_status status = FO_OK;
    if (blocks > before)
        status = commit(m, blocks, error);
    if (status != FO_OK)
        return status;
    status = m->op->pool_resize(m->device, m->pool, blocks, error);
    if (status != FO_OK) {
        if (m->op->pool_resize(m->device, m->pool, before, NULL) == FO_OK)
            (void)commit(m, before, NULL);
        return status;
    }
    m->edge = blocks;
    if (blocks < before)
        (void)commit(m, blocks, NULL);
    if (blocks > before)
        tell(m, "slab_committed", blocks - before);
    if (blocks < before)
        tell(m, "slab_returned", before - blocks);
    return FO_OK;
}

/* Grow until enough blocks are free. */
fo_status fo_block_manager_grow(fo_block_manager *m, int32_t free,
                                int64_t wanted, fo_error *error)
{
    int32_t most = m->config.total_blocks, slab = m->config.slab_blocks;
    int64_t possible = (int64_t)free + most - m->edge;
    if (wanted > possible)
        return fo_fail_short(error, FO_FULL, (uint64_t)wanted,
                             (uint64_t)possible,
                             "%lld blocks are wanted; %lld of %d are free",
                             (long long)wanted, (long long)possible, most);
    fo_status status = FO_OK;
    for (int64_t now = free; now < wanted && status == FO_OK;) {
        int32_t more = most - m->edge < slab ? most - m->edge : slab;
        status = move_edge(m, m->edge + more, error);
        now += more;
    }
    return status;
}

fo_status fo_block_manager_grow_at_once(fo_block_manager *m, int32_t free,
                                        int64_t wanted, fo_error *error)
{
    int32_t before = m->edge;
    fo_status status = fo_block_manager_grow(m, free, wanted, error);
    if (status != FO_OK && m->edge > before)
        (void)move_edge(m, before, NULL);
    return status;
}

/* Have blocks free ahead of time. */
fo_status fo_block_manager_reserve(fo_block_manager *m, int free,
                                   fo_error *error)
{
    assert(free >= 0);
    fo_pool_stats stats;
    fo_status status = fo_block_manager_settle(m, error);
    if (status == FO_OK)
        status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    return fo_block_manager_grow(m, stats.free, free, error);
}

/* Give back slabs at the end. */
fo_status fo_block_manager_shrink(fo_block_manager *m, int spare,
                                  fo_error *error)
{
    assert(spare >= 0);
    int64_t slab = m->config.slab_blocks;
    fo_pool_stats stats;
    if (slab == 0)
        return FO_OK;
    fo_status status = fo_block_manager_settle(m, error);
    if (status == FO_OK)
        status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    int64_t kept = ((stats.highest + slab - 1) / slab + spare) * slab;
    return kept < m->edge ? move_edge(m, (int32_t)kept, error) : FO_OK;
}
