#include "engine/block_steps.h"

#include "engine/block_manager_inside.h"

#include <assert.h>

void fo_block_manager_show(const fo_block_manager *m, fo_steps *steps)
{
    steps->B = m->shape.B;
    steps->max_blocks = m->shape.max_blocks;
    steps->pool = m->op->pool_view(m->device, m->pool);
}

/* Commit memory for the steps to come. */
/* Blocks that a row can need for `steps` tokens more, at most. */
static int64_t needed(const fo_block_manager *m, const fo_block_row *row,
                      int steps, int window)
{
    int64_t B = m->config.block_size;
    int64_t more = ((int64_t)row->length + steps + B - 1) / B - row->blocks;
    int64_t most = (window + B - 2) / B + 2 - (row->blocks - row->first);
    if (window > 0 && more > most)
        more = most;
    return (more > 0 ? more : 0) + (row->length % B != 0);
}

fo_status fo_block_manager_prepare(fo_block_manager *m,
                                   const int64_t *sequences, int n, int steps,
                                   int window, fo_error *error)
{
    fo_status status = fo_block_manager_settle(m, error);
    if (status != FO_OK || m->edge == m->config.total_blocks)
        return status;
    int64_t wanted = 0;
    for (int i = 0; i < n; i++) {
        fo_block_row row = {0};
        if (fo_block_table_sequence(m->table, sequences[i], &row))
            wanted += needed(m, &row, steps, window);
    }
    fo_pool_stats stats;
    status = m->op->pool_stats(m->device, m->pool, &stats, error);
    if (status != FO_OK)
        return status;
    int64_t possible = (int64_t)stats.free + m->config.total_blocks - m->edge;
    fo_error why = {.status = FO_OK};
    status = fo_block_manager_grow(m, stats.free,
                                   wanted < possible ? wanted : possible, &why);
    if (status == FO_NOMEM)
        return FO_OK;
    if (status != FO_OK && error)
        *error = why;
    return status;
}

/* Put down the copies of a step that failed. */
static void owe_copies(fo_block_manager *m, const fo_steps *steps)
{
    assert(steps->N <= m->config.max_sequences);
    m->grants = (fo_pool_grant *)m->requests;
    fo_status status =
        m->op->download(m->device, m->grants, steps->grant,
                        (size_t)steps->N * sizeof *m->grants, NULL);
    if (status == FO_OK)
        fo_block_manager_owe(m, steps->N);
}

/* Give each sequence one token more. */
fo_status fo_block_manager_step(fo_block_manager *m, const fo_steps *steps,
                                bool first, fo_error *error)
{
    size_t bytes = (size_t)steps->N * sizeof *steps->grant;
    fo_status status = FO_OK;
    if (first)
        status = m->op->fill(m->device, steps->grant, 0xff, bytes, error);
    bool told = status == FO_OK; /* the grants say what was granted */
    if (status == FO_OK)
        status = m->op->step_request(m->device, steps, error);
    if (status == FO_OK)
        status = m->op->pool_extend(m->device, m->pool, steps->request,
                                    steps->grant, steps->N, error);
    if (status == FO_OK)
        status = m->op->step_place(m->device, steps, error);
    for (int l = 0; first && l < m->config.num_layers && status == FO_OK; l++)
        status = m->op->kv_copy(m->device, &m->layers[l], steps->copy_from,
                                steps->copy_to, steps->N, error);
    if (first && told && status != FO_OK)
        owe_copies(m, steps);
    return status;
}

/* Let go of what the window has left. */
fo_status fo_block_manager_step_trim(fo_block_manager *m, const fo_steps *steps,
                                     fo_error *error)
{
    if (steps->window == 0)
        return FO_OK;
    return m->op->pool_release(m->device, m->pool, steps->keep, steps->N,
                               error);
}

/* Catch up with the device. */
fo_status fo_block_manager_catch_up(fo_block_manager *m,
                                    const int64_t *sequences, int n,
                                    fo_error *error)
{
    fo_status status = fo_block_manager_settle(m, error);
    if (status != FO_OK)
        return status;
    for (int i = 0; i < n; i++) {
        m->rows[i] = fo_block_table_row(m->table, sequences[i]);
        assert(m->rows[i] >= 0);
        m->from[i] = fo_block_table_at(m->table, m->rows[i]).first;
    }
    return fo_block_table_refresh(m->table, m->rows, m->from, n, error);
}
