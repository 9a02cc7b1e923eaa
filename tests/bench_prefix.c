/* What the prefix cache costs, one JSON object a line: nanoseconds of each
 * operation while 10, 100 and 1,000 sequences are kept, the median and the
 * tenth and ninetieth percentile of many calls.
 *
 * Every sequence is 64 blocks of 16 tokens long. A quarter of them, the
 * instructions, is common to all. */
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/prefix_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    B = 16,
    LONG = 64,   /* blocks of a sequence      */
    COMMON = 16, /* that all begin with       */
    MOST = 1000, /* sequences kept            */
    CALLS = 301
};

/* Bench: measure a call. */
static void need(fo_status status, const fo_error *error)
{
    if (status == FO_OK)
        return;
    fprintf(stderr, "bench_prefix: %s\n", error->message);
    exit(1);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return 1e9 * (double)at.tv_sec + (double)at.tv_nsec;
}

static int rising(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Print what `CALLS` calls took, each divided by `parts`. */
static void print(const char *what, int kept, double *took, int parts)
{
    qsort(took, CALLS, sizeof *took, rising);
    printf("{\"what\": \"%s\", \"kept\": %d, \"low\": %.1f, \"median\": %.1f, "
           "\"high\": %.1f}\n",
           what, kept, took[CALLS / 10] / parts, took[CALLS / 2] / parts,
           took[CALLS - 1 - CALLS / 10] / parts);
}

/* Bench: draw texts. */
/* Text number i: its tokens past the common ones are its own. */
static void draw(int32_t *tokens, int i)
{
    for (int p = 0; p < LONG * B; p++) {
        uint32_t words[4];
        fo_rng_block(7, p < COMMON * B ? 0 : (uint64_t)i + 1, (uint64_t)p,
                     words);
        tokens[p] = (int32_t)(words[0] % 32000);
    }
}

typedef struct bench {
    fo_block_manager *m;
    fo_prefix_cache *c;
    fo_error error;
    int64_t last; /* id */
    int kept;
} bench;

/* Run a text to its end. */
static void run(bench *b, const int32_t *tokens)
{
    int hit;
    fo_error *error = &b->error;
    need(fo_prefix_cache_begin(b->c, ++b->last, tokens, LONG * B, &hit, error),
         error);
    need(fo_block_manager_extend(b->m, b->last, LONG * B - hit, error), error);
    need(fo_prefix_cache_note(b->c, b->last, tokens, LONG * B, error), error);
}

/* Bench: look up. */
static void look_up(bench *b)
{
    static double hits[CALLS], misses[CALLS];
    int32_t tokens[LONG * B], other[LONG * B];
    draw(other, -1);
    other[0] = -1;
    for (int i = 0; i < CALLS; i++) {
        draw(tokens, i * 37 % b->kept);
        double start = now();
        int hit = fo_prefix_cache_match(b->c, tokens, LONG * B);
        hits[i] = now() - start;
        start = now();
        int miss = fo_prefix_cache_match(b->c, other, LONG * B);
        misses[i] = now() - start;
        if (hit != (LONG - 1) * B || miss != 0)
            exit(1);
    }
    print("find a block", b->kept, hits, LONG - 1);
    print("find nothing", b->kept, misses, 1);
}

/* Bench: begin and note. */
static void serve(bench *b)
{
    static double begins[CALLS], notes[CALLS], again[CALLS];
    int32_t tokens[LONG * B];
    fo_error *error = &b->error;
    for (int i = 0; i < CALLS; i++) {
        int hit;
        draw(tokens, MOST + i);
        double start = now();
        need(fo_prefix_cache_begin(b->c, ++b->last, tokens, LONG * B, &hit,
                                   error),
             error);
        begins[i] = now() - start;
        need(fo_block_manager_extend(b->m, b->last, LONG * B - hit, error),
             error);
        start = now();
        need(fo_prefix_cache_note(b->c, b->last, tokens, LONG * B, error),
             error);
        notes[i] = now() - start;
        start = now();
        need(fo_prefix_cache_note(b->c, b->last, tokens, LONG * B, error),
             error);
        again[i] = now() - start;
        need(fo_prefix_cache_drop(b->c, b->last, error), error);
        if (hit != COMMON * B)
            exit(1);
    }
    print("begin with 16 blocks", b->kept, begins, 1);
    print("note a block", b->kept, notes, LONG - COMMON);
    print("note nothing new", b->kept, again, 1);
}

/* Bench: keep and give back. */
static void turn_over(bench *b, int free)
{
    static double retires[CALLS], counts[CALLS], evicts[CALLS];
    int32_t tokens[LONG * B];
    fo_error *error = &b->error;
    for (int i = 0; i < CALLS; i++) {
        int evicted;
        draw(tokens, 2 * MOST + i);
        run(b, tokens);
        double start = now();
        need(fo_prefix_cache_retire(b->c, b->last, error), error);
        retires[i] = now() - start;
        start = now();
        if (fo_prefix_cache_evictable(b->c) < LONG)
            exit(1);
        counts[i] = now() - start;
        start = now();
        need(fo_prefix_cache_evict(b->c, free, 0, &evicted, error), error);
        evicts[i] = now() - start;
        if (evicted != LONG - COMMON)
            exit(1);
    }
    print("retire and keep", b->kept, retires, 1);
    print("count the evictable", b->kept, counts, 1);
    print("evict 48 blocks", b->kept, evicts, 1);
}

/* Bench: measure at each size. */
int main(void)
{
    static const int sizes[] = {10, 100, MOST};
    bench b = {0};
    fo_device *device;
    fo_block_config config = {.total_blocks = (MOST + 2) * LONG,
                              .block_size = B,
                              .num_layers = 1,
                              .kv_heads = 1,
                              .head_dim = 1,
                              .dtype = FO_F16,
                              .max_sequences = MOST + 2,
                              .max_length = LONG * B};
    need(fo_backend_cpu.open(NULL, &device, &b.error), &b.error);
    need(fo_block_manager_open(device, &config, &b.m, &b.error), &b.error);
    need(fo_prefix_cache_open(b.m, 0, &b.c, &b.error), &b.error);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int32_t tokens[LONG * B];
        while (b.kept < sizes[s]) {
            draw(tokens, b.kept++);
            run(&b, tokens);
            need(fo_prefix_cache_retire(b.c, b.last, &b.error), &b.error);
        }
        look_up(&b);
        serve(&b);
        /* Bench: turn the kept ones over. */
        fo_block_stats stats;
        need(fo_block_manager_stats(b.m, &stats, &b.error), &b.error);
        turn_over(&b, stats.pool.free);
        fo_prefix_cache_close(&b.c);
        need(fo_prefix_cache_open(b.m, 0, &b.c, &b.error), &b.error);
        b.kept = 0;
    }
    need(fo_prefix_cache_check(b.c, &b.error), &b.error);
    fo_prefix_cache_close(&b.c);
    fo_block_manager_close(&b.m);
    fo_backend_cpu.close(&device);
    return 0;
}
