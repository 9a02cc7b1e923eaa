#include "inputs.h"

#include "compare.h"
#include "null_backend.h"
#include "planted.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 4096, D = 64 };

static float x[MANY], y[MANY];

static double mean_of(const float *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum / (double)n;
}

/* Give the same bits for the same seed. */
static void the_same_seed_gives_the_same_bits(void **state)
{
    (void)state;
    fill_uniform(x, MANY, -1, 1, 3, 4);
    fill_uniform(y, MANY, -1, 1, 3, 4);
    assert_same_bits(x, y, MANY, "uniform");
    assert_true(x[0] == -0x1.21386p-4f);
    fill_normal(x, MANY, 3, 4);
    fill_normal(y, MANY, 3, 4);
    assert_same_bits(x, y, MANY, "normal");
    fill_normal(y, MANY, 3, 5);
    assert_memory_not_equal(x, y, sizeof x);
}

/* Keep the promised distributions. */
static void inputs_have_the_shape_they_promise(void **state)
{
    (void)state;
    fill_uniform(x, MANY, 2, 5, 1, 1);
    for (int i = 0; i < MANY; i++)
        assert_true(x[i] >= 2 && x[i] < 5);
    assert_true(fabs(mean_of(x, MANY) - 3.5) < 0.05);
    fill_normal(x, MANY, 1, 1);
    for (int i = 0; i < MANY; i++)
        y[i] = x[i] * x[i];
    assert_true(fabs(mean_of(x, MANY)) < 0.05);
    assert_true(fabs(mean_of(y, MANY) - 1) < 0.1);
}

/* Keep rows of values apart and away from zero. */
static void rows_of_values_differ_and_do_not_cancel(void **state)
{
    (void)state;
    enum { ROWS = MANY / D };
    fill_values(x, ROWS, D, 1, 2);
    double least = INFINITY, most = -INFINITY;
    for (int row = 0; row < ROWS; row++) {
        double mean = mean_of(x + row * D, D);
        least = fmin(least, mean);
        most = fmax(most, mean);
    }
    assert_true(least > 0.35 && least < 0.7);
    assert_true(most < 1.65 && most > 1.3);
}

/* Find the key that a query was aimed at. */
static void an_aimed_query_finds_its_key(void **state)
{
    (void)state;
    enum { KEYS = MANY / D, WINNER = 17 };
    float q[D];
    fill_normal(x, MANY, 5, 6);
    aim_query(q, x + WINNER * D, D, 8);
    for (int key = 0; key < KEYS; key++) {
        double score = 0;
        for (int d = 0; d < D; d++)
            score += q[d] * (double)x[key * D + d] / 8;
        if (key == WINNER)
            assert_true(fabs(score - 8) < 1e-4);
        else
            assert_true(score < 5);
    }
}

/* Show that poison is a NaN in every type. */
static void poison_is_a_nan_in_every_type(void **state)
{
    (void)state;
    uint16_t half;
    float full;
    int32_t whole;
    poison(&half, sizeof half);
    poison(&full, sizeof full);
    poison(&whole, sizeof whole);
    assert_true(isnan(fo_f32_from_f16(half)));
    assert_true(isnan(fo_f32_from_bf16(half)));
    assert_true(isnan(full));
    assert_int_equal(whole, -1);
    poison(NULL, 0);
}

/* Set off a guard at the end of a test. */
static void a_guard_goes_off_at_the_end_of_a_test(void **state)
{
    (void)state;
    fo_device *device;
    fo_device_options options = {0};
    assert_int_equal(null_backend.open(&options, &device, NULL), FO_OK);
    *state = device;
    guarded g = guarded_open(device, 12);
    null_backend.fill(device, (char *)g.data + 12, 0, 1, NULL);
    guarded_close(&g);
}

static int close_device(void **state)
{
    fo_device *device = *state;
    null_backend.close(&device);
    return 0;
}

static void an_overrun_fails_its_test(void **state)
{
    (void)state;
    const struct CMUnitTest planted[] = {
        cmocka_unit_test_teardown(a_guard_goes_off_at_the_end_of_a_test,
                                  close_device),
    };
    assert_int_equal(planted_failures(planted), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_bits),
        cmocka_unit_test(inputs_have_the_shape_they_promise),
        cmocka_unit_test(rows_of_values_differ_and_do_not_cancel),
        cmocka_unit_test(an_aimed_query_finds_its_key),
        cmocka_unit_test(poison_is_a_nan_in_every_type),
        cmocka_unit_test(an_overrun_fails_its_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
