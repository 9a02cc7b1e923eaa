/* The words of CUDA's language that are no calls: qualifiers, vector types. */
#ifndef FOLIO_SIM_SIMULATED_LANGUAGE_H
#define FOLIO_SIM_SIMULATED_LANGUAGE_H

#include <stdint.h>

/* Drop the qualifiers. */
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__    __attribute__((noinline))
#define __align__(n)    __attribute__((aligned(n)))
#define __launch_bounds__(...)

/* Keep the functions out of sight. */
#define SIM_INLINE     static inline __attribute__((always_inline))
#define SIM_UNOBSERVED __attribute__((no_sanitize("thread")))
#define SIM_SITE                                                               \
    const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* Define the vector types. */
#define SIM_VECTOR2(name, type, bytes)                                         \
    struct alignas(bytes) name {                                               \
        type x, y;                                                             \
    };                                                                         \
    SIM_INLINE name make_##name(type x, type y)                                \
    {                                                                          \
        return {x, y};                                                         \
    }
#define SIM_VECTOR3(name, type)                                                \
    struct name {                                                              \
        type x, y, z;                                                          \
    };                                                                         \
    SIM_INLINE name make_##name(type x, type y, type z)                        \
    {                                                                          \
        return {x, y, z};                                                      \
    }
#define SIM_VECTOR4(name, type, bytes)                                         \
    struct alignas(bytes) name {                                               \
        type x, y, z, w;                                                       \
    };                                                                         \
    SIM_INLINE name make_##name(type x, type y, type z, type w)                \
    {                                                                          \
        return {x, y, z, w};                                                   \
    }

/* Name the vector types. */
SIM_VECTOR2(char2, signed char, 2)
SIM_VECTOR2(uchar2, unsigned char, 2)
SIM_VECTOR2(short2, short, 4)
SIM_VECTOR2(ushort2, unsigned short, 4)
SIM_VECTOR2(int2, int, 8)
SIM_VECTOR2(uint2, unsigned, 8)
SIM_VECTOR2(float2, float, 8)
SIM_VECTOR2(double2, double, 16)
SIM_VECTOR2(longlong2, long long, 16)
SIM_VECTOR2(ulonglong2, unsigned long long, 16)
SIM_VECTOR3(int3, int)
SIM_VECTOR3(uint3, unsigned)
SIM_VECTOR3(float3, float)
SIM_VECTOR4(char4, signed char, 4)
SIM_VECTOR4(uchar4, unsigned char, 4)
SIM_VECTOR4(short4, short, 8)
SIM_VECTOR4(ushort4, unsigned short, 8)
SIM_VECTOR4(int4, int, 16)
SIM_VECTOR4(uint4, unsigned, 16)
SIM_VECTOR4(float4, float, 16)

/* Shape grids and blocks. */
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1)
        : x(x), y(y), z(z)
    {
    }
};

/* Carry values as bits. */
namespace sim
{
template <class To, class From> SIM_INLINE To bits_as(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}

template <class T> SIM_INLINE uint64_t to_bits(T value)
{
    if constexpr (sizeof(T) == 8)
        return bits_as<uint64_t>(value);
    else if constexpr (sizeof(T) == 4)
        return bits_as<uint32_t>(value);
    else
        return bits_as<uint16_t>(value);
}

template <class T> SIM_INLINE T from_bits(uint64_t bits)
{
    if constexpr (sizeof(T) == 8)
        return bits_as<T>(bits);
    else if constexpr (sizeof(T) == 4)
        return bits_as<T>((uint32_t)bits);
    else
        return bits_as<T>((uint16_t)bits);
}
} // namespace sim

#endif
