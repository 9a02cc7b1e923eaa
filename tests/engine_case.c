#include "engine_case.h"

#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/session.h"
#include "model_file.h"
#include "null_backend.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { V = SMALL_VOCABULARY };

/* Prepare models and sides. */
static const toy_model toys[KINDS] = {
    {.arch = FO_ARCH_PHI3, .K = 2},
    {.arch = FO_ARCH_PHI3, .K = 2, .window = 20, .original = 64},
    {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true},
};
char toy_paths[KINDS][32];

int toy_paths_write(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        toy_model_write(&toys[k], toy_paths[k]);
    return 0;
}

int toy_paths_remove(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        unlink(toy_paths[k]);
    return 0;
}

/* The backends to be tested: the CPU, and the verso where it is built in. */
int workload_sides(const fo_backend *out[2])
{
    out[0] = &fo_backend_cpu;
    out[1] = verso_backend();
    return out[1] && !backend_missing_slot(out[1]) ? 2 : 1;
}

/* Draw a workload. */
static int between(int low, int high, uint64_t seed, uint64_t stream,
                   uint64_t counter)
{
    return low + (int)((float)(high - low + 1) *
                       fo_rng_uniform(seed, stream, counter));
}

/* Some requests of up to `longest` tokens of prompt; some begin alike, some are
 * greedy, some end at a token to stop at. */
void workload_draw(workload *w, uint64_t seed, int kind, int longest,
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

/* A workload of which all come at once. */
void workload_crowd(workload *w, uint64_t seed, int kind, int count, int prompt,
                    int draws)
{
    workload_draw(w, seed, kind, prompt, draws);
    w->count = count;
    for (int i = 0; i < count; i++) {
        fo_request *r = &w->wishes[i].request;
        w->wishes[i].arrival = 0;
        r->tokens = w->wishes[i].prompt;
        r->count = (size_t)(prompt - i);
        r->max_new = draws;
        r->until_stop = false;
        r->sampling.top_p = 0.95f;
        r->sampling.seed = (uint64_t)i;
    }
}

/* Ask each alone, for the answer. */
void workload_ask_alone(fo_device *device, workload *w)
{
    for (int i = 0; i < w->count; i++) {
        wish *a = &w->wishes[i];
        fo_session *s;
        fo_error error;
        fo_session_options options = {.block_size = 8};
        if (fo_session_load(device, toy_paths[w->kind], &options, &s, &error) !=
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
fo_engine *toy_engine_open(fo_device *device, int kind,
                           const fo_engine_options *options)
{
    fo_engine *engine;
    fo_error error;
    if (fo_engine_open(device, toy_paths[kind], options, &engine, &error) !=
        FO_OK)
        fail_msg("%s", error.message);
    return engine;
}

void toy_engine_expect_sound(const fo_engine *engine)
{
    fo_error error;
    /* A device may want memory to look at itself: ask it again. */
    fo_status status = fo_engine_check(engine, &error);
    if (status == FO_NOMEM)
        status = fo_engine_check(engine, &error);
    if (status != FO_OK)
        fail_msg("%s", error.message);
}

/* Give what a step tells to those whom it concerns. */
void workload_hand_out(const fo_progress *told, int count, answer *answers,
                       int n)
{
    for (int i = 0; i < count; i++)
        for (int a = 0; a < n; a++)
            if (answers[a].id == told[i].id) {
                assert_int_equal(answers[a].finish, FO_GOES_ON);
                answers[a].tokens[answers[a].count++] = told[i].token;
                answers[a].finish = told[i].finish;
            }
}

/* One step; what it tells goes to the answers. */
int toy_engine_step(fo_engine *engine, answer *answers, int n)
{
    fo_progress told[64];
    int count;
    fo_error error;
    if (fo_engine_step(engine, told, &count, &error) != FO_OK)
        fail_msg("%s", error.message);
    toy_engine_expect_sound(engine);
    workload_hand_out(told, count, answers, n);
    return count;
}

fo_engine_stats toy_engine_stats(const fo_engine *engine)
{
    fo_engine_stats stats;
    assert_int_equal(fo_engine_stats_get(engine, &stats, NULL), FO_OK);
    return stats;
}

static void expect_all_free(const fo_engine *engine)
{
    fo_engine_stats stats = toy_engine_stats(engine);
    assert_true(fo_engine_idle(engine));
    assert_int_equal(stats.blocks.pool.held, stats.cache.kept_blocks);
    assert_int_equal(stats.blocks.table.sequences, stats.cache.kept_sequences);
}

/* Close an engine that is idle, and has lost no block. */
void toy_engine_close(fo_engine **engine)
{
    int evicted;
    int total = fo_engine_bounds(*engine)->total_blocks;
    expect_all_free(*engine);
    assert_int_equal(fo_engine_evict(*engine, total, &evicted, NULL), FO_OK);
    toy_engine_expect_sound(*engine);
    assert_int_equal(toy_engine_stats(*engine).blocks.pool.held, 0);
    assert_int_equal(toy_engine_stats(*engine).blocks.table.sequences, 0);
    fo_engine_close(engine);
}

/* Submit each at its time, and step until nothing is left to do. */
void workload_ask(fo_engine *engine, const workload *w, answer *answers)
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
        toy_engine_step(engine, answers, w->count);
        assert_true(now < 5000);
    }
    expect_all_free(engine);
}

void workload_expect(const workload *w, const answer *answers, const char *way)
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

/* Ask for something small. */
fo_status toy_engine_submit(fo_engine *e, int count, int draws, fo_error *error)
{
    static int32_t prompt[2 * TOY_CONTEXT];
    int64_t id;
    fo_request r = {.tokens = prompt, .count = (size_t)count, .max_new = draws};
    return fo_engine_submit(e, &r, &id, error);
}
