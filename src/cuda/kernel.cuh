/* What a kernel file includes: the words that let one kernel source run on a
 * GPU and in the simulator. */
#ifndef FOLIO_CUDA_KERNEL_CUH
#define FOLIO_CUDA_KERNEL_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stddef.h>
#include <stdint.h>

/* Name the side that is being compiled. */
#ifdef FO_SIMULATED
#define FO_SIDE folio_sim
#else
#define FO_SIDE folio_cuda
#endif

namespace FO_SIDE
{

enum { WARP = 32 };

#define FO_ALL_LANES 0xffffffffu

/* Launch a kernel on either machine. */
/* FO_LAUNCH(kernel, grid, block, shared bytes, stream, arguments...). A
 * template kernel stands in parentheses. A grid or block of zero is no launch:
 * ops return before it. */
#ifdef FO_SIMULATED
#define FO_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)              \
    sim::launch(#kernel, kernel, grid, block, shared_bytes,                    \
                stream __VA_OPT__(, ) __VA_ARGS__)
#else
#define FO_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)              \
    FO_SIDE::launch(kernel, grid, block, shared_bytes,                         \
                    stream __VA_OPT__(, ) __VA_ARGS__)

/* The most shared memory that a block may ask for. */
inline int most_shared()
{
    static const int most = [] {
        int gpu = 0, bytes = 0;
        (void)cudaGetDevice(&gpu);
        (void)cudaDeviceGetAttribute(
            &bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu);
        return bytes;
    }();
    return most;
}

/* More than 48 KB of shared memory must be asked for; a refusal stays behind
 * for check_launch. We ask for the most there is, never for what this launch
 * takes: a later and smaller one would lower it for a launch that was recorded.
 */
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, A... arguments)
{
    if (shared_bytes > 48 * 1024)
        (void)cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared());
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(arguments)...);
}
#endif

/* Lay a struct over the block's shared memory. */

/* All shared memory is dynamic: launch with sizeof(T). */
template <class T> __device__ inline T &shared_memory()
{
#ifdef FO_SIMULATED
    return *static_cast<T *>(sim::shared_base());
#else
    extern __shared__ __align__(128) unsigned char arena[];
    return *reinterpret_cast<T *>(arena);
#endif
}

/* Say where a thread stands. */

/* Blocks are one row of threads: x alone counts. */
__device__ inline int lane()
{
    return (int)threadIdx.x % WARP;
}

__device__ inline int warp()
{
    return (int)threadIdx.x / WARP;
}

/* Count the blocks of a grid. */
/* Blocks of `size` that hold n things. */
inline unsigned blocks_of(int64_t n, int size)
{
    return (unsigned)((n + size - 1) / size);
}

/* Convert between float and the types of storage. */
__device__ inline float to_float(float value)
{
    return value;
}

__device__ inline float to_float(__half value)
{
    return __half2float(value);
}

__device__ inline float to_float(__nv_bfloat16 value)
{
    return __bfloat162float(value);
}

template <class T> __device__ inline T from_float(float value);

template <> __device__ inline float from_float<float>(float value)
{
    return value;
}

template <> __device__ inline __half from_float<__half>(float value)
{
    return __float2half_rn(value);
}

template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value)
{
    return __float2bfloat16_rn(value);
}

/* Reduce over the lanes of a warp. */

/* All 32 lanes take part; each gets the result, of the same bits. */
__device__ inline float warp_sum(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FO_ALL_LANES, value, step);
    return value;
}

__device__ inline float warp_max(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(FO_ALL_LANES, value, step));
    return value;
}

/* Reduce over the warps of a block. */
/* All threads of a block of whole warps take part; `parts` is shared memory,
 * one float a warp, free again when the block next meets. */
__device__ inline float block_sum(float value, float *parts /* (warps) */)
{
    int warps = (int)blockDim.x / WARP;
    value = warp_sum(value);
    if (lane() == 0)
        parts[warp()] = value;
    __syncthreads();
    return warp_sum(lane() < warps ? parts[lane()] : 0.0f);
}

} // namespace FO_SIDE

#endif
