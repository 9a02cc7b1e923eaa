#include "common/log.h"
#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
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

static size_t resident_pages(void *start, size_t count)
{
    unsigned char there[64];
    size_t pages = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    assert_true(count <= sizeof there);
    assert_int_equal(mincore(start, count * page, there), 0);
    for (size_t i = 0; i < count; i++)
        pages += there[i] & 1;
    return pages;
}

static void test_D5_what_is_given_back_is_gone(void **state)
{
    (void)state;
    fo_device *device = open_device(0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *a;
    assert_int_equal(device->backend->reserve(device, 64 * page, &a, NULL),
                     FO_OK);
    assert_int_equal(resident_pages(a, 64), 0);
    assert_int_equal(commit(device, a, 64 * page), FO_OK);
    memset(a, 7, 64 * page);
    assert_int_equal(resident_pages(a, 64), 64);
    assert_int_equal(commit(device, a, 10 * page), FO_OK);
    assert_int_equal(resident_pages(a, 64), 10);
    device->backend->unreserve(device, a);
    fo_backend_cpu.close(&device);
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

/* Open a manager in slabs. */
typedef struct fixture {
    fo_device *device;
    fo_block_manager *m;
    const fo_block_table *table;
    fo_error error;
} fixture;

static const fo_block_config in_slabs = {.total_blocks = 10,
                                         .block_size = 4,
                                         .num_layers = 2,
                                         .kv_heads = 1,
                                         .head_dim = 2,
                                         .dtype = FO_F32,
                                         .max_sequences = 4,
                                         .max_length = 24,
                                         .slab_blocks = 4};

static fixture fixture_open(const fo_block_config *config, uint64_t limit)
{
    fixture f = {.device = open_device(limit)};
    if (fo_block_manager_open(f.device, config, &f.m, &f.error) != FO_OK)
        fail_msg("%s", f.error.message);
    f.table = fo_block_manager_table(f.m);
    return f;
}

static fo_block_stats stats_of(fixture *f)
{
    fo_block_stats stats;
    assert_int_equal(fo_block_manager_stats(f->m, &stats, &f->error), FO_OK);
    assert_int_equal(stats.pool.free + stats.pool.held, stats.pool.total);
    if (fo_block_manager_check(f->m, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
    return stats;
}

static void fixture_close(fixture *f)
{
    stats_of(f);
    fo_block_manager_close(&f->m);
    f->device->backend->close(&f->device);
}

static fo_status extend(fixture *f, int64_t sequence, int tokens)
{
    return fo_block_manager_extend(f->m, sequence, tokens, &f->error);
}

/* Test that memory follows the load. */
static void test_D5_memory_follows_the_load(void **state)
{
    (void)state;
    fixture f = fixture_open(&in_slabs, 0);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), base = own(f.device);
    assert_int_equal(stats_of(&f).committed_bytes, 0);
    assert_int_equal(stats_of(&f).pool.total, 0);
    assert_int_equal(extend(&f, 1, 1), FO_OK); /* the first slab */
    assert_int_equal(stats_of(&f).pool.total, 4);
    assert_int_equal(stats_of(&f).committed_bytes, 4 * 128);
    assert_int_equal(own(f.device) - base, 4 * page);
    assert_int_equal(extend(&f, 2, 12), FO_OK); /* the other three blocks */
    assert_int_equal(stats_of(&f).pool.total, 4);
    assert_int_equal(extend(&f, 2, 1), FO_OK);  /* the second slab */
    assert_int_equal(extend(&f, 3, 20), FO_OK); /* and the last, of two */
    assert_int_equal(stats_of(&f).pool.total, 10);
    assert_int_equal(stats_of(&f).pool.free, 0);
    assert_int_equal(extend(&f, 4, 1), FO_FULL);
    assert_int_equal(f.error.available, 0);
    /* Give the slabs back from the end. */
    assert_int_equal(fo_block_manager_shrink(f.m, 0, NULL), FO_OK);
    assert_int_equal(stats_of(&f).pool.total, 10); /* nothing to give */
    fo_block_manager_free_sequence(f.m, 3, NULL);
    assert_int_equal(fo_block_manager_shrink(f.m, 1, NULL), FO_OK);
    assert_int_equal(stats_of(&f).pool.total, 10);
    assert_int_equal(fo_block_manager_shrink(f.m, 0, NULL), FO_OK);
    assert_int_equal(stats_of(&f).pool.total, 8);
    fo_block_manager_free_sequence(f.m, 2, NULL);
    fo_block_manager_shrink(f.m, 0, NULL);
    assert_int_equal(stats_of(&f).pool.total, 4);
    assert_int_equal(stats_of(&f).committed_bytes, 4 * 128);
    assert_int_equal(own(f.device) - base, 4 * page);
    fo_block_manager_free_sequence(f.m, 1, NULL);
    fo_block_manager_shrink(f.m, 0, NULL);
    assert_int_equal(own(f.device), base);
    assert_int_equal(fo_block_manager_reserve(f.m, 5, NULL), FO_OK);
    assert_int_equal(stats_of(&f).pool.free, 8);
    assert_int_equal(fo_block_manager_reserve(f.m, 11, &f.error), FO_FULL);
    assert_int_equal(f.error.required, 11);
    assert_int_equal(f.error.available, 10);
    assert_int_equal(stats_of(&f).pool.free, 8);
    fixture_close(&f);
}

/* Test that memory may be short. */
static void test_A2_D5_memory_may_be_short(void **state)
{
    (void)state;
    fo_block_config config = in_slabs;
    config.head_dim = 256;
    fixture f = fixture_open(&config, 110000);
    uint64_t base = own(f.device);
    assert_int_equal(extend(&f, 1, 16), FO_OK);
    assert_int_equal(own(f.device) - base, 65536);
    /* In one batch: one that finds no memory, and one that needs none. */
    fo_block_manager_truncate(f.m, 1, 12, NULL);
    fo_block_request requests[] = {{2, 5, 0}, {3, 2, 0}, {4, 41 - 20, 0}};
    fo_error results[3];
    assert_int_equal(
        fo_block_manager_extend_batch(f.m, requests, results, 3, NULL), FO_OK);
    assert_int_equal(results[0].status, FO_FULL);
    assert_int_equal(results[0].required, 2);
    assert_int_equal(results[0].available, 1);
    assert_non_null(strstr(results[0].message, "65536 bytes wanted"));
    assert_int_equal(results[1].status, FO_OK);
    assert_int_equal(results[2].status, FO_FULL);
    assert_int_equal(fo_block_table_length(f.table, 2), -1);
    assert_int_equal(own(f.device) - base, 65536);
    assert_int_equal(fo_block_manager_reserve(f.m, 1, &f.error), FO_NOMEM);
    assert_true(f.error.required > f.error.available);
    assert_int_equal(fo_block_manager_reserve(f.m, 7, &f.error), FO_FULL);
    fo_block_manager_free_sequence(f.m, 1, NULL);
    assert_int_equal(extend(&f, 2, 12), FO_OK);
    fixture_close(&f);
}

/* Test each refusal of memory in turn. */
static void test_D5_each_array_of_a_slab_may_be_refused(void **state)
{
    (void)state;
    fo_block_config config = in_slabs;
    config.head_dim = 256; /* a page in each array for each block */
    fixture f = fixture_open(&config, 0);
    assert_int_equal(extend(&f, 1, 16), FO_OK);
    fo_block_manager_truncate(f.m, 1, 15, NULL);
    int n = 0;
    for (fo_status status = FO_FULL; status != FO_OK;) {
        fo_block_stats before = stats_of(&f);
        uint64_t bytes = own(f.device);
        fo_memory_fail_at((uint64_t)++n);
        status = extend(&f, 1, 2);
        fo_memory_fail_at(0);
        if (status == FO_OK)
            break;
        assert_int_equal(status, FO_FULL);
        assert_non_null(strstr(f.error.message, "memory"));
        fo_block_stats after = stats_of(&f);
        assert_int_equal(own(f.device), bytes);
        assert_int_equal(after.pool.total, before.pool.total);
        assert_int_equal(after.committed_bytes, before.committed_bytes);
        assert_int_equal(fo_block_table_length(f.table, 1), 15);
    }
    assert_int_equal(n, 5); /* K and V of two layers, and then none */
    assert_int_equal(stats_of(&f).pool.total, 8);
    fixture_close(&f);
}

/* Test that slabs change nothing else. */
static fo_status act(fixture *f, uint32_t kind, int64_t user, int64_t other,
                     int amount)
{
    int length = fo_block_table_length(f->table, user);
    switch (kind) {
    default:
        return extend(f, user, amount);
    case 0:
    case 8:
    case 9:
        return fo_block_manager_free_sequence(f->m, user, &f->error);
    case 1:
        return fo_block_manager_fork(f->m, user, other, length - amount / 3,
                                     &f->error);
    case 2:
        return fo_block_manager_truncate(f->m, user, length - amount,
                                         &f->error);
    case 3:
        return fo_block_manager_allocate(f->m, user, amount / 3 + 1, &f->error);
    }
}

static void test_A4_D5_slabs_change_nothing_else(void **state)
{
    (void)state;
    fo_block_config config = in_slabs;
    config.slab_blocks = 0;
    fixture a = fixture_open(&in_slabs, 0), b = fixture_open(&config, 0);
    int full = 0, moved = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t dice[4];
        fo_rng_block(91, 0, i, dice);
        int64_t user = dice[0] % 4, other = dice[1] % 4;
        int amount = (int)(dice[2] % 7);
        int32_t total = stats_of(&a).pool.total;
        fo_status got = act(&a, dice[3] % 10, user, other, amount);
        fo_status want = act(&b, dice[3] % 10, user, other, amount);
        assert_int_equal(got, want);
        for (int64_t u = 0; u < 4; u++)
            assert_int_equal(fo_block_table_length(a.table, u),
                             fo_block_table_length(b.table, u));
        if (dice[2] % 8 == 0)
            fo_block_manager_shrink(a.m, (int)(dice[1] % 2), NULL);
        fo_block_stats s = stats_of(&a), t = stats_of(&b);
        assert_int_equal(s.pool.held, t.pool.held);
        assert_int_equal(s.pool.tokens, t.pool.tokens);
        full += got == FO_FULL;
        moved += s.pool.total != total;
    }
    print_message("%d times full, the edge moved %d times\n", full, moved);
    assert_true(full > 0 && moved > 100);
    fixture_close(&a);
    fixture_close(&b);
}

/* Test what is logged of slabs. */
static void test_D9_slabs_are_logged(void **state)
{
    (void)state;
    char text[1000] = "";
    FILE *log = tmpfile();
    fo_log_open(log, FO_LOG_INFO);
    fixture f = fixture_open(&in_slabs, 0);
    assert_int_equal(extend(&f, 1, 20), FO_OK);
    fo_block_manager_free_sequence(f.m, 1, NULL);
    assert_int_equal(fo_block_manager_shrink(f.m, 1, NULL), FO_OK);
    fo_log_open(NULL, FO_LOG_INFO);
    rewind(log);
    size_t length = fread(text, 1, sizeof text - 1, log);
    text[length] = '\0';
    fclose(log);
    const char *line = strstr(text, "\"slab_committed\"");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"blocks\": 4"));
    line = strstr(line + 1, "\"slab_committed\"");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"committed_bytes\": 1024"));
    line = strstr(line + 1, "\"slab_returned\"");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"bytes\": 512"));
    assert_non_null(strstr(line, "\"committed_bytes\": 512"));
    fixture_close(&f);
}

/* Test that a block without memory cannot be touched. */
static void test_D5_a_block_behind_the_edge_faults(void **state)
{
    (void)state;
    fo_block_config config = in_slabs;
    config.head_dim = 256; /* a page in each array for each block */
    fixture f = fixture_open(&config, 0);
    assert_int_equal(extend(&f, 1, 4), FO_OK);
    const fo_kv *kv = fo_block_manager_layer(f.m, 1);
    size_t block = 4 * 256 * sizeof(float);
    assert_int_equal(signal_at((char *)kv->v + 4 * block - 1), 0);
    assert_int_equal(signal_at((char *)kv->v + 4 * block), SIGSEGV);
    assert_int_equal(signal_at((char *)kv->k + 9 * block), SIGSEGV);
    fixture_close(&f);
}

/* Run the tests of slabs. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_D5_memory_ends_where_it_was_committed),
        cmocka_unit_test(test_D5_what_lies_below_the_edge_stays),
        cmocka_unit_test(test_D5_what_is_given_back_is_gone),
        cmocka_unit_test(test_D5_a_refused_commitment_changes_nothing),
        cmocka_unit_test(test_D5_memory_follows_the_load),
        cmocka_unit_test(test_A2_D5_memory_may_be_short),
        cmocka_unit_test(test_D5_each_array_of_a_slab_may_be_refused),
        cmocka_unit_test(test_A4_D5_slabs_change_nothing_else),
        cmocka_unit_test(test_D9_slabs_are_logged),
        cmocka_unit_test(test_D5_a_block_behind_the_edge_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
