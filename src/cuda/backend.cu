#include "cuda/device.cuh"

using namespace FO_SIDE;

#ifdef FO_SIMULATED
#define BACKEND fo_backend_sim
#define NAME    "sim"
#else
#define BACKEND fo_backend_cuda
#define NAME    "cuda"
#endif

/* A slot that is not named is null. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

const fo_backend BACKEND = {
    .name = NAME,
    /* Fill the life and memory slots of the CUDA backend. */
    .open = nullptr,
    /* Fill the first layer slots of the CUDA backend. */
    .embed = nullptr,
    /* Fill the linear slot of the CUDA backend. */
    .linear = cuda_linear,
    /* Fill the other layer slots of the CUDA backend. */
    .add = nullptr,
    /* Fill the cache slots of the CUDA backend. */
    .kv_write = nullptr,
    /* Fill the prefill slot of the CUDA backend. */
    .attention_prefill = nullptr,
    /* Fill the decode slot of the CUDA backend. */
    .attention_decode = cuda_attention_decode,
    /* Fill the contiguous slot of the CUDA backend. */
    .attention_contiguous = nullptr,
    /* Fill the sample slot of the CUDA backend. */
    .sample = cuda_sample,
    /* Fill the pool slots of the CUDA backend. */
    .pool_open = nullptr,
};
