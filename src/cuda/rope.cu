#include "cuda/device.cuh"
#include "cuda/kernel.cuh"

namespace FO_SIDE
{

enum { THREADS = 128, HEADS_AT_ONCE = 4 };

/* Find the angle of a pair. */
/* The angle in float64, reduced to one turn, before float32 takes over: a
 * position of 4,095 leaves float32 no digits for the sine. */
static __device__ inline float angle_of(int32_t position, float frequency)
{
    const double turn = 6.283185307179586;
    double angle = (double)position * (double)frequency;
    return (float)(angle - turn * rint(angle / turn));
}

/* Turn the pairs of a few heads of one token. */
/* A block is a token and HEADS_AT_ONCE heads; a thread keeps its pair. */
template <fo_rope_style style>
static __global__ void turn_pairs(float *x /* (T, heads, D), stride */,
                                  const float *frequency /* (half) */,
                                  const int32_t *position /* (T) */, int heads,
                                  int D, int stride, int half, float scale)
{
    x += (int64_t)blockIdx.x * stride;
    int first = (int)blockIdx.y * HEADS_AT_ONCE;
    int end = min(first + HEADS_AT_ONCE, heads);
    for (int i = (int)threadIdx.x; i < half; i += THREADS) {
        float sine, cosine;
        sincosf(angle_of(position[blockIdx.x], frequency[i]), &sine, &cosine);
        sine *= scale;
        cosine *= scale;
        for (int h = first; h < end; h++) {
            float *head = x + (int64_t)h * D;
            float *a = style == FO_ROPE_NEOX ? head + i : head + 2 * i;
            float *b = style == FO_ROPE_NEOX ? a + half : a + 1;
            float u = *a, v = *b;
            *a = u * cosine - v * sine;
            *b = u * sine + v * cosine;
        }
    }
}

/* Launch a rotation. */
template <fo_rope_style style>
static fo_status turn_by(fo_device *device, float *x, const fo_rope *rope,
                         fo_error *error)
{
    dim3 grid((unsigned)rope->T, blocks_of(rope->heads, HEADS_AT_ONCE));
    FO_LAUNCH((turn_pairs<style>), grid, THREADS, 0, of(device)->stream, x,
              rope->frequency, rope->position, rope->heads, rope->D,
              rope->stride, rope->rotary / 2, rope->scale);
    return check_launch("turn_pairs", error);
}

/* Check a rotation and choose its style. */
fo_status cuda_rope(fo_device *device, float *x, const fo_rope *rope,
                    fo_error *error)
{
    if (rope->rotary % 2 != 0 || rope->rotary < 0 || rope->rotary > rope->D)
        return fo_fail(error, FO_ARG, "rope: %d of %d dimensions rotate",
                       rope->rotary, rope->D);
    if (rope->stride < rope->heads * rope->D)
        return fo_fail(error, FO_ARG, "rope: stride %d below %d heads of %d",
                       rope->stride, rope->heads, rope->D);
    if (rope->T == 0 || rope->heads == 0 || rope->rotary == 0)
        return FO_OK;
    return rope->style == FO_ROPE_NEOX
               ? turn_by<FO_ROPE_NEOX>(device, x, rope, error)
               : turn_by<FO_ROPE_NORMAL>(device, x, rope, error);
}

} // namespace FO_SIDE
