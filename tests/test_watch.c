#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#ifdef FO_NO_SIM
static void is_skipped(void **state)
{
    (void)state;
    print_message("SKIP: this build has no simulator\n");
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_skipped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
/* Test the checkers. */
#include "planted_kernels.h"
#include "sim/arena.h"
#include "sim/simt.h"
#include "sim/site.h"
#include "sim/traffic.h"

#include <stdlib.h>

enum { SEEDS = 20 };

static void schedule(uint64_t seed)
{
    sim_settings settings = sim_settings_get();
    settings.seed = seed;
    settings.checks = settings.strict = true;
    sim_settings_set(settings);
    if (!sim_settings_get().checks) {
        print_message("SKIP: in this build kernels do not report accesses\n");
        skip();
    }
}

/* Find the planted line. */
/* The line of tests/planted_kernels.cu that ends in "PLANTED <name><tail> *"
 * and a slash. */
static int planted_line(const char *name, const char *tail)
{
    char line[256], marker[128];
    FILE *source = fopen("tests/planted_kernels.cu", "r");
    assert_non_null(source);
    snprintf(marker, sizeof marker, "PLANTED %s%s */", name, tail);
    int found = 0;
    for (int n = 1; fgets(line, sizeof line, source); n++) {
        if (strstr(line, marker)) {
            assert_int_equal(found, 0);
            found = n;
        }
    }
    fclose(source);
    return found;
}

/* Judge the reports of a planted kernel. */
static bool stands_at(const sim_witness *w, int line, int block, int thread)
{
    return w->line == line && strstr(w->file, "tests/planted_kernels.cu") &&
           (block < 0 || w->block[0] == block) && w->block[1] == 0 &&
           (thread < 0 || w->thread[0] == thread) && w->thread[1] == 0;
}

static void judge(const planted_kernel *k, uint64_t seed)
{
    int line = planted_line(k->name, "");
    int more = planted_line(k->name, ", other");
    if (!more && k->fault == SIM_RACE)
        more = line; /* both accesses are made by this line */
    bool caught = false;
    for (int i = 0; i < sim_report_count(); i++) {
        const sim_report *r = sim_report_get(i);
        bool right = stands_at(&r->at, line, k->block, k->thread) &&
                     (!more || stands_at(&r->other, more, k->other_block,
                                         k->other_thread));
        bool turned =
            more && stands_at(&r->at, more, k->other_block, k->other_thread) &&
            stands_at(&r->other, line, k->block, k->thread);
        right = (right || turned) && r->fault == k->fault &&
                strcmp(r->kernel, k->name) == 0 && r->has_other == (more > 0);
        if (!right) {
            sim_report_print(stderr, r);
            fail_msg(
                "%s, seed %llu: not the report that was expected, which is "
                "%s at line %d and %d",
                k->name, (unsigned long long)seed, sim_fault_name(k->fault),
                line, more);
        }
        caught = true;
    }
    if (!caught)
        fail_msg("%s, seed %llu: nothing was reported", k->name,
                 (unsigned long long)seed);
}

/* Catch each planted bug, and let its twin pass. */
static void each_planted_bug_is_caught(void **state)
{
    (void)state;
    assert_true(planted_kernel_count >= 20);
    for (int i = 0; i < planted_kernel_count; i++) {
        const planted_kernel *k = &planted_kernels[i];
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            schedule(seed);
            sim_reports_clear();
            k->run(true);
            judge(k, seed);
        }
    }
}

static void each_correct_twin_is_quiet(void **state)
{
    (void)state;
    for (int i = 0; i < planted_kernel_count; i++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            schedule(seed);
            sim_reports_clear();
            planted_kernels[i].run(false);
            if (sim_report_count() > 0)
                sim_report_print(stderr, sim_report_get(0));
            assert_int_equal(sim_report_count(), 0);
        }
    }
}

/* Test the arena. */
static void the_arena_keeps_states(void **state)
{
    (void)state;
    char *memory = sim_arena_reserve(2 * SIM_GRANULE);
    assert_non_null(memory);
    assert_true(sim_arena_holds(memory));
    assert_false(sim_arena_holds(&state));
    assert_int_equal(sim_arena_state(memory), SIM_UNMAPPED);
    assert_true(sim_arena_map(memory, SIM_GRANULE));
    assert_int_equal(sim_arena_state(memory), SIM_RED_ZONE);
    assert_int_equal(sim_arena_state(memory + SIM_GRANULE), SIM_UNMAPPED);
    sim_arena_mark(memory + 256, 96, SIM_UNWRITTEN);
    assert_int_equal(sim_arena_state(memory + 255), SIM_RED_ZONE);
    assert_int_equal(sim_arena_state(memory + 256), SIM_UNWRITTEN);
    assert_int_equal(memory[256 + 95], (char)0xff);
    assert_int_equal(sim_arena_state(memory + 352), SIM_RED_ZONE);
    sim_arena_mark(memory + 256, 8, SIM_WRITTEN);
    sim_arena_copy_states(memory + 300, memory + 260, 8);
    assert_int_equal(sim_arena_state(memory + 303), SIM_WRITTEN);
    assert_int_equal(sim_arena_state(memory + 304), SIM_UNWRITTEN);
    sim_arena_mark(memory + 256, 96, SIM_FREED);
    assert_int_equal(memory[256], (char)0xff);
    sim_arena_unmap(memory, SIM_GRANULE);
    assert_int_equal(sim_arena_state(memory + 256), SIM_FREED);
    sim_arena_release(memory, 2 * SIM_GRANULE);
}

static void addresses_are_reused_late(void **state)
{
    (void)state;
    char *first = sim_arena_reserve(SIM_GRANULE);
    sim_arena_release(first, SIM_GRANULE);
    char *second = sim_arena_reserve(SIM_GRANULE);
    assert_ptr_not_equal(first, second);
    sim_arena_release(second, SIM_GRANULE);
    assert_null(sim_arena_reserve((size_t)1 << 46));
}

static void a_call_of_the_host_is_checked(void **state)
{
    (void)state;
    char *memory = sim_arena_reserve(SIM_GRANULE);
    assert_true(sim_arena_map(memory, SIM_GRANULE));
    for (size_t begin = 250; begin < 260; begin++) {
        for (size_t bytes = 1; bytes < 40; bytes++) {
            sim_arena_mark(memory, SIM_GRANULE, SIM_RED_ZONE);
            sim_arena_mark(memory + begin, bytes, SIM_UNWRITTEN);
            sim_reports_clear();
            assert_true(sim_arena_check_host(memory + begin, bytes, true, "a"));
            assert_int_equal(sim_report_count(), 0);
            assert_int_equal(sim_arena_state(memory + begin + bytes - 1),
                             SIM_WRITTEN);
            assert_false(
                sim_arena_check_host(memory + begin, bytes + 1, false, "b"));
            assert_false(
                sim_arena_check_host(memory + begin - 1, bytes, true, "c"));
            assert_int_equal(sim_report_count(), 2);
            assert_int_equal(sim_report_get(0)->fault, SIM_OUT_OF_BOUNDS);
        }
    }
    sim_arena_mark(memory, 64, SIM_FREED);
    sim_reports_clear();
    assert_false(sim_arena_check_host(memory, 1, true, "cudaMemset"));
    assert_int_equal(sim_report_get(0)->fault, SIM_USE_AFTER_FREE);
    assert_false(sim_arena_check_host(&state, 1, true, "cudaMemset"));
    sim_arena_unmap(memory, SIM_GRANULE);
    sim_arena_release(memory, SIM_GRANULE);
}

static void a_leak_is_found(void **state)
{
    (void)state;
    sim_reports_clear();
    int before = sim_arena_check_leaks();
    planted_leak();
    sim_reports_clear();
    assert_int_equal(sim_arena_check_leaks(), before + 1);
    bool found = false;
    for (int i = 0; i < sim_report_count(); i++)
        found |= sim_report_get(i)->fault == SIM_LEAK &&
                 strncmp(sim_report_get(i)->text, "400 bytes", 9) == 0;
    assert_true(found);
}

/* Test the reports. */
static void reports_are_told_once(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    sim_report report = {.fault = SIM_RACE,
                         .kernel = "k",
                         .at = {.file = "a.cu", .line = 3, .thread = {4, 0, 0}},
                         .has_other = true,
                         .other = {.file = "b.cuh", .line = 7}};
    sim_reports_clear();
    sim_report_stream(stream);
    uint64_t events = sim_report_events();
    for (int i = 0; i < 3; i++)
        sim_report_add(&report, "text %d", i);
    report.at.line = 4;
    sim_report_add(&report, "elsewhere");
    sim_report_stream(NULL);
    fclose(stream);
    assert_int_equal(sim_report_count(), 2);
    assert_int_equal(sim_report_get(0)->times, 3);
    assert_int_equal(sim_report_events() - events, 4);
    assert_string_equal(text,
                        "folio sim: race in k: text 0\n"
                        "  at a.cu:3, block (0, 0, 0), thread (4, 0, 0)\n"
                        "  and b.cuh:7, block (0, 0, 0), thread (0, 0, 0)\n"
                        "folio sim: race in k: elsewhere\n"
                        "  at a.cu:4, block (0, 0, 0), thread (4, 0, 0)\n"
                        "  and b.cuh:7, block (0, 0, 0), thread (0, 0, 0)\n");
    free(text);
    sim_reports_clear();
}

/* Count the traffic of the transposes. */
typedef struct expected {
    const char *mark;
    uint64_t needed, moved;
} expected;

static void insist(int way, const expected *lines, int count)
{
    sim_settings settings = sim_settings_get();
    settings.traffic = true;
    sim_settings_set(settings);
    sim_traffic_clear();
    sim_reports_clear();
    assert_true(planted_transpose(way));
    assert_int_equal(sim_report_count(), 0);
    settings.traffic = false;
    sim_settings_set(settings);
    assert_int_equal(sim_traffic_kernel_count(), 1);
    assert_int_equal(sim_traffic_kernel_get(0)->unique[0], 4096);
    assert_int_equal(sim_traffic_kernel_get(0)->unique[1], 4096);
    int found = 0;
    for (int i = 0; i < sim_traffic_line_count(); i++) {
        const sim_traffic_line *l = sim_traffic_line_get(i);
        int line = sim_site_find(l->site).line;
        for (int k = 0; k < count; k++) {
            if (line != planted_line(lines[k].mark, ""))
                continue;
            bool memory = l->shared == (strstr(lines[k].mark, "load") != NULL);
            if (!memory)
                continue;
            assert_int_equal(l->requests, 32);
            assert_int_equal(l->needed, lines[k].needed);
            assert_int_equal(l->moved, lines[k].moved);
            found++;
        }
    }
    assert_int_equal(found, count);
}

static void right_answers_show_wrong_traffic(void **state)
{
    (void)state;
    const expected directly[] = {{"directly, read", 4096, 4096},
                                 {"directly, write", 4096, 8 * 4096}};
    const expected conflicts[] = {{"shared, store", 4096, 4096},
                                  {"shared, load", 32, 32 * 32},
                                  {"shared, write", 4096, 4096}};
    const expected padded[] = {{"shared, store", 4096, 4096},
                               {"shared, load", 32, 32},
                               {"shared, write", 4096, 4096}};
    for (uint64_t seed = 0; seed < 5; seed++) {
        schedule(seed);
        insist(1, directly, 2);
        insist(2, conflicts, 3);
        insist(3, padded, 3);
    }
}

/* Run the tests of the checkers. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_planted_bug_is_caught),
        cmocka_unit_test(each_correct_twin_is_quiet),
        cmocka_unit_test(the_arena_keeps_states),
        cmocka_unit_test(addresses_are_reused_late),
        cmocka_unit_test(a_call_of_the_host_is_checked),
        cmocka_unit_test(a_leak_is_found),
        cmocka_unit_test(reports_are_told_once),
        cmocka_unit_test(right_answers_show_wrong_traffic),
    };
    if (!getenv("VERBOSE"))
        sim_report_stream(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
