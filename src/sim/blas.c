#include "common/dtype.h"
#include "common/memory.h"
#include "sim/arena.h"
#include "sim/include/cublasLt.h"
#include "sim/runtime.h"

#include <cblas.h>
#include <limits.h>
#include <string.h>

/* Open the library. */
struct sim_blas {
    int open;
};

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library is not initialised";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "an allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an argument is wrong";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "no kernel does this";
    default:
        return "the execution failed";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle =
        sim_fails(__func__) ? NULL : fo_memory_alloc(1, sizeof **handle, NULL);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    fo_memory_free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

/* Keep descriptions. */
cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout,
                                        cudaDataType_t type, uint64_t rows,
                                        uint64_t cols, int64_t ld)
{
    *layout = (cublasLtMatrixLayoutOpaque_t){type, rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t description,
                                      cublasComputeType_t compute,
                                      cudaDataType_t scale)
{
    *description =
        (cublasLtMatmulDescOpaque_t){.compute = compute, .scale = scale};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                               cublasLtMatmulDescAttributes_t attribute,
                               const void *value, size_t bytes)
{
    if (bytes != sizeof(cublasOperation_t))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(attribute == CUBLASLT_MATMUL_DESC_TRANSA ? &description->a
                                                    : &description->b,
           value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference)
{
    *preference =
        (cublasLtMatmulPreferenceOpaque_t){.alignment = {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
    size_t bytes)
{
    int which = (int)attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    void *place = which < 0 ? (void *)&preference->workspace_bytes
                            : &preference->alignment[which];
    size_t room = which < 0 ? sizeof preference->workspace_bytes
                            : sizeof preference->alignment[0];
    if (bytes != room)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(place, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

/* Judge a product. */
typedef struct product {
    cublasLtMatmulDescOpaque_t how;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    const void *A, *B;
    float *D;
    float alpha, beta;
    void *workspace;
    size_t workspace_bytes;
    float *wide_a, *wide_b; /* room for A and B in float32 */
} product;

/* The shape of op(matrix). */
static uint64_t op_rows(const cublasLtMatrixLayoutOpaque_t *of,
                        cublasOperation_t op)
{
    return op == CUBLAS_OP_N ? of->rows : of->cols;
}

static uint64_t op_cols(const cublasLtMatrixLayoutOpaque_t *of,
                        cublasOperation_t op)
{
    return op == CUBLAS_OP_N ? of->cols : of->rows;
}

static bool sane(const cublasLtMatrixLayoutOpaque_t *of)
{
    return of->rows > 0 && of->cols > 0 && of->rows <= INT_MAX &&
           of->cols <= INT_MAX && of->ld <= INT_MAX &&
           of->ld >= (int64_t)of->rows;
}

static cublasStatus_t judge(const product *p,
                            const cublasLtMatrixLayoutOpaque_t *c)
{
    if (!sane(&p->a) || !sane(&p->b) || !sane(&p->d) || !sane(c) ||
        op_rows(&p->a, p->how.a) != p->d.rows ||
        op_cols(&p->b, p->how.b) != p->d.cols ||
        op_cols(&p->a, p->how.a) != op_rows(&p->b, p->how.b) ||
        c->rows != p->d.rows || c->cols != p->d.cols)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->how.compute != CUBLAS_COMPUTE_32F || p->how.scale != CUDA_R_32F ||
        p->a.type != p->b.type || p->d.type != CUDA_R_32F ||
        c->type != CUDA_R_32F || c->ld != p->d.ld)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

/* Choose a kernel and remember for what. */
/* Words that tell one product from another. */
enum { PRINTS = 4 };

static void fingerprint(const product *p, uint64_t prints[PRINTS])
{
    prints[0] = p->d.rows << 32 | p->d.cols;
    prints[1] = op_cols(&p->a, p->how.a) << 32 | (uint64_t)p->d.ld;
    prints[2] = (uint64_t)p->a.ld << 32 | (uint64_t)p->b.ld;
    prints[3] = (uint64_t)p->a.type << 32 | (uint64_t)p->how.a << 16 |
                (uint64_t)p->how.b;
}

/* Whether the 16-bit numbers of each column begin at a whole word. */
static bool in_pairs(const product *p)
{
    return p->a.type == CUDA_R_32F || (p->a.ld % 2 == 0 && p->b.ld % 2 == 0);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted,
    cublasLtMatmulHeuristicResult_t *results, int *found)
{
    *found = 0;
    if (sim_fails(__func__))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    product p = {.how = *description, .a = *a, .b = *b, .d = *d};
    cublasStatus_t status = judge(&p, c);
    if (status != CUBLAS_STATUS_SUCCESS || wanted < 1)
        return status;
    if (!in_pairs(&p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *results = (cublasLtMatmulHeuristicResult_t){
        .workspaceSize = preference->workspace_bytes, .wavesCount = 1};
    fingerprint(&p, results->algo.data);
    results->algo.data[PRINTS] = preference->workspace_bytes;
    memcpy(&results->algo.data[PRINTS + 1], preference->alignment,
           sizeof preference->alignment);
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* Hold a call to what was chosen. */
static bool as_chosen(const product *p, const cublasLtMatmulAlgo_t *chosen)
{
    uint64_t prints[PRINTS];
    uint32_t alignment[4];
    fingerprint(p, prints);
    memcpy(alignment, &chosen->data[PRINTS + 1], sizeof alignment);
    return memcmp(prints, chosen->data, sizeof prints) == 0 &&
           (uintptr_t)p->workspace % 256 == 0 &&
           p->workspace_bytes >= chosen->data[PRINTS] &&
           (uintptr_t)p->A % alignment[0] == 0 &&
           (uintptr_t)p->B % alignment[1] == 0 &&
           (uintptr_t)p->D % alignment[2] == 0 &&
           (uintptr_t)p->D % alignment[3] == 0;
}

/* Multiply on the host. */
static size_t size_of(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

/* Whether all columns of a matrix are device memory that may be used. */
static bool check(const cublasLtMatrixLayoutOpaque_t *of, const void *data,
                  bool write)
{
    size_t size = size_of(of->type);
    const char *column = data;
    for (uint64_t i = 0; i < of->cols; i++, column += (size_t)of->ld * size)
        if (!sim_arena_check_host(column, of->rows * size, write,
                                  "cublasLtMatmul"))
            return false;
    return true;
}

/* The matrix in float32, its columns without gaps. */
static void widen(float *wide, const cublasLtMatrixLayoutOpaque_t *of,
                  const void *data)
{
    fo_dtype dtype = of->type == CUDA_R_32F   ? FO_F32
                     : of->type == CUDA_R_16F ? FO_F16
                                              : FO_BF16;
    const char *column = data;
    for (uint64_t i = 0; i < of->cols; i++) {
        fo_dtype_load(dtype, column, wide + i * of->rows, (int64_t)of->rows);
        column += (size_t)of->ld * size_of(of->type);
    }
}

static CBLAS_TRANSPOSE turn(cublasOperation_t op)
{
    return op == CUBLAS_OP_N ? CblasNoTrans : CblasTrans;
}

static void run(void *argument)
{
    const product *p = argument;
    if (!check(&p->a, p->A, false) || !check(&p->b, p->B, false) ||
        !check(&p->d, p->D, true) ||
        (p->workspace_bytes &&
         !sim_arena_check_host(p->workspace, p->workspace_bytes, true,
                               "cublasLtMatmul")))
        return;
    widen(p->wide_a, &p->a, p->A);
    widen(p->wide_b, &p->b, p->B);
    cblas_sgemm(CblasColMajor, turn(p->how.a), turn(p->how.b), (int)p->d.rows,
                (int)p->d.cols, (int)op_cols(&p->a, p->how.a), p->alpha,
                p->wide_a, (int)p->a.rows, p->wide_b, (int)p->b.rows, p->beta,
                p->D, (int)p->d.ld);
}

static void destroy(void *argument)
{
    product *p = argument;
    fo_memory_free(p->wide_a);
    fo_memory_free(p->wide_b);
    fo_memory_free(p);
}

static cublasStatus_t submit(const product *wanted, cudaStream_t stream)
{
    product *p = fo_memory_alloc(1, sizeof *p, NULL);
    if (!p)
        return CUBLAS_STATUS_ALLOC_FAILED;
    *p = *wanted;
    p->wide_a = fo_memory_alloc(p->a.rows * p->a.cols, sizeof(float), NULL);
    p->wide_b = fo_memory_alloc(p->b.rows * p->b.cols, sizeof(float), NULL);
    if (!p->wide_a || !p->wide_b) {
        destroy(p);
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    sim_stream_submit(stream, run, p, destroy);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
               const void *alpha, const void *A, cublasLtMatrixLayout_t a,
               const void *B, cublasLtMatrixLayout_t b, const void *beta,
               const void *C, cublasLtMatrixLayout_t c, void *D,
               cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
               void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    if (sim_fails(__func__))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    product wanted = {
        .how = *description,
        .a = *a,
        .b = *b,
        .d = *d,
        .A = A,
        .B = B,
        .D = D,
        .workspace = workspace,
        .workspace_bytes = workspace_bytes,
    };
    memcpy(&wanted.alpha, alpha, sizeof wanted.alpha);
    memcpy(&wanted.beta, beta, sizeof wanted.beta);
    cublasStatus_t status = judge(&wanted, c);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (C != D || !as_chosen(&wanted, algorithm))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return submit(&wanted, stream);
}
