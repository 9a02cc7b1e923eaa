/* The twins of Folio's inline assembly (cuda/instructions.cuh). */
#ifndef FOLIO_SIM_SIMULATED_INSTRUCTIONS_H
#define FOLIO_SIM_SIMULATED_INSTRUCTIONS_H

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "simulated_kernel.h"

#include "sim/arena.h"

/* Give 16-byte accesses a twin. */
SIM_INLINE uint4 load_16(const void *from)
{
    sim_words words = sim_load_16(from);
    return {words[0], words[1], words[2], words[3]};
}

SIM_INLINE void store_16(void *to, uint4 value)
{
    sim_store_16(to, sim_words{value.x, value.y, value.z, value.w});
}

SIM_INLINE void copy_16(void *to, const void *from)
{
    sim_copy_16(to, from);
}

/* Give asynchronous copies a twin. */
SIM_INLINE void copy_async_16(void *shared, const void *global, SIM_SITE)
{
    sim_copy_async(shared, global, true, file, line);
}

SIM_INLINE void copy_async_16_or_zero(void *shared, const void *global,
                                      bool wanted, SIM_SITE)
{
    sim_copy_async(shared, global, wanted, file, line);
}

SIM_INLINE void copy_async_commit()
{
    sim_copy_commit();
}

template <int N> SIM_INLINE void copy_async_wait()
{
    sim_copy_wait(N);
}

/* Give matrix loads a twin. */
SIM_INLINE void load_matrix_x4(uint32_t (&r)[4], const void *shared_row,
                               SIM_SITE)
{
    sim_words words = sim_load_matrix(shared_row, false, file, line);
    for (int i = 0; i < 4; i++)
        r[i] = words[i];
}

SIM_INLINE void load_matrix_x4_transposed(uint32_t (&r)[4],
                                          const void *shared_row, SIM_SITE)
{
    sim_words words = sim_load_matrix(shared_row, true, file, line);
    for (int i = 0; i < 4; i++)
        r[i] = words[i];
}

/* Give the matrix product a twin. */
namespace sim
{
template <class T> struct matrix_type;
template <> struct matrix_type<__half> {
    static constexpr sim_matrix_type value = SIM_MATRIX_F16;
};
template <> struct matrix_type<__nv_bfloat16> {
    static constexpr sim_matrix_type value = SIM_MATRIX_BF16;
};
} // namespace sim

template <class T>
SIM_INLINE void mma_16816(float (&d)[4], const uint32_t (&a)[4],
                          const uint32_t (&b)[2], SIM_SITE)
{
    sim_floats sums = sim_multiply(sim::matrix_type<T>::value,
                                   sim_floats{d[0], d[1], d[2], d[3]},
                                   sim_words{a[0], a[1], a[2], a[3]},
                                   b[0] | (uint64_t)b[1] << 32, file, line);
    for (int i = 0; i < 4; i++)
        d[i] = sums[i];
}

/* Tell the simulator what the allocator did. */
/* Which bytes of mapped device memory hold an allocation. */
inline void mark_allocated(void *address, size_t bytes)
{
    sim_arena_mark(address, bytes, SIM_UNWRITTEN);
}

inline void mark_freed(void *address, size_t bytes)
{
    sim_arena_mark(address, bytes, SIM_FREED);
}

#endif
