/* The only inline assembly of the verso. Each wrapper has a twin in the
 * simulator. Source: the PTX ISA manual. */
#ifndef FOLIO_CUDA_INSTRUCTIONS_CUH
#define FOLIO_CUDA_INSTRUCTIONS_CUH

#include "cuda/kernel.cuh"

#ifdef FO_SIMULATED
#include <simulated_instructions.h>
#else

namespace FO_SIDE
{

/* Tell nobody what the allocator did. */

/* Only the simulator wants to know which bytes of a slab are in use. */
inline void mark_allocated(void *, size_t)
{
}

inline void mark_freed(void *, size_t)
{
}

/* Load and store 16 bytes at once. */
/* Global or shared memory, aligned to 16 bytes. */
__device__ inline uint4 load_16(const void *from)
{
    return *static_cast<const uint4 *>(from);
}

__device__ inline void store_16(void *to, uint4 value)
{
    *static_cast<uint4 *>(to) = value;
}

/* From global memory to global memory. Bytes that were never written may be
 * handed on. */
__device__ inline void copy_16(void *to, const void *from)
{
    store_16(to, load_16(from));
}

/* Copy 16 bytes to shared memory without waiting. */
__device__ inline unsigned shared_address(const void *shared)
{
    return (unsigned)__cvta_generic_to_shared(shared);
}

__device__ inline void copy_async_16(void *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     shared_address(shared)),
                 "l"(__cvta_generic_to_global(global))
                 : "memory");
}

/* Sixteen zeros where they are not wanted; `global` is then not read. */
__device__ inline void copy_async_16_or_zero(void *shared, const void *global,
                                             bool wanted)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(wanted ? 16 : 0)
                 : "memory");
}

/* Wait for all but the last groups of copies. */
__device__ inline void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> __device__ inline void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Load four 8 x 8 matrices of 16-bit values. */
/* Lane l names row l % 8 of matrix l / 8, 16 bytes in shared memory. */
__device__ inline void load_matrix_x4(uint32_t (&r)[4], const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, "
                 "[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared_row))
                 : "memory");
}

__device__ inline void load_matrix_x4_transposed(uint32_t (&r)[4],
                                                 const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
                 "{%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared_row))
                 : "memory");
}

/* Multiply two small matrices and add. */
/* d (16, 8) += a (16, 16) b (16, 8), fragments as the PTX manual deals them to
 * the lanes; T is __half or __nv_bfloat16, the sums are float. */
template <class T>
__device__ inline void mma_16816(float (&d)[4], const uint32_t (&a)[4],
                                 const uint32_t (&b)[2]);

#define FO_MMA_16816(type)                                                     \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type        \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "         \
                 "{%0, %1, %2, %3};"                                           \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),      \
                   "r"(b[1]))

template <>
__device__ inline void mma_16816<__half>(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2])
{
    FO_MMA_16816("f16");
}

template <>
__device__ inline void mma_16816<__nv_bfloat16>(float (&d)[4],
                                                const uint32_t (&a)[4],
                                                const uint32_t (&b)[2])
{
    FO_MMA_16816("bf16");
}

} // namespace FO_SIDE

#endif

namespace FO_SIDE
{

/* Load and store four floats. */
__host__ __device__ inline bool aligned_16(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

/* Global or shared memory, aligned to 16 bytes. */
__device__ inline void load_floats(float (&x)[4], const float *from)
{
    uint4 bits = load_16(from);
    x[0] = __uint_as_float(bits.x);
    x[1] = __uint_as_float(bits.y);
    x[2] = __uint_as_float(bits.z);
    x[3] = __uint_as_float(bits.w);
}

__device__ inline void store_floats(float *to, const float (&x)[4])
{
    store_16(to, make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]),
                            __float_as_uint(x[2]), __float_as_uint(x[3])));
}

} // namespace FO_SIDE

#endif
