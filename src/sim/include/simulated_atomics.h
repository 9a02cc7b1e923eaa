/* Atomic operations on global and shared memory. */
#ifndef FOLIO_SIM_SIMULATED_ATOMICS_H
#define FOLIO_SIM_SIMULATED_ATOMICS_H

#include "sim/simt.h"
#include "simulated_language.h"

/* Add atomically. */
SIM_INLINE int atomicAdd(int *at, int value)
{
    return sim_atomic_i32(SIM_FOLD_ADD, at, value);
}

SIM_INLINE unsigned atomicAdd(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_ADD, at, value);
}

SIM_INLINE unsigned long long atomicAdd(unsigned long long *at,
                                        unsigned long long value)
{
    return sim_atomic_u64(SIM_FOLD_ADD, (uint64_t *)at, value);
}

SIM_INLINE float atomicAdd(float *at, float value)
{
    return sim_atomic_f32(SIM_FOLD_ADD, at, value);
}

SIM_INLINE int atomicSub(int *at, int value)
{
    return sim_atomic_i32(SIM_FOLD_ADD, at, -value);
}

SIM_INLINE unsigned atomicSub(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_ADD, at, 0u - value);
}

/* Take the extremes atomically. */
SIM_INLINE int atomicMax(int *at, int value)
{
    return sim_atomic_i32(SIM_FOLD_MAX, at, value);
}

SIM_INLINE unsigned atomicMax(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_MAX, at, value);
}

SIM_INLINE unsigned long long atomicMax(unsigned long long *at,
                                        unsigned long long value)
{
    return sim_atomic_u64(SIM_FOLD_MAX, (uint64_t *)at, value);
}

SIM_INLINE int atomicMin(int *at, int value)
{
    return sim_atomic_i32(SIM_FOLD_MIN, at, value);
}

SIM_INLINE unsigned atomicMin(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_MIN, at, value);
}

SIM_INLINE unsigned long long atomicMin(unsigned long long *at,
                                        unsigned long long value)
{
    return sim_atomic_u64(SIM_FOLD_MIN, (uint64_t *)at, value);
}

/* Combine bits atomically. */
SIM_INLINE unsigned atomicAnd(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_AND, at, value);
}

SIM_INLINE unsigned atomicOr(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_OR, at, value);
}

SIM_INLINE unsigned atomicXor(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_XOR, at, value);
}

/* Exchange atomically. */
SIM_INLINE int atomicExch(int *at, int value)
{
    return sim_atomic_i32(SIM_FOLD_EXCHANGE, at, value);
}

SIM_INLINE unsigned atomicExch(unsigned *at, unsigned value)
{
    return sim_atomic_u32(SIM_FOLD_EXCHANGE, at, value);
}

SIM_INLINE unsigned long long atomicExch(unsigned long long *at,
                                         unsigned long long value)
{
    return sim_atomic_u64(SIM_FOLD_EXCHANGE, (uint64_t *)at, value);
}

SIM_INLINE float atomicExch(float *at, float value)
{
    return sim_atomic_f32(SIM_FOLD_EXCHANGE, at, value);
}

SIM_INLINE int atomicCAS(int *at, int expected, int wanted)
{
    return (int)sim_atomic_swap_u32((uint32_t *)at, (uint32_t)expected,
                                    (uint32_t)wanted);
}

SIM_INLINE unsigned atomicCAS(unsigned *at, unsigned expected, unsigned wanted)
{
    return sim_atomic_swap_u32(at, expected, wanted);
}

SIM_INLINE unsigned long long atomicCAS(unsigned long long *at,
                                        unsigned long long expected,
                                        unsigned long long wanted)
{
    return sim_atomic_swap_u64((uint64_t *)at, expected, wanted);
}

#endif
