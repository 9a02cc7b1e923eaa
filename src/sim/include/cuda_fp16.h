/* IEEE binary16 for kernels: storage and the conversions that Folio uses.
 * Arithmetic is done in float. */
#ifndef FOLIO_SIM_CUDA_FP16_H
#define FOLIO_SIM_CUDA_FP16_H

#include "simulated_kernel.h"

extern "C" {
#include "common/dtype.h"
}

/* Store a half and a pair of them. */
struct __half {
    uint16_t bits;
};

struct alignas(4) __half2 {
    __half x, y;
};

typedef __half half;
typedef __half2 half2;

/* Convert a half. */
SIM_INLINE float __half2float(__half value)
{
    return fo_f32_from_f16(value.bits);
}

SIM_INLINE __half __float2half_rn(float value)
{
    return {fo_f16_from_f32(value)};
}

SIM_INLINE __half __float2half(float value)
{
    return __float2half_rn(value);
}

/* Convert a pair of halves. */
SIM_INLINE __half2 __halves2half2(__half low, __half high)
{
    return {low, high};
}

SIM_INLINE __half2 __floats2half2_rn(float low, float high)
{
    return {__float2half_rn(low), __float2half_rn(high)};
}

SIM_INLINE __half2 __float22half2_rn(float2 values)
{
    return __floats2half2_rn(values.x, values.y);
}

SIM_INLINE float2 __half22float2(__half2 values)
{
    return {__half2float(values.x), __half2float(values.y)};
}

SIM_INLINE float __low2float(__half2 values)
{
    return __half2float(values.x);
}

SIM_INLINE float __high2float(__half2 values)
{
    return __half2float(values.y);
}

SIM_INLINE unsigned short __half_as_ushort(__half value)
{
    return value.bits;
}

SIM_INLINE __half __ushort_as_half(unsigned short bits)
{
    return {bits};
}

#endif
