#include "engine/block_manager_inside.h"

/* Note which copies are owed. */
fo_pool_grant *fo_block_manager_grants_there(const fo_block_manager *m,
                                             int32_t n)
{
    return (fo_pool_grant *)((fo_pool_request *)m->there + n);
}

void fo_block_manager_owe(fo_block_manager *m, int32_t n)
{
    m->owed = 0;
    for (int32_t k = 0; k < n; k++)
        if (m->grants[k].copy_to >= 0)
            m->copies[m->owed++] = m->grants[k].copy_from;
    for (int32_t k = 0, i = m->owed; k < n; k++)
        if (m->grants[k].copy_to >= 0)
            m->copies[i++] = m->grants[k].copy_to;
}

/* Make the copies that are owed. */
static fo_status make_copies(fo_block_manager *m, fo_error *error)
{
    int32_t count = m->owed, N = m->config.max_sequences;
    int32_t *pairs = (int32_t *)(fo_block_manager_grants_there(m, N) + N);
    fo_status status = m->op->upload(m->device, pairs, m->copies,
                                     2 * (size_t)count * sizeof *pairs, error);
    for (int i = 0; i < m->config.num_layers && status == FO_OK; i++)
        status = m->op->kv_copy(m->device, &m->layers[i], pairs, pairs + count,
                                count, error);
    if (status == FO_OK)
        m->owed = 0;
    return status;
}

/* Take back a batch. */
static fo_status take_back(fo_block_manager *m, fo_error *error)
{
    int32_t B = m->config.block_size;
    for (int32_t k = 0; k < m->pending; k++) {
        const claim *c = &m->claims[k];
        m->keeps[k] =
            (fo_pool_keep){m->rows[k], c->first * B, c->length, c->blocks * B};
        m->from[k] = c->length / B;
    }
    fo_status status =
        m->op->upload(m->device, m->there, m->keeps,
                      (size_t)m->pending * sizeof *m->keeps, error);
    if (status == FO_OK)
        status = m->op->pool_release(m->device, m->pool, m->there, m->pending,
                                     error);
    if (status == FO_OK)
        status = fo_block_table_refresh(m->table, m->rows, m->from, m->pending,
                                        error);
    if (status != FO_OK)
        return status;
    for (int32_t k = 0; k < m->pending; k++)
        if (m->claims[k].newcomer)
            fo_block_table_remove(m->table, m->claims[k].sequence);
    m->pending = 0;
    return FO_OK;
}

/* Settle what is outstanding. */
fo_status fo_block_manager_settle(fo_block_manager *m, fo_error *error)
{
    fo_status status = FO_OK;
    if (m->unread) {
        status = m->op->download(m->device, m->grants,
                                 fo_block_manager_grants_there(m, m->unread),
                                 (size_t)m->unread * sizeof *m->grants, error);
        if (status != FO_OK)
            return status;
        fo_block_manager_owe(m, m->unread);
        m->unread = 0;
    }
    if (m->pending)
        status = take_back(m, error);
    if (status == FO_OK && m->behind)
        status = fo_block_table_refresh(m->table, m->rows, m->from, m->behind,
                                        error);
    if (status == FO_OK)
        m->behind = 0;
    return status == FO_OK && m->owed ? make_copies(m, error) : status;
}
