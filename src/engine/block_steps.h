/* Steps without the host, as the block manager sees them: it still is the only
 * one who gives the pool orders, but it does not wait for the answers. */
#ifndef FOLIO_ENGINE_BLOCK_STEPS_H
#define FOLIO_ENGINE_BLOCK_STEPS_H

#include "engine/block_manager.h"

/* Let the steps look at the pool. */
void fo_block_manager_show(const fo_block_manager *manager, fo_steps *steps);

/* With slabs: commit memory for `steps` tokens more of each sequence, as far as
 * there is memory and the pool has blocks. FO_DEVICE. */
fo_status fo_block_manager_prepare(fo_block_manager *manager,
                                   const int64_t *sequences /* (n) */, int n,
                                   int steps, int window, fo_error *error);

/* Ask for one token more of each sequence that goes on, and place it. In the
 * first step a sequence may have to leave a block that it shares, which is then
 * copied on every layer; from then on it is alone in its last block. A copy
 * that fails is made before the manager does anything else. */
fo_status fo_block_manager_step(fo_block_manager *manager,
                                const fo_steps *steps, bool first,
                                fo_error *error);

/* Give back what the window has left behind. */
fo_status fo_block_manager_step_trim(fo_block_manager *manager,
                                     const fo_steps *steps, fo_error *error);

/* Bring the block table up to date with the device. All are known. */
fo_status fo_block_manager_catch_up(fo_block_manager *manager,
                                    const int64_t *sequences /* (n) */, int n,
                                    fo_error *error);

#endif
