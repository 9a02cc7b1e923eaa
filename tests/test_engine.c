#include "engine/engine.h"
#include "engine/session.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "model_file.h"
#include "null_backend.h"
#include "toy_model.h"
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

enum { V = SMALL_VOCABULARY, MOST = TOY_CONTEXT, CROWD = 8, KINDS = 3 };

/* Prepare models and sides. */
static const toy_model toys[KINDS] = {
    {.arch = FO_ARCH_PHI3, .K = 2},
    {.arch = FO_ARCH_PHI3, .K = 2, .window = 20, .original = 64},
    {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true},
};
enum { PLAIN, WINDOWED };

static char paths[KINDS][32];

/* The backends to be tested: the CPU, and the verso where it is built in. */
static int sides(const fo_backend *out[2])
{
    out[0] = &fo_backend_cpu;
    out[1] = verso_backend();
    return out[1] && !backend_missing_slot(out[1]) ? 2 : 1;
}

/* Draw a workload. */
typedef struct wish {
    int32_t prompt[MOST];
    fo_request request;
    int arrival;        /* the step before which it is submitted */
    int32_t want[MOST]; /* its tokens when it is alone      */
    int wanted;
} wish;

typedef struct workload {
    uint64_t seed;
    int kind, count;
    wish wishes[CROWD];
} workload;

static int between(int low, int high, uint64_t seed, uint64_t stream,
                   uint64_t counter)
{
    return low + (int)((float)(high - low + 1) *
                       fo_rng_uniform(seed, stream, counter));
}

/* Some requests of up to `longest` tokens of prompt; some begin alike, some are
 * greedy, some end at a token to stop at. */
static void draw_workload(workload *w, uint64_t seed, int kind, int longest,
                          int most_new)
{
    w->seed = seed;
    w->kind = kind;
    w->count = between(3, CROWD, seed, 0, 0);
    for (int i = 0; i < w->count; i++) {
        wish *a = &w->wishes[i];
        uint64_t stream = (uint64_t)i + 1;
        int count = between(1, longest, seed, stream, 0);
        int alike = i ? between(0, count, seed, stream, 1) : 0;
        for (int t = 0; t < MOST; t++)
            a->prompt[t] = t < alike ? w->wishes[0].prompt[t]
                                     : between(0, V - 1, seed, stream,
                                               (uint64_t)(100 + t));
        a->arrival = between(0, 12, seed, stream, 2);
        a->request =
            (fo_request){.tokens = a->prompt,
                         .count = (size_t)count,
                         .max_new = between(1, most_new, seed, stream, 3),
                         .until_stop = i % 2,
                         .sampling = {.temperature = i % 3 ? 0.9f : 0,
                                      .top_p = 0.95f,
                                      .seed = seed + stream}};
    }
}

/* Ask each alone, for the answer. */
static void ask_alone(fo_device *device, workload *w)
{
    for (int i = 0; i < w->count; i++) {
        wish *a = &w->wishes[i];
        fo_session *s;
        fo_error error;
        fo_session_options options = {.block_size = 8};
        if (fo_session_load(device, paths[w->kind], &options, &s, &error) !=
            FO_OK)
            fail_msg("%s", error.message);
        const fo_tokenizer *tokenizer = fo_model_tokenizer(fo_session_model(s));
        fo_session_prefill(s, a->prompt, a->request.count, NULL, NULL);
        for (a->wanted = 0; a->wanted < a->request.max_new;) {
            int32_t *token = &a->want[a->wanted++];
            assert_int_equal(
                fo_session_decode(s, &a->request.sampling, token, NULL), FO_OK);
            if (a->request.until_stop &&
                fo_tokenizer_is_stop(tokenizer, *token))
                break;
        }
        fo_session_unload(&s);
    }
}

/* Ask all together. */
static fo_engine *open_engine(fo_device *device, int kind,
                              const fo_engine_options *options)
{
    fo_engine *engine;
    fo_error error;
    if (fo_engine_open(device, paths[kind], options, &engine, &error) != FO_OK)
        fail_msg("%s", error.message);
    return engine;
}

static void expect_sound(const fo_engine *engine)
{
    fo_error error;
    if (fo_engine_check(engine, &error) != FO_OK)
        fail_msg("%s", error.message);
}

/* What a request has been told so far. */
typedef struct answer {
    int64_t id;
    int32_t tokens[MOST];
    int count;
    fo_finish finish;
} answer;

/* One step; what it tells goes to the answers. */
static int step(fo_engine *engine, answer *answers, int n)
{
    fo_progress told[64];
    int count;
    fo_error error;
    if (fo_engine_step(engine, told, &count, &error) != FO_OK)
        fail_msg("%s", error.message);
    expect_sound(engine);
    for (int i = 0; i < count; i++)
        for (int a = 0; a < n; a++)
            if (answers[a].id == told[i].id) {
                assert_int_equal(answers[a].finish, FO_GOES_ON);
                answers[a].tokens[answers[a].count++] = told[i].token;
                answers[a].finish = told[i].finish;
            }
    return count;
}

static fo_engine_stats stats_of(const fo_engine *engine)
{
    fo_engine_stats stats;
    assert_int_equal(fo_engine_stats_get(engine, &stats, NULL), FO_OK);
    return stats;
}

static void expect_all_free(const fo_engine *engine)
{
    fo_engine_stats stats = stats_of(engine);
    assert_true(fo_engine_idle(engine));
    assert_int_equal(stats.blocks.pool.held, 0);
    assert_int_equal(stats.blocks.table.sequences, 0);
}

/* Submit each at its time, and step until nothing is left to do. */
static void ask_together(fo_engine *engine, const workload *w, answer *answers)
{
    int left = w->count;
    memset(answers, 0, CROWD * sizeof *answers);
    for (int now = 0; left > 0 || !fo_engine_idle(engine); now++) {
        for (int i = 0; i < w->count; i++)
            if (w->wishes[i].arrival == now) {
                assert_int_equal(fo_engine_submit(engine, &w->wishes[i].request,
                                                  &answers[i].id, NULL),
                                 FO_OK);
                left--;
            }
        step(engine, answers, w->count);
        assert_true(now < 5000);
    }
    expect_all_free(engine);
}

static void expect_answers(const workload *w, const answer *answers,
                           const char *way)
{
    for (int i = 0; i < w->count; i++) {
        const wish *a = &w->wishes[i];
        int same = 0;
        while (same < a->wanted && same < answers[i].count &&
               answers[i].tokens[same] == a->want[same])
            same++;
        if (same != a->wanted || answers[i].count != a->wanted)
            fail_msg("workload %llu, request %d, %s: %d of %d tokens, %d equal",
                     (unsigned long long)w->seed, i, way, answers[i].count,
                     a->wanted, same);
        assert_true(answers[i].finish == FO_STOPPED ||
                    answers[i].finish == FO_LENGTH);
    }
}

/* Draw the same tokens in company. */
typedef struct way {
    const char *name;
    fo_engine_options options;
} way;

static const way ways[] = {
    {"batched", {.max_tokens = 512, .block_size = 8, .total_blocks = 200}},
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

static void d8_draws_the_same_tokens_in_company(void **state)
{
    (void)state;
    static workload w;
    static answer answers[CROWD];
    const fo_backend *backends[2];
    bool quick = getenv("FOLIO_QUICK") != NULL;
    for (int b = 0, all = sides(backends); b < all; b++) {
        fo_device *device;
        uint64_t drawn = 0, preempted = 0;
        int workloads = b == 0 && !quick ? 50 : 3;
        assert_int_equal(backends[b]->open(NULL, &device, NULL), FO_OK);
        for (int i = 0; i < workloads; i++) {
            draw_workload(&w, (uint64_t)i, i % KINDS, b ? 30 : 100,
                          b ? 10 : 50);
            ask_alone(device, &w);
            for (int k = 0; k < WAYS; k++) {
                fo_engine_options options = ways[k].options;
                if (options.total_blocks == 0)
                    options.total_blocks = tight(&w);
                fo_engine *e = open_engine(device, w.kind, &options);
                for (int again = 0; again < 2 - b; again++) {
                    ask_together(e, &w, answers);
                    expect_answers(&w, answers, ways[k].name);
                }
                drawn += stats_of(e).drawn;
                preempted += stats_of(e).preempted;
                fo_engine_close(&e);
            }
        }
        print_message("%s: %d workloads, %llu tokens, %llu times preempted\n",
                      backends[b]->name, workloads, (unsigned long long)drawn,
                      (unsigned long long)preempted);
        assert_true(preempted > 0);
        backends[b]->close(&device);
    }
    verso_assert_clean();
}

/* Run the tests of the engine. */
static int begin(void **state)
{
    (void)state;
    omp_set_num_threads(1);
    for (int k = 0; k < KINDS; k++)
        toy_model_write(&toys[k], paths[k]);
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        unlink(paths[k]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d8_draws_the_same_tokens_in_company),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
