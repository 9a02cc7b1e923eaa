/* As many float32 values as one vector register holds, and how stored weights
 * are unpacked into them. */
#ifndef FOLIO_CPU_LANES_H
#define FOLIO_CPU_LANES_H

#include "common/dtype.h"

#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* Choose the width of a vector. */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef int8_t octets __attribute__((vector_size(LANES)));

#define LANES_INLINE static inline __attribute__((always_inline))

/* Load, multiply and add lanes. */
LANES_INLINE lanes lanes_load(const float *from)
{
    lanes v;
    memcpy(&v, from, sizeof v);
    return v;
}

LANES_INLINE lanes lanes_multiply_add(lanes x, lanes y, lanes sum)
{
#ifdef __AVX512F__
    return (lanes)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)sum);
#else
    return sum + x * y;
#endif
}

/* Always in the same order: halves, quarters, and so on. */
LANES_INLINE float lanes_sum(lanes v)
{
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)v);
#else
    float part[LANES];
    memcpy(part, &v, sizeof v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            part[i] += part[i + half];
    return part[0];
#endif
}

/* Unpack halves into lanes. */
LANES_INLINE words widen_halves(const char *from)
{
    halves h;
    memcpy(&h, from, sizeof h);
    return __builtin_convertvector(h, words);
}

LANES_INLINE lanes lanes_from_bf16(const char *from)
{
    return (lanes)(widen_halves(from) << 16);
}

LANES_INLINE lanes lanes_from_f16(const char *from)
{
#ifdef __AVX512F__
    __m256i half;
    memcpy(&half, from, sizeof half);
    return (lanes)_mm512_cvtph_ps(half);
#else
    words half = widen_halves(from);
    words exponent = half & 0x7c00;
    words small = (words)(exponent == 0);
    words special = (words)(exponent == 0x7c00);
    words bits = ((half & 0x7fff) << 13) + (112u << 23);
    bits += (small & (1u << 23)) + (special & (112u << 23));
    lanes magnitude = (lanes)bits - (lanes)(small & (113u << 23));
    return (lanes)((words)magnitude | (half & 0x8000) << 16);
#endif
}

/* Unpack blocks of quantised weights into lanes. */
LANES_INLINE lanes scale_of(const char *unit)
{
    uint16_t half;
    memcpy(&half, unit, sizeof half);
#ifdef __AVX512F__
    return (lanes)_mm512_cvtph_ps(_mm256_set1_epi16((short)half));
#else
    return (lanes){0} + fo_f32_from_f16(half);
#endif
}

LANES_INLINE lanes lanes_from_q8_0(const char *unit, int h)
{
    octets q;
    memcpy(&q, unit + 2 + h, sizeof q);
#ifdef __AVX512F__
    words wide = (words)_mm512_cvtepi8_epi32((__m128i)q);
#else
    words wide = (words) __builtin_convertvector(q, integers);
#endif
    return __builtin_convertvector((integers)wide, lanes) * scale_of(unit);
}

LANES_INLINE lanes lanes_from_q4_0(const char *unit, int h)
{
    octets pair;
    memcpy(&pair, unit + 2 + h % 16, sizeof pair);
    lanes scale = scale_of(unit);
#ifdef __AVX512F__
    const lanes steps = {-8, -7, -6, -5, -4, -3, -2, -1,
                         0,  1,  2,  3,  4,  5,  6,  7};
    words wide = (words)_mm512_cvtepu8_epi32((__m128i)pair);
    wide = h < 16 ? wide : wide >> 4;
    return (lanes)_mm512_permutexvar_ps((__m512i)wide, (__m512)(steps * scale));
#else
    integers wide = __builtin_convertvector(pair, integers);
    wide = (h < 16 ? wide : wide >> 4) & 15;
    return __builtin_convertvector(wide - 8, lanes) * scale;
#endif
}

/* Unpack the weights of one row into lanes. */
/* Columns h to h + LANES of a unit of 32; h is a multiple of LANES. */
LANES_INLINE lanes lanes_unpack(fo_dtype dtype, const char *unit, int h)
{
    switch (dtype) {
    case FO_F16:
        return lanes_from_f16(unit + 2 * h);
    case FO_BF16:
        return lanes_from_bf16(unit + 2 * h);
    case FO_Q8_0:
        return lanes_from_q8_0(unit, h);
    case FO_Q4_0:
        return lanes_from_q4_0(unit, h);
    default:
        return lanes_load((const float *)(const void *)unit + h);
    }
}

#endif
