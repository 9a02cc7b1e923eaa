#include "cuda/attention_decode.cuh"

namespace FO_SIDE
{

/* Merge the splits of a query. */
__global__ void attention_decode_merge(attention_call call,
                                       partial_results partials)
{
    int h = (int)blockIdx.x, n = (int)blockIdx.y;
    key_span seen = keys_in_sight(call, call.length[n] - 1, 1);
    int count = plan_splits(seen.last - seen.first).count;
    if (count < 2)
        return;
    int64_t first = partial_index(call, partials, n, h, 0);
    const float *pair = partials.pairs + first * 2;
    float maximum = -INFINITY;
    for (int i = 0; i < count; i++)
        maximum = fmaxf(maximum, pair[i * 2]);
    for (int d = (int)threadIdx.x; d < call.D; d += (int)blockDim.x) {
        float total = 0, sum = 0;
        for (int i = 0; i < count; i++) {
            float weight = softmax_weight(pair[i * 2], maximum);
            total += weight * pair[i * 2 + 1];
            sum += weight * partials.sums[(first + i) * call.D + d];
        }
        call.out[((int64_t)n * call.H + h) * call.D + d] =
            softmax_end(sum, total);
    }
}

fo_status merge_splits(const decode_launch &launch, fo_error *error)
{
    const attention_call &call = launch.call;
    if (launch.splits < 2)
        return FO_OK;
    FO_LAUNCH(attention_decode_merge, dim3((unsigned)call.H, (unsigned)call.N),
              dim3(128), 0, launch.stream, call,
              find_partials(launch.workspace, call, launch.splits));
    return check_launch("attention_decode_merge", error);
}

/* Choose the best rung for a shape. */
constexpr int WIDE_GROUP = 4; /* query heads that are worth a matrix product */

static bool has_kernel(int D)
{
    return D == 64 || D == 80 || D == 96 || D == 128 || D == 256;
}

static int best_rung(const fo_kv *kv, int group)
{
    if (kv->D > 256)
        return 1;
    if (!attention_aligned(kv))
        return 3;
    if (!has_kernel(kv->D))
        return 4;
    return kv->dtype != FO_F32 && group >= WIDE_GROUP ? 8 : 7;
}

/* Climb to a rung. */
static fo_status climb(const decode_launch &launch, int rung, fo_error *error)
{
    if (rung < 5)
        return decode_first(launch, rung, error);
    if (rung < 7)
        return decode_warps(launch, rung, error);
    if (rung == 7)
        return decode_groups(launch, error);
    return decode_matrix(launch, error);
}

/* Check the arguments of a decode step. */
static fo_status check_decode(const fo_kv *kv, const fo_attention *attention,
                              int rung, fo_error *error)
{
    fo_status status = attention_check(kv, attention, error);
    if (status != FO_OK)
        return status;
    if (attention->T != attention->N)
        return fo_fail(error, FO_ARG,
                       "a decode step of %d queries for %d sequences",
                       attention->T, attention->N);
    if (rung < 0 || rung > 8)
        return fo_fail(error, FO_ARG, "rung %d of a ladder of 8", rung);
    if (rung > 3 && !attention_aligned(kv))
        return fo_fail(error, FO_UNSUPPORTED,
                       "rung %d reads 16 bytes at a time; %s heads of %d do "
                       "not begin on multiples of 16",
                       rung, fo_dtype_info_get(kv->dtype)->name, kv->D);
    return FO_OK;
}

/* Decode one query a sequence. */
fo_status cuda_attention_decode(fo_device *device, float *out, const float *q,
                                const fo_kv *kv, const fo_block_tables *tables,
                                const fo_attention *attention,
                                fo_workspace workspace, fo_error *error)
{
    int rung = of(device)->settings.decode_rung;
    fo_status status = check_decode(kv, attention, rung, error);
    if (status != FO_OK || attention->N == 0)
        return status;
    if (rung == 0)
        rung = best_rung(kv, attention->H / kv->K);
    decode_launch launch = {
        .call = attention_call_make(out, q, kv, tables, attention),
        .dtype = kv->dtype,
        .stream = of(device)->stream,
        .workspace = (float *)workspace.data,
        .splits = rung < 6 ? 1 : most_splits(attention_reach(attention)),
    };
    size_t bytes = sizeof(float) * split_floats(attention->N, attention->H,
                                                kv->D, launch.splits);
    if (workspace.bytes < bytes)
        return fo_fail_short(error, FO_ARG, bytes, workspace.bytes,
                             "attention needs %zu bytes of workspace, not %zu",
                             bytes, workspace.bytes);
    status = climb(launch, rung, error);
    return status == FO_OK ? merge_splits(launch, error) : status;
}

/* Measure the workspace of decode. */
size_t cuda_attention_workspace(const fo_workload *workload)
{
    return sizeof(float) * split_floats(workload->max_sequences, workload->H,
                                        workload->D,
                                        most_splits(workload->max_length));
}

} // namespace FO_SIDE
