#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "cuda/cuda.h"
#include "verso.h"
#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/simt.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Hold two pools side by side. */
enum {
    MOST_CALLS = 5000, /* of one trace                     */
    MOST_ASKED = 400,  /* requests, keeps or forks of one call */
    STAGED = MOST_ASKED * 32
};

typedef struct stage {
    fo_device *recto, *verso;
} stage;

typedef struct side {
    fo_device *device;
    const fo_backend *op;
    fo_pool *pool;
    char *there;      /* device memory: what is asked, then the grants */
    fo_error resized; /* the answer to the last order of a size        */
} side;

/* What a view shows, on the host. */
typedef struct shown {
    int32_t *table, *length, *first, *blocks;
    size_t numbers; /* of all four, which lie in one piece */
} shown;

typedef struct pair {
    fo_pool_shape shape;
    int most; /* asked in one call, where it is a large one */
    side recto, verso;
    shown seen, got; /* the recto's and the verso's       */
    fo_pool_stats stats;
    fo_pool_grant grants[MOST_ASKED];
    int made;       /* calls                             */
    int resized;    /* calls that changed the size       */
    char what[200]; /* is different, after a failed call */
} pair;

static shown shown_open(const fo_pool_shape *shape)
{
    size_t rows = (size_t)shape->max_rows;
    size_t entries = rows * (size_t)shape->max_blocks;
    shown s = {.numbers = entries + 3 * rows};
    s.table = calloc(s.numbers, sizeof *s.table);
    s.length = s.table + entries;
    s.first = s.length + rows;
    s.blocks = s.first + rows;
    return s;
}

static side side_open(fo_device *device, const fo_pool_shape *shape)
{
    side s = {.device = device, .op = device->backend};
    fo_error error;
    void *there;
    if (s.op->pool_open(device, shape, &s.pool, &error) != FO_OK)
        fail_msg("%s", error.message);
    assert_int_equal(s.op->alloc(device, STAGED, &there, NULL), FO_OK);
    s.there = there;
    return s;
}

static void side_close(side *s)
{
    s->op->free(s->device, s->there);
    s->op->pool_close(s->device, &s->pool);
    assert_null(s->pool);
}

static pair pair_open(const stage *s, const fo_pool_shape *shape)
{
    return (pair){.shape = *shape,
                  .most = 6,
                  .recto = side_open(s->recto, shape),
                  .verso = side_open(s->verso, shape),
                  .seen = shown_open(shape),
                  .got = shown_open(shape)};
}

static void pair_close(pair *p)
{
    side_close(&p->recto);
    side_close(&p->verso);
    free(p->seen.table);
    free(p->got.table);
}

/* Read the books of a side. */
static bool read_side(pair *p, side *s, shown *to, fo_pool_stats *stats)
{
    fo_pool_view view = s->op->pool_view(s->device, s->pool);
    size_t row = (size_t)p->shape.max_rows * sizeof(int32_t);
    size_t table = row * (size_t)p->shape.max_blocks;
    fo_error error;
    if (s->op->pool_stats(s->device, s->pool, stats, &error) == FO_OK &&
        s->op->download(s->device, to->table, view.table, table, &error) ==
            FO_OK &&
        s->op->download(s->device, to->length, view.length, row, &error) ==
            FO_OK &&
        s->op->download(s->device, to->first, view.first, row, &error) ==
            FO_OK &&
        s->op->download(s->device, to->blocks, view.blocks, row, &error) ==
            FO_OK)
        return true;
    snprintf(p->what, sizeof p->what, "%.150s", error.message);
    return false;
}

/* The bytes of the books are each side's own affair. */
static bool same_stats(const fo_pool_stats *a, const fo_pool_stats *b)
{
    return a->total == b->total && a->free == b->free && a->held == b->held &&
           a->highest == b->highest && a->shared == b->shared &&
           a->peak == b->peak && a->allocations == b->allocations &&
           a->reuses == b->reuses && a->tokens == b->tokens &&
           a->illegal == b->illegal;
}

static bool same_books(pair *p)
{
    fo_pool_stats got = {0};
    fo_error error;
    if (!read_side(p, &p->recto, &p->seen, &p->stats) ||
        !read_side(p, &p->verso, &p->got, &got))
        return false;
    for (size_t i = 0; i < p->seen.numbers; i++)
        if (p->got.table[i] != p->seen.table[i]) {
            snprintf(p->what, sizeof p->what, "number %zu is %d, not %d", i,
                     p->got.table[i], p->seen.table[i]);
            return false;
        }
    if (!same_stats(&got, &p->stats)) {
        snprintf(p->what, sizeof p->what, "the statistics differ");
        return false;
    }
    if (p->made % 64 == 0 &&
        p->verso.op->pool_check(p->verso.device, p->verso.pool, &error) !=
            FO_OK) {
        snprintf(p->what, sizeof p->what, "%.150s", error.message);
        return false;
    }
    return true;
}

/* Make one call on both sides and compare. */
typedef enum kind { EXTEND, RELEASE, SHARE, RESIZE } kind;

typedef struct call {
    kind kind;
    int n;
    union {
        fo_pool_request requests[MOST_ASKED];
        fo_pool_keep keeps[MOST_ASKED];
        fo_pool_fork forks[MOST_ASKED];
        int32_t blocks; /* the size; n is 0 */
    };
} call;

/* A size that is refused is an answer, to be compared. */
static fo_status resize(side *s, int blocks, fo_error *error)
{
    s->resized = (fo_error){.status = FO_OK};
    fo_status status =
        s->op->pool_resize(s->device, s->pool, blocks, &s->resized);
    if (status == FO_OK || status == FO_ARG || status == FO_FULL)
        return FO_OK;
    *error = s->resized;
    return status;
}

static fo_status make(side *s, const call *c, fo_pool_grant *grants,
                      fo_error *error)
{
    size_t granted = (size_t)c->n * sizeof *grants;
    fo_pool_grant *there = (fo_pool_grant *)(s->there + sizeof c->keeps);
    memset(grants, 0x77, granted);
    s->op->upload(s->device, s->there, c->requests, sizeof c->keeps, error);
    s->op->upload(s->device, there, grants, granted, error);
    fo_status status = FO_OK;
    if (c->kind == EXTEND)
        status = s->op->pool_extend(s->device, s->pool, (void *)s->there, there,
                                    c->n, error);
    else if (c->kind == RELEASE)
        status = s->op->pool_release(s->device, s->pool, (void *)s->there, c->n,
                                     error);
    else if (c->kind == SHARE)
        status = s->op->pool_share(s->device, s->pool, (void *)s->there, c->n,
                                   error);
    else
        status = resize(s, c->blocks, error);
    if (status != FO_OK)
        return status;
    return s->op->download(s->device, grants, there, granted, error);
}

static bool agree(pair *p, const call *c)
{
    fo_pool_grant got[MOST_ASKED];
    fo_error error = {0};
    p->made++;
    if (make(&p->recto, c, p->grants, &error) != FO_OK ||
        make(&p->verso, c, got, &error) != FO_OK) {
        snprintf(p->what, sizeof p->what, "%.150s", error.message);
        return false;
    }
    if (p->recto.resized.status != p->verso.resized.status ||
        p->recto.resized.required != p->verso.resized.required) {
        snprintf(p->what, sizeof p->what, "%d blocks: %.60s, not %.60s",
                 c->blocks, p->verso.resized.message, p->recto.resized.message);
        return false;
    }
    for (int i = 0; i < c->n; i++)
        if (memcmp(&got[i], &p->grants[i], sizeof *got) != 0) {
            const fo_pool_grant *g = &got[i], *w = &p->grants[i];
            snprintf(p->what, sizeof p->what,
                     "grant %d is {%d, %d, %d, %d}, not {%d, %d, %d, %d}", i,
                     g->wanted, g->granted, g->copy_from, g->copy_to, w->wanted,
                     w->granted, w->copy_from, w->copy_to);
            return false;
        }
    int32_t total = p->stats.total;
    bool same = same_books(p);
    p->resized += c->kind == RESIZE && p->stats.total != total;
    return same;
}

static void play(pair *p, const call *c)
{
    if (!agree(p, c))
        fail_msg("%s", p->what);
}

/* Make up traces and run them. */
/* Draw from dice. */
typedef struct dice {
    uint64_t seed, stream, thrown;
    uint32_t words[4];
} dice;

/* A number in [0, sides). */
static int32_t throw(dice * d, int32_t sides)
{
    if (d->thrown % 4 == 0)
        fo_rng_block(d->seed, d->stream, d->thrown / 4, d->words);
    return (int32_t)(d->words[d->thrown++ % 4] % (uint32_t)sides);
}

/* Draw a request, a keep, a fork. */
static int32_t number_of(const pair *p, const int32_t *numbers, int32_t row)
{
    return row >= 0 && row < p->shape.max_rows ? numbers[row] : 0;
}

static fo_pool_request draw_request(dice *d, const pair *p, int32_t row)
{
    int32_t B = p->shape.B, length = number_of(p, p->seen.length, row);
    fo_pool_request r = {.row = row};
    r.length = length + throw(d, 1 + throw(d, 3) * B) - (throw(d, 99) == 0);
    r.room = r.length + throw(d, 4) / 3 * throw(d, 2 * B) - (throw(d, 99) == 0);
    if (throw(d, 50) == 0)
        r.room = (number_of(p, p->seen.blocks, row) + p->stats.free) * B;
    return r;
}

static fo_pool_keep draw_keep(dice *d, const pair *p, int32_t row)
{
    int32_t B = p->shape.B, length = number_of(p, p->seen.length, row);
    int32_t begin = number_of(p, p->seen.first, row) * B;
    int32_t room = number_of(p, p->seen.blocks, row) * B;
    int32_t slip = throw(d, 99) == 0;
    switch (throw(d, 4)) {
    case 0: /* the whole row */
        return (fo_pool_keep){row, 0, 0, 0};
    case 1: /* a step back, now and then one too far */
        length = begin + throw(d, length - begin + 2);
        return (fo_pool_keep){row, begin - slip, length, length};
    case 2: /* a window moves on and keeps the room */
        return (fo_pool_keep){row, throw(d, length + 1) + slip, length, room};
    default: /* the room shrinks */
        return (fo_pool_keep){row, 0, length, length + throw(d, 2 * B)};
    }
}

static fo_pool_fork draw_fork(dice *d, const pair *p, int32_t from)
{
    int32_t length = number_of(p, p->seen.length, from);
    int32_t begin = number_of(p, p->seen.first, from) * p->shape.B;
    int32_t to = throw(d, p->shape.max_rows + 1);
    for (int i = 0; i < 4 && number_of(p, p->seen.blocks, to) > 0; i++)
        to = throw(d, p->shape.max_rows);
    length -= throw(d, 2) * throw(d, length - begin + 1);
    return (fo_pool_fork){from, to, length + (throw(d, 99) == 0)};
}

static int32_t draw_size(dice *d, const pair *p)
{
    if (throw(d, 2))
        return p->stats.highest - 1 + throw(d, 3);
    return throw(d, p->shape.num_blocks + 3) - 1;
}

/* Draw a call. */
static call draw_call(uint64_t seed, int number, const pair *p)
{
    dice d = {.seed = seed, .stream = (uint64_t)number};
    call c = {.kind = (kind)(throw(&d, 10) * 2 / 9)};
    if (throw(&d, 16) == 0) {
        c.kind = RESIZE;
        c.blocks = draw_size(&d, p);
        return c;
    }
    c.n = 1 + throw(&d, 4) / 3 * throw(&d, p->most);
    for (int i = 0; i < c.n; i++) {
        int32_t row = throw(&d, p->shape.max_rows);
        if (throw(&d, 99) == 0)
            row = throw(&d, 2) ? -1 : p->shape.max_rows;
        if (c.kind == EXTEND)
            c.requests[i] = draw_request(&d, p, row);
        else if (c.kind == RELEASE)
            c.keeps[i] = draw_keep(&d, p, row);
        else
            c.forks[i] = draw_fork(&d, p, row);
    }
    return c;
}

/* Run a trace. */
typedef struct trace {
    const stage *stage;
    fo_pool_shape shape;
    uint64_t seed;
    int most; /* asked in a large call; 0: 6 */
    int calls;
    bool out[MOST_CALLS]; /* left out */
    fo_pool_stats stats;  /* at the end */
    int resized;
} trace;

static void print_call(FILE *to, const call *c)
{
    static const char *const names[] = {"extend", "release", "share", "resize"};
    fprintf(to, "  %s", names[c->kind]);
    if (c->kind == RESIZE)
        fprintf(to, " %d", c->blocks);
    for (int i = 0; i < c->n; i++)
        if (c->kind == EXTEND)
            fprintf(to, " {%d, %d, %d}", c->requests[i].row,
                    c->requests[i].length, c->requests[i].room);
        else if (c->kind == RELEASE)
            fprintf(to, " {%d, %d, %d, %d}", c->keeps[i].row, c->keeps[i].first,
                    c->keeps[i].length, c->keeps[i].room);
        else
            fprintf(to, " {%d, %d, %d}", c->forks[i].from, c->forks[i].to,
                    c->forks[i].length);
    fprintf(to, "\n");
}

/* Whether both sides agree to the end; prints each call if `to` is given. */
static bool run(trace *t, FILE *to)
{
    pair p = pair_open(t->stage, &t->shape);
    bool same = true;
    if (t->most)
        p.most = t->most;
    for (int i = 0; i < t->calls && same; i++)
        if (!t->out[i]) {
            call c = draw_call(t->seed, i, &p);
            if (to)
                print_call(to, &c);
            same = agree(&p, &c);
        }
    if (to)
        fprintf(to, "  %s\n", p.what);
    t->stats = p.stats;
    t->resized = p.resized;
    pair_close(&p);
    return same;
}

/* Shrink a trace that fails. */
/* Leave out whatever is not needed for the trace to fail; the calls left. */
static int shrink(trace *t)
{
    for (int piece = t->calls / 2; piece > 0; piece /= 2)
        for (int begin = 0; begin < t->calls; begin += piece) {
            bool before[MOST_CALLS];
            memcpy(before, t->out, sizeof before);
            for (int i = begin; i < begin + piece && i < t->calls; i++)
                t->out[i] = true;
            if (run(t, NULL))
                memcpy(t->out, before, sizeof before);
        }
    int left = 0;
    for (int i = 0; i < t->calls; i++)
        left += !t->out[i];
    return left;
}

static void expect_agreement(trace *t, fo_pool_stats *sum)
{
    if (!run(t, NULL)) {
        int left = shrink(t);
        fprintf(stderr, "%d of %d calls are enough:\n", left, t->calls);
        run(t, stderr);
        fail_msg("seed %d: the pools differ", (int)t->seed);
    }
    sum->allocations += t->stats.allocations;
    sum->reuses += t->stats.reuses;
    sum->illegal += t->stats.illegal;
}

/* A launch for which the simulator found no memory is reported, too. */
static void forget_reports(void)
{
#ifndef FO_NO_SIM
    sim_reports_clear();
#endif
}

/* Let the simulator check each access, or not. */
static void watch(bool on)
{
#ifndef FO_NO_SIM
    sim_settings settings = sim_settings_get();
    settings.checks = on;
    sim_settings_set(settings);
#else
    (void)on;
#endif
}

/* Test one call with everything in it. */
static void test_A8_one_call_with_everything_in_it(void **state)
{
    stage *s = *state;
    fo_pool_shape shape = {8, 4, 4, 8};
    pair p = pair_open(s, &shape);
    play(&p, &(call){EXTEND, 1, .requests = {{0, 10, 10}}});
    play(&p, &(call){SHARE, 1, .forks = {{0, 1, 10}}});
    play(&p, &(call){EXTEND, 5,
                     .requests = {{1, 11, 11},
                                  {0, 11, 11},
                                  {2, 24, 24},
                                  {1, 20, 20},
                                  {3, 5, 8}}});
    static const int32_t granted[] = {1, 0, -1, 2, 2};
    for (int i = 0; i < 5; i++)
        assert_int_equal(p.grants[i].granted, granted[i]);
    assert_int_equal(p.grants[0].copy_from, 2);
    assert_int_equal(p.grants[0].copy_to, 3);
    assert_int_equal(p.grants[1].copy_from, -1);
    /* Give all of it back in one call. */
    play(&p,
         &(call){RELEASE, 4,
                 .keeps = {
                     {1, 0, 9, 9}, {0, 0, 0, 0}, {3, 0, 0, 0}, {1, 0, 0, 0}}});
    play(&p, &(call){EXTEND, 1, .requests = {{2, 32, 32}}});
    assert_int_equal(p.grants[0].granted, 8);
    pair_close(&p);
}

/* Test that the device's check sees each fault. */
/* Change one number, see the check object, and put it back. */
static void plant(pair *p, const int32_t *where, int32_t what, const char *part)
{
    side *s = &p->verso;
    int32_t was, *there = (int32_t *)where;
    fo_error error;
    s->op->download(s->device, &was, there, sizeof was, NULL);
    s->op->upload(s->device, there, &what, sizeof what, NULL);
    assert_int_equal(s->op->pool_check(s->device, s->pool, &error), FO_DEVICE);
    if (!strstr(error.message, part))
        fail_msg("wanted \"%s\" in \"%s\"", part, error.message);
    s->op->upload(s->device, there, &was, sizeof was, NULL);
    assert_int_equal(s->op->pool_check(s->device, s->pool, &error), FO_OK);
}

static void test_A4_the_check_of_the_device_sees_planted_faults(void **state)
{
    fo_pool_shape shape = {8, 4, 3, 4};
    pair p = pair_open(*state, &shape);
    play(&p, &(call){EXTEND, 2, .requests = {{0, 6, 6}, {1, 9, 9}}});
    play(&p, &(call){SHARE, 1, .forks = {{1, 2, 8}}});
    fo_pool_view view = p.verso.op->pool_view(p.verso.device, p.verso.pool);
    const int32_t *row_claim = view.blocks + 3, *count = row_claim + 3;
    const int32_t *stack = count + 8, *block_claim = stack + 8;
    plant(&p, &count[1], 2, "counts 2 holders and has 1");
    plant(&p, &stack[0], 6, "block 6 is free twice");
    plant(&p, &stack[1], 8, "no block 8");
    plant(&p, &view.table[0], 1, "block 0 is lost");
    plant(&p, &view.blocks[0], 1, "row 0 stores 6 tokens");
    plant(&p, &view.first[0], 2, "row 0 stores 6 tokens");
    plant(&p, &view.length[0], 9, "row 0 stores 9 tokens");
    plant(&p, &row_claim[2], 0, "row 2 is claimed by 0");
    plant(&p, &block_claim[7], -3, "block 7 is claimed by -3");
    pair_close(&p);
}

/* Plant a pool that serves keeps backwards. */
static fo_status release_backwards(fo_device *device, fo_pool *pool,
                                   const fo_pool_keep *keeps, int n,
                                   fo_error *error)
{
    for (int i = n - 1; i >= 0; i--)
        fo_backend_cpu.pool_release(device, pool, &keeps[i], 1, error);
    return FO_OK;
}

static void test_A8_a_wrong_order_is_found_and_shrunk(void **state)
{
    stage s = *(stage *)*state;
    fo_backend backwards = fo_backend_cpu;
    backwards.pool_release = release_backwards;
    assert_int_equal(fo_backend_cpu.open(NULL, &s.verso, NULL), FO_OK);
    s.verso->backend = &backwards;
    trace t = {.stage = &s, .shape = {64, 4, 8, 16}, .seed = 5, .calls = 400};
    assert_false(run(&t, NULL));
    int left = shrink(&t);
    print_message("%d calls of %d are enough to see it\n", left, t.calls);
    assert_false(run(&t, NULL));
    assert_true(left <= 8);
    fo_backend_cpu.close(&s.verso);
}

/* Run long traces. */
static const fo_pool_shape shapes[] = {
    {64, 4, 8, 16}, {24, 3, 8, 8}, {64, 1, 6, 64}, {7, 16, 4, 7}};

static void test_A4_A8_a_hundred_thousand_random_calls(void **state)
{
    int calls = getenv("FOLIO_QUICK") ? 10000 : 100000;
    fo_pool_stats sum = {0};
    int resized = 0;
    watch(false);
    for (int left = calls, i = 0; left > 0; left -= MOST_CALLS, i++) {
        trace t = {.stage = *state,
                   .shape = shapes[i % 4],
                   .seed = 100 + (uint64_t)i,
                   .calls = left < MOST_CALLS ? left : MOST_CALLS};
        expect_agreement(&t, &sum);
        resized += t.resized;
    }
    watch(true);
    print_message("%d calls, %llu blocks handed out, %llu again, "
                  "%llu requests broke a rule, %d sizes\n",
                  calls, (unsigned long long)sum.allocations,
                  (unsigned long long)sum.reuses,
                  (unsigned long long)sum.illegal, resized);
    assert_true(sum.reuses > 0 && sum.illegal > 0 && resized > 0);
}

static void test_A8_large_calls(void **state)
{
    trace t = {.stage = *state,
               .shape = {700, 2, 300, 16},
               .seed = 11,
               .most = MOST_ASKED,
               .calls = getenv("FOLIO_QUICK") ? 20 : 200};
    fo_pool_stats sum = {0};
    watch(false);
    expect_agreement(&t, &sum);
    watch(true);
    assert_true(sum.allocations > 0);
}

static void test_A8_twenty_schedules_under_watch(void **state)
{
    int calls = getenv("FOLIO_QUICK") ? 20 : 200;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        trace t = {.stage = *state,
                   .shape = shapes[seed % 4],
                   .seed = 200 + seed,
                   .most = seed == 20 ? 100 : 0,
                   .calls = calls};
        fo_pool_stats sum = {0};
        verso_schedule(seed);
        expect_agreement(&t, &sum);
    }
    verso_schedule(0);
    verso_assert_clean();
}

static void test_A8_sizes_of_a_large_pool_under_watch(void **state)
{
    static const int32_t sizes[] = {600, 601, 650, 700, 330, 100, 699, 20};
    fo_pool_shape shape = {700, 2, 2, 700};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        verso_schedule(seed);
        pair p = pair_open(*state, &shape);
        play(&p, &(call){EXTEND, 1, .requests = {{0, 90, 90}}});
        play(&p, &(call){RELEASE, 1, .keeps = {{0, 0, 31, 31}}});
        for (int i = 0; i < 8; i++)
            play(&p, &(call){.kind = RESIZE, .blocks = sizes[i]});
        play(&p, &(call){.kind = RESIZE, .blocks = 650});
        int32_t room = 2 * p.stats.free;
        play(&p, &(call){EXTEND, 1, .requests = {{1, room, room}}});
        assert_int_equal(p.grants[0].granted, 634);
        pair_close(&p);
    }
    verso_schedule(0);
    verso_assert_clean();
}

/* Test the edges of the pool on the device. */
static void test_A1_opening_without_memory_leaves_nothing(void **state)
{
    fo_device *device = ((stage *)*state)->verso;
    const fo_backend *op = device->backend;
    fo_pool_shape shape = {100, 16, 4, 64};
    fo_pool *pool;
    fo_error error;
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_status status = FO_NOMEM;
    uint64_t n = 0;
    while (status != FO_OK) {
        fo_memory_fail_at(++n);
        status = op->pool_open(device, &shape, &pool, &error);
        fo_memory_fail_at(0);
        /* The simulator's launch needs memory, too: then the device fails. */
        assert_true(status == FO_OK || status == FO_NOMEM ||
                    (verso_is_simulated() && status == FO_DEVICE));
        if (status != FO_OK) {
            assert_null(pool);
            assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
        }
    }
    assert_true(n > 2);
    op->pool_close(device, &pool);
    op->pool_close(device, &pool); /* closing null is nothing */
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host);
    forget_reports();
}

static void test_A1_a_shape_must_have_something(void **state)
{
    fo_device *device = ((stage *)*state)->verso;
    static const fo_pool_shape none[] = {
        {0, 1, 1, 1}, {1, 0, 1, 1}, {1, 1, 0, 1}, {1, 1, 1, -1}};
    fo_pool *pool;
    fo_error error;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(
            device->backend->pool_open(device, &none[i], &pool, &error),
            FO_ARG);
    assert_int_equal(
        device->backend->pool_open(
            device, &(fo_pool_shape){1, 1, 1 << 16, 1 << 15}, &pool, &error),
        FO_UNSUPPORTED);
    assert_null(pool);
}

static void test_A2_the_largest_and_the_least(void **state)
{
    fo_pool_shape shape = {16, 4, 2, 16};
    pair p = pair_open(*state, &shape);
    call c = {EXTEND, 6,
              .requests = {{1, INT32_MAX, INT32_MAX},
                           {0, 0, 0},
                           {0, 0, INT32_MAX},
                           {INT32_MAX, 0, 0},
                           {INT32_MIN, 0, 0},
                           {0, INT32_MIN, INT32_MIN}}};
    play(&p, &c);
    assert_int_equal(p.grants[0].wanted, INT32_MAX / 4 + 1);
    assert_int_equal(p.grants[1].granted, 0);
    play(&p,
         &(call){RELEASE, 2, .keeps = {{0, 0, 0, 0}, {0, 0, 0, INT32_MAX}}});
    play(&p, &(call){SHARE, 2, .forks = {{0, 1, 0}, {1, 1, INT32_MAX}}});
    assert_int_equal(p.stats.illegal, 4);
    for (kind k = EXTEND; k <= SHARE; k++)
        play(&p, &(call){.kind = k});
    static const int32_t sizes[] = {0, INT32_MAX, INT32_MIN, 17, 16, 1};
    for (int i = 0; i < 6; i++)
        play(&p, &(call){.kind = RESIZE, .blocks = sizes[i]});
    pair_close(&p);
}

/* Run the tests of the pool on the device. */
static int begin(void **state)
{
    static stage s;
    s.verso = verso_open();
    *state = &s;
    return (int)fo_backend_cpu.open(NULL, &s.recto, NULL);
}

static int end(void **state)
{
    stage *s = *state;
    s->verso->backend->close(&s->verso);
    fo_backend_cpu.close(&s->recto);
    return 0;
}

int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A8_one_call_with_everything_in_it),
        cmocka_unit_test(test_A4_the_check_of_the_device_sees_planted_faults),
        cmocka_unit_test(test_A8_a_wrong_order_is_found_and_shrunk),
        cmocka_unit_test(test_A1_opening_without_memory_leaves_nothing),
        cmocka_unit_test(test_A1_a_shape_must_have_something),
        cmocka_unit_test(test_A2_the_largest_and_the_least),
        cmocka_unit_test(test_A8_twenty_schedules_under_watch),
        cmocka_unit_test(test_A8_sizes_of_a_large_pool_under_watch),
        cmocka_unit_test(test_A8_large_calls),
        cmocka_unit_test(test_A4_A8_a_hundred_thousand_random_calls),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
