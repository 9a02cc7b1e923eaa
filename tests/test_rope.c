#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "naive_layers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 512 * 800, PAIRS_MOST = 128 };

static float x[MOST], got[MOST], frequency[PAIRS_MOST];
static double want[MOST];
static int32_t position[512];

/* Judge one rotation. */
static double judge(fo_device *device, fo_rope rope)
{
    size_t n = (size_t)rope.T * (size_t)rope.stride;
    assert_true(n <= MOST && rope.rotary / 2 <= PAIRS_MOST);
    fill_normal(x, n, 3, (uint64_t)rope.rotary);
    for (int i = 0; i < rope.rotary / 2; i++)
        frequency[i] = powf(10000, -2.0f * (float)i / (float)rope.rotary);
    for (int t = 0; t < rope.T; t++)
        position[t] = t * 37 % 4096;
    guarded inout = guarded_copy(device, x, n * sizeof *x);
    guarded table = guarded_copy(device, frequency, sizeof frequency);
    guarded places = guarded_copy(device, position, sizeof position);
    rope.frequency = table.data;
    rope.position = places.data;
    assert_int_equal(device->backend->rope(device, inout.data, &rope, NULL),
                     FO_OK);
    guarded_read(&inout, got);
    rope.frequency = frequency;
    rope.position = position;
    naive_rope(want, x, &rope);
    guarded_close(&inout);
    guarded_close(&table);
    guarded_close(&places);
    return assert_close(got, want, n, TOLERANCE_F32,
                        "rope T=%d heads=%d D=%d rotary=%d style=%d", rope.T,
                        rope.heads, rope.D, rope.rotary, (int)rope.style);
}

/* Judge the rotation over heads, styles and positions. */
static void test_rope_grid(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33, 512};
    static const int sizes[] = {64, 80, 96, 128, 256};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int cases = 0;
    double worst = 0;
    for (int t = 0; t < 5; t++)
        for (int d = 0; d < 5; d++)
            for (int part = 0; part < 3; part++)
                for (int style = 0; style < 2; style++, cases++) {
                    int D = sizes[d], heads = 1 + t % 3;
                    fo_rope rope = {.T = tokens[t],
                                    .heads = heads,
                                    .D = D,
                                    .stride = heads * D + 13 * part,
                                    .rotary = part == 0   ? D
                                              : part == 1 ? D / 2 - 2
                                                          : 0,
                                    .style = (fo_rope_style)style,
                                    .scale = part ? 1.19f : 1};
                    worst = fmax(worst, judge(device, rope));
                }
    printf("rope: %d cases, worst error %.2g\n", cases, worst);
    assert_true(cases > 0);
    fo_backend_cpu.close(&device);
}

/* Check that only the distance of two tokens matters. */
static double score(fo_device *device, fo_rope_style style, int query, int key)
{
    enum { D = 64 };
    float pair[2 * D]; /* a query and a key */
    int32_t places[] = {query, key};
    for (int i = 0; i < D / 2; i++)
        frequency[i] = powf(10000, -2.0f * (float)i / D);
    fill_normal(pair, 2 * D, 9, 9);
    fo_rope rope = {2, 1, D, D, D, style, 1, frequency, places};
    assert_int_equal(device->backend->rope(device, pair, &rope, NULL), FO_OK);
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += (double)pair[i] * pair[D + i];
    return sum;
}

static void test_rope_distance(void **state)
{
    (void)state;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (int style = 0; style < 2; style++) {
        float near = (float)score(device, style, 7, 3);
        double far = score(device, style, 4007, 4003);
        assert_close(&near, &far, 1, TOLERANCE_F32, "distance 4, style %d",
                     style);
        assert_true(fabs(far - score(device, style, 4007, 4002)) > 0.1);
    }
    fo_backend_cpu.close(&device);
}

/* Refuse what rope cannot do. */
static void test_rope_refusals(void **state)
{
    (void)state;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    static const int wrong[][2] = {{7, 16}, {10, 16}, {-2, 16}, {8, 15}};
    for (int i = 0; i < 4; i++) {
        fo_rope rope = {.T = 1,
                        .heads = 2,
                        .D = 8,
                        .rotary = wrong[i][0],
                        .stride = wrong[i][1],
                        .scale = 1,
                        .frequency = frequency,
                        .position = position};
        assert_int_equal(device->backend->rope(device, x, &rope, NULL), FO_ARG);
    }
    fo_rope none = {.heads = 1, .D = 8, .rotary = 8, .stride = 8, .scale = 1};
    x[0] = 5;
    assert_int_equal(device->backend->rope(device, x, &none, NULL), FO_OK);
    assert_true(x[0] == 5);
    fo_backend_cpu.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope_grid),
        cmocka_unit_test(test_rope_distance),
        cmocka_unit_test(test_rope_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
