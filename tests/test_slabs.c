#include "common/memory.h"
#include "cpu/cpu.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Open a device to commit on. */
static fo_device *open_device(uint64_t limit)
{
    fo_device_options options = {.memory_limit = limit};
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(&options, &device, NULL), FO_OK);
    return device;
}

static uint64_t own(fo_device *device)
{
    fo_device_info info;
    device->backend->info(device, &info);
    return info.memory_own;
}

static fo_error commit_error;

static fo_status commit(fo_device *device, void *reserved, size_t bytes)
{
    return device->backend->commit(device, reserved, bytes, &commit_error);
}

/* Let a child touch a byte. */
/* The signal that ends whoever writes to this address, 0 if none does. */
static int signal_at(char *address)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)address = 1;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Test the edge of what is committed. */
static void test_D5_memory_ends_where_it_was_committed(void **state)
{
    (void)state;
    fo_device *device = open_device(0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *reserved;
    assert_int_equal(fo_backend_cpu.reserve(device, 8 * page, &reserved, NULL),
                     FO_OK);
    char *at = reserved;
    assert_int_equal(own(device), 0);
    assert_int_equal(signal_at(at), SIGSEGV);
    static const int pages[] = {1, 3, 8, 2, 5, 0};
    for (int i = 0; i < 6; i++) {
        size_t bytes = (size_t)pages[i] * page;
        assert_int_equal(commit(device, at, bytes ? bytes - 7 : 0), FO_OK);
        assert_int_equal(own(device), bytes);
        if (bytes > 0)
            assert_int_equal(signal_at(at + bytes - 1), 0);
        if (pages[i] < 8)
            assert_int_equal(signal_at(at + bytes), SIGSEGV);
    }
    fo_backend_cpu.unreserve(device, reserved);
    fo_backend_cpu.close(&device);
}

/* Test what a commitment keeps. */
static void test_D5_what_lies_below_the_edge_stays(void **state)
{
    (void)state;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_device *device = open_device(0);
    const fo_backend *op = device->backend;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *a, *b;
    assert_int_equal(op->reserve(device, 100 * page, &a, NULL), FO_OK);
    assert_int_equal(op->reserve(device, 1, &b, NULL), FO_OK);
    assert_int_equal(commit(device, a, 2 * page), FO_OK);
    assert_int_equal(commit(device, b, 1), FO_OK);
    memset(a, 7, 2 * page);
    memset(b, 8, page);
    assert_int_equal(commit(device, a, 100 * page), FO_OK);
    memset((char *)a + 2 * page, 9, 98 * page);
    assert_int_equal(commit(device, a, page + 1), FO_OK);
    for (size_t i = 0; i < 2 * page; i++)
        assert_int_equal(((char *)a)[i], 7);
    for (size_t i = 0; i < page; i++)
        assert_int_equal(((char *)b)[i], 8);
    assert_int_equal(own(device), 3 * page);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, 3 * page);
    op->unreserve(device, a);
    op->unreserve(device, b);
    op->unreserve(device, NULL);
    assert_int_equal(own(device), 0);
    op->close(&device);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
}

/* Test commitments that are refused. */
static void test_D5_a_refused_commitment_changes_nothing(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    fo_device *device = open_device(4 * page);
    void *a;
    assert_int_equal(device->backend->reserve(device, 64 * page, &a, NULL),
                     FO_OK);
    assert_int_equal(commit(device, a, 3 * page), FO_OK);
    memset(a, 7, 3 * page);
    assert_int_equal(commit(device, a, 5 * page), FO_NOMEM);
    assert_int_equal(commit_error.required, 2 * page);
    assert_int_equal(commit_error.available, page);
    fo_memory_fail_at(1);
    assert_int_equal(commit(device, a, 4 * page), FO_NOMEM);
    assert_int_equal(commit(device, a, 64 * page + 1), FO_ARG);
    assert_int_equal(own(device), 3 * page);
    assert_int_equal(signal_at((char *)a + 3 * page - 1), 0);
    assert_int_equal(signal_at((char *)a + 3 * page), SIGSEGV);
    assert_int_equal(((char *)a)[0], 7);
    assert_int_equal(commit(device, a, 4 * page), FO_OK);
    device->backend->unreserve(device, a);
    assert_int_equal(own(device), 0);
    /* Addresses and the note of them can be refused, too. */
    fo_memory_fail_at(1);
    assert_int_equal(device->backend->reserve(device, page, &a, NULL),
                     FO_NOMEM);
    assert_null(a);
    fo_error error;
    assert_int_equal(device->backend->reserve(device, SIZE_MAX, &a, &error),
                     FO_NOMEM);
    assert_true(error.required > error.available);
    fo_backend_cpu.close(&device);
}

/* Run the tests of slabs. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_D5_memory_ends_where_it_was_committed),
        cmocka_unit_test(test_D5_what_lies_below_the_edge_stays),
        cmocka_unit_test(test_D5_a_refused_commitment_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
