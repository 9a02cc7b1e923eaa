#include "cpu/cpu.h"
#include "engine/block_manager.h"

#include "common/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Open a manager of small blocks. */
typedef struct fixture {
    fo_device *device;
    fo_block_manager *m;
    const fo_block_table *table;
    fo_error error;
} fixture;

static fixture fixture_open(int total_blocks, int B, int sequences,
                            int max_length)
{
    fixture f = {0};
    fo_block_config config = {.total_blocks = total_blocks,
                              .block_size = B,
                              .num_layers = 1,
                              .kv_heads = 1,
                              .head_dim = 4,
                              .dtype = FO_F32,
                              .max_sequences = sequences,
                              .max_length = max_length};
    assert_int_equal(fo_backend_cpu.open(NULL, &f.device, &f.error), FO_OK);
    if (fo_block_manager_open(f.device, &config, &f.m, &f.error) != FO_OK)
        fail_msg("%s", f.error.message);
    f.table = fo_block_manager_table(f.m);
    return f;
}

static void fixture_close(fixture *f)
{
    if (fo_block_manager_check(f->m, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
    fo_block_manager_close(&f->m);
    assert_null(f->m);
    f->device->backend->close(&f->device);
}

/* Compare the row of a sequence. */
static void expect_row(const fixture *f, int64_t sequence, int32_t length,
                       int32_t blocks, const int32_t *entries)
{
    fo_block_row row;
    assert_true(fo_block_table_sequence(f->table, sequence, &row));
    assert_int_equal(row.length, length);
    assert_int_equal(row.blocks, blocks);
    assert_memory_equal(row.entries, entries, (size_t)blocks * sizeof *entries);
}

/* Test the walk. */
static void test_A6_five_tokens_three_more_one_more(void **state)
{
    (void)state;
    fixture f = fixture_open(8, 4, 2, 32);
    int64_t user = 7;
    fo_block_manager_extend(f.m, user, 5, NULL);
    expect_row(&f, user, 5, 2, (int32_t[]){0, 1});
    fo_block_manager_extend(f.m, user, 3, NULL);
    expect_row(&f, user, 8, 2, (int32_t[]){0, 1});
    assert_int_equal(fo_block_table_slot(f.table, user, 7), 1 * 4 + 3);
    fo_block_manager_extend(f.m, user, 1, NULL);
    expect_row(&f, user, 9, 3, (int32_t[]){0, 1, 2});
    assert_int_equal(fo_block_table_slot(f.table, user, 8), 2 * 4 + 0);
    fixture_close(&f);
}

/* Test the written row. */
/* Write a row of nines for the last token of a sequence, and see it in the last
 * slot and nowhere else. */
static void expect_nines_in_last_slot(fixture *f, int64_t sequence)
{
    const fo_backend *op = f->device->backend;
    const fo_kv *kv = fo_block_manager_layer(f->m, 0);
    float nines[] = {9, 9, 9, 9}, got[8 * 4 * 4], *row;
    int32_t last = fo_block_table_length(f->table, sequence) - 1;
    int64_t slot = fo_block_table_slot(f->table, sequence, last), *there;
    op->fill(f->device, kv->k, 0, sizeof got, NULL);
    op->fill(f->device, kv->v, 0, sizeof got, NULL);
    op->alloc(f->device, sizeof nines, (void **)&row, NULL);
    op->alloc(f->device, sizeof slot, (void **)&there, NULL);
    op->upload(f->device, row, nines, sizeof nines, NULL);
    op->upload(f->device, there, &slot, sizeof slot, NULL);
    assert_int_equal(
        op->kv_write(f->device, kv, row, row, 4, there, 1, &f->error), FO_OK);
    for (int side = 0; side < 2; side++) {
        op->download(f->device, got, side ? kv->v : kv->k, sizeof got, NULL);
        for (int i = 0; i < 8 * 4 * 4; i++)
            assert_true(got[i] == (i / 4 == slot ? 9 : 0));
    }
    op->free(f->device, row);
    op->free(f->device, there);
}

static void test_A6_A7_the_row_lands_in_the_last_slot(void **state)
{
    (void)state;
    fixture f = fixture_open(8, 4, 2, 32);
    static const int steps[] = {5, 3, 1, 3, 1};
    static const int32_t slots[] = {4, 7, 8, 11, 12};
    for (size_t i = 0; i < 5; i++) {
        fo_block_manager_extend(f.m, 0, steps[i], NULL);
        int32_t last = fo_block_table_length(f.table, 0) - 1;
        assert_int_equal(fo_block_table_slot(f.table, 0, last), slots[i]);
        expect_nines_in_last_slot(&f, 0);
    }
    fixture_close(&f);
}

/* Test the table's answers. */
static void test_A5_answers(void **state)
{
    (void)state;
    fixture f = fixture_open(8, 4, 3, 32);
    fo_block_manager_extend(f.m, 1, 4, NULL);
    fo_block_manager_extend(f.m, 2, 4, NULL);
    fo_block_manager_allocate(f.m, 1, 2, NULL); /* allocate and append */
    expect_row(&f, 1, 4, 3, (int32_t[]){0, 2, 3});
    assert_int_equal(fo_block_table_block(f.table, 1, 0), 0);
    assert_int_equal(fo_block_table_block(f.table, 1, 3), 0);
    assert_int_equal(fo_block_table_block(f.table, 1, 4), 2);
    assert_int_equal(fo_block_table_block(f.table, 1, 11), 3);
    assert_int_equal(fo_block_table_block(f.table, 1, 12), -1);
    assert_int_equal(fo_block_table_block(f.table, 1, -1), -1);
    assert_int_equal(fo_block_table_block(f.table, 9, 0), -1);
    assert_int_equal(fo_block_table_slot(f.table, 9, 0), -1);
    assert_int_equal(fo_block_table_length(f.table, 2), 4);
    assert_int_equal(fo_block_table_length(f.table, 9), -1);
    fo_block_table_stats s = fo_block_table_stats_get(f.table);
    assert_int_equal(s.sequences, 2);
    assert_int_equal(s.entries, 4);
    assert_int_equal(s.tokens, 8);
    assert_int_equal(s.longest, 4);
    assert_true(s.bytes > 0);
    fo_block_manager_free_sequence(f.m, 1, NULL); /* remove a sequence */
    fo_block_row row;
    assert_false(fo_block_table_sequence(f.table, 1, &row));
    fixture_close(&f);
}

static void test_A6_slot_mapping(void **state)
{
    (void)state;
    fixture f = fixture_open(8, 4, 2, 32);
    int64_t slots[10];
    fo_block_manager_extend(f.m, 1, 4, NULL);
    fo_block_manager_extend(f.m, 2, 1, NULL);
    fo_block_manager_extend(f.m, 1, 5, NULL); /* blocks 0, 2, 3 */
    /* A prefill maps all its positions, past the end there is none. */
    static const int64_t prefill[] = {0, 1, 2, 3, 8, 9, 10, 11, 12, 13};
    fo_block_table_slots(f.table, 1, 0, 10, slots);
    assert_memory_equal(slots, prefill, sizeof slots);
    fo_block_table_slots(f.table, 1, 11, 2, slots);
    assert_int_equal(slots[0], 15);
    assert_int_equal(slots[1], -1);
    /* A decode step maps one. */
    fo_block_table_slots(f.table, 1, 8, 1, slots);
    assert_int_equal(slots[0], 12);
    /* What a window has left behind has no slot; the rest keep theirs. */
    fo_block_manager_trim(f.m, 1, 5, NULL);
    fo_block_table_slots(f.table, 1, 3, 2, slots);
    assert_int_equal(slots[0], -1);
    assert_int_equal(slots[1], 8);
    fixture_close(&f);
}

/* Test every block size. */
static void test_A6_every_block_size(void **state)
{
    (void)state;
    for (int B = 1; B <= 300; B += B < 40 ? 1 : 13) {
        int length = 7 * B + 3;
        fixture f = fixture_open(16, B, 2, length);
        fo_block_manager_extend(f.m, 0, B, NULL);
        fo_block_manager_extend(f.m, 1, 1, NULL);
        fo_block_manager_extend(f.m, 0, length - B, NULL);
        fo_block_row row;
        fo_block_table_sequence(f.table, 0, &row);
        for (int32_t p = 0; p < row.blocks * B; p++) {
            int32_t block = row.entries[p / B];
            assert_int_equal(fo_block_table_block(f.table, 0, p), block);
            assert_int_equal(fo_block_table_slot(f.table, 0, p),
                             (int64_t)block * B + p % B);
        }
        /* Far beyond the end the product still fits. */
        assert_int_equal(fo_block_table_block(f.table, 0, row.blocks * B), -1);
        assert_int_equal(fo_block_table_block(f.table, 0, INT32_MAX), -1);
        fixture_close(&f);
    }
}

/* Test ids that crowd one bucket. */
enum { most = 50, ids = 200 };

/* Ids below and above zero, many of which differ in their upper bits alone. */
static int64_t spread(int id)
{
    return (id - ids / 2) * (id % 2 ? INT64_C(1) << 40 : 8);
}

static void test_A5_ids_come_and_go(void **state)
{
    (void)state;
    fixture f = fixture_open(256, 4, most, 8);
    int32_t lengths[ids] = {0}; /* 0: unknown */
    int known = 0, refused = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t words[4];
        fo_rng_block(5, 5, i, words);
        int id = (int)(words[0] % ids);
        int64_t sequence = spread(id);
        if (lengths[id]) {
            assert_int_equal(
                fo_block_manager_free_sequence(f.m, sequence, NULL), FO_OK);
            lengths[id] = 0;
            known--;
        } else {
            int tokens = 1 + (int)(words[1] % 8);
            fo_status status =
                fo_block_manager_extend(f.m, sequence, tokens, NULL);
            assert_int_equal(status, known < most ? FO_OK : FO_FULL);
            lengths[id] = status == FO_OK ? tokens : 0;
            known += status == FO_OK;
            refused += status == FO_FULL;
        }
        /* Ask for every id. */
        for (int k = 0; k < ids; k++) {
            assert_int_equal(fo_block_table_length(f.table, spread(k)),
                             lengths[k] ? lengths[k] : -1);
        }
    }
    assert_true(refused > 0);
    fixture_close(&f);
}

/* Test that the table's check sees a difference. */
static void test_A5_the_check_sees_a_stale_table(void **state)
{
    (void)state;
    fixture f = fixture_open(8, 4, 2, 32);
    fo_block_manager_extend(f.m, 1, 9, NULL);
    fo_block_row row;
    fo_block_table_sequence(f.table, 1, &row);
    int32_t *entry = (int32_t *)row.entries + 1; /* against the rules */
    *entry = 5;
    assert_int_equal(fo_block_manager_check(f.m, &f.error), FO_DEVICE);
    assert_non_null(strstr(f.error.message, "entries differ"));
    *entry = 1;
    fixture_close(&f);
}

/* Run the table's tests. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A6_five_tokens_three_more_one_more),
        cmocka_unit_test(test_A6_A7_the_row_lands_in_the_last_slot),
        cmocka_unit_test(test_A5_answers),
        cmocka_unit_test(test_A6_slot_mapping),
        cmocka_unit_test(test_A6_every_block_size),
        cmocka_unit_test(test_A5_ids_come_and_go),
        cmocka_unit_test(test_A5_the_check_sees_a_stale_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
