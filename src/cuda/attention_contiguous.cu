#include "cuda/attention_prefill.cuh"

namespace FO_SIDE
{

/* Attend over one block a sequence on the device. */
fo_status cuda_attention_contiguous(fo_device *device, float *out,
                                    const float *q, const fo_kv *kv,
                                    const fo_attention *attention,
                                    fo_workspace workspace, fo_error *error)
{
    (void)workspace;
    fo_status status = attention_check(kv, attention, error);
    if (status != FO_OK || attention->N == 0 || attention->T == 0)
        return status;
    attention_call call = attention_call_make(out, q, kv, nullptr, attention);
    return prefill_launch(call, kv, of(device)->settings.prefill_rung,
                          of(device)->stream, error);
}

} // namespace FO_SIDE
