#include "common/safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A libFuzzer target: any bytes either parse, and then every tensor can be read
 * to its last byte, or are refused. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, bytes);
    fo_safetensors *file;
    fo_error error;
    if (fo_safetensors_parse(copy, bytes, &file, &error) == FO_OK)
        for (int i = 0; i < fo_safetensors_count(file); i++) {
            const fo_safetensor *tensor = fo_safetensors_at(file, i);
            if (fo_safetensors_find(file, tensor->name) != tensor)
                abort();
            for (uint64_t j = 0; j < tensor->bytes; j++)
                (void)((const volatile uint8_t *)tensor->data)[j];
        }
    fo_safetensors_close(&file);
    free(copy);
    return 0;
}
