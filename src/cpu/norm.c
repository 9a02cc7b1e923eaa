#include "cpu/cpu.h"

#include <math.h>

/* Scale one row by its root mean square. */
static void normalise(float *out, const float *x, const float *weight, int C,
                      float epsilon)
{
    double square = 0;
#pragma omp simd reduction(+ : square)
    for (int c = 0; c < C; c++)
        square += (double)x[c] * (double)x[c];
    float scale = (float)(1 / sqrt(square / C + (double)epsilon));
#pragma omp simd
    for (int c = 0; c < C; c++)
        out[c] = x[c] * scale * weight[c];
}

fo_status cpu_rmsnorm(fo_device *device, float *out, const float *x,
                      const float *weight, int T, int C, float epsilon,
                      fo_error *error)
{
    (void)device, (void)error;
#pragma omp parallel for if (T >= 16)
    for (int t = 0; t < T; t++)
        normalise(out + (size_t)t * (size_t)C, x + (size_t)t * (size_t)C,
                  weight, C, epsilon);
    return FO_OK;
}
