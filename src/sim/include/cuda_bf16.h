/* bfloat16 for kernels: storage and the conversions that Folio uses.
 * Arithmetic is done in float. */
#ifndef FOLIO_SIM_CUDA_BF16_H
#define FOLIO_SIM_CUDA_BF16_H

#include "simulated_kernel.h"

extern "C" {
#include "common/dtype.h"
}

/* Store a bfloat16 and a pair of them. */
struct __nv_bfloat16 {
    uint16_t bits;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

/* Convert a bfloat16. */
SIM_INLINE float __bfloat162float(__nv_bfloat16 value)
{
    return fo_f32_from_bf16(value.bits);
}

SIM_INLINE __nv_bfloat16 __float2bfloat16_rn(float value)
{
    return {fo_bf16_from_f32(value)};
}

SIM_INLINE __nv_bfloat16 __float2bfloat16(float value)
{
    return __float2bfloat16_rn(value);
}

/* Convert a pair of bfloat16s. */
SIM_INLINE __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low,
                                             __nv_bfloat16 high)
{
    return {low, high};
}

SIM_INLINE __nv_bfloat162 __floats2bfloat162_rn(float low, float high)
{
    return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}

SIM_INLINE __nv_bfloat162 __float22bfloat162_rn(float2 values)
{
    return __floats2bfloat162_rn(values.x, values.y);
}

SIM_INLINE float2 __bfloat1622float2(__nv_bfloat162 values)
{
    return {__bfloat162float(values.x), __bfloat162float(values.y)};
}

SIM_INLINE float __low2float(__nv_bfloat162 values)
{
    return __bfloat162float(values.x);
}

SIM_INLINE float __high2float(__nv_bfloat162 values)
{
    return __bfloat162float(values.y);
}

SIM_INLINE unsigned short __bfloat16_as_ushort(__nv_bfloat16 value)
{
    return value.bits;
}

SIM_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return {bits};
}

#endif
