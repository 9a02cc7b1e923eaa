#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "naive_layers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { V = 50, C = 96, MOST = 512 };

static float values[V * C], got[MOST * C];
static double want[MOST * C];
static char stored[sizeof values];
static int32_t tokens[MOST];

/* Judge the embedding over types. */
static double judge(fo_device *device, fo_dtype dtype, int T)
{
    size_t bytes = fo_dtype_bytes(dtype, V * C), n = (size_t)T * C;
    fill_normal(values, V * C, 8, 8);
    fo_dtype_store(dtype, values, stored, V * C);
    for (int t = 0; t < T; t++)
        tokens[t] = (t * 31 + V - 1) % V;
    guarded table = guarded_copy(device, stored, bytes);
    guarded ids = guarded_copy(device, tokens, (size_t)T * sizeof *tokens);
    guarded out = guarded_open(device, n * sizeof *got);
    fo_weight weight = {table.data, dtype, V, C};
    assert_int_equal(
        device->backend->embed(device, out.data, ids.data, &weight, T, NULL),
        FO_OK);
    guarded_read(&out, got);
    weight.data = stored;
    naive_embed(want, tokens, &weight, T);
    guarded_close(&table);
    guarded_close(&ids);
    guarded_close(&out);
    return assert_close(got, want, n, (fo_tolerance){0, 0}, "embed %s T=%d",
                        fo_dtype_info_get(dtype)->name, T);
}

static void test_embed_grid(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 7, 33, 512};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int cases = 0;
    for (int dtype = FO_F32; dtype <= FO_Q4_0; dtype++)
        for (int i = 0; i < 5; i++, cases++)
            judge(device, (fo_dtype)dtype, sizes[i]);
    printf("embed: %d cases, all exact\n", cases);
    assert_true(cases > 0);
    fo_backend_cpu.close(&device);
}

/* Refuse a token outside the table. */
static void test_embed_refusals(void **state)
{
    (void)state;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_weight weight = {values, FO_F32, V, C};
    static const int32_t wrong[] = {V, -1, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            device->backend->embed(device, got, wrong + i, &weight, 1, NULL),
            FO_ARG);
    assert_int_equal(
        device->backend->embed(device, got, wrong, &weight, 0, NULL), FO_OK);
    weight.dtype = FO_I32;
    assert_int_equal(
        device->backend->embed(device, got, wrong, &weight, 1, NULL), FO_ARG);
    fo_backend_cpu.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed_grid),
        cmocka_unit_test(test_embed_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
