#include "common/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Know the published blocks. */
static const struct {
    uint64_t counter, stream, seed;
    uint32_t words[4];
} published[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX,
     UINT64_MAX,
     UINT64_MAX,
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x85a308d3243f6a88,
     0x0370734413198a2e,
     0x299f31d0a4093822,
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

/* Compute the published blocks. */
static void the_published_vectors_come_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        uint32_t words[4];
        fo_rng_block(published[i].seed, published[i].stream,
                     published[i].counter, words);
        for (int j = 0; j < 4; j++)
            assert_int_equal(words[j], published[i].words[j]);
    }
}

/* Take the top 24 bits for a draw. */
static void a_draw_is_the_top_24_bits(void **state)
{
    (void)state;
    assert_true(fo_rng_uniform(0, 0, 0) == 0x6627e8p-24f);
    assert_true(fo_rng_uniform(UINT64_MAX, UINT64_MAX, UINT64_MAX) ==
                0x408f27p-24f);
}

/* Spread the draws evenly. */
static void draws_are_spread_evenly(void **state)
{
    (void)state;
    enum { DRAWS = 100000, BINS = 16 };
    int bins[BINS] = {0};
    double sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        float draw = fo_rng_uniform(7, 1, i);
        assert_true(draw >= 0 && draw < 1);
        bins[(int)(draw * BINS)]++;
        sum += draw;
    }
    double square = 0, expected = (double)DRAWS / BINS;
    for (int i = 0; i < BINS; i++)
        square += (bins[i] - expected) * (bins[i] - expected) / expected;
    assert_true(square < 37.7); /* chi-squared, 15 degrees, p = 0.001 */
    assert_true(sum / DRAWS > 0.495 && sum / DRAWS < 0.505);
}

/* Tell streams and seeds apart. */
static void streams_and_seeds_differ(void **state)
{
    (void)state;
    float draw = fo_rng_uniform(1, 2, 3);
    assert_true(draw == fo_rng_uniform(1, 2, 3));
    assert_true(draw != fo_rng_uniform(2, 2, 3));
    assert_true(draw != fo_rng_uniform(1, 3, 3));
    assert_true(draw != fo_rng_uniform(1, 2, 4));
    assert_true(draw != fo_rng_uniform(1 + (UINT64_C(1) << 32), 2, 3));
    assert_true(draw != fo_rng_uniform(1, 2, 3 + (UINT64_C(1) << 32)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vectors_come_out),
        cmocka_unit_test(a_draw_is_the_top_24_bits),
        cmocka_unit_test(draws_are_spread_evenly),
        cmocka_unit_test(streams_and_seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
