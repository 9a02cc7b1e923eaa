#include "engine/decode_loop.h"
#include "engine/session.h"

#include "common/memory.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "model_file.h"
#include "null_backend.h"
#include "toy_model.h"
#include "verso.h"
#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/runtime.h"
#endif

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Prepare models, prompts and sides. */
enum { V = SMALL_VOCABULARY, PROMPT = 30, MOST = 120 };

static const toy_model plain = {.arch = FO_ARCH_PHI3, .K = 2};
static const toy_model windowed = {
    .arch = FO_ARCH_PHI3, .K = 2, .window = 20, .original = 64};
static const toy_model llama = {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true};
static const toy_model broken = {.arch = FO_ARCH_PHI3, .K = 2, .broken = true};

static const fo_sampling warm = {
    .temperature = 0.9f, .top_p = 0.95f, .seed = 3};

static int32_t prompt[PROMPT];

/* The backends to be tested: the CPU, and the verso where it is built in. */
static int sides(const fo_backend *out[2])
{
    out[0] = &fo_backend_cpu;
    out[1] = verso_backend();
    int count = out[1] && !backend_missing_slot(out[1]) ? 2 : 1;
    for (int i = 0; i < count; i++)
        print_message("%s: tested\n", out[i]->name);
    return count;
}

/* Tokens to be drawn: the simulator takes its time. */
static int drawn_on(const fo_backend *backend)
{
    bool quick = getenv("FOLIO_QUICK") != NULL;
    return backend == &fo_backend_cpu && !quick ? MOST : quick ? 10 : 16;
}

/* Keep a ledger of what the host is asked. */
/* What has been called, a letter each: u upload, d download, c copy, f fill, s
 * sync, r step_request, a step_append, b graph_begin, g graph_launch. */
static struct {
    char letters[4096];
    size_t count;
    uint64_t fail_append; /* the n-th step_append fails; 0: none */
    uint64_t fail_copy;   /* the n-th kv_copy from now on fails  */
} ledger;

static const fo_backend *real;
static fo_backend counting;

static void note(char letter)
{
    if (ledger.count + 1 < sizeof ledger.letters)
        ledger.letters[ledger.count++] = letter;
    ledger.letters[ledger.count] = 0;
}

static size_t noted(char letter)
{
    size_t n = 0;
    for (size_t i = 0; i < ledger.count; i++)
        n += ledger.letters[i] == letter;
    return n;
}

static fo_status note_upload(fo_device *device, void *to, const void *from,
                             size_t bytes, fo_error *error)
{
    note('u');
    return real->upload(device, to, from, bytes, error);
}

static fo_status note_download(fo_device *device, void *to, const void *from,
                               size_t bytes, fo_error *error)
{
    note('d');
    return real->download(device, to, from, bytes, error);
}

static fo_status note_copy(fo_device *device, void *to, const void *from,
                           size_t bytes, fo_error *error)
{
    note('c');
    return real->copy(device, to, from, bytes, error);
}

static fo_status note_fill(fo_device *device, void *to, uint8_t byte,
                           size_t bytes, fo_error *error)
{
    note('f');
    return real->fill(device, to, byte, bytes, error);
}

static fo_status note_sync(fo_device *device, fo_error *error)
{
    note('s');
    return real->sync(device, error);
}

static fo_status note_request(fo_device *device, const fo_steps *steps,
                              fo_error *error)
{
    note('r');
    return real->step_request(device, steps, error);
}

static fo_status note_append(fo_device *device, const fo_steps *steps,
                             fo_error *error)
{
    note('a');
    if (ledger.fail_append && noted('a') == ledger.fail_append)
        return fo_fail(error, FO_DEVICE, "the step fails as planned");
    return real->step_append(device, steps, error);
}

static fo_status fail_copy(fo_device *device, const fo_kv *kv,
                           const int32_t *from, const int32_t *to, int n,
                           fo_error *error)
{
    if (ledger.fail_copy > 0 && --ledger.fail_copy == 0)
        return fo_fail(error, FO_DEVICE, "the copy fails as planned");
    return real->kv_copy(device, kv, from, to, n, error);
}

static fo_status note_begin(fo_device *device, fo_error *error)
{
    note('b');
    return real->graph_begin(device, error);
}

static fo_status note_launch(fo_device *device, void *graph, fo_error *error)
{
    note('g');
    return real->graph_launch(device, graph, error);
}

/* A device whose calls are noted; without graphs if so wanted. */
static fo_device *open_counting(const fo_backend *backend, bool graphs)
{
    fo_device *device;
    real = backend;
    counting = *backend;
    counting.upload = note_upload;
    counting.download = note_download;
    counting.copy = note_copy;
    counting.fill = note_fill;
    counting.sync = note_sync;
    counting.step_request = note_request;
    counting.step_append = note_append;
    counting.kv_copy = fail_copy;
    if (backend->graph_begin) {
        counting.graph_begin = graphs ? note_begin : NULL;
        counting.graph_launch = note_launch;
    }
    fo_error error;
    if (backend->open(NULL, &device, &error) != FO_OK)
        fail_msg("%s", error.message);
    device->backend = &counting;
    memset(&ledger, 0, sizeof ledger);
    return device;
}

/* Draw step by step, for the answer. */
static fo_session *load(fo_device *device, const toy_model *toy)
{
    char path[32];
    fo_session *session;
    fo_session_options options = {.chunk = 32, .block_size = 8};
    fo_error error;
    toy_model_write(toy, path);
    if (fo_session_load(device, path, &options, &session, &error) != FO_OK)
        fail_msg("%s", error.message);
    unlink(path);
    return session;
}

/* The first `n` tokens after `count` of the prompt, each drawn by itself. The
 * last token of the prompt is run alone, as the loop runs it. */
static void draw_apart(const fo_backend *backend, const toy_model *toy,
                       size_t count, const fo_sampling *sampling, int n,
                       int32_t *tokens, fo_block_stats *stats)
{
    fo_device *device;
    fo_error error = {0};
    assert_int_equal(backend->open(NULL, &device, NULL), FO_OK);
    fo_session *s = load(device, toy);
    fo_session_prefill(s, prompt, count - 1, NULL, NULL);
    fo_session_prefill(s, prompt + count - 1, 1, NULL, NULL);
    for (int i = 0; i < n; i++)
        if (fo_session_decode(s, sampling, &tokens[i], &error) != FO_OK)
            fail_msg("%s", error.message);
    if (stats)
        fo_block_manager_stats(fo_session_blocks(s), stats, NULL);
    fo_session_unload(&s);
    backend->close(&device);
}

/* Hold several sequences and a loop. */
enum { SEQUENCES = 3 };

typedef struct group {
    fo_device *device;
    fo_model *model;
    fo_block_manager *blocks;
    fo_decode_loop *loop;
} group;

/* `slab` blocks are committed together; 0: all at once. */
static group group_open_in(fo_device *device, const toy_model *toy, int blocks,
                           int slab)
{
    char path[32];
    group g = {.device = device};
    toy_model_write(toy, path);
    fo_model_options options = {.max_tokens = 32, .max_sequences = SEQUENCES};
    assert_int_equal(fo_model_open(device, path, &options, &g.model, NULL),
                     FO_OK);
    unlink(path);
    const fo_config *c = fo_model_config(g.model);
    fo_block_config shape = {.total_blocks = blocks,
                             .block_size = 8,
                             .num_layers = c->L,
                             .kv_heads = c->K,
                             .head_dim = c->D,
                             .dtype = FO_F32,
                             .max_sequences = 2 * SEQUENCES,
                             .max_length = TOY_CONTEXT,
                             .slab_blocks = slab};
    assert_int_equal(fo_block_manager_open(device, &shape, &g.blocks, NULL),
                     FO_OK);
    assert_int_equal(fo_decode_loop_open(device, g.model, g.blocks,
                                         SEQUENCES * MOST, &g.loop, NULL),
                     FO_OK);
    return g;
}

static group group_open(fo_device *device, const toy_model *toy, int blocks)
{
    return group_open_in(device, toy, blocks, 0);
}

static void group_close(group *g)
{
    const fo_backend *backend = real;
    fo_decode_loop_close(&g->loop);
    fo_block_manager_close(&g->blocks);
    fo_model_close(&g->model);
    backend->close(&g->device);
}

/* Store all but the last of `count` tokens of the prompt. */
static void prefill(group *g, int64_t sequence, int count)
{
    int32_t positions[PROMPT];
    int64_t slots[PROMPT];
    const fo_block_table *table = fo_block_manager_table(g->blocks);
    int n = count - 1;
    assert_int_equal(fo_block_manager_extend(g->blocks, sequence, n, NULL),
                     FO_OK);
    fo_block_table_slots(table, sequence, 0, n, slots);
    for (int i = 0; i < n; i++)
        positions[i] = i;
    fo_block_tables tables = fo_block_manager_tables(g->blocks, NULL);
    fo_batch batch = {.T = n,
                      .N = 1,
                      .tokens = prompt,
                      .positions = positions,
                      .slots = slots,
                      .query_start = (int32_t[]){0, n},
                      .length = (int32_t[]){n},
                      .row = (int32_t[]){fo_block_table_row(table, sequence)},
                      .table = tables.table,
                      .max_blocks = tables.max_blocks,
                      .kv = fo_block_manager_layers(g->blocks)};
    assert_int_equal(fo_model_forward(g->model, &batch, NULL), FO_OK);
}

static fo_decoding decoding_of(int64_t sequence, int count)
{
    fo_decoding d = {
        .sequence = sequence, .last = prompt[count - 1], .sampling = warm};
    d.sampling.position = (uint64_t)count;
    d.sampling.seed += (uint64_t)sequence;
    return d;
}

/* Ask the host nothing between the steps. */
/* From the first step's request to the last step's end the host is asked
 * nothing, and it is asked the same number of things for 5 tokens and for 20.
 */
static void asks_the_host_nothing(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++) {
        size_t transfers[2];
        for (int k = 0; k < 2; k++) {
            int32_t tokens[20];
            int count, n = k ? 20 : 5;
            fo_device *device = open_counting(backends[b], true);
            fo_session *s = load(device, &windowed);
            fo_session_prefill(s, prompt, PROMPT, NULL, NULL);
            fo_session_generate(s, &warm, 1, false, tokens, &count, NULL);
            ledger.count = 0;
            fo_session_generate(s, &warm, n, false, tokens, &count, NULL);
            assert_int_equal(count, n);
            size_t first = strcspn(ledger.letters, "r");
            size_t steps = strspn(ledger.letters + first, "rabg");
            const char *rest = ledger.letters + first + steps;
            assert_int_equal(strcspn(rest, "rabg"), strlen(rest));
            assert_int_equal(steps >= (size_t)n, true);
            transfers[k] = ledger.count - steps;
            if (backends[b]->graph_begin)
                assert_int_equal(noted('g'), n - 1);
            else
                assert_int_equal(noted('a'), n);
            fo_session_unload(&s);
            real->close(&device);
        }
        assert_int_equal(transfers[0], transfers[1]);
        print_message("%s: %zu transfers for 5 tokens and for 20\n",
                      backends[b]->name, transfers[0]);
    }
}

/* Draw the tokens of step-by-step decoding. */
static void expect_same_blocks(const fo_session *s, const fo_block_stats *want)
{
    fo_block_stats got;
    assert_int_equal(fo_block_manager_check(fo_session_blocks(s), NULL), FO_OK);
    fo_block_manager_stats(fo_session_blocks(s), &got, NULL);
    assert_int_equal(got.pool.held, want->pool.held);
    assert_int_equal(got.pool.peak, want->pool.peak);
    assert_int_equal(got.pool.allocations, want->pool.allocations);
    assert_int_equal(got.pool.reuses, want->pool.reuses);
    assert_int_equal(got.pool.tokens, want->pool.tokens);
    assert_int_equal(got.pool.illegal, want->pool.illegal);
    assert_int_equal(got.table.tokens, want->table.tokens);
}

/* The same tokens and the same blocks, in draws of 1, 7, or all at once. */
static void d8_draws_the_tokens_of_single_steps(void **state)
{
    (void)state;
    const toy_model *toys[] = {&plain, &windowed, &llama};
    const fo_sampling greedy = {0};
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++)
        for (int t = b; t < 6; t += 1 + b) {
            int n = drawn_on(backends[b]);
            const fo_sampling *sampling = t == 1 || t > 3 ? &warm : &greedy;
            int32_t want[MOST], got[MOST];
            fo_block_stats blocks;
            draw_apart(backends[b], toys[t / 2], PROMPT, sampling, n, want,
                       &blocks);
            fo_device *device = open_counting(backends[b], true);
            fo_session *s = load(device, toys[t / 2]);
            fo_session_prefill(s, prompt, PROMPT - 1, NULL, NULL);
            fo_session_prefill(s, prompt + PROMPT - 1, 1, NULL, NULL);
            /* Draw in pieces. */
            static const int pieces[] = {1, 7, MOST};
            for (int done = 0, count; done < n; done += count) {
                int most = pieces[(t + 1) % 3] < n - done ? pieces[(t + 1) % 3]
                                                          : n - done;
                assert_int_equal(fo_session_generate(s, sampling, most, false,
                                                     got + done, &count, NULL),
                                 FO_OK);
                assert_int_equal(count, most);
                assert_int_equal(fo_session_length(s), PROMPT + done + count);
            }
            assert_memory_equal(got, want, (size_t)n * sizeof *got);
            expect_same_blocks(s, &blocks);
            fo_session_unload(&s);
            real->close(&device);
        }
}

/* Draw for several sequences at once. */
/* What a sequence draws alone. */
static void want_of(const fo_backend *backend, int64_t sequence, int count,
                    int n, int32_t *want)
{
    fo_sampling sampling = warm;
    sampling.seed += (uint64_t)sequence;
    draw_apart(backend, &plain, (size_t)count, &sampling, n, want, NULL);
}

/* Three sequences in one loop, two of which begin in a shared block. */
static void d7_draws_for_several_sequences(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++) {
        int n = drawn_on(backends[b]) / 2;
        fo_device *device = open_counting(backends[b], true);
        group g = group_open(device, &plain, 80);
        int32_t got[SEQUENCES * MOST], want[MOST];
        fo_decoding d[] = {decoding_of(5, 12), decoding_of(6, 12),
                           decoding_of(7, 29)};
        prefill(&g, 5, 12);
        assert_int_equal(fo_block_manager_fork(g.blocks, 5, 6, 11, NULL),
                         FO_OK);
        prefill(&g, 7, 29);
        fo_error error = {0};
        if (fo_decode_loop_run(g.loop, d, 3, n, false, got, &error) != FO_OK)
            fail_msg("%s", error.message);
        for (int i = 0; i < 3; i++) {
            int count = i == 2 ? 29 : 12;
            assert_int_equal(d[i].count, n);
            assert_int_equal(
                fo_block_table_length(fo_block_manager_table(g.blocks),
                                      d[i].sequence),
                count - 1 + n);
            want_of(backends[b], d[i].sequence, count, n, want);
            assert_memory_equal(got + i * n, want, (size_t)n * sizeof *want);
        }
        assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
        group_close(&g);
    }
}

/* A sequence that is to stop does; the others go on. */
static void stops_where_it_should(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    int64_t round = 0; /* the CPU finds one; the verso begins with it */
    for (int b = 0, all = sides(backends); b < all; b++) {
        int n = 10, stopped = 0;
        fo_device *device = open_counting(backends[b], true);
        group g = group_open(device, &plain, 80);
        const fo_tokenizer *tokenizer = fo_model_tokenizer(g.model);
        for (int tries = 0; tries < 40 && stopped == 0; tries++) {
            int32_t whole[SEQUENCES * MOST], got[SEQUENCES * MOST];
            /* Draw with and without stopping. */
            round += tries > 0;
            for (int until = 0; until < 2; until++) {
                fo_decoding d[SEQUENCES];
                for (int i = 0; i < SEQUENCES; i++) {
                    d[i] = decoding_of(SEQUENCES * round + i, 9);
                    d[i].sampling.temperature = 30;
                    d[i].sampling.top_p = 1;
                    prefill(&g, d[i].sequence, 9);
                }
                int32_t *tokens = until ? got : whole;
                assert_int_equal(fo_decode_loop_run(g.loop, d, SEQUENCES, n,
                                                    until, tokens, NULL),
                                 FO_OK);
                for (int i = 0; i < SEQUENCES; i++) {
                    int end = 0;
                    while (end < n &&
                           !fo_tokenizer_is_stop(tokenizer, whole[i * n + end]))
                        end++;
                    bool found = until && end < n;
                    assert_int_equal(d[i].count, found ? end + 1 : n);
                    assert_int_equal(d[i].stopped, found);
                    assert_int_equal(d[i].error.status, FO_OK);
                    assert_memory_equal(tokens + i * n, whole + i * n,
                                        (size_t)d[i].count * sizeof *tokens);
                    stopped += found;
                    fo_block_manager_free_sequence(g.blocks, d[i].sequence,
                                                   NULL);
                }
            }
        }
        assert_true(stopped > 0);
        group_close(&g);
    }
}

/* Fail at one call and go on. */
#ifndef FO_NO_SIM
static bool fails_and_goes_on(uint64_t call, int n, const int32_t *want)
{
    group g = group_open(open_counting(verso_backend(), true), &plain, 20);
    int32_t got[2 * MOST];
    fo_decoding d[] = {decoding_of(5, 4), decoding_of(6, 4)};
    prefill(&g, 5, 4);
    assert_int_equal(fo_block_manager_fork(g.blocks, 5, 6, 3, NULL), FO_OK);
    sim_fail_at(call);
    fo_decode_loop_run(g.loop, d, 2, n, false, got, NULL);
    bool failed = sim_failed_call() != NULL;
    sim_fail_at(0);
    for (int i = 0; i < 2; i++) {
        int done = d[i].count;
        fo_decoding rest = decoding_of(5 + i, 4);
        rest.last = done ? got[i * n + done - 1] : rest.last;
        rest.sampling.position += (uint64_t)done;
        fo_error error = {0};
        int32_t *more = got + i * n + done;
        if (fo_decode_loop_run(g.loop, &rest, 1, n - done, false, more,
                               &error) != FO_OK)
            fail_msg("call %d: %s", (int)call, error.message);
        assert_memory_equal(got + i * n, want + i * n,
                            (size_t)n * sizeof *want);
    }
    assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
    group_close(&g);
    return failed;
}
#endif

/* Fail in the middle. */
/* The pool runs dry: some are refused and keep what they have, the others go
 * on; when blocks come back, the refused go on as if nothing had been. */
static void runs_the_pool_dry(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++) {
        int n = 12;
        fo_device *device = open_counting(backends[b], true);
        group g = group_open(device, &plain, 8);
        int32_t got[SEQUENCES * MOST], want[MOST];
        fo_decoding d[SEQUENCES];
        for (int i = 0; i < SEQUENCES; i++) {
            d[i] = decoding_of(i, 16 + i);
            prefill(&g, i, 16 + i);
        }
        assert_int_equal(
            fo_decode_loop_run(g.loop, d, SEQUENCES, n, false, got, NULL),
            FO_OK);
        /* See who was refused. */
        int refused = 0;
        assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
        for (int i = 0; i < SEQUENCES; i++) {
            int count = d[i].count;
            want_of(backends[b], i, 16 + i, n, want);
            assert_memory_equal(got + i * n, want,
                                (size_t)count * sizeof *want);
            assert_int_equal(
                fo_block_table_length(fo_block_manager_table(g.blocks), i),
                15 + i + count);
            if (count == n)
                continue;
            refused++;
            assert_int_equal(d[i].error.status, FO_FULL);
            assert_int_equal(d[i].error.required, 1);
            assert_int_equal(d[i].error.available, 0);
        }
        assert_in_range(refused, 1, SEQUENCES);
        /* Let the first one go, and the last one on. */
        assert_int_equal(fo_block_manager_free_sequence(g.blocks, 0, NULL),
                         FO_OK);
        int done = d[2].count;
        assert_true(done < n);
        fo_decoding rest = decoding_of(2, 18);
        rest.last = done ? got[2 * n + done - 1] : rest.last;
        rest.sampling.position += (uint64_t)done;
        assert_int_equal(
            fo_decode_loop_run(g.loop, &rest, 1, n - done, false, got, NULL),
            FO_OK);
        assert_int_equal(rest.count, n - done);
        assert_memory_equal(got, want + done,
                            (size_t)(n - done) * sizeof *want);
        group_close(&g);
    }
}

/* With slabs it may be memory that is short, not the pool; then it says so, and
 * counts the blocks that there are. A slab is a page of each array here. */
static void says_that_memory_is_short(void **state)
{
    (void)state;
    int32_t got[12];
    fo_device *device = open_counting(&fo_backend_cpu, true);
    group g = group_open_in(device, &plain, 30, 8);
    fo_decoding d = decoding_of(0, 24);
    prefill(&g, 0, 24);
    assert_int_equal(fo_block_manager_allocate(g.blocks, 1, 5, NULL), FO_OK);
    fo_memory_fail_at(1);
    fo_status status = fo_decode_loop_run(g.loop, &d, 1, 12, false, got, NULL);
    fo_memory_fail_at(0);
    assert_int_equal(status, FO_OK);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error.status, FO_FULL);
    assert_non_null(strstr(d.error.message, "0 of 8 are free"));
    assert_non_null(strstr(d.error.message, "memory"));
    group_close(&g);
}

/* A step that fails takes nothing with it: what was drawn stays, and the next
 * call goes on from there. */
static void survives_a_step_that_fails(void **state)
{
    (void)state;
    int32_t want[20], got[20];
    draw_apart(&fo_backend_cpu, &windowed, PROMPT, &warm, 20, want, NULL);
    for (uint64_t fail = 1; fail <= 10; fail += 3) {
        fo_device *device = open_counting(&fo_backend_cpu, true);
        fo_session *s = load(device, &windowed);
        fo_error error = {0};
        int count, more;
        fo_session_prefill(s, prompt, PROMPT - 1, NULL, NULL);
        fo_session_prefill(s, prompt + PROMPT - 1, 1, NULL, NULL);
        ledger.fail_append = fail;
        assert_int_equal(
            fo_session_generate(s, &warm, 20, false, got, &count, &error),
            FO_DEVICE);
        assert_string_equal(error.message, "the step fails as planned");
        assert_int_equal(count, fail); /* one is drawn before the loop */
        assert_int_equal(fo_session_length(s), PROMPT + count);
        assert_int_equal(fo_block_manager_check(fo_session_blocks(s), NULL),
                         FO_OK);
        ledger.fail_append = 0;
        assert_int_equal(fo_session_generate(s, &warm, 20 - count, false,
                                             got + count, &more, NULL),
                         FO_OK);
        assert_memory_equal(got, want, sizeof want);
        fo_session_unload(&s);
        real->close(&device);
    }
}

static void d5_a_copy_that_failed_is_made_later(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++)
        for (uint64_t fail = 1; fail <= 2; fail++) {
            int n = 6;
            fo_device *device = open_counting(backends[b], true);
            group g = group_open(device, &plain, 20);
            const fo_block_table *table = fo_block_manager_table(g.blocks);
            int32_t got[SEQUENCES * MOST], want[MOST];
            fo_decoding d[] = {decoding_of(5, 12), decoding_of(6, 12)};
            prefill(&g, 5, 12);
            assert_int_equal(fo_block_manager_fork(g.blocks, 5, 6, 11, NULL),
                             FO_OK);
            fo_error error = {0};
            ledger.fail_copy = fail;
            assert_int_equal(
                fo_decode_loop_run(g.loop, d, 2, n, false, got, &error),
                FO_DEVICE);
            assert_string_equal(error.message, "the copy fails as planned");
            for (int i = 0; i < 2; i++)
                assert_int_equal(fo_block_table_length(table, 5 + i), 11);
            assert_int_equal(
                fo_decode_loop_run(g.loop, d, 2, n, false, got, NULL), FO_OK);
            for (int i = 0; i < 2; i++) {
                want_of(backends[b], 5 + i, 12, n, want);
                assert_memory_equal(got + i * n, want,
                                    (size_t)n * sizeof *want);
            }
            assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
            group_close(&g);
        }
}

static void d5_each_call_of_a_run_may_fail(void **state)
{
    (void)state;
    if (!verso_is_simulated()) {
        print_message("SKIP: the device is no simulated one\n");
        skip();
    }
#ifndef FO_NO_SIM
    enum { n = 2 };
    int32_t want[2][n];
    uint64_t stride = getenv("FOLIO_QUICK") ? 5 : 2, call = 1;
    bool failed = true;
    for (int i = 0; i < 2; i++)
        want_of(verso_backend(), 5 + i, 4, n, want[i]);
    sim_report_stream(NULL);
    for (; failed; call += stride)
        failed = fails_and_goes_on(call, n, want[0]);
    sim_report_stream(stderr);
    sim_reports_clear();
    print_message("one call in %d failed, the last the %d-th\n", (int)stride,
                  (int)(call - 2 * stride));
    assert_true(call > 3 * stride);
#endif
}

static void d5_memory_is_committed_ahead(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++) {
        int n = drawn_on(backends[b]);
        fo_device *device = open_counting(backends[b], true);
        group g = group_open_in(device, &plain, 80, 2);
        int32_t got[SEQUENCES * MOST], want[MOST];
        fo_decoding d[SEQUENCES];
        for (int i = 0; i < SEQUENCES; i++) {
            d[i] = decoding_of(i, 8 + 8 * i);
            prefill(&g, i, 8 + 8 * i);
        }
        fo_block_stats before, after;
        fo_block_manager_stats(g.blocks, &before, NULL);
        assert_int_equal(before.pool.total, 6);
        assert_int_equal(
            fo_decode_loop_run(g.loop, d, SEQUENCES, n, false, got, NULL),
            FO_OK);
        for (int i = 0; i < SEQUENCES; i++) {
            assert_int_equal(d[i].count, n);
            want_of(backends[b], i, 8 + 8 * i, n, want);
            assert_memory_equal(got + i * n, want, (size_t)n * sizeof *want);
        }
        fo_block_manager_stats(g.blocks, &after, NULL);
        assert_in_range(after.pool.total, after.pool.held,
                        after.pool.held + 2 * SEQUENCES);
        assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
        group_close(&g);
    }
}

/* Logits that hold a NaN draw no token, and the sequence says so. */
static void says_that_nothing_could_be_drawn(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int b = 0, all = sides(backends); b < all; b++) {
        fo_device *device = open_counting(backends[b], true);
        group g = group_open(device, &broken, 20);
        int32_t got[4];
        fo_decoding d = decoding_of(1, 12);
        prefill(&g, 1, 12);
        assert_int_equal(fo_decode_loop_run(g.loop, &d, 1, 4, false, got, NULL),
                         FO_OK);
        assert_int_equal(d.count, 0);
        assert_int_equal(d.error.status, FO_DEVICE);
        assert_int_equal(
            fo_block_table_length(fo_block_manager_table(g.blocks), 1), 12);
        assert_int_equal(fo_block_manager_check(g.blocks, NULL), FO_OK);
        group_close(&g);
    }
}

static void refuses_before_any_work(void **state)
{
    (void)state;
    fo_device *device = open_counting(&fo_backend_cpu, true);
    group g = group_open(device, &plain, 60);
    int32_t got[MOST];
    fo_error error;
    fo_decoding good = decoding_of(1, 12), bad = good;
    prefill(&g, 1, 12);
    ledger.count = 0;
    bad.sequence = 2;
    assert_int_equal(fo_decode_loop_run(g.loop, &bad, 1, 4, false, got, &error),
                     FO_UNKNOWN);
    bad = good;
    bad.last = V;
    assert_int_equal(fo_decode_loop_run(g.loop, &bad, 1, 4, false, got, &error),
                     FO_ARG);
    bad = good;
    bad.sampling.temperature = -1;
    assert_int_equal(fo_decode_loop_run(g.loop, &bad, 1, 4, false, got, &error),
                     FO_ARG);
    assert_int_equal(
        fo_decode_loop_run(g.loop, &good, 1, 4, false, got, &error), FO_OK);
    group_close(&g);
}

/* A session refuses what its context cannot hold, before it draws anything. */
static void respects_the_context(void **state)
{
    (void)state;
    fo_device *device = open_counting(&fo_backend_cpu, true);
    fo_session *s = load(device, &plain);
    int32_t tokens[TOY_CONTEXT];
    int count = 7, left = TOY_CONTEXT - PROMPT;
    fo_error error;
    fo_session_prefill(s, prompt, PROMPT, NULL, NULL);
    assert_int_equal(
        fo_session_generate(s, &warm, left + 1, false, tokens, &count, &error),
        FO_LIMIT);
    assert_int_equal(error.required, TOY_CONTEXT + 1);
    assert_int_equal(error.available, TOY_CONTEXT);
    assert_int_equal(count, 0);
    assert_int_equal(fo_session_length(s), PROMPT);
    assert_int_equal(
        fo_session_generate(s, &warm, left, false, tokens, &count, &error),
        FO_OK);
    assert_int_equal(count, left);
    assert_int_equal(
        fo_session_generate(s, &warm, 1, false, tokens, &count, &error),
        FO_LIMIT);
    fo_session_unload(&s);
    real->close(&device);
}

/* Give the same bits from a graph. */
/* All keys and values of the first layer after some steps. */
static float *cache_after(const fo_backend *backend, bool graphs, int steps,
                          int32_t *tokens, size_t *bytes)
{
    fo_device *device = open_counting(backend, graphs);
    group g = group_open(device, &windowed, 40);
    fo_decoding d[] = {decoding_of(1, 12), decoding_of(2, 25)};
    const fo_kv *kv = fo_block_manager_layer(g.blocks, 0);
    *bytes = (size_t)kv->num_blocks * (size_t)kv->K * (size_t)kv->B *
             (size_t)kv->D * sizeof(float);
    backend->fill(device, kv->k, 0, *bytes, NULL);
    backend->fill(device, kv->v, 0, *bytes, NULL);
    prefill(&g, 1, 12);
    prefill(&g, 2, 25);
    float *both = malloc(2 * *bytes);
    assert_int_equal(
        fo_decode_loop_run(g.loop, d, 2, steps, false, tokens, NULL), FO_OK);
    backend->download(device, both, kv->k, *bytes, NULL);
    backend->download(device, (char *)both + *bytes, kv->v, *bytes, NULL);
    assert_int_equal(noted('g'), graphs ? steps - 1 : 0);
    group_close(&g);
    return both;
}

static void gives_the_same_bits_from_a_graph(void **state)
{
    (void)state;
    const fo_backend *backend = verso_backend();
    if (!backend || backend_missing_slot(backend) || !backend->graph_begin) {
        print_message("SKIP: no device with graphs\n");
        skip();
    }
    int32_t eager[2 * MOST], recorded[2 * MOST];
    size_t bytes;
    int n = drawn_on(backend);
    float *want = cache_after(backend, false, n, eager, &bytes);
    float *got = cache_after(backend, true, n, recorded, &bytes);
    assert_memory_equal(eager, recorded, 2 * (size_t)n * sizeof *eager);
    assert_memory_equal(want, got, 2 * bytes);
    free(want);
    free(got);
    verso_assert_clean();
}

/* Run the tests of the loop. */
static int begin(void **state)
{
    (void)state;
    omp_set_num_threads(1);
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = (int32_t)((i * 37 + i * i * 11) % V);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_the_host_nothing),
        cmocka_unit_test(d8_draws_the_tokens_of_single_steps),
        cmocka_unit_test(d7_draws_for_several_sequences),
        cmocka_unit_test(stops_where_it_should),
        cmocka_unit_test(runs_the_pool_dry),
        cmocka_unit_test(says_that_memory_is_short),
        cmocka_unit_test(survives_a_step_that_fails),
        cmocka_unit_test(d5_a_copy_that_failed_is_made_later),
        cmocka_unit_test(d5_each_call_of_a_run_may_fail),
        cmocka_unit_test(d5_memory_is_committed_ahead),
        cmocka_unit_test(says_that_nothing_could_be_drawn),
        cmocka_unit_test(refuses_before_any_work),
        cmocka_unit_test(respects_the_context),
        cmocka_unit_test(gives_the_same_bits_from_a_graph),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
