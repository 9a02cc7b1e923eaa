/* The arithmetic of CUDA that a host compiler lacks. */
#ifndef FOLIO_SIM_SIMULATED_ARITHMETIC_H
#define FOLIO_SIM_SIMULATED_ARITHMETIC_H

#include "simulated_language.h"

#include <math.h>

/* Count bits. */
SIM_INLINE int __popc(unsigned bits)
{
    return __builtin_popcount(bits);
}

SIM_INLINE int __popcll(unsigned long long bits)
{
    return __builtin_popcountll(bits);
}

SIM_INLINE int __ffs(int bits)
{
    return __builtin_ffs(bits);
}

SIM_INLINE int __ffsll(long long bits)
{
    return __builtin_ffsll(bits);
}

SIM_INLINE int __clz(int bits)
{
    return bits ? __builtin_clz((unsigned)bits) : 32;
}

SIM_INLINE int __clzll(long long bits)
{
    return bits ? __builtin_clzll((unsigned long long)bits) : 64;
}

/* Multiply and keep the upper half. */
SIM_INLINE unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((uint64_t)a * b) >> 32);
}

SIM_INLINE int __mulhi(int a, int b)
{
    return (int)(((int64_t)a * b) >> 32);
}

SIM_INLINE unsigned long long __umul64hi(unsigned long long a,
                                         unsigned long long b)
{
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

/* Read bits as another type. */
SIM_INLINE float __int_as_float(int bits)
{
    return sim::bits_as<float>(bits);
}

SIM_INLINE float __uint_as_float(unsigned bits)
{
    return sim::bits_as<float>(bits);
}

SIM_INLINE int __float_as_int(float value)
{
    return sim::bits_as<int>(value);
}

SIM_INLINE unsigned __float_as_uint(float value)
{
    return sim::bits_as<unsigned>(value);
}

/* Pick bytes. */
/* Four bytes out of eight: nibble i of the selector names the i-th. */
SIM_INLINE unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    uint64_t bytes = (uint64_t)high << 32 | low;
    unsigned chosen = 0;
    for (int i = 0; i < 4; i++)
        chosen |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 255)
                  << 8 * i;
    return chosen;
}

/* Add what the mathematics library lacks. */
SIM_INLINE float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

SIM_INLINE float __fdividef(float x, float y)
{
    return x / y;
}

SIM_INLINE float __frcp_rn(float x)
{
    return 1.0f / x;
}

/* Take the smaller and the larger. */
#define SIM_EXTREMES(type)                                                     \
    SIM_INLINE type min(type a, type b)                                        \
    {                                                                          \
        return b < a ? b : a;                                                  \
    }                                                                          \
    SIM_INLINE type max(type a, type b)                                        \
    {                                                                          \
        return a < b ? b : a;                                                  \
    }
SIM_EXTREMES(int)
SIM_EXTREMES(unsigned)
SIM_EXTREMES(long)
SIM_EXTREMES(unsigned long)
SIM_EXTREMES(long long)
SIM_EXTREMES(unsigned long long)

SIM_INLINE float min(float a, float b)
{
    return fminf(a, b);
}

SIM_INLINE float max(float a, float b)
{
    return fmaxf(a, b);
}

#endif
