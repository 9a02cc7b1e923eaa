#include "cuda/device.cuh"
#include "cuda/slabs.cuh"

#include <assert.h>
#include <stdio.h>
#include <string.h>

namespace FO_SIDE
{

/* Name the call that failed. */
fo_status fault(cudaError_t code, const char *call, const char *file, int line,
                fo_error *error)
{
    (void)cudaGetLastError();
    fo_status status = code == cudaErrorMemoryAllocation ? FO_NOMEM : FO_DEVICE;
    return fo_error_set(error, status, 0, 0, file, line, "%.*s: %s",
                        (int)strcspn(call, "("), call,
                        cudaGetErrorString(code));
}

fo_status fault_of_blas(cublasStatus_t code, const char *call, const char *file,
                        int line, fo_error *error)
{
    (void)cudaGetLastError();
    return fo_error_set(error, FO_DEVICE, 0, 0, file, line, "%.*s: %s",
                        (int)strcspn(call, "("), call,
                        cublasLtGetStatusString(code));
}

fo_status check_launch(const char *kernel, fo_error *error)
{
    cudaError_t code = cudaGetLastError();
    if (code == cudaSuccess)
        return FO_OK;
    return fo_fail(error, FO_DEVICE, "kernel %s: %s", kernel,
                   cudaGetErrorString(code));
}

/* Open the parts of a device. */
static fo_status find_gpu(fo_error *error)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaSuccess && count > 0)
        return FO_OK;
    (void)cudaGetLastError();
    return fo_fail(error, FO_DEVICE, "no GPU: %s",
                   code == cudaSuccess ? "none is visible"
                                       : cudaGetErrorString(code));
}

/* The first GPU: CUDA_VISIBLE_DEVICES says which that is. */
static fo_status open_parts(cuda_device *cuda, uint64_t limit, fo_error *error)
{
    int shared;
    FO_TRY_CUDA(cudaSetDevice(cuda->ordinal));
    FO_TRY_CUDA(cudaDeviceGetAttribute(
        &cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->ordinal));
    FO_TRY_CUDA(cudaDeviceGetAttribute(
        &shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->ordinal));
    cuda->shared_limit = (size_t)shared;
    FO_TRY_CUDA(
        cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
    FO_TRY_BLAS(cublasLtCreate(&cuda->blas));
    return slabs_open(cuda->ordinal, limit, &cuda->memory, error);
}

/* Open and close the CUDA device. */
fo_status cuda_open(const fo_device_options *options, fo_device **out,
                    fo_error *error)
{
    *out = nullptr;
    fo_status status = find_gpu(error);
    if (status != FO_OK)
        return status;
    cuda_device *cuda = (cuda_device *)fo_memory_alloc(1, sizeof *cuda, error);
    if (!cuda)
        return FO_NOMEM;
    *out = &cuda->settings.device;
    status = open_parts(cuda, options ? options->memory_limit : 0, error);
    if (status != FO_OK) {
        cuda_close(out);
        return status;
    }
    cuda->settings.device.backend = &FO_BACKEND;
    return FO_OK;
}

void cuda_close(fo_device **device)
{
    if (!*device)
        return;
    cuda_device *cuda = of(*device);
    slabs_close(&cuda->memory);
    if (cuda->blas)
        (void)cublasLtDestroy(cuda->blas);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    fo_memory_free(cuda);
    *device = nullptr;
}

/* Report the memory of the GPU. */
void cuda_info(fo_device *device, fo_device_info *info)
{
    const cuda_device *cuda = of(device);
    *info = {};
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, cuda->ordinal) == cudaSuccess)
        snprintf(info->name, sizeof info->name, "%.*s",
                 (int)sizeof info->name - 1, properties.name);
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess)
        (void)cudaGetLastError();
    uint64_t limit = cuda->memory->limit;
    info->memory_own = cuda->memory->own;
    info->memory_total = limit ? limit : total;
    info->memory_free = limit ? limit - cuda->memory->own : free;
}

/* Hand out GPU memory. */
fo_status cuda_alloc(fo_device *device, size_t bytes, void **out,
                     fo_error *error)
{
    return slabs_take(of(device)->memory, bytes, out, error);
}

void cuda_free(fo_device *device, void *data)
{
    slabs_give(of(device)->memory, data, of(device)->stream);
}

/* A GPU computes in its own memory: what is mapped is a copy there. */
fo_status cuda_map(fo_device *device, const void *host, size_t bytes,
                   const void **out, fo_error *error)
{
    void *copy;
    *out = nullptr;
    fo_status status = cuda_alloc(device, bytes, &copy, error);
    if (status != FO_OK)
        return status;
    status = cuda_upload(device, copy, host, bytes, error);
    if (status != FO_OK) {
        cuda_free(device, copy);
        return status;
    }
    *out = copy;
    return FO_OK;
}

void cuda_unmap(fo_device *device, const void *data)
{
    cuda_free(device, const_cast<void *>(data));
}

/* Move bytes through the stream. */
/* From pageable memory, so that the call returns when the bytes have left it.
 */
fo_status cuda_upload(fo_device *device, void *to, const void *from_host,
                      size_t bytes, fo_error *error)
{
    if (bytes > 0)
        FO_TRY_CUDA(cudaMemcpyAsync(
            to, from_host, bytes, cudaMemcpyHostToDevice, of(device)->stream));
    return FO_OK;
}

fo_status cuda_download(fo_device *device, void *to_host, const void *from,
                        size_t bytes, fo_error *error)
{
    if (bytes == 0)
        return FO_OK;
    FO_TRY_CUDA(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost,
                                of(device)->stream));
    return cuda_sync(device, error);
}

/* Move bytes within the GPU. */
fo_status cuda_copy(fo_device *device, void *to, const void *from, size_t bytes,
                    fo_error *error)
{
    if (bytes > 0)
        FO_TRY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice,
                                    of(device)->stream));
    return FO_OK;
}

fo_status cuda_fill(fo_device *device, void *to, uint8_t byte, size_t bytes,
                    fo_error *error)
{
    if (bytes > 0)
        FO_TRY_CUDA(cudaMemsetAsync(to, byte, bytes, of(device)->stream));
    return FO_OK;
}

fo_status cuda_sync(fo_device *device, fo_error *error)
{
    FO_TRY_CUDA(cudaStreamSynchronize(of(device)->stream));
    return FO_OK;
}

/* Record the stream into a graph. */
fo_status cuda_graph_begin(fo_device *device, fo_error *error)
{
    FO_TRY_CUDA(cudaStreamBeginCapture(of(device)->stream,
                                       cudaStreamCaptureModeRelaxed));
    return FO_OK;
}

fo_status cuda_graph_end(fo_device *device, void **out, fo_error *error)
{
    cudaGraph_t graph;
    cudaGraphExec_t runnable;
    *out = nullptr;
    FO_TRY_CUDA(cudaStreamEndCapture(of(device)->stream, &graph));
    cudaError_t code = cudaGraphInstantiate(&runnable, graph, 0);
    (void)cudaGraphDestroy(graph);
    if (code != cudaSuccess)
        return fault(code, "cudaGraphInstantiate", __FILE__, __LINE__, error);
    *out = runnable;
    return FO_OK;
}

fo_status cuda_graph_launch(fo_device *device, void *graph, fo_error *error)
{
    FO_TRY_CUDA(cudaGraphLaunch((cudaGraphExec_t)graph, of(device)->stream));
    return FO_OK;
}

void cuda_graph_free(fo_device *device, void *graph)
{
    if (!graph)
        return;
    (void)cudaStreamSynchronize(of(device)->stream);
    (void)cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

/* Measure the workspace of the CUDA device. */
size_t cuda_workspace_bytes(fo_device *device, const fo_workload *workload)
{
    (void)device;
    size_t largest = cuda_linear_workspace(workload);
    largest = larger(largest, cuda_attention_workspace(workload));
    largest = larger(largest, cuda_contiguous_workspace(workload));
    return largest;
}

} // namespace FO_SIDE
