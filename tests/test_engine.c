#include "engine_case.h"

#include "cpu/cpu.h"
#include "verso.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Draw the same tokens in company. */
typedef struct way {
    const char *name;
    fo_engine_options options;
} way;

static const way ways[] = {
    {"batched", {.block_size = 8, .no_prefix_cache = true}},
    {"sharing", {.block_size = 8, .total_blocks = 200}},
    {"in small chunks",
     {.max_tokens = 8, .max_sequences = 8, .total_blocks = 200}},
    {"in odd chunks",
     {.max_tokens = 37, .max_sequences = 5, .total_blocks = 200}},
    {"preempted", {.max_tokens = 64, .max_sequences = 8, .block_size = 8}},
};

enum { WAYS = sizeof ways / sizeof *ways };

/* The blocks of the largest request, and one more. */
static int tight(const workload *w)
{
    int most = 0;
    for (int i = 0; i < w->count; i++) {
        const fo_request *r = &w->wishes[i].request;
        int stored = (int)r->count + r->max_new - 1;
        most = most < stored ? stored : most;
    }
    return (most + 7) / 8 + 1;
}

/* What was done to draw them. */
typedef struct effort {
    uint64_t drawn, shared, preempted;
} effort;

/* A workload in one way, and again in the same engine. */
static void draw_in_one_way(fo_device *device, const workload *w, const way *k,
                            int times, effort *effort)
{
    static answer answers[CROWD];
    fo_engine_options options = k->options;
    if (options.total_blocks == 0 && options.max_sequences > 0)
        options.total_blocks = tight(w);
    fo_engine *e = toy_engine_open(device, w->kind, &options);
    for (int i = 0; i < times; i++) {
        workload_ask(e, w, answers);
        workload_expect(w, answers, k->name);
    }
    effort->drawn += toy_engine_stats(e).drawn;
    effort->shared += toy_engine_stats(e).cache.hit_tokens;
    effort->preempted += toy_engine_stats(e).preempted;
    toy_engine_close(&e);
}

static void d8_draws_the_same_tokens_in_company(void **state)
{
    (void)state;
    static workload w;
    const fo_backend *backends[2];
    bool quick = getenv("FOLIO_QUICK") != NULL;
    for (int b = 0, all = workload_sides(backends); b < all; b++) {
        fo_device *device;
        effort all_of_it = {0};
        int workloads = b ? 2 : quick ? 8 : 50;
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        for (int i = 0; i < workloads; i++) {
            workload_draw(&w, (uint64_t)i, i % KINDS, b ? 20 : 100, b ? 6 : 50);
            workload_ask_alone(device, &w);
            for (int k = b; k < WAYS; k += 1 + 2 * b)
                draw_in_one_way(device, &w, &ways[k], 2 - b, &all_of_it);
        }
        print_message("%s: %d workloads, %llu tokens drawn, %llu shared, "
                      "%llu times preempted\n",
                      backends[b]->name, workloads,
                      (unsigned long long)all_of_it.drawn,
                      (unsigned long long)all_of_it.shared,
                      (unsigned long long)all_of_it.preempted);
        assert_true(all_of_it.preempted > 0 && all_of_it.shared > 0);
        backends[b]->close(&device);
    }
    verso_assert_clean();
}

/* Serve several at once. */
static void d7_serves_several_at_once(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    const fo_backend *backends[2];
    for (int b = 0, all = workload_sides(backends); b < all; b++) {
        fo_device *device;
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        workload_crowd(&w, 7, PLAIN, 5, b ? 12 : 60, b ? 4 : 20);
        workload_ask_alone(device, &w);
        fo_engine_options options = {.block_size = 8, .no_prefix_cache = true};
        fo_engine *e = toy_engine_open(device, w.kind, &options);
        workload_ask(e, &w, answers);
        workload_expect(&w, answers, "several at once");
        assert_int_equal(toy_engine_stats(e).most_running, 5);
        assert_int_equal(toy_engine_stats(e).steps, b ? 4 : 20);
        toy_engine_close(&e);
        backends[b]->close(&device);
    }
}

/* Free what the window has left behind, in company. */
static void b6_frees_blocks_that_left_the_window(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    workload_crowd(&w, 8, WINDOWED, 3, 90, 120);
    workload_ask_alone(device, &w);
    /* A window of 20 and a step of 16 touch 6 blocks of 8; the whole texts
     * would take 26 each. */
    fo_engine_options options = {.max_tokens = 16,
                                 .max_sequences = 3,
                                 .block_size = 8,
                                 .total_blocks = 18};
    for (int without = 0; without < 2; without++) {
        options.no_prefix_cache = without;
        fo_engine *e = toy_engine_open(device, w.kind, &options);
        workload_ask(e, &w, answers);
        workload_expect(&w, answers, "with a window");
        assert_int_equal(toy_engine_stats(e).preempted, 0);
        assert_int_equal(toy_engine_stats(e).most_running, 3);
        toy_engine_close(&e);
    }
    fo_backend_cpu.close(&device);
}

/* Fork requests. */
/* Fork `parent` with a seed of its own; what it will draw goes to `want`. */
static void fork_one(fo_engine *e, const fo_request *like, int64_t parent,
                     uint64_t seed, answer *child)
{
    fo_sampling sampling = like->sampling;
    sampling.seed = seed;
    *child = (answer){.count = 0};
    assert_int_equal(fo_engine_fork(e, parent, &sampling, &child->id, NULL),
                     FO_OK);
}

/* Three children of a request that waits draw what three requests of the same
 * prompt would draw, and its prompt is run once. */
static void forks_a_prompt(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    const fo_backend *backends[2];
    for (int b = 0, all = workload_sides(backends); b < all; b++) {
        fo_device *device;
        int n = b ? 20 : 70, draws = b ? 5 : 20;
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        workload_crowd(&w, 9, b ? PLAIN : WINDOWED, 4, n, draws);
        for (int i = 0; i < 4; i++) {
            w.wishes[i].request.count = (size_t)n;
            w.wishes[i].request.tokens = w.wishes[0].prompt;
            w.wishes[i].request.sampling = (fo_sampling){
                .temperature = 1, .top_p = 1, .seed = (uint64_t)i};
            memcpy(w.wishes[i].prompt, w.wishes[0].prompt,
                   sizeof w.wishes[0].prompt);
        }
        workload_ask_alone(device, &w);
        fo_engine_options options = {
            .max_tokens = 32, .block_size = 8, .no_prefix_cache = true};
        fo_engine *e = toy_engine_open(device, w.kind, &options);
        memset(answers, 0, sizeof answers);
        fo_engine_submit(e, &w.wishes[0].request, &answers[0].id, NULL);
        for (int i = 1; i < 4; i++)
            fork_one(e, &w.wishes[0].request, answers[0].id, (uint64_t)i,
                     &answers[i]);
        while (!fo_engine_idle(e))
            toy_engine_step(e, answers, 4);
        workload_expect(&w, answers, "forked");
        assert_int_equal(toy_engine_stats(e).tokens,
                         n + 3 + 4 * (draws - 1)); /* last token run apart */
        toy_engine_close(&e);
        backends[b]->close(&device);
    }
}

/* Children of a request in the middle of its answer go on from there: with the
 * parent's seed they draw its tokens. */
static void forks_an_answer(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    for (int kind = 0; kind < KINDS; kind++) {
        workload_crowd(&w, 10, kind, 1, 40, 60);
        workload_ask_alone(device, &w);
        fo_engine_options options = {.max_tokens = 32, .block_size = 8};
        fo_engine *e = toy_engine_open(device, kind, &options);
        memset(answers, 0, sizeof answers);
        fo_engine_submit(e, &w.wishes[0].request, &answers[0].id, NULL);
        for (int i = 1; i < 4; i++) {
            while (answers[0].count < 13 * i)
                toy_engine_step(e, answers, i);
            fork_one(e, &w.wishes[0].request, answers[0].id,
                     w.wishes[0].request.sampling.seed, &answers[i]);
        }
        while (!fo_engine_idle(e))
            toy_engine_step(e, answers, 4);
        workload_expect(&w, answers, "the parent");
        for (int i = 1; i < 4; i++) {
            int from = 13 * i;
            assert_int_equal(answers[i].count, 60 - from);
            assert_memory_equal(answers[i].tokens, w.wishes[0].want + from,
                                (size_t)(60 - from) * sizeof(int32_t));
        }
        toy_engine_close(&e);
    }
    fo_backend_cpu.close(&device);
}

/* A child that must wait for a seat, while its parent's window moves on past
 * what the child would have to see. */
static void forks_late(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    workload_crowd(&w, 16, WINDOWED, 2, 40, 60);
    w.wishes[1].request.max_new = 35;
    workload_ask_alone(device, &w);
    for (int without = 0; without < 2; without++) {
        fo_engine_options options = {
            .max_sequences = 2, .block_size = 8, .no_prefix_cache = without};
        fo_engine *e = toy_engine_open(device, WINDOWED, &options);
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < 2; i++)
            fo_engine_submit(e, &w.wishes[i].request, &answers[i].id, NULL);
        while (answers[0].count < 13)
            toy_engine_step(e, answers, 2);
        fork_one(e, &w.wishes[0].request, answers[0].id,
                 w.wishes[0].request.sampling.seed, &answers[2]);
        while (!fo_engine_idle(e))
            toy_engine_step(e, answers, 3);
        workload_expect(&w, answers, "beside a fork");
        assert_int_equal(answers[2].count, 60 - 13);
        assert_memory_equal(answers[2].tokens, w.wishes[0].want + 13,
                            (60 - 13) * sizeof(int32_t));
        toy_engine_close(&e);
    }
    fo_backend_cpu.close(&device);
}

/* Abort at any step. */
/* Abort a request, twice. */
static void abort_twice(fo_engine *e, answer *victim)
{
    bool live = victim->finish == FO_GOES_ON;
    fo_error error;
    assert_int_equal(fo_engine_abort(e, victim->id, NULL),
                     live ? FO_OK : FO_UNKNOWN);
    toy_engine_expect_sound(e);
    assert_int_equal(fo_engine_abort(e, victim->id, &error), FO_UNKNOWN);
    if (live)
        victim->id = 0;
}

/* One request is aborted before step `when`; the others draw what they would
 * have drawn, and no block is lost. */
static void abort_at(fo_device *device, const workload *w, int when)
{
    static answer answers[CROWD];
    fo_engine_options options = {.max_tokens = 16,
                                 .max_sequences = 3,
                                 .block_size = 4,
                                 .total_blocks = 24};
    fo_engine *e = toy_engine_open(device, w->kind, &options);
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < w->count; i++)
        fo_engine_submit(e, &w->wishes[i].request, &answers[i].id, NULL);
    for (int now = 0; now <= when || !fo_engine_idle(e); now++) {
        if (now == when)
            abort_twice(e, &answers[when % w->count]);
        toy_engine_step(e, answers, w->count);
    }
    for (int i = 0; i < w->count; i++) {
        assert_true(answers[i].id == 0 || answers[i].count == 12);
        assert_memory_equal(answers[i].tokens, w->wishes[i].want,
                            (size_t)answers[i].count * sizeof(int32_t));
    }
    toy_engine_close(&e);
}

static void aborts_at_any_step(void **state)
{
    (void)state;
    static workload w;
    fo_device *device;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    workload_crowd(&w, 11, PLAIN, 4, 30, 12);
    workload_ask_alone(device, &w);
    for (int when = 0; when < 40; when++)
        abort_at(device, &w, when);
    fo_backend_cpu.close(&device);
}

/* Notice a sequence that is not what its job says. */
static void notices_a_sequence_that_is_not_what_it_should_be(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    fo_engine_options options = {.block_size = 8, .no_prefix_cache = true};
    assert_int_equal(fo_backend_cpu.open(NULL, &device, NULL), FO_OK);
    fo_engine *e = toy_engine_open(device, PLAIN, &options);
    fo_block_manager *blocks = (fo_block_manager *)fo_engine_blocks(e);
    toy_engine_submit(e, 20, 9, NULL);
    toy_engine_step(e, NULL, 0);
    assert_int_equal(fo_block_manager_extend(blocks, 1, 1, NULL), FO_OK);
    assert_int_equal(fo_engine_check(e, &error), FO_DEVICE);
    assert_int_equal(fo_block_manager_truncate(blocks, 1, 20, NULL), FO_OK);
    toy_engine_expect_sound(e);
    assert_int_equal(fo_block_manager_extend(blocks, 99, 1, NULL), FO_OK);
    assert_int_equal(fo_engine_check(e, &error), FO_DEVICE);
    assert_int_equal(fo_block_manager_free_sequence(blocks, 99, NULL), FO_OK);
    toy_engine_expect_sound(e);
    assert_int_equal(fo_engine_abort(e, 1, NULL), FO_OK);
    toy_engine_close(&e);
    fo_backend_cpu.close(&device);
}

/* Run the tests of the engine. */
static int begin(void **state)
{
    omp_set_num_threads(1);
    return toy_paths_write(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d8_draws_the_same_tokens_in_company),
        cmocka_unit_test(d7_serves_several_at_once),
        cmocka_unit_test(b6_frees_blocks_that_left_the_window),
        cmocka_unit_test(forks_a_prompt),
        cmocka_unit_test(forks_an_answer),
        cmocka_unit_test(forks_late),
        cmocka_unit_test(aborts_at_any_step),
        cmocka_unit_test(notices_a_sequence_that_is_not_what_it_should_be),
    };
    return cmocka_run_group_tests(tests, begin, toy_paths_remove);
}
