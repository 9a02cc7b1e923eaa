#include "cuda/linear.cuh"
#include "cuda/linear_span.cuh"

#include <string.h>

namespace FO_SIDE
{

static constexpr int THREADS = 256;

/* Share out the workspace. */
/* Bytes cuBLASLt may use for itself. */
static constexpr size_t BLAS_BYTES = 8 << 20;

/* All parts begin at a multiple of this. */
static constexpr size_t ALIGNED = 256;

/* Most floats of a panel of unpacked weights, unless 16 rows have more. */
static constexpr int PANEL_FLOATS = 8 << 20;
static constexpr int PANEL_LEAST_ROWS = 16;

static size_t rounded(size_t bytes)
{
    return (bytes + ALIGNED - 1) / ALIGNED * ALIGNED;
}

/* Bytes of one half of x, (T, C), in 16-bit numbers. */
static size_t half_bytes(int T, int C)
{
    return rounded((size_t)T * (size_t)C * 2);
}

static int panel_rows(int R, int C)
{
    int rows = PANEL_FLOATS / C;
    rows = rows < PANEL_LEAST_ROWS ? PANEL_LEAST_ROWS : rows;
    return rows < R ? rows : R;
}

static size_t bytes_of(const linear_product &p)
{
    size_t panel = sizeof(float) * (size_t)panel_rows(p.R, p.C) * (size_t)p.C;
    size_t halves = 2 * half_bytes(p.T, p.C) + (size_t)p.T * sizeof(float);
    bool plain = p.dtype == FO_F16 || p.dtype == FO_BF16;
    return ALIGNED + BLAS_BYTES +
           (p.dtype == FO_F32 ? 0
            : plain           ? halves
                              : panel);
}

/* As many or more, for any type and any T, R and C within the workload. */
size_t linear_blas_bytes(const fo_workload *workload)
{
    size_t T = (size_t)workload->max_tokens;
    size_t C = (size_t)workload->max_columns;
    size_t panel = PANEL_LEAST_ROWS * C, whole = (size_t)workload->max_rows * C;
    panel = panel > PANEL_FLOATS ? panel : PANEL_FLOATS;
    panel = sizeof(float) * (panel < whole ? panel : whole);
    size_t halves = 2 * rounded(2 * T * C) + T * sizeof(float);
    return ALIGNED + BLAS_BYTES + (panel > halves ? panel : halves);
}

/* Describe a product to cuBLASLt. */
/* out (T, R), rows `stride` floats apart, becomes or has added to it
 * x (T, C) times the transpose of w (R, C); x and w are of `type`. */
struct blas_product {
    cudaDataType_t type;
    float *out;
    const void *x, *w;
    int T, R, C, stride;
    bool add;
};

struct blas_terms {
    cublasLtMatmulDescOpaque_t how;
    cublasLtMatrixLayoutOpaque_t w, x, out;
};

static fo_status describe(blas_terms *terms, const blas_product &p,
                          fo_error *error)
{
    cublasOperation_t turned = CUBLAS_OP_T;
    FO_TRY_BLAS(
        cublasLtMatmulDescInit(&terms->how, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    FO_TRY_BLAS(cublasLtMatmulDescSetAttribute(
        &terms->how, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned));
    FO_TRY_BLAS(cublasLtMatrixLayoutInit(&terms->w, p.type, (uint64_t)p.C,
                                         (uint64_t)p.R, p.C));
    FO_TRY_BLAS(cublasLtMatrixLayoutInit(&terms->x, p.type, (uint64_t)p.C,
                                         (uint64_t)p.T, p.C));
    FO_TRY_BLAS(cublasLtMatrixLayoutInit(&terms->out, CUDA_R_32F, (uint64_t)p.R,
                                         (uint64_t)p.T, p.stride));
    return FO_OK;
}

/* Ask cuBLASLt which of its kernels to run. */
/* Bytes, up to 256, that an address is a multiple of. */
static uint32_t alignment(const void *address)
{
    uintptr_t bits = (uintptr_t)address | 256;
    return (uint32_t)(bits & ~(bits - 1));
}

static linear_shape shape_of(const blas_product &p)
{
    return {p.type,   p.T,
            p.R,      p.C,
            p.stride, {alignment(p.w), alignment(p.x), alignment(p.out)}};
}

static fo_status wish(cublasLtMatmulPreferenceOpaque_t *wish,
                      const linear_shape &shape, fo_error *error)
{
    /* Of the weights, of x, and of the output, which is read and written. */
    static const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        int which;
    } places[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 0},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 1},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 2},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 2}};
    FO_TRY_BLAS(cublasLtMatmulPreferenceInit(wish));
    FO_TRY_BLAS(cublasLtMatmulPreferenceSetAttribute(
        wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &BLAS_BYTES,
        sizeof BLAS_BYTES));
    for (const auto &place : places)
        FO_TRY_BLAS(cublasLtMatmulPreferenceSetAttribute(
            wish, place.attribute, &shape.aligned[place.which],
            sizeof shape.aligned[0]));
    return FO_OK;
}

static fo_status choose(cuda_device *cuda, blas_terms *terms,
                        const blas_product &p, cublasLtMatmulAlgo_t *algorithm,
                        fo_error *error)
{
    linear_shape shape = shape_of(p);
    linear_plans &plans = cuda->plans;
    for (unsigned i = 0; i < plans.count && i < LINEAR_PLANS; i++)
        if (memcmp(&plans.made[i].shape, &shape, sizeof shape) == 0) {
            *algorithm = plans.made[i].algorithm;
            return FO_OK;
        }
    cublasLtMatmulPreferenceOpaque_t preference;
    fo_status status = wish(&preference, shape, error);
    if (status != FO_OK)
        return status;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t answer = cublasLtMatmulAlgoGetHeuristic(
        cuda->blas, &terms->how, &terms->w, &terms->x, &terms->out, &terms->out,
        &preference, 1, &found, &count);
    bool none = answer == CUBLAS_STATUS_NOT_SUPPORTED;
    if (answer != CUBLAS_STATUS_SUCCESS && !none)
        return fault_of_blas(answer, "cublasLtMatmulAlgoGetHeuristic", __FILE__,
                             __LINE__, error);
    if (none || count == 0)
        return fo_fail(error, FO_UNSUPPORTED,
                       "cuBLASLt has no kernel for %d tokens, %d rows and %d "
                       "columns",
                       p.T, p.R, p.C);
    *algorithm = found.algo;
    auto &next = plans.made[plans.count++ % LINEAR_PLANS];
    next.shape = shape;
    next.algorithm = found.algo;
    return FO_OK;
}

/* Multiply by cuBLASLt. */
static fo_status multiply(cuda_device *cuda, const blas_product &p, void *room,
                          fo_error *error)
{
    blas_terms terms;
    cublasLtMatmulAlgo_t algorithm;
    fo_status status = describe(&terms, p, error);
    if (status == FO_OK)
        status = choose(cuda, &terms, p, &algorithm, error);
    if (status != FO_OK)
        return status;
    float one = 1, kept = p.add ? 1 : 0;
    FO_TRY_BLAS(cublasLtMatmul(cuda->blas, &terms.how, &one, p.w, &terms.w, p.x,
                               &terms.x, &kept, p.out, &terms.out, p.out,
                               &terms.out, &algorithm, room, BLAS_BYTES,
                               cuda->stream));
    return FO_OK;
}

/* Know the halves. */
template <class T> struct split_type;
template <> struct split_type<__half> {
    static constexpr cudaDataType_t type = CUDA_R_16F;
    static constexpr bool scaled = true;
};
template <> struct split_type<__nv_bfloat16> {
    static constexpr cudaDataType_t type = CUDA_R_16BF;
    static constexpr bool scaled = false;
};

/* Scale a token into the range of a half. */
/* Bring the largest number of a token near the top of the half's range. */
static __device__ float scale_of_token(float largest)
{
    if (largest == 0 || (largest >= 0x1p-2f && largest < 0x1p15f))
        return 1.0f;
    int exponent = (int)(__float_as_uint(largest) >> 23) - 127;
    int power = min(14 - exponent, 126);
    return __uint_as_float((uint32_t)(power + 127) << 23);
}

static __device__ float largest_finite(const float *x, int C, float *parts)
{
    float largest = 0;
    for (int c = (int)threadIdx.x; c < C; c += THREADS) {
        float size = fabsf(x[c]);
        if (size <= 0x1.fffffep127f)
            largest = fmaxf(largest, size);
    }
    largest = warp_max(largest);
    if (lane() == 0)
        parts[warp()] = largest;
    __syncthreads();
    return warp_max(lane() < THREADS / WARP ? parts[lane()] : 0.0f);
}

/* Split x into a high and a low part. */
struct split_memory {
    float parts[THREADS / WARP];
};

/* One block of threads a token. */
template <class T>
__global__ void linear_split(T *high /* (T, C) */, T *low /* (T, C) */,
                             float *scales /* (T) */,
                             const float *x /* (T, C) */, int C)
{
    int64_t row = (int64_t)blockIdx.x * C;
    float scale = 1;
    if (split_type<T>::scaled) {
        float *parts = shared_memory<split_memory>().parts;
        scale = scale_of_token(largest_finite(x + row, C, parts));
        if (threadIdx.x == 0)
            scales[blockIdx.x] = scale;
    }
    for (int c = (int)threadIdx.x; c < C; c += THREADS) {
        float value = x[row + c] * scale;
        T head = from_float<T>(value);
        float rest = value - to_float(head);
        high[row + c] = head;
        low[row + c] = from_float<T>(rest - rest == 0 ? rest : 0.0f);
    }
}

__global__ void linear_unscale(float *out /* (T, R) */,
                               const float *scales /* (T) */, int R)
{
    float scale = scales[blockIdx.x];
    if (scale == 1.0f)
        return;
    for (int r = (int)threadIdx.x; r < R; r += THREADS)
        out[(int64_t)blockIdx.x * R + r] *= 1.0f / scale;
}

/* Multiply halves of x with halves. */
template <class T>
static fo_status multiply_halves(cuda_device *cuda, const linear_product &p,
                                 char *room, fo_error *error)
{
    size_t bytes = half_bytes(p.T, p.C);
    T *high = reinterpret_cast<T *>(room + BLAS_BYTES);
    T *low = reinterpret_cast<T *>(room + BLAS_BYTES + bytes);
    float *scales = reinterpret_cast<float *>(room + BLAS_BYTES + 2 * bytes);
    FO_LAUNCH(linear_split<T>, dim3((unsigned)p.T), dim3(THREADS),
              sizeof(split_memory), cuda->stream, high, low, scales, p.x, p.C);
    fo_status status = check_launch("linear_split", error);
    blas_product part = {
        split_type<T>::type, p.out, high, p.data, p.T, p.R, p.C, p.R, false};
    if (status == FO_OK)
        status = multiply(cuda, part, room, error);
    part.x = low;
    part.add = true;
    if (status == FO_OK)
        status = multiply(cuda, part, room, error);
    if (status != FO_OK || !split_type<T>::scaled)
        return status;
    FO_LAUNCH(linear_unscale, dim3((unsigned)p.T), dim3(THREADS), 0,
              cuda->stream, p.out, scales, p.R);
    return check_launch("linear_unscale", error);
}

/* Unpack a panel of blocks. */
template <fo_dtype dtype>
__global__ void linear_unpack(float *to /* (quads, 4) */, const char *from,
                              int64_t quads)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + (int)threadIdx.x;
    if (i >= quads)
        return;
    constexpr int bytes = block_span<dtype>::block_bytes;
    const uint16_t *block =
        reinterpret_cast<const uint16_t *>(from + i / 8 * bytes);
    int quad = (int)(i % 8), at = 1 + 2 * word_of<dtype>(quad);
    uint32_t word = block[at] | (uint32_t)block[at + 1] << 16;
    float w[4];
    unpack_word<dtype>(w, word, scale_of<dtype>(block[0]), quad);
    store_16(to + 4 * i, {__float_as_uint(w[0]), __float_as_uint(w[1]),
                          __float_as_uint(w[2]), __float_as_uint(w[3])});
}

template <fo_dtype dtype>
static fo_status multiply_panels(cuda_device *cuda, const linear_product &p,
                                 char *room, fo_error *error)
{
    float *panel = reinterpret_cast<float *>(room + BLAS_BYTES);
    int most = panel_rows(p.R, p.C);
    for (int r = 0; r < p.R; r += most) {
        int rows = most < p.R - r ? most : p.R - r;
        int64_t quads = (int64_t)rows * p.C / 4;
        FO_LAUNCH(linear_unpack<dtype>,
                  dim3((unsigned)((quads + THREADS - 1) / THREADS)),
                  dim3(THREADS), 0, cuda->stream, panel,
                  p.data + r * p.row_bytes, quads);
        fo_status status = check_launch("linear_unpack", error);
        blas_product part = {CUDA_R_32F, p.out + r, p.x, panel, p.T,
                             rows,       p.C,       p.R, false};
        if (status == FO_OK)
            status = multiply(cuda, part, room, error);
        if (status != FO_OK)
            return status;
    }
    return FO_OK;
}

/* Choose the types to multiply in. */
fo_status linear_by_blas(cuda_device *cuda, const linear_product &p,
                         fo_workspace workspace, fo_error *error)
{
    if (workspace.bytes < bytes_of(p))
        return fo_fail_short(error, FO_ARG, bytes_of(p), workspace.bytes,
                             "linear: the workspace is too small");
    char *room = reinterpret_cast<char *>(rounded((size_t)workspace.data));
    blas_product whole = {CUDA_R_32F, p.out, p.x, p.data, p.T,
                          p.R,        p.C,   p.R, false};
    switch (p.dtype) {
    case FO_F16:
        return multiply_halves<__half>(cuda, p, room, error);
    case FO_BF16:
        return multiply_halves<__nv_bfloat16>(cuda, p, room, error);
    case FO_Q8_0:
        return multiply_panels<FO_Q8_0>(cuda, p, room, error);
    case FO_Q4_0:
        return multiply_panels<FO_Q4_0>(cuda, p, room, error);
    default:
        return multiply(cuda, whole, room, error);
    }
}

} // namespace FO_SIDE
