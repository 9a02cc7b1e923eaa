#include "cuda/device.cuh"
#include "cuda/instructions.cuh"

namespace FO_SIDE
{

enum { THREADS = 256, AT_ONCE = 4 };

/* Add four values in each thread. */
/* Wide: all three pointers are aligned to 16 bytes. */
static __global__ void add_arrays(float *out /* (n), may be x or y */,
                                  const float *x /* (n) */,
                                  const float *y /* (n) */, int64_t n,
                                  bool wide)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * AT_ONCE;
    if (wide && i + AT_ONCE <= n) {
        float a[AT_ONCE], b[AT_ONCE];
        load_floats(a, x + i);
        load_floats(b, y + i);
        for (int j = 0; j < AT_ONCE; j++)
            a[j] += b[j];
        store_floats(out + i, a);
    } else {
        for (int64_t end = i + AT_ONCE; i < end && i < n; i++)
            out[i] = x[i] + y[i];
    }
}

fo_status cuda_add(fo_device *device, float *out, const float *x,
                   const float *y, int64_t n, fo_error *error)
{
    if (n == 0)
        return FO_OK;
    bool wide = aligned_16(out) && aligned_16(x) && aligned_16(y);
    FO_LAUNCH(add_arrays, blocks_of(n, THREADS * AT_ONCE), THREADS, 0,
              of(device)->stream, out, x, y, n, wide);
    return check_launch("add_arrays", error);
}

/* Gate one value by another. */
/* The exponent stops at 88, as the CPU's does: a gate of -inf gives -inf times
 * up, not NaN. */
static __device__ inline float gated(float gate, float up)
{
    return gate / (1.0f + expf(fminf(-gate, 88.0f))) * up;
}

/* Gate each token's row by its other half. */
/* A block is THREADS * AT_ONCE columns of one token. */
static __global__ void gate_rows(float *out /* (T, F) */,
                                 const float *gate /* (T, F), stride */,
                                 const float *up /* (T, F), stride */, int F,
                                 int stride, bool wide)
{
    int64_t t = blockIdx.x;
    int f = ((int)blockIdx.y * THREADS + (int)threadIdx.x) * AT_ONCE;
    gate += t * stride;
    up += t * stride;
    out += t * F;
    if (wide && f + AT_ONCE <= F) {
        float g[AT_ONCE], u[AT_ONCE];
        load_floats(g, gate + f);
        load_floats(u, up + f);
        for (int j = 0; j < AT_ONCE; j++)
            g[j] = gated(g[j], u[j]);
        store_floats(out + f, g);
    } else {
        for (int end = f + AT_ONCE; f < end && f < F; f++)
            out[f] = gated(gate[f], up[f]);
    }
}

fo_status cuda_silu_mul(fo_device *device, float *out, const float *gate,
                        const float *up, int T, int F, int stride,
                        fo_error *error)
{
    if (stride < F)
        return fo_fail(error, FO_ARG, "silu_mul: stride %d below %d columns",
                       stride, F);
    if (T == 0 || F == 0)
        return FO_OK;
    bool wide = aligned_16(out) && aligned_16(gate) && aligned_16(up) &&
                F % AT_ONCE == 0 && stride % AT_ONCE == 0;
    dim3 grid((unsigned)T, blocks_of(F, THREADS * AT_ONCE));
    FO_LAUNCH(gate_rows, grid, THREADS, 0, of(device)->stream, out, gate, up, F,
              stride, wide);
    return check_launch("gate_rows", error);
}

/* Copy each row that is named. */
static __global__ void copy_rows(float *out /* (n, C) */,
                                 const float *x /* (T, C) */,
                                 const int32_t *rows /* (n) */, int C,
                                 bool wide)
{
    const float *from = x + (int64_t)rows[blockIdx.x] * C;
    float *to = out + (int64_t)blockIdx.x * C;
    if (wide) {
        for (int c = (int)threadIdx.x * AT_ONCE; c < C; c += THREADS * AT_ONCE)
            store_16(to + c, load_16(from + c));
    } else {
        for (int c = (int)threadIdx.x; c < C; c += THREADS)
            to[c] = from[c];
    }
}

fo_status cuda_gather_rows(fo_device *device, float *out, const float *x,
                           const int32_t *rows, int n, int C, fo_error *error)
{
    if (n == 0 || C == 0)
        return FO_OK;
    bool wide = aligned_16(out) && aligned_16(x) && C % AT_ONCE == 0;
    FO_LAUNCH(copy_rows, (unsigned)n, THREADS, 0, of(device)->stream, out, x,
              rows, C, wide);
    return check_launch("copy_rows", error);
}

} // namespace FO_SIDE
