#include "stress.h"
#include "cpu/cpu.h"
#include "stress_inside.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Take the true shape of a day. */
stress_options stress_true_shape(void)
{
    return (stress_options){
#ifndef FO_NO_CPU
        .backend = &fo_backend_cpu,
#endif
        .blocks = 1000,
        .B = 16,
        .heads = 32,
        .D = 128,
        .dtype = FO_F16,
        .fewest = 10,
        .most = 50,
        .shortest = 64,
        .longest = 512,
        .round = 48,
        .seed = 42,
        .judge_every = 8,
        .tolerance = {1e-5, 1e-5},
    };
}

/* Come to grief in words. */
bool stress_trouble(stress_day *d, const char *format, ...)
{
    char *text = d->result->trouble;
    size_t size = sizeof d->result->trouble;
    int n = snprintf(text, size, "step %" PRId64 ": ", d->result->steps);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + n, size - (size_t)n, format, arguments);
    va_end(arguments);
    return false;
}

/* Keep the slices of a day. */
enum { SLICES = 200 };

typedef struct watch {
    stress_slice slices[SLICES];
    int n;
    stress_slice now; /* the one being filled */
    double begun, told;
} watch;

static void end_slice(watch *w, const stress_day *d, double now)
{
    const stress_options *o = d->options;
    w->now.end = now - w->begun;
    w->now.resident = stress_resident();
    w->now.held = d->held;
    if (o->series)
        fprintf(o->series, "%.2f,%" PRId64 ",%.4g,%.4g,%d,%d,%.2f\n",
                w->now.end, d->result->steps, w->now.work / w->now.wall / 1e9,
                w->now.work / w->now.cpu / 1e9, d->live, w->now.held,
                (double)w->now.resident / 0x1p20);
    w->slices[w->n++] = w->now;
    w->now = (stress_slice){0};
}

/* Tell how a day is going. */
static void tell(watch *w, const stress_day *d, double now)
{
    const stress_result *r = d->result;
    double seconds = now - w->begun;
    fprintf(d->options->progress,
            "  %5.0f s %8" PRId64 " steps %8.0f tokens/s %6.2f GB/s, %d "
            "sequences hold %d blocks, %.1f MiB resident\n",
            seconds, r->steps, (double)(r->decoded + r->prefilled) / seconds,
            r->attended / seconds / 1e9, d->live, d->held,
            (double)stress_resident() / 0x1p20);
    fflush(d->options->progress);
    w->told = now;
}

/* Called after each step; false when the day is over. */
static bool goes_on(watch *w, const stress_day *d)
{
    const stress_options *o = d->options;
    double now = stress_wall();
    if (o->progress && now - w->told >= 60)
        tell(w, d, now);
    if (o->seconds <= 0)
        return d->result->steps < o->steps;
    if (now - w->begun >= (w->n + 1) * o->seconds / SLICES)
        end_slice(w, d, now);
    return w->n < SLICES && now - w->begun < o->seconds;
}

/* Live through one step. */
static bool step(stress_day *d, watch *w)
{
    stress_result *r = d->result;
    double wall = stress_wall(), cpu = stress_cpu();
    double attended = r->attended;
    int64_t prefilled = r->prefilled;
    int first_query = 0;
    bool fine = stress_guests_move(d) && stress_decode(d, &first_query);
    w->now.wall += stress_wall() - wall;
    w->now.cpu += stress_cpu() - cpu;
    w->now.work += r->attended - attended +
                   (double)(r->prefilled - prefilled) * d->token_bytes;
    if (fine)
        fine = stress_audit(d);
    if (fine && r->steps % d->options->judge_every == 0)
        fine = stress_judge(d, first_query);
    r->steps++;
    return fine;
}

/* Live through a day. */
bool stress_run(const stress_options *options, stress_result *result)
{
    *result = (stress_result){0};
    result->digest = UINT64_C(0xcbf29ce484222325);
    stress_day *d = calloc(1, sizeof *d);
    watch *w = calloc(1, sizeof *w);
    if (!d || !w) {
        snprintf(result->trouble, sizeof result->trouble, "no memory");
        free(d);
        free(w);
        return false;
    }
    d->options = options;
    d->result = result;
    bool fine = stress_open(d);
    w->begun = w->told = stress_wall();
    while (fine && goes_on(w, d))
        fine = step(d, w);
    if (fine)
        fine = stress_go_home(d);
    result->pace = stress_pace_of(w->slices, w->n);
    stress_close(d);
    free(w);
    free(d);
    return fine;
}
