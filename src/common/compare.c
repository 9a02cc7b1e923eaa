#include "common/compare.h"

#include <math.h>
#include <stdio.h>

/* Begin a comparison. */
fo_comparison fo_comparison_begin(fo_tolerance tolerance)
{
    return (fo_comparison){
        .tolerance = tolerance,
        .got_zero = true,
        .want_zero = true,
        .blind = true,
    };
}

/* Measure a pair in units of what is allowed. */
static double excess_of(double got, double want, double allowed)
{
    double error = fabs(got - want);
    if (!isfinite(got) || !isfinite(want))
        return INFINITY;
    if (error <= allowed)
        return allowed > 0 ? error / allowed : 0;
    return allowed > 0 ? fmax(error / allowed, nextafter(1, 2)) : INFINITY;
}

/* Add a pair to a comparison. */
void fo_comparison_add(fo_comparison *c, double got, double want)
{
    double allowed = c->tolerance.absolute + c->tolerance.relative * fabs(want);
    double excess = excess_of(got, want, allowed);
    double error = fabs(got - want);
    if (!isfinite(error))
        error = INFINITY;
    if (!(excess <= 1))
        c->wrong++;
    if (c->count == 0 || excess > c->worst_excess) {
        c->worst = c->count;
        c->worst_got = got;
        c->worst_want = want;
        c->worst_excess = excess;
    }
    c->worst_error = fmax(c->worst_error, error);
    c->got_zero = c->got_zero && got == 0;
    c->want_zero = c->want_zero && want == 0;
    c->blind = c->blind && fabs(want) <= allowed;
    c->count++;
}

/* Give a verdict and its reasons. */
bool fo_comparison_verdict(const fo_comparison *c, const char *label,
                           char *report, size_t report_size)
{
    const char *fault = NULL;
    if (c->count == 0)
        fault = "nothing was compared";
    else if (c->wrong > 0)
        fault = "values differ";
    else if (c->got_zero && !c->want_zero)
        fault = "every result is zero";
    else if (c->blind && !c->want_zero)
        fault = "the tolerance would accept zeros";
    if (report)
        snprintf(report, report_size,
                 "%s: %s; %zu of %zu wrong, worst at %zu: got %.9g, want "
                 "%.17g, %.3g of what %g + %g relative allows",
                 label, fault ? fault : "equal", c->wrong, c->count, c->worst,
                 c->worst_got, c->worst_want, c->worst_excess,
                 c->tolerance.absolute, c->tolerance.relative);
    return !fault;
}
