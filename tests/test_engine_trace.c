#include "common/log.h"
#include "cpu/cpu.h"
#include "engine_trace.h"
#include "verso.h"

#include <inttypes.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Run many traces. */
enum { TEXT = 16384, LIE = 200 };

/* Fail with a short trace, as a line that can be run again. */
static void fail_shrunk(const fo_backend *backend, trace_world *world, trace *t,
                        const char *trouble)
{
    char now[256];
    static char text[TEXT];
    print_error("%s\n", trouble);
    trace_shrink(world, t, strcmp(backend->name, "cpu") ? 60 : 20000);
    trace_run(world, t, now, NULL);
    trace_print(t, text, sizeof text);
    fail_msg("%s\n    FOLIO_TRACE=\"%s\"", now, text);
}

/* Run traces drawn from seeds. */
static void run_traces(const fo_backend *backend, uint64_t ops, size_t each,
                       uint64_t seed)
{
    trace_world *world = trace_world_open(backend);
    assert_non_null(world);
    trace_tally tally = {0};
    trace t = {.ops = malloc(each * sizeof *t.ops)};
    assert_non_null(t.ops);
    char trouble[256];
    for (uint64_t i = 0; i * each < ops; i++) {
        t.count = each;
        trace_draw(&t, seed + i);
        if (!trace_run(world, &t, trouble, &tally))
            fail_shrunk(backend, world, &t, trouble);
    }
    print_message("%s: %" PRIu64 " operations, %" PRIu64 " tokens drawn, "
                  "%" PRIu64 " requests ended, %" PRIu64 " aborted, %" PRIu64
                  " forked, %" PRIu64 " preempted (%" PRIu64
                  " by the engine itself), %" PRIu64 " refused, %" PRIu64
                  " short of memory, %" PRIu64 " blocks evicted, %" PRIu64
                  " times shrunk\n",
                  backend->name, tally.ops, tally.drawn, tally.finished,
                  tally.aborted, tally.forked, tally.preempted, tally.forced,
                  tally.refused, tally.failed, tally.evicted, tally.shrunk);
    if (ops >= 5000)
        assert_true(tally.finished && tally.aborted && tally.forked &&
                    tally.forced && tally.refused && tally.failed &&
                    tally.evicted && tally.shrunk);
    free(t.ops);
    trace_world_close(&world);
}

/* Run one trace again. */
static void replay(const fo_backend *backend, const char *text)
{
    char trouble[256];
    trace t;
    if (!trace_parse(text, &t))
        fail_msg("FOLIO_TRACE is no trace");
    trace_world *world = trace_world_open(backend);
    assert_non_null(world);
    bool fine = trace_run(world, &t, trouble, NULL);
    trace_world_close(&world);
    free(t.ops);
    if (!fine)
        fail_msg("%s", trouble);
}

/* Run the traces of the test. */
static uint64_t asked(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void d5_d8_random_traces_agree_with_the_books(void **state)
{
    (void)state;
    const char *given = getenv("FOLIO_TRACE");
    uint64_t ops = asked("TRACE_STEPS", getenv("FOLIO_QUICK") ? 4000 : 100000);
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* the models are too small to be shared out */
    if (given)
        replay(&fo_backend_cpu, given);
    else
        run_traces(&fo_backend_cpu, ops, 500, asked("TRACE_SEED", 1));
    omp_set_num_threads(threads);
}

static void d5_d8_a_few_traces_on_the_verso(void **state)
{
    (void)state;
    if (!verso_backend()) {
        print_message("SKIP: this build has no verso\n");
        skip();
    }
    run_traces(verso_backend(),
               asked("TRACE_STEPS_VERSO", verso_is_simulated() ? 120 : 20000),
               60, 1);
    verso_assert_clean();
}

/* Show that a lie shrinks to a few operations. */
static void shrink_a_lie(trace_world *world, trace_plant plant, size_t most,
                         trace_kind must)
{
    char trouble[256], again[256];
    static char text[TEXT];
    trace t = {.ops = malloc(LIE * sizeof *t.ops), .plant = plant};
    assert_non_null(t.ops);
    uint64_t seed = 100;
    do {
        t.count = LIE;
        trace_draw(&t, seed++);
    } while (trace_run(world, &t, trouble, NULL));
    trace_shrink(world, &t, 20000);
    assert_false(trace_run(world, &t, trouble, NULL));
    trace_print(&t, text, sizeof text);
    print_message("    %s\n    FOLIO_TRACE=\"%s\"\n", trouble, text);
    assert_in_range(t.count, 1, most);
    bool found = false;
    for (size_t i = 0; i < t.count; i++)
        found |= t.ops[i].kind == must;
    assert_true(found);
    /* What is printed fails in the same way, and without the lie does not. */
    trace read;
    assert_true(trace_parse(text, &read));
    read.plant = plant;
    assert_false(trace_run(world, &read, again, NULL));
    assert_string_equal(trouble, again);
    read.plant = TRACE_HONEST;
    assert_true(trace_run(world, &read, again, NULL));
    free(read.ops);
    free(t.ops);
}

/* Shrink each lie. */
static void d5_a_planted_lie_shrinks_to_a_handful(void **state)
{
    (void)state;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    trace_world *world = trace_world_open(&fo_backend_cpu);
    assert_non_null(world);
    shrink_a_lie(world, TRACE_LIE_ABOUT_FORKS, 4, TRACE_PREEMPT);
    shrink_a_lie(world, TRACE_LIE_ABOUT_ABORTS, 3, TRACE_ABORT);
    omp_set_num_threads(threads);
    trace_world_close(&world);
}

/* Write and read traces. */
static void d5_a_trace_is_the_same_after_print_and_parse(void **state)
{
    (void)state;
    static char text[TEXT], again[TEXT];
    trace_op ops[200];
    trace t = {.ops = ops, .count = 200}, read;
    trace_draw(&t, 7);
    trace_print(&t, text, sizeof text);
    assert_true(trace_parse(text, &read));
    trace_print(&read, again, sizeof again);
    assert_string_equal(text, again);
    free(read.ops);
    static const char *const wrong[] = {
        "", "setup 1 2 3", "setup 1 2 3 4; jump", "setup 1 2 3 4; abort"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(trace_parse(wrong[i], &read));
        free(read.ops);
    }
}

/* Run the tests of traces. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d5_a_trace_is_the_same_after_print_and_parse),
        cmocka_unit_test(d5_a_planted_lie_shrinks_to_a_handful),
        cmocka_unit_test(d5_d8_random_traces_agree_with_the_books),
        cmocka_unit_test(d5_d8_a_few_traces_on_the_verso),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
