#include "common/memory.h"
#include "common/rng.h"
#include "cpu/cpu.h"
#include "inputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

typedef struct shape {
    fo_dtype dtype;
    int blocks, K, B, D, T;
    int padding; /* floats between rows */
} shape;

/* Compare a pool with its picture. */
static size_t pool_bytes(const fo_kv *kv)
{
    return fo_dtype_bytes(kv->dtype,
                          (int64_t)kv->num_blocks * kv->K * kv->B * kv->D);
}

static void assert_pool(const guarded *pool, const fo_kv *kv, const float *rows,
                        int stride, const int64_t *slots, int T)
{
    size_t bytes = pool_bytes(kv);
    char *want = fo_memory_alloc(bytes, 1, NULL);
    char *got = fo_memory_alloc(bytes, 1, NULL);
    poison(want, bytes);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < kv->K && slots[t] >= 0; h++) {
            int64_t at = (slots[t] / kv->B * kv->K + h) * kv->B * kv->D +
                         slots[t] % kv->B * kv->D;
            fo_dtype_store(kv->dtype, rows + (int64_t)t * stride + h * kv->D,
                           want + fo_dtype_bytes(kv->dtype, at), kv->D);
        }
    guarded_read(pool, got);
    assert_memory_equal(got, want, bytes);
    fo_memory_free(want);
    fo_memory_free(got);
}

/* Draw slots for a batch. */
static int64_t *draw_slots(const shape *s, uint64_t seed)
{
    int64_t all = (int64_t)s->blocks * s->B;
    int64_t *slots = fo_memory_alloc((size_t)all, sizeof *slots, NULL);
    for (int64_t i = 0; i < all; i++)
        slots[i] = i;
    for (int64_t i = all - 1; i > 0; i--) {
        float u = fo_rng_uniform(seed, 3, (uint64_t)i);
        int64_t j = (int64_t)(u * (float)i);
        int64_t slot = slots[i];
        slots[i] = slots[j];
        slots[j] = slot;
    }
    for (int t = 0; t < s->T; t += 4)
        slots[t] = -1;
    return slots;
}

/* Write a batch of rows and compare every byte. */
static void write_and_compare(fo_device *device, const shape *s, uint64_t seed)
{
    fo_kv kv = {NULL, NULL, s->dtype, s->blocks, s->K, s->B, s->D};
    int width = s->K * s->D, stride = width + s->padding;
    size_t floats = (size_t)s->T * (size_t)stride;
    size_t bytes = pool_bytes(&kv);
    float *k = fo_memory_alloc(floats, sizeof *k, NULL);
    float *v = fo_memory_alloc(floats, sizeof *v, NULL);
    fill_normal(k, floats, seed, 1);
    fill_normal(v, floats, seed, 2);
    int64_t *slots = draw_slots(s, seed);
    guarded all[] = {
        guarded_copy(device, k, floats * sizeof *k),
        guarded_copy(device, v, floats * sizeof *v),
        guarded_copy(device, slots, (size_t)s->T * sizeof *slots),
        guarded_open(device, bytes),
        guarded_open(device, bytes),
    };
    kv.k = all[3].data;
    kv.v = all[4].data;
    assert_int_equal(device->backend->kv_write(device, &kv, all[0].data,
                                               all[1].data, stride, all[2].data,
                                               s->T, NULL),
                     FO_OK);
    assert_pool(&all[3], &kv, k, stride, slots, s->T);
    assert_pool(&all[4], &kv, v, stride, slots, s->T);
    for (int i = 0; i < COUNT(all); i++)
        guarded_close(&all[i]);
    fo_memory_free(slots);
    fo_memory_free(k);
    fo_memory_free(v);
}

/* Check writing over a grid. */
static void test_A7_rows_are_written_bit_by_bit(void **state)
{
    static const int block_sizes[] = {8, 16, 32, 256};
    static const int head_dims[] = {64, 80, 96, 128, 256};
    static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
    int cases = 0;
    for (int b = 0; b < COUNT(block_sizes); b++)
        for (int d = 0; d < COUNT(head_dims); d++)
            for (int t = 0; t < COUNT(dtypes); t++) {
                shape s = {.dtype = dtypes[t],
                           .blocks = 4,
                           .K = 1 + (b + d + t) % 4,
                           .B = block_sizes[b],
                           .D = head_dims[d],
                           .T = cases % 5 == 0 ? 1 : 23,
                           .padding = cases % 3 * 5};
                write_and_compare(*state, &s, (uint64_t)cases++);
            }
    print_message("kv_write: %d cases, every byte equal\n", cases);
}

/* Check that a row lands in its slot and nowhere else. */
static void test_A6_a_row_lands_in_its_slot_and_nowhere_else(void **state)
{
    fo_device *device = *state;
    fo_kv kv = {NULL, NULL, FO_F32, 4, 1, 4, 4};
    guarded k = guarded_open(device, pool_bytes(&kv));
    guarded v = guarded_open(device, pool_bytes(&kv));
    kv.k = k.data;
    kv.v = v.data;
    float rows[9 * 4], stored[16 * 4];
    int64_t slots[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 9 * 4; i++)
        rows[i] = i < 8 * 4 ? (float)(i / 4) : 9;
    static const int steps[] = {5, 3, 1};
    for (int i = 0, at = 0; i < COUNT(steps); at += steps[i++]) {
        guarded row = guarded_copy(device, rows + at * 4,
                                   (size_t)steps[i] * 4 * sizeof *rows);
        guarded slot =
            guarded_copy(device, slots + at, (size_t)steps[i] * sizeof *slots);
        assert_int_equal(device->backend->kv_write(device, &kv, row.data,
                                                   row.data, 4, slot.data,
                                                   steps[i], NULL),
                         FO_OK);
        guarded_close(&row);
        guarded_close(&slot);
    }
    guarded_read(&k, stored);
    for (int i = 0; i < 16 * 4; i++)
        if (i < 9 * 4)
            assert_true(stored[i] == rows[i]);
        else
            assert_true(isnan(stored[i]));
    guarded_close(&k);
    guarded_close(&v);
}

/* Check copies of blocks. */
static void test_A7_blocks_are_copied_whole(void **state)
{
    fo_device *device = *state;
    static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
    static const int32_t from[] = {2, -1, 0, 5}, to[] = {4, 1, -1, 3};
    for (int t = 0; t < COUNT(dtypes); t++) {
        fo_kv kv = {NULL, NULL, dtypes[t], 6, 3, 8, 80};
        size_t bytes = pool_bytes(&kv), block = bytes / 6;
        unsigned char *want = fo_memory_alloc(bytes, 1, NULL);
        unsigned char *got = fo_memory_alloc(bytes, 1, NULL);
        for (size_t i = 0; i < bytes; i++)
            want[i] = (unsigned char)(i / block * 31 + i % 251);
        guarded k = guarded_copy(device, want, bytes);
        guarded v = guarded_copy(device, want, bytes);
        guarded f = guarded_copy(device, from, sizeof from);
        guarded g = guarded_copy(device, to, sizeof to);
        kv.k = k.data;
        kv.v = v.data;
        assert_int_equal(device->backend->kv_copy(device, &kv, f.data, g.data,
                                                  COUNT(from), NULL),
                         FO_OK);
        memcpy(want + 4 * block, want + 2 * block, block);
        memcpy(want + 3 * block, want + 5 * block, block);
        guarded *all[] = {&k, &v, &f, &g};
        for (int i = 0; i < 2; i++) {
            guarded_read(all[i], got);
            assert_memory_equal(got, want, bytes);
        }
        for (int i = 0; i < COUNT(all); i++)
            guarded_close(all[i]);
        fo_memory_free(want);
        fo_memory_free(got);
    }
}

/* Check that slots and blocks out of range are refused. */
static void test_A7_nothing_is_written_out_of_range(void **state)
{
    fo_device *device = *state;
    float k[64], v[64], rows[16] = {0};
    fo_kv kv = {k, v, FO_F32, 2, 2, 4, 4};
    static const int64_t slots[][2] = {{0, 8}, {0, -2}, {1, INT64_MAX}};
    static const int32_t pairs[][2] = {{0, 2}, {2, 0}, {-2, 0}, {0, -2}};
    poison(k, sizeof k);
    poison(v, sizeof v);
    fo_error error = {0};
    for (int i = 0; i < COUNT(slots); i++)
        assert_int_equal(device->backend->kv_write(device, &kv, rows, rows, 8,
                                                   slots[i], 2, &error),
                         FO_ARG);
    for (int i = 0; i < COUNT(pairs); i++)
        assert_int_equal(device->backend->kv_copy(device, &kv, &pairs[i][0],
                                                  &pairs[i][1], 1, &error),
                         FO_ARG);
    kv.dtype = FO_Q4_0;
    assert_int_equal(device->backend->kv_write(device, &kv, rows, rows, 8,
                                               slots[0], 1, &error),
                     FO_ARG);
    for (int i = 0; i < 64; i++)
        assert_true(isnan(k[i]) && isnan(v[i]));
}

/* Run the tests of the cache. */
int main(void)
{
    fo_device *device;
    if (fo_backend_cpu.open(NULL, &device, NULL) != FO_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_A7_rows_are_written_bit_by_bit, device),
        cmocka_unit_test_prestate(
            test_A6_a_row_lands_in_its_slot_and_nowhere_else, device),
        cmocka_unit_test_prestate(test_A7_blocks_are_copied_whole, device),
        cmocka_unit_test_prestate(test_A7_nothing_is_written_out_of_range,
                                  device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fo_backend_cpu.close(&device);
    return failed;
}
