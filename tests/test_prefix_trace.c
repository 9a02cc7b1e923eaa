#include "common/rng.h"
#include "engine/prefix_cache_inside.h"
#include "naive_prefix.h"
#include "prefix_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Test: draw what a trace does. */
enum { longest_text = 40 };

typedef struct trace {
    prefix_case f;
    naive_prefix judge;
    uint64_t seed, draws;
    int64_t last_id;
    int hits, refused, kept, covered, evictions, copies;
} trace;

/* 0 .. n - 1 */
static int throw(trace * t, int n)
{
    uint32_t words[4];
    fo_rng_block(t->seed, 27, t->draws++, words);
    return (int)(words[0] % (uint32_t)n);
}

/* A text: like that of another sequence for a while, then of its own. Two
 * tokens are all there are, so that texts meet again by chance. */
static void draw_text(trace *t, int32_t *tokens)
{
    const naive_sequence *like = &t->judge.at[throw(t, naive_rows)];
    int same = throw(t, like->length + 1);
    for (int i = 0; i < LONGEST; i++)
        tokens[i] = i < same ? like->tokens[i] : throw(t, 9) == 0;
}

/* A sequence that runs, or null. */
static naive_sequence *draw_running(trace *t)
{
    int start = throw(t, naive_rows);
    for (int i = 0; i < naive_rows; i++) {
        naive_sequence *s = &t->judge.at[(start + i) % naive_rows];
        if (s->id && !s->kept)
            return s;
    }
    return NULL;
}

/* Test: let the judge see a row. */
/* The manager is judged elsewhere: who has which block is copied from it. */
static void look(trace *t, naive_sequence *s)
{
    fo_block_row row;
    assert_true(fo_block_table_sequence(t->f.table, s->id, &row));
    memcpy(s->block, row.entries, (size_t)row.blocks * sizeof(int32_t));
    s->first = row.first;
    s->end = row.blocks;
    s->length = row.length;
}

/* Test: let a request arrive. */
static void arrive(trace *t)
{
    int32_t tokens[LONGEST];
    prefix_case *f = &t->f;
    int count = 1 + throw(t, longest_text), hit;
    draw_text(t, tokens);
    int want = naive_prefix_match(&t->judge, tokens, count);
    assert_int_equal(fo_prefix_cache_match(f->c, tokens, count), want);
    int held, loose, before = fo_prefix_cache_evictable(f->c);
    fo_prefix_cache_weigh(f->c, tokens, count, &held, &loose);
    int64_t id = t->last_id + 1;
    fo_status status =
        fo_prefix_cache_begin(f->c, id, tokens, count, &hit, &f->error);
    if (!naive_prefix_find(&t->judge, 0) && want > 0) {
        assert_int_equal(status, FO_FULL);
        assert_int_equal(fo_block_table_row(f->table, id), -1);
        t->refused++;
        return;
    }
    assert_int_equal(status, FO_OK);
    assert_int_equal(hit, want);
    if (hit == 0) {
        /* Test: begin with nothing. */
        static const int32_t none[1];
        const fo_block_row nothing = {.entries = none};
        assert_int_equal(fo_block_table_row(f->table, id), -1);
        if (fo_block_manager_extend(f->m, id, 1, &f->error) != FO_OK)
            return;
        naive_prefix_begin(&t->judge, id, tokens, 0, &nothing);
        look(t, naive_prefix_find(&t->judge, id));
    } else {
        fo_block_row row;
        assert_true(fo_block_table_sequence(f->table, id, &row));
        assert_true(naive_prefix_could_fork(&t->judge, tokens, hit, &row));
        int taken = before - fo_prefix_cache_evictable(f->c);
        assert_true(t->judge.window ? loose <= taken : loose == taken);
        assert_true(held + row.first <= row.blocks && loose <= held);
        naive_prefix_begin(&t->judge, id, tokens, hit, &row);
    }
    t->last_id = id;
    t->hits += hit > 0;
    memcpy(naive_prefix_find(&t->judge, id)->tokens, tokens, sizeof tokens);
}

/* Test: let a sequence grow and shrink. */
static void grow(trace *t, naive_sequence *s)
{
    prefix_case *f = &t->f;
    int room = LONGEST - s->length;
    int more = room ? 1 + throw(t, room < 9 ? room : 9) : 0;
    fo_status status = fo_block_manager_extend(f->m, s->id, more, &f->error);
    assert_true(status == FO_OK || status == FO_FULL);
    look(t, s);
    if (throw(t, 3) == 0)
        return;
    int stored = s->noted * B;
    stored += throw(t, s->length - stored + 1);
    must(f, fo_prefix_cache_note(f->c, s->id, s->tokens, stored, &f->error));
    naive_prefix_note(&t->judge, s->id, stored);
}

/* Give back what the window has left, or a bit less. */
static void trim(trace *t, naive_sequence *s)
{
    int first = s->length - t->judge.window + 1 - throw(t, 3);
    if (t->judge.window == 0 || first <= 0)
        return;
    must(&t->f, fo_block_manager_trim(t->f.m, s->id, first, &t->f.error));
    look(t, s);
}

/* Step back, and tell the cache. */
static void step_back(trace *t, naive_sequence *s)
{
    prefix_case *f = &t->f;
    int length = s->first * B + throw(t, s->length - s->first * B + 1);
    must(f, fo_block_manager_truncate(f->m, s->id, length, &f->error));
    look(t, s);
    if (s->noted > length / B) {
        must(f,
             fo_prefix_cache_note(f->c, s->id, s->tokens, length, &f->error));
        s->noted = length / B;
    }
}

/* Test: fork a sequence. */
/* A beam: another sequence goes on from within this one. */
static void fork_at(trace *t, naive_sequence *s)
{
    prefix_case *f = &t->f;
    naive_sequence *child = naive_prefix_find(&t->judge, 0);
    int length = s->first * B + throw(t, s->length - s->first * B + 1);
    if (!child)
        return;
    must(f,
         fo_block_manager_fork(f->m, s->id, ++t->last_id, length, &f->error));
    *child = *s;
    child->id = t->last_id;
    child->noted = 0;
    look(t, child);
    for (int i = length; i < LONGEST; i++)
        child->tokens[i] = throw(t, 9) == 0;
    t->copies += length % B != 0;
}

/* Test: end a sequence. */
static void end(trace *t, naive_sequence *s, bool keep)
{
    prefix_case *f = &t->f;
    int64_t id = s->id;
    if (!keep) {
        must(f, fo_prefix_cache_drop(f->c, id, &f->error));
        memset(s, 0, sizeof *s);
        return;
    }
    retire(f, id);
    naive_prefix_retire(&t->judge, id);
    t->kept += naive_prefix_find(&t->judge, id) != NULL;
    t->covered += naive_prefix_find(&t->judge, id) == NULL;
    assert_int_equal(fo_prefix_cache_retire(f->c, id, &f->error), FO_UNKNOWN);
}

static void evict_some(trace *t)
{
    int before = naive_prefix_free(&t->judge);
    int can = naive_prefix_evictable(&t->judge);
    int wanted = throw(t, 4) ? before + throw(t, 6) : 10 * BLOCKS;
    int rows = throw(t, 3) ? 0 : throw(t, ROWS);
    int evicted = evict(&t->f, wanted, rows);
    naive_prefix_evict(&t->judge, wanted, rows);
    assert_int_equal(evicted, naive_prefix_free(&t->judge) - before);
    if (wanted > BLOCKS)
        assert_int_equal(evicted, can);
    t->evictions += evicted > 0;
}

/* Test: compare with the judge. */
static void compare(trace *t)
{
    prefix_case *f = &t->f;
    int kept = 0;
    assert_int_equal(free_blocks(f), naive_prefix_free(&t->judge));
    for (int i = 0; i < naive_rows; i++) {
        const naive_sequence *s = &t->judge.at[i];
        fo_block_row row;
        if (!s->id)
            continue;
        assert_true(fo_block_table_sequence(f->table, s->id, &row));
        assert_int_equal(fo_prefix_cache_keeps(f->c, s->id), s->kept);
        assert_int_equal(row.length, s->length);
        assert_int_equal(row.blocks, s->end);
        kept += s->kept;
    }
    fo_prefix_cache_stats stats = fo_prefix_cache_stats_get(f->c);
    assert_int_equal(stats.kept_sequences, kept);
    assert_int_equal(stats.nodes, naive_prefix_chains(&t->judge));
    assert_int_equal(stats.evicted_blocks, t->judge.evicted);
    assert_int_equal(fo_prefix_cache_evictable(f->c),
                     naive_prefix_evictable(&t->judge));
    assert_int_equal(fo_block_table_stats_get(f->table).sequences,
                     naive_rows - naive_prefix_rows_free(&t->judge));
}

/* Test: take a step. */
static void step(trace *t)
{
    int kind = throw(t, 16);
    naive_sequence *s = draw_running(t);
    if (kind < 4 || !s)
        arrive(t);
    else if (kind < 9)
        grow(t, s);
    else if (kind < 10)
        trim(t, s);
    else if (kind < 11)
        step_back(t, s);
    else if (kind < 12)
        fork_at(t, s);
    else if (kind < 15)
        end(t, s, kind < 14);
    else
        evict_some(t);
    compare(t);
}

/* Test: walk a trace. */
static void walk(int window, uint64_t bits, uint64_t seed)
{
    int quick = getenv("FOLIO_QUICK") ? 10 : 1;
    trace t = {.seed = seed};
    while (prefix_case_next(&t.f, window)) {
        int steps = (t.f.side == 1 ? 20000 : 400) / quick;
        t = (trace){.f = t.f, .seed = seed};
        t.judge = (naive_prefix){.B = B, .window = window, .blocks = BLOCKS};
        t.f.c->hash_bits = bits;
        for (int i = 0; i < steps; i++)
            step(&t);
        print_message("%d steps, %d hits, %d kept, %d not, %d evictions, %d "
                      "forks inside a block, %d without a row\n",
                      steps, t.hits, t.kept, t.covered, t.evictions, t.copies,
                      t.refused);
        if (steps >= 2000)
            assert_true(t.hits && t.kept && t.covered && t.evictions &&
                        t.copies && t.refused);
    }
}

/* Test the cache by long random traces. */
static void random_traces_agree_with_the_judge(void **state)
{
    (void)state;
    walk(0, UINT64_MAX, 1);
}

/* All blocks fall into one bucket, or into four, and their hashes are alike. */
static void a_useless_hash_changes_nothing(void **state)
{
    (void)state;
    walk(0, 0, 2);
    walk(0, 3, 3);
}

static void b6_random_traces_with_a_window(void **state)
{
    (void)state;
    walk(9, UINT64_MAX, 4);
    walk(6, UINT64_MAX, 5);
    walk(1, 1, 6);
}

/* Test: run the traces. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_traces_agree_with_the_judge),
        cmocka_unit_test(a_useless_hash_changes_nothing),
        cmocka_unit_test(b6_random_traces_with_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
