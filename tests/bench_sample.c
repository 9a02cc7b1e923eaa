/* Time draws from one row of 32,064 logits; print a Markdown table. */
#include "cpu/cpu.h"
#include "inputs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { V = 32064, ROUNDS = 41 };

static float logits[V], sorted[V];
static uint64_t masses[V];

/* Time one kind of draw. */
static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The fastest round in microseconds; null: of sorting the row. */
static double draw_time(const fo_sampling *sampling)
{
    double fastest = INFINITY;
    for (int r = 0; r < ROUNDS; r++) {
        struct timespec begin, end;
        int32_t token;
        memcpy(sorted, logits, sizeof logits);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        if (sampling)
            cpu_sample(NULL, &token, logits, sampling, 1, V,
                       (fo_workspace){masses, sizeof masses}, NULL);
        else
            qsort(sorted, V, sizeof *sorted, falling);
        clock_gettime(CLOCK_MONOTONIC, &end);
        fastest =
            fmin(fastest, (double)(end.tv_sec - begin.tv_sec) * 1e6 +
                              (double)(end.tv_nsec - begin.tv_nsec) * 1e-3);
    }
    return fastest;
}

int main(void)
{
    const struct {
        const char *name;
        fo_sampling sampling;
    } kinds[] = {
        {"greedy", {.temperature = 0, .top_p = 1}},
        {"temperature 0.8", {.temperature = 0.8f, .top_p = 1}},
        {"and top-k 40", {.temperature = 0.8f, .top_p = 1, .top_k = 40}},
        {"and top-p 0.95", {.temperature = 0.8f, .top_p = 0.95f, .top_k = 40}},
    };
    fill_normal(logits, V, 9, 9);
    printf("| draw | microseconds, fastest of %d |\n|---|---|\n", ROUNDS);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        printf("| %s | %.0f |\n", kinds[i].name, draw_time(&kinds[i].sampling));
    printf("| qsort of the row alone | %.0f |\n", draw_time(NULL));
}
