#include "null_backend.h"

#include "common/memory.h"
#include "cpu/cpu.h"

#include "inputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Fill every slot, and notice an empty one. */
static void every_required_slot_is_filled(void **state)
{
    (void)state;
    assert_null(backend_missing_slot(&null_backend));
    assert_null(backend_missing_slot(&fo_backend_cpu));
}

static void an_empty_slot_is_found(void **state)
{
    (void)state;
    fo_backend broken = null_backend;
    broken.kv_copy = NULL;
    assert_string_equal(backend_missing_slot(&broken), "kv_copy");
    broken = null_backend;
    broken.pool_check = NULL;
    assert_string_equal(backend_missing_slot(&broken), "pool_check");
}

/* Open a null device for a test. */
static fo_device *open_device(void)
{
    fo_device_options options = {0};
    fo_device *device = NULL;
    assert_int_equal(null_backend.open(&options, &device, NULL), FO_OK);
    assert_ptr_equal(device->backend, &null_backend);
    return device;
}

/* Open a device, run an op, and leave nothing behind. */
static void a_device_opens_works_and_closes(void **state)
{
    (void)state;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_device *device = open_device();
    const fo_backend *backend = device->backend;
    fo_device_info info;
    backend->info(device, &info);
    assert_string_equal(info.name, backend->name);
    float sum[3] = {1, 2, 3};
    guarded x = guarded_copy(device, sum, sizeof sum);
    assert_int_equal(backend->add(device, x.data, x.data, x.data, 3, NULL),
                     FO_OK);
    assert_int_equal(backend->sync(device, NULL), FO_OK);
    guarded_read(&x, sum);
    for (int i = 0; i < 3; i++)
        assert_true(sum[i] == 0);
    guarded_close(&x);
    backend->close(&device);
    assert_null(device);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
}

/* Do nothing for a count of zero. */
static void a_count_of_zero_touches_nothing(void **state)
{
    (void)state;
    fo_device *device = open_device();
    assert_int_equal(null_backend.add(device, NULL, NULL, NULL, 0, NULL),
                     FO_OK);
    assert_int_equal(null_backend.copy(device, NULL, NULL, 0, NULL), FO_OK);
    fo_attention none = {.H = 4};
    fo_kv kv = {.D = 64};
    assert_int_equal(null_backend.attention_decode(device, NULL, NULL, &kv,
                                                   NULL, &none,
                                                   (fo_workspace){0}, NULL),
                     FO_OK);
    null_backend.close(&device);
}

/* Catch a write past a buffer. */
static void a_write_past_a_buffer_is_caught(void **state)
{
    (void)state;
    fo_device *device = open_device();
    guarded x = guarded_open(device, 40);
    assert_true(guarded_intact(&x));
    float inside[10];
    guarded_read(&x, inside);
    for (int i = 0; i < 10; i++)
        assert_true(inside[i] != inside[i]);
    for (int side = 0; side < 2; side++) {
        char *outside = (char *)x.data + (side == 0 ? -1 : 40);
        char kept = *outside;
        device->backend->fill(device, outside, 0, 1, NULL);
        assert_false(guarded_intact(&x));
        device->backend->fill(device, outside, (uint8_t)kept, 1, NULL);
    }
    guarded_close(&x);
    null_backend.close(&device);
}

/* Reserve what is never committed. */
static void memory_cannot_be_committed(void **state)
{
    (void)state;
    fo_device *device = open_device();
    void *reserved;
    fo_error error;
    assert_int_equal(null_backend.reserve(device, 1 << 30, &reserved, &error),
                     FO_OK);
    assert_non_null(reserved);
    assert_int_equal(null_backend.commit(device, reserved, 0, &error), FO_OK);
    assert_int_equal(null_backend.commit(device, reserved, 1, &error),
                     FO_NOMEM);
    assert_true(error.required > error.available);
    null_backend.unreserve(device, reserved);
    null_backend.close(&device);
}

/* Refuse blocks from an empty pool. */
static void a_pool_without_blocks_refuses(void **state)
{
    (void)state;
    fo_device *device = open_device();
    fo_pool *pool;
    fo_error error;
    fo_pool_shape shape = {.num_blocks = 9, .B = 16, .max_rows = 2};
    assert_int_equal(null_backend.pool_open(device, &shape, &pool, &error),
                     FO_NOMEM);
    assert_true(error.required > error.available);
    shape.num_blocks = 0;
    assert_int_equal(null_backend.pool_open(device, &shape, &pool, &error),
                     FO_OK);
    fo_pool_request requests[3] = {{0, 17, 17}, {1, 0, 0}, {1, 2, 1}};
    fo_pool_grant grants[3];
    assert_int_equal(
        null_backend.pool_extend(device, pool, requests, grants, 3, &error),
        FO_OK);
    assert_int_equal(grants[0].wanted, 2);
    assert_int_equal(grants[0].granted, -1);
    assert_int_equal(grants[1].granted, 0);
    assert_int_equal(grants[2].wanted, -1);
    fo_pool_stats stats;
    null_backend.pool_stats(device, pool, &stats, &error);
    assert_int_equal(stats.illegal, 1);
    assert_int_equal(stats.free + stats.held, stats.total);
    assert_int_equal(null_backend.pool_resize(device, pool, 0, &error), FO_OK);
    assert_int_equal(null_backend.pool_resize(device, pool, 1, &error), FO_ARG);
    null_backend.pool_close(device, &pool);
    assert_null(pool);
    null_backend.close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_required_slot_is_filled),
        cmocka_unit_test(an_empty_slot_is_found),
        cmocka_unit_test(a_device_opens_works_and_closes),
        cmocka_unit_test(a_count_of_zero_touches_nothing),
        cmocka_unit_test(a_write_past_a_buffer_is_caught),
        cmocka_unit_test(memory_cannot_be_committed),
        cmocka_unit_test(a_pool_without_blocks_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
