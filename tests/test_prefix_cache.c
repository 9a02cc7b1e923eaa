#include "common/rng.h"
#include "compare.h"
#include "engine/prefix_cache_inside.h"
#include "prefix_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Test what is found. */
static void a_prompt_is_not_computed_twice(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        assert_int_equal(serve(&f, 1, text, 10), 0);
        expect_blocks(&f, 1, 3, (int32_t[]){0, 1, 2});
        retire(&f, 1);
        expect_blocks(&f, 1, 2, (int32_t[]){0, 1});
        assert_int_equal(serve(&f, 2, text, 10), 8);
        expect_blocks(&f, 2, 3, (int32_t[]){0, 1, 2});
        assert_int_equal(free_blocks(&f), BLOCKS - 3);
    }
}

static void one_token_is_always_left(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        static const int shared[] = {0, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12};
        serve(&f, 1, text, 15);
        for (int count = 0; count < 14; count++)
            assert_int_equal(fo_prefix_cache_match(f.c, text, count),
                             shared[count]);
        assert_int_equal(fo_prefix_cache_match(f.c, text, LONGEST), 12);
    }
}

static void only_full_written_blocks_are_found(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        must(&f, fo_block_manager_extend(f.m, 1, 12, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 12), 0);
        must(&f, fo_prefix_cache_note(f.c, 1, text, 7, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 12), 4);
        must(&f, fo_prefix_cache_note(f.c, 1, text, 8, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 12), 8);
        retire(&f, 1);
        assert_int_equal(fo_block_table_length(f.table, 1), 8);
        assert_int_equal(free_blocks(&f), BLOCKS - 2);
    }
}

static void noted_blocks_are_not_read_again(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int32_t copy[LONGEST];
        memcpy(copy, text, sizeof text);
        must(&f, fo_block_manager_extend(f.m, 1, 12, &f.error));
        must(&f, fo_prefix_cache_note(f.c, 1, copy, 8, &f.error));
        copy[0] = copy[7] = -1;
        must(&f, fo_prefix_cache_note(f.c, 1, copy, 12, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 13), 12);
        assert_int_equal(fo_prefix_cache_match(f.c, copy, 13), 0);
    }
}

/* Test that a hash is never believed. */
static void equal_hashes_are_not_equal_tokens(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int32_t other[LONGEST];
        memcpy(other, text, sizeof text);
        other[6]++;
        f.c->hash_bits = 0;
        serve(&f, 1, text, 12);
        assert_int_equal(prefix_hash(f.c, 0, text), prefix_hash(f.c, 0, other));
        assert_int_equal(fo_prefix_cache_match(f.c, other, 12), 4);
        assert_int_equal(fo_prefix_cache_match(f.c, text + 4, 12), 0);
        assert_int_equal(serve(&f, 2, other, 12), 4);
        assert_int_equal(fo_prefix_cache_match(f.c, other, 13), 12);
        assert_int_equal(fo_prefix_cache_match(f.c, text, 13), 12);
    }
}

/* A chain's hash depends on each token and on all that stands before. */
static void a_hash_is_of_the_whole_chain(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        uint64_t hash = prefix_hash(f.c, 0, text);
        assert_true(hash == UINT64_C(0xca4128481e871270));
        for (int i = 0; i < B; i++) {
            int32_t other[B];
            memcpy(other, text, sizeof other);
            other[i] ^= 1;
            assert_true(prefix_hash(f.c, 0, other) != hash);
        }
        assert_true(prefix_hash(f.c, 1, text) != hash);
    }
}

/* Test: compute and compare. */
/* The value of column i of layer l, K or V, for the last token of a text: it
 * depends on all tokens, as in a model. */
static float value_of(const int32_t *tokens, int count, int l, int side, int i)
{
    uint64_t sum = 0;
    for (int p = 0; p < count; p++)
        sum = sum * 31 + (uint64_t)tokens[p] + 1;
    return fo_rng_uniform(sum, (uint64_t)(4 * l + 2 * side + i), 0);
}

/* Compute the tokens from `from` on, and store what comes out. */
static void compute(prefix_case *f, int64_t sequence, const int32_t *tokens,
                    int from, int count)
{
    const fo_backend *op = f->device->backend;
    float row[2][2], *there;
    int64_t slot, *slot_there;
    must(f, op->alloc(f->device, sizeof row, (void **)&there, &f->error));
    must(f, op->alloc(f->device, sizeof slot, (void **)&slot_there, &f->error));
    for (int p = from; p < count; p++)
        for (int l = 0; l < 2; l++) {
            for (int k = 0; k < 4; k++)
                row[k / 2][k % 2] = value_of(tokens, p + 1, l, k / 2, k % 2);
            slot = fo_block_table_slot(f->table, sequence, p);
            op->upload(f->device, there, row, sizeof row, NULL);
            op->upload(f->device, slot_there, &slot, sizeof slot, NULL);
            must(f,
                 op->kv_write(f->device, fo_block_manager_layer(f->m, l), there,
                              there + 2, 2, slot_there, 1, &f->error));
        }
    op->free(f->device, slot_there);
    op->free(f->device, there);
}

/* Fail unless a sequence has, bit by bit, what computing it alone gives. */
static void expect_computed(prefix_case *f, int64_t sequence,
                            const int32_t *tokens, int count)
{
    float whole[BLOCKS * B * 2], got[LONGEST * 2], want[LONGEST * 2];
    for (int k = 0; k < 4; k++) {
        const fo_kv *kv = fo_block_manager_layer(f->m, k / 2);
        f->device->backend->download(f->device, whole, k % 2 ? kv->v : kv->k,
                                     sizeof whole, NULL);
        for (int i = 0; i < 2 * count; i++) {
            int64_t slot = fo_block_table_slot(f->table, sequence, i / 2);
            assert_true(slot >= 0);
            got[i] = whole[2 * slot + i % 2];
            want[i] = value_of(tokens, i / 2 + 1, k / 2, k % 2, i % 2);
        }
        assert_same_bits(got, want, 2 * (size_t)count,
                         "sequence %d, layer %d, %s", (int)sequence, k / 2,
                         k % 2 ? "V" : "K");
    }
}

/* Test what shared blocks hold. */
static void d8_shared_blocks_hold_what_would_be_computed(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int32_t other[LONGEST];
        memcpy(other, text, sizeof text);
        other[9] = 77;
        serve(&f, 1, text, 14);
        compute(&f, 1, text, 0, 14);
        int hit = serve(&f, 2, other, 20);
        assert_int_equal(hit, 8);
        compute(&f, 2, other, hit, 20);
        retire(&f, 1);
        hit = serve(&f, 3, text, 18);
        assert_int_equal(hit, 12);
        compute(&f, 3, text, hit, 18);
        expect_computed(&f, 2, other, 20);
        expect_computed(&f, 3, text, 18);
        expect_computed(&f, 1, text, 12);
    }
}

static void a_fork_inside_a_block_leaves_its_parent_alone(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int32_t other[LONGEST];
        memcpy(other, text, sizeof text);
        other[10] = 77;
        serve(&f, 1, text, 11);
        compute(&f, 1, text, 0, 11);
        must(&f, fo_block_manager_fork(f.m, 1, 2, 10, &f.error));
        expect_blocks(&f, 2, 3, (int32_t[]){0, 1, 2});
        must(&f, fo_block_manager_extend(f.m, 2, 2, &f.error));
        expect_blocks(&f, 2, 3, (int32_t[]){0, 1, 3});
        compute(&f, 2, other, 10, 12);
        must(&f, fo_prefix_cache_note(f.c, 2, other, 12, &f.error));
        expect_computed(&f, 1, text, 11);
        expect_computed(&f, 2, other, 12);
        retire(&f, 2);
        retire(&f, 1);
        expect_blocks(&f, 2, 3, (int32_t[]){0, 1, 3});
        assert_int_equal(fo_block_table_length(f.table, 1), -1);
        assert_int_equal(serve(&f, 3, other, 13), 12);
        expect_computed(&f, 3, other, 12);
    }
}

/* Test what is kept. */
/* A conversation grows turn by turn: the last turn is all that is kept. */
static void a_longer_sequence_takes_the_place_of_a_shorter_one(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        for (int turn = 1; turn <= 4; turn++) {
            int hit = serve(&f, turn, text, 6 * turn);
            assert_int_equal(hit, (6 * turn - 6) / B * B);
            retire(&f, turn);
            assert_false(fo_prefix_cache_keeps(f.c, turn - 1));
            assert_true(fo_prefix_cache_keeps(f.c, turn));
            assert_int_equal(free_blocks(&f), BLOCKS - 6 * turn / B);
        }
        serve(&f, 5, text, 9);
        retire(&f, 5);
        assert_int_equal(fo_block_table_length(f.table, 5), -1);
        fo_prefix_cache_stats stats = fo_prefix_cache_stats_get(f.c);
        assert_int_equal(stats.kept_sequences, 1);
        assert_int_equal(stats.kept_blocks, 6);
        assert_int_equal(stats.nodes, 6);
        assert_int_equal(stats.lookups, 5);
        assert_int_equal(stats.hits, 4);
        assert_int_equal(stats.hit_tokens, 4 + 12 + 16 + 8);
    }
}

/* Two requests came at once, and each computed the prompt. */
static void any_owner_will_do(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        must(&f, fo_block_manager_extend(f.m, 1, 9, &f.error));
        must(&f, fo_block_manager_extend(f.m, 2, 9, &f.error));
        must(&f, fo_prefix_cache_note(f.c, 1, text, 9, &f.error));
        must(&f, fo_prefix_cache_note(f.c, 2, text, 9, &f.error));
        assert_int_equal(fo_prefix_cache_stats_get(f.c).nodes, 2);
        must(&f, fo_prefix_cache_drop(f.c, 2, &f.error));
        assert_int_equal(serve(&f, 3, text, 9), 8);
        must(&f, fo_prefix_cache_drop(f.c, 1, &f.error));
        assert_int_equal(serve(&f, 4, text, 9), 8);
        must(&f, fo_prefix_cache_drop(f.c, 3, &f.error));
        must(&f, fo_prefix_cache_drop(f.c, 4, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 9), 0);
        assert_int_equal(free_blocks(&f), BLOCKS);
    }
}

/* Test the window. */
static void b6_a_trimmed_sequence_serves_only_its_end(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 6)) {
        serve(&f, 1, text, 17);
        /* Position 17 sees 12 .. 17, position 16 sees 11 .. 16. */
        must(&f, fo_block_manager_trim(f.m, 1, 11, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 18), 16);
        assert_int_equal(fo_prefix_cache_match(f.c, text, 16), 0);
        retire(&f, 1);
        expect_blocks(&f, 1, 4, (int32_t[]){-1, -1, 2, 3});
        assert_int_equal(fo_prefix_cache_match(f.c, text, 18), 16);
        /* One that still has its front serves both, and so is kept, too. */
        serve(&f, 2, text, 14);
        expect_blocks(&f, 2, 4, (int32_t[]){4, 0, 1, 5});
        retire(&f, 2);
        assert_true(fo_prefix_cache_keeps(f.c, 1));
        assert_true(fo_prefix_cache_keeps(f.c, 2));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 16), 12);
        assert_int_equal(fo_prefix_cache_match(f.c, text, 18), 16);
        assert_int_equal(fo_prefix_cache_evictable(f.c), 5);
        assert_int_equal(evict(&f, BLOCKS, 0), 5);
    }
}

/* Without what the next token sees, nothing can be begun. */
static void b6_a_sequence_trimmed_too_far_is_not_kept(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 6)) {
        serve(&f, 1, text, 17);
        must(&f, fo_block_manager_trim(f.m, 1, 12, &f.error));
        assert_int_equal(fo_prefix_cache_match(f.c, text, 18), 0);
        retire(&f, 1);
        assert_int_equal(free_blocks(&f), BLOCKS);
        assert_int_equal(fo_prefix_cache_stats_get(f.c).nodes, 0);
    }
}

/* Test a tree of beams. */
/* Sequence i forks from one before it, somewhere, and goes on in its own way.
 * All end in a random order, some to be kept. */
static void grow_beams(prefix_case *f, uint64_t seed)
{
    int32_t tokens[ROWS][LONGEST];
    memcpy(tokens[0], text, sizeof text);
    serve(f, 1, tokens[0], 9);
    compute(f, 1, tokens[0], 0, 9);
    for (int i = 1; i < ROWS; i++) {
        uint32_t dice[4];
        fo_rng_block(seed, 0, (uint64_t)i, dice);
        int from = (int)(dice[0] % (uint32_t)i);
        int length = fo_block_table_length(f->table, from + 1);
        int at = length - (int)(dice[1] % 5), end = at + 4;
        memcpy(tokens[i], tokens[from], sizeof tokens[i]);
        tokens[i][at] = 100 + i;
        must(f, fo_block_manager_fork(f->m, from + 1, i + 1, at, &f->error));
        if (fo_block_manager_extend(f->m, i + 1, 4, &f->error) != FO_OK)
            end = at;
        compute(f, i + 1, tokens[i], at, end);
        must(f, fo_prefix_cache_note(f->c, i + 1, tokens[i], end, &f->error));
        free_blocks(f);
    }
    for (int i = 0; i < ROWS; i++)
        expect_computed(f, i + 1, tokens[i],
                        fo_block_table_length(f->table, i + 1));
}

static void beams_fork_and_end_in_any_order(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int rounds = f.side == 1 ? 200 : 3;
        for (int round = 0; round < rounds; round++) {
            grow_beams(&f, (uint64_t)round);
            for (int i = 0; i < ROWS; i++) {
                uint32_t dice[4];
                fo_rng_block((uint64_t)round, 1, 0, dice);
                int64_t one =
                    1 + (i * (2 * (dice[0] % 4) + 1) + dice[1]) % ROWS;
                if (i % 2)
                    retire(&f, one);
                else
                    must(&f, fo_prefix_cache_drop(f.c, one, &f.error));
                free_blocks(&f);
            }
            int can = fo_prefix_cache_evictable(f.c);
            assert_true(can > 0);
            assert_int_equal(evict(&f, BLOCKS, 0), can);
            assert_int_equal(free_blocks(&f), BLOCKS);
        }
    }
}

/* Test: run the tests of the cache. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_not_computed_twice),
        cmocka_unit_test(one_token_is_always_left),
        cmocka_unit_test(only_full_written_blocks_are_found),
        cmocka_unit_test(noted_blocks_are_not_read_again),
        cmocka_unit_test(equal_hashes_are_not_equal_tokens),
        cmocka_unit_test(a_hash_is_of_the_whole_chain),
        cmocka_unit_test(d8_shared_blocks_hold_what_would_be_computed),
        cmocka_unit_test(a_fork_inside_a_block_leaves_its_parent_alone),
        cmocka_unit_test(a_longer_sequence_takes_the_place_of_a_shorter_one),
        cmocka_unit_test(any_owner_will_do),
        cmocka_unit_test(b6_a_trimmed_sequence_serves_only_its_end),
        cmocka_unit_test(b6_a_sequence_trimmed_too_far_is_not_kept),
        cmocka_unit_test(beams_fork_and_end_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
