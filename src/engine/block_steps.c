#include "engine/block_steps.h"

#include "engine/block_manager_inside.h"

#include <assert.h>

void fo_block_manager_show(const fo_block_manager *m, fo_steps *steps)
{
    steps->B = m->shape.B;
    steps->max_blocks = m->shape.max_blocks;
    steps->pool = m->op->pool_view(m->device, m->pool);
}

/* Give each sequence one token more. */
fo_status fo_block_manager_step(fo_block_manager *m, const fo_steps *steps,
                                bool first, fo_error *error)
{
    fo_status status = m->op->step_request(m->device, steps, error);
    if (status == FO_OK)
        status = m->op->pool_extend(m->device, m->pool, steps->request,
                                    steps->grant, steps->N, error);
    if (status == FO_OK)
        status = m->op->step_place(m->device, steps, error);
    for (int l = 0; first && l < m->config.num_layers && status == FO_OK; l++)
        status = m->op->kv_copy(m->device, &m->layers[l], steps->copy_from,
                                steps->copy_to, steps->N, error);
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
    for (int i = 0; i < n; i++) {
        m->rows[i] = fo_block_table_row(m->table, sequences[i]);
        assert(m->rows[i] >= 0);
        m->from[i] = fo_block_table_at(m->table, m->rows[i]).first;
    }
    return fo_block_table_refresh(m->table, m->rows, m->from, n, error);
}
