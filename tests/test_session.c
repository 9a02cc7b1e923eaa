#include "engine/session.h"

#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "model_file.h"
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

enum { V = SMALL_VOCABULARY, PROMPT = 90, LONG = 150 };

#define CLOSE ((fo_tolerance){1e-4, 1e-4})

static int32_t prompt[LONG];
static const fo_session_options small = {.chunk = 32, .block_size = 8};
static const fo_sampling warm = {
    .temperature = 0.9f, .top_p = 0.95f, .seed = 3};

/* Hold a device and a toy. */
typedef struct stage {
    char path[32];
    fo_device *device;
} stage;

static const toy_model plain = {.arch = FO_ARCH_PHI3, .K = 2};
static const toy_model windowed = {
    .arch = FO_ARCH_PHI3, .K = 2, .window = 20, .original = 64};
static const toy_model llama = {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true};

static fo_session *load(const stage *s, const fo_session_options *options)
{
    fo_session *session;
    fo_error error;
    if (fo_session_load(s->device, s->path, options, &session, &error) != FO_OK)
        fail_msg("%s", error.message);
    return session;
}

static fo_block_stats blocks_of(const fo_session *session)
{
    fo_block_stats stats;
    assert_int_equal(
        fo_block_manager_stats(fo_session_blocks(session), &stats, NULL),
        FO_OK);
    assert_int_equal(fo_block_manager_check(fo_session_blocks(session), NULL),
                     FO_OK);
    return stats;
}

typedef struct held {
    uint64_t host, device;
} held;

static held held_now(void)
{
    return (held){fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                  fo_memory_usage_get(FO_MEMORY_DEVICE).bytes};
}

static bool same(held a, held b)
{
    return a.host == b.host && a.device == b.device;
}

static void draw(fo_session *session, const fo_sampling *sampling,
                 int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(fo_session_decode(session, sampling, &tokens[i], NULL),
                         FO_OK);
}

/* Test how a session ends. */
/* Fail every request for memory in turn. */
enum { DRAWS = 16 };

/* Load, prefill, draw, unload; the first failure, or FO_OK. A call that failed
 * after the load is made once more. */
static fo_status whole_life(const stage *s, const fo_session_options *options,
                            int32_t tokens[DRAWS], fo_error *error)
{
    fo_session *session;
    fo_status first =
        fo_session_load(s->device, s->path, options, &session, error);
    for (int done = -1; session && done < DRAWS; done++) {
        for (int again = 0; again < 2; again++) {
            fo_error *told = first == FO_OK ? error : NULL;
            fo_status status =
                done < 0
                    ? fo_session_prefill(session, prompt, PROMPT, NULL, told)
                    : fo_session_decode(session, &warm, &tokens[done], told);
            if (status == FO_OK)
                break;
            assert_int_equal(first, FO_OK);
            first = status;
            blocks_of(session);
            fo_memory_fail_at(0);
        }
    }
    fo_session_unload(&session);
    return first;
}

static void fail_every_request(const stage *s,
                               const fo_session_options *options)
{
    int32_t calm[DRAWS], tokens[DRAWS];
    fo_status status = whole_life(s, options, calm, NULL);
    uint64_t n = 0;
    assert_int_equal(status, FO_OK);
    held before = held_now();
    do {
        fo_error error = {0};
        tokens[0] = -1;
        fo_memory_fail_at(++n);
        status = whole_life(s, options, tokens, &error);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || status == FO_NOMEM ||
                    (status == FO_FULL && options->slab_blocks > 0));
        assert_int_equal(error.status, status);
        assert_true(same(before, held_now()));
        if (tokens[0] >= 0)
            assert_memory_equal(tokens, calm, sizeof calm);
    } while (status != FO_OK);
    print_message("%llu requests for memory, each made to fail\n",
                  (unsigned long long)n - 1);
    assert_true(n > 20);
}

static void d5_survives_every_failed_allocation(void **state)
{
    const fo_session_options slabs = {
        .chunk = 32, .block_size = 8, .slab_blocks = 2};
    fail_every_request(*state, &small);
    fail_every_request(*state, &slabs);
}

/* Run a context to its end. */
static void run_to_the_end(const stage *s)
{
    fo_session_options forty = {.context = 40, .block_size = 16};
    fo_session *session = load(s, &forty);
    int32_t token, long_prompt[41] = {0};
    fo_error error;
    assert_int_equal(fo_session_prefill(session, long_prompt, 41, NULL, &error),
                     FO_LIMIT);
    assert_int_equal(error.required, 41);
    assert_int_equal(error.available, 40);
    assert_int_equal(blocks_of(session).pool.allocations, 0);
    assert_int_equal(fo_session_length(session), 0);
    assert_int_equal(fo_session_prefill(session, prompt, 30, NULL, NULL),
                     FO_OK);
    while (fo_session_length(session) < 40)
        assert_int_equal(fo_session_decode(session, &warm, &token, NULL),
                         FO_OK);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(fo_session_decode(session, &warm, &token, &error),
                         FO_LIMIT);
        assert_int_equal(error.required, 41);
        assert_int_equal(error.available, 40);
        assert_int_equal(fo_session_length(session), 40);
    }
    assert_int_equal(fo_session_prefill(session, prompt, 1, NULL, NULL),
                     FO_LIMIT);
    fo_session_unload(&session);
}

/* Load and unload ten times. */
static void live_ten_times(const stage *s)
{
    const fo_dtype types[] = {FO_F32, FO_F16, FO_BF16};
    bool slow = s->device->backend != &fo_backend_cpu;
    held before = held_now();
    for (int i = 0; i < 10; i++) {
        fo_session_options options = {.kv_dtype = types[i % 3]};
        fo_session *session = load(s, &options);
        int32_t tokens[8];
        fo_session_prefill(session, prompt, slow ? 20 : PROMPT, NULL, NULL);
        draw(session, &warm, tokens, slow ? 1 : 8);
        assert_int_equal(fo_block_config_token_bytes(fo_block_manager_config(
                             fo_session_blocks(session))),
                         2 * 2 * 2 * 8 * fo_dtype_bytes(types[i % 3], 1));
        assert_false(same(before, held_now()));
        fo_session_unload(&session);
        assert_true(same(before, held_now()));
    }
}

/* Refuse settings and calls that make no sense. */
static void refuses_nonsense(void **state)
{
    const stage *s = *state;
    fo_session_options wrong[] = {{.context = -1},    {.chunk = -1},
                                  {.block_size = -1}, {.kv_dtype = FO_Q8_0},
                                  {.sequences = -1},  {.sequences = 1 << 30}};
    fo_session *session;
    fo_error error;
    int32_t token = 7;
    for (int w = 0; w < 6; w++) {
        assert_int_equal(
            fo_session_load(s->device, s->path, &wrong[w], &session, &error),
            FO_ARG);
        assert_null(session);
    }
    fo_session_options longer = {.context = TOY_CONTEXT + 1};
    assert_int_equal(
        fo_session_load(s->device, s->path, &longer, &session, &error),
        FO_LIMIT);
    session = load(s, &small);
    assert_int_equal(fo_session_decode(session, &warm, &token, &error), FO_ARG);
    assert_int_equal(fo_session_prefill(session, NULL, 0, NULL, &error), FO_OK);
    assert_int_equal(token, 7);
    fo_session_unload(&session);
}

static void d3_refuses_a_load_beyond_the_limit(void **state)
{
    const stage *s = *state;
    int refused = 0;
    for (uint64_t limit = 1000;; limit *= 2) {
        fo_device *device;
        fo_session *session;
        fo_device_info info;
        fo_error error = {0};
        fo_device_options options = {.memory_limit = limit};
        assert_int_equal(fo_backend_cpu.open(&options, &device, NULL), FO_OK);
        fo_status status =
            fo_session_load(device, s->path, &small, &session, &error);
        fo_session_unload(&session);
        fo_backend_cpu.info(device, &info);
        assert_int_equal(info.memory_own, 0);
        fo_backend_cpu.close(&device);
        if (status == FO_OK)
            break;
        assert_int_equal(status, FO_NOMEM);
        assert_true(error.required > error.available);
        refused++;
    }
    print_message("%d limits were too small\n", refused);
    assert_true(refused > 3);
}

/* Test how a session works. */
/* Prefill whole, in chunks, and token by token. */
static float *logits_in_chunks(const stage *s, int chunk, int block_size)
{
    fo_session_options options = {.chunk = chunk, .block_size = block_size};
    fo_session *session = load(s, &options);
    float *logits = malloc((size_t)LONG * V * sizeof *logits);
    poison(logits, (size_t)LONG * V * sizeof *logits);
    assert_int_equal(fo_session_prefill(session, prompt, LONG, logits, NULL),
                     FO_OK);
    blocks_of(session);
    fo_session_unload(&session);
    return logits;
}

static void b5_prefills_alike_in_chunks(void **state)
{
    const toy_model *toys[] = {&plain, &windowed, &llama};
    stage s = *(stage *)*state;
    for (int t = 0; t < 3; t++) {
        toy_model_write(toys[t], s.path);
        float *whole = logits_in_chunks(&s, LONG, 16);
        for (int chunk = 1; chunk <= 64; chunk = chunk == 1 ? 7 : chunk + 57) {
            float *got = logits_in_chunks(&s, chunk, chunk == 7 ? 4 : 16);
            assert_close_floats(got, whole, (size_t)LONG * V, CLOSE,
                                "toy %d, chunks of %d", t, chunk);
            free(got);
        }
        free(whole);
        unlink(s.path);
    }
}

/* Draw the same tokens in different ways. */
enum { DRAWN = 60 };

static void drawn_with(const stage *s, fo_session_options options,
                       const fo_sampling *sampling, int32_t *tokens)
{
    fo_session *session = load(s, &options);
    fo_session_prefill(session, prompt, PROMPT, NULL, NULL);
    draw(session, sampling, tokens, DRAWN);
    fo_session_unload(&session);
}

static void d8_draws_the_same_tokens(void **state)
{
    const fo_session_options ways[] = {
        {0}, {0}, {.chunk = 1}, {.chunk = 13, .block_size = 4}};
    fo_sampling greedy = {0}, other = warm;
    int32_t first[DRAWN], again[DRAWN];
    for (int g = 0; g < 2; g++) {
        drawn_with(*state, ways[0], g ? &greedy : &warm, first);
        for (int w = 1; w < 4; w++) {
            drawn_with(*state, ways[w], g ? &greedy : &warm, again);
            assert_memory_equal(first, again, sizeof first);
        }
    }
    drawn_with(*state, ways[0], &warm, first);
    other.seed++;
    drawn_with(*state, ways[0], &other, again);
    assert_memory_not_equal(first, again, sizeof first);
}

/* Leave the sequence as it was. */
static void disturb(fo_session *session)
{
    int length = fo_session_length(session);
    int32_t wrong[70] = {0}, token, *many = calloc(TOY_CONTEXT, sizeof *many);
    fo_sampling cold = {.temperature = -1};
    wrong[69] = V;
    assert_int_equal(fo_session_prefill(session, wrong, 70, NULL, NULL),
                     FO_ARG);
    assert_int_equal(fo_session_prefill(session, many, TOY_CONTEXT, NULL, NULL),
                     FO_LIMIT);
    assert_int_equal(fo_session_decode(session, &cold, &token, NULL), FO_ARG);
    assert_int_equal(fo_session_length(session), length);
    blocks_of(session);
    free(many);
}

static void leaves_the_sequence_as_it_was(void **state)
{
    const toy_model *toys[] = {&plain, &windowed};
    stage s = *(stage *)*state;
    for (int t = 0; t < 2; t++) {
        int32_t calm[20], disturbed[20];
        toy_model_write(toys[t], s.path);
        for (int d = 0; d < 2; d++) {
            fo_session *session = load(&s, &small);
            fo_session_prefill(session, prompt, PROMPT, NULL, NULL);
            for (int i = 0; i < 20; i++) {
                if (d)
                    disturb(session);
                draw(session, &warm, d ? &disturbed[i] : &calm[i], 1);
            }
            fo_session_unload(&session);
        }
        assert_memory_equal(calm, disturbed, sizeof calm);
        unlink(s.path);
    }
}

/* Free what the window has left behind. */
static void b6_frees_what_the_window_left(void **state)
{
    stage s = *(stage *)*state;
    fo_session_options options = {.chunk = 16, .block_size = 8};
    int32_t token;
    toy_model_write(&windowed, s.path);
    fo_session *session = load(&s, &options);
    fo_session_prefill(session, prompt, LONG, NULL, NULL);
    assert_true(blocks_of(session).pool.peak <= 4 + 2);
    for (int i = 0; i < 100; i++) {
        draw(session, &warm, &token, 1);
        assert_in_range(blocks_of(session).pool.held, 3, 4);
    }
    fo_session_unload(&session);
    unlink(s.path);
}

/* Take memory as the text grows. */
/* Slabs of 2 blocks that there is memory for. */
static uint64_t slabs_of(const fo_session *session)
{
    fo_block_stats stats = blocks_of(session);
    uint64_t slab = stats.kv_bytes / 32;
    assert_int_equal(stats.committed_bytes % slab, 0);
    return stats.committed_bytes / slab;
}

static void take_memory_in_slabs(const stage *s)
{
    const fo_session_options at_once = {.block_size = 8, .slab_blocks = -1},
                             slabs = {.block_size = 8,
                                      .slab_blocks = 2,
                                      .sequences = 2};
    int32_t want[4], got[4];
    fo_session *child, *whole = load(s, &at_once), *session = load(s, &slabs);
    assert_int_equal(blocks_of(whole).committed_bytes,
                     blocks_of(whole).kv_bytes);
    assert_int_equal(slabs_of(session), 0);
    fo_session_prefill(session, prompt, 30, NULL, NULL);
    fo_session_prefill(whole, prompt, 30, NULL, NULL);
    assert_int_equal(slabs_of(session), 2);
    draw(whole, &warm, want, 4);
    draw(session, &warm, got, 4);
    assert_memory_equal(want, got, sizeof want);
    assert_int_equal(slabs_of(session), 3);
    assert_int_equal(fo_session_fork(session, &child, NULL), FO_OK);
    fo_session_prefill(child, prompt, 60, NULL, NULL);
    assert_int_equal(slabs_of(session), 7);
    fo_session_unload(&child);
    assert_int_equal(slabs_of(session), 4);
    fo_session_unload(&session);
    fo_session_unload(&whole);
}

/* Draw the pinned tokens. */
static void d1_draws_the_pinned_tokens(void **state)
{
    stage s = {.path = "", .device = ((stage *)*state)->device};
    char text[256];
    omp_set_num_threads(omp_get_num_procs());
    FILE *file = fopen("golden/folio-tiny-greedy.txt", "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fo_session *session;
    fo_error error;
    if (fo_session_load(s.device, "golden/folio-tiny.gguf", NULL, &session,
                        &error) != FO_OK)
        fail_msg("%s", error.message);
    int32_t *ids, token;
    size_t count;
    fo_session_encode(session, text, strcspn(text, "\n"), FO_TOKENIZER_BOS,
                      &ids, &count, NULL);
    fo_session_prefill(session, ids, count, NULL, NULL);
    fo_memory_free(ids);
    for (int i = 0; i < 64; i++) {
        int want;
        assert_int_equal(fscanf(file, "%d", &want), 1);
        draw(session, &(fo_sampling){0}, &token, 1);
        assert_int_equal(token, want);
    }
    fclose(file);
    fo_session_unload(&session);
}

/* Run tests on both sides. */
static void on_both_sides(const stage *cpu, void (*test)(const stage *))
{
    stage verso = *cpu;
    test(cpu);
    print_message("cpu: tested\n");
    if (!verso_backend())
        return;
    verso.device = verso_open();
    test(&verso);
    print_message("%s: tested\n", verso.device->backend->name);
    verso.device->backend->close(&verso.device);
    verso_assert_clean();
}

static void d2_runs_the_context_to_its_end(void **state)
{
    on_both_sides(*state, run_to_the_end);
}

static void d6_gives_every_byte_back(void **state)
{
    on_both_sides(*state, live_ten_times);
}

static void d4_memory_follows_the_text(void **state)
{
    on_both_sides(*state, take_memory_in_slabs);
}

/* Run the tests of the session. */
static int begin(void **state)
{
    static stage s;
    omp_set_num_threads(1);
    for (int i = 0; i < LONG; i++)
        prompt[i] = (int32_t)((i * 37 + i * i * 11) % V);
    toy_model_write(&plain, s.path);
    *state = &s;
    return (int)fo_backend_cpu.open(NULL, &s.device, NULL);
}

static int end(void **state)
{
    stage *s = *state;
    fo_backend_cpu.close(&s->device);
    return unlink(s->path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d5_survives_every_failed_allocation),
        cmocka_unit_test(d2_runs_the_context_to_its_end),
        cmocka_unit_test(b5_prefills_alike_in_chunks),
        cmocka_unit_test(d8_draws_the_same_tokens),
        cmocka_unit_test(leaves_the_sequence_as_it_was),
        cmocka_unit_test(b6_frees_what_the_window_left),
        cmocka_unit_test(refuses_nonsense),
        cmocka_unit_test(d3_refuses_a_load_beyond_the_limit),
        cmocka_unit_test(d6_gives_every_byte_back),
        cmocka_unit_test(d4_memory_follows_the_text),
        cmocka_unit_test(d1_draws_the_pinned_tokens),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
