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

enum { MOST = 512 * 2 * 300 };

static float x[MOST], y[MOST], got[MOST];
static double want[MOST];

/* Judge addition. */
static void test_add(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 33, 768, 100001};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (int i = 0; i < 5; i++) {
        size_t n = sizes[i], bytes = n * sizeof(float);
        fill_normal(x, n, 1, n);
        fill_normal(y, n, 2, n);
        naive_add(want, x, y, n);
        guarded a = guarded_copy(device, x, bytes);
        guarded b = guarded_copy(device, y, bytes);
        guarded apart = guarded_open(device, bytes);
        void *outs[] = {apart.data, a.data};
        for (int o = 0; o < 2; o++) {
            assert_int_equal(device->backend->add(device, outs[o], a.data,
                                                  b.data, (int64_t)n, NULL),
                             FO_OK);
            guarded_read(o ? &a : &apart, got);
            assert_close(got, want, n, TOLERANCE_F32, "add n=%zu", n);
        }
        guarded_close(&a);
        guarded_close(&b);
        guarded_close(&apart);
    }
    assert_int_equal(device->backend->add(device, x, x, y, 0, NULL), FO_OK);
    fo_backend_cpu.close(&device);
}

/* Judge the gate. */
static void test_silu_mul(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33, 512};
    static const int columns[] = {1, 31, 64, 293};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int cases = 0;
    double worst = 0;
    for (int t = 0; t < 5; t++)
        for (int c = 0; c < 4; c++, cases++) {
            int T = tokens[t], F = columns[c], stride = 2 * F + 3;
            size_t n = (size_t)T * (size_t)F, m = (size_t)T * (size_t)stride;
            fill_normal(x, m, 4, (uint64_t)F);
            guarded in = guarded_copy(device, x, m * sizeof *x);
            guarded out = guarded_open(device, n * sizeof *got);
            const float *gate = in.data;
            assert_int_equal(device->backend->silu_mul(device, out.data, gate,
                                                       gate + F, T, F, stride,
                                                       NULL),
                             FO_OK);
            guarded_read(&out, got);
            naive_silu_mul(want, x, x + F, T, F, stride);
            worst = fmax(worst, assert_close(got, want, n, TOLERANCE_F32,
                                             "silu_mul T=%d F=%d", T, F));
            guarded_close(&in);
            guarded_close(&out);
        }
    printf("silu_mul: %d cases, worst error %.2g\n", cases, worst);
    assert_true(cases > 0);
    fo_backend_cpu.close(&device);
}

static void test_silu_of_every_size(void **state)
{
    (void)state;
    enum { N = 40001 };
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * 0.01f;
        y[i] = 1;
    }
    assert_int_equal(
        device->backend->silu_mul(device, got, x, y, 1, N, N, NULL), FO_OK);
    naive_silu_mul(want, x, y, 1, N, N);
    assert_close(got, want, N, (fo_tolerance){1e-30, 5e-7}, "silu in steps");
    x[0] = NAN;
    x[1] = INFINITY;
    assert_int_equal(
        device->backend->silu_mul(device, got, x, y, 1, 2, 2, NULL), FO_OK);
    assert_true(isnan(got[0]) && isinf(got[1]));
    assert_int_equal(
        device->backend->silu_mul(device, got, x, y, 1, 2, 1, NULL), FO_ARG);
    fo_backend_cpu.close(&device);
}

/* Gather rows and compare them. */
static void test_gather_rows(void **state)
{
    (void)state;
    enum { T = 9, C = 37, N = 5 };
    static const int32_t rows[N] = {8, 0, 3, 3, 5};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fill_normal(x, T * C, 1, 1);
    guarded in = guarded_copy(device, x, T * C * sizeof *x);
    guarded list = guarded_copy(device, rows, sizeof rows);
    guarded out = guarded_open(device, N * C * sizeof *x);
    assert_int_equal(device->backend->gather_rows(device, out.data, in.data,
                                                  list.data, N, C, NULL),
                     FO_OK);
    guarded_read(&out, got);
    for (int i = 0; i < N; i++)
        assert_same_bits(got + i * C, x + rows[i] * C, C, "row %d", i);
    assert_int_equal(device->backend->gather_rows(device, out.data, in.data,
                                                  list.data, 0, C, NULL),
                     FO_OK);
    guarded_close(&in);
    guarded_close(&list);
    guarded_close(&out);
    fo_backend_cpu.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_silu_mul),
        cmocka_unit_test(test_silu_of_every_size),
        cmocka_unit_test(test_gather_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
