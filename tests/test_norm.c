#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "naive_layers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 512 * 1024 };

static float x[MOST], weight[4096], got[MOST];
static double want[MOST];

/* Judge one norm. */
static double judge(fo_device *device, int T, int C, float scale)
{
    size_t n = (size_t)T * (size_t)C;
    fill_normal(x, n, 1, (uint64_t)C);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    fill_uniform(weight, (size_t)C, 0.5f, 2, 2, (uint64_t)C);
    guarded in = guarded_copy(device, x, n * sizeof *x);
    guarded w = guarded_copy(device, weight, (size_t)C * sizeof *weight);
    guarded out = guarded_open(device, n * sizeof *got);
    assert_int_equal(device->backend->rmsnorm(device, out.data, in.data, w.data,
                                              T, C, 1e-5f, NULL),
                     FO_OK);
    guarded_read(&out, got);
    naive_rmsnorm(want, x, weight, T, C, 1e-5f);
    guarded_close(&in);
    guarded_close(&w);
    guarded_close(&out);
    return assert_close(got, want, n, (fo_tolerance){1e-20, 1e-5},
                        "rmsnorm T=%d C=%d scale %g", T, C, (double)scale);
}

/* Judge the norm over sizes and scales. */
static void test_norm_grid(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33, 512};
    static const int columns[] = {1, 2, 31, 33, 768, 1000};
    static const float scales[] = {1e-12f, 1e-3f, 1, 1e15f};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int cases = 0;
    double worst = 0;
    for (int t = 0; t < 5; t++)
        for (int c = 0; c < 6; c++)
            for (int s = 0; s < 4; s++, cases++)
                worst = fmax(worst,
                             judge(device, tokens[t], columns[c], scales[s]));
    printf("rmsnorm: %d cases, worst error %.2g\n", cases, worst);
    assert_true(cases > 0);
    fo_backend_cpu.close(&device);
}

static void test_norm_of_nothing(void **state)
{
    (void)state;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    memset(x, 0, sizeof *x * 8);
    got[0] = 7;
    assert_int_equal(
        device->backend->rmsnorm(device, got, x, x, 0, 8, 1e-5f, NULL), FO_OK);
    assert_true(got[0] == 7);
    assert_int_equal(
        device->backend->rmsnorm(device, got, x, x, 1, 8, 1e-5f, NULL), FO_OK);
    for (int i = 0; i < 8; i++)
        assert_true(got[i] == 0);
    fo_backend_cpu.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_grid),
        cmocka_unit_test(test_norm_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
