#include "cuda/attention_prefill.cuh"
#include "cuda/attention_prefill_naive.cuh"
#include "cuda/attention_prefill_tensor.cuh"
#include "cuda/attention_prefill_tiled.cuh"

namespace FO_SIDE
{

/* Launch rung 1. */
static fo_status launch_naive(const attention_call &call, fo_dtype dtype,
                              cudaStream_t stream, fo_error *error)
{
    if (call.D > naive_largest)
        return fo_fail(error, FO_UNSUPPORTED,
                       "no prefill kernel for heads of %d", call.D);
    int64_t rows = (int64_t)call.T * call.H;
    unsigned blocks = (unsigned)((rows + naive_warps - 1) / naive_warps);
    return with_type(dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        FO_LAUNCH((attention_prefill_naive<T>), blocks, naive_threads, 0,
                  stream, call);
        return check_launch("attention_prefill_naive", error);
    });
}

/* Launch rung 2. */
static fo_status launch_tiled(const attention_call &call, fo_dtype dtype,
                              cudaStream_t stream, fo_error *error)
{
    return with_head_dim(call.D, error, [&](auto size) {
        constexpr int D = decltype(size)::value;
        using cut = tiled_cut<D>;
        dim3 grid(prefill_slots(call, cut::rows), (unsigned)call.K);
        return with_type(dtype, [&](auto type) {
            using T = typename decltype(type)::type;
            FO_LAUNCH((attention_prefill_tiled<T, D>), grid, cut::threads,
                      sizeof(tiled_shared<D>), stream, call);
            return check_launch("attention_prefill_tiled", error);
        });
    });
}

/* Launch rung 3. */
template <class T>
static fo_status launch_tensor_as(const attention_call &call,
                                  cudaStream_t stream, fo_error *error)
{
    return with_head_dim(call.D, error, [&](auto size) {
        constexpr int D = decltype(size)::value;
        using cut = tensor_cut<D>;
        dim3 grid(prefill_slots(call, cut::rows), (unsigned)call.K);
        FO_LAUNCH((attention_prefill_tensor<T, D>), grid, cut::threads,
                  (sizeof(tensor_shared<T, D>)), stream, call);
        return check_launch("attention_prefill_tensor", error);
    });
}

static fo_status launch_tensor(const attention_call &call, fo_dtype dtype,
                               cudaStream_t stream, fo_error *error)
{
    if (dtype == FO_F16)
        return launch_tensor_as<__half>(call, stream, error);
    if (dtype == FO_BF16)
        return launch_tensor_as<__nv_bfloat16>(call, stream, error);
    return fo_fail(error, FO_UNSUPPORTED,
                   "tensor cores take no cache of type %s",
                   fo_dtype_info_get(dtype)->name);
}

/* Choose a rung of prefill for a shape. */
static bool tiled_takes(int D)
{
    return D == 64 || D == 80 || D == 96 || D == 128 || D == 256;
}

static int best_rung(const fo_kv *kv, bool wide)
{
    if (!tiled_takes(kv->D) || !wide)
        return 1;
    return kv->dtype == FO_F32 ? 2 : 3;
}

/* Run a rung of prefill. */
fo_status prefill_launch(const attention_call &call, const fo_kv *kv, int rung,
                         cudaStream_t stream, fo_error *error)
{
    bool wide = attention_aligned(kv) && aligned_16(call.out);
    rung = rung ? rung : best_rung(kv, wide);
    if (rung > 1 && !wide)
        return fo_fail(error, FO_UNSUPPORTED,
                       "rung %d wants rows on multiples of 16 bytes", rung);
    switch (rung) {
    case 1:
        return launch_naive(call, kv->dtype, stream, error);
    case 2:
        return launch_tiled(call, kv->dtype, stream, error);
    case 3:
        return launch_tensor(call, kv->dtype, stream, error);
    default:
        return fo_fail(error, FO_UNSUPPORTED, "prefill has no rung %d", rung);
    }
}

/* Attend over blocks with several queries a sequence. */
fo_status cuda_attention_prefill(fo_device *device, float *out, const float *q,
                                 const fo_kv *kv, const fo_block_tables *tables,
                                 const fo_attention *attention,
                                 fo_workspace workspace, fo_error *error)
{
    (void)workspace;
    fo_status status = attention_check(kv, attention, error);
    if (status != FO_OK || attention->N == 0 || attention->T == 0)
        return status;
    attention_call call = attention_call_make(out, q, kv, tables, attention);
    return prefill_launch(call, kv, of(device)->settings.prefill_rung,
                          of(device)->stream, error);
}

} // namespace FO_SIDE
