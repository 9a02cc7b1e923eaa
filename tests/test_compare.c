#include "compare.h"
#include "planted.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 5 };

static const float good[N] = {1, -2, 3, -4, 5};
static const double truth[N] = {1, -2, 3, -4, 5};

/* Ask whether a comparison passes, and whether a lie is caught. */
static bool passes(const float *got, const double *want, size_t n)
{
    return compare_arrays("test", got, want, n, TOLERANCE_F32, NULL, 0);
}

/* Whether `value` is refused in place of any one of the good results. */
static bool catches(float value)
{
    for (int i = 0; i < N; i++) {
        float got[N];
        memcpy(got, good, sizeof got);
        got[i] = value;
        if (passes(got, truth, N))
            return false;
    }
    return true;
}

/* Catch each planted fault. */
static void planted_faults_are_caught(void **state)
{
    (void)state;
    assert_true(passes(good, truth, N));
    assert_true(catches(NAN));
    assert_true(catches(-NAN));
    assert_true(catches(INFINITY));
    assert_true(catches(-INFINITY));
    assert_true(catches(FLT_MAX));
    assert_true(catches(0));
    assert_true(catches(1.0001f));
}

/* Demand a finite reference. */
static void a_reference_must_be_finite(void **state)
{
    (void)state;
    const double faults[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        double want[N];
        float got[N];
        memcpy(want, truth, sizeof want);
        memcpy(got, good, sizeof got);
        want[2] = faults[i];
        assert_false(passes(got, want, N));
        got[2] = (float)faults[i];
        assert_false(passes(got, want, N));
    }
}

/* Fail when nothing was compared. */
static void nothing_compared_is_a_failure(void **state)
{
    (void)state;
    char report[200];
    assert_false(compare_arrays("empty", good, truth, 0, TOLERANCE_F32, report,
                                sizeof report));
    assert_non_null(strstr(report, "nothing was compared"));
}

/* Let zeros pass for zeros alone. */
static void zeros_pass_only_for_zeros(void **state)
{
    (void)state;
    const float zeros[N] = {0, -0.0f};
    const double none[N] = {0}, tiny[N] = {1e-6, -1e-6, 1e-7, 0, 0};
    assert_true(passes(zeros, none, N));
    assert_false(passes(zeros, tiny, N));
    assert_false(passes(zeros, truth, N));
}

/* Refuse a tolerance that accepts zeros. */
static void a_tolerance_that_accepts_zeros_is_refused(void **state)
{
    (void)state;
    const float got[N] = {2e-4f, 0, 0, 0, -3e-4f};
    const double want[N] = {2e-4, 0, 0, 0, -3e-4};
    char report[300];
    assert_false(compare_arrays("averages", got, want, N, TOLERANCE_LOOSEST,
                                report, sizeof report));
    assert_non_null(strstr(report, "would accept zeros"));
    assert_true(passes(got, want, N));
}

/* Place the edge of the tolerance inside. */
static void the_edge_of_a_tolerance_is_inside(void **state)
{
    (void)state;
    fo_tolerance half = {0.5, 0}, quarter = {0, 0.25};
    const double want[1] = {8};
    float got[1] = {8.5f};
    assert_true(compare_arrays("edge", got, want, 1, half, NULL, 0));
    got[0] = nextafterf(8.5f, 9);
    assert_false(compare_arrays("edge", got, want, 1, half, NULL, 0));
    got[0] = 6;
    assert_true(compare_arrays("edge", got, want, 1, quarter, NULL, 0));
    got[0] = nextafterf(6, 5);
    assert_false(compare_arrays("edge", got, want, 1, quarter, NULL, 0));
    got[0] = 8;
    assert_true(
        compare_arrays("exact", got, want, 1, (fo_tolerance){0, 0}, NULL, 0));
    got[0] = nextafterf(8, 9);
    assert_false(
        compare_arrays("exact", got, want, 1, (fo_tolerance){0, 0}, NULL, 0));
}

/* Name the worst pair in the report. */
static void the_report_names_the_worst(void **state)
{
    (void)state;
    const float got[N] = {1, -2.5f, 3, -40, 5};
    char report[300];
    assert_false(compare_arrays("norm N=5 seed=9", got, truth, N, TOLERANCE_F32,
                                report, sizeof report));
    assert_non_null(strstr(report, "norm N=5 seed=9: values differ"));
    assert_non_null(strstr(report, "2 of 5 wrong"));
    assert_non_null(strstr(report, "worst at 3: got -40, want -4,"));
}

/* Rank a NaN above every number. */
static void a_nan_is_worse_than_any_number(void **state)
{
    (void)state;
    const float got[N] = {1, NAN, FLT_MAX, -4, 5};
    fo_comparison c = fo_comparison_begin(TOLERANCE_F32);
    for (int i = 0; i < N; i++)
        fo_comparison_add(&c, got[i], truth[i]);
    assert_int_equal(c.worst, 1);
    assert_int_equal(c.wrong, 2);
    assert_true(isinf(c.worst_error));
}

/* Return the largest error of a passing comparison. */
static void assert_close_returns_the_largest_error(void **state)
{
    (void)state;
    const double want[N] = {1, -2, 3, -4 + 0x1p-20, 5};
    double error = assert_close(good, want, N, TOLERANCE_F32, "case %d", 1);
    assert_true(error == 0x1p-20);
    assert_true(assert_close_floats(good, good, N, TOLERANCE_F32, "same") == 0);
    assert_same_bits(good, good, N, "same");
}

/* Watch the planted tests fail. */
static void close_fails(void **state)
{
    (void)state;
    const float got[1] = {NAN};
    assert_close(got, truth, 1, TOLERANCE_LOOSEST, "planted %s", "NaN");
}

static void floats_fail(void **state)
{
    (void)state;
    const float got[1] = {2};
    assert_close_floats(got, good, 1, TOLERANCE_LOOSEST, "planted");
}

static void bits_fail(void **state)
{
    (void)state;
    const float plus[1] = {0.0f}, minus[1] = {-0.0f};
    assert_same_bits(plus, minus, 1, "planted sign");
}

static void no_bits_fail(void **state)
{
    (void)state;
    assert_same_bits(good, good, 0, "planted nothing");
}

static void planted_failures_are_all_seen(void **state)
{
    (void)state;
    const struct CMUnitTest planted[] = {
        cmocka_unit_test(close_fails),
        cmocka_unit_test(floats_fail),
        cmocka_unit_test(bits_fail),
        cmocka_unit_test(no_bits_fail),
        cmocka_unit_test(zeros_pass_only_for_zeros),
    };
    assert_int_equal(planted_failures(planted), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_faults_are_caught),
        cmocka_unit_test(a_reference_must_be_finite),
        cmocka_unit_test(nothing_compared_is_a_failure),
        cmocka_unit_test(zeros_pass_only_for_zeros),
        cmocka_unit_test(a_tolerance_that_accepts_zeros_is_refused),
        cmocka_unit_test(the_edge_of_a_tolerance_is_inside),
        cmocka_unit_test(the_report_names_the_worst),
        cmocka_unit_test(a_nan_is_worse_than_any_number),
        cmocka_unit_test(assert_close_returns_the_largest_error),
        cmocka_unit_test(planted_failures_are_all_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
