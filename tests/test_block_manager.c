#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Open a manager for a test. */
typedef struct fixture {
    fo_device *device;
    fo_block_manager *m;
    const fo_block_table *table;
    fo_error error;
} fixture;

static const fo_block_config small = {.total_blocks = 8,
                                      .block_size = 4,
                                      .num_layers = 2,
                                      .kv_heads = 1,
                                      .head_dim = 2,
                                      .dtype = FO_F32,
                                      .max_sequences = 4,
                                      .max_length = 24};

static fixture fixture_open(const fo_block_config *config)
{
    fixture f = {0};
    assert_int_equal(fo_backend_cpu.open(NULL, &f.device, &f.error), FO_OK);
    if (fo_block_manager_open(f.device, config, &f.m, &f.error) != FO_OK)
        fail_msg("%s", f.error.message);
    f.table = fo_block_manager_table(f.m);
    return f;
}

static fo_block_stats stats_of(fixture *f)
{
    fo_block_stats stats;
    assert_int_equal(fo_block_manager_stats(f->m, &stats, &f->error), FO_OK);
    assert_int_equal(stats.pool.free + stats.pool.held, stats.pool.total);
    if (fo_block_manager_check(f->m, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
    return stats;
}

static void fixture_close(fixture *f)
{
    stats_of(f);
    fo_block_manager_close(&f->m);
    assert_null(f->m);
    f->device->backend->close(&f->device);
}

static void extend(fixture *f, int64_t sequence, int tokens)
{
    if (fo_block_manager_extend(f->m, sequence, tokens, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
}

static int32_t free_blocks(fixture *f)
{
    return stats_of(f).pool.free;
}

/* Test what a manager is made of. */
static void test_A1_layers(void **state)
{
    (void)state;
    static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
    for (int i = 0; i < 3; i++) {
        fo_block_config config = small;
        config.dtype = dtypes[i];
        fixture f = fixture_open(&config);
        const fo_kv *first = fo_block_manager_layer(f.m, 0);
        const fo_kv *second = fo_block_manager_layer(f.m, 1);
        assert_int_equal(first->num_blocks, 8);
        assert_int_equal(first->B, 4);
        assert_int_equal(first->K, 1);
        assert_int_equal(first->D, 2);
        assert_int_equal(first->dtype, dtypes[i]);
        assert_true(first->k != first->v && first->k != second->k);
        fo_block_stats stats = stats_of(&f);
        assert_int_equal(stats.kv_bytes, 2 * 2 * 8 * 4 * 2 * (i ? 2 : 4));
        fo_device_info info;
        fo_backend_cpu.info(f.device, &info);
        assert_true(info.memory_own >= stats.kv_bytes);
        assert_true(info.memory_own <= stats.kv_bytes + stats.metadata_bytes);
        fixture_close(&f);
    }
}

static void test_A1_D4_bytes_of_a_token(void **state)
{
    (void)state;
    fo_block_config phi3 = {.total_blocks = 256,
                            .block_size = 16,
                            .num_layers = 32,
                            .kv_heads = 32,
                            .head_dim = 96,
                            .dtype = FO_F16,
                            .max_sequences = 1,
                            .max_length = 4096};
    assert_int_equal(fo_block_config_token_bytes(&phi3), 393216);
    assert_int_equal(fo_block_config_bytes(&phi3), 1536ull << 20);
    phi3.num_layers = 1;
    assert_int_equal(fo_block_config_token_bytes(&phi3), 12288);
    /* Sizes beyond 32 and 64 bits are reckoned or refused, not wrapped. */
    phi3.num_layers = 80;
    phi3.total_blocks = 1 << 20;
    assert_int_equal(fo_block_config_bytes(&phi3), 983040ull << 24);
}

static void test_A1_D3_too_large_is_refused_before_anything(void **state)
{
    (void)state;
    fo_device *device;
    fo_block_manager *m;
    fo_error error;
    fo_device_options limit = {.memory_limit = 1000};
    assert_int_equal(fo_backend_cpu.open(&limit, &device, &error), FO_OK);
    uint64_t requests = fo_memory_usage_get(FO_MEMORY_HOST).requests;
    fo_block_config config = small;
    assert_int_equal(fo_block_manager_open(device, &config, &m, &error),
                     FO_NOMEM);
    assert_int_equal(error.required, fo_block_config_bytes(&config));
    assert_int_equal(error.available, 1000);
    config.total_blocks = config.block_size = config.num_layers = 1 << 30;
    assert_int_equal(fo_block_manager_open(device, &config, &m, &error),
                     FO_NOMEM);
    assert_true(error.required > error.available);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).requests, requests);
    assert_null(m);
    fo_backend_cpu.close(&device);
}

static void test_A1_senseless_shapes(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    for (int field = 0; field < 8; field++) {
        fo_block_config config = small;
        int *fields[] = {&config.total_blocks, &config.block_size,
                         &config.num_layers,   &config.kv_heads,
                         &config.head_dim,     &config.max_sequences,
                         &config.max_length};
        if (field < 7)
            *fields[field] = 0;
        else
            config.dtype = FO_Q8_0;
        fo_block_manager *m;
        assert_int_equal(fo_block_manager_open(f.device, &config, &m, &f.error),
                         field < 7 ? FO_ARG : FO_UNSUPPORTED);
        assert_null(m);
    }
    fixture_close(&f);
}

/* Test shortage. */
static void test_A2_E4_a_shortage_is_told_and_changes_nothing(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    assert_int_equal(fo_block_manager_allocate(f.m, 1, 6, NULL), FO_OK);
    assert_int_equal(fo_block_manager_allocate(f.m, 2, 3, &f.error), FO_FULL);
    assert_int_equal(f.error.required, 3);
    assert_int_equal(f.error.available, 2);
    assert_non_null(strstr(f.error.message, "3 blocks; 2 of 8"));
    assert_int_equal(fo_block_table_length(f.table, 2), -1);
    assert_int_equal(free_blocks(&f), 2);
    assert_int_equal(fo_block_manager_allocate(f.m, 2, 2, NULL), FO_OK);
    assert_int_equal(fo_block_manager_allocate(f.m, 2, 1, NULL), FO_FULL);
    assert_int_equal(fo_block_manager_free_sequence(f.m, 1, NULL), FO_OK);
    assert_int_equal(fo_block_manager_allocate(f.m, 2, 1, NULL), FO_OK);
    assert_int_equal(free_blocks(&f), 5);
    fixture_close(&f);
}

static void test_A2_sequences_can_run_out(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    for (int64_t s = 0; s < 4; s++)
        extend(&f, s, 1);
    assert_int_equal(fo_block_manager_extend(f.m, 4, 1, &f.error), FO_FULL);
    assert_non_null(strstr(f.error.message, "all 4 sequences"));
    assert_int_equal(fo_block_manager_fork(f.m, 0, 4, 1, &f.error), FO_FULL);
    fo_block_manager_free_sequence(f.m, 2, NULL);
    extend(&f, 4, 1);
    fixture_close(&f);
}

static void test_A2_D2_a_sequence_has_a_longest_length(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    extend(&f, 1, 24);
    assert_int_equal(fo_block_manager_extend(f.m, 1, 1, &f.error), FO_LIMIT);
    assert_int_equal(f.error.required, 25);
    assert_int_equal(f.error.available, 24);
    assert_int_equal(fo_block_manager_extend(f.m, 2, INT32_MAX, &f.error),
                     FO_LIMIT);
    assert_int_equal(fo_block_manager_allocate(f.m, 2, INT32_MAX, &f.error),
                     FO_LIMIT);
    assert_int_equal(fo_block_table_length(f.table, 2), -1);
    assert_int_equal(fo_block_table_length(f.table, 1), 24);
    fixture_close(&f);
}

/* Test errors that change nothing. */
static void test_A3_A4_errors_change_nothing(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    fo_block_manager *m = f.m;
    fo_error *e = &f.error;
    extend(&f, 1, 10); /* blocks 0, 1, 2 */
    extend(&f, 2, 5);  /* blocks 3, 4 */
    fo_block_stats before = stats_of(&f);
    assert_int_equal(fo_block_manager_free_block(m, 1, 5, e), FO_ARG);
    assert_non_null(strstr(e->message, "free already"));
    assert_int_equal(fo_block_manager_free_block(m, 1, 3, e), FO_ARG);
    assert_non_null(strstr(e->message, "another's"));
    assert_int_equal(fo_block_manager_free_block(m, 1, 1, e), FO_ARG);
    assert_non_null(strstr(e->message, "inside"));
    assert_int_equal(fo_block_manager_free_block(m, 1, 8, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_free_block(m, 1, -1, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_free_block(m, 9, 0, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_free_sequence(m, 9, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_trim(m, 9, 0, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_trim(m, 1, 11, e), FO_ARG);
    assert_int_equal(fo_block_manager_trim(m, 1, -1, e), FO_ARG);
    assert_int_equal(fo_block_manager_truncate(m, 9, 0, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_truncate(m, 1, 11, e), FO_ARG);
    assert_int_equal(fo_block_manager_truncate(m, 1, -1, e), FO_ARG);
    assert_int_equal(fo_block_manager_fork(m, 9, 3, 1, e), FO_UNKNOWN);
    assert_int_equal(fo_block_manager_fork(m, 1, 2, 1, e), FO_ARG);
    assert_int_equal(fo_block_manager_fork(m, 1, 3, 11, e), FO_ARG);
    fo_block_stats after = stats_of(&f);
    assert_int_equal(after.pool.free, before.pool.free);
    assert_int_equal(after.pool.tokens, before.pool.tokens);
    assert_int_equal(after.pool.allocations, before.pool.allocations);
    assert_int_equal(after.pool.illegal, 0);
    assert_int_equal(after.table.sequences, before.table.sequences);
    assert_int_equal(after.table.entries, before.table.entries);
    fixture_close(&f);
}

/* Test freeing. */
static void test_A3_freed_blocks_come_again(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    extend(&f, 1, 10); /* blocks 0, 1, 2 */
    /* The last block goes with the tokens in it. */
    assert_int_equal(fo_block_manager_free_block(f.m, 1, 2, NULL), FO_OK);
    assert_int_equal(fo_block_table_length(f.table, 1), 8);
    assert_int_equal(fo_block_manager_free_block(f.m, 1, 2, NULL), FO_ARG);
    extend(&f, 2, 1);
    assert_int_equal(fo_block_table_block(f.table, 2, 0), 2);
    /* The first goes once it is full; the others keep their indices. */
    assert_int_equal(fo_block_manager_free_block(f.m, 1, 0, NULL), FO_OK);
    assert_int_equal(fo_block_table_block(f.table, 1, 0), -1);
    assert_int_equal(fo_block_table_block(f.table, 1, 4), 1);
    assert_int_equal(fo_block_table_length(f.table, 1), 8);
    assert_int_equal(fo_block_manager_free_block(f.m, 2, 2, NULL), FO_OK);
    assert_int_equal(fo_block_table_length(f.table, 2), 0);
    assert_int_equal(fo_block_manager_free_block(f.m, 2, 2, NULL), FO_ARG);
    assert_int_equal(fo_block_manager_free_sequence(f.m, 2, NULL), FO_OK);
    assert_int_equal(fo_block_manager_free_sequence(f.m, 2, NULL), FO_UNKNOWN);
    assert_int_equal(free_blocks(&f), 7);
    fixture_close(&f);
}

static void test_A3_blocks_without_tokens_go_one_by_one(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    fo_block_manager_allocate(f.m, 1, 3, NULL);
    assert_int_equal(fo_block_manager_free_block(f.m, 1, 0, NULL), FO_ARG);
    for (int32_t block = 2; block >= 0; block--) {
        assert_int_equal(fo_block_manager_free_block(f.m, 1, block, NULL),
                         FO_OK);
        assert_int_equal(free_blocks(&f), 8 - block);
    }
    fixture_close(&f);
}

static void test_A3_B6_trim_and_truncate(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    extend(&f, 1, 18);
    fo_block_manager_allocate(f.m, 1, 1, NULL); /* six blocks */
    assert_int_equal(fo_block_manager_trim(f.m, 1, 9, NULL), FO_OK);
    assert_int_equal(free_blocks(&f), 4); /* room ahead is kept */
    assert_int_equal(fo_block_manager_truncate(f.m, 1, 7, &f.error), FO_ARG);
    assert_int_equal(fo_block_manager_truncate(f.m, 1, 13, NULL), FO_OK);
    assert_int_equal(free_blocks(&f), 6);
    assert_int_equal(fo_block_table_block(f.table, 1, 12), 3);
    assert_int_equal(fo_block_manager_truncate(f.m, 1, 8, NULL), FO_OK);
    assert_int_equal(free_blocks(&f), 8);
    extend(&f, 1, 1);
    assert_int_equal(fo_block_table_slot(f.table, 1, 7), -1);
    assert_true(fo_block_table_slot(f.table, 1, 8) >= 0);
    assert_int_equal(fo_block_manager_truncate(f.m, 1, 0, NULL), FO_OK);
    extend(&f, 1, 1);
    assert_true(fo_block_table_slot(f.table, 1, 0) >= 0);
    fixture_close(&f);
}

/* Test the manager's statistics. */
static void test_A4_statistics(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    fo_block_stats s = stats_of(&f);
    assert_true(s.utilisation == 0 && s.reuse_rate == 0);
    extend(&f, 1, 10);
    extend(&f, 2, 4);
    s = stats_of(&f);
    assert_int_equal(s.pool.held, 4);
    assert_int_equal(s.table.entries, 4);
    assert_true(s.utilisation == 14 / 16.0);
    fo_block_manager_free_sequence(f.m, 1, NULL);
    extend(&f, 3, 20);
    s = stats_of(&f);
    assert_int_equal(s.pool.peak, 6);
    assert_int_equal(s.pool.allocations, 9);
    assert_int_equal(s.pool.reuses, 3);
    assert_true(s.reuse_rate == 3 / 9.0);
    assert_true(s.utilisation == 1);
    fixture_close(&f);
}

static void test_A4_C6_metadata_is_small(void **state)
{
    (void)state;
    /* One layer of Phi-3-mini in f16: the least K and V for the most table. */
    fo_block_config config = {.total_blocks = 256,
                              .block_size = 16,
                              .num_layers = 1,
                              .kv_heads = 32,
                              .head_dim = 96,
                              .dtype = FO_F16,
                              .max_sequences = 16,
                              .max_length = 4096};
    fixture f = fixture_open(&config);
    fo_block_stats s = stats_of(&f);
    double share = (double)s.metadata_bytes / (double)s.kv_bytes;
    print_message("metadata %.3f%% of one layer's keys and values\n",
                  100 * share);
    assert_true(s.metadata_bytes > 0 && share < 0.005);
    fixture_close(&f);
}

/* Test batches. */
static void test_A2_a_batch_serves_whom_it_can(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    extend(&f, 1, 4);
    fo_block_request requests[] = {{2, 8, 0}, {1, 21, 0}, {3, 24, 0},
                                   {2, 1, 0}, {1, 5, 0},  {4, 0, 4}};
    fo_error results[6];
    assert_int_equal(
        fo_block_manager_extend_batch(f.m, requests, results, 6, &f.error),
        FO_OK);
    static const fo_status want[] = {FO_OK,  FO_LIMIT, FO_FULL,
                                     FO_ARG, FO_OK,    FO_FULL};
    for (int i = 0; i < 6; i++)
        assert_int_equal(results[i].status, want[i]);
    assert_int_equal(results[2].required, 6);
    assert_int_equal(results[2].available, 5); /* after two for sequence 2 */
    assert_int_equal(results[5].required, 4);
    assert_int_equal(results[5].available, 3);
    assert_int_equal(fo_block_table_length(f.table, 1), 9);
    assert_int_equal(fo_block_table_length(f.table, 2), 8);
    assert_int_equal(fo_block_table_length(f.table, 3), -1);
    assert_int_equal(fo_block_table_length(f.table, 4), -1);
    assert_int_equal(stats_of(&f).table.sequences, 2);
    assert_int_equal(fo_block_manager_extend_batch(f.m, NULL, NULL, 0, NULL),
                     FO_OK);
    fixture_close(&f);
}

/* Test turnover and exhaustion. */
static const fo_block_config wide = {.total_blocks = 6400,
                                     .block_size = 16,
                                     .num_layers = 1,
                                     .kv_heads = 1,
                                     .head_dim = 2,
                                     .dtype = FO_F16,
                                     .max_sequences = 100,
                                     .max_length = 1024};

static void test_E2_ten_thousand_cycles_over_a_hundred_ids(void **state)
{
    (void)state;
    fixture f = fixture_open(&wide);
    for (int i = 0; i < 10000; i++) {
        extend(&f, i % 100, 16);
        assert_int_equal(fo_block_manager_free_sequence(f.m, i % 100, NULL),
                         FO_OK);
    }
    /* The same with all ids alive at once. */
    for (int i = 0; i < 10000; i++) {
        if (i >= 100)
            assert_int_equal(fo_block_manager_free_sequence(f.m, i % 100, NULL),
                             FO_OK);
        extend(&f, i % 100, 1 + i % 64);
    }
    for (int i = 0; i < 100; i++)
        fo_block_manager_free_sequence(f.m, i, NULL);
    fo_block_stats s = stats_of(&f);
    assert_int_equal(s.pool.held, 0);
    assert_int_equal(s.pool.free, 6400);
    assert_int_equal(s.table.sequences, 0);
    fixture_close(&f);
}

static void test_E3_each_length_takes_its_blocks(void **state)
{
    (void)state;
    fixture f = fixture_open(&wide);
    int64_t total = 0;
    for (int i = 0; i < 100; i++) {
        uint32_t words[4];
        fo_rng_block(42, 0, (uint64_t)i, words);
        int length = 16 + (int)(words[0] % 985); /* 16 to 1000 */
        extend(&f, i, length);
        fo_block_row row;
        assert_true(fo_block_table_sequence(f.table, i, &row));
        assert_int_equal(row.blocks, (length + 15) / 16);
        assert_int_equal(row.length, length);
        total += row.blocks;
    }
    fo_block_stats s = stats_of(&f);
    assert_int_equal(s.pool.held, total);
    assert_true(s.utilisation > 0.9);
    fixture_close(&f);
}

static void test_E4_exhausted_and_again(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    int64_t s = 0;
    while (fo_block_manager_allocate(f.m, s / 6, 1, &f.error) == FO_OK)
        s++;
    assert_int_equal(s, 8);
    assert_int_equal(f.error.status, FO_FULL);
    assert_true(strlen(f.error.message) > 0);
    assert_int_equal(fo_block_manager_allocate(f.m, 3, 1, NULL), FO_FULL);
    fo_block_manager_free_sequence(f.m, 0, NULL);
    assert_int_equal(fo_block_manager_allocate(f.m, 3, 6, NULL), FO_OK);
    assert_int_equal(free_blocks(&f), 0);
    fixture_close(&f);
}

/* Test that no token is ever lost. */
enum { most_tokens = 24, users = 4, layers = 2 };

/* What each sequence believes it has stored: one number a token. */
typedef struct belief {
    bool known;
    int first, length;
    float token[most_tokens];
} belief;

static size_t place(const fixture *f, int user, int position)
{
    return (size_t)fo_block_table_slot(f->table, user, position) * 2;
}

/* Store the number, marked by layer and side, where the table says. */
static void remember(fixture *f, belief *b, int user, int position, float mark)
{
    b->token[position] = mark;
    for (int i = 0; i < layers; i++) {
        const fo_kv *kv = fo_block_manager_layer(f->m, i);
        float k[] = {mark, (float)i}, v[] = {-mark, (float)i};
        size_t at = place(f, user, position);
        fo_backend_cpu.upload(f->device, (float *)kv->k + at, k, 8, NULL);
        fo_backend_cpu.upload(f->device, (float *)kv->v + at, v, 8, NULL);
    }
}

static void recall(fixture *f, const belief *b, int user)
{
    assert_int_equal(fo_block_table_length(f->table, user),
                     b->known ? b->length : -1);
    for (int p = b->first; p < b->length; p++)
        for (int i = 0; i < layers; i++) {
            const fo_kv *kv = fo_block_manager_layer(f->m, i);
            size_t at = place(f, user, p);
            const float *k = (const float *)kv->k + at;
            const float *v = (const float *)kv->v + at;
            assert_true(k[0] == b->token[p] && k[1] == (float)i);
            assert_true(v[0] == -b->token[p] && v[1] == (float)i);
        }
}

static void test_A4_no_token_is_ever_lost(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    belief beliefs[users] = {{0}};
    int calls = getenv("FOLIO_QUICK") ? 2000 : 100000, full = 0, forks = 0;
    float mark = 0;
    for (int i = 0; i < calls; i++) {
        uint32_t dice[4];
        fo_rng_block(77, 1, (uint64_t)i, dice);
        int user = (int)(dice[0] % users), other = (int)(dice[1] % users);
        belief *b = &beliefs[user], *o = &beliefs[other];
        int amount = (int)(dice[3] % 7);
        fo_status status = FO_OK;
        switch (dice[2] % 10) {
        /* Do one thing to a sequence and to the belief. */
        default:
            status = fo_block_manager_extend(f.m, user, amount, NULL);
            if (status == FO_OK)
                b->known = true;
            for (int k = 0; k < amount && status == FO_OK; k++)
                remember(&f, b, user, b->length++, ++mark);
            break;
        case 0:
        case 9:
            status = fo_block_manager_free_sequence(f.m, user, NULL);
            assert_int_equal(status, b->known ? FO_OK : FO_UNKNOWN);
            *b = (belief){0};
            break;
        case 1:
        case 2:
            amount = b->length - amount / 3;
            status = fo_block_manager_fork(f.m, user, other, amount, NULL);
            if (status != FO_OK)
                break;
            *o = *b;
            o->length = amount;
            o->first = b->first < amount ? b->first : amount;
            forks++;
            break;
        case 3:
            status =
                fo_block_manager_truncate(f.m, user, b->length - amount, NULL);
            if (status == FO_OK)
                b->length -= amount;
            if (b->first > b->length)
                b->first = b->length;
            break;
        case 4:
            status =
                fo_block_manager_trim(f.m, user, b->first + amount / 4, NULL);
            if (status == FO_OK)
                b->first += amount / 4;
            break;
        }
        full += status == FO_FULL;
        for (int u = 0; u < users; u++)
            recall(&f, &beliefs[u], u);
        if (fo_block_manager_check(f.m, &f.error) != FO_OK)
            fail_msg("call %d: %s", i, f.error.message);
    }
    print_message("%d calls, %d short of blocks, %d forks\n", calls, full,
                  forks);
    assert_true(full > 0 && forks > 0);
    fixture_close(&f);
}

/* Weaken a device. */
static int copies_to_fail;

static fo_status copy_or_fail(fo_device *device, const fo_kv *kv,
                              const int32_t *from, const int32_t *to, int n,
                              fo_error *error)
{
    if (copies_to_fail > 0) {
        copies_to_fail--;
        return fo_fail(error, FO_DEVICE, "a planted failure");
    }
    return fo_backend_cpu.kv_copy(device, kv, from, to, n, error);
}

/* A manager like `small` on a device whose copies fail when told to. */
static fixture fixture_open_weak(void)
{
    static fo_backend weak;
    fixture f = {0};
    weak = fo_backend_cpu;
    weak.kv_copy = copy_or_fail;
    assert_int_equal(fo_backend_cpu.open(NULL, &f.device, &f.error), FO_OK);
    f.device->backend = &weak;
    assert_int_equal(fo_block_manager_open(f.device, &small, &f.m, &f.error),
                     FO_OK);
    f.table = fo_block_manager_table(f.m);
    return f;
}

/* Test that a failed copy is not forgotten. */
static void test_D5_a_copy_that_failed_is_made_later(void **state)
{
    (void)state;
    for (int failures = 1; failures <= 5; failures++) {
        fixture f = fixture_open_weak();
        belief b[2] = {{.known = true}, {0}};
        extend(&f, 0, 6);
        for (; b[0].length < 6; b[0].length++)
            remember(&f, &b[0], 0, b[0].length, 1 + (float)b[0].length);
        assert_int_equal(fo_block_manager_fork(f.m, 0, 1, 6, NULL), FO_OK);
        b[1] = b[0];
        copies_to_fail = failures;
        while (fo_block_manager_extend(f.m, 1, 1, &f.error) != FO_OK) {
            assert_int_equal(f.error.status, FO_DEVICE);
            assert_int_equal(fo_block_table_length(f.table, 1), 6);
            stats_of(&f);
        }
        assert_int_equal(copies_to_fail, 0);
        remember(&f, &b[1], 1, b[1].length++, 99);
        recall(&f, &b[0], 0);
        recall(&f, &b[1], 1);
        fixture_close(&f);
    }
}

/* Test the life of managers. */
static void test_A1_D5_opening_without_memory_leaves_nothing(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    assert_int_equal(fo_backend_cpu.open(NULL, &device, &error), FO_OK);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    uint64_t n = 0;
    fo_status status;
    do {
        fo_block_manager *m;
        fo_memory_fail_at(++n);
        status = fo_block_manager_open(device, &small, &m, &error);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || status == FO_NOMEM);
        assert_true((status == FO_OK) == (m != NULL));
        fo_block_manager_close(&m);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, there);
    } while (status != FO_OK);
    print_message("each of %d allocations made to fail\n", (int)n - 1);
    assert_true(n > 10);
    fo_backend_cpu.close(&device);
}

static void test_A2_no_operation_allocates(void **state)
{
    (void)state;
    fixture f = fixture_open(&small);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).requests;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).requests;
    extend(&f, 1, 10);
    fo_block_manager_fork(f.m, 1, 2, 9, NULL);
    extend(&f, 2, 1);
    fo_block_manager_trim(f.m, 2, 5, NULL);
    fo_block_manager_truncate(f.m, 1, 5, NULL);
    fo_block_manager_extend(f.m, 3, 24, NULL);
    fo_block_manager_free_sequence(f.m, 1, NULL);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).requests, host);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests, there);
    fixture_close(&f);
}

static void test_E5_a_hundred_managers_leave_no_byte(void **state)
{
    (void)state;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    fixture open[10];
    fo_block_config config = wide;
    config.total_blocks = 100;
    for (int i = 0; i < 110; i++) {
        /* Ten live at a time; half are closed with sequences in them. */
        fixture *f = &open[i % 10];
        if (i >= 10)
            fixture_close(f);
        if (i >= 100)
            continue;
        *f = fixture_open(&config);
        assert_int_equal(fo_block_manager_allocate(f->m, 1, 50, NULL), FO_OK);
        assert_int_equal(fo_block_manager_allocate(f->m, 2, 50, NULL), FO_OK);
        for (int s = 1; s <= i % 2 * 2; s++)
            fo_block_manager_free_sequence(f->m, s, NULL);
    }
    fo_block_manager *none = NULL;
    fo_block_manager_close(&none);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, there);
}

static void test_E5_ten_thousand_table_operations(void **state)
{
    (void)state;
    fixture f = fixture_open(&wide);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    for (int i = 0; i < 10000; i++) {
        int64_t sequence = i % 100;
        fo_status status =
            fo_block_manager_allocate(f.m, sequence, 1, &f.error);
        assert_true(status == FO_OK || status == FO_LIMIT);
        assert_true(fo_block_table_block(f.table, sequence, 0) >= 0);
        if (i % 101 == 0) {
            assert_true(fo_block_table_stats_get(f.table).entries <= 6400);
            fo_block_manager_free_sequence(f.m, sequence, NULL);
        }
    }
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    fixture_close(&f);
}

/* Run the manager's tests. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A1_layers),
        cmocka_unit_test(test_A1_D4_bytes_of_a_token),
        cmocka_unit_test(test_A1_D3_too_large_is_refused_before_anything),
        cmocka_unit_test(test_A1_senseless_shapes),
        cmocka_unit_test(test_A2_E4_a_shortage_is_told_and_changes_nothing),
        cmocka_unit_test(test_A2_sequences_can_run_out),
        cmocka_unit_test(test_A2_D2_a_sequence_has_a_longest_length),
        cmocka_unit_test(test_A3_A4_errors_change_nothing),
        cmocka_unit_test(test_A3_freed_blocks_come_again),
        cmocka_unit_test(test_A3_blocks_without_tokens_go_one_by_one),
        cmocka_unit_test(test_A3_B6_trim_and_truncate),
        cmocka_unit_test(test_A4_statistics),
        cmocka_unit_test(test_A4_C6_metadata_is_small),
        cmocka_unit_test(test_A2_a_batch_serves_whom_it_can),
        cmocka_unit_test(test_E2_ten_thousand_cycles_over_a_hundred_ids),
        cmocka_unit_test(test_E3_each_length_takes_its_blocks),
        cmocka_unit_test(test_E4_exhausted_and_again),
        cmocka_unit_test(test_A4_no_token_is_ever_lost),
        cmocka_unit_test(test_D5_a_copy_that_failed_is_made_later),
        cmocka_unit_test(test_A1_D5_opening_without_memory_leaves_nothing),
        cmocka_unit_test(test_A2_no_operation_allocates),
        cmocka_unit_test(test_E5_a_hundred_managers_leave_no_byte),
        cmocka_unit_test(test_E5_ten_thousand_table_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
