/* The host side of the verso: its device, how it fails, and all its ops. */
#ifndef FOLIO_CUDA_DEVICE_CUH
#define FOLIO_CUDA_DEVICE_CUH

#include "cuda/kernel.cuh"

#include <cublasLt.h>

extern "C" {
#include "common/backend.h"
#include "common/memory.h"
#include "cuda/cuda.h"
}

/* Name the backend after its side. */
#ifdef FO_SIMULATED
#define FO_BACKEND      fo_backend_sim
#define FO_BACKEND_NAME "sim"
#else
#define FO_BACKEND      fo_backend_cuda
#define FO_BACKEND_NAME "cuda"
#endif

namespace FO_SIDE
{

/* Hold what a device owns. */
struct slabs; /* its memory, laid open in slabs.cuh */

/* Remember which kernels cuBLASLt chose. */
enum { LINEAR_PLANS = 64 };

/* All that the choice depends on; no padding, so that bytes compare. */
struct linear_shape {
    int32_t type, T, R, C, stride;
    uint32_t aligned[3]; /* bytes: weights, x, out */
};

struct linear_plans {
    struct {
        linear_shape shape;
        cublasLtMatmulAlgo_t algorithm;
    } made[LINEAR_PLANS];
    unsigned count; /* made so far; the oldest are overwritten */
};

struct cuda_device {
    fo_cuda_settings settings;
    int ordinal;           /* the GPU's number                        */
    int multiprocessors;   /* of the GPU                              */
    size_t shared_limit;   /* bytes of shared memory a block may have */
    cudaStream_t stream;   /* all work of the device, in order        */
    cublasLtHandle_t blas; /* matrix products                         */
    linear_plans plans;    /* and what is known of them               */
    slabs *memory;
};

inline cuda_device *of(fo_device *device)
{
    return reinterpret_cast<cuda_device *>(device);
}

/* Turn a fault of CUDA into an error. */
/* FO_DEVICE, or FO_NOMEM where CUDA is out of memory, with the call and what
 * CUDA says of it; clears CUDA's own note. */
fo_status fault(cudaError_t code, const char *call, const char *file, int line,
                fo_error *error);
fo_status fault_of_blas(cublasStatus_t code, const char *call, const char *file,
                        int line, fo_error *error);

/* Return from the function, with `error` filled, if the call fails. */
#define FO_TRY_CUDA(call)                                                      \
    do {                                                                       \
        cudaError_t fo_code = (call);                                          \
        if (fo_code != cudaSuccess)                                            \
            return FO_SIDE::fault(fo_code, #call, __FILE__, __LINE__, error);  \
    } while (0)

#define FO_TRY_BLAS(call)                                                      \
    do {                                                                       \
        cublasStatus_t fo_code = (call);                                       \
        if (fo_code != CUBLAS_STATUS_SUCCESS)                                  \
            return FO_SIDE::fault_of_blas(fo_code, #call, __FILE__, __LINE__,  \
                                          error);                              \
    } while (0)

inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whether the launch just made was accepted; it does not wait. */
fo_status check_launch(const char *kernel, fo_error *error);

/* Declare the life of the CUDA device. */
fo_status cuda_open(const fo_device_options *options, fo_device **out,
                    fo_error *error);
void cuda_close(fo_device **device);
void cuda_info(fo_device *device, fo_device_info *info);
fo_status cuda_alloc(fo_device *device, size_t bytes, void **out,
                     fo_error *error);
void cuda_free(fo_device *device, void *data);
fo_status cuda_map(fo_device *device, const void *host, size_t bytes,
                   const void **out, fo_error *error);
void cuda_unmap(fo_device *device, const void *data);
fo_status cuda_upload(fo_device *device, void *to, const void *from_host,
                      size_t bytes, fo_error *error);
fo_status cuda_download(fo_device *device, void *to_host, const void *from,
                        size_t bytes, fo_error *error);
fo_status cuda_copy(fo_device *device, void *to, const void *from, size_t bytes,
                    fo_error *error);
fo_status cuda_fill(fo_device *device, void *to, uint8_t byte, size_t bytes,
                    fo_error *error);

/* In reserve.cu, by granules of the driver. */
fo_status cuda_reserve(fo_device *device, size_t bytes, void **out,
                       fo_error *error);
fo_status cuda_commit(fo_device *device, void *reserved, size_t bytes,
                      fo_error *error);
void cuda_unreserve(fo_device *device, void *reserved);

fo_status cuda_sync(fo_device *device, fo_error *error);
fo_status cuda_graph_begin(fo_device *device, fo_error *error);
fo_status cuda_graph_end(fo_device *device, void **graph, fo_error *error);
fo_status cuda_graph_launch(fo_device *device, void *graph, fo_error *error);
void cuda_graph_free(fo_device *device, void *graph);
size_t cuda_workspace_bytes(fo_device *device, const fo_workload *workload);

/* Declare the CUDA ops. */
fo_status cuda_embed(fo_device *device, float *out /* (T, C) */,
                     const int32_t *tokens /* (T) */,
                     const fo_weight *table /* (V, C) */, int T,
                     fo_error *error);
fo_status cuda_rmsnorm(fo_device *device, float *out /* (T, C) */,
                       const float *x /* (T, C) */,
                       const float *weight /* (C) */, int T, int C,
                       float epsilon, fo_error *error);
fo_status cuda_add(fo_device *device, float *out /* (n), may be x or y */,
                   const float *x /* (n) */, const float *y /* (n) */,
                   int64_t n, fo_error *error);
fo_status cuda_rope(fo_device *device, float *x /* (T, heads, D) */,
                    const fo_rope *rope, fo_error *error);
fo_status cuda_silu_mul(fo_device *device, float *out /* (T, F) */,
                        const float *gate /* (T, F), stride */,
                        const float *up /* (T, F), stride */, int T, int F,
                        int stride, fo_error *error);
fo_status cuda_gather_rows(fo_device *device, float *out /* (n, C) */,
                           const float *x /* (T, C) */,
                           const int32_t *rows /* (n) */, int n, int C,
                           fo_error *error);
fo_status cuda_kv_write(fo_device *device, const fo_kv *kv,
                        const float *k /* (T, K, D), stride */,
                        const float *v /* (T, K, D), stride */, int stride,
                        const int64_t *slots /* (T) */, int T, fo_error *error);
fo_status cuda_kv_copy(fo_device *device, const fo_kv *kv,
                       const int32_t *from /* (n) */,
                       const int32_t *to /* (n) */, int n, fo_error *error);

/* Up to 32 tokens the weights stream, and an output has the same bits for any
 * T; beyond, they go through cuBLASLt. FO_ARG as on the CPU. */
fo_status cuda_linear(fo_device *device, float *out /* (T, R) */,
                      const float *x /* (T, C) */, const fo_weight *weight,
                      int T, fo_workspace workspace, fo_error *error);
size_t cuda_linear_workspace(const fo_workload *workload);

/* The token that the CPU draws, bit for bit; it needs no workspace. -1 and
 * FO_ARG as there. */
fo_status cuda_sample(fo_device *device, int32_t *tokens /* (N) */,
                      const float *logits /* (N, V) */,
                      const fo_sampling *sampling /* (N) */, int N, int V,
                      fo_workspace workspace, fo_error *error);

fo_status cuda_attention_decode(fo_device *device, float *out /* (N, H, D) */,
                                const float *q /* (N, H, D), q_stride */,
                                const fo_kv *kv, const fo_block_tables *tables,
                                const fo_attention *attention,
                                fo_workspace workspace, fo_error *error);
size_t cuda_attention_workspace(const fo_workload *workload);

fo_status cuda_attention_prefill(fo_device *device, float *out /* (T, H, D) */,
                                 const float *q /* (T, H, D), q_stride */,
                                 const fo_kv *kv, const fo_block_tables *tables,
                                 const fo_attention *attention,
                                 fo_workspace workspace, fo_error *error);
fo_status cuda_attention_contiguous(fo_device *device,
                                    float *out /* (T, H, D) */,
                                    const float *q /* (T, H, D), q_stride */,
                                    const fo_kv *kv,
                                    const fo_attention *attention,
                                    fo_workspace workspace, fo_error *error);
size_t cuda_contiguous_workspace(const fo_workload *workload);

size_t cuda_pool_bytes(fo_device *device, const fo_pool_shape *shape);
fo_status cuda_pool_open(fo_device *device, const fo_pool_shape *shape,
                         fo_pool **out, fo_error *error);
void cuda_pool_close(fo_device *device, fo_pool **pool);
fo_pool_view cuda_pool_view(fo_device *device, const fo_pool *pool);
fo_status cuda_pool_extend(fo_device *device, fo_pool *pool,
                           const fo_pool_request *requests /* (n) */,
                           fo_pool_grant *grants /* (n) */, int n,
                           fo_error *error);
fo_status cuda_pool_release(fo_device *device, fo_pool *pool,
                            const fo_pool_keep *keeps /* (n) */, int n,
                            fo_error *error);
fo_status cuda_pool_share(fo_device *device, fo_pool *pool,
                          const fo_pool_fork *forks /* (n) */, int n,
                          fo_error *error);
fo_status cuda_pool_resize(fo_device *device, fo_pool *pool, int blocks,
                           fo_error *error);
fo_status cuda_pool_stats(fo_device *device, const fo_pool *pool,
                          fo_pool_stats *stats, fo_error *error);
fo_status cuda_pool_check(fo_device *device, const fo_pool *pool,
                          fo_error *error);

fo_status cuda_step_request(fo_device *device, const fo_steps *steps,
                            fo_error *error);
fo_status cuda_step_place(fo_device *device, const fo_steps *steps,
                          fo_error *error);
fo_status cuda_step_append(fo_device *device, const fo_steps *steps,
                           fo_error *error);

} // namespace FO_SIDE

#endif
