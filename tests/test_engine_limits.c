#include "engine_case.h"

#include "common/log.h"
#include "common/memory.h"
#include "cpu/cpu.h"
#include "model_file.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { V = SMALL_VOCABULARY };

/* Refuse at the door. */
static void refuses_what_can_never_be(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine_options options = {
        .block_size = 8, .total_blocks = 10, .max_waiting = 2};
    fo_engine *e = toy_engine_open(device, PLAIN, &options);
    fo_engine_stats before = toy_engine_stats(e);
    assert_int_equal(toy_engine_submit(e, TOY_CONTEXT, 1, &error), FO_LIMIT);
    assert_int_equal(error.required, TOY_CONTEXT + 1);
    assert_int_equal(error.available, TOY_CONTEXT);
    assert_int_equal(toy_engine_submit(e, 80, 2, &error), FO_FULL);
    assert_int_equal(error.required, 11);
    assert_int_equal(error.available, 10);
    assert_int_equal(toy_engine_submit(e, 0, 2, &error), FO_ARG);
    assert_int_equal(toy_engine_submit(e, 2, 0, &error), FO_ARG);
    int64_t id;
    fo_request wrong[] = {
        {.tokens = (int32_t[]){0, V}, .count = 2, .max_new = 1},
        {.tokens = (int32_t[]){-1}, .count = 1, .max_new = 1},
        {.tokens = (int32_t[]){1},
         .count = 1,
         .max_new = 1,
         .sampling.temperature = -1}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(fo_engine_submit(e, &wrong[i], &id, &error), FO_ARG);
    wrong[0].count = SIZE_MAX;
    assert_int_equal(fo_engine_submit(e, wrong, &id, &error), FO_LIMIT);
    assert_true(error.required == UINT64_MAX);
    assert_int_equal(toy_engine_stats(e).refused, 8);
    assert_int_equal(toy_engine_stats(e).metadata_bytes, before.metadata_bytes);
    assert_true(fo_engine_idle(e));
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

/* The largest one that fits, and a queue of two. */
static void accepts_what_just_fits(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    fo_engine_options options = {
        .block_size = 8, .total_blocks = 10, .max_waiting = 2};
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine *e = toy_engine_open(device, PLAIN, &options);
    assert_int_equal(toy_engine_submit(e, 80, 1, &error), FO_OK);
    assert_int_equal(toy_engine_submit(e, 1, 1, &error), FO_OK);
    assert_int_equal(toy_engine_submit(e, 1, 1, &error), FO_FULL);
    assert_int_equal(error.required, 3);
    assert_int_equal(error.available, 2);
    assert_int_equal(fo_engine_abort(e, 3, &error), FO_UNKNOWN);
    while (!fo_engine_idle(e))
        toy_engine_step(e, NULL, 0);
    assert_int_equal(toy_engine_stats(e).finished, 2);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

static void refuses_settings_that_make_no_sense(void **state)
{
    (void)state;
    fo_device *device;
    fo_engine *e;
    fo_error error;
    fo_engine_options wrong[] = {{.context = -1},       {.max_tokens = -1},
                                 {.max_sequences = -1}, {.max_waiting = -1},
                                 {.block_size = -1},    {.total_blocks = -1},
                                 {.kv_dtype = FO_Q8_0}};
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(
            fo_engine_open(device, toy_paths[PLAIN], &wrong[i], &e, &error),
            FO_ARG);
        assert_null(e);
    }
    wrong[0].context = TOY_CONTEXT + 1;
    assert_int_equal(
        fo_engine_open(device, toy_paths[PLAIN], wrong, &e, &error), FO_LIMIT);
    fo_backend_cpu.close(&device);
}

/* Open within a limit, or not at all. */
static void d3_opens_within_a_limit_or_not_at_all(void **state)
{
    (void)state;
    int refused = 0;
    for (uint64_t limit = 1000;; limit = limit * 5 / 4) {
        fo_device *device;
        fo_device_info info;
        fo_engine *e;
        fo_error error = {0};
        fo_device_options options = {.memory_limit = limit};
        fo_memory_usage before = fo_memory_usage_get(FO_MEMORY_HOST);
        assert_int_equal(fo_backend_cpu.open(&options, &device, NULL), FO_OK);
        fo_status status =
            fo_engine_open(device, toy_paths[PLAIN], NULL, &e, &error);
        if (status == FO_OK) {
            /* What was left is used, and it works. */
            fo_backend_cpu.info(device, &info);
            assert_true(info.memory_own <= limit);
            assert_int_equal(toy_engine_submit(e, 5, 3, NULL), FO_OK);
            while (!fo_engine_idle(e))
                toy_engine_step(e, NULL, 0);
        }
        fo_engine_close(&e);
        fo_backend_cpu.info(device, &info);
        assert_int_equal(info.memory_own, 0);
        fo_backend_cpu.close(&device);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                         before.bytes);
        if (status == FO_OK && limit > 1 << 22)
            break;
        assert_true(status == FO_OK || status == FO_NOMEM);
        if (status == FO_NOMEM) {
            assert_true(error.required > error.available);
            refused++;
        }
    }
    print_message("%d limits were too small\n", refused);
    assert_true(refused > 3);
}

/* Fail every allocation. */
/* Submit until it succeeds; how often it failed. */
static int submit_in_the_end(fo_engine *e, const fo_request *r, int64_t *id)
{
    int failures = 0;
    fo_error error;
    fo_status status;
    while ((status = fo_engine_submit(e, r, id, &error)) != FO_OK) {
        assert_int_equal(status, FO_NOMEM);
        toy_engine_expect_sound(e);
        assert_true(++failures < 3);
    }
    return failures;
}

/* Step to the end; how often a step failed. But for slabs, a step takes no
 * memory. */
static int step_in_the_end(fo_engine *e, const workload *w, answer *answers)
{
    int failures = 0;
    for (int tries = 0; !fo_engine_idle(e); tries++) {
        fo_progress told[64];
        int count;
        uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).requests;
        fo_status status = fo_engine_step(e, told, &count, NULL);
        assert_true(status == FO_OK || status == FO_NOMEM || status == FO_FULL);
        assert_true(fo_engine_bounds(e)->slab_blocks > 0 ||
                    fo_memory_usage_get(FO_MEMORY_HOST).requests == before);
        failures += status != FO_OK;
        toy_engine_expect_sound(e);
        workload_hand_out(told, count, answers, w->count);
        assert_true(tries < 500);
    }
    return failures;
}

/* Open an engine with the n-th request for memory failing, and run a crowd in
 * it. Whether any has failed. */
static bool live_with_a_failure(fo_device *device, const workload *w,
                                int slab_blocks, uint64_t n)
{
    static answer answers[CROWD];
    fo_engine_options options = {.max_tokens = 16,
                                 .max_sequences = 3,
                                 .block_size = 8,
                                 .total_blocks = 14,
                                 .slab_blocks = slab_blocks};
    fo_engine *e;
    fo_error error;
    int failures = 0;
    fo_memory_fail_at(n);
    fo_status status =
        fo_engine_open(device, toy_paths[w->kind], &options, &e, &error);
    if (status != FO_OK) {
        assert_int_equal(status, FO_NOMEM);
        assert_null(e);
        return true;
    }
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < w->count; i++)
        failures += submit_in_the_end(e, &w->wishes[i].request, &answers[i].id);
    failures += step_in_the_end(e, w, answers);
    workload_expect(w, answers, "after a failure");
    fo_memory_fail_at(0);
    toy_engine_close(&e);
    return failures > 0;
}

static void d5_undoes_every_allocation_that_fails(void **state)
{
    (void)state;
    static workload w;
    const fo_backend *backends[2];
    for (int s = 0, all = workload_sides(backends); s < 2 * all; s++) {
        fo_device *device;
        uint64_t n = 0;
        int b = s / 2, slab_blocks = s % 2 ? 3 : -1;
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        fo_memory_usage host = fo_memory_usage_get(FO_MEMORY_HOST);
        fo_memory_usage own = fo_memory_usage_get(FO_MEMORY_DEVICE);
        workload_crowd(&w, 12, PLAIN, b ? 2 : 5, b ? 12 : 30, b ? 3 : 20);
        workload_ask_alone(device, &w);
        while (live_with_a_failure(device, &w, slab_blocks, ++n)) {
            fo_memory_fail_at(0);
            assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                             host.bytes);
            assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes,
                             own.bytes);
        }
        print_message("%s, %s slabs: %llu requests for memory, each made to "
                      "fail\n",
                      backends[b]->name, s % 2 ? "with" : "without",
                      (unsigned long long)n - 1);
        assert_true(n > 30);
        backends[b]->close(&device);
    }
}

/* Live through a device that fails. */
static const fo_backend *real;
static fo_backend failing;
static uint64_t calls, fail_call; /* of linear and of sample */

static bool fails_now(fo_error *error)
{
    if (++calls != fail_call)
        return false;
    fo_fail(error, FO_DEVICE, "it fails as planned");
    return true;
}

static fo_status linear_or_fail(fo_device *device, float *out, const float *x,
                                const fo_weight *weight, int T,
                                fo_workspace workspace, fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->linear(device, out, x, weight, T, workspace, error);
}

static fo_status sample_or_fail(fo_device *device, int32_t *tokens,
                                const float *logits,
                                const fo_sampling *sampling, int N, int V_,
                                fo_workspace workspace, fo_error *error)
{
    if (fails_now(error))
        return FO_DEVICE;
    return real->sample(device, tokens, logits, sampling, N, V_, workspace,
                        error);
}

/* Run a crowd with the n-th call failing; whether any failed. */
static bool live_with_a_bad_call(fo_device *device, const workload *w,
                                 uint64_t n)
{
    static answer answers[CROWD];
    fo_engine_options options = {.max_tokens = 16,
                                 .max_sequences = 3,
                                 .block_size = 8,
                                 .total_blocks = 14};
    fo_engine *e = toy_engine_open(device, w->kind, &options);
    int failures = 0;
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < w->count; i++)
        fo_engine_submit(e, &w->wishes[i].request, &answers[i].id, NULL);
    calls = 0;
    fail_call = n;
    while (!fo_engine_idle(e)) {
        fo_progress told[64];
        int count;
        fo_error error;
        uint64_t before = calls;
        fo_engine_stats was = toy_engine_stats(e);
        if (fo_engine_step(e, told, &count, &error) != FO_OK) {
            assert_int_equal(error.status, FO_DEVICE);
            assert_true(before < n && calls == n);
            assert_int_equal(count, 0);
            assert_int_equal(toy_engine_stats(e).drawn, was.drawn);
            assert_int_equal(toy_engine_stats(e).steps, was.steps);
            failures++;
        }
        toy_engine_expect_sound(e);
        workload_hand_out(told, count, answers, w->count);
    }
    workload_expect(w, answers, "on a device that failed");
    toy_engine_close(&e);
    return failures > 0;
}

static void d5_takes_back_a_step_that_fails(void **state)
{
    (void)state;
    static workload w;
    fo_device *device;
    uint64_t n = 0;
    real = &fo_backend_cpu;
    failing = *real;
    failing.linear = linear_or_fail;
    failing.sample = sample_or_fail;
    assert_int_equal(real->open(NULL, &device, NULL), FO_OK);
    workload_crowd(&w, 13, WINDOWED, 4, 30, 10);
    workload_ask_alone(device, &w);
    device->backend = &failing;
    while (live_with_a_bad_call(device, &w, ++n))
        ;
    print_message("%llu calls, each made to fail\n", (unsigned long long)n - 1);
    assert_true(n > 100);
    device->backend = real;
    real->close(&device);
}

/* Fail a request that has no token. */
/* A model whose logits hold a NaN: the request fails, its blocks are free. */
static void fails_a_request_that_has_no_token(void **state)
{
    (void)state;
    const toy_model broken = {.arch = FO_ARCH_PHI3, .K = 2, .broken = true};
    char path[32];
    fo_device *device;
    fo_engine *e;
    fo_progress told[32];
    int count;
    toy_model_write(&broken, path);
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    assert_int_equal(fo_engine_open(device, path, NULL, &e, NULL), FO_OK);
    for (int i = 0; i < 3; i++)
        toy_engine_submit(e, 5 + i, 4, NULL);
    assert_int_equal(fo_engine_step(e, told, &count, NULL), FO_OK);
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(told[i].finish, FO_FAILED);
        assert_int_equal(told[i].error.status, FO_DEVICE);
        assert_int_equal(told[i].token, -1);
    }
    assert_int_equal(toy_engine_stats(e).failed, 3);
    assert_int_equal(toy_engine_stats(e).blocks.pool.held, 0);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
    unlink(path);
}

/* Let memory follow the load. */
/* Memory for blocks comes as they are needed, and goes when they are not; what
 * is kept for others stays until the host wants it. */
static void d3_lets_memory_follow_the_load(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    const fo_backend *backends[2];
    for (int b = 0, all = workload_sides(backends); b < all; b++) {
        fo_device *device;
        fo_engine_options options = {.block_size = 8, .slab_blocks = 2};
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        workload_crowd(&w, 15, PLAIN, 4, b ? 16 : 60, b ? 3 : 20);
        workload_ask_alone(device, &w);
        fo_engine *e = toy_engine_open(device, w.kind, &options);
        assert_int_equal(toy_engine_stats(e).blocks.committed_bytes, 0);
        workload_ask(e, &w, answers);
        workload_expect(&w, answers, "in slabs");
        fo_engine_stats after = toy_engine_stats(e);
        assert_true(after.cache.kept_blocks > 0);
        assert_true(after.blocks.committed_bytes > 0);
        assert_true(after.blocks.committed_bytes < after.blocks.kv_bytes);
        assert_int_equal(fo_engine_shrink(e, NULL), FO_OK);
        assert_int_equal(toy_engine_stats(e).blocks.committed_bytes, 0);
        workload_ask(e, &w, answers);
        workload_expect(&w, answers, "in slabs, again");
        fo_engine_close(&e);
        backends[b]->close(&device);
    }
}

/* Write down what happens. */
/* Lines of the log that tell of an event. */
static int told_of(FILE *log, const char *event)
{
    char line[512], word[64];
    int count = 0;
    snprintf(word, sizeof word, "\"event\": \"%s\"", event);
    rewind(log);
    while (fgets(line, sizeof line, log))
        count += strstr(line, word) != NULL;
    return count;
}

static void d9_writes_down_what_happens(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    fo_device *device;
    FILE *log = tmpfile();
    assert_non_null(log);
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    workload_crowd(&w, 14, PLAIN, 4, 30, 30);
    workload_ask_alone(device, &w);
    fo_engine_options options = {
        .max_sequences = 4, .block_size = 4, .total_blocks = 20};
    fo_log_open(log, FO_LOG_INFO);
    fo_engine *e = toy_engine_open(device, w.kind, &options);
    assert_int_equal(toy_engine_submit(e, 60, 60, NULL), FO_FULL);
    workload_ask(e, &w, answers);
    workload_ask(e, &w, answers);
    fo_log_open(NULL, FO_LOG_INFO);
    workload_expect(&w, answers, "logged");
    assert_int_equal(told_of(log, "refused"), 1);
    assert_int_equal(told_of(log, "preempted"), toy_engine_stats(e).preempted);
    assert_true(told_of(log, "preempted") > 0);
    assert_true(told_of(log, "evicted") > 0);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
    fclose(log);
}

/* Run the tests of the limits. */
static int begin(void **state)
{
    omp_set_num_threads(1);
    return toy_paths_write(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_can_never_be),
        cmocka_unit_test(accepts_what_just_fits),
        cmocka_unit_test(refuses_settings_that_make_no_sense),
        cmocka_unit_test(d3_opens_within_a_limit_or_not_at_all),
        cmocka_unit_test(d5_undoes_every_allocation_that_fails),
        cmocka_unit_test(d5_takes_back_a_step_that_fails),
        cmocka_unit_test(fails_a_request_that_has_no_token),
        cmocka_unit_test(d3_lets_memory_follow_the_load),
        cmocka_unit_test(d9_writes_down_what_happens),
    };
    return cmocka_run_group_tests(tests, begin, toy_paths_remove);
}
