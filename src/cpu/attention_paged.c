#include "cpu/attention.h"
#include "cpu/cpu.h"

/* Name the block that a table holds. */
static int32_t entry(const fo_block_tables *tables, int n, int i)
{
    return tables->table[(int64_t)tables->row[n] * tables->max_blocks + i];
}

/* Check that every key in sight has a block. */
static fo_status check_blocks(const fo_kv *kv, const fo_block_tables *tables,
                              const fo_attention *attention, int n, int queries,
                              fo_error *error)
{
    int length = attention->length[n];
    cpu_attention_span seen =
        cpu_attention_visible(attention, length - queries, queries);
    if (seen.last <= seen.first)
        return FO_OK;
    int end = (seen.last - 1) / kv->B;
    if (end >= tables->max_blocks)
        return fo_fail_short(error, FO_ARG, (uint64_t)end + 1,
                             (uint64_t)tables->max_blocks,
                             "sequence %d of %d tokens needs %d blocks; a row "
                             "of the table has %d",
                             n, length, end + 1, tables->max_blocks);
    for (int i = seen.first / kv->B; i <= end; i++) {
        int32_t block = entry(tables, n, i);
        if (block < 0 || block >= kv->num_blocks)
            return fo_fail(error, FO_DEVICE,
                           "sequence %d sees keys of its block %d, which is "
                           "%d of %d in the table",
                           n, i, block, kv->num_blocks);
    }
    return FO_OK;
}

/* Attend over blocks. */
/* `start` is null where query n is the one query of sequence n. */
static fo_status attend(float *out, const float *q, const fo_kv *kv,
                        const fo_block_tables *tables,
                        const fo_attention *attention, const int32_t *start,
                        fo_workspace workspace, fo_error *error)
{
    fo_status status = cpu_attention_check(kv, attention, start, error);
    for (int n = 0; n < attention->N && status == FO_OK; n++) {
        int queries = start ? start[n + 1] - start[n] : 1;
        if (queries > 0)
            status = check_blocks(kv, tables, attention, n, queries, error);
    }
    if (status != FO_OK)
        return status;
    cpu_attention_keys keys = {kv, tables, entry};
    return cpu_attention_batch(out, q, &keys, attention, start, workspace,
                               error);
}

/* Prefill and decode over blocks. */
fo_status cpu_attention_prefill(fo_device *device, float *out, const float *q,
                                const fo_kv *kv, const fo_block_tables *tables,
                                const fo_attention *attention,
                                fo_workspace workspace, fo_error *error)
{
    (void)device;
    return attend(out, q, kv, tables, attention, attention->query_start,
                  workspace, error);
}

fo_status cpu_attention_decode(fo_device *device, float *out, const float *q,
                               const fo_kv *kv, const fo_block_tables *tables,
                               const fo_attention *attention,
                               fo_workspace workspace, fo_error *error)
{
    (void)device;
    return attend(out, q, kv, tables, attention, NULL, workspace, error);
}
