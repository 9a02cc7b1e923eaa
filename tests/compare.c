#include "compare.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { LINE = 512 };

/* Compare an array with its reference. */
static fo_comparison compare_all(const float *got, const double *want, size_t n,
                                 fo_tolerance tolerance)
{
    fo_comparison c = fo_comparison_begin(tolerance);
    for (size_t i = 0; i < n; i++)
        fo_comparison_add(&c, got[i], want[i]);
    return c;
}

bool compare_arrays(const char *label, const float *got, const double *want,
                    size_t n, fo_tolerance tolerance, char *report,
                    size_t report_size)
{
    fo_comparison c = compare_all(got, want, n, tolerance);
    return fo_comparison_verdict(&c, label, report, report_size);
}

/* Fail the test unless the verdict is good. */
static double require(const fo_comparison *c, const char *label,
                      const char *file, int line)
{
    char report[2 * LINE];
    if (!fo_comparison_verdict(c, label, report, sizeof report)) {
        print_error("%s\n", report);
        _fail(file, line);
    }
    return c->worst_error;
}

/* Assert closeness to a float64 reference. */
double assert_close_at(const char *file, int line, const float *got,
                       const double *want, size_t n, fo_tolerance tolerance,
                       const char *label, ...)
{
    char text[LINE];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    fo_comparison c = compare_all(got, want, n, tolerance);
    return require(&c, text, file, line);
}

/* Assert closeness of two float32 arrays. */
double assert_close_floats_at(const char *file, int line, const float *got,
                              const float *want, size_t n,
                              fo_tolerance tolerance, const char *label, ...)
{
    char text[LINE];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    fo_comparison c = fo_comparison_begin(tolerance);
    for (size_t i = 0; i < n; i++)
        fo_comparison_add(&c, got[i], want[i]);
    return require(&c, text, file, line);
}

/* Assert equality of every bit. */
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
