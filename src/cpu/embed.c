#include "cpu/cpu.h"

fo_status cpu_embed(fo_device *device, float *out, const int32_t *tokens,
                    const fo_weight *table, int T, fo_error *error)
{
    (void)device;
    int V = table->R, C = table->C;
    const fo_dtype_info *info = fo_dtype_info_get(table->dtype);
    if (table->dtype > FO_Q4_0 || C % info->block_values != 0)
        return fo_fail(error, FO_ARG, "embed: %d columns of type %s", C,
                       info->name);
    size_t row_bytes = fo_dtype_bytes(table->dtype, C);
    for (int t = 0; t < T; t++) {
        if (tokens[t] < 0 || tokens[t] >= V)
            return fo_fail(error, FO_ARG, "embed: token %d of a table of %d",
                           (int)tokens[t], V);
        fo_dtype_load(table->dtype,
                      (const char *)table->data + (size_t)tokens[t] * row_bytes,
                      out + (size_t)t * (size_t)C, C);
    }
    return FO_OK;
}
