#include "cuda/attention_prefill.cuh"

namespace FO_SIDE
{

/* Lay out every query as a sequence of its own. */
struct lone_queries {
    int32_t *block;  /* (T) a table of one entry a row */
    int32_t *row;    /* (T)                            */
    int32_t *length; /* (T) keys up to the query       */
};

__global__ void lay_out_queries(attention_call call, lone_queries lone)
{
    int t = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (t >= call.T)
        return;
    int n =
        last_to_begin(call.N, t, [&](int n) { return call.query_start[n]; });
    bool known = n >= 0 && t < call.query_start[n + 1];
    int position = known ? call.length[n] - call.query_start[n + 1] + t : -1;
    lone.block[t] = known ? n : -1;
    lone.row[t] = t;
    lone.length[t] = max(position + 1, 0);
}

/* Attend to single queries over one block a sequence. */
static size_t lone_bytes(int T)
{
    return ((size_t)T * 3 * sizeof(int32_t) + 255) / 256 * 256;
}

static fo_status attend_to_lone_queries(fo_device *device,
                                        const attention_call &call,
                                        const fo_kv *kv,
                                        const fo_attention *attention,
                                        fo_workspace workspace, fo_error *error)
{
    size_t bytes = lone_bytes(call.T);
    if (workspace.bytes < bytes)
        return fo_fail_short(error, FO_ARG, bytes, workspace.bytes,
                             "attention needs %zu bytes of workspace, not %zu",
                             bytes, workspace.bytes);
    int32_t *room = (int32_t *)workspace.data;
    lone_queries lone = {room, room + call.T, room + 2 * (int64_t)call.T};
    FO_LAUNCH(lay_out_queries, (unsigned)(call.T + 127) / 128, 128, 0,
              of(device)->stream, call, lone);
    fo_status status = check_launch("lay_out_queries", error);
    if (status != FO_OK)
        return status;
    fo_block_tables tables = {lone.block, 1, lone.row};
    fo_attention alone = *attention;
    alone.length = lone.length;
    fo_workspace rest = {(char *)workspace.data + bytes,
                         workspace.bytes - bytes};
    return cuda_attention_decode(device, call.out, call.q, kv, &tables, &alone,
                                 rest, error);
}

/* Attend over one block a sequence on the device. */
fo_status cuda_attention_contiguous(fo_device *device, float *out,
                                    const float *q, const fo_kv *kv,
                                    const fo_attention *attention,
                                    fo_workspace workspace, fo_error *error)
{
    fo_status status = attention_check(kv, attention, error);
    if (status != FO_OK || attention->N == 0 || attention->T == 0)
        return status;
    attention_call call = attention_call_make(out, q, kv, nullptr, attention);
    int rung = of(device)->settings.prefill_rung;
    if (rung == 0 && call.T == call.N)
        return attend_to_lone_queries(device, call, kv, attention, workspace,
                                      error);
    return prefill_launch(call, kv, rung, of(device)->stream, error);
}

size_t cuda_contiguous_workspace(const fo_workload *workload)
{
    return lone_bytes(workload->max_sequences) +
           cuda_attention_workspace(workload);
}

} // namespace FO_SIDE
