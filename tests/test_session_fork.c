/* Include what the tests of forks need. */
#include "engine/session.h"

#include "common/memory.h"
#include "common/rng.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "model_file.h"
#include "null_backend.h"
#include "toy_model.h"
#include "verso.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { V = SMALL_VOCABULARY, B = 8, LONG = 160, MOST = 24 };
enum { BLOCK_FLOATS = 2 * B * 8 }; /* (K, B, D) of the plain toy */

/* Give, draw and fork. */
static int32_t text[LONG];
static const fo_sampling warm = {
    .temperature = 0.9f, .top_p = 0.95f, .seed = 3};
static const fo_sampling greedy = {0};

static const toy_model plain = {.arch = FO_ARCH_PHI3, .K = 2};
static const toy_model windowed = {
    .arch = FO_ARCH_PHI3, .K = 2, .window = 20, .original = 64};
static const toy_model llama = {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true};

static fo_session *load(fo_device *device, const toy_model *toy, int sequences)
{
    char path[32];
    fo_session *session;
    fo_session_options options = {
        .chunk = 16, .block_size = B, .sequences = sequences};
    fo_error error;
    toy_model_write(toy, path);
    if (fo_session_load(device, path, &options, &session, &error) != FO_OK)
        fail_msg("%s", error.message);
    unlink(path);
    return session;
}

static fo_session *fork_of(fo_session *session)
{
    fo_session *child;
    fo_error error;
    if (fo_session_fork(session, &child, &error) != FO_OK)
        fail_msg("%s", error.message);
    return child;
}

static void give(fo_session *s, int from, int count)
{
    assert_int_equal(
        fo_session_prefill(s, text + from, (size_t)count, NULL, NULL), FO_OK);
}

static void draw(fo_session *s, const fo_sampling *sampling, int32_t *tokens,
                 int count)
{
    fo_error error;
    for (int i = 0; i < count; i++)
        if (fo_session_decode(s, sampling, &tokens[i], &error) != FO_OK)
            fail_msg("%s", error.message);
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

/* Fork anywhere and compare with sessions alone. */
typedef struct place {
    int given, drawn; /* before the fork */
} place;

enum { TURNS = 3 };

static void take_turn(fo_session *s, const fo_sampling *sampling, int own,
                      int turn, int n, int32_t *tokens /* (n) */)
{
    if (turn == 0 && fo_session_length(s) > 0)
        draw(s, sampling, tokens, 1);
    if (turn == 1)
        give(s, own, 3);
    if (turn == 2)
        draw(s, sampling, tokens + 1, n - 1);
}

static void live_alone(fo_device *device, const toy_model *toy, place at,
                       const fo_sampling *sampling, int own, int n,
                       int32_t *tokens /* (n) */)
{
    int32_t before[8];
    fo_session *s = load(device, toy, 1);
    give(s, 0, at.given);
    draw(s, &warm, before, at.drawn);
    for (int turn = 0; turn < TURNS; turn++)
        take_turn(s, sampling, own, turn, n, tokens);
    fo_session_unload(&s);
}

static void fork_at(fo_device *device, const toy_model *toy, place at, int n)
{
    int32_t before[8], got[2][MOST] = {0}, want[2][MOST] = {0};
    const fo_sampling *samplings[2] = {&warm, &greedy};
    fo_session *both[2];
    both[0] = load(device, toy, 2);
    give(both[0], 0, at.given);
    draw(both[0], &warm, before, at.drawn);
    both[1] = fork_of(both[0]);
    assert_int_equal(fo_session_length(both[1]), at.given + at.drawn);
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < 2; i++)
            take_turn(both[i], samplings[i], 100 + 10 * i, turn, n, got[i]);
    for (int i = 0; i < 2; i++) {
        live_alone(device, toy, at, samplings[i], 100 + 10 * i, n, want[i]);
        assert_memory_equal(got[i], want[i], sizeof want[i]);
        assert_int_equal(
            fo_block_manager_check(fo_session_blocks(both[i]), NULL), FO_OK);
        fo_session_unload(&both[i]);
    }
}

static void fork_everywhere(fo_device *device, int n)
{
    const toy_model *toys[] = {&plain, &windowed, &llama};
    const place places[] = {{29, 5}, {32, 0}, {28, 4}, {29, 0},
                            {33, 1}, {0, 0},  {1, 0}};
    if (n < MOST) {
        fork_at(device, &plain, places[0], n);
        fork_at(device, &windowed, places[1], n);
        return;
    }
    for (int t = 0; t < 3; t++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++)
            fork_at(device, toys[t], places[p], n);
}

/* Compare bits after a fork. */
/* K and V of the first layer in the block of the last stored token. */
static void read_last_block(fo_device *device, const fo_session *s,
                            float out[2][BLOCK_FLOATS])
{
    const fo_kv *kv = fo_block_manager_layers(fo_session_blocks(s));
    fo_block_row row;
    assert_true(
        fo_block_table_sequence(fo_block_manager_table(fo_session_blocks(s)),
                                fo_session_sequence(s), &row));
    size_t at = (size_t)row.entries[row.blocks - 1] * BLOCK_FLOATS;
    for (int v = 0; v < 2; v++)
        assert_int_equal(
            device->backend->download(device, out[v],
                                      (const float *)(v ? kv->v : kv->k) + at,
                                      sizeof out[v], NULL),
            FO_OK);
}

static void compare_bits(fo_device *device, int n)
{
    (void)n;
    float kept[2][BLOCK_FLOATS], now[2][BLOCK_FLOATS];
    float *want = calloc(5 * V, sizeof *want),
          *got = calloc(5 * V, sizeof *got);
    for (int who = 0; who < 2; who++) {
        fo_session *alone = load(device, &plain, 1);
        fo_session *parent = load(device, &plain, 2);
        give(alone, 0, 29);
        give(parent, 0, 29);
        fo_session *child = fork_of(parent);
        fo_session *first = who ? child : parent, *other = who ? parent : child;
        read_last_block(device, other, kept);
        fo_session_prefill(alone, text + 60, 5, want, NULL);
        poison(got, 5 * V * sizeof *got);
        fo_session_prefill(first, text + 60, 5, got, NULL);
        assert_same_bits(got, want, 5 * V, "logits, who %d", who);
        read_last_block(device, other, now);
        assert_memory_equal(now, kept, sizeof kept);
        poison(got, 5 * V * sizeof *got);
        fo_session_prefill(other, text + 60, 5, got, NULL);
        assert_same_bits(got, want, 5 * V, "logits of the other, who %d", who);
        fo_session_unload(&alone);
        fo_session_unload(&parent);
        fo_session_unload(&child);
    }
    free(want);
    free(got);
}

/* Grow a tree and take it down in any order. */
enum { MEMBERS = 7 };

typedef struct member {
    fo_session *session;
    fo_sampling sampling;
    int born, count; /* tokens drawn before the fork, and in all */
    int32_t tokens[MOST];
} member;

static void draw_one(member *m)
{
    draw(m->session, &m->sampling, &m->tokens[m->count++], 1);
}

static void grow_tree(fo_device *device, member *tree /* (MEMBERS) */)
{
    for (int i = 0; i < MEMBERS; i++) {
        member *parent = &tree[i > 0 ? (i - 1) / 2 : 0];
        if (i > 0)
            draw_one(parent);
        tree[i] = *parent;
        tree[i].sampling = (fo_sampling){.temperature = 1, .seed = (uint64_t)i};
        tree[i].born = tree[i].count;
        if (i > 0)
            tree[i].session = fork_of(parent->session);
        else
            tree[i].session = load(device, &plain, MEMBERS);
        if (i == 0)
            give(tree[i].session, 0, 21);
    }
}

static void compare_with_solo(fo_device *device, const member *tree, int i)
{
    int32_t want[MOST];
    fo_session *solo = load(device, &plain, 1);
    give(solo, 0, 21);
    for (int k = 0; k < tree[i].count; k++) {
        int who = i;
        while (k < tree[who].born)
            who = (who - 1) / 2;
        draw(solo, &tree[who].sampling, &want[k], 1);
    }
    assert_memory_equal(tree[i].tokens, want,
                        (size_t)tree[i].count * sizeof *want);
    fo_session_unload(&solo);
}

static void fell_trees(fo_device *device, int n)
{
    int trees = n < MOST ? 1 : 10;
    for (uint64_t seed = 0; seed < (uint64_t)trees; seed++) {
        static member tree[MEMBERS];
        held before = held_now();
        memset(tree, 0, sizeof tree);
        grow_tree(device, tree);
        for (uint64_t left = MEMBERS; left > 0; left--) {
            for (int i = 0; i < MEMBERS; i++)
                if (tree[i].session && tree[i].count < n)
                    draw_one(&tree[i]);
            /* Let one of the members go. */
            int leaves = (int)(fo_rng_uniform(seed, 1, left) * MEMBERS);
            while (!tree[leaves].session)
                leaves = (leaves + 1) % MEMBERS;
            assert_int_equal(fo_block_manager_check(
                                 fo_session_blocks(tree[leaves].session), NULL),
                             FO_OK);
            fo_session_unload(&tree[leaves].session);
        }
        assert_true(same(before, held_now()));
        for (int i = 0; i < MEMBERS; i++)
            compare_with_solo(device, tree, i);
    }
}

/* Refuse a fork and change nothing. */
static void refuse_forks(fo_device *device, int n)
{
    fo_session *parent = load(device, &plain, 2), *child, *third;
    fo_error error;
    int32_t drawn[2];
    (void)n;
    give(parent, 0, 29);
    held before = held_now();
    fo_status status = FO_NOMEM;
    for (uint64_t k = 1; status == FO_NOMEM; k++) {
        fo_memory_fail_at(k);
        status = fo_session_fork(parent, &child, &error);
        fo_memory_fail_at(0);
        if (status == FO_OK)
            break;
        assert_int_equal(error.status, FO_NOMEM);
        assert_null(child);
        assert_true(same(before, held_now()));
    }
    assert_int_equal(fo_session_fork(parent, &third, &error), FO_FULL);
    assert_null(third);
    assert_int_equal(error.required, 3);
    assert_int_equal(error.available, 2);
    /* See that the refused fork left no trace. */
    draw(parent, &warm, &drawn[0], 1);
    draw(child, &warm, &drawn[1], 1);
    assert_int_equal(drawn[0], drawn[1]);
    fo_session_unload(&child);
    child = fork_of(parent);
    fo_session_unload(&parent);
    draw(child, &greedy, &drawn[0], 1);
    fo_session_unload(&child);
}

/* Fork under a window. */
static void fork_under_a_window(fo_device *device, int n)
{
    fo_session *all[3];
    int32_t tokens[3][MOST], together[MOST];
    int count, most = (20 + B - 2) / B + 2;
    all[0] = load(device, &windowed, 3);
    give(all[0], 0, 100);
    for (int i = 1; i < 3; i++)
        all[i] = fork_of(all[i - 1]);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < 3; i++)
            draw(all[i], &warm, &tokens[i][k], 1);
    fo_block_stats stats;
    fo_block_manager_stats(fo_session_blocks(all[0]), &stats, NULL);
    assert_in_range(stats.pool.held, 3, 3 * most);
    for (int i = 1; i < 3; i++)
        assert_memory_equal(tokens[i], tokens[0], (size_t)n * sizeof(int32_t));
    fo_session_unload(&all[0]);
    /* Generation without the host begins in a shared block as well. */
    fo_session *child = fork_of(all[1]);
    assert_int_equal(
        fo_session_generate(child, &warm, n, false, together, &count, NULL),
        FO_OK);
    draw(all[1], &warm, tokens[0], n);
    draw(all[2], &warm, tokens[1], n);
    assert_memory_equal(together, tokens[0], (size_t)n * sizeof(int32_t));
    assert_memory_equal(together, tokens[1], (size_t)n * sizeof(int32_t));
    fo_session_unload(&child);
    fo_session_unload(&all[2]);
    fo_session_unload(&all[1]);
}

/* Keep several contexts. */
static void keep_several_contexts(fo_device *device, int n)
{
    enum { CONTEXTS = 4 };
    fo_session *all[CONTEXTS];
    int32_t got[CONTEXTS][MOST], want[MOST];
    all[0] = load(device, &llama, CONTEXTS);
    for (int i = 1; i < CONTEXTS; i++)
        all[i] = fork_of(all[0]);
    for (int i = 0; i < CONTEXTS; i++)
        give(all[i], 7 * i, 20 + 9 * i);
    for (int k = 0; k < n; k++)
        for (int i = CONTEXTS - 1; i >= 0; i--)
            draw(all[i], &warm, &got[i][k], 1);
    for (int i = 0; i < CONTEXTS; i++) {
        fo_session *alone = load(device, &llama, 1);
        give(alone, 7 * i, 20 + 9 * i);
        draw(alone, &warm, want, n);
        assert_memory_equal(got[i], want, (size_t)n * sizeof *want);
        fo_session_unload(&alone);
        fo_session_unload(&all[i]);
    }
}

/* Use the six verbs. */
static void use_the_verbs(fo_device *device, int n)
{
    const toy_model *toys[] = {&plain, &llama};
    for (int t = 0; t < 2; t++) {
        held before = held_now();
        int32_t *ids, tokens[2][MOST];
        size_t count;
        int drawn;
        fo_session *child, *session = load(device, toys[t], 2);
        assert_int_equal(fo_session_encode(session, "ab c", 4, FO_TOKENIZER_BOS,
                                           &ids, &count, NULL),
                         FO_OK);
        assert_in_range(count, 2, 8);
        assert_int_equal(fo_session_prefill(session, ids, count, NULL, NULL),
                         FO_OK);
        fo_memory_free(ids);
        child = fork_of(session);
        assert_int_equal(fo_session_generate(child, &warm, n, false, tokens[1],
                                             &drawn, NULL),
                         FO_OK);
        draw(session, &warm, tokens[0], n);
        assert_memory_equal(tokens[0], tokens[1], (size_t)n * sizeof **tokens);
        assert_int_equal(fo_session_length(child), (int)count + n);
        fo_session_unload(&session);
        fo_session_unload(&child);
        assert_true(same(before, held_now()));
    }
}

/* Run the tests of forks. */
/* `n`: tokens to draw, MOST on the CPU. */
static void on_each_side(void (*test)(fo_device *device, int n))
{
    const fo_backend *sides[] = {&fo_backend_cpu, verso_backend()};
    for (int i = 0; i < 2; i++) {
        fo_device *device;
        if (!sides[i] || backend_missing_slot(sides[i]))
            continue;
        assert_int_equal(sides[i]->open(NULL, &device, NULL), FO_OK);
        test(device, i == 0 ? MOST : 5);
        sides[i]->close(&device);
        print_message("%s: tested\n", sides[i]->name);
    }
    verso_assert_clean();
}

#define ON_EACH_SIDE(name, test)                                               \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        on_each_side(test);                                                    \
    }

ON_EACH_SIDE(d1_load_encode_prefill_decode_fork_unload, use_the_verbs)
ON_EACH_SIDE(d7_several_contexts_of_one_load, keep_several_contexts)
ON_EACH_SIDE(d7_forks_go_on_as_if_alone, fork_everywhere)
ON_EACH_SIDE(d7_forks_leave_every_bit_alone, compare_bits)
ON_EACH_SIDE(d7_trees_fall_in_any_order, fell_trees)
ON_EACH_SIDE(d5_a_refused_fork_leaves_no_trace, refuse_forks)
ON_EACH_SIDE(b6_forks_under_a_window, fork_under_a_window)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d1_load_encode_prefill_decode_fork_unload),
        cmocka_unit_test(d7_several_contexts_of_one_load),
        cmocka_unit_test(d7_forks_go_on_as_if_alone),
        cmocka_unit_test(d7_forks_leave_every_bit_alone),
        cmocka_unit_test(d7_trees_fall_in_any_order),
        cmocka_unit_test(d5_a_refused_fork_leaves_no_trace),
        cmocka_unit_test(b6_forks_under_a_window),
    };
    omp_set_num_threads(1);
    for (int i = 0; i < LONG; i++)
        text[i] = (int32_t)((i * 37 + i * i * 11) % V);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
