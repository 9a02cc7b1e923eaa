#include "linear_layer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

const fo_dtype layer_types[5] = {FO_F32, FO_F16, FO_BF16, FO_Q8_0, FO_Q4_0};

void *room(size_t bytes)
{
    void *data = malloc(bytes + 1);
    assert_non_null(data);
    return data;
}

/* Open and close a layer. */
layer layer_open(fo_device *device, fo_dtype dtype, int T, int R, int C)
{
    size_t n = (size_t)R * (size_t)C, m = (size_t)T * (size_t)C;
    float *values = room(n * sizeof(float));
    fill_normal(values, n, 5, (uint64_t)dtype);
    for (size_t i = 0; i < n; i++)
        values[i] /= sqrtf((float)C);
    size_t bytes = fo_dtype_bytes(dtype, (int64_t)n);
    char *stored = room(bytes);
    fo_dtype_store(dtype, values, stored, (int64_t)n);
    free(values);
    layer l = {.device = device, .host_x = room(m * sizeof(float)), .T = T};
    fill_normal(l.host_x, m, 6, (uint64_t)C);
    l.weights = guarded_copy(device, stored, bytes);
    l.x = guarded_copy(device, l.host_x, m * sizeof(float));
    l.weight = (fo_weight){l.weights.data, dtype, R, C};
    l.host_weight = (fo_weight){stored, dtype, R, C};
    return l;
}

void layer_close(layer *l)
{
    guarded_close(&l->weights);
    guarded_close(&l->x);
    free((void *)l->host_weight.data);
    free(l->host_x);
}
