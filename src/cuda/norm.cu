#include "cuda/device.cuh"
#include "cuda/instructions.cuh"

namespace FO_SIDE
{

enum { MOST_WARPS = 8, AT_ONCE = 4 };

struct norm_shared {
    double part[MOST_WARPS]; /* the squares that each warp has added */
};

/* Add the squares of a row over the block. */
/* In float64, as the CPU does: the squares of a large row are no float32. */
static __device__ inline double warp_sum_of_doubles(double value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FO_ALL_LANES, value, step);
    return value;
}

static __device__ inline double sum_over_block(double value, double *part)
{
    int warps = (int)blockDim.x / WARP;
    value = warp_sum_of_doubles(value);
    if (lane() == 0)
        part[warp()] = value;
    __syncthreads();
    return warp_sum_of_doubles(lane() < warps ? part[lane()] : 0.0);
}

/* Scale the row of a token. */
/* A block is one token. */
static __global__ void scale_rows(float *out /* (T, C) */,
                                  const float *x /* (T, C) */,
                                  const float *weight /* (C) */, int C,
                                  float epsilon)
{
    auto &shared = shared_memory<norm_shared>();
    x += (int64_t)blockIdx.x * C;
    out += (int64_t)blockIdx.x * C;
    int threads = (int)blockDim.x;
    double square = 0;
    for (int c = (int)threadIdx.x; c < C; c += threads)
        square += (double)x[c] * (double)x[c];
    square = sum_over_block(square, shared.part);
    float scale = (float)(1 / sqrt(square / C + (double)epsilon));
    for (int c = (int)threadIdx.x; c < C; c += threads)
        out[c] = x[c] * scale * weight[c];
}

/* Scale a row by sixteen bytes at a time. */
/* The same where every row is aligned to 16 bytes. */
static __global__ void scale_rows_wide(float *out /* (T, C) */,
                                       const float *x /* (T, C) */,
                                       const float *weight /* (C) */, int C,
                                       float epsilon)
{
    auto &shared = shared_memory<norm_shared>();
    x += (int64_t)blockIdx.x * C;
    out += (int64_t)blockIdx.x * C;
    int first = (int)threadIdx.x * AT_ONCE, step = (int)blockDim.x * AT_ONCE;
    double square = 0;
    for (int c = first; c < C; c += step) {
        float a[AT_ONCE];
        load_floats(a, x + c);
        for (int j = 0; j < AT_ONCE; j++)
            square += (double)a[j] * (double)a[j];
    }
    square = sum_over_block(square, shared.part);
    float scale = (float)(1 / sqrt(square / C + (double)epsilon));
    for (int c = first; c < C; c += step) {
        float a[AT_ONCE], w[AT_ONCE];
        load_floats(a, x + c);
        load_floats(w, weight + c);
        for (int j = 0; j < AT_ONCE; j++)
            a[j] = a[j] * scale * w[j];
        store_floats(out + c, a);
    }
}

/* Launch a block for each token. */
fo_status cuda_rmsnorm(fo_device *device, float *out, const float *x,
                       const float *weight, int T, int C, float epsilon,
                       fo_error *error)
{
    if (T == 0 || C == 0)
        return FO_OK;
    bool wide = aligned_16(out) && aligned_16(x) && aligned_16(weight) &&
                C % AT_ONCE == 0;
    int warps = (int)blocks_of(C, WARP * (wide ? AT_ONCE : 1));
    int threads = WARP * (warps < MOST_WARPS ? warps : MOST_WARPS);
    if (wide)
        FO_LAUNCH(scale_rows_wide, (unsigned)T, (unsigned)threads,
                  sizeof(norm_shared), of(device)->stream, out, x, weight, C,
                  epsilon);
    else
        FO_LAUNCH(scale_rows, (unsigned)T, (unsigned)threads,
                  sizeof(norm_shared), of(device)->stream, out, x, weight, C,
                  epsilon);
    return check_launch("scale_rows", error);
}

} // namespace FO_SIDE
