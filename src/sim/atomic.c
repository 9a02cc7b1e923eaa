#include "sim/inside.h"
#include "sim/watch.h"

/* Fold a value into another. */
/* Wide enough for both kinds of 32-bit integers. */
static int64_t fold_wide(sim_fold fold, int64_t there, int64_t value)
{
    switch (fold) {
    case SIM_FOLD_ADD:
        return there + value;
    case SIM_FOLD_MIN:
        return value < there ? value : there;
    case SIM_FOLD_MAX:
        return value > there ? value : there;
    case SIM_FOLD_AND:
        return there & value;
    case SIM_FOLD_OR:
        return there | value;
    case SIM_FOLD_XOR:
        return there ^ value;
    case SIM_FOLD_EXCHANGE:
        break;
    }
    return value;
}

static uint64_t fold_u64(sim_fold fold, uint64_t there, uint64_t value)
{
    if (fold == SIM_FOLD_MIN)
        return value < there ? value : there;
    if (fold == SIM_FOLD_MAX)
        return value > there ? value : there;
    if (fold == SIM_FOLD_ADD)
        return there + value;
    return (uint64_t)fold_wide(fold, (int64_t)there, (int64_t)value);
}

/* Change a number that all threads see. */
/* No two lanes run at once, so what is atomic here is only the order: others
 * may have their turn before, and the checkers are told that this is no race.
 */
#define CHANGE(at, result)                                                     \
    sim_give_way(__builtin_return_address(0));                                 \
    sim_access(at, sizeof *at, SIM_ATOMIC, __builtin_return_address(0));       \
    there = *at;                                                               \
    *at = result;                                                              \
    return there

int32_t sim_atomic_i32(sim_fold fold, int32_t *at, int32_t value)
{
    int32_t there;
    CHANGE(at, (int32_t)fold_wide(fold, there, value));
}

uint32_t sim_atomic_u32(sim_fold fold, uint32_t *at, uint32_t value)
{
    uint32_t there;
    CHANGE(at, (uint32_t)fold_wide(fold, there, value));
}

uint64_t sim_atomic_u64(sim_fold fold, uint64_t *at, uint64_t value)
{
    uint64_t there;
    CHANGE(at, fold_u64(fold, there, value));
}

float sim_atomic_f32(sim_fold fold, float *at, float value)
{
    float there;
    CHANGE(at, fold == SIM_FOLD_ADD ? there + value : value);
}

/* Swap if nobody was faster. */
uint32_t sim_atomic_swap_u32(uint32_t *at, uint32_t expected, uint32_t wanted)
{
    uint32_t there;
    CHANGE(at, there == expected ? wanted : there);
}

uint64_t sim_atomic_swap_u64(uint64_t *at, uint64_t expected, uint64_t wanted)
{
    uint64_t there;
    CHANGE(at, there == expected ? wanted : there);
}
