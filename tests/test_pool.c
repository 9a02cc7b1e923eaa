#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "cpu/pool.h"
#include "naive_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Open a pool and its judge side by side. */
enum { most_calls = 4 }; /* requests, keeps or forks in one call */

typedef struct pair {
    const fo_backend *op;
    fo_device *device;
    fo_pool_shape shape;
    fo_pool *pool;
    naive_pool judge;
    void *staging; /* device memory for what a call takes and gives */
    fo_error error;
} pair;

static pair pair_open(int num_blocks, int B, int max_rows, int max_blocks)
{
    pair p = {.op = &fo_backend_cpu,
              .shape = {num_blocks, B, max_rows, max_blocks}};
    assert_int_equal(p.op->open(NULL, &p.device, &p.error), FO_OK);
    assert_int_equal(p.op->pool_open(p.device, &p.shape, &p.pool, &p.error),
                     FO_OK);
    assert_int_equal(p.op->alloc(p.device, 4096, &p.staging, &p.error), FO_OK);
    naive_pool_open(&p.judge, &p.shape);
    return p;
}

static void pair_close(pair *p)
{
    p->op->free(p->device, p->staging);
    p->op->pool_close(p->device, &p->pool);
    assert_null(p->pool);
    p->op->close(&p->device);
}

/* Do the same to both and compare. */
/* Compare every entry, length and count. */
static void compare_rows(pair *p)
{
    int32_t entries[naive_most_entries], state[3];
    fo_pool_view view = p->op->pool_view(p->device, p->pool);
    for (int r = 0; r < p->shape.max_rows; r++) {
        const naive_row *want = &p->judge.rows[r];
        size_t bytes = (size_t)p->shape.max_blocks * sizeof *entries;
        p->op->download(p->device, entries,
                        view.table + r * p->shape.max_blocks, bytes, NULL);
        p->op->download(p->device, &state[0], view.length + r, 4, NULL);
        p->op->download(p->device, &state[1], view.first + r, 4, NULL);
        p->op->download(p->device, &state[2], view.blocks + r, 4, NULL);
        assert_memory_equal(entries, want->entry, bytes);
        assert_int_equal(state[0], want->length);
        assert_int_equal(state[1], want->first);
        assert_int_equal(state[2], want->blocks);
    }
}

static void check_pair(pair *p)
{
    if (p->op->pool_check(p->device, p->pool, &p->error) != FO_OK)
        fail_msg("%s", p->error.message);
    compare_rows(p);
    fo_pool_stats stats, want = naive_pool_stats(&p->judge);
    p->op->pool_stats(p->device, p->pool, &stats, &p->error);
    assert_int_equal(stats.free + stats.held, stats.total);
    assert_int_equal(stats.total, want.total);
    assert_int_equal(stats.highest, want.highest);
    assert_int_equal(stats.free, want.free);
    assert_int_equal(stats.held, want.held);
    assert_int_equal(stats.shared, want.shared);
    assert_int_equal(stats.peak, want.peak);
    assert_int_equal(stats.allocations, want.allocations);
    assert_int_equal(stats.reuses, want.reuses);
    assert_int_equal(stats.tokens, want.tokens);
    assert_int_equal(stats.illegal, want.illegal);
}

static void extend(pair *p, const fo_pool_request *requests,
                   fo_pool_grant *grants, int n)
{
    size_t bytes = (size_t)n * sizeof *requests;
    fo_pool_grant *there = (fo_pool_grant *)((char *)p->staging + 2048);
    memset(grants, 0x77, (size_t)n * sizeof *grants);
    p->op->upload(p->device, p->staging, requests, bytes, &p->error);
    p->op->upload(p->device, there, grants, (size_t)n * sizeof *grants,
                  &p->error);
    assert_int_equal(
        p->op->pool_extend(p->device, p->pool, p->staging, there, n, &p->error),
        FO_OK);
    p->op->download(p->device, grants, there, (size_t)n * sizeof *grants,
                    &p->error);
    for (int i = 0; i < n; i++) {
        fo_pool_grant want = naive_pool_extend(&p->judge, requests[i]);
        assert_memory_equal(&grants[i], &want, sizeof want);
    }
    check_pair(p);
}

static void release(pair *p, const fo_pool_keep *keeps, int n)
{
    p->op->upload(p->device, p->staging, keeps, (size_t)n * sizeof *keeps,
                  &p->error);
    assert_int_equal(
        p->op->pool_release(p->device, p->pool, p->staging, n, &p->error),
        FO_OK);
    for (int i = 0; i < n; i++)
        naive_pool_release(&p->judge, keeps[i]);
    check_pair(p);
}

static void share(pair *p, const fo_pool_fork *forks, int n)
{
    p->op->upload(p->device, p->staging, forks, (size_t)n * sizeof *forks,
                  &p->error);
    assert_int_equal(
        p->op->pool_share(p->device, p->pool, p->staging, n, &p->error), FO_OK);
    for (int i = 0; i < n; i++)
        naive_pool_share(&p->judge, forks[i]);
    check_pair(p);
}

/* Whether there was anything to change. */
static bool resize_if(pair *p, int blocks)
{
    bool changes = blocks != p->judge.total;
    fo_status status =
        p->op->pool_resize(p->device, p->pool, blocks, &p->error);
    assert_int_equal(status == FO_OK, naive_pool_resize(&p->judge, blocks));
    check_pair(p);
    return changes && status == FO_OK;
}

static void resize(pair *p, int blocks, fo_status want)
{
    resize_if(p, blocks);
    if (want != FO_OK)
        assert_int_equal(p->error.status, want);
    else
        assert_int_equal(p->judge.total, blocks);
}

static fo_pool_grant extend_one(pair *p, int32_t row, int32_t length,
                                int32_t room)
{
    fo_pool_grant grant;
    extend(p, &(fo_pool_request){row, length, room}, &grant, 1);
    return grant;
}

static void release_one(pair *p, int32_t row, int32_t first, int32_t length,
                        int32_t room)
{
    release(p, &(fo_pool_keep){row, first, length, room}, 1);
}

static void share_one(pair *p, int32_t from, int32_t to, int32_t length)
{
    share(p, &(fo_pool_fork){from, to, length}, 1);
}

static int32_t entry(const pair *p, int row, int i)
{
    return p->judge.rows[row].entry[i];
}

static int32_t free_blocks(const pair *p)
{
    return p->judge.free_count;
}

/* Draw a random call. */
typedef struct dice {
    uint64_t seed, thrown;
    uint32_t words[4];
} dice;

/* A number in [0, sides). */
static int32_t throw(dice * d, int32_t sides)
{
    if (d->thrown % 4 == 0)
        fo_rng_block(d->seed, 7, d->thrown / 4, d->words);
    return (int32_t)(d->words[d->thrown++ % 4] % (uint32_t)sides);
}

/* A row of the pool, now and then none. */
static int32_t throw_row(dice *d, const pair *p)
{
    if (throw(d, 64) == 0)
        return throw(d, 2) ? -1 : p->shape.max_rows;
    return throw(d, p->shape.max_rows);
}

static const naive_row *row_of(const pair *p, int32_t row)
{
    return &p->judge.rows[row >= 0 && row < p->shape.max_rows ? row : 0];
}

static fo_pool_request draw_request(dice *d, const pair *p)
{
    fo_pool_request r = {.row = throw_row(d, p)};
    int32_t most = 1 + throw(d, 3) * p->shape.B;
    r.length = row_of(p, r.row)->length + throw(d, most) - (throw(d, 99) == 0);
    r.room = r.length + throw(d, 4) / 3 * throw(d, 2 * p->shape.B) -
             (throw(d, 99) == 0);
    return r;
}

static fo_pool_keep draw_keep(dice *d, const pair *p)
{
    fo_pool_keep k = {.row = throw_row(d, p)};
    const naive_row *row = row_of(p, k.row);
    switch (throw(d, 4)) {
    case 0: /* the whole row */
        break;
    case 1: /* a step back, now and then one too far or none */
        k.first = row->first * p->shape.B - (throw(d, 99) == 0);
        k.length = k.first + throw(d, row->length - k.first + 2);
        k.room = k.length;
        break;
    case 2: /* a window moves on and keeps the room */
        k.length = row->length;
        k.first = throw(d, row->length + 1) + (throw(d, 99) == 0);
        k.room = row->blocks * p->shape.B;
        break;
    default: /* the room shrinks */
        k.length = row->length;
        k.room = row->length + throw(d, 2 * p->shape.B);
    }
    return k;
}

static fo_pool_fork draw_fork(dice *d, const pair *p)
{
    fo_pool_fork f = {throw_row(d, p), throw_row(d, p), 0};
    for (int tries = 0; tries < 4 && row_of(p, f.to)->blocks > 0; tries++)
        f.to = throw_row(d, p);
    const naive_row *from = row_of(p, f.from);
    int32_t least = from->first * p->shape.B;
    f.length = from->length - throw(d, 2) * throw(d, from->length - least + 1) +
               (throw(d, 99) == 0);
    return f;
}

/* Draw a size. */
static int draw_size(dice *d, const pair *p)
{
    int32_t highest = naive_pool_stats(&p->judge).highest;
    if (throw(d, 2))
        return highest - 1 + throw(d, 3);
    return throw(d, p->shape.num_blocks + 3) - 1;
}

/* Test the pool by a million random calls. */
static void test_A4_A8_random_calls(void **state)
{
    (void)state;
    int calls = getenv("FOLIO_QUICK") ? 10000 : 1000000;
    static const fo_pool_shape shapes[] = {
        {64, 4, 8, 16}, {24, 3, 8, 8}, {64, 1, 6, 16}, {7, 16, 4, 5}};
    uint64_t refused = 0, copied = 0, shared = 0, illegal = 0, resized = 0;
    for (int s = 0; s < 4; s++) {
        pair p = pair_open(shapes[s].num_blocks, shapes[s].B,
                           shapes[s].max_rows, shapes[s].max_blocks);
        dice d = {.seed = 1000 + (uint64_t)s};
        for (int i = 0; i < calls / 4; i++) {
            /* Make one random call. */
            int n = 1 + throw(&d, 4) / 3 * throw(&d, most_calls);
            int kind = throw(&d, 10);
            if (throw(&d, 16) == 0)
                resized += resize_if(&p, draw_size(&d, &p));
            fo_pool_request requests[most_calls];
            fo_pool_grant grants[most_calls];
            fo_pool_keep keeps[most_calls];
            fo_pool_fork forks[most_calls];
            for (int k = 0; k < n; k++) {
                requests[k] = draw_request(&d, &p);
                keeps[k] = draw_keep(&d, &p);
                forks[k] = draw_fork(&d, &p);
            }
            if (kind < 5) {
                extend(&p, requests, grants, n);
                for (int k = 0; k < n; k++) {
                    refused += grants[k].wanted >= 0 && grants[k].granted < 0;
                    copied += grants[k].copy_to >= 0;
                }
            } else if (kind < 9) {
                release(&p, keeps, n);
            } else {
                share(&p, forks, n);
                shared += naive_pool_stats(&p.judge).shared > 0;
            }
        }
        illegal += p.judge.stats.illegal;
        pair_close(&p);
    }
    print_message("%d calls, %lu refused, %lu copied, %lu shared, "
                  "%lu illegal, %lu resized\n",
                  calls, refused, copied, shared, illegal, resized);
    assert_true(refused > 0 && copied > 0 && shared > 0 && illegal > 0 &&
                resized > 0);
}

/* Test the order of blocks. */
static void test_A2_blocks_come_in_order(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 8);
    extend_one(&p, 0, 5, 5);
    extend_one(&p, 1, 4, 4);
    extend_one(&p, 0, 9, 9);
    assert_int_equal(entry(&p, 0, 0), 0);
    assert_int_equal(entry(&p, 0, 1), 1);
    assert_int_equal(entry(&p, 1, 0), 2);
    assert_int_equal(entry(&p, 0, 2), 3);
    pair_close(&p);
}

static void test_A3_a_row_given_back_comes_again(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 8);
    extend_one(&p, 0, 4, 4);
    extend_one(&p, 1, 12, 12);
    release_one(&p, 0, 0, 0, 0);
    release_one(&p, 1, 0, 0, 0);
    extend_one(&p, 2, 16, 16);
    for (int i = 0; i < 3; i++)
        assert_int_equal(entry(&p, 2, i), i + 1);
    assert_int_equal(entry(&p, 2, 3), 0);
    pair_close(&p);
}

/* Test a pool that changes its size. */
static void test_A8_new_blocks_lie_beneath_the_free_ones(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 8);
    resize(&p, 0, FO_OK);
    assert_int_equal(extend_one(&p, 0, 1, 1).granted, -1);
    resize(&p, 4, FO_OK);
    extend_one(&p, 0, 8, 8);     /* blocks 0 and 1 */
    extend_one(&p, 1, 4, 4);     /* block 2 */
    release_one(&p, 0, 4, 8, 8); /* block 0 is free, and 3 is */
    resize(&p, 7, FO_OK);
    extend_one(&p, 2, 20, 20);
    static const int32_t order[] = {0, 3, 4, 5, 6};
    for (int i = 0; i < 5; i++)
        assert_int_equal(entry(&p, 2, i), order[i]);
    resize(&p, 6, FO_FULL); /* block 6 is held */
    release_one(&p, 2, 0, 12, 12);
    resize(&p, 5, FO_OK); /* 5 and 6 leave the top of the stack */
    resize(&p, 4, FO_FULL);
    resize(&p, 9, FO_ARG);
    resize(&p, -1, FO_ARG);
    release_one(&p, 2, 0, 0, 0);
    resize(&p, 8, FO_OK);
    assert_int_equal(free_blocks(&p), 6);
    pair_close(&p);
}

/* Test all or nothing. */
static void test_A2_all_or_nothing_in_row_order(void **state)
{
    (void)state;
    pair p = pair_open(6, 4, 4, 8);
    fo_pool_grant g[4];
    /* 2 of 6, then 5 of 4: refused, then 4 of 4, then 1 of 0: refused */
    extend(&p,
           (fo_pool_request[]){{0, 8, 8}, {1, 20, 20}, {2, 13, 16}, {3, 1, 1}},
           g, 4);
    static const int32_t granted[] = {2, -1, 4, -1};
    static const int32_t wanted[] = {2, 5, 4, 1};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(g[i].granted, granted[i]);
        assert_int_equal(g[i].wanted, wanted[i]);
    }
    assert_int_equal(free_blocks(&p), 0);
    release_one(&p, 2, 0, 0, 0);
    assert_int_equal(extend_one(&p, 3, 1, 1).granted, 1);
    pair_close(&p);
}

static void test_A2_a_row_too_short_for_the_room(void **state)
{
    (void)state;
    pair p = pair_open(16, 4, 2, 3);
    fo_pool_grant g = extend_one(&p, 0, 1, 13);
    assert_int_equal(g.wanted, 4);
    assert_int_equal(g.granted, -1);
    assert_int_equal(extend_one(&p, 0, 1, 12).granted, 3);
    /* The largest numbers a request can hold do not overflow. */
    g = (fo_pool_grant){0};
    fo_pool_request huge = {1, INT32_MAX, INT32_MAX};
    p.op->pool_extend(p.device, p.pool, &huge, &g, 1, &p.error);
    assert_int_equal(g.wanted, INT32_MAX / 4 + 1);
    assert_int_equal(g.granted, -1);
    check_pair(&p);
    pair_close(&p);
}

static void test_A2_room_is_kept(void **state)
{
    (void)state;
    pair p = pair_open(16, 4, 2, 8);
    assert_int_equal(extend_one(&p, 0, 0, 10).granted, 3);
    assert_int_equal(extend_one(&p, 0, 7, 7).wanted, 0);
    assert_int_equal(extend_one(&p, 0, 12, 12).wanted, 0);
    assert_int_equal(extend_one(&p, 0, 13, 13).wanted, 1);
    pair_close(&p);
}

/* Test giving back. */
static void test_A3_giving_back_nothing_is_nothing(void **state)
{
    (void)state;
    pair p = pair_open(4, 4, 2, 4);
    release_one(&p, 0, 0, 0, 0);
    extend_one(&p, 0, 0, 0);
    extend(&p, NULL, (fo_pool_grant[1]){{0}}, 0);
    release(&p, NULL, 0);
    share(&p, NULL, 0);
    assert_int_equal(p.judge.stats.illegal, 0);
    assert_int_equal(free_blocks(&p), 4);
    pair_close(&p);
}

static void test_A3_a_step_back(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 2, 8);
    extend_one(&p, 0, 10, 20);
    release_one(&p, 0, 0, 10, 12); /* the room beyond the third block */
    assert_int_equal(free_blocks(&p), 5);
    release_one(&p, 0, 0, 4, 4); /* exactly one block stays */
    assert_int_equal(free_blocks(&p), 7);
    assert_int_equal(extend_one(&p, 0, 5, 5).granted, 1);
    release_one(&p, 0, 0, 0, 0);
    assert_int_equal(free_blocks(&p), 8);
    pair_close(&p);
}

/* Test copy on write. */
static void test_copy_on_write_by_either_side(void **state)
{
    (void)state;
    for (int writer = 0; writer < 2; writer++) {
        pair p = pair_open(8, 4, 2, 8);
        extend_one(&p, 0, 6, 6);
        share_one(&p, 0, 1, 6);
        assert_int_equal(free_blocks(&p), 6);
        /* Whoever appends first gets a copy in a block of its own. */
        fo_pool_grant g = extend_one(&p, writer, 7, 7);
        assert_int_equal(g.granted, 1);
        assert_int_equal(g.copy_from, 1);
        assert_int_equal(g.copy_to, 2);
        assert_int_equal(entry(&p, writer, 1), 2);
        assert_int_equal(entry(&p, !writer, 1), 1);
        /* The other now holds the old block alone, and appends in place. */
        g = extend_one(&p, !writer, 7, 7);
        assert_int_equal(g.wanted, 0);
        assert_int_equal(g.copy_to, -1);
        assert_int_equal(naive_pool_holders(&p.judge, 0), 2);
        pair_close(&p);
    }
}

static void test_copy_on_write_twice_in_one_call(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 8);
    fo_pool_grant g[4];
    extend_one(&p, 0, 6, 6);
    share(&p, (fo_pool_fork[]){{0, 1, 6}, {0, 2, 5}}, 2);
    extend(&p, (fo_pool_request[]){{1, 7, 7}, {1, 9, 9}, {2, 6, 6}, {0, 7, 7}},
           g, 4);
    assert_int_equal(g[0].copy_from, 1); /* three hold block 1 */
    assert_int_equal(g[1].copy_from, -1);
    assert_int_equal(g[1].granted, 1);
    assert_int_equal(g[2].copy_from, 1); /* two do */
    assert_int_equal(g[3].copy_from, -1);
    pair_close(&p);
}

static void test_copy_on_write_without_a_free_block(void **state)
{
    (void)state;
    pair p = pair_open(2, 4, 2, 4);
    extend_one(&p, 0, 6, 6);
    share_one(&p, 0, 1, 6);
    fo_pool_grant g = extend_one(&p, 1, 7, 7);
    assert_int_equal(g.wanted, 1);
    assert_int_equal(g.granted, -1);
    assert_int_equal(extend_one(&p, 1, 6, 6).granted, 0);
    pair_close(&p);
}

static void test_copy_on_write_after_a_step_back(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 2, 8);
    extend_one(&p, 0, 8, 8);
    share_one(&p, 0, 1, 8);
    assert_int_equal(extend_one(&p, 0, 9, 9).copy_to, -1); /* a new block */
    release_one(&p, 0, 0, 5, 5);
    fo_pool_grant g = extend_one(&p, 0, 6, 12);
    assert_int_equal(g.copy_from, 1);
    assert_int_equal(g.copy_to, 2); /* the copy comes before new entries */
    assert_int_equal(entry(&p, 0, 2), 3);
    pair_close(&p);
}

static void test_a_shared_block_is_freed_by_its_last_holder(void **state)
{
    (void)state;
    pair p = pair_open(4, 4, 3, 4);
    extend_one(&p, 0, 8, 8);
    share(&p, (fo_pool_fork[]){{0, 1, 8}, {1, 2, 4}}, 2);
    release_one(&p, 0, 0, 0, 0);
    assert_int_equal(free_blocks(&p), 2);
    release_one(&p, 1, 0, 0, 0);
    assert_int_equal(free_blocks(&p), 3);
    release_one(&p, 2, 0, 0, 0);
    assert_int_equal(free_blocks(&p), 4);
    pair_close(&p);
}

/* Test a sliding window. */
static void test_A3_a_window_leaves_indices_alone(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 2, 8);
    extend_one(&p, 0, 14, 16);
    release_one(&p, 0, 9, 14, 16); /* position 9 lies in entry 2 */
    for (int i = 0; i < 4; i++)
        assert_int_equal(entry(&p, 0, i), i < 2 ? -1 : i);
    assert_int_equal(extend_one(&p, 0, 17, 17).granted, 1);
    assert_int_equal(entry(&p, 0, 4), 0); /* the first entry went last */
    share_one(&p, 0, 1, 17);
    assert_int_equal(entry(&p, 1, 1), -1);
    assert_int_equal(entry(&p, 1, 2), 2);
    /* A window of one token stands before the next block. */
    release_one(&p, 0, 17, 17, 20);
    assert_int_equal(entry(&p, 0, 4), 0);
    release_one(&p, 0, 0, 0, 0);
    release_one(&p, 1, 0, 0, 0);
    assert_int_equal(free_blocks(&p), 8);
    pair_close(&p);
}

/* Test what breaks the rules. */
static void test_what_breaks_a_rule_is_counted_and_does_nothing(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 2, 8);
    extend_one(&p, 0, 10, 12);
    release_one(&p, 0, 4, 10, 12);
    static const fo_pool_request requests[] = {
        {-1, 1, 1}, {2, 1, 1}, {0, 9, 12}, {0, 11, 10}, {1, -1, 0}};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(extend_one(&p, requests[i].row, requests[i].length,
                                    requests[i].room)
                             .wanted,
                         -1);
    static const fo_pool_keep keeps[] = {
        {-1, 0, 0, 0},  {2, 0, 0, 0}, {0, -1, 8, 8}, {0, 9, 8, 8},
        {0, 0, 11, 12}, {0, 4, 8, 7}, {0, 0, 3, 3},  {0, 0, 0, 4}};
    for (size_t i = 0; i < 8; i++)
        release(&p, &keeps[i], 1);
    static const fo_pool_fork forks[] = {{-1, 1, 4}, {0, 2, 4}, {0, 1, 11},
                                         {0, 1, 3},  {0, 0, 4}, {1, 0, 0}};
    for (size_t i = 0; i < 6; i++)
        share(&p, &forks[i], 1);
    assert_int_equal(p.judge.stats.illegal, 5 + 8 + 6);
    assert_int_equal(free_blocks(&p), 6);
    pair_close(&p);
}

/* Test the pool's statistics. */
static void test_A4_statistics(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 8);
    fo_pool_stats s;
    extend_one(&p, 0, 6, 6);
    share_one(&p, 0, 1, 5);
    extend_one(&p, 2, 1, 9);
    p.op->pool_stats(p.device, p.pool, &s, &p.error);
    assert_int_equal(s.total, 8);
    assert_int_equal(s.held, 5);
    assert_int_equal(s.shared, 2);
    assert_int_equal(s.tokens, 6 + 1); /* 6 covers the 5 of row 1 */
    assert_int_equal(s.allocations, 5);
    assert_int_equal(s.reuses, 0);
    release_one(&p, 2, 0, 0, 0);
    extend_one(&p, 2, 16, 16);
    p.op->pool_stats(p.device, p.pool, &s, &p.error);
    assert_int_equal(s.allocations, 9);
    assert_int_equal(s.reuses, 3);
    assert_int_equal(s.peak, 6);
    assert_true(s.metadata_bytes >= (3 * 8 + 3 * 3 + 3 * 8) * 4);
    pair_close(&p);
}

/* Test that the check sees each fault. */
static void expect_fault(pair *p, const char *part)
{
    assert_int_equal(p->op->pool_check(p->device, p->pool, &p->error),
                     FO_DEVICE);
    if (!strstr(p->error.message, part))
        fail_msg("wanted \"%s\" in \"%s\"", part, p->error.message);
}

/* Change one number, see the check object, and put it back. */
static void plant(pair *p, int32_t *where, int32_t what, const char *part)
{
    int32_t was = *where;
    *where = what;
    expect_fault(p, part);
    *where = was;
    check_pair(p);
}

static void test_A4_the_check_sees_planted_faults(void **state)
{
    (void)state;
    pair p = pair_open(8, 4, 3, 4);
    extend_one(&p, 0, 6, 6); /* blocks 0 and 1 */
    extend_one(&p, 1, 9, 9); /* blocks 2, 3, 4 */
    share_one(&p, 1, 2, 8);
    fo_pool *pool = p.pool; /* 7, 6, 5 on the stack */
    plant(&p, &pool->count[1], 2, "counts 2 holders and has 1");
    plant(&p, &pool->count[2], 1, "counts 1 holders and has 2");
    plant(&p, &pool->count[6], 1, "counts 1 holders and has 0");
    plant(&p, &pool->stack[0], 6, "block 6 is free twice");
    plant(&p, &pool->stack[1], 0, "holds block 0, which is free");
    plant(&p, &pool->stack[1], 8, "no block 8");
    plant(&p, &pool->free, 2, "block 5 is lost");
    plant(&p, &pool->free, 9, "a stack of 9");
    plant(&p, &pool->table[0], 1, "block 0 is lost");
    plant(&p, &pool->table[1], -1, "row 0 has block -1 at entry 1");
    plant(&p, &pool->table[2], 5, "row 0 has block 5 at entry 2");
    plant(&p, &pool->blocks[0], 1, "row 0 stores 6 tokens");
    plant(&p, &pool->first[0], 2, "row 0 stores 6 tokens");
    plant(&p, &pool->length[0], 9, "row 0 stores 9 tokens");
    plant(&p, &pool->fresh, 3, "fresh block 3 is held");
    plant(&p, &pool->total, 9, "9 blocks in use of 8");
    plant(&p, &pool->total, 7, "no block 7");
    plant(&p, &pool->total, 4, "no block 7");
    pair_close(&p);
}

/* Test opening without memory. */
static void test_A1_opening_without_memory_leaves_nothing(void **state)
{
    (void)state;
    const fo_backend *op = &fo_backend_cpu;
    fo_device *device;
    fo_pool *pool;
    fo_error error;
    assert_int_equal(op->open(NULL, &device, &error), FO_OK);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_pool_shape shape = {100, 16, 4, 64};
    for (uint64_t n = 1;; n++) {
        fo_memory_fail_at(n);
        fo_status status = op->pool_open(device, &shape, &pool, &error);
        fo_memory_fail_at(0);
        if (status == FO_OK) {
            assert_true(n > 2);
            break;
        }
        assert_int_equal(status, FO_NOMEM);
        assert_int_equal(error.status, FO_NOMEM);
        assert_null(pool);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).bytes, 0);
    }
    op->pool_close(device, &pool);
    op->pool_close(device, &pool); /* closing null is nothing */
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    op->close(&device);
}

static void test_A1_a_shape_must_have_something(void **state)
{
    (void)state;
    pair p = pair_open(1, 1, 1, 1);
    static const fo_pool_shape shapes[] = {
        {0, 1, 1, 1}, {1, 0, 1, 1}, {1, 1, 0, 1}, {1, 1, 1, -1}};
    for (size_t i = 0; i < 4; i++) {
        fo_pool *pool;
        assert_int_equal(p.op->pool_open(p.device, &shapes[i], &pool, &p.error),
                         FO_ARG);
        assert_null(pool);
    }
    pair_close(&p);
}

/* Run the pool's tests. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A2_blocks_come_in_order),
        cmocka_unit_test(test_A8_new_blocks_lie_beneath_the_free_ones),
        cmocka_unit_test(test_A3_a_row_given_back_comes_again),
        cmocka_unit_test(test_A2_all_or_nothing_in_row_order),
        cmocka_unit_test(test_A2_a_row_too_short_for_the_room),
        cmocka_unit_test(test_A2_room_is_kept),
        cmocka_unit_test(test_A3_giving_back_nothing_is_nothing),
        cmocka_unit_test(test_A3_a_step_back),
        cmocka_unit_test(test_copy_on_write_by_either_side),
        cmocka_unit_test(test_copy_on_write_twice_in_one_call),
        cmocka_unit_test(test_copy_on_write_without_a_free_block),
        cmocka_unit_test(test_copy_on_write_after_a_step_back),
        cmocka_unit_test(test_a_shared_block_is_freed_by_its_last_holder),
        cmocka_unit_test(test_A3_a_window_leaves_indices_alone),
        cmocka_unit_test(test_what_breaks_a_rule_is_counted_and_does_nothing),
        cmocka_unit_test(test_A4_statistics),
        cmocka_unit_test(test_A4_the_check_sees_planted_faults),
        cmocka_unit_test(test_A1_opening_without_memory_leaves_nothing),
        cmocka_unit_test(test_A1_a_shape_must_have_something),
        cmocka_unit_test(test_A4_A8_random_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
