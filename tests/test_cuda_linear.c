#include "compare.h"
#include "cpu/cpu.h"
#include "linear_layer.h"
#include "naive_layers.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/include/cublasLt.h"
#include "sim/report.h"
#endif

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Run a layer on the device and on the CPU. */
/* Outputs of tokens first to first + T; the caller frees them. */
static float *run(const layer *l, int first, int T)
{
    fo_device *device = l->device;
    const fo_backend *backend = device->backend;
    int R = l->weight.R, C = l->weight.C;
    size_t bytes = (size_t)T * (size_t)R * sizeof(float);
    fo_workload workload = {.max_tokens = T, .max_rows = R, .max_columns = C};
    guarded out = guarded_open(device, bytes);
    guarded space =
        guarded_open(device, backend->workspace_bytes(device, &workload));
    fo_workspace workspace = {space.data, space.bytes};
    const float *x = (float *)l->x.data + first * C;
    fo_error error = {0};
    if (backend->linear(device, out.data, x, &l->weight, T, workspace,
                        &error) != FO_OK)
        fail_msg("%s", error.message);
    float *host = room(bytes);
    guarded_read(&out, host);
    guarded_close(&out);
    guarded_close(&space);
    return host;
}

static float *run_on_cpu(const layer *l)
{
    int R = l->weight.R, C = l->weight.C;
    fo_workload workload = {
        .max_tokens = l->T, .max_rows = R, .max_columns = C};
    fo_workspace workspace = {.bytes = cpu_linear_workspace(&workload)};
    workspace.data = room(workspace.bytes);
    float *out = room((size_t)l->T * (size_t)R * sizeof(float));
    assert_int_equal(cpu_linear(NULL, out, l->host_x, &l->host_weight, l->T,
                                workspace, NULL),
                     FO_OK);
    free(workspace.data);
    return out;
}

/* Know how close the device must come. */
static fo_tolerance tolerance_of(fo_dtype dtype, int T)
{
    bool halves = dtype == FO_F16 || dtype == FO_BF16;
    return T > 32 && halves ? (fo_tolerance){1e-4, 1e-4} : TOLERANCE_F32;
}

/* Judge the device over types and shapes. */
static double judge(fo_device *device, fo_dtype dtype, int T, int R, int C)
{
    layer l = layer_open(device, dtype, T, R, C);
    size_t n = (size_t)T * (size_t)R;
    double *want = room(n * sizeof *want), worst = 0;
    float *got = run(&l, 0, T), *cpu = run_on_cpu(&l);
    naive_linear(want, l.host_x, &l.host_weight, T);
    if (n > 0) {
        fo_tolerance tolerance = tolerance_of(dtype, T);
        const char *name = fo_dtype_info_get(dtype)->name;
        worst = assert_close(got, want, n, tolerance, "linear %s %d %d %d",
                             name, T, R, C);
        assert_close_floats(got, cpu, n, tolerance, "cpu, linear %s %d %d %d",
                            name, T, R, C);
    }
    free(cpu);
    free(got);
    free(want);
    layer_close(&l);
    return worst;
}

static void test_grid(void **state)
{
    static const int tokens[] = {0, 1, 2, 3, 8, 17, 32, 33, 64};
    static const int shapes[][2] = {
        {1, 32}, {3, 64}, {19, 288}, {18, 1120}, {5, 3072}};
    int cases = 0, asked = 0;
    double worst = 0;
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 9; t++)
            for (int s = 0; s < 5; s++)
                for (int odd = 0; odd < (d < 3 ? 2 : 1); odd++) {
                    if (asked++ % 9 > 0 && getenv("FOLIO_QUICK"))
                        continue;
                    int R = shapes[s][0], C = shapes[s][1] - 9 * odd;
                    worst = fmax(
                        worst, judge(*state, layer_types[d], tokens[t], R, C));
                    cases++;
                }
    printf("linear on %s: %d cases, worst error %.2g\n", verso_backend()->name,
           cases, worst);
    assert_true(cases > 0);
}

static void test_the_judge_objects(void **state)
{
    enum { T = 40, R = 8, C = 512 };
    for (int d = 1; d < 3; d++) {
        layer l = layer_open(*state, layer_types[d], T, R, C);
        static double want[T * R];
        naive_linear(want, l.host_x, &l.host_weight, T);
        float *got = run(&l, 0, T), kept = got[3];
        fo_tolerance tolerance = tolerance_of(layer_types[d], T);
        assert_true(
            compare_arrays("linear", got, want, T * R, tolerance, NULL, 0));
        got[3] = got[4];
        got[4] = kept;
        assert_false(
            compare_arrays("swapped", got, want, T * R, tolerance, NULL, 0));
        free(got);
        uint16_t high[T * C];
        fo_dtype_store(layer_types[d], l.host_x, high, T * C);
        fo_dtype_load(layer_types[d], high, l.host_x, T * C);
        got = run_on_cpu(&l);
        assert_false(compare_arrays("no low part", got, want, T * R, tolerance,
                                    NULL, 0));
        free(got);
        layer_close(&l);
    }
}

/* Ask whether a token's bits depend on its company. */
static void test_alone_or_together(void **state)
{
    enum { R = 37, C = 1312 };
    static const int lengths[] = {1, 2, 3, 5, 8, 11};
    for (int d = 0; d < 5; d++) {
        layer l = layer_open(*state, layer_types[d], 32, R, C);
        float *together = run(&l, 0, 32);
        for (int i = 0, first = 0; first < 32; i++) {
            int T = lengths[i % 6];
            T = first + T > 32 ? 32 - first : T;
            float *alone = run(&l, first, T);
            assert_same_bits(alone, together + first * R, (size_t)(T * R),
                             "%d tokens from %d on", T, first);
            free(alone);
            first += T;
        }
        free(together);
        layer_close(&l);
    }
}

/* Ask whether the bits depend on the schedule. */
static void test_schedules(void **state)
{
    enum { R = 5, C = 1056 };
    static const int tokens[] = {1, 8, 33};
    int seeds = getenv("FOLIO_QUICK") ? 2 : 20;
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 3; t++) {
            layer l = layer_open(*state, layer_types[d], tokens[t], R, C);
            float *first = run(&l, 0, l.T);
            for (int seed = 1; seed <= seeds; seed++) {
                verso_schedule((uint64_t)seed);
                float *got = run(&l, 0, l.T);
                assert_same_bits(got, first, (size_t)(l.T * R), "seed %d",
                                 seed);
                free(got);
            }
            verso_schedule(0);
            free(first);
            layer_close(&l);
        }
    verso_assert_clean();
}

/* Split numbers of every size. */
enum { SIZES = 43, ROWS = 5, COLUMNS = 256 };

/* Token t is its old self times 2 to this power. */
static int power_of(int t)
{
    return -110 + 5 * t;
}

/* A layer whose tokens have all sizes; tokens 7 and 9 are broken. */
static layer open_sizes(fo_device *device, fo_dtype dtype)
{
    layer l = layer_open(device, dtype, SIZES, ROWS, COLUMNS);
    for (int i = 0; i < SIZES * COLUMNS; i++)
        l.host_x[i] =
            ldexpf(l.host_x[i] * (i % 8 ? 0.001f : 1), power_of(i / COLUMNS));
    l.host_x[7 * COLUMNS + 3] = INFINITY;
    l.host_x[9 * COLUMNS + 3] = NAN;
    fo_error error;
    assert_int_equal(
        device->backend->upload(device, l.x.data, l.host_x, l.x.bytes, &error),
        FO_OK);
    return l;
}

static void test_numbers_of_every_size(void **state)
{
    for (int d = 0; d < 5; d++) {
        layer l = open_sizes(*state, layer_types[d]);
        static double want[SIZES * ROWS];
        float *got = run(&l, 0, SIZES), *cpu = run_on_cpu(&l);
        naive_linear(want, l.host_x, &l.host_weight, SIZES);
        for (int i = 0; i < SIZES * ROWS; i++) {
            int t = i / ROWS;
            if (t == 7 || t == 9) {
                assert_true(isnan(got[i]) == isnan(cpu[i]));
                assert_true(isinf(got[i]) == isinf(cpu[i]));
                got[i] = 0;
                want[i] = 0;
            }
            got[i] = ldexpf(got[i], -power_of(t));
            want[i] = ldexp(want[i], -power_of(t));
        }
        assert_close(got, want, SIZES * ROWS,
                     tolerance_of(layer_types[d], SIZES), "sizes of %s",
                     fo_dtype_info_get(layer_types[d])->name);
        free(cpu);
        free(got);
        layer_close(&l);
    }
}

/* Capture a layer in a graph. */
static void launch_twice(const layer *l, const float *want)
{
    fo_device *device = l->device;
    const fo_backend *backend = device->backend;
    size_t n = (size_t)l->T * (size_t)l->weight.R;
    fo_workload workload = {.max_tokens = l->T,
                            .max_rows = l->weight.R,
                            .max_columns = l->weight.C};
    guarded out = guarded_open(device, n * sizeof(float));
    guarded space =
        guarded_open(device, backend->workspace_bytes(device, &workload));
    fo_workspace workspace = {space.data, space.bytes};
    float *got = room(out.bytes);
    fo_error error = {0};
    void *graph;
    assert_int_equal(backend->graph_begin(device, &error), FO_OK);
    assert_int_equal(backend->linear(device, out.data, l->x.data, &l->weight,
                                     l->T, workspace, &error),
                     FO_OK);
    assert_int_equal(backend->graph_end(device, &graph, &error), FO_OK);
    guarded_read(&out, got);
    assert_true(isnan(got[0]) && isnan(got[n - 1]));
    for (int launch = 0; launch < 2; launch++) {
        backend->fill(device, out.data, 0xff, out.bytes, &error);
        assert_int_equal(backend->graph_launch(device, graph, &error), FO_OK);
        guarded_read(&out, got);
        assert_same_bits(got, want, n, "launch %d", launch);
    }
    backend->graph_free(device, graph);
    free(got);
    guarded_close(&space);
    guarded_close(&out);
}

static void test_in_a_graph(void **state)
{
    static const int tokens[] = {3, 40};
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 2; t++) {
            layer l = layer_open(*state, layer_types[d], tokens[t], 9, 96);
            float *want = run(&l, 0, l.T);
            launch_twice(&l, want);
            free(want);
            layer_close(&l);
        }
}

/* Refuse what the device's linear cannot do. */
/* The status of a call, which is to leave the output alone. */
static fo_status refused(const layer *l, const fo_weight *weight, int T,
                         size_t room_bytes, fo_error *error)
{
    fo_device *device = l->device;
    enum { MOST = 40 * 8 };
    float host[MOST];
    guarded out = guarded_open(device, sizeof host);
    guarded space = guarded_open(device, room_bytes);
    fo_workspace workspace = {space.data, space.bytes};
    fo_status status = device->backend->linear(device, out.data, l->x.data,
                                               weight, T, workspace, error);
    guarded_read(&out, host);
    for (int i = 0; i < MOST; i++)
        assert_true(isnan(host[i]));
    guarded_close(&space);
    guarded_close(&out);
    return status;
}

static void test_refusals(void **state)
{
    for (int d = 0; d < 5; d++) {
        layer l = layer_open(*state, layer_types[d], 40, 8, 64);
        fo_weight ragged = {l.weights.data, FO_Q8_0, 4, 33};
        fo_weight whole = {l.weights.data, FO_I32, 4, 32};
        fo_error error = {0};
        assert_int_equal(refused(&l, &l.weight, 40, 0, &error), FO_ARG);
        assert_true(error.required > 0 && error.available == 0);
        size_t little = error.required - 1;
        assert_int_equal(refused(&l, &l.weight, 40, little, &error), FO_ARG);
        assert_true(error.required == error.available + 1);
        assert_int_equal(refused(&l, &ragged, 1, 0, &error), FO_ARG);
        assert_int_equal(refused(&l, &whole, 1, 0, &error), FO_ARG);
        assert_int_equal(refused(&l, &l.weight, 0, 0, &error), FO_OK);
        layer_close(&l);
    }
}

/* Hold the stand-in to its contract. */
#ifndef FO_NO_SIM
typedef struct request {
    cublasLtHandle_t handle;
    cublasLtMatmulDescOpaque_t how;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
} request;

static request request_open(int rows)
{
    request q = {0};
    cublasLtMatmulPreferenceOpaque_t wish;
    cublasLtMatmulHeuristicResult_t result;
    size_t bytes = 512;
    int found = 0;
    cublasLtCreate(&q.handle);
    cublasLtMatmulDescInit(&q.how, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutInit(&q.a, CUDA_R_32F, (uint64_t)rows, 4, rows);
    cublasLtMatrixLayoutInit(&q.b, CUDA_R_32F, 4, 3, 4);
    cublasLtMatrixLayoutInit(&q.d, CUDA_R_32F, (uint64_t)rows, 3, rows);
    cublasLtMatmulPreferenceInit(&wish);
    cublasLtMatmulPreferenceSetAttribute(
        &wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    cublasLtMatmulAlgoGetHeuristic(q.handle, &q.how, &q.a, &q.b, &q.d, &q.d,
                                   &wish, 1, &result, &found);
    assert_int_equal(found, 1);
    q.algorithm = result.algo;
    return q;
}

static cublasStatus_t ask(request *q, char *memory, size_t off, size_t bytes)
{
    float one = 1, zero = 0;
    return cublasLtMatmul(q->handle, &q->how, &one, memory + off, &q->a,
                          memory + 1024, &q->b, &zero, memory + 2048, &q->d,
                          memory + 2048, &q->d, &q->algorithm, memory + 3072,
                          bytes, NULL);
}

static void test_the_stand_in_objects(void **state)
{
    if (!verso_is_simulated())
        skip();
    fo_device *device = *state;
    void *memory;
    assert_int_equal(device->backend->alloc(device, 4096, &memory, NULL),
                     FO_OK);
    assert_int_equal(device->backend->fill(device, memory, 0, 4096, NULL),
                     FO_OK);
    request q = request_open(8), other = request_open(16);
    assert_int_equal(ask(&q, memory, 0, 512), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(ask(&q, memory, 0, 256), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(ask(&q, memory, 16, 512), CUBLAS_STATUS_NOT_SUPPORTED);
    cublasLtMatmulAlgo_t kept = q.algorithm;
    q.algorithm = other.algorithm;
    assert_int_equal(ask(&q, memory, 0, 512), CUBLAS_STATUS_NOT_SUPPORTED);
    q.algorithm = kept;
    q.b.cols = 2;
    assert_int_equal(ask(&q, memory, 0, 512), CUBLAS_STATUS_INVALID_VALUE);
    q.b.cols = 3;
    verso_assert_clean();
    /* Multiply memory that is no device memory. */
    static _Alignas(256) char host[4096];
    assert_int_equal(ask(&q, host, 0, 512), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(sim_report_count(), 1);
    sim_reports_clear();
    (void)cudaGetLastError();
    cublasLtDestroy(other.handle);
    cublasLtDestroy(q.handle);
    device->backend->free(device, memory);
}
#endif

/* List the tests of linear on the device. */
static int open_device(void **state)
{
    *state = verso_open();
    return 0;
}

static int close_device(void **state)
{
    verso_assert_clean();
    verso_backend()->close((fo_device **)state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),
        cmocka_unit_test(test_the_judge_objects),
        cmocka_unit_test(test_alone_or_together),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_numbers_of_every_size),
        cmocka_unit_test(test_in_a_graph),
        cmocka_unit_test(test_refusals),
#ifndef FO_NO_SIM
        cmocka_unit_test(test_the_stand_in_objects),
#endif
    };
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, open_device, close_device);
}
