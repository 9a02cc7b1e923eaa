#include "cpu/cpu.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* Check the shape of a cache. */
static fo_status check(const fo_kv *kv, fo_error *error)
{
    bool float_type =
        kv->dtype == FO_F32 || kv->dtype == FO_F16 || kv->dtype == FO_BF16;
    if (kv->K <= 0 || kv->B <= 0 || kv->D <= 0 || !float_type)
        return fo_fail(error, FO_ARG,
                       "a cache of %d kv heads, blocks of %d, heads of %d, %s",
                       kv->K, kv->B, kv->D, fo_dtype_info_get(kv->dtype)->name);
    return FO_OK;
}

/* Write rows to their slots. */
static void write_row(const fo_kv *kv, char *pool, const float *row,
                      int64_t slot)
{
    int64_t block = slot / kv->B, within = slot % kv->B;
    for (int h = 0; h < kv->K; h++) {
        int64_t key = (block * kv->K + h) * kv->B + within;
        fo_dtype_store(kv->dtype, row + (int64_t)h * kv->D,
                       pool + fo_dtype_bytes(kv->dtype, key * kv->D), kv->D);
    }
}

fo_status cpu_kv_write(fo_device *device, const fo_kv *kv, const float *k,
                       const float *v, int stride, const int64_t *slots, int T,
                       fo_error *error)
{
    (void)device;
    fo_status status = check(kv, error);
    if (status != FO_OK)
        return status;
    int64_t all = (int64_t)kv->num_blocks * kv->B;
    for (int t = 0; t < T; t++)
        if (slots[t] < -1 || slots[t] >= all)
            return fo_fail(error, FO_ARG,
                           "token %d goes to slot %" PRId64 " of %" PRId64, t,
                           slots[t], all);
#pragma omp parallel for if (T > 8)
    for (int t = 0; t < T; t++)
        if (slots[t] >= 0) {
            write_row(kv, kv->k, k + (int64_t)t * stride, slots[t]);
            write_row(kv, kv->v, v + (int64_t)t * stride, slots[t]);
        }
    return FO_OK;
}

/* Copy whole blocks. */
fo_status cpu_kv_copy(fo_device *device, const fo_kv *kv, const int32_t *from,
                      const int32_t *to, int n, fo_error *error)
{
    (void)device;
    fo_status status = check(kv, error);
    if (status != FO_OK)
        return status;
    for (int i = 0; i < n; i++)
        if (from[i] < -1 || from[i] >= kv->num_blocks || to[i] < -1 ||
            to[i] >= kv->num_blocks)
            return fo_fail(error, FO_ARG, "copy of block %d to %d of %d",
                           from[i], to[i], kv->num_blocks);
    size_t bytes = fo_dtype_bytes(kv->dtype, (int64_t)kv->K * kv->B * kv->D);
    char *k = kv->k, *v = kv->v;
    for (int i = 0; i < n; i++)
        if (from[i] >= 0 && to[i] >= 0) {
            size_t source = bytes * (size_t)from[i];
            size_t target = bytes * (size_t)to[i];
            memmove(k + target, k + source, bytes);
            memmove(v + target, v + source, bytes);
        }
    return FO_OK;
}
