/* Which way of the linear layer is faster, by type and number of tokens.
 *
 * One thread, measured in processor time, so that other programs on the machine
 * disturb little. Prints tab-separated rows, all medians of interleaved
 * repetitions:
 *   linear  type  T  stream_GBps  stream_GFLOPs  tiles_GBps  tiles_GFLOPs
 *   tiles   rows  GFLOPs   (one sgemm over so many rows at a time) */
#include "common/dtype.h"
#include "common/memory.h"
#include "cpu/cpu.h"
#include "inputs.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COLUMNS = 768, MOST_TOKENS = 512, REPEATS = 7 };
enum { ROWS_TILED = 2304, ROWS_CUT = 2048 };

static const fo_dtype types[] = {FO_F32, FO_F16, FO_BF16, FO_Q8_0, FO_Q4_0};
static const int tokens[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512};
enum { TYPES = 5, SIZES = sizeof tokens / sizeof *tokens };

static const size_t stored_bytes = (size_t)128 << 20; /* far beyond a cache */

static float *x, *out;
static char *stored;
static fo_workspace space;

static void fill_weights(fo_dtype dtype)
{
    enum { ROWS = 64 };
    static float values[ROWS * COLUMNS];
    size_t bytes = fo_dtype_bytes(dtype, ROWS * COLUMNS);
    fill_normal(values, ROWS * COLUMNS, 1, 1);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] *= 0.02f;
    for (size_t at = 0; at + bytes <= stored_bytes; at += bytes)
        if (at == 0)
            fo_dtype_store(dtype, values, stored, ROWS * COLUMNS);
        else
            memcpy(stored + at, stored, bytes);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds of one product. */
static double seconds(cpu_linear_way way, const fo_weight *weight, int T)
{
    double start = now();
    if (cpu_linear_by(way, NULL, out, x, weight, T, space, NULL) != FO_OK)
        exit(1);
    return now() - start;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void measure(fo_dtype dtype)
{
    static double taken[SIZES][2][REPEATS];
    size_t row_bytes = fo_dtype_bytes(dtype, COLUMNS);
    int all = (int)(stored_bytes / row_bytes) / 64 * 64;
    fill_weights(dtype);
    fo_weight weights[SIZES];
    for (int i = 0; i < SIZES; i++)
        weights[i] = (fo_weight){stored, dtype,
                                 tokens[i] <= 4 ? all : ROWS_TILED, COLUMNS};
    for (int k = 0; k < REPEATS; k++)
        for (int i = 0; i < SIZES; i++)
            for (int way = 0; way < 2; way++)
                taken[i][way][k] =
                    seconds((cpu_linear_way)way, &weights[i], tokens[i]);
    for (int i = 0; i < SIZES; i++) {
        double bytes = (double)weights[i].R * (double)row_bytes;
        double flops = 2.0 * tokens[i] * COLUMNS * weights[i].R;
        printf("linear\t%s\t%d", fo_dtype_info_get(dtype)->name, tokens[i]);
        for (int way = 0; way < 2; way++) {
            qsort(taken[i][way], REPEATS, sizeof(double), compare_doubles);
            double median = taken[i][way][REPEATS / 2];
            printf("\t%.2f\t%.1f", bytes / median * 1e-9,
                   flops / median * 1e-9);
        }
        printf("\n");
    }
}

static double tiled_seconds(int rows)
{
    const float *w = (const float *)(const void *)stored;
    double start = now();
    for (int r = 0; r < ROWS_CUT; r += rows)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, MOST_TOKENS, rows,
                    COLUMNS, 1, x, COLUMNS, w + (size_t)r * COLUMNS, COLUMNS, 0,
                    out + r, ROWS_CUT);
    return now() - start;
}

static void measure_tiles(void)
{
    static const int sizes[] = {64, 128, 256, 512, ROWS_CUT};
    static double taken[5][REPEATS];
    fill_weights(FO_F32);
    for (int k = 0; k < REPEATS; k++)
        for (int i = 0; i < 5; i++)
            taken[i][k] = tiled_seconds(sizes[i]);
    for (int i = 0; i < 5; i++) {
        qsort(taken[i], REPEATS, sizeof(double), compare_doubles);
        printf("tiles\t%d\t%.1f\n", sizes[i],
               2e-9 * MOST_TOKENS * COLUMNS * ROWS_CUT / taken[i][REPEATS / 2]);
    }
}

int main(void)
{
    omp_set_num_threads(1);
    fo_workload workload = {.max_tokens = MOST_TOKENS, .max_columns = COLUMNS};
    size_t most = (size_t)4 * (stored_bytes / 18 / (COLUMNS / 32));
    size_t tiled = (size_t)MOST_TOKENS * ROWS_TILED;
    space.bytes = cpu_linear_workspace(&workload);
    space.data = fo_memory_alloc(1, space.bytes, NULL);
    x = fo_memory_alloc(MOST_TOKENS * COLUMNS, sizeof *x, NULL);
    out = fo_memory_alloc(most > tiled ? most : tiled, sizeof *out, NULL);
    stored = fo_memory_alloc(1, stored_bytes, NULL);
    if (!space.data || !x || !out || !stored)
        return 1;
    fill_normal(x, MOST_TOKENS * COLUMNS, 2, 2);
    measure_tiles();
    for (int d = 0; d < TYPES; d++)
        measure(types[d]);
    fo_memory_free(space.data);
    fo_memory_free(x);
    fo_memory_free(out);
    fo_memory_free(stored);
    return 0;
}
