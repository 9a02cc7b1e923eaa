#include "engine/block_manager_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Weigh a request. */
/* Fill claim k and its request to the pool, or say why it cannot be made. */
static fo_status weigh(fo_block_manager *m, const fo_block_request *asked,
                       int32_t k, fo_error *error)
{
    assert(asked->tokens >= 0 && asked->blocks >= 0);
    int32_t row = fo_block_table_row(m->table, asked->sequence);
    if (row >= 0 && m->claimed[row])
        return fo_fail(error, FO_ARG, "sequence %" PRId64 " comes twice",
                       asked->sequence);
    /* Reckon the length and the room. */
    int64_t B = m->config.block_size, length = asked->tokens, blocks = 0;
    if (row >= 0) {
        fo_block_row now = fo_block_table_at(m->table, row);
        length += now.length;
        blocks = now.blocks;
    }
    int64_t room = length;
    if (asked->blocks) {
        int64_t filled = (length + B - 1) / B;
        room = ((filled > blocks ? filled : blocks) + asked->blocks) * B;
    }
    if (length > m->config.max_length || room > B * m->shape.max_blocks)
        return fo_fail_short(error, FO_LIMIT, (uint64_t)room,
                             (uint64_t)m->config.max_length,
                             "sequence %" PRId64 " would take %" PRId64
                             " tokens, %d are the most",
                             asked->sequence, room, m->config.max_length);
    bool newcomer = row < 0;
    if (newcomer)
        row = fo_block_table_add(m->table, asked->sequence);
    if (row < 0)
        return fo_fail_short(error, FO_FULL, 1, 0,
                             "all %d sequences are in use",
                             m->config.max_sequences);
    fo_block_row was = fo_block_table_at(m->table, row);
    m->claims[k] = (claim){.sequence = asked->sequence,
                           .length = was.length,
                           .first = was.first,
                           .blocks = was.blocks,
                           .newcomer = newcomer};
    m->claimed[row] = true;
    m->rows[k] = row;
    m->requests[k] = (fo_pool_request){row, (int32_t)length, (int32_t)room};
    return FO_OK;
}

/* Ask the pool for what was weighed. */
static fo_status ask(fo_block_manager *m, int32_t n, fo_error *error)
{
    size_t bytes = (size_t)n * (sizeof *m->requests + sizeof *m->grants);
    m->grants = (fo_pool_grant *)(m->requests + n);
    memset(m->grants, -1, (size_t)n * sizeof *m->grants);
    fo_status status =
        m->op->upload(m->device, m->there, m->requests, bytes, error);
    if (status != FO_OK)
        return status;
    m->unread = n;
    status = m->op->pool_extend(m->device, m->pool, m->there,
                                fo_block_manager_grants_there(m, n), n, error);
    if (status == FO_OK)
        status = fo_block_manager_settle(m, error);
    /* See from where each row may have changed. */
    for (int32_t k = 0; k < n && status == FO_OK; k++) {
        const claim *was = &m->claims[k];
        bool copied = m->grants[k].copy_to >= 0;
        m->from[k] = copied ? was->length / m->config.block_size : was->blocks;
    }
    if (status == FO_OK)
        status = fo_block_table_refresh(m->table, m->rows, m->from, n, error);
    return status;
}

/* Name what was short. */
static void blame_pool(const fo_block_manager *m, int32_t k, int32_t free,
                       fo_error *results)
{
    int32_t wanted = m->grants[k].wanted;
    fo_fail_short(&results[m->claims[k].index], FO_FULL, (uint64_t)wanted,
                  (uint64_t)free,
                  "sequence %" PRId64 " wants %d block%s; %d of %d are free",
                  m->claims[k].sequence, wanted, wanted == 1 ? "" : "s", free,
                  m->config.total_blocks);
}

static void blame_memory(const fo_block_manager *m, int32_t k, int32_t free,
                         const fo_error *shortage, fo_error *results)
{
    int32_t wanted = m->grants[k].wanted;
    fo_fail_short(&results[m->claims[k].index], FO_FULL, (uint64_t)wanted,
                  (uint64_t)free,
                  "sequence %" PRId64 " wants %d block%s; %d are free, and "
                  "memory for more is short: %" PRIu64 " bytes wanted, %" PRIu64
                  " available",
                  m->claims[k].sequence, wanted, wanted == 1 ? "" : "s", free,
                  shortage->required, shortage->available);
}

/* Tell the refused why. */
static fo_status refuse(fo_block_manager *m, fo_error *results,
                        const fo_error *shortage, int32_t n, fo_error *error)
{
    fo_pool_stats stats;
    fo_status status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    int32_t free = stats.free, most = m->config.total_blocks;
    for (int32_t k = n - 1; k >= 0; k--) {
        if (m->grants[k].granted >= 0)
            free += m->grants[k].granted;
        else if (m->claims[k].without_memory)
            blame_memory(m, k, free, shortage, results);
        else
            blame_pool(m, k, free + most - stats.total, results);
    }
    return FO_OK;
}

/* Make room for the refused. */
static fo_status make_room(fo_block_manager *m, int32_t n, fo_error *shortage,
                           fo_error *error)
{
    fo_pool_stats stats;
    int64_t promised = 0;
    fo_status status = m->op->pool_stats(m->device, m->pool, &stats, error);
    for (int32_t k = 0; k < n && status == FO_OK; k++) {
        if (m->grants[k].granted >= 0)
            continue;
        int64_t wanted = promised + m->grants[k].wanted;
        int32_t free = stats.free + m->edge - stats.total;
        fo_error why = {.status = FO_OK};
        fo_block_manager_grow_at_once(m, free, wanted, &why);
        m->claims[k].without_memory = why.status == FO_NOMEM;
        if (why.status == FO_OK)
            promised = wanted;
        else if (why.status == FO_NOMEM)
            *shortage = why;
        else if (why.status != FO_FULL) {
            status = why.status;
            if (error)
                *error = why;
        }
    }
    return status;
}

/* Serve a batch. */
static bool any_refused(const fo_block_manager *m, int32_t n)
{
    for (int32_t k = 0; k < n; k++)
        if (m->grants[k].granted < 0)
            return true;
    return false;
}

static fo_status serve(fo_block_manager *m, fo_error *results, int32_t n,
                       fo_error *error)
{
    fo_error shortage = {.status = FO_OK};
    int32_t edge = m->edge;
    fo_status status = ask(m, n, error);
    if (status == FO_OK && edge < m->config.total_blocks && any_refused(m, n))
        status = make_room(m, n, &shortage, error);
    if (status == FO_OK && m->edge > edge)
        status = ask(m, n, error);
    if (status == FO_OK && any_refused(m, n))
        status = refuse(m, results, &shortage, n, error);
    return status;
}

/* Settle a batch. */
fo_status fo_block_manager_extend_batch(fo_block_manager *m,
                                        const fo_block_request *requests,
                                        fo_error *results, int n,
                                        fo_error *error)
{
    int32_t k = 0;
    fo_error failed = {.status = FO_OK};
    fo_status status = fo_block_manager_settle(m, &failed);
    for (int i = 0; i < n; i++) {
        results[i] = failed;
        if (status == FO_OK && weigh(m, &requests[i], k, &results[i]) == FO_OK)
            m->claims[k++].index = i;
    }
    if (k > 0)
        status = serve(m, results, k, &failed);
    if (k > 0 && status != FO_OK) {
        m->pending = k;
        (void)fo_block_manager_settle(m, NULL);
    }
    /* Leave no trace of newcomers that got nothing. */
    for (int32_t i = 0; i < k; i++) {
        const claim *c = &m->claims[i];
        m->claimed[m->rows[i]] = false;
        if (status != FO_OK)
            results[c->index] = failed;
        else if (c->newcomer && results[c->index].status != FO_OK)
            fo_block_table_remove(m->table, c->sequence);
    }
    if (status != FO_OK && error)
        *error = failed;
    return status;
}

/* Grow one sequence. */
static fo_status grow(fo_block_manager *m, fo_block_request request,
                      fo_error *error)
{
    fo_error result;
    fo_status status =
        fo_block_manager_extend_batch(m, &request, &result, 1, error);
    if (status == FO_OK && result.status != FO_OK && error)
        *error = result;
    return status == FO_OK ? result.status : status;
}

fo_status fo_block_manager_extend(fo_block_manager *m, int64_t sequence,
                                  int tokens, fo_error *error)
{
    return grow(m, (fo_block_request){sequence, tokens, 0}, error);
}

fo_status fo_block_manager_allocate(fo_block_manager *m, int64_t sequence,
                                    int blocks, fo_error *error)
{
    return grow(m, (fo_block_request){sequence, 0, blocks}, error);
}
