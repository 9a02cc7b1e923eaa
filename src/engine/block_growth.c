#include "engine/block_manager_inside.h"

#include <assert.h>
#include <inttypes.h>

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
    m->claims[k].newcomer = row < 0;
    if (row < 0)
        row = fo_block_table_add(m->table, asked->sequence);
    if (row < 0)
        return fo_fail_short(error, FO_FULL, 1, 0,
                             "all %d sequences are in use",
                             m->config.max_sequences);
    m->claimed[row] = true;
    m->rows[k] = row;
    m->requests[k] = (fo_pool_request){row, (int32_t)length, (int32_t)room};
    return FO_OK;
}

/* Ask the pool for what was weighed. */
static fo_status ask(fo_block_manager *m, int n, fo_error *error)
{
    size_t N = (size_t)m->config.max_sequences;
    fo_pool_grant *grants =
        (fo_pool_grant *)((char *)m->there + N * asked_bytes);
    fo_status status = m->op->upload(m->device, m->there, m->requests,
                                     (size_t)n * sizeof *m->requests, error);
    if (status == FO_OK)
        status =
            m->op->pool_extend(m->device, m->pool, m->there, grants, n, error);
    if (status == FO_OK)
        status = m->op->download(m->device, m->grants, grants,
                                 (size_t)n * sizeof *grants, error);
    if (status != FO_OK)
        return status;
    /* See from where each row may have changed. */
    for (int k = 0; k < n; k++) {
        fo_block_row was = fo_block_table_at(m->table, m->rows[k]);
        bool copied = m->grants[k].copy_to >= 0;
        m->from[k] = copied ? was.length / m->config.block_size : was.blocks;
    }
    return fo_block_table_refresh(m->table, m->rows, m->from, n, error);
}

/* Copy the blocks that were shared. */
static fo_status copy_blocks(fo_block_manager *m, int n, fo_error *error)
{
    int count = 0;
    size_t N = (size_t)m->config.max_sequences;
    for (int k = 0; k < n; k++)
        if (m->grants[k].copy_to >= 0)
            m->copies[count++] = m->grants[k].copy_from;
    if (count == 0)
        return FO_OK;
    for (int k = 0, i = count; k < n; k++)
        if (m->grants[k].copy_to >= 0)
            m->copies[i++] = m->grants[k].copy_to;
    int32_t *pairs = (int32_t *)((char *)m->there +
                                 N * (asked_bytes + sizeof(fo_pool_grant)));
    fo_status status = m->op->upload(m->device, pairs, m->copies,
                                     2 * (size_t)count * sizeof *pairs, error);
    for (int i = 0; i < m->config.num_layers && status == FO_OK; i++)
        status = m->op->kv_copy(m->device, &m->layers[i], pairs, pairs + count,
                                count, error);
    return status;
}

/* Tell the refused why. */
static fo_status refuse(fo_block_manager *m, const fo_block_request *requests,
                        fo_error *results, int n, fo_error *error)
{
    bool any = false;
    for (int k = 0; k < n; k++)
        any |= m->grants[k].granted < 0;
    if (!any)
        return FO_OK;
    fo_pool_stats stats;
    fo_status status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    /* Go back from what is free now to what was free then. */
    int32_t free = stats.free;
    for (int k = n - 1; k >= 0; k--) {
        const fo_pool_grant *grant = &m->grants[k];
        if (grant->granted >= 0) {
            free += grant->granted;
            continue;
        }
        int32_t index = m->claims[k].index;
        fo_fail_short(
            &results[index], FO_FULL, (uint64_t)grant->wanted, (uint64_t)free,
            "sequence %" PRId64 " wants %d block%s; %d of %d are free",
            requests[index].sequence, grant->wanted,
            grant->wanted == 1 ? "" : "s", free, stats.total);
    }
    return FO_OK;
}

/* Settle a batch. */
fo_status fo_block_manager_extend_batch(fo_block_manager *m,
                                        const fo_block_request *requests,
                                        fo_error *results, int n,
                                        fo_error *error)
{
    int32_t k = 0;
    for (int i = 0; i < n; i++) {
        results[i] = (fo_error){.status = FO_OK};
        if (weigh(m, &requests[i], k, &results[i]) == FO_OK)
            m->claims[k++].index = i;
    }
    fo_status status = k ? ask(m, k, error) : FO_OK;
    if (status == FO_OK)
        status = refuse(m, requests, results, k, error);
    if (status == FO_OK)
        status = copy_blocks(m, k, error);
    /* Leave no trace of newcomers that got nothing. */
    for (int32_t i = 0; i < k; i++) {
        int32_t index = m->claims[i].index;
        m->claimed[m->rows[i]] = false;
        if (status != FO_OK && error)
            results[index] = *error;
        else if (status != FO_OK)
            results[index].status = status;
        bool empty = fo_block_table_at(m->table, m->rows[i]).blocks == 0;
        if (m->claims[i].newcomer && empty && results[index].status != FO_OK)
            fo_block_table_remove(m->table, requests[index].sequence);
    }
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
