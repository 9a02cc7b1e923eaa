#include "server/clock.h"

#include <time.h>

static double now(fo_clock *clock)
{
    struct timespec time;
    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void wait_until(fo_clock *clock, pthread_cond_t *changed,
                       pthread_mutex_t *lock, double until)
{
    (void)clock;
    if (isinf(until)) {
        pthread_cond_wait(changed, lock);
        return;
    }
    double whole = floor(until);
    struct timespec time = {.tv_sec = (time_t)whole,
                            .tv_nsec = (long)((until - whole) * 1e9)};
    pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &time);
}

fo_clock *fo_clock_real(void)
{
    static fo_clock real = {now, wait_until};
    return &real;
}
