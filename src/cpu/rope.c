#include "cpu/cpu.h"

#include <math.h>

/* Pairs whose cosines and sines are held at once. */
enum { PAIRS = 64 };

/* Turn a run of pairs in one head. */
static void turn(float *a, float *b, int step, const float *cosine,
                 const float *sine, int n)
{
    for (int i = 0; i < n; i++) {
        float u = a[i * step], v = b[i * step];
        a[i * step] = u * cosine[i] - v * sine[i];
        b[i * step] = u * sine[i] + v * cosine[i];
    }
}

/* Turn every head of one token. */
static void turn_token(float *x, const fo_rope *rope, int32_t position)
{
    int half = rope->rotary / 2;
    for (int first = 0; first < half; first += PAIRS) {
        float cosine[PAIRS], sine[PAIRS];
        int n = half - first < PAIRS ? half - first : PAIRS;
        for (int i = 0; i < n; i++) {
            double angle =
                (double)position * (double)rope->frequency[first + i];
            cosine[i] = (float)cos(angle) * rope->scale;
            sine[i] = (float)sin(angle) * rope->scale;
        }
        for (int h = 0; h < rope->heads; h++) {
            float *head = x + (size_t)h * (size_t)rope->D;
            if (rope->style == FO_ROPE_NEOX)
                turn(head + first, head + first + half, 1, cosine, sine, n);
            else
                turn(head + 2 * first, head + 2 * first + 1, 2, cosine, sine,
                     n);
        }
    }
}

fo_status cpu_rope(fo_device *device, float *x, const fo_rope *rope,
                   fo_error *error)
{
    (void)device;
    if (rope->rotary % 2 != 0 || rope->rotary < 0 || rope->rotary > rope->D)
        return fo_fail(error, FO_ARG, "rope: %d of %d dimensions rotate",
                       rope->rotary, rope->D);
    if (rope->stride < rope->heads * rope->D)
        return fo_fail(error, FO_ARG, "rope: stride %d below %d heads of %d",
                       rope->stride, rope->heads, rope->D);
#pragma omp parallel for if (rope->T >= 16)
    for (int t = 0; t < rope->T; t++)
        turn_token(x + (size_t)t * (size_t)rope->stride, rope,
                   rope->position[t]);
    return FO_OK;
}
