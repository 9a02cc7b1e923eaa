#include "prefix_case.h"

#include "cpu/cpu.h"
#include "null_backend.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Case: shape it. */
static const fo_block_config small = {.total_blocks = BLOCKS,
                                      .block_size = B,
                                      .num_layers = 2,
                                      .kv_heads = 1,
                                      .head_dim = 2,
                                      .dtype = FO_F32,
                                      .max_sequences = ROWS,
                                      .max_length = LONGEST};

const int32_t text[LONGEST] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8,
                               9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4};

/* Case: leave one device for the next. */
static void leave(prefix_case *f)
{
    free_blocks(f);
    fo_prefix_cache_close(&f->c);
    assert_null(f->c);
    fo_block_manager_close(&f->m);
    if (verso_is_simulated() && f->side == 2)
        verso_assert_clean();
    f->device->backend->close(&f->device);
}

bool prefix_case_next(prefix_case *f, int window)
{
    if (f->side > 0)
        leave(f);
    const fo_backend *backend = f->side ? verso_backend() : &fo_backend_cpu;
    if (f->side == 2 || !backend || backend_missing_slot(backend))
        return false;
    fo_block_config config = small;
    config.slab_blocks = f->slab_blocks;
    if (backend->open(NULL, &f->device, &f->error) != FO_OK ||
        fo_block_manager_open(f->device, &config, &f->m, &f->error) != FO_OK ||
        fo_prefix_cache_open(f->m, window, &f->c, &f->error) != FO_OK)
        fail_msg("%s", f->error.message);
    f->table = fo_block_manager_table(f->m);
    f->side++;
    print_message("%s: window %d\n", backend->name, window);
    return true;
}

/* Case: check the books. */
void must(prefix_case *f, fo_status status)
{
    if (status != FO_OK)
        fail_msg("%s", f->error.message);
}

int free_blocks(prefix_case *f)
{
    fo_block_stats stats;
    must(f, fo_block_manager_check(f->m, &f->error));
    must(f, fo_prefix_cache_check(f->c, &f->error));
    must(f, fo_block_manager_stats(f->m, &stats, &f->error));
    return stats.pool.free;
}

void expect_blocks(prefix_case *f, int64_t sequence, int n,
                   const int32_t *blocks)
{
    fo_block_row row;
    assert_true(fo_block_table_sequence(f->table, sequence, &row));
    assert_int_equal(row.blocks, n);
    assert_memory_equal(row.entries, blocks, (size_t)n * sizeof *blocks);
}

/* Case: serve a prompt. */
int serve(prefix_case *f, int64_t sequence, const int32_t *tokens, int count)
{
    int hit;
    must(f,
         fo_prefix_cache_begin(f->c, sequence, tokens, count, &hit, &f->error));
    must(f, fo_block_manager_extend(f->m, sequence, count - hit, &f->error));
    must(f, fo_prefix_cache_note(f->c, sequence, tokens, count, &f->error));
    return hit;
}

void retire(prefix_case *f, int64_t sequence)
{
    must(f, fo_prefix_cache_retire(f->c, sequence, &f->error));
}

int evict(prefix_case *f, int free, int rows)
{
    int evicted;
    must(f, fo_prefix_cache_evict(f->c, free, rows, &evicted, &f->error));
    return evicted;
}
