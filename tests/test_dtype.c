#include "common/dtype.h"

#include "compare.h"
#include "inputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { PATTERNS = 65536, BLOCK = 32 };

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Read a binary16 by its definition. */
/* binary16 by its definition: a sign, five bits of exponent, ten of fraction.
 */
static double f16_by_definition(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double sign = half & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

/* Check every binary16 against the definition. */
static void every_f16_has_the_value_of_its_definition(void **state)
{
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        double want = f16_by_definition((uint16_t)i);
        float got = fo_f32_from_f16((uint16_t)i);
        if (isnan(want))
            assert_true(isnan(got));
        else
            assert_int_equal(bits_of(got), bits_of((float)want));
    }
}

/* Send every pattern on a round trip. */
static void every_pattern_makes_a_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        uint16_t half = (uint16_t)i;
        bool f16_nan = (half & 0x7fff) > 0x7c00;
        bool bf16_nan = (half & 0x7fff) > 0x7f80;
        assert_int_equal(fo_f16_from_f32(fo_f32_from_f16(half)),
                         f16_nan ? half | 0x0200 : half);
        assert_int_equal(fo_bf16_from_f32(fo_f32_from_bf16(half)),
                         bf16_nan ? half | 0x0040 : half);
    }
}

typedef struct half_type {
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
    uint16_t infinity;
    double end; /* the first value too large: where the next one would be */
} half_type;

static const half_type f16 = {fo_f32_from_f16, fo_f16_from_f32, 0x7c00, 65536};
static const half_type bf16 = {fo_f32_from_bf16, fo_bf16_from_f32, 0x7f80,
                               0x1p128};

/* Round every middle to the even neighbour. */
/* Between neighbours, the middle goes to the even one, all else to the near. */
static void check_rounding(const half_type *type)
{
    for (uint16_t low = 0; low < type->infinity; low++) {
        uint16_t high = (uint16_t)(low + 1);
        double above = high < type->infinity ? type->widen(high) : type->end;
        double middle = (type->widen(low) + above) / 2;
        float at = (float)middle;
        assert_true(at == middle);
        assert_int_equal(type->narrow(at), low % 2 == 0 ? low : high);
        assert_int_equal(type->narrow(nextafterf(at, 0)), low);
        assert_int_equal(type->narrow(nextafterf(at, INFINITY)), high);
        assert_int_equal(type->narrow(-at),
                         0x8000 | (low % 2 == 0 ? low : high));
    }
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    check_rounding(&f16);
    check_rounding(&bf16);
}

/* Keep the ends of the range. */
static void the_ends_of_the_range_are_kept(void **state)
{
    (void)state;
    assert_int_equal(fo_f16_from_f32(65504), 0x7bff);
    assert_int_equal(fo_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(fo_f16_from_f32(65520), 0x7c00);
    assert_int_equal(fo_f16_from_f32(3e38f), 0x7c00);
    assert_int_equal(fo_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(fo_f16_from_f32(0x1p-24f), 0x0001);
    assert_int_equal(fo_f16_from_f32(0x1p-25f), 0x0000);
    assert_int_equal(fo_f16_from_f32(-0x1p-149f), 0x8000);
    assert_int_equal(fo_bf16_from_f32(INFINITY), 0x7f80);
    assert_int_equal(fo_bf16_from_f32(0x1p-149f), 0x0000);
    assert_true(isnan(fo_f32_from_f16(fo_f16_from_f32(NAN))));
    assert_true(isnan(fo_f32_from_bf16(fo_bf16_from_f32(-NAN))));
}

/* Demand equal bits from rows and single values. */
/* The wide paths against single values, at every offset from a wide step. */
static void rows_and_single_values_agree_on_every_bit(void **state)
{
    (void)state;
    static uint16_t from[PATTERNS], back[PATTERNS], single[PATTERNS];
    static float row[PATTERNS], want[PATTERNS];
    const fo_dtype types[2] = {FO_F16, FO_BF16};
    for (int i = 0; i < PATTERNS; i++)
        from[i] = (uint16_t)i;
    for (int t = 0; t < 2; t++)
        for (int start = 0; start < 9; start++) {
            const half_type *type = t == 0 ? &f16 : &bf16;
            int n = PATTERNS - start;
            poison(row, sizeof row);
            fo_dtype_load(types[t], from + start, row, n);
            for (int i = 0; i < n; i++)
                want[i] = type->widen(from[start + i]);
            assert_same_bits(row, want, (size_t)n, "load %d", start);
            fo_dtype_store(types[t], row, back, n);
            for (int i = 0; i < n; i++)
                single[i] = type->narrow(row[i]);
            assert_memory_equal(back, single, (size_t)n * sizeof *back);
        }
}

/* Read a Q8_0 block written by hand. */
static void q8_0_matches_a_block_by_hand(void **state)
{
    (void)state;
    uint8_t block[34] = {0x00, 0x38}; /* the scale 0.5 */
    float got[BLOCK], want[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        block[2 + i] = (uint8_t)(int8_t)(i * 8 - 127);
        want[i] = 0.5f * (float)(i * 8 - 127);
    }
    fo_dtype_load(FO_Q8_0, block, got, BLOCK);
    assert_same_bits(got, want, BLOCK, "load");
    uint8_t stored[34];
    fo_dtype_store(FO_Q8_0, got, stored, BLOCK);
    assert_memory_equal(stored, block, sizeof block);
}

/* Read a Q4_0 block written by hand. */
static void q4_0_matches_a_block_by_hand(void **state)
{
    (void)state;
    uint8_t block[18] = {0x00, 0xb4}; /* the scale -0.25 */
    float got[BLOCK], want[BLOCK];
    for (int i = 0; i < BLOCK / 2; i++) {
        block[2 + i] = (uint8_t)(i | (15 - i) << 4);
        want[i] = -0.25f * (float)(i - 8);
        want[BLOCK / 2 + i] = -0.25f * (float)(7 - i);
    }
    fo_dtype_load(FO_Q4_0, block, got, BLOCK);
    assert_same_bits(got, want, BLOCK, "load");
    uint8_t stored[18];
    fo_dtype_store(FO_Q4_0, got, stored, BLOCK);
    assert_memory_equal(stored, block, sizeof block);
}

/* Stay within half a step of the truth. */
/* Every stored value is within half a step of the scale that was stored, save
 * where Q4_0 must cut off the side that its range does not reach. */
static void quantised_values_lie_within_half_a_step(void **state)
{
    (void)state;
    enum { N = 200 * BLOCK };
    static float x[N], back[N];
    uint8_t stored[N / BLOCK * 34];
    const fo_dtype types[2] = {FO_Q8_0, FO_Q4_0};
    fill_normal(x, N, 11, 0);
    for (int t = 0; t < 2; t++) {
        int bytes = fo_dtype_info_get(types[t])->block_bytes;
        fo_dtype_store(types[t], x, stored, N);
        fo_dtype_load(types[t], stored, back, N);
        for (int i = 0; i < N; i++) {
            uint16_t half;
            memcpy(&half, stored + i / BLOCK * bytes, sizeof half);
            float scale = fabsf(fo_f32_from_f16(half));
            float reach = types[t] == FO_Q4_0 ? 1.01f : 0.5f;
            assert_true(fabsf(x[i] - back[i]) <= reach * scale);
        }
    }
}

/* Keep blocks of extremes sound. */
static void blocks_of_extremes_stay_sound(void **state)
{
    (void)state;
    const fo_dtype types[2] = {FO_Q8_0, FO_Q4_0};
    const float values[] = {0, -0.0f, 1e-12f, 1e-45f, 65504, 3e38f, -3e38f};
    uint8_t stored[34];
    for (int t = 0; t < 2; t++) {
        float x[BLOCK] = {0}, back[BLOCK];
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            x[3] = values[i];
            fo_dtype_store(types[t], x, stored, BLOCK);
            fo_dtype_load(types[t], stored, back, BLOCK);
            for (int j = 0; j < BLOCK; j++)
                assert_true(isfinite(back[j]) && fabsf(back[j]) <= 3.1e38f);
            assert_true(back[3] * x[3] >= 0);
        }
        x[5] = NAN;
        fo_dtype_store(types[t], x, stored, BLOCK);
        fo_dtype_load(types[t], stored, back, BLOCK);
        for (int j = 0; j < BLOCK; j++)
            assert_true(isnan(back[j]));
    }
}

/* Read every scale of a block. */
/* All 65,536 scales with all values, against the format's own words. */
static void every_scale_of_a_block_is_read(void **state)
{
    (void)state;
    float got[BLOCK], want[BLOCK];
    for (int i = 0; i < PATTERNS; i++) {
        uint16_t half = (uint16_t)i;
        uint8_t block[34];
        memcpy(block, &half, sizeof half);
        float scale = fo_f32_from_f16(half);
        for (int j = 0; j < BLOCK; j++) {
            block[2 + j] = (uint8_t)(i * 7 + j * 37);
            want[j] = scale * (float)(int8_t)block[2 + j];
        }
        fo_dtype_load(FO_Q8_0, block, got, BLOCK);
        assert_memory_equal(got, want, sizeof got);
        for (int j = 0; j < BLOCK; j++) {
            int byte = block[2 + j % 16];
            want[j] = scale * (float)((j < 16 ? byte & 15 : byte >> 4) - 8);
        }
        fo_dtype_load(FO_Q4_0, block, got, BLOCK);
        assert_memory_equal(got, want, sizeof got);
    }
}

/* Spell the types and measure them. */
static void types_know_their_names_and_sizes(void **state)
{
    (void)state;
    for (int i = 0; i < FO_DTYPE_COUNT; i++)
        assert_int_equal(fo_dtype_parse(fo_dtype_info_get((fo_dtype)i)->name),
                         i);
    assert_int_equal(fo_dtype_parse("q8"), FO_DTYPE_COUNT);
    assert_int_equal(fo_dtype_parse(""), FO_DTYPE_COUNT);
    assert_int_equal(fo_dtype_bytes(FO_F32, 3), 12);
    assert_int_equal(fo_dtype_bytes(FO_Q8_0, 64), 68);
    assert_int_equal(fo_dtype_bytes(FO_Q4_0, 64), 36);
    assert_int_equal(fo_dtype_bytes(FO_BF16, 0), 0);
    assert_int_equal(fo_dtype_bytes(FO_F16, INT64_C(1) << 40), INT64_C(1)
                                                                   << 41);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_has_the_value_of_its_definition),
        cmocka_unit_test(every_pattern_makes_a_round_trip),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(the_ends_of_the_range_are_kept),
        cmocka_unit_test(rows_and_single_values_agree_on_every_bit),
        cmocka_unit_test(q8_0_matches_a_block_by_hand),
        cmocka_unit_test(q4_0_matches_a_block_by_hand),
        cmocka_unit_test(quantised_values_lie_within_half_a_step),
        cmocka_unit_test(blocks_of_extremes_stay_sound),
        cmocka_unit_test(every_scale_of_a_block_is_read),
        cmocka_unit_test(types_know_their_names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
