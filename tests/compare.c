#include "compare.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { LINE = 512 };

comparison comparison_begin(fo_tolerance tolerance)
{
    return (comparison){
        .tolerance = tolerance,
        .got_zero = true,
        .want_zero = true,
        .blind = true,
    };
}

static double excess_of(double got, double want, double allowed)
{
    double error = fabs(got - want);
    if (!isfinite(got) || !isfinite(want))
        return INFINITY;
    if (error <= allowed)
        return allowed > 0 ? error / allowed : 0;
    return allowed > 0 ? fmax(error / allowed, nextafter(1, 2)) : INFINITY;
}

void comparison_add(comparison *c, double got, double want)
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

bool comparison_verdict(const comparison *c, const char *label, char *report,
                        size_t report_size)
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

static comparison compare_all(const float *got, const double *want, size_t n,
                              fo_tolerance tolerance)
{
    comparison c = comparison_begin(tolerance);
    for (size_t i = 0; i < n; i++)
        comparison_add(&c, got[i], want[i]);
    return c;
}

bool compare_arrays(const char *label, const float *got, const double *want,
                    size_t n, fo_tolerance tolerance, char *report,
                    size_t report_size)
{
    comparison c = compare_all(got, want, n, tolerance);
    return comparison_verdict(&c, label, report, report_size);
}

static double require(const comparison *c, const char *label, const char *file,
                      int line)
{
    char report[2 * LINE];
    if (!comparison_verdict(c, label, report, sizeof report)) {
        print_error("%s\n", report);
        _fail(file, line);
    }
    return c->worst_error;
}

double assert_close_at(const char *file, int line, const float *got,
                       const double *want, size_t n, fo_tolerance tolerance,
                       const char *label, ...)
{
    char text[LINE];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    comparison c = compare_all(got, want, n, tolerance);
    return require(&c, text, file, line);
}

double assert_close_floats_at(const char *file, int line, const float *got,
                              const float *want, size_t n,
                              fo_tolerance tolerance, const char *label, ...)
{
    char text[LINE];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    comparison c = comparison_begin(tolerance);
    for (size_t i = 0; i < n; i++)
        comparison_add(&c, got[i], want[i]);
    return require(&c, text, file, line);
}

void assert_same_bits_at(const char *file, int line, const float *got,
                         const float *want, size_t n, const char *label, ...)
{
    char text[LINE];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    size_t i = 0;
    while (i < n && memcmp(&got[i], &want[i], sizeof *got) == 0)
        i++;
    if (n == 0)
        print_error("%s: nothing was compared\n", text);
    else if (i < n)
        print_error("%s: bits differ first at %zu of %zu: got %.9g, want "
                    "%.9g\n",
                    text, i, n, got[i], want[i]);
    if (n == 0 || i < n)
        _fail(file, line);
}
