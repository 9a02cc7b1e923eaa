#include "common/log.h"
#include "common/memory.h"
#include "engine/prefix_cache_inside.h"
#include "prefix_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Test the order of eviction. */
/* Three texts begin alike, with two blocks; each goes on for two of its own. */
static void keep_three(prefix_case *f)
{
    for (int i = 1; i <= 3; i++) {
        int32_t tokens[LONGEST];
        memcpy(tokens, text, sizeof text);
        tokens[9] = 10 * i;
        serve(f, i, tokens, 16);
        retire(f, i);
    }
    free_blocks(f);
    assert_int_equal(fo_prefix_cache_evictable(f->c), 8);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int32_t first[LONGEST];
        memcpy(first, text, sizeof text);
        first[9] = 10;
        keep_three(&f);
        serve(&f, 4, first, 17);
        assert_int_equal(evict(&f, BLOCKS - 9 + 1, 0), 1);
        expect_blocks(&f, 2, 3, (int32_t[]){0, 1, 4});
        assert_int_equal(evict(&f, BLOCKS - 8 + 1, 0), 1);
        assert_int_equal(fo_block_table_length(f.table, 2), -1);
        assert_int_equal(evict(&f, BLOCKS, 0), 2);
        assert_int_equal(fo_block_table_length(f.table, 3), -1);
        expect_blocks(&f, 1, 4, (int32_t[]){0, 1, 2, 3});
        assert_int_equal(free_blocks(&f), BLOCKS - 5);
        assert_int_equal(fo_prefix_cache_evictable(f.c), 0);
        retire(&f, 4);
        assert_int_equal(evict(&f, BLOCKS, 0), 4);
        assert_int_equal(fo_prefix_cache_stats_get(f.c).nodes, 0);
    }
}

static void rows_come_free(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        keep_three(&f);
        assert_int_equal(evict(&f, 0, ROWS - 3), 0);
        assert_int_equal(evict(&f, 0, ROWS - 2), 2);
        assert_int_equal(fo_block_table_length(f.table, 1), -1);
        assert_int_equal(evict(&f, 0, ROWS), 6);
        assert_int_equal(free_blocks(&f), BLOCKS);
        assert_int_equal(evict(&f, BLOCKS, ROWS), 0);
        assert_int_equal(fo_prefix_cache_stats_get(f.c).evicted_blocks, 8);
    }
}

static void d9_an_eviction_is_logged(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        char *line = NULL;
        size_t bytes;
        FILE *stream = open_memstream(&line, &bytes);
        keep_three(&f);
        fo_log_open(stream, FO_LOG_INFO);
        evict(&f, BLOCKS - 3, 0);
        evict(&f, BLOCKS - 3, 0);
        fo_log_open(NULL, FO_LOG_DEBUG);
        fclose(stream);
        assert_non_null(strstr(line, "\"event\": \"evicted\", \"blocks\": 5, "
                                     "\"sequences\": 2, \"free_blocks\": 21, "
                                     "\"free_sequences\": 7"));
        assert_ptr_equal(strchr(line, '\n'), line + bytes - 1);
        free(line);
    }
}

/* Slabs above all that is held can go back to the device. */
static void evicted_blocks_leave_their_slabs(void **state)
{
    (void)state;
    prefix_case f = {.slab_blocks = 4};
    while (prefix_case_next(&f, 0)) {
        fo_block_stats stats;
        keep_three(&f);
        must(&f, fo_block_manager_stats(f.m, &stats, &f.error));
        uint64_t held = stats.committed_bytes;
        assert_int_equal(evict(&f, BLOCKS, 0), 8);
        must(&f, fo_block_manager_shrink(f.m, 0, &f.error));
        must(&f, fo_block_manager_stats(f.m, &stats, &f.error));
        assert_true(held > 0 && stats.committed_bytes == 0);
        keep_three(&f);
        must(&f, fo_block_manager_stats(f.m, &stats, &f.error));
        assert_int_equal(stats.committed_bytes, held);
    }
}

/* Test that errors change nothing. */
static void errors_change_nothing(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int hit;
        serve(&f, 1, text, 10);
        assert_int_equal(fo_prefix_cache_note(f.c, 2, text, 4, &f.error),
                         FO_UNKNOWN);
        assert_int_equal(fo_prefix_cache_note(f.c, 1, text, 11, &f.error),
                         FO_ARG);
        assert_int_equal(
            fo_prefix_cache_begin(f.c, 1, text, 10, &hit, &f.error), FO_ARG);
        assert_int_equal(fo_prefix_cache_drop(f.c, 2, &f.error), FO_UNKNOWN);
        assert_int_equal(fo_prefix_cache_retire(f.c, 2, &f.error), FO_UNKNOWN);
        assert_int_equal(fo_prefix_cache_stats_get(f.c).lookups, 1);
        retire(&f, 1);
        assert_int_equal(fo_prefix_cache_retire(f.c, 1, &f.error), FO_UNKNOWN);
        assert_int_equal(fo_prefix_cache_drop(f.c, 1, &f.error), FO_UNKNOWN);
        assert_int_equal(fo_prefix_cache_note(f.c, 1, text, 8, &f.error),
                         FO_UNKNOWN);
        for (int i = 2; i <= ROWS; i++)
            assert_int_equal(serve(&f, i, text, 9), 8);
        assert_int_equal(fo_prefix_cache_begin(f.c, 9, text, 9, &hit, &f.error),
                         FO_FULL);
        assert_int_equal(hit, 0);
        assert_int_equal(fo_block_table_row(f.table, 9), -1);
        assert_int_equal(free_blocks(&f), BLOCKS - 2 - (ROWS - 1));
    }
}

/* Test the check. */
static void a_block_noted_with_two_contents_is_found(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        serve(&f, 1, text, 40);
        fo_prefix_cache_stats before;
        for (int i = 2; i <= 3; i++) {
            int32_t lie[LONGEST] = {i};
            must(&f, fo_block_manager_fork(f.m, 1, i, 40, &f.error));
            before = fo_prefix_cache_stats_get(f.c);
            fo_status status = fo_prefix_cache_note(f.c, i, lie, 40, &f.error);
            assert_int_equal(status, i == 2 ? FO_OK : FO_ARG);
        }
        assert_int_equal(fo_prefix_cache_stats_get(f.c).nodes, before.nodes);
        assert_int_equal(fo_prefix_cache_check(f.c, &f.error), FO_DEVICE);
        assert_non_null(strstr(f.error.message, "noted with two contents"));
        must(&f, fo_prefix_cache_drop(f.c, 2, &f.error));
        assert_int_equal(free_blocks(&f), BLOCKS - 10);
    }
}

/* Change one number of the books; the check must say so, in these words. */
static void plant(prefix_case *f, int32_t *number, int32_t wrong,
                  const char *words)
{
    int32_t right = *number;
    *number = wrong;
    assert_int_equal(fo_prefix_cache_check(f->c, &f->error), FO_DEVICE);
    if (!strstr(f->error.message, words))
        fail_msg("'%s' does not say '%s'", f->error.message, words);
    *number = right;
    free_blocks(f);
}

static void the_check_sees_planted_faults(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        keep_three(&f);
        serve(&f, 4, text, 12);
        int32_t row = fo_block_table_row(f.table, 1);
        prefix_holder *holder = &f.c->holders[row];
        int32_t last = holder->node, fork = f.c->nodes[last].parent;
        fork = f.c->nodes[fork].parent;
        plant(&f, &f.c->nodes[last].depth, 9, "does not fit its parent");
        plant(&f, &f.c->nodes[last].before, fork, "is no child of");
        plant(&f, &f.c->nodes[last].kept, 2, "counts");
        plant(&f, &f.c->nodes[fork].kept, 2, "counts");
        plant(&f, &f.c->nodes[last].parent, fork, "is no child of");
        plant(&f, &f.c->nodes[last].ends, no_one, "counts");
        plant(&f, &f.c->tokens[last * B + 1], -1, "is not found");
        plant(&f, &f.c->live, 2, "nodes are in the tree");
        plant(&f, &f.c->unused, no_one, "nodes are in the tree");
        plant(&f, &holder->node, fork, "does not end at");
        plant(&f, &holder->before, 3, "does not end at");
        plant(&f, (int32_t *)&f.c->nodes[last].used, 99, "does not fit");
        plant(&f, (int32_t *)&holder->sequence, 77, "left without a word");
        holder->kept = false;
        assert_int_equal(fo_prefix_cache_check(f.c, &f.error), FO_DEVICE);
        holder->kept = true;
    }
}

static void the_check_sees_who_left_without_a_word(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        serve(&f, 1, text, 12);
        serve(&f, 2, text, 9);
        must(&f, fo_block_manager_truncate(f.m, 1, 11, &f.error));
        assert_int_equal(fo_prefix_cache_check(f.c, &f.error), FO_DEVICE);
        assert_non_null(
            strstr(f.error.message, "noted 3 blocks and stores 11"));
        must(&f, fo_prefix_cache_note(f.c, 1, text, 11, &f.error));
        assert_int_equal(free_blocks(&f), BLOCKS - 4);
        assert_int_equal(fo_prefix_cache_match(f.c, text, 13), 8);
        retire(&f, 1);
        must(&f, fo_block_manager_extend(f.m, 1, 1, &f.error));
        assert_int_equal(fo_prefix_cache_check(f.c, &f.error), FO_DEVICE);
        must(&f, fo_block_manager_truncate(f.m, 1, 8, &f.error));
        free_blocks(&f);
    }
}

/* Test what memory is taken. */
static void a4_the_cache_takes_what_it_tells(void **state)
{
    (void)state;
    prefix_case f = {0};
    for (int window = 0; window <= 6; window += 6)
        for (f.side = 0; prefix_case_next(&f, window);) {
            fo_prefix_cache_close(&f.c);
            uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
            must(&f, fo_prefix_cache_open(f.m, window, &f.c, &f.error));
            uint64_t bytes = fo_memory_usage_get(FO_MEMORY_HOST).bytes - before;
            assert_int_equal(fo_prefix_cache_stats_get(f.c).metadata_bytes,
                             bytes);
            assert_int_equal(
                fo_prefix_cache_bytes(fo_block_manager_config(f.m), window),
                bytes);
        }
    /* Phi-3-mini's blocks: 1,000 of them, six MiB each. */
    fo_block_config phi3 = {.total_blocks = 1000,
                            .block_size = 16,
                            .num_layers = 32,
                            .kv_heads = 32,
                            .head_dim = 96,
                            .dtype = FO_F16,
                            .max_sequences = 64,
                            .max_length = 4096};
    assert_true(fo_prefix_cache_bytes(&phi3, 0) * 20000 <
                fo_block_config_bytes(&phi3));
    assert_true(fo_prefix_cache_bytes(&phi3, 2047) * 1000 <
                fo_block_config_bytes(&phi3));
}

static void d5_only_opening_needs_memory(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        fo_prefix_cache_close(&f.c);
        uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
        fo_status status = FO_NOMEM;
        int failures = -1;
        for (uint64_t n = 1; status == FO_NOMEM; n++, failures++) {
            fo_memory_fail_at(n);
            status = fo_prefix_cache_open(f.m, 0, &f.c, &f.error);
            fo_memory_fail_at(0);
            if (status == FO_NOMEM) {
                assert_null(f.c);
                assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                                 before);
            }
        }
        assert_int_equal(failures, 4);
    }
}

/* Fail the n-th request for memory, for every n, until the call succeeds. The
 * simulated device makes some; after each failure the books must be right. */
#define UNTIL_IT_SUCCEEDS(f, call)                                             \
    for (uint64_t n = 1, done = 0; !done; n++) {                               \
        fo_memory_fail_at(n);                                                  \
        fo_status status = call;                                               \
        fo_memory_fail_at(0);                                                  \
        done = status == FO_OK;                                                \
        assert_true(done || status == FO_NOMEM);                               \
        free_blocks(f);                                                        \
    }

static void d5_what_fails_can_be_tried_again(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        int hit, evicted;
        uint64_t asked = fo_memory_usage_get(FO_MEMORY_HOST).requests;
        keep_three(&f);
        UNTIL_IT_SUCCEEDS(
            &f, fo_prefix_cache_begin(f.c, 4, text, 12, &hit, &f.error))
        assert_int_equal(hit, 8);
        must(&f, fo_block_manager_extend(f.m, 4, 12, &f.error));
        UNTIL_IT_SUCCEEDS(&f, fo_prefix_cache_note(f.c, 4, text, 20, &f.error))
        UNTIL_IT_SUCCEEDS(&f, fo_prefix_cache_retire(f.c, 4, &f.error))
        expect_blocks(&f, 4, 5, (int32_t[]){0, 1, 8, 9, 10});
        UNTIL_IT_SUCCEEDS(
            &f, fo_prefix_cache_evict(f.c, BLOCKS - 2, 0, &evicted, &f.error))
        assert_int_equal(free_blocks(&f), BLOCKS - 2);
        assert_in_range(evicted, 1, 9);
        assert_in_range(fo_prefix_cache_stats_get(f.c).evicted_blocks, 1, 9);
        serve(&f, 5, text, 20);
        UNTIL_IT_SUCCEEDS(&f, fo_prefix_cache_drop(f.c, 5, &f.error))
        assert_true(f.side > 1 ||
                    asked == fo_memory_usage_get(FO_MEMORY_HOST).requests);
    }
}

static void closing_frees_what_was_kept_and_nothing_else(void **state)
{
    (void)state;
    prefix_case f = {0};
    while (prefix_case_next(&f, 0)) {
        keep_three(&f);
        serve(&f, 4, text, 12);
        fo_prefix_cache_close(&f.c);
        assert_int_equal(fo_block_table_stats_get(f.table).sequences, 1);
        must(&f, fo_prefix_cache_open(f.m, 0, &f.c, &f.error));
        assert_int_equal(free_blocks(&f), BLOCKS - 3);
        fo_prefix_cache *none = NULL;
        fo_prefix_cache_close(&none);
    }
}

/* Test: run the tests of its books. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(rows_come_free),
        cmocka_unit_test(d9_an_eviction_is_logged),
        cmocka_unit_test(evicted_blocks_leave_their_slabs),
        cmocka_unit_test(errors_change_nothing),
        cmocka_unit_test(a_block_noted_with_two_contents_is_found),
        cmocka_unit_test(the_check_sees_planted_faults),
        cmocka_unit_test(the_check_sees_who_left_without_a_word),
        cmocka_unit_test(a4_the_cache_takes_what_it_tells),
        cmocka_unit_test(d5_only_opening_needs_memory),
        cmocka_unit_test(d5_what_fails_can_be_tried_again),
        cmocka_unit_test(closing_frees_what_was_kept_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
