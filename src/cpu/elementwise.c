#include "cpu/cpu.h"

#include <string.h>

/* Fewer values than this are done before a second thread has woken. */
enum { WORTH_THREADS = 32768 };

/* Add two arrays. */
fo_status cpu_add(fo_device *device, float *out, const float *x, const float *y,
                  int64_t n, fo_error *error)
{
    (void)device, (void)error;
#pragma omp parallel for simd if (n >= WORTH_THREADS)
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] + y[i];
    return FO_OK;
}

/* Approximate the exponential. */
/* e^x within 3e-7 of itself for x in [-87, 88]; beyond, as at the ends. */
static inline float exponential(float x)
{
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    float n = x * 0x1.715476p0f + 0x1.8p23f - 0x1.8p23f;
    float r = x - n * 0x1.63p-1f;
    r += n * 0x1.bd0106p-13f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Gate one half of the feed-forward layer by the other. */
static void gate_row(float *out, const float *gate, const float *up, int F)
{
#pragma omp simd
    for (int f = 0; f < F; f++)
        out[f] = gate[f] / (1.0f + exponential(-gate[f])) * up[f];
}

fo_status cpu_silu_mul(fo_device *device, float *out, const float *gate,
                       const float *up, int T, int F, int stride,
                       fo_error *error)
{
    (void)device;
    if (stride < F)
        return fo_fail(error, FO_ARG, "silu_mul: stride %d below %d columns",
                       stride, F);
#pragma omp parallel for if ((int64_t)T * F >= WORTH_THREADS)
    for (int t = 0; t < T; t++)
        gate_row(out + (size_t)t * (size_t)F, gate + (size_t)t * (size_t)stride,
                 up + (size_t)t * (size_t)stride, F);
    return FO_OK;
}

/* Gather rows. */
fo_status cpu_gather_rows(fo_device *device, float *out, const float *x,
                          const int32_t *rows, int n, int C, fo_error *error)
{
    (void)device, (void)error;
    for (int i = 0; i < n; i++)
        memcpy(out + (size_t)i * (size_t)C, x + (size_t)rows[i] * (size_t)C,
               (size_t)C * sizeof *out);
    return FO_OK;
}
