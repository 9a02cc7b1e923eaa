/* Nanoseconds an operation on blocks takes, by the size of the pool, as a
 * Markdown table: the best round counts. */
#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Measure: name the figures. */
enum {
    extend_ten,
    extend_one,
    release_ten,
    manager_token,
    manager_block,
    manager_free,
    lookup_run,
    lookup_random,
    mapping,
    statistics,
    figures
};

static const char *const names[figures] = {
    "pool: take a block, ten at a time",
    "pool: take a block, one at a time",
    "pool: give a block back",
    "manager: append a token, room at hand",
    "manager: append a token, one block taken",
    "manager: free a sequence of ten blocks",
    "table: block of a position, one sequence",
    "table: block of a position, any sequence",
    "table: slot mapping, a position",
    "manager: statistics",
};

enum { B = 16, row_blocks = 10 };

/* Small pools are gone through often, so that the best round is a quiet one. */
static int rounds_for(int blocks)
{
    return 2 + 60000 / blocks;
}

/* Processor time of this thread: what other programs take is not counted. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What it takes to ask for the time. */
static double cost_of_now(void)
{
    double least = 1e9;
    for (int i = 0; i < 1000; i++) {
        double start = now(), taken = now() - start;
        least = taken < least ? taken : least;
    }
    return least;
}

/* Note a figure if it is the best so far. */
static void note(double *figure, double start, double operations)
{
    static double cost;
    double taken = now() - start;
    if (cost == 0)
        cost = cost_of_now();
    if (*figure == 0 || (taken - cost) / operations < *figure)
        *figure = (taken - cost) / operations;
}

static void must(fo_status status)
{
    if (status != FO_OK) {
        fprintf(stderr, "bench_blocks: %s\n", fo_status_name(status));
        exit(1);
    }
}

/* Measure: shuffle. */
/* The numbers below n in a random order (Fisher and Yates). */
static int32_t *shuffled(int n)
{
    int32_t *order = fo_memory_alloc((size_t)n, sizeof *order, NULL);
    if (!order)
        must(FO_NOMEM);
    for (int i = 0; i < n; i++) {
        uint32_t words[4];
        fo_rng_block(1, 0, (uint64_t)i, words);
        int j = (int)(words[0] % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

/* Measure: the pool. */
static void measure_pool(fo_device *device, int blocks, double *figure)
{
    int rows = blocks / row_blocks;
    fo_pool_shape shape = {blocks, B, rows, row_blocks};
    fo_pool *pool;
    must(cpu_pool_open(device, &shape, &pool, NULL));
    int32_t *order = shuffled(rows);
    fo_pool_grant grant;
    for (int round = rounds_for(blocks); round > 0; round--) {
        double start = now();
        /* Measure: fill the pool, and empty it in another order. */
        for (int i = 0; i < rows; i++) {
            fo_pool_request all = {i, row_blocks * B, row_blocks * B};
            cpu_pool_extend(device, pool, &all, &grant, 1, NULL);
        }
        note(&figure[extend_ten], start, blocks);
        start = now();
        for (int i = 0; i < rows; i++) {
            fo_pool_keep none = {order[i], 0, 0, 0};
            cpu_pool_release(device, pool, &none, 1, NULL);
        }
        note(&figure[release_ten], start, blocks);
        start = now();
        for (int k = 1; k <= row_blocks; k++)
            for (int i = 0; i < rows; i++) {
                fo_pool_request one = {order[i], k * B, k * B};
                cpu_pool_extend(device, pool, &one, &grant, 1, NULL);
            }
        note(&figure[extend_one], start, blocks);
        for (int i = 0; i < rows; i++) {
            fo_pool_keep none = {i, 0, 0, 0};
            cpu_pool_release(device, pool, &none, 1, NULL);
        }
    }
    fo_memory_free(order);
    cpu_pool_close(device, &pool);
}

/* Measure: the manager and its table. */
static void fill_sequences(fo_block_manager *m, int rows, double *figure)
{
    for (int k = 0; k < row_blocks; k++) {
        double start = now();
        for (int i = 0; i < rows; i++)
            must(fo_block_manager_extend(m, i, 1, NULL));
        note(&figure[manager_block], start, rows);
        start = now();
        for (int token = 1; token < B; token++)
            for (int i = 0; i < rows; i++)
                must(fo_block_manager_extend(m, i, 1, NULL));
        note(&figure[manager_token], start, (double)rows * (B - 1));
    }
}

static int64_t look_up(const fo_block_table *table, const int32_t *order,
                       int rows, double *figure)
{
    enum { lookups = 200 * row_blocks * B };
    int64_t sum = 0;
    double start = now();
    for (int i = 0; i < lookups; i++)
        sum += fo_block_table_block(table, 0, i % (row_blocks * B));
    note(&figure[lookup_run], start, lookups);
    start = now();
    for (int i = 0, r = 0; i < lookups; i++, r = r + 1 < rows ? r + 1 : 0)
        sum += fo_block_table_block(table, order[r], i % (row_blocks * B));
    note(&figure[lookup_random], start, lookups);
    int64_t slots[row_blocks * B];
    start = now();
    for (int i = 0; i < lookups; i += row_blocks * B) {
        fo_block_table_slots(table, 0, 0, row_blocks * B, slots);
        sum += slots[i % B];
    }
    note(&figure[mapping], start, lookups);
    return sum;
}

static void measure_manager(fo_device *device, int blocks, double *figure)
{
    int rows = blocks / row_blocks;
    fo_block_config config = {blocks, B, 1, 1, 1, FO_F16, rows, row_blocks * B};
    fo_block_manager *m;
    fo_block_stats stats;
    int32_t *order = shuffled(rows);
    must(fo_block_manager_open(device, &config, &m, NULL));
    for (int round = rounds_for(blocks); round > 0; round--) {
        fill_sequences(m, rows, figure);
        if (look_up(fo_block_manager_table(m), order, rows, figure) < 0)
            must(FO_UNKNOWN);
        double start = now();
        must(fo_block_manager_stats(m, &stats, NULL));
        note(&figure[statistics], start, 1);
        start = now();
        for (int i = 0; i < rows; i++)
            must(fo_block_manager_free_sequence(m, order[i], NULL));
        note(&figure[manager_free], start, rows);
    }
    must(fo_block_manager_check(m, NULL));
    fo_block_manager_close(&m);
    fo_memory_free(order);
}

/* Measure: print the table. */
int main(void)
{
    static const int sizes[] = {100, 500, 1000, 5000, 100000, 1000000};
    enum { columns = sizeof sizes / sizeof *sizes };
    double table[columns][figures] = {{0}};
    fo_device *device;
    must(fo_backend_cpu.open(NULL, &device, NULL));
    printf("| ns each, blocks in the pool |");
    for (int c = 0; c < columns; c++) {
        measure_pool(device, sizes[c], table[c]);
        measure_manager(device, sizes[c], table[c]);
        printf(" %d |", sizes[c]);
    }
    printf("\n|---|");
    for (int c = 0; c < columns; c++)
        printf("---:|");
    for (int f = 0; f < figures; f++) {
        printf("\n| %s |", names[f]);
        for (int c = 0; c < columns; c++)
            printf(table[c][f] < 100 ? " %.1f |" : " %.0f |", table[c][f]);
    }
    printf("\n");
    fo_backend_cpu.close(&device);
    return 0;
}
