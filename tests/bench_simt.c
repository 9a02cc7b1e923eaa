/* What the simulated GPU takes, in nanoseconds a lane, as a Markdown table: the
 * best of several rounds, with the checks and without. */
#include <stdio.h>

#ifdef FO_NO_SIM
int main(void)
{
    puts("SKIP: this build has no simulator");
    return 0;
}
#else
#include "bench_kernels.h"

#include "sim/arena.h"
#include "sim/simt.h"

#include <stdlib.h>
#include <time.h>

enum { BLOCKS = 4, TURNS = 500, ROUNDS = 40, ENOUGH = 200000000 /* ns */ };

static const char *const names[BENCH_KERNELS] = {
    "shuffle",
    "vote",
    "block barrier",
    "atomic addition",
    "load of device memory",
    "store and load of shared memory",
    "16 x 8 x 16 matrix product",
    "thread begun and ended",
};

/* Time one operation of one lane. */
/* Processor time of this thread: what other programs take is not counted. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double measure(bench_kernel kernel, int threads, bool checks,
                      float *data)
{
    sim_settings_set((sim_settings){.checks = checks, .strict = true});
    int turns = kernel == BENCH_NOTHING ? 1 : TURNS;
    int blocks = kernel == BENCH_NOTHING ? BLOCKS * 100 : BLOCKS;
    double best = 0, begin = now();
    for (int i = 0; i < ROUNDS && (i == 0 || now() < begin + ENOUGH); i++) {
        double start = now();
        bench_run(kernel, blocks, threads, turns, data);
        double each = (now() - start) / blocks / threads / turns;
        best = best == 0 || each < best ? each : best;
    }
    return best;
}

/* Print the costs of the executor. */
int main(void)
{
    size_t bytes = SIM_GRANULE;
    float *data = sim_arena_reserve(bytes);
    if (!data || !sim_arena_map(data, bytes))
        return EXIT_FAILURE;
    sim_arena_mark(data, bytes, SIM_WRITTEN);
    puts("| ns a lane | 32 threads | 128 threads | 256 threads | 128 threads, "
         "unchecked |\n|---|---:|---:|---:|---:|");
    for (bench_kernel k = 0; k < BENCH_KERNELS; k++)
        printf("| %s | %.1f | %.1f | %.1f | %.1f |\n", names[k],
               measure(k, 32, true, data), measure(k, 128, true, data),
               measure(k, 256, true, data), measure(k, 128, false, data));
    sim_arena_unmap(data, bytes);
    sim_arena_release(data, bytes);
    return 0;
}
#endif
