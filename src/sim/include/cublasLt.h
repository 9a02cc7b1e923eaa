/* The simulator's stand-in for cuBLASLt: the part that Folio calls, with the
 * numbers of the original. Source: the cuBLAS manual. */
#ifndef FOLIO_SIM_CUBLASLT_H
#define FOLIO_SIM_CUBLASLT_H

#include "cuda_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Name what a call can answer. */
typedef enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
} cublasStatus_t;

const char *cublasLtGetStatusString(cublasStatus_t status)
    SIM_SYMBOL(cublasLtGetStatusString);

typedef struct sim_blas *cublasLtHandle_t;

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
    SIM_SYMBOL(cublasLtCreate);
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
    SIM_SYMBOL(cublasLtDestroy);

/* Describe matrices and their product. */
typedef enum cudaDataType_t {
    CUDA_R_32F = 0,
    CUDA_R_16F = 2,
    CUDA_R_16BF = 14,
} cudaDataType_t;

typedef enum cublasComputeType_t {
    CUBLAS_COMPUTE_32F = 68,
} cublasComputeType_t;

typedef enum cublasOperation_t {
    CUBLAS_OP_N = 0,
    CUBLAS_OP_T = 1,
} cublasOperation_t;

/* Column-major: column c begins at element c ld. */
typedef struct cublasLtMatrixLayoutOpaque_t {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
} cublasLtMatrixLayoutOpaque_t, *cublasLtMatrixLayout_t;

typedef struct cublasLtMatmulDescOpaque_t {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t a, b;
} cublasLtMatmulDescOpaque_t, *cublasLtMatmulDesc_t;

typedef enum cublasLtMatmulDescAttributes_t {
    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_TRANSB = 4,
} cublasLtMatmulDescAttributes_t;

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout,
                                        cudaDataType_t type, uint64_t rows,
                                        uint64_t cols, int64_t ld)
    SIM_SYMBOL(cublasLtMatrixLayoutInit);
cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t description,
                                      cublasComputeType_t compute,
                                      cudaDataType_t scale)
    SIM_SYMBOL(cublasLtMatmulDescInit);
cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute,
    const void *value, size_t bytes) SIM_SYMBOL(cublasLtMatmulDescSetAttribute);

/* Choose a kernel for a product. */
typedef struct cublasLtMatmulPreferenceOpaque_t {
    uint64_t workspace_bytes;
    uint32_t alignment[4]; /* of A, B, C, D, in bytes */
} cublasLtMatmulPreferenceOpaque_t, *cublasLtMatmulPreference_t;

typedef enum cublasLtMatmulPreferenceAttributes_t {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
} cublasLtMatmulPreferenceAttributes_t;

/* Here: a fingerprint of the product, and what was preferred. */
typedef struct cublasLtMatmulAlgo_t {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;

typedef struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

cublasStatus_t
cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference)
    SIM_SYMBOL(cublasLtMatmulPreferenceInit);
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
    size_t bytes) SIM_SYMBOL(cublasLtMatmulPreferenceSetAttribute);
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted,
    cublasLtMatmulHeuristicResult_t *results, int *found)
    SIM_SYMBOL(cublasLtMatmulAlgoGetHeuristic);

/* Multiply matrices. */
/* D = alpha op(A) op(B) + beta C; alpha and beta are the host's. */
cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
               const void *alpha, const void *A, cublasLtMatrixLayout_t a,
               const void *B, cublasLtMatrixLayout_t b, const void *beta,
               const void *C, cublasLtMatrixLayout_t c, void *D,
               cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
               void *workspace, size_t workspace_bytes, cudaStream_t stream)
    SIM_SYMBOL(cublasLtMatmul);

#ifdef __cplusplus
}
#endif

#endif
