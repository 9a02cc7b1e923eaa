/* The comparator of common/compare.h as assertions of a test. */
#ifndef FOLIO_TESTS_COMPARE_H
#define FOLIO_TESTS_COMPARE_H

#include "common/compare.h"

/* float32 arithmetic against a float64 judge. */
#define TOLERANCE_F32 ((fo_tolerance){1e-5, 1e-5})
/* The loosest that any test may use. */
#define TOLERANCE_LOOSEST ((fo_tolerance){1e-3, 1e-3})

/* All of a comparison for n float32 results and a float64 reference. */
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
