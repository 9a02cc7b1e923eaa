#include "common/memory.h"
#include "cpu/cpu.h"
#include "inputs.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static fo_device *recto, *verso;

/* Write a batch on one side. */
typedef struct cache_case {
    fo_dtype dtype;
    int blocks, K, B, D, T;
    int padding; /* floats between rows         */
    int shift;   /* floats before the first row */
} cache_case;

static size_t cache_bytes(const cache_case *c)
{
    return fo_dtype_bytes(c->dtype, (int64_t)c->blocks * c->K * c->B * c->D);
}

/* Both pools, keys first, after a batch whose rows lie `shift` floats behind a
 * multiple of 64 bytes; `out` has room for 2 cache_bytes. */
static void write_on(fo_device *device, const cache_case *c,
                     const float *rows /* (2, T, stride) */,
                     const int64_t *slots, unsigned char *out)
{
    int stride = c->K * c->D + c->padding;
    size_t floats = (size_t)c->T * (size_t)stride, bytes = cache_bytes(c);
    guarded in = guarded_copy(device, rows - c->shift,
                              (2 * floats + (size_t)c->shift) * sizeof *rows);
    guarded s = guarded_copy(device, slots, (size_t)c->T * sizeof *slots);
    guarded k = guarded_open(device, bytes), v = guarded_open(device, bytes);
    fo_kv kv = {k.data, v.data, c->dtype, c->blocks, c->K, c->B, c->D};
    const float *first = (float *)in.data + c->shift;
    assert_int_equal(device->backend->kv_write(device, &kv, first,
                                               first + floats, stride, s.data,
                                               c->T, NULL),
                     FO_OK);
    guarded_read(&k, out);
    guarded_read(&v, out + bytes);
    guarded *all[] = {&in, &s, &k, &v};
    for (int i = 0; i < COUNT(all); i++)
        guarded_close(all[i]);
}

/* Draw a batch of rows and slots. */
/* Slots 5 t + 3, which are all different; every fourth token has none. Rows
 * hold numbers of all sizes, so that rounding has its overflows and zeros. */
static void draw_batch(const cache_case *c, float *rows, size_t n,
                       int64_t *slots)
{
    static const float scales[] = {1, 1e-7f, 70000, 1e-41f, 3e38f};
    fill_normal(rows, n, (uint64_t)c->D, (uint64_t)c->B);
    for (size_t i = 0; i < n; i++)
        rows[i] *= scales[i % 5];
    int64_t all = (int64_t)c->blocks * c->B;
    for (int t = 0; t < c->T; t++)
        slots[t] = t % 4 == 2 ? -1 : (t * 5 + 3) % all;
}

/* Compare the pools of both sides byte by byte. */
static void judge_write(const cache_case *c, int seeds)
{
    int stride = c->K * c->D + c->padding;
    size_t n = 2 * (size_t)c->T * (size_t)stride, bytes = 2 * cache_bytes(c);
    float *rows = fo_memory_alloc(n + 16, sizeof *rows, NULL);
    int64_t *slots = fo_memory_alloc((size_t)c->T, sizeof *slots, NULL);
    unsigned char *want = fo_memory_alloc(bytes, 1, NULL);
    unsigned char *got = fo_memory_alloc(bytes, 1, NULL);
    draw_batch(c, rows + 16, n, slots);
    write_on(recto, c, rows + 16, slots, want);
    for (int seed = 0; seed <= seeds; seed++) {
        verso_schedule((uint64_t)seed);
        write_on(verso, c, rows + 16, slots, got);
        verso_assert_clean();
        for (size_t i = 0; i < bytes; i++)
            if (got[i] != want[i])
                fail_msg("byte %zu: %02x, not %02x; %s K=%d B=%d D=%d seed %d",
                         i, got[i], want[i], fo_dtype_info_get(c->dtype)->name,
                         c->K, c->B, c->D, seed);
    }
    verso_schedule(0);
    fo_memory_free(rows);
    fo_memory_free(slots);
    fo_memory_free(want);
    fo_memory_free(got);
}

/* Compare writes over a grid. */
static void test_A7_writes_are_the_same_on_both_sides(void **state)
{
    (void)state;
    static const int block_sizes[] = {8, 16, 32, 256};
    static const int head_dims[] = {64, 80, 96, 128, 256, 33};
    static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
    int cases = 0;
    for (int b = 0; b < COUNT(block_sizes); b++)
        for (int d = 0; d < COUNT(head_dims); d++)
            for (int t = 0; t < COUNT(dtypes); t++, cases++) {
                cache_case c = {.dtype = dtypes[t],
                                .blocks = 4,
                                .K = 1 + (b + d + t) % 4,
                                .B = block_sizes[b],
                                .D = head_dims[d],
                                .T = cases % 5 == 0 ? 1 : 13,
                                .padding = cases % 3 * 4,
                                .shift = cases % 7 == 0};
                if (cases % 9 == 0 || !getenv("FOLIO_QUICK"))
                    judge_write(&c, 0);
            }
    printf("kv_write: %d cases, every byte equal\n", cases);
    assert_true(cases > 0);
    cache_case c = {FO_F16, 4, 2, 8, 80, 9, 4, 0};
    judge_write(&c, 20);
}

/* Refuse nothing and write nothing for a slot that is not there. */
static void test_A7_slots_outside_the_cache_write_nothing(void **state)
{
    (void)state;
    cache_case c = {FO_F32, 2, 1, 4, 8, 4, 0, 0};
    static const int64_t slots[] = {8, -2, INT64_MAX, INT64_MIN};
    static float rows[2 * 4 * 8];
    unsigned char pools[2 * 2 * 4 * 8 * 4], untouched[sizeof pools];
    memset(untouched, 0xff, sizeof untouched);
    write_on(verso, &c, rows, slots, pools);
    assert_memory_equal(pools, untouched, sizeof pools);
    verso_assert_clean();
}

/* Copy blocks on both sides. */
static void copy_on(fo_device *device, const cache_case *c,
                    const unsigned char *pool, const int32_t *from,
                    const int32_t *to, int n, unsigned char *out)
{
    size_t bytes = cache_bytes(c);
    guarded k = guarded_copy(device, pool, bytes);
    guarded v = guarded_copy(device, pool + bytes, bytes);
    guarded f = guarded_copy(device, from, (size_t)n * sizeof *from);
    guarded t = guarded_copy(device, to, (size_t)n * sizeof *to);
    fo_kv kv = {k.data, v.data, c->dtype, c->blocks, c->K, c->B, c->D};
    assert_int_equal(
        device->backend->kv_copy(device, &kv, f.data, t.data, n, NULL), FO_OK);
    guarded_read(&k, out);
    guarded_read(&v, out + bytes);
    guarded *all[] = {&k, &v, &f, &t};
    for (int i = 0; i < COUNT(all); i++)
        guarded_close(all[i]);
}

/* Compare copies of blocks. */
static void judge_copy(const cache_case *c)
{
    static const int32_t from[] = {2, -1, 0, 5, 1}, to[] = {4, 1, -1, 3, 1};
    size_t bytes = cache_bytes(c);
    unsigned char *pool = fo_memory_alloc(2 * bytes, 1, NULL);
    unsigned char *want = fo_memory_alloc(2 * bytes, 1, NULL);
    unsigned char *got = fo_memory_alloc(2 * bytes, 1, NULL);
    for (size_t i = 0; i < 2 * bytes; i++)
        pool[i] = (unsigned char)(i / (bytes / 6) * 31 + i % 251);
    copy_on(recto, c, pool, from, to, COUNT(from), want);
    for (uint64_t seed = 0; seed <= 20; seed++) {
        verso_schedule(seed);
        copy_on(verso, c, pool, from, to, COUNT(from), got);
        verso_assert_clean();
        assert_memory_equal(got, want, 2 * bytes);
    }
    assert_memory_not_equal(want, pool, 2 * bytes);
    verso_schedule(0);
    fo_memory_free(pool);
    fo_memory_free(want);
    fo_memory_free(got);
}

static void test_copies_are_the_same_on_both_sides(void **state)
{
    (void)state;
    static const cache_case cases[] = {
        {FO_F32, 6, 3, 8, 80, 0, 0, 0},   {FO_F16, 6, 3, 8, 80, 0, 0, 0},
        {FO_BF16, 6, 1, 16, 64, 0, 0, 0}, {FO_F16, 6, 1, 1, 3, 0, 0, 0},
        {FO_F32, 6, 1, 3, 5, 0, 0, 0},    {FO_F16, 6, 4, 32, 128, 0, 0, 0},
    };
    for (int i = 0; i < COUNT(cases); i++)
        judge_copy(&cases[i]);
}

/* Refuse what is no cache. */
static void test_no_cache_is_refused(void **state)
{
    (void)state;
    static const fo_kv wrong[] = {{NULL, NULL, FO_Q4_0, 2, 2, 4, 4},
                                  {NULL, NULL, FO_F32, 2, 0, 4, 4},
                                  {NULL, NULL, FO_F32, 2, 2, 0, 4},
                                  {NULL, NULL, FO_F32, 2, 2, 4, -1}};
    fo_error there, here;
    for (int i = 0; i < COUNT(wrong); i++) {
        recto->backend->kv_write(recto, &wrong[i], NULL, NULL, 8, NULL, 1,
                                 &there);
        assert_int_equal(verso->backend->kv_write(verso, &wrong[i], NULL, NULL,
                                                  8, NULL, 1, &here),
                         FO_ARG);
        assert_string_equal(here.message, there.message);
        assert_int_equal(
            verso->backend->kv_copy(verso, &wrong[i], NULL, NULL, 1, &here),
            FO_ARG);
        assert_string_equal(here.message, there.message);
    }
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
        cmocka_unit_test(test_A7_writes_are_the_same_on_both_sides),
        cmocka_unit_test(test_A7_slots_outside_the_cache_write_nothing),
        cmocka_unit_test(test_copies_are_the_same_on_both_sides),
        cmocka_unit_test(test_no_cache_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    verso->backend->close(&verso);
    fo_backend_cpu.close(&recto);
    return failed;
}
