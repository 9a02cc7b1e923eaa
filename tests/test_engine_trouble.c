#include "engine_case.h"

#include "cpu/cpu.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Let the calls to the pool fail. */
static const fo_backend *real;
static uint64_t calls, fail_call; /* fail_call 0: none */

static bool fails_now(fo_error *error)
{
    if (fail_call == 0 || ++calls != fail_call)
        return false;
    fo_fail(error, FO_DEVICE, "it fails as planned");
    return true;
}

static fo_status extend_or_fail(fo_device *device, fo_pool *pool,
                                const fo_pool_request *requests,
                                fo_pool_grant *grants, int n, fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->pool_extend(device, pool, requests, grants, n, error);
}

static fo_status share_or_fail(fo_device *device, fo_pool *pool,
                               const fo_pool_fork *forks, int n,
                               fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->pool_share(device, pool, forks, n, error);
}

static fo_status release_or_fail(fo_device *device, fo_pool *pool,
                                 const fo_pool_keep *keeps, int n,
                                 fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->pool_release(device, pool, keeps, n, error);
}

static fo_status stats_or_fail(fo_device *device, const fo_pool *pool,
                               fo_pool_stats *stats, fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->pool_stats(device, pool, stats, error);
}

static fo_status copy_or_fail(fo_device *device, const fo_kv *kv,
                              const int32_t *from, const int32_t *to, int n,
                              fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->kv_copy(device, kv, from, to, n, error);
}

/* Live through a pool that fails. */
/* Run a crowd with the n-th call failing; whether there were so many. */
static bool live_with_a_bad_pool(fo_device *device, const workload *w,
                                 uint64_t n)
{
    static answer answers[CROWD];
    fo_engine_options options = {.max_tokens = 16,
                                 .max_sequences = 3,
                                 .block_size = 8,
                                 .total_blocks = 14};
    int evicted;
    fo_engine *e = toy_engine_open(device, w->kind, &options);
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < w->count; i++)
        fo_engine_submit(e, &w->wishes[i].request, &answers[i].id, NULL);
    calls = 0;
    for (int tries = 0; !fo_engine_idle(e); tries++) {
        fo_progress told[64];
        int count;
        fo_error error;
        fail_call = calls < n ? n : 0;
        if (fo_engine_step(e, told, &count, &error) != FO_OK) {
            assert_int_equal(error.status, FO_DEVICE);
            assert_int_equal(count, 0);
        }
        fail_call = 0;
        toy_engine_expect_sound(e);
        workload_hand_out(told, count, answers, w->count);
        assert_true(tries < 500);
    }
    workload_expect(w, answers, "with a pool that failed");
    assert_int_equal(fo_engine_evict(e, 0, &evicted, NULL), FO_OK);
    toy_engine_close(&e);
    return calls >= n;
}

static void d5_takes_back_what_the_pool_broke_off(void **state)
{
    (void)state;
    static workload w;
    fo_device *device;
    real = &fo_backend_cpu;
    fo_backend failing = *real;
    failing.pool_extend = extend_or_fail;
    failing.pool_share = share_or_fail;
    failing.pool_release = release_or_fail;
    failing.pool_stats = stats_or_fail;
    failing.kv_copy = copy_or_fail;
    assert_int_equal(real->open(NULL, &device, NULL), FO_OK);
    for (int kind = PLAIN; kind <= WINDOWED; kind++) {
        uint64_t n = 0;
        workload_crowd(&w, 13, kind, 5, 40, 10);
        for (int i = 1; i < w.count; i++)
            memcpy(w.wishes[i].prompt, w.wishes[0].prompt,
                   32 * sizeof *w.wishes[i].prompt);
        workload_ask_alone(device, &w);
        device->backend = &failing;
        while (live_with_a_bad_pool(device, &w, ++n))
            ;
        device->backend = real;
        print_message("%llu calls to the pool, each made to fail\n",
                      (unsigned long long)n - 1);
        assert_true(n > 40);
    }
    real->close(&device);
}

/* Count what is done twice. */
static void counts_all_that_is_computed_again(void **state)
{
    (void)state;
    fo_device *device;
    fo_engine_options options = {.max_tokens = 10,
                                 .max_sequences = 2,
                                 .block_size = 8,
                                 .no_prefix_cache = true};
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine *e = toy_engine_open(device, PLAIN, &options);
    assert_int_equal(toy_engine_submit(e, 50, 1, NULL), FO_OK);
    for (int i = 0; i < 4; i++)
        toy_engine_step(e, NULL, 0);
    assert_int_equal(fo_engine_preempt(e, 1, NULL), FO_OK);
    toy_engine_step(e, NULL, 0);
    assert_int_equal(fo_engine_preempt(e, 1, NULL), FO_OK);
    while (!fo_engine_idle(e))
        toy_engine_step(e, NULL, 0);
    assert_int_equal(toy_engine_stats(e).tokens, 100);
    assert_int_equal(toy_engine_stats(e).recomputed, 50);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

/* Begin under a window with what is kept. */
static void b6_shares_only_what_the_window_sees(void **state)
{
    (void)state;
    fo_device *device;
    fo_engine_options options = {.max_tokens = 64,
                                 .max_sequences = 2,
                                 .block_size = 8,
                                 .total_blocks = 12};
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine *e = toy_engine_open(device, WINDOWED, &options);
    assert_int_equal(toy_engine_submit(e, 64, 1, NULL), FO_OK);
    while (!fo_engine_idle(e))
        toy_engine_step(e, NULL, 0);
    assert_int_equal(toy_engine_submit(e, 200, 2, NULL), FO_OK);
    for (int i = 0; i < 10; i++)
        toy_engine_step(e, NULL, 0);
    assert_true(fo_engine_idle(e));
    assert_int_equal(toy_engine_stats(e).cache.hit_tokens, 64);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

/* Wait beside what is kept. */
static void counts_a_hit_once(void **state)
{
    (void)state;
    static int32_t other[50];
    fo_device *device;
    int64_t id;
    fo_engine_options options = {
        .max_sequences = 4, .block_size = 8, .total_blocks = 20};
    fo_request runs = {.tokens = other, .count = 50, .max_new = 30};
    for (int i = 0; i < 50; i++)
        other[i] = 7;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine *e = toy_engine_open(device, PLAIN, &options);
    assert_int_equal(toy_engine_submit(e, 81, 1, NULL), FO_OK);
    while (!fo_engine_idle(e))
        toy_engine_step(e, NULL, 0);
    assert_int_equal(fo_engine_submit(e, &runs, &id, NULL), FO_OK);
    toy_engine_step(e, NULL, 0);
    assert_int_equal(toy_engine_submit(e, 120, 2, NULL), FO_OK);
    for (int i = 0; i < 10; i++) {
        toy_engine_step(e, NULL, 0);
        assert_int_equal(toy_engine_stats(e).waiting, 1);
    }
    while (!fo_engine_idle(e))
        toy_engine_step(e, NULL, 0);
    fo_engine_stats stats = toy_engine_stats(e);
    assert_int_equal(stats.cache.lookups, 3);
    assert_int_equal(stats.cache.hits, 1);
    assert_int_equal(stats.cache.hit_tokens, 80);
    assert_int_equal(stats.preempted, 0);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

/* Run the tests of trouble. */
static int begin(void **state)
{
    omp_set_num_threads(1);
    return toy_paths_write(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d5_takes_back_what_the_pool_broke_off),
        cmocka_unit_test(counts_all_that_is_computed_again),
        cmocka_unit_test(b6_shares_only_what_the_window_sees),
        cmocka_unit_test(counts_a_hit_once),
    };
    return cmocka_run_group_tests(tests, begin, toy_paths_remove);
}
