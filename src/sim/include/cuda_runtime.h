/* The simulator's stand-in for the CUDA Toolkit's header of this name: the part
 * of the runtime that Folio calls, with the numbers of the original.
 *
 * The names are CUDA's, the symbols are the simulator's own, so that one
 * program can hold both. Source: the CUDA Runtime API manual. */
#ifndef FOLIO_SIM_CUDA_RUNTIME_H
#define FOLIO_SIM_CUDA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SYMBOL(name) __asm__("sim_" #name)

#define CUDART_VERSION 13000

#ifdef __cplusplus
extern "C" {
#endif

/* Number the errors. */
typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalState = 401,
    cudaErrorSymbolNotFound = 500,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
} cudaError_t;

cudaError_t cudaGetLastError(void) SIM_SYMBOL(cudaGetLastError);
cudaError_t cudaPeekAtLastError(void) SIM_SYMBOL(cudaPeekAtLastError);
const char *cudaGetErrorName(cudaError_t code) SIM_SYMBOL(cudaGetErrorName);
const char *cudaGetErrorString(cudaError_t code) SIM_SYMBOL(cudaGetErrorString);

/* Describe the device. */
typedef struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    size_t sharedMemPerBlock;
    size_t sharedMemPerBlockOptin;
    int maxThreadsPerBlock;
    int multiProcessorCount;
    int major, minor;
    int l2CacheSize;
} cudaDeviceProp;

enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrWarpSize = 10,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

cudaError_t cudaGetDeviceCount(int *count) SIM_SYMBOL(cudaGetDeviceCount);
cudaError_t cudaGetDevice(int *device) SIM_SYMBOL(cudaGetDevice);
cudaError_t cudaSetDevice(int device) SIM_SYMBOL(cudaSetDevice);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
    SIM_SYMBOL(cudaGetDeviceProperties);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute,
                                   int device)
    SIM_SYMBOL(cudaDeviceGetAttribute);
cudaError_t cudaDeviceSynchronize(void) SIM_SYMBOL(cudaDeviceSynchronize);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
    SIM_SYMBOL(cudaMemGetInfo);

/* Put work in a stream. */
typedef struct sim_stream *cudaStream_t;

enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };

cudaError_t cudaStreamCreate(cudaStream_t *stream) SIM_SYMBOL(cudaStreamCreate);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
    SIM_SYMBOL(cudaStreamCreateWithFlags);
cudaError_t cudaStreamDestroy(cudaStream_t stream)
    SIM_SYMBOL(cudaStreamDestroy);
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
    SIM_SYMBOL(cudaStreamSynchronize);

/* Allocate and move memory. */
enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4,
};

cudaError_t cudaMalloc(void **out, size_t bytes) SIM_SYMBOL(cudaMalloc);
cudaError_t cudaFree(void *data) SIM_SYMBOL(cudaFree);
cudaError_t cudaMallocHost(void **out, size_t bytes) SIM_SYMBOL(cudaMallocHost);
cudaError_t cudaFreeHost(void *data) SIM_SYMBOL(cudaFreeHost);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                            enum cudaMemcpyKind kind, cudaStream_t stream)
    SIM_SYMBOL(cudaMemcpyAsync);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes,
                            cudaStream_t stream) SIM_SYMBOL(cudaMemsetAsync);

/* Take the time with events. */
typedef struct sim_event *cudaEvent_t;

cudaError_t cudaEventCreate(cudaEvent_t *event) SIM_SYMBOL(cudaEventCreate);
cudaError_t cudaEventDestroy(cudaEvent_t event) SIM_SYMBOL(cudaEventDestroy);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
    SIM_SYMBOL(cudaEventRecord);
cudaError_t cudaEventSynchronize(cudaEvent_t event)
    SIM_SYMBOL(cudaEventSynchronize);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first,
                                 cudaEvent_t last)
    SIM_SYMBOL(cudaEventElapsedTime);

/* Capture a stream into a graph. */
typedef struct sim_graph *cudaGraph_t;
typedef struct sim_graph_exec *cudaGraphExec_t;

enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal = 0,
    cudaStreamCaptureModeThreadLocal = 1,
    cudaStreamCaptureModeRelaxed = 2,
};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream,
                                   enum cudaStreamCaptureMode mode)
    SIM_SYMBOL(cudaStreamBeginCapture);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
    SIM_SYMBOL(cudaStreamEndCapture);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags)
    SIM_SYMBOL(cudaGraphInstantiate);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
    SIM_SYMBOL(cudaGraphLaunch);
cudaError_t cudaGraphDestroy(cudaGraph_t graph) SIM_SYMBOL(cudaGraphDestroy);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
    SIM_SYMBOL(cudaGraphExecDestroy);

/* Find the functions of the driver. */
enum cudaDriverEntryPointQueryResult {
    cudaDriverEntryPointSuccess = 0,
    cudaDriverEntryPointSymbolNotFound = 1,
    cudaDriverEntryPointVersionNotSufficent = 2,
};

enum { cudaEnableDefault = 0 };

cudaError_t
cudaGetDriverEntryPointByVersion(const char *symbol, void **function,
                                 unsigned version, unsigned long long flags,
                                 enum cudaDriverEntryPointQueryResult *result)
    SIM_SYMBOL(cudaGetDriverEntryPointByVersion);

/* Set what a kernel may use. */
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};

cudaError_t sim_function_set(enum cudaFuncAttribute attribute, int value);

/* Add what C alone cannot say. */
#ifdef __cplusplus
} // extern "C"

template <class F>
cudaError_t cudaFuncSetAttribute(F *, cudaFuncAttribute attribute, int value)
{
    return sim_function_set(attribute, value);
}

template <class T> cudaError_t cudaMalloc(T **out, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(out), bytes);
}

#include <simulated_kernel.h>
#endif

#endif
