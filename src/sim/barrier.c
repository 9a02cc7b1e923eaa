#include "sim/inside.h"
#include "sim/watch.h"

#include <string.h>

/* Report threads that pass a barrier differently. */
static void insist_on_one_barrier(const sim_lane *lane)
{
    const sim_lane *first = sim_current.first;
    if (sim_rules.strict && first && first != lane &&
        (first->line != lane->line || strcmp(first->file, lane->file) != 0))
        sim_complain(SIM_BARRIER, lane, first,
                     "threads of one block meet in two different barriers");
}

static void insist_on_all_threads(void)
{
    uint32_t missing = sim_current.threads - sim_current.alive;
    if (sim_rules.strict && missing > 0)
        sim_complain(SIM_BARRIER, sim_current.first, NULL,
                     "%u of %u threads exited before this barrier", missing,
                     sim_current.threads);
}

/* Let the block go on. */
static void release(void)
{
    insist_on_all_threads();
    sim_watch_barrier();
    sim_current.arrived = 0;
    sim_current.first = NULL;
    sim_current.predicate_sum = sim_current.predicates;
    sim_current.predicates = 0;
    for (int w = 0; w < sim_current.warps; w++) {
        sim_warp *warp = &sim_warps[w];
        sim_wake(warp, warp->arrived);
        warp->arrived = 0;
    }
}

/* Arrive at a barrier. */
int sim_barrier_count(int predicate, const char *file, int line)
{
    sim_lane *self = sim_self;
    self->doing = "__syncthreads";
    self->file = file;
    self->line = line;
    if (!sim_current.first)
        sim_current.first = self;
    insist_on_one_barrier(self);
    sim_current.predicates += predicate != 0;
    self->warp->arrived |= 1u << self->lane;
    if (++sim_current.arrived == sim_current.alive)
        release();
    sim_rest();
    return sim_current.predicate_sum;
}

void sim_barrier(const char *file, int line)
{
    sim_barrier_count(0, file, line);
}

void sim_barrier_left(void)
{
    if (sim_current.arrived > 0 && sim_current.arrived == sim_current.alive)
        release();
}
