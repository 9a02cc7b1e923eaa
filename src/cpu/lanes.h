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
    float part[LANES];
    memcpy(part, &v, sizeof v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            part[i] += part[i + half];
    return part[0];
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
LANES_INLINE lanes lanes_from_octets(octets q)
{
#ifdef __AVX512F__
    return (lanes)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)q));
#else
    return __builtin_convertvector(q, lanes);
#endif
}

LANES_INLINE float scale_of(const char *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof half);
#ifdef __AVX512F__
    return _cvtsh_ss(half);
#else
    return fo_f32_from_f16(half);
#endif
}

LANES_INLINE lanes lanes_from_q8_0(const char *row, int c)
{
    const char *block = row + (size_t)(c / 32) * 34;
    octets q;
    memcpy(&q, block + 2 + c % 32, sizeof q);
    return lanes_from_octets(q) * scale_of(block);
}

LANES_INLINE lanes lanes_from_q4_0(const char *row, int c)
{
    const char *block = row + (size_t)(c / 32) * 18;
    octets pair;
    memcpy(&pair, block + 2 + c % 16, sizeof pair);
    octets q = (c % 32 < 16 ? pair : pair >> 4) & 15;
    return lanes_from_octets(q - 8) * scale_of(block);
}

/* Unpack the weights of one row into lanes. */
/* Columns c to c + LANES; c is a multiple of LANES. */
LANES_INLINE lanes lanes_unpack(fo_dtype dtype, const char *row, int c)
{
    switch (dtype) {
    case FO_F16:
        return lanes_from_f16(row + 2 * (size_t)c);
    case FO_BF16:
        return lanes_from_bf16(row + 2 * (size_t)c);
    case FO_Q8_0:
        return lanes_from_q8_0(row, c);
    case FO_Q4_0:
        return lanes_from_q4_0(row, c);
    default:
        return lanes_load((const float *)(const void *)row + c);
    }
}

#endif
