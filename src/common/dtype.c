#include "common/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if defined __AVX2__ && defined __F16C__
#define WIDE 1
#include <immintrin.h>
#endif

/* Describe the blocks as structs. */
enum { BLOCK = 32 };

typedef struct q8_0 {
    uint16_t scale; /* f16 */
    int8_t value[BLOCK];
} q8_0;

typedef struct q4_0 {
    uint16_t scale; /* f16 */
    uint8_t pair[BLOCK / 2];
} q4_0;

_Static_assert(sizeof(q8_0) == 34 && sizeof(q4_0) == 18, "as files have it");

/* Know the size of every type. */
static const fo_dtype_info infos[FO_DTYPE_COUNT] = {
    [FO_F32] = {"f32", 1, 4},        [FO_F16] = {"f16", 1, 2},
    [FO_BF16] = {"bf16", 1, 2},      [FO_Q8_0] = {"q8_0", BLOCK, 34},
    [FO_Q4_0] = {"q4_0", BLOCK, 18}, [FO_I32] = {"i32", 1, 4},
    [FO_I64] = {"i64", 1, 8},        [FO_U8] = {"u8", 1, 1},
};

const fo_dtype_info *fo_dtype_info_get(fo_dtype dtype)
{
    assert((unsigned)dtype < FO_DTYPE_COUNT);
    return &infos[dtype];
}

fo_dtype fo_dtype_parse(const char *name)
{
    int dtype = 0;
    while (dtype < FO_DTYPE_COUNT && strcmp(name, infos[dtype].name) != 0)
        dtype++;
    return (fo_dtype)dtype;
}

size_t fo_dtype_bytes(fo_dtype dtype, int64_t n)
{
    const fo_dtype_info *info = fo_dtype_info_get(dtype);
    assert(n >= 0 && n % info->block_values == 0);
    return (size_t)(n / info->block_values) * (size_t)info->block_bytes;
}

/* See a float as bits, and bits as a float. */
static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Widen a binary16 without a branch. */
static inline float widen_f16(uint16_t half)
{
    uint32_t shifted = (uint32_t)(half & 0x7fff) << 13;
    uint32_t normal = shifted + (112u << 23);
    uint32_t small = bits_of(float_of(shifted + (113u << 23)) - 0x1p-14f);
    uint32_t special = shifted | 0x7f800000u;
    special |= shifted > 0x0f800000u ? 0x00400000u : 0;
    uint32_t bits = shifted < 0x00800000u ? small : normal;
    bits = shifted >= 0x0f800000u ? special : bits;
    return float_of(bits | (uint32_t)(half & 0x8000) << 16);
}

/* Narrow to a binary16 without a branch. */
static inline uint16_t narrow_f16(float value)
{
    uint32_t sign = bits_of(value) & 0x80000000u;
    uint32_t bits = bits_of(value) ^ sign;
    uint32_t odd = bits >> 13 & 1;
    uint32_t normal = (bits - (112u << 23) + 0xfff + odd) >> 13;
    uint32_t small = bits_of(float_of(bits) + 0.5f) - bits_of(0.5f);
    uint32_t nan = 0x7e00u | (bits >> 13 & 0x3ff);
    uint32_t half = bits < (113u << 23) ? small : normal;
    half = bits >= (143u << 23) ? 0x7c00u : half;
    half = bits > 0x7f800000u ? nan : half;
    return (uint16_t)(half | sign >> 16);
}

/* Widen and narrow a bfloat16. */
static inline float widen_bf16(uint16_t half)
{
    return float_of((uint32_t)half << 16);
}

static inline uint16_t narrow_bf16(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t nan = bits >> 16 | 0x0040;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

float fo_f32_from_f16(uint16_t half)
{
    return widen_f16(half);
}

uint16_t fo_f16_from_f32(float value)
{
    return narrow_f16(value);
}

float fo_f32_from_bf16(uint16_t half)
{
    return widen_bf16(half);
}

uint16_t fo_bf16_from_f32(float value)
{
    return narrow_bf16(value);
}

/* Load rows of 16-bit numbers. */
static void load_f16(const uint16_t *restrict from, float *restrict to,
                     int64_t n)
{
    int64_t i = 0;
#ifdef WIDE
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(from + i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
    }
#endif
    for (; i < n; i++)
        to[i] = widen_f16(from[i]);
}

static void load_bf16(const uint16_t *restrict from, float *restrict to,
                      int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = widen_bf16(from[i]);
}

#ifdef WIDE
/* Load sixteen scaled bytes at once. */
static inline void scale_16(__m128i value, __m256 scale, float *to)
{
    __m256i low = _mm256_cvtepi8_epi32(value);
    __m256i high = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(value, value));
    _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(low), scale));
    _mm256_storeu_ps(to + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(high), scale));
}

/* Load quantised blocks with wide instructions. */
static inline void load_block_q8_0(const q8_0 *from, float *to)
{
    __m256 scale = _mm256_set1_ps(_cvtsh_ss(from->scale));
    const __m128i *value = (const __m128i *)from->value;
    scale_16(_mm_loadu_si128(value), scale, to);
    scale_16(_mm_loadu_si128(value + 1), scale, to + BLOCK / 2);
}

static inline void load_block_q4_0(const q4_0 *from, float *to)
{
    __m256 scale = _mm256_set1_ps(_cvtsh_ss(from->scale));
    __m128i pair = _mm_loadu_si128((const __m128i *)from->pair);
    __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    __m128i low = _mm_and_si128(pair, mask);
    __m128i high = _mm_and_si128(_mm_srli_epi16(pair, 4), mask);
    scale_16(_mm_sub_epi8(low, eight), scale, to);
    scale_16(_mm_sub_epi8(high, eight), scale, to + BLOCK / 2);
}
#else
/* Load quantised blocks portably. */
static inline void load_block_q8_0(const q8_0 *from, float *to)
{
    float scale = widen_f16(from->scale);
    for (int i = 0; i < BLOCK; i++)
        to[i] = scale * (float)from->value[i];
}

static inline void load_block_q4_0(const q4_0 *from, float *to)
{
    float scale = widen_f16(from->scale);
    for (int i = 0; i < BLOCK / 2; i++) {
        to[i] = scale * (float)((from->pair[i] & 15) - 8);
        to[BLOCK / 2 + i] = scale * (float)((from->pair[i] >> 4) - 8);
    }
}
#endif

/* Load rows of quantised blocks. */
static void load_q8_0(const q8_0 *restrict from, float *restrict to, int64_t n)
{
    for (int64_t b = 0; b < n / BLOCK; b++)
        load_block_q8_0(from + b, to + b * BLOCK);
}

static void load_q4_0(const q4_0 *restrict from, float *restrict to, int64_t n)
{
    for (int64_t b = 0; b < n / BLOCK; b++)
        load_block_q4_0(from + b, to + b * BLOCK);
}

/* Load a row of any type. */
void fo_dtype_load(fo_dtype dtype, const void *from, float *to, int64_t n)
{
    assert(n % fo_dtype_info_get(dtype)->block_values == 0);
    switch (dtype) {
    case FO_F32:
        if (n > 0)
            memcpy(to, from, (size_t)n * sizeof *to);
        return;
    case FO_F16:
        load_f16(from, to, n);
        return;
    case FO_BF16:
        load_bf16(from, to, n);
        return;
    case FO_Q8_0:
        load_q8_0(from, to, n);
        return;
    case FO_Q4_0:
        load_q4_0(from, to, n);
        return;
    default:
        assert(!"a type of real numbers");
    }
}

/* Choose the scale of a block. */
static uint16_t scale_of_block(const float *from, float divisor)
{
    float peak = 0;
    for (int i = 0; i < BLOCK; i++) {
        if (!isfinite(from[i]))
            return 0x7e00;
        peak = fabsf(from[i]) > fabsf(peak) ? from[i] : peak;
    }
    float scale = divisor > 0 ? fabsf(peak) / divisor : peak / divisor;
    uint16_t half = narrow_f16(scale);
    return (half & 0x7fff) < 0x7c00 ? half : (half & 0x8000) | 0x7bff;
}

/* Round a value to whole steps of a scale. */
static int quantise(float value, float scale, int low, int high)
{
    if (!(fabsf(scale) > 0))
        return 0;
    float steps = rintf(value / scale);
    return steps < (float)low ? low : steps > (float)high ? high : (int)steps;
}

/* Store quantised blocks. */
static void store_q8_0(const float *restrict from, q8_0 *restrict to, int64_t n)
{
    for (int64_t b = 0; b < n / BLOCK; b++) {
        to[b].scale = scale_of_block(from + b * BLOCK, 127);
        float scale = widen_f16(to[b].scale);
        for (int i = 0; i < BLOCK; i++)
            to[b].value[i] =
                (int8_t)quantise(from[b * BLOCK + i], scale, -127, 127);
    }
}

static void store_q4_0(const float *restrict from, q4_0 *restrict to, int64_t n)
{
    for (int64_t b = 0; b < n / BLOCK; b++) {
        const float *low = from + b * BLOCK, *high = low + BLOCK / 2;
        to[b].scale = scale_of_block(low, -8);
        float scale = widen_f16(to[b].scale);
        for (int i = 0; i < BLOCK / 2; i++)
            to[b].pair[i] =
                (uint8_t)((quantise(low[i], scale, -8, 7) + 8) |
                          (quantise(high[i], scale, -8, 7) + 8) << 4);
    }
}

/* Store a row of any type. */
void fo_dtype_store(fo_dtype dtype, const float *from, void *to, int64_t n)
{
    assert(n % fo_dtype_info_get(dtype)->block_values == 0);
    uint16_t *half = to;
    switch (dtype) {
    case FO_F32:
        if (n > 0)
            memcpy(to, from, (size_t)n * sizeof *from);
        return;
    case FO_F16:
        for (int64_t i = 0; i < n; i++)
            half[i] = narrow_f16(from[i]);
        return;
    case FO_BF16:
        for (int64_t i = 0; i < n; i++)
            half[i] = narrow_bf16(from[i]);
        return;
    case FO_Q8_0:
        store_q8_0(from, to, n);
        return;
    case FO_Q4_0:
        store_q4_0(from, to, n);
        return;
    default:
        assert(!"a type of real numbers");
    }
}
