/* The linear layer on the device: what its two ways share. */
#ifndef FOLIO_CUDA_LINEAR_CUH
#define FOLIO_CUDA_LINEAR_CUH

#include "cuda/device.cuh"

namespace FO_SIDE
{

/* Most tokens whose product is streamed. */
enum { LINEAR_STREAMED = 32 };

struct linear_product {
    float *out;       /* (T, R) */
    const float *x;   /* (T, C) */
    const char *data; /* (R, C) in `dtype` */
    fo_dtype dtype;
    int64_t row_bytes;
    int T, R, C;
};

/* Multiply by streaming the weights: the bits of a token's outputs are the same
 * for any T. */
fo_status linear_by_streaming(cuda_device *cuda, const linear_product &p,
                              fo_error *error);

/* Multiply by cuBLASLt. FO_ARG: a workspace of fewer bytes than the product
 * needs; linear_blas_bytes are enough for all products of a workload.
 * FO_UNSUPPORTED: cuBLASLt has no kernel for the shape. */
fo_status linear_by_blas(cuda_device *cuda, const linear_product &p,
                         fo_workspace workspace, fo_error *error);
size_t linear_blas_bytes(const fo_workload *workload);

} // namespace FO_SIDE

#endif
