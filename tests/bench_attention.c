/* One decode step over blocks against one over whole sequences, as a Markdown
 * table: 32 heads of 128, blocks of 16 in random order, four sequences, one
 * thread. The two take turns. Times are the best turn's, in processor time; the
 * ratio is the median over all pairs of turns. */
#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { H = 32, D = 128, B = 16, N = 4, TURNS = 41 };

typedef struct scene {
    int length;
    fo_kv whole, paged;
    fo_block_tables tables;
    fo_attention attention;
    fo_workspace workspace;
    float *q, *out;
} scene;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *need(size_t count, size_t size)
{
    void *data = fo_memory_alloc(count, size, NULL);
    if (!data)
        exit(1);
    return data;
}

/* Room for n values, each page of it touched, none of it zero. */
static void *cache(fo_dtype dtype, int64_t n)
{
    size_t bytes = fo_dtype_bytes(dtype, n);
    char *data = need(bytes, 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(0x38 + i % 5);
    return data;
}

static int32_t *shuffled(int n)
{
    int32_t *order = need((size_t)n, sizeof *order);
    for (int i = 0; i < n; i++) {
        uint32_t words[4];
        fo_rng_block(8, 0, (uint64_t)i, words);
        int j = (int)(words[0] % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static scene open_scene(fo_dtype dtype, int length)
{
    static int32_t rows[N], lengths[N], starts[N + 1];
    int64_t values = (int64_t)N * H * length * D;
    int blocks = N * length / B;
    scene s = {.length = length};
    s.whole = (fo_kv){
        cache(dtype, values), cache(dtype, values), dtype, N, H, length, D};
    s.paged = (fo_kv){
        cache(dtype, values), cache(dtype, values), dtype, blocks, H, B, D};
    for (int n = 0; n < N; n++) {
        rows[n] = n;
        lengths[n] = length;
        starts[n + 1] = n + 1;
    }
    s.tables = (fo_block_tables){shuffled(blocks), length / B, rows};
    s.attention = (fo_attention){.N = N,
                                 .T = N,
                                 .H = H,
                                 .q_stride = H * D,
                                 .scale = 0.088f,
                                 .max_length = length,
                                 .query_start = starts,
                                 .length = lengths};
    fo_workload workload = {.max_tokens = N,
                            .max_sequences = N,
                            .max_length = length,
                            .H = H,
                            .K = H,
                            .D = D};
    s.workspace.bytes = cpu_attention_workspace(&workload);
    s.workspace.data = need(s.workspace.bytes, 1);
    s.q = need(N * H * D, sizeof *s.q);
    s.out = need(N * H * D, sizeof *s.out);
    for (int i = 0; i < N * H * D; i++)
        s.q[i] = fo_rng_uniform(8, 1, (uint64_t)i) - 0.5f;
    return s;
}

static void close_scene(scene *s)
{
    void *all[] = {s->whole.k, s->whole.v, s->paged.k,       s->paged.v,
                   s->q,       s->out,     s->workspace.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        fo_memory_free(all[i]);
    fo_memory_free((void *)s->tables.table);
}

/* Seconds of one step, averaged over about ten milliseconds of them. */
static double turn(const scene *s, int paged)
{
    int steps = 1 + 4096 / s->length;
    double start = seconds();
    for (int i = 0; i < steps; i++) {
        fo_status status =
            paged ? cpu_attention_decode(NULL, s->out, s->q, &s->paged,
                                         &s->tables, &s->attention,
                                         s->workspace, NULL)
                  : cpu_attention_contiguous(NULL, s->out, s->q, &s->whole,
                                             &s->attention, s->workspace, NULL);
        if (status != FO_OK)
            exit(1);
    }
    return (seconds() - start) / steps;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(fo_dtype dtype, int length)
{
    scene s = open_scene(dtype, length);
    double best[2] = {1e9, 1e9}, ratio[TURNS];
    turn(&s, 0);
    turn(&s, 1);
    for (int i = 0; i < TURNS; i++) {
        double time[2];
        for (int k = 0; k < 2; k++) {
            int paged = (i + k) % 2;
            time[paged] = turn(&s, paged);
            if (time[paged] < best[paged])
                best[paged] = time[paged];
        }
        ratio[i] = time[0] / time[1];
    }
    qsort(ratio, TURNS, sizeof *ratio, by_size);
    double bytes =
        2.0 * (double)fo_dtype_bytes(dtype, (int64_t)N * H * length * D);
    printf("| %s | %d | %.1f | %.0f | %.0f | %.1f | %.0f%% |\n",
           fo_dtype_info_get(dtype)->name, length, bytes / (1 << 20),
           best[0] * 1e6, best[1] * 1e6, bytes / best[1] / 1e9,
           ratio[TURNS / 2] * 100);
    close_scene(&s);
}

/* What one thread reads from memory in order, in bytes a second. */
static double memory_rate(void)
{
    enum { WORDS = 32 << 20 };
    uint64_t *data = need(WORDS, sizeof *data), sum = 0;
    memset(data, 1, WORDS * sizeof *data);
    double best = 0;
    for (int round = 0; round < 7; round++) {
        double start = seconds();
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < WORDS; i++)
            sum += data[i];
        double rate = WORDS * sizeof *data / (seconds() - start);
        best = rate > best ? rate : best;
    }
    __asm__ volatile("" ::"r"(sum));
    fo_memory_free(data);
    return best;
}

int main(void)
{
    static const fo_dtype types[] = {FO_F32, FO_F16};
    omp_set_num_threads(1);
    puts("| cache | keys | MiB | whole, us | blocks, us | blocks, GB/s | "
         "speed of blocks |\n|---|---|---|---|---|---|---|");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int length = 16; length <= 2048; length *= 2)
            measure(types[t], length);
    printf("| memory in order | | 256.0 | | | %.1f | |\n", memory_rate() / 1e9);
    return 0;
}
