#include "compare.h"
#include "cpu/cpu.h"
#include "cpu/lanes.h"
#include "linear_layer.h"
#include "naive_layers.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Run a linear layer on the device. */
enum { CHOSEN = -1 }; /* by the device, or else a cpu_linear_way */

/* Outputs of tokens first to first + T; the caller frees them. */
static float *run(const layer *l, int way, int first, int T)
{
    fo_device *device = l->device;
    int R = l->weight.R, C = l->weight.C;
    size_t bytes = (size_t)T * (size_t)R * sizeof(float);
    fo_workload workload = {.max_tokens = way == CPU_LINEAR_TILES ? INT_MAX : T,
                            .max_rows = R,
                            .max_columns = C};
    guarded out = guarded_open(device, bytes);
    guarded space = guarded_open(device, cpu_linear_workspace(&workload));
    fo_workspace workspace = {space.data, space.bytes};
    const float *x = (float *)l->x.data + first * C;
    fo_status status =
        way == CHOSEN ? device->backend->linear(device, out.data, x, &l->weight,
                                                T, workspace, NULL)
                      : cpu_linear_by((cpu_linear_way)way, device, out.data, x,
                                      &l->weight, T, workspace, NULL);
    assert_int_equal(status, FO_OK);
    float *host = room(bytes);
    guarded_read(&out, host);
    guarded_close(&out);
    guarded_close(&space);
    return host;
}

/* Judge linear over types and shapes. */
static double judge(fo_device *device, fo_dtype dtype, int T, int R, int C)
{
    layer l = layer_open(device, dtype, T, R, C);
    size_t n = (size_t)T * (size_t)R;
    double *want = room(n * sizeof *want);
    naive_linear(want, l.host_x, &l.weight, T);
    float *by[2];
    double worst = 0;
    for (int way = 0; way < 2; way++) {
        by[way] = run(&l, way, 0, T);
        worst = fmax(worst, assert_close(by[way], want, n, TOLERANCE_F32,
                                         "linear %s way %d T=%d R=%d C=%d",
                                         fo_dtype_info_get(dtype)->name, way, T,
                                         R, C));
    }
    float *chosen = run(&l, CHOSEN, 0, T);
    assert_same_bits(chosen, by[T > cpu_linear_streamed], n, "chosen way");
    free(chosen);
    free(by[0]);
    free(by[1]);
    free(want);
    layer_close(&l);
    return worst;
}

static void test_linear_grid(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 3, 4, 7, 32, 33, 512};
    static const int shapes[][2] = {{1, 32}, {3, 64}, {33, 160}, {257, 320}};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int cases = 0;
    double worst = 0;
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 8; t++)
            for (int s = 0; s < 4; s++) {
                int T = tokens[t], R = shapes[s][0], C = shapes[s][1];
                worst = fmax(worst, judge(device, layer_types[d], T, R, C));
                if (d < 3)
                    worst =
                        fmax(worst, judge(device, layer_types[d], T, R, C - 9));
                cases += d < 3 ? 2 : 1;
            }
    worst = fmax(worst, judge(device, FO_F16, 33, 1400, 3072));
    cases++;
    printf("linear: %d cases, worst error %.2g\n", cases, worst);
    assert_true(cases > 0);
    fo_backend_cpu.close(&device);
}

static void test_linear_judge_sees_a_swap(void **state)
{
    (void)state;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    layer l = layer_open(device, FO_Q4_0, 2, 8, 64);
    double want[16];
    naive_linear(want, l.host_x, &l.weight, 2);
    float *got = run(&l, CHOSEN, 0, 2), kept = got[3];
    assert_true(
        compare_arrays("linear", got, want, 16, TOLERANCE_F32, NULL, 0));
    got[3] = got[4];
    got[4] = kept;
    assert_false(
        compare_arrays("swapped", got, want, 16, TOLERANCE_F32, NULL, 0));
    free(got);
    layer_close(&l);
    fo_backend_cpu.close(&device);
}

/* Ask whether a token's result depends on its company. */
static void test_linear_alone_or_together(void **state)
{
    (void)state;
    enum { R = 70, C = 288 };
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (int d = 0; d < 5; d++) {
        layer l = layer_open(device, layer_types[d], cpu_linear_streamed, R, C);
        float *together = run(&l, CHOSEN, 0, l.T);
        for (int t = 0; t < l.T; t++)
            for (int T = 1; T <= 5 && t + T <= l.T; T++) {
                float *alone = run(&l, CHOSEN, t, T);
                assert_same_bits(alone, together + t * R, (size_t)(T * R),
                                 "%d tokens from %d on", T, t);
                free(alone);
            }
        free(together);
        layer_close(&l);
    }
    fo_backend_cpu.close(&device);
}

/* Ask whether it depends on the number of threads. */
static void test_linear_threads(void **state)
{
    (void)state;
    static const int tokens[] = {1, 7, 33, 300};
    enum { R = 300, C = 544 };
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    int threads = omp_get_max_threads();
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 4; t++) {
            layer l = layer_open(device, layer_types[d], tokens[t], R, C);
            omp_set_num_threads(1);
            float *one = run(&l, CHOSEN, 0, l.T);
            for (int n = 2; n <= 5; n++) {
                omp_set_num_threads(n);
                float *many = run(&l, CHOSEN, 0, l.T);
                assert_same_bits(many, one, (size_t)(l.T * R), "%d threads", n);
                free(many);
            }
            free(one);
            layer_close(&l);
        }
    omp_set_num_threads(threads);
    fo_backend_cpu.close(&device);
}

/* Refuse what linear cannot do. */
static void test_linear_refusals(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    layer l = layer_open(device, FO_F16, 64, 8, 64);
    guarded out = guarded_open(device, 64 * 8 * sizeof(float));
    fo_workspace none = {0};
    fo_weight ragged = {l.weights.data, FO_Q8_0, 4, 33};
    assert_int_equal(device->backend->linear(device, out.data, l.x.data,
                                             &l.weight, 64, none, &error),
                     FO_ARG);
    assert_true(error.required > error.available);
    assert_int_equal(device->backend->linear(device, out.data, l.x.data,
                                             &ragged, 1, none, &error),
                     FO_ARG);
    assert_int_equal(device->backend->linear(device, out.data, l.x.data,
                                             &l.weight, 0, none, &error),
                     FO_OK);
    float host[64 * 8];
    guarded_read(&out, host);
    for (int i = 0; i < 64 * 8; i++)
        assert_true(isnan(host[i]));
    guarded_close(&out);
    layer_close(&l);
    fo_backend_cpu.close(&device);
}

/* Unpack every half as storage does. */
static void test_unpack_halves(void **state)
{
    (void)state;
    static uint16_t half[65536];
    static float got[65536], want[65536];
    for (int i = 0; i < 65536; i++)
        half[i] = (uint16_t)i;
    const fo_dtype both[] = {FO_F16, FO_BF16};
    for (int d = 0; d < 2; d++) {
        fo_dtype_load(both[d], half, want, 65536);
        for (int c = 0; c < 65536; c += LANES) {
            lanes v = lanes_unpack(both[d], (const char *)half, c);
            memcpy(got + c, &v, sizeof v);
        }
        for (int i = 0; i < 65536; i++)
            if (isnan(want[i]))
                assert_true(isnan(got[i]));
            else
                assert_memory_equal(&got[i], &want[i], sizeof(float));
    }
}

/* List the tests of linear. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_grid),
        cmocka_unit_test(test_linear_judge_sees_a_swap),
        cmocka_unit_test(test_linear_alone_or_together),
        cmocka_unit_test(test_linear_threads),
        cmocka_unit_test(test_linear_refusals),
        cmocka_unit_test(test_unpack_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
