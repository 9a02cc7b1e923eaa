/* When two arrays of numbers count as equal.
 *
 * got is equal to want where |got - want| <= absolute + relative |want|. An
 * array passes when every value is finite and equal, and when the comparison
 * could have failed: there is something to compare, and an array of zeros would
 * not have passed in place of a reference that is not zero. */
#ifndef FOLIO_TESTS_COMPARE_H
#define FOLIO_TESTS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fo_tolerance {
    double absolute;
    double relative;
} fo_tolerance;

/* float32 arithmetic against a float64 judge. */
#define TOLERANCE_F32 ((fo_tolerance){1e-5, 1e-5})
/* The loosest that any test may use. */
#define TOLERANCE_LOOSEST ((fo_tolerance){1e-3, 1e-3})

/* A comparison in progress: begin, add each pair, then ask for the verdict. */
typedef struct comparison {
    fo_tolerance tolerance;
    size_t count;   /* pairs added                                         */
    size_t wrong;   /* of those, not equal                                 */
    bool got_zero;  /* every got was 0                                     */
    bool want_zero; /* every want was 0                                    */
    bool blind;     /* zeros would pass for every want                     */
    size_t worst;   /* index of the pair furthest beyond its allowance     */
    double worst_got, worst_want;
    double worst_excess; /* |got - want| / allowance there                 */
    double worst_error;  /* largest |got - want|; INFINITY if not finite   */
} comparison;

comparison comparison_begin(fo_tolerance tolerance);
void comparison_add(comparison *c, double got, double want);

/* True if equal. `report` (may be null) receives one line either way. */
bool comparison_verdict(const comparison *c, const char *label, char *report,
                        size_t report_size);

/* All of the above for n float32 results and a float64 reference. */
bool compare_arrays(const char *label, const float *got, const double *want,
                    size_t n, fo_tolerance tolerance, char *report,
                    size_t report_size);

/* The same inside a cmocka test: fail with the report, or return the largest
 * |got - want|. The label is a printf format: name the op, shape and seed. */
#define assert_close(got, want, n, tolerance, ...)                             \
    assert_close_at(__FILE__, __LINE__, got, want, n, tolerance, __VA_ARGS__)

/* Two float32 arrays within a tolerance, as when one path judges another. */
#define assert_close_floats(got, want, n, tolerance, ...)                      \
    assert_close_floats_at(__FILE__, __LINE__, got, want, n, tolerance,        \
                           __VA_ARGS__)

/* Two float32 arrays equal bit by bit; n must not be 0. */
#define assert_same_bits(got, want, n, ...)                                    \
    assert_same_bits_at(__FILE__, __LINE__, got, want, n, __VA_ARGS__)

__attribute__((format(printf, 7, 8))) double
assert_close_at(const char *file, int line, const float *got,
                const double *want, size_t n, fo_tolerance tolerance,
                const char *label, ...);
__attribute__((format(printf, 7, 8))) double
assert_close_floats_at(const char *file, int line, const float *got,
                       const float *want, size_t n, fo_tolerance tolerance,
                       const char *label, ...);
__attribute__((format(printf, 6, 7))) void
assert_same_bits_at(const char *file, int line, const float *got,
                    const float *want, size_t n, const char *label, ...);

#endif
