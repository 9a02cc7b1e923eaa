#include "stress_pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Take the upper quartile of a rate. */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of work a second, by either clock. */
static double quiet(const stress_slice *slices, int n, int by_cpu)
{
    double *rates = malloc((size_t)n * sizeof *rates);
    if (!rates)
        return 0;
    for (int i = 0; i < n; i++) {
        double seconds = by_cpu ? slices[i].cpu : slices[i].wall;
        rates[i] = seconds > 0 ? slices[i].work / seconds : 0;
    }
    qsort(rates, (size_t)n, sizeof *rates, by_value);
    double rate = rates[(3 * n) / 4];
    free(rates);
    return rate;
}

static double mean(const stress_slice *slices, int n)
{
    double work = 0, wall = 0;
    for (int i = 0; i < n; i++) {
        work += slices[i].work;
        wall += slices[i].wall;
    }
    return wall > 0 ? work / wall : 0;
}

/* Compare the last tenth with the first. */
static uint64_t most_resident(const stress_slice *slices, int n)
{
    uint64_t most = 0;
    for (int i = 0; i < n; i++)
        if (slices[i].resident > most)
            most = slices[i].resident;
    return most;
}

static double ratio(double last, double first)
{
    return first > 0 ? last / first : 0;
}

stress_pace stress_pace_of(const stress_slice *slices, int n)
{
    stress_pace p = {0};
    int tenth = n / 10;
    if (tenth < 2)
        return p;
    const stress_slice *last = slices + n - tenth;
    p.first_wall = mean(slices, tenth);
    p.last_wall = mean(last, tenth);
    p.first_quiet = quiet(slices, tenth, 0);
    p.last_quiet = quiet(last, tenth, 0);
    p.first_cpu = quiet(slices, tenth, 1);
    p.last_cpu = quiet(last, tenth, 1);
    p.first_resident = most_resident(slices + tenth, tenth);
    p.last_resident = most_resident(last, tenth);
    double wall = ratio(p.last_quiet, p.first_quiet);
    double cpu = ratio(p.last_cpu, p.first_cpu);
    p.ratio = wall > cpu ? wall : cpu;
    return p;
}

/* Read the clocks and the resident set. */
static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double stress_wall(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double stress_cpu(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t stress_resident(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Know a sanitizer's build. */
#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#elif defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

bool stress_resident_is_own(void)
{
    return !SANITIZED;
}
