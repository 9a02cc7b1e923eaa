#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "verso.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

enum { MOST = 64 * 1024 };

static float x[MOST], y[MOST], want[MOST], got[MOST];
static fo_device *recto, *verso;

/* In a hurry, every ninth case. */
static bool skipped(int number)
{
    return number % 9 > 0 && getenv("FOLIO_QUICK");
}

/* Run an op on one side. */
/* A case of an op: what it needs besides the floats in x and y. */
typedef struct op_case {
    int T, C;
    size_t inputs, outputs; /* floats of x and y, of the result */
    int shift;              /* floats before the first input    */
    fo_rope rope;
    int32_t places[64]; /* positions or rows */
} op_case;

typedef fo_status op(fo_device *device, float *out, const float *a,
                     const float *b, const int32_t *places, const op_case *c);

/* The result on one device; inputs and output lie between guards, the inputs
 * `shift` floats behind an address that is a multiple of 64. */
static void run(fo_device *device, op *call, const op_case *c, float *out)
{
    size_t shift = (size_t)c->shift, n = c->inputs;
    float *padded = fo_memory_alloc(shift + n, sizeof *padded, NULL);
    memcpy(padded + shift, x, n * sizeof *padded);
    guarded a = guarded_copy(device, padded, (shift + n) * sizeof *padded);
    memcpy(padded + shift, y, n * sizeof *padded);
    guarded b = guarded_copy(device, padded, (shift + n) * sizeof *padded);
    guarded places = guarded_copy(device, c->places, sizeof c->places);
    guarded result = guarded_open(device, c->outputs * sizeof *out);
    assert_int_equal(call(device, result.data, (float *)a.data + shift,
                          (float *)b.data + shift, places.data, c),
                     FO_OK);
    guarded_read(&result, out);
    guarded_close(&result);
    guarded_close(&places);
    guarded_close(&b);
    guarded_close(&a);
    fo_memory_free(padded);
}

/* Judge the verso by the recto. */
static double judge(const char *name, op *call, const op_case *c,
                    fo_tolerance tolerance)
{
    run(recto, call, c, want);
    run(verso, call, c, got);
    verso_assert_clean();
    return assert_close_floats(got, want, c->outputs, tolerance,
                               "%s T=%d C=%d shift=%d", name, c->T, c->C,
                               c->shift);
}

/* The same bits under twenty schedules. */
static void judge_schedules(const char *name, op *call, const op_case *c)
{
    run(verso, call, c, want);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        verso_schedule(seed);
        run(verso, call, c, got);
        verso_assert_clean();
        assert_same_bits(got, want, c->outputs, "%s, seed %d", name, (int)seed);
    }
    verso_schedule(0);
}

/* Name the ops. */
static fo_status call_norm(fo_device *device, float *out, const float *a,
                           const float *b, const int32_t *places,
                           const op_case *c)
{
    (void)places;
    return device->backend->rmsnorm(device, out, a, b, c->T, c->C, 1e-5f, NULL);
}

static fo_status call_add(fo_device *device, float *out, const float *a,
                          const float *b, const int32_t *places,
                          const op_case *c)
{
    (void)places;
    return device->backend->add(device, out, a, b, (int64_t)c->outputs, NULL);
}

/* The gate and the other half share rows of 2 C + 4 floats. */
static fo_status call_silu(fo_device *device, float *out, const float *a,
                           const float *b, const int32_t *places,
                           const op_case *c)
{
    (void)b, (void)places;
    return device->backend->silu_mul(device, out, a, a + c->C, c->T, c->C,
                                     2 * c->C + 4, NULL);
}

/* Name the ops that take places. */
static fo_status call_gather(fo_device *device, float *out, const float *a,
                             const float *b, const int32_t *places,
                             const op_case *c)
{
    (void)b;
    return device->backend->gather_rows(device, out, a, places, c->T, c->C,
                                        NULL);
}

/* Turn a copy, so that the inputs stay as they are. */
static fo_status call_rope(fo_device *device, float *out, const float *a,
                           const float *b, const int32_t *places,
                           const op_case *c)
{
    fo_rope rope = c->rope;
    rope.position = places;
    rope.frequency = b;
    size_t bytes = c->outputs * sizeof *out;
    fo_status status = device->backend->copy(device, out, a, bytes, NULL);
    return status == FO_OK ? device->backend->rope(device, out, &rope, NULL)
                           : status;
}

/* Judge the norm on both sides. */
static op_case norm_case(int T, int C, float scale)
{
    op_case c = {.T = T, .C = C};
    c.inputs = c.outputs = (size_t)T * (size_t)C;
    fill_normal(x, c.inputs, 1, (uint64_t)C);
    for (size_t i = 0; i < c.inputs; i++)
        x[i] *= scale;
    fill_uniform(y, c.inputs, 0.5f, 2, 2, (uint64_t)C);
    return c;
}

static void test_norm_on_both_sides(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33};
    static const int columns[] = {1, 2, 31, 32, 33, 96, 768, 1000, 1924};
    static const float scales[] = {1e-12f, 1, 1e15f, 1e30f};
    int cases = 0;
    double worst = 0;
    for (int i = 0; i < COUNT(tokens) * COUNT(columns); i++)
        for (int shift = 0; shift < 2; shift++) {
            int T = tokens[i % 4], n = cases++;
            if (skipped(n))
                continue;
            op_case c = norm_case(T, columns[i / 4], scales[n % 4]);
            c.shift = shift;
            worst = fmax(worst, judge("rmsnorm", call_norm, &c,
                                      (fo_tolerance){1e-20, 1e-5}));
        }
    printf("rmsnorm: %d cases, worst error %.2g\n", cases, worst);
    assert_true(cases > 0);
    op_case c = norm_case(3, 301, 1);
    judge_schedules("rmsnorm", call_norm, &c);
}

/* Judge addition and gather on both sides. */
static void test_add_on_both_sides(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 4, 33, 768, 1023, 1025, 50001};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int shift = 0; shift < 2; shift++) {
            op_case c = {.T = 1, .C = sizes[i], .shift = shift};
            c.inputs = c.outputs = (size_t)sizes[i];
            fill_normal(x, c.inputs, 1, c.inputs);
            fill_normal(y, c.inputs, 2, c.inputs);
            judge("add", call_add, &c, (fo_tolerance){0, 0});
        }
    op_case c = {.T = 1, .C = 2055, .inputs = 2055, .outputs = 2055};
    judge_schedules("add", call_add, &c);
}

static void test_gather_on_both_sides(void **state)
{
    (void)state;
    static const int columns[] = {1, 37, 96, 512, 1030};
    fill_normal(x, MOST, 1, 1);
    for (int i = 0; i < COUNT(columns); i++)
        for (int shift = 0; shift < 2; shift++) {
            op_case c = {.T = 7, .C = columns[i], .shift = shift};
            c.inputs = 9 * (size_t)c.C;
            c.outputs = 7 * (size_t)c.C;
            for (int t = 0; t < 7; t++)
                c.places[t] = (t * 5 + 8) % 9;
            judge("gather_rows", call_gather, &c, (fo_tolerance){0, 0});
            if (i == 3)
                judge_schedules("gather_rows", call_gather, &c);
        }
}

/* Judge the gate on both sides. */
static op_case silu_case(int T, int C)
{
    op_case c = {.T = T, .C = C};
    c.inputs = (size_t)T * (size_t)(2 * C + 4);
    c.outputs = (size_t)T * (size_t)C;
    fill_normal(x, c.inputs, 4, (uint64_t)C);
    return c;
}

static void test_silu_on_both_sides(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33};
    static const int columns[] = {1, 31, 64, 293, 512};
    double worst = 0;
    for (int i = 0; i < COUNT(tokens) * COUNT(columns); i++)
        for (int shift = 0; shift < 2; shift++) {
            op_case c = silu_case(tokens[i % 4], columns[i / 4]);
            c.shift = shift;
            worst =
                fmax(worst, judge("silu_mul", call_silu, &c, TOLERANCE_F32));
        }
    printf("silu_mul: worst error %.2g\n", worst);
    op_case c = silu_case(3, 64);
    judge_schedules("silu_mul", call_silu, &c);
}

/* Judge gates of every size. */
/* Gates from -200 to 200, and those that are no numbers. */
static void test_silu_of_every_size_on_both_sides(void **state)
{
    (void)state;
    enum { N = 20000 };
    op_case c = silu_case(1, N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * 0.02f;
        x[N + i] = 1;
    }
    judge("silu_mul", call_silu, &c, (fo_tolerance){1e-30, 1e-6});
    c = silu_case(1, 3);
    x[0] = NAN;
    x[1] = INFINITY;
    x[2] = -INFINITY;
    run(recto, call_silu, &c, want);
    run(verso, call_silu, &c, got);
    assert_true(isnan(want[0]) && isnan(got[0]));
    assert_true(got[1] == want[1] && got[2] == want[2]);
}

/* Judge the rotation on both sides. */
static op_case rope_case(int T, int D, int part, int style)
{
    int heads = 1 + (T + D) % 5, rotary = part == 1 ? D / 2 - 2 : D;
    op_case c = {.T = T, .C = D};
    c.rope = (fo_rope){.T = T,
                       .heads = heads,
                       .D = D,
                       .stride = heads * D + 13 * part,
                       .rotary = part == 2 ? 0 : rotary,
                       .style = (fo_rope_style)style,
                       .scale = part ? 1.19f : 1};
    c.inputs = c.outputs = (size_t)T * (size_t)c.rope.stride;
    if (c.inputs < 128)
        c.inputs = 128;
    fill_normal(x, c.inputs, 3, (uint64_t)rotary);
    for (int i = 0; i < rotary / 2; i++)
        y[i] = powf(10000, -2.0f * (float)i / (float)rotary);
    for (int t = 0; t < T; t++)
        c.places[t] = t == 0 ? 131071 : t * 37 % 4096;
    return c;
}

/* Judge the rotation over a grid. */
static void test_rope_on_both_sides(void **state)
{
    (void)state;
    static const int tokens[] = {1, 2, 7, 33};
    static const int sizes[] = {64, 80, 96, 128, 256};
    int cases = 0;
    double worst = 0;
    for (int i = 0; i < COUNT(tokens) * COUNT(sizes); i++)
        for (int part = 0; part < 3; part++)
            for (int style = 0; style < 2; style++) {
                if (skipped(cases++))
                    continue;
                op_case c = rope_case(tokens[i % 4], sizes[i / 4], part, style);
                worst =
                    fmax(worst, judge("rope", call_rope, &c, TOLERANCE_F32));
            }
    printf("rope: %d cases, worst error %.2g\n", cases, worst);
    for (int style = 0; style < 2; style++) {
        op_case c = rope_case(3, 80, 1, style);
        judge("rope", call_rope, &c, TOLERANCE_F32);
        judge_schedules("rope", call_rope, &c);
    }
}

/* Judge the embedding on both sides. */
static void embed_on(fo_device *device, fo_dtype dtype, const void *stored,
                     size_t bytes, const int32_t *tokens, int T, int C,
                     float *out)
{
    guarded table = guarded_copy(device, stored, bytes);
    guarded ids = guarded_copy(device, tokens, (size_t)T * sizeof *tokens);
    guarded result = guarded_open(device, (size_t)T * (size_t)C * sizeof *out);
    fo_weight weight = {table.data, dtype, 64, C};
    assert_int_equal(
        device->backend->embed(device, result.data, ids.data, &weight, T, NULL),
        FO_OK);
    guarded_read(&result, out);
    guarded_close(&result);
    guarded_close(&ids);
    guarded_close(&table);
}

/* Judge the embedding over a grid. */
static void test_embed_on_both_sides(void **state)
{
    (void)state;
    static const int sizes[] = {1, 7, 33}, columns[] = {32, 96, 320};
    static char stored[64 * 320 * 4];
    int32_t tokens[33];
    for (int t = 0; t < 33; t++)
        tokens[t] = (t * 31 + 63) % 64;
    for (int dtype = FO_F32; dtype <= FO_Q4_0; dtype++)
        for (int i = 0; i < 9; i++) {
            int T = sizes[i / 3], C = columns[i % 3];
            size_t bytes = fo_dtype_bytes((fo_dtype)dtype, 64 * C);
            fill_normal(x, 64 * (size_t)C, 8, 8);
            fo_dtype_store((fo_dtype)dtype, x, stored, 64 * C);
            embed_on(recto, dtype, stored, bytes, tokens, T, C, want);
            embed_on(verso, dtype, stored, bytes, tokens, T, C, got);
            verso_assert_clean();
            assert_same_bits(got, want, (size_t)T * (size_t)C, "embed %s",
                             fo_dtype_info_get(dtype)->name);
        }
}

/* A token that no table holds gets a row of NaN, and its neighbours do not. */
static void test_embed_of_no_token(void **state)
{
    (void)state;
    static const int32_t tokens[] = {3, -1, 64, 5};
    fill_normal(x, 64 * 32, 8, 8);
    embed_on(verso, FO_F32, x, 64 * 32 * sizeof *x, tokens, 4, 32, got);
    verso_assert_clean();
    for (int i = 0; i < 4 * 32; i++)
        assert_true(isnan(got[i]) == (i / 32 == 1 || i / 32 == 2));
    assert_same_bits(got, x + 3 * 32, 32, "embed");
}

/* Refuse what the recto refuses. */
static void test_refusals_are_the_same(void **state)
{
    (void)state;
    fo_rope ropes[] = {{.heads = 1, .D = 8, .stride = 8, .rotary = 3},
                       {.heads = 1, .D = 8, .stride = 8, .rotary = 10},
                       {.heads = 2, .D = 8, .stride = 15, .rotary = 8}};
    fo_weight tables[] = {{NULL, FO_I32, 4, 32}, {NULL, FO_Q8_0, 4, 33}};
    fo_error there, here;
    for (int i = 0; i < 3; i++) {
        recto->backend->rope(recto, NULL, &ropes[i], &there);
        assert_int_equal(verso->backend->rope(verso, NULL, &ropes[i], &here),
                         FO_ARG);
        assert_string_equal(here.message, there.message);
    }
    for (int i = 0; i < 2; i++) {
        recto->backend->embed(recto, NULL, NULL, &tables[i], 1, &there);
        assert_int_equal(
            verso->backend->embed(verso, NULL, NULL, &tables[i], 1, &here),
            FO_ARG);
        assert_string_equal(here.message, there.message);
    }
    recto->backend->silu_mul(recto, NULL, NULL, NULL, 1, 2, 1, &there);
    assert_int_equal(
        verso->backend->silu_mul(verso, NULL, NULL, NULL, 1, 2, 1, &here),
        FO_ARG);
    assert_string_equal(here.message, there.message);
}

/* Do nothing for nothing. */
static void test_nothing_is_done_for_nothing(void **state)
{
    (void)state;
    const fo_backend *b = verso->backend;
    fo_rope rope = {.heads = 1, .D = 8, .stride = 8, .rotary = 8};
    fo_weight table = {NULL, FO_F32, 4, 32};
    assert_int_equal(b->add(verso, NULL, NULL, NULL, 0, NULL), FO_OK);
    assert_int_equal(b->rmsnorm(verso, NULL, NULL, NULL, 0, 8, 1e-5f, NULL),
                     FO_OK);
    assert_int_equal(b->silu_mul(verso, NULL, NULL, NULL, 0, 8, 8, NULL),
                     FO_OK);
    assert_int_equal(b->gather_rows(verso, NULL, NULL, NULL, 0, 8, NULL),
                     FO_OK);
    assert_int_equal(b->rope(verso, NULL, &rope, NULL), FO_OK);
    assert_int_equal(b->embed(verso, NULL, NULL, &table, 0, NULL), FO_OK);
    verso_assert_clean();
}

int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    if (fo_backend_cpu.open(NULL, &recto, NULL) != FO_OK)
        return 1;
    verso = verso_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_on_both_sides),
        cmocka_unit_test(test_add_on_both_sides),
        cmocka_unit_test(test_gather_on_both_sides),
        cmocka_unit_test(test_silu_on_both_sides),
        cmocka_unit_test(test_silu_of_every_size_on_both_sides),
        cmocka_unit_test(test_rope_on_both_sides),
        cmocka_unit_test(test_embed_on_both_sides),
        cmocka_unit_test(test_embed_of_no_token),
        cmocka_unit_test(test_refusals_are_the_same),
        cmocka_unit_test(test_nothing_is_done_for_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    verso->backend->close(&verso);
    fo_backend_cpu.close(&recto);
    return failed;
}
