#include "bench_kernels.h"

#include "simt_run.cuh"

/* Do one thing many times. */
__global__ static void shuffles(int turns, float *data)
{
    float v = 1;
    for (int i = 0; i < turns; i++)
        v = __shfl_xor_sync(ALL, v, 1);
    if (v == 0)
        *data = v;
}

__global__ static void votes(int turns, float *data)
{
    unsigned v = 1;
    for (int i = 0; i < turns; i++)
        v = __ballot_sync(ALL, (int)v);
    if (v == 0)
        *data = 0;
}

__global__ static void barriers(int turns, float *)
{
    for (int i = 0; i < turns; i++)
        __syncthreads();
}

__global__ static void atomics(int turns, float *data)
{
    float *mine = data + blockIdx.x * blockDim.x + threadIdx.x;
    for (int i = 0; i < turns; i++)
        atomicAdd(mine, 1.0f);
}

/* Touch memory many times. */
__global__ static void loads(int turns, float *data)
{
    volatile float *mine = data + blockIdx.x * blockDim.x + threadIdx.x;
    for (int i = 0; i < turns; i++)
        (void)*mine;
}

__global__ static void shared_pairs(int turns, float *)
{
    volatile float *mine = (float *)sim::shared_base() + threadIdx.x;
    for (int i = 0; i < turns; i++) {
        *mine = 1;
        (void)*mine;
    }
}

__global__ static void products(int turns, float *data)
{
    float d[4] = {0, 0, 0, 0};
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    for (int i = 0; i < turns; i++)
        mma_16816<__half>(d, a, b);
    if (d[0] != 0)
        *data = d[0];
}

__global__ static void nothing(int, float *)
{
}

/* Run one of them. */
void bench_run(bench_kernel which, int blocks, int threads, int turns,
               float *data)
{
    static void (*const kernels[BENCH_KERNELS])(int, float *) = {
        shuffles, votes,        barriers, atomics,
        loads,    shared_pairs, products, nothing};
    auto kernel = kernels[which];
    run("bench", blocks, threads, threads * sizeof(float),
        [=]() SIM_UNOBSERVED { kernel(turns, data); });
}
