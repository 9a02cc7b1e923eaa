#include "common/memory.h"
#include "cpu/cpu.h"
#include "inputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Count the bytes of a device. */
static uint64_t own(fo_device *device)
{
    fo_device_info info;
    device->backend->info(device, &info);
    return info.memory_own;
}

static void test_device_counts(void **state)
{
    (void)state;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4097, 1 << 20};
    void *data[7];
    uint64_t sum = 0;
    for (int i = 0; i < 7; i++) {
        assert_int_equal(
            device->backend->alloc(device, sizes[i], &data[i], NULL), FO_OK);
        assert_int_equal((uintptr_t)data[i] % 64, 0);
        memset(data[i], 0xff, sizes[i]);
        sum += sizes[i];
        assert_int_equal(own(device), sum);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes - before,
                         sum);
    }
    for (int i = 0; i < 7; i++)
        device->backend->free(device, data[i]);
    device->backend->free(device, NULL);
    assert_int_equal(own(device), 0);
    fo_backend_cpu.close(&device);
    assert_null(device);
    fo_backend_cpu.close(&device);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, before);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
}

/* Run into the limit. */
static void test_device_limit(void **state)
{
    (void)state;
    fo_device_options options = {.memory_limit = 1000};
    fo_device *device;
    fo_error error;
    void *a, *b;
    assert_int_equal(fo_backend_cpu.open(&options, &device, NULL), FO_OK);
    assert_int_equal(device->backend->alloc(device, 600, &a, &error), FO_OK);
    static const size_t wrong[] = {401, 1000, SIZE_MAX / 2, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        uint64_t requests = fo_memory_usage_get(FO_MEMORY_DEVICE).requests;
        b = &options;
        assert_int_equal(device->backend->alloc(device, wrong[i], &b, &error),
                         FO_NOMEM);
        assert_null(b);
        assert_true(error.required == wrong[i]);
        assert_true(error.required > error.available);
        assert_int_equal(own(device), 600);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests,
                         requests);
    }
    assert_int_equal(device->backend->alloc(device, 400, &b, &error), FO_OK);
    fo_device_info info;
    device->backend->info(device, &info);
    assert_int_equal(info.memory_total, 1000);
    assert_int_equal(info.memory_free, 0);
    device->backend->free(device, a);
    device->backend->free(device, b);
    fo_backend_cpu.close(&device);
}

/* Fail each request in turn. */
static void test_device_failures(void **state)
{
    (void)state;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_device *device;
    fo_error error;
    void *data[3];
    fo_memory_fail_at(1);
    assert_int_equal(fo_backend_cpu.open(NULL, &device, &error), FO_NOMEM);
    assert_null(device);
    assert_int_equal(error.status, FO_NOMEM);
    for (int n = 1; n <= 3; n++) {
        assert_int_equal(fo_backend_cpu.open(NULL, &device, &error), FO_OK);
        fo_memory_fail_at((uint64_t)n);
        for (int i = 0; i < 3; i++) {
            fo_status status =
                device->backend->alloc(device, 100, &data[i], &error);
            assert_int_equal(status, i + 1 == n ? FO_NOMEM : FO_OK);
        }
        assert_int_equal(own(device), 200);
        for (int i = 0; i < 3; i++)
            device->backend->free(device, data[i]);
        fo_backend_cpu.close(&device);
    }
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
}

/* Move bytes there and back. */
static void test_device_moves(void **state)
{
    (void)state;
    char there[300], back[300];
    for (int i = 0; i < 300; i++)
        there[i] = (char)(i * 7);
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    const fo_backend *backend = device->backend;
    guarded a = guarded_open(device, 300), b = guarded_open(device, 300);
    assert_int_equal(backend->upload(device, a.data, there, 300, NULL), FO_OK);
    assert_int_equal(backend->copy(device, b.data, a.data, 300, NULL), FO_OK);
    assert_int_equal(backend->fill(device, a.data, 9, 300, NULL), FO_OK);
    assert_int_equal(backend->download(device, back, b.data, 300, NULL), FO_OK);
    assert_int_equal(backend->sync(device, NULL), FO_OK);
    assert_memory_equal(back, there, 300);
    guarded_read(&a, back);
    for (int i = 0; i < 300; i++)
        assert_int_equal(back[i], 9);
    assert_int_equal(backend->upload(device, a.data, NULL, 0, NULL), FO_OK);
    assert_int_equal(backend->fill(device, NULL, 1, 0, NULL), FO_OK);
    guarded_close(&a);
    guarded_close(&b);
    fo_backend_cpu.close(&device);
}

static void test_device_maps(void **state)
{
    (void)state;
    static const int numbers[4] = {1, 2, 3, 4};
    const void *mapped;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    assert_int_equal(
        device->backend->map(device, numbers, sizeof numbers, &mapped, NULL),
        FO_OK);
    assert_ptr_equal(mapped, numbers);
    assert_int_equal(own(device), 0);
    device->backend->unmap(device, mapped);
    fo_backend_cpu.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_counts),
        cmocka_unit_test(test_device_limit),
        cmocka_unit_test(test_device_failures),
        cmocka_unit_test(test_device_moves),
        cmocka_unit_test(test_device_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
