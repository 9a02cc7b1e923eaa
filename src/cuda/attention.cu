#include "cuda/attention.cuh"

namespace FO_SIDE
{

/* Check what the host can see of an attention. */
fo_status attention_check(const fo_kv *kv, const fo_attention *attention,
                          fo_error *error)
{
    if (kv->K <= 0 || kv->B <= 0 || kv->D <= 0 || attention->H <= 0 ||
        attention->H % kv->K != 0)
        return fo_fail(error, FO_ARG,
                       "%d heads over %d kv heads of %d numbers in blocks of "
                       "%d",
                       attention->H, kv->K, kv->D, kv->B);
    if (kv->dtype != FO_F32 && kv->dtype != FO_F16 && kv->dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache of type %s",
                       fo_dtype_info_get(kv->dtype)->name);
    if (attention->N < 0 || attention->T < 0 || attention->window < 0)
        return fo_fail(error, FO_ARG,
                       "%d sequences, %d queries, a window of %d", attention->N,
                       attention->T, attention->window);
    return FO_OK;
}

/* Collect the arguments of an attention. */
attention_call attention_call_make(float *out, const float *q, const fo_kv *kv,
                                   const fo_block_tables *tables,
                                   const fo_attention *attention)
{
    attention_call call = {};
    call.out = out;
    call.q = q;
    call.k = kv->k;
    call.v = kv->v;
    call.table = tables ? tables->table : nullptr;
    call.row = tables ? tables->row : nullptr;
    call.max_blocks = tables ? tables->max_blocks : 1;
    call.query_start = attention->query_start;
    call.length = attention->length;
    call.N = attention->N;
    call.T = attention->T;
    call.H = attention->H;
    call.K = kv->K;
    call.D = kv->D;
    call.B = kv->B;
    call.num_blocks = kv->num_blocks;
    call.q_stride = attention->q_stride;
    call.window = attention->window;
    call.max_length = attention->max_length;
    call.scale = attention->scale * 1.44269504f; /* log2(e) */
    call.inverse = UINT32_MAX / (uint32_t)kv->B;
    return call;
}

/* See whether rows lie on multiples of 16 bytes. */
bool attention_aligned(const fo_kv *kv)
{
    uintptr_t bits = (uintptr_t)kv->k | (uintptr_t)kv->v |
                     (uintptr_t)fo_dtype_bytes(kv->dtype, kv->D);
    return bits % 16 == 0;
}

} // namespace FO_SIDE
