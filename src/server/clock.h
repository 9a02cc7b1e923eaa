/* Time as the server sees it: given to it, so that tests may turn it on. */
#ifndef FOLIO_SERVER_CLOCK_H
#define FOLIO_SERVER_CLOCK_H

#include <math.h>
#include <pthread.h>

/* `now` is in seconds since some moment, and never falls. `wait` gives up
 * `lock`, which the caller holds, until `changed` is signalled or it is
 * `until`, and takes it again; it may also return for no reason. */
typedef struct fo_clock fo_clock;
struct fo_clock {
    double (*now)(fo_clock *clock);
    void (*wait)(fo_clock *clock, pthread_cond_t *changed,
                 pthread_mutex_t *lock, double until);
};

#define FO_NEVER INFINITY

/* The machine's own clock, which no one sets back. */
fo_clock *fo_clock_real(void);

#endif
