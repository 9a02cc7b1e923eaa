#include "common/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint64_t held(void)
{
    return fo_memory_usage_get(FO_MEMORY_HOST).bytes;
}

static uint64_t requests(void)
{
    return fo_memory_usage_get(FO_MEMORY_HOST).requests;
}

/* Count every byte and every request. */
static void every_byte_is_counted(void **state)
{
    (void)state;
    uint64_t bytes = held(), calls = requests();
    char *a = fo_memory_alloc(10, 10, NULL);
    char *b = fo_memory_alloc(1, 1, NULL);
    assert_int_equal(held(), bytes + 101);
    assert_int_equal(requests(), calls + 2);
    fo_memory_free(a);
    assert_int_equal(held(), bytes + 1);
    assert_true(fo_memory_usage_get(FO_MEMORY_HOST).peak >= bytes + 101);
    fo_memory_free(b);
    fo_memory_free(NULL);
    assert_int_equal(held(), bytes);
    assert_int_equal(requests(), calls + 2);
}

/* Hand out zeroed and aligned memory. */
static void memory_comes_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *data = fo_memory_alloc(bytes, 1, NULL);
        assert_non_null(data);
        assert_int_equal((uintptr_t)data % 64, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(data[i], 0);
        memset(data, 0xff, bytes);
        fo_memory_free(data);
    }
}

/* Keep what fits when resizing. */
static void resizing_keeps_what_fits_and_zeroes_the_rest(void **state)
{
    (void)state;
    uint64_t bytes = held();
    unsigned char *data = fo_memory_resize(NULL, 3, 1, NULL);
    memcpy(data, "abc", 3);
    data = fo_memory_resize(data, 200, 1, NULL);
    assert_memory_equal(data, "abc\0\0\0", 6);
    assert_int_equal(data[199], 0);
    assert_int_equal(held(), bytes + 200);
    data = fo_memory_resize(data, 2, 1, NULL);
    assert_memory_equal(data, "ab", 2);
    assert_int_equal(held(), bytes + 2);
    fo_memory_free(data);
}

/* Let the third request fail, and no other. */
static void the_planted_request_fails_and_no_other(void **state)
{
    (void)state;
    uint64_t bytes = held();
    fo_error error;
    fo_memory_fail_at(3);
    void *first = fo_memory_alloc(8, 1, &error);
    assert_int_equal(fo_memory_charge(FO_MEMORY_DEVICE, 5, &error), FO_OK);
    assert_null(fo_memory_resize(first, 16, 1, &error));
    assert_int_equal(error.status, FO_NOMEM);
    assert_int_equal(error.required, 16);
    void *grown = fo_memory_resize(first, 16, 1, &error);
    assert_non_null(grown);
    fo_memory_fail_at(1);
    fo_memory_fail_at(0);
    void *after = fo_memory_alloc(1, 1, &error);
    assert_non_null(after);
    fo_memory_free(after);
    fo_memory_free(grown);
    fo_memory_discharge(FO_MEMORY_DEVICE, 5);
    assert_int_equal(held(), bytes);
}

/* Refuse sizes that cannot be. */
static void an_impossible_size_is_refused(void **state)
{
    (void)state;
    uint64_t bytes = held();
    fo_error error;
    assert_null(fo_memory_alloc(SIZE_MAX / 2, 3, &error));
    assert_int_equal(error.status, FO_NOMEM);
    assert_true(error.required > error.available);
    assert_null(fo_memory_alloc(SIZE_MAX, 1, &error));
    assert_null(fo_memory_alloc((size_t)PTRDIFF_MAX, 1, &error));
    assert_int_equal(held(), bytes);
}

/* Count device bytes apart. */
static void device_bytes_are_counted_apart(void **state)
{
    (void)state;
    uint64_t host = held();
    uint64_t device = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    assert_int_equal(fo_memory_charge(FO_MEMORY_DEVICE, 4096, NULL), FO_OK);
    assert_int_equal(held(), host);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes,
                     device + 4096);
    fo_memory_discharge(FO_MEMORY_DEVICE, 4096);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, device);
}

/* Churn memory in several threads. */
enum { THREADS = 4, ROUNDS = 5000 };

static void *churn(void *refused)
{
    for (size_t i = 0; i < ROUNDS; i++) {
        void *data = fo_memory_alloc(i % 97, 3, NULL);
        *(int *)refused += !data;
        fo_memory_free(data);
    }
    return NULL;
}

/* Count exactly in many threads. */
static void many_threads_leave_exact_counts(void **state)
{
    (void)state;
    uint64_t bytes = held(), calls = requests();
    pthread_t threads[THREADS];
    int refused[THREADS] = {0}, total = 0;
    fo_memory_fail_at(THREADS * ROUNDS / 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &refused[i]),
                         0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        total += refused[i];
    }
    assert_int_equal(held(), bytes);
    assert_int_equal(requests(), calls + THREADS * ROUNDS);
    assert_int_equal(total, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_counted),
        cmocka_unit_test(memory_comes_zeroed_and_aligned),
        cmocka_unit_test(resizing_keeps_what_fits_and_zeroes_the_rest),
        cmocka_unit_test(the_planted_request_fails_and_no_other),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(device_bytes_are_counted_apart),
        cmocka_unit_test(many_threads_leave_exact_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
