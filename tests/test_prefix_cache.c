#include "engine/prefix_cache.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/prefix_cache_inside.h"
#include "null_backend.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Test: open a cache on each side. */
enum { B = 4, BLOCKS = 24, ROWS = 8, LONGEST = 48 };

typedef struct fixture {
    fo_device *device;
    fo_block_manager *m;
    const fo_block_table *table;
    fo_prefix_cache *c;
    fo_error error;
} fixture;

static const fo_block_config small = {.total_blocks = BLOCKS,
                                      .block_size = B,
                                      .num_layers = 2,
                                      .kv_heads = 1,
                                      .head_dim = 2,
                                      .dtype = FO_F32,
                                      .max_sequences = ROWS,
                                      .max_length = LONGEST};

/* The backends to be tested: the CPU, and the verso where it is built in. */
static int sides(const fo_backend *out[2])
{
    out[0] = &fo_backend_cpu;
    out[1] = verso_backend();
    return out[1] && !backend_missing_slot(out[1]) ? 2 : 1;
}

static fixture fixture_open(const fo_backend *backend, int window)
{
    fixture f = {0};
    if (backend->open(NULL, &f.device, &f.error) != FO_OK ||
        fo_block_manager_open(f.device, &small, &f.m, &f.error) != FO_OK ||
        fo_prefix_cache_open(f.m, window, &f.c, &f.error) != FO_OK)
        fail_msg("%s", f.error.message);
    f.table = fo_block_manager_table(f.m);
    return f;
}

/* Test: check the books. */
/* Blocks that are free, once the manager's books and the cache's are right. */
static int free_blocks(fixture *f)
{
    fo_block_stats stats;
    if (fo_block_manager_check(f->m, &f->error) != FO_OK ||
        fo_prefix_cache_check(f->c, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
    assert_int_equal(fo_block_manager_stats(f->m, &stats, NULL), FO_OK);
    return stats.pool.free;
}

static void fixture_close(fixture *f)
{
    free_blocks(f);
    fo_prefix_cache_close(&f->c);
    assert_null(f->c);
    fo_block_manager_close(&f->m);
    f->device->backend->close(&f->device);
    if (verso_is_simulated())
        verso_assert_clean();
}

/* Test: serve a prompt. */
static void must(fixture *f, fo_status status)
{
    if (status != FO_OK)
        fail_msg("%s", f->error.message);
}

/* Begin with what is cached, store the rest, and note it all. */
static int serve(fixture *f, int64_t sequence, const int32_t *tokens, int count)
{
    int hit;
    must(f,
         fo_prefix_cache_begin(f->c, sequence, tokens, count, &hit, &f->error));
    must(f, fo_block_manager_extend(f->m, sequence, count - hit, &f->error));
    must(f, fo_prefix_cache_note(f->c, sequence, tokens, count, &f->error));
    return hit;
}

static void retire(fixture *f, int64_t sequence)
{
    must(f, fo_prefix_cache_retire(f->c, sequence, &f->error));
}

static const int32_t text[LONGEST] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8,
                                      9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4};

/* Test what a second request finds. */
static void test_a_prompt_is_not_computed_twice(void **state)
{
    (void)state;
    const fo_backend *backends[2];
    for (int side = sides(backends); side-- > 0;) {
        fixture f = fixture_open(backends[side], 0);
        assert_int_equal(serve(&f, 1, text, 10), 0);
        assert_int_equal(free_blocks(&f), BLOCKS - 3);
        retire(&f, 1);
        assert_int_equal(free_blocks(&f), BLOCKS - 2);
        assert_int_equal(fo_prefix_cache_match(f.c, text, 10), 8);
        assert_int_equal(serve(&f, 2, text, 10), 8);
        fo_block_row row;
        assert_true(fo_block_table_sequence(f.table, 2, &row));
        assert_memory_equal(row.entries, ((int32_t[]){0, 1}),
                            2 * sizeof(int32_t));
        assert_int_equal(free_blocks(&f), BLOCKS - 3);
        fixture_close(&f);
    }
}

/* Test: run all. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prompt_is_not_computed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
