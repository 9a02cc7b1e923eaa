/* Whether a long run grows slower: work and time, slice by slice. */
#ifndef FOLIO_TESTS_STRESS_PACE_H
#define FOLIO_TESTS_STRESS_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Declare a pace and the verdict on it. */
/* What was done in one slice of a run. */
typedef struct stress_slice {
    double work;       /* bytes of K and V attended to and written       */
    double wall, cpu;  /* seconds that took, by the clock, and of all    */
                       /* processors together                            */
    double end;        /* seconds since the run began                    */
    uint64_t resident; /* bytes, at its end                             */
    int32_t held;      /* blocks, at its end                            */
} stress_slice;

/* Rates of the first tenth and of the last, in bytes a second. A quiet rate is
 * the upper quartile of the slices': what the machine did when its neighbours
 * let it. */
typedef struct stress_pace {
    double first_wall, last_wall;
    double first_quiet, last_quiet;
    double first_cpu, last_cpu; /* of processor time, the quiet rate */
    uint64_t first_resident, last_resident; /* most of the second, last tenth */
    double ratio; /* last to first: the better of the two quiet rates */
} stress_pace;

/* All zero with fewer than 20 slices. */
stress_pace stress_pace_of(const stress_slice *slices, int n);

/* Seconds by the clock, seconds of this process's threads, and its bytes of
 * memory that are resident. */
double stress_wall(void);
double stress_cpu(void);
uint64_t stress_resident(void);

/* Whether the resident set is the program's own: a sanitizer's shadow and what
 * it keeps from reuse count there as well. */
bool stress_resident_is_own(void);

#endif
