#include "common/memory.h"
#include "inputs.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/runtime.h"
#include "sim/simt.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef FO_NO_SIM
int main(void)
{
    printf("SKIP: this build has no simulated GPU\n");
    return 0;
}
#else

enum { MIB = 1 << 20 };

/* Watch slabs come and go. */
static void test_sim_slabs(void **state)
{
    (void)state;
    uint64_t none = sim_memory_taken();
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    void *small[3], *large;
    assert_int_equal(sim_memory_taken(), none);
    for (int i = 0; i < 3; i++)
        assert_int_equal(backend->alloc(device, 1000, &small[i], NULL), FO_OK);
    assert_int_equal(sim_memory_taken() - none, 2 * MIB);
    assert_int_equal(backend->alloc(device, 7 * MIB, &large, NULL), FO_OK);
    assert_int_equal(sim_memory_taken() - none, 8 * MIB);
    backend->free(device, small[1]);
    assert_int_equal(sim_memory_taken() - none, 8 * MIB);
    backend->free(device, large);
    assert_int_equal(sim_memory_taken() - none, 2 * MIB);
    backend->free(device, small[0]);
    backend->free(device, small[2]);
    assert_int_equal(sim_memory_taken(), none);
    backend->close(&device);
}

/* Run out of physical memory. */
static void test_sim_runs_out(void **state)
{
    (void)state;
    sim_memory_limit(sim_memory_taken() + 8 * MIB);
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    fo_error error;
    void *a, *b;
    assert_int_equal(backend->alloc(device, 5 * MIB, &a, &error), FO_OK);
    assert_int_equal(backend->alloc(device, 4 * MIB, &b, &error), FO_NOMEM);
    assert_null(b);
    assert_int_equal(error.required, 4 * MIB);
    assert_int_equal(error.available, 2 * MIB);
    fo_device_info info;
    backend->info(device, &info);
    assert_int_equal(info.memory_own, 5 * MIB);
    backend->free(device, a);
    assert_int_equal(backend->alloc(device, 7 * MIB, &b, &error), FO_OK);
    backend->free(device, b);
    backend->close(&device);
    sim_memory_limit(0);
}

/* Run out of physical memory in the middle of a growth. */
static void test_D5_sim_runs_out_while_growing(void **state)
{
    (void)state;
    sim_memory_limit(sim_memory_taken() + 8 * MIB);
    fo_device *device = verso_open();
    const fo_backend *op = device->backend;
    fo_error error;
    void *a;
    assert_int_equal(op->reserve(device, 64 * MIB, &a, NULL), FO_OK);
    assert_int_equal(op->commit(device, a, 4 * MIB, NULL), FO_OK);
    uint64_t taken = sim_memory_taken();
    assert_int_equal(op->commit(device, a, 12 * MIB, &error), FO_NOMEM);
    assert_int_equal(error.required, 8 * MIB);
    assert_int_equal(error.available, 4 * MIB);
    assert_int_equal(sim_memory_taken(), taken);
    fo_device_info info;
    op->info(device, &info);
    assert_int_equal(info.memory_own, 4 * MIB);
    assert_int_equal(op->commit(device, a, 8 * MIB, NULL), FO_OK);
    /* Beyond the edge nothing may be touched, not even by the host. */
    assert_int_equal(op->commit(device, a, 7 * MIB, NULL), FO_OK);
    for (int i = 0; i < 2; i++) {
        size_t outside = i ? 8 * MIB : 7 * MIB;
        assert_int_equal(op->fill(device, (char *)a + outside, 0, 1, &error),
                         FO_DEVICE);
        assert_true(sim_report_count() > 0);
        sim_reports_clear();
    }
    op->unreserve(device, a);
    assert_int_equal(sim_memory_taken(), taken - 4 * MIB);
    op->close(&device);
    sim_memory_limit(0);
}

/* Open a device where there is none. */
static void test_sim_without_a_gpu(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    setenv("FOLIO_SIM_DEVICES", "0", 1);
    assert_int_equal(verso_backend()->open(NULL, &device, &error), FO_DEVICE);
    unsetenv("FOLIO_SIM_DEVICES");
    assert_null(device);
    assert_non_null(strstr(error.message, "no GPU"));
    assert_non_null(strstr(error.message, "no CUDA-capable device"));
}

/* Fail each call of a matrix product in turn. */
static void test_sim_products_fail_in_turn(void **state)
{
    (void)state;
    enum { T = 80, C = 64 };
    static float ones[T * C], out[T * C];
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    for (int i = 0; i < T * C; i++)
        ones[i] = 1;
    fo_workload load = {.max_tokens = T, .max_columns = C, .max_rows = C};
    size_t bytes = backend->workspace_bytes(device, &load);
    guarded x = guarded_copy(device, ones, sizeof ones);
    guarded y = guarded_open(device, sizeof out);
    guarded w = guarded_open(device, bytes);
    fo_weight weight = {x.data, FO_F32, C, C};
    int n = 0, seen = 0;
    const char *failed;
    do {
        fo_error error = {0};
        sim_fail_at((uint64_t)++n);
        fo_status status =
            backend->linear(device, y.data, x.data, &weight, T,
                            (fo_workspace){w.data, bytes}, &error);
        failed = sim_failed_call();
        sim_fail_at(0);
        seen += status != FO_OK;
        if (status != FO_OK && !strstr(error.message, failed))
            fail_msg("%s failed, and the error says %s", failed, error.message);
        guarded_read(&y, out);
        for (int i = 0; i < T * C && status == FO_OK; i++)
            assert_true(out[i] == C);
    } while (failed);
    assert_true(seen > 0);
    guarded *all[] = {&x, &y, &w};
    for (int i = 0; i < 3; i++)
        guarded_close(all[i]);
    backend->close(&device);
    verso_assert_clean();
}

/* Catch faults by name. */
static void test_sim_faults_have_names(void **state)
{
    (void)state;
    float here[8] = {0};
    fo_device *device = verso_open();
    const fo_backend *backend = device->backend;
    fo_error error;
    void *data;
    sim_report_stream(NULL);
    assert_int_equal(backend->alloc(device, 256, &data, NULL), FO_OK);
    if (sim_settings_get().checks) {
        assert_int_equal(backend->add(device, data, here, here, 8, &error),
                         FO_DEVICE);
        assert_non_null(strstr(error.message, "add_arrays"));
        assert_int_equal(sim_report_get(0)->fault, SIM_HOST_POINTER);
    }
    assert_int_equal(backend->fill(device, data, 0, 257, &error), FO_DEVICE);
    assert_non_null(strstr(error.message, "cudaMemsetAsync"));
    backend->free(device, data);
    assert_int_equal(backend->download(device, here, data, 32, &error),
                     FO_DEVICE);
    assert_non_null(strstr(error.message, "cudaMemcpyAsync"));
    assert_true(sim_report_count() >= 2);
    sim_reports_clear();
    sim_report_stream(stderr);
    assert_int_equal(backend->sync(device, &error), FO_OK);
    backend->close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_slabs),
        cmocka_unit_test(test_sim_runs_out),
        cmocka_unit_test(test_D5_sim_runs_out_while_growing),
        cmocka_unit_test(test_sim_without_a_gpu),
        cmocka_unit_test(test_sim_products_fail_in_turn),
        cmocka_unit_test(test_sim_faults_have_names),
    };
    if (!verso_is_simulated()) {
        printf("SKIP: the device is a GPU\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
