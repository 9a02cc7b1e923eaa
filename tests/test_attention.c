#include "attention_case.h"
#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* List the shapes of real models. */
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const int head_dims[] = {64, 80, 96, 128, 256, 20};
static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
static const struct {
    int H, K;
} heads[] = {{4, 4}, {8, 2}, {8, 1}, {5, 5}, {3, 1}};

/* Check the decode step over a grid of shapes. */
static void test_B1_decode_agrees_with_the_judge(void **state)
{
    static const int windows[] = {0, 1, 16, 100, 5000};
    attention_tally tally = {0};
    for (int d = 0; d < COUNT(head_dims); d++)
        for (int h = 0; h < COUNT(heads); h++)
            for (int t = 0; t < COUNT(dtypes); t++)
                for (int w = d + h + t; w < d + h + t + 2; w++)
                    attention_case_check(
                        *state,
                        &(attention_spec){.H = heads[h].H,
                                          .K = heads[h].K,
                                          .D = head_dims[d],
                                          .dtype = dtypes[t],
                                          .window = windows[w % COUNT(windows)],
                                          .N = 6,
                                          .lengths = {0, 1, 15, 16, 17, 130},
                                          .queries = {1, 1, 1, 1, 1, 1},
                                          .padding = w % 3,
                                          .seed = (uint64_t)tally.asked},
                        &tally);
    attention_tally_print(&tally, "decode");
}

/* Check the prefill step over a grid of shapes. */
static void test_B1_prefill_agrees_with_the_judge(void **state)
{
    static const int windows[] = {0, 16, 100, 1};
    attention_tally tally = {0};
    for (int d = 0; d < COUNT(head_dims); d++)
        for (int h = 0; h < COUNT(heads); h++)
            for (int i = 0; i < 3; i++)
                attention_case_check(
                    *state,
                    &(attention_spec){.H = heads[h].H,
                                      .K = heads[h].K,
                                      .D = head_dims[d],
                                      .dtype = dtypes[(d + i) % COUNT(dtypes)],
                                      .window =
                                          windows[(d + h + i) % COUNT(windows)],
                                      .N = 6,
                                      .lengths = {0, 1, 15, 65, 70, 150},
                                      .queries = {2, 1, 15, 65, 0, 20},
                                      .padding = i,
                                      .seed = 5000 + (uint64_t)tally.asked},
                    &tally);
    attention_tally_print(&tally, "prefill");
}

/* Check a thousand keys. */
static void test_B1_a_thousand_keys(void **state)
{
    attention_tally tally = {0};
    for (int d = 0; d < COUNT(head_dims); d++)
        attention_case_check(*state,
                             &(attention_spec){.H = 8,
                                               .K = 2,
                                               .D = head_dims[d],
                                               .N = 3,
                                               .lengths = {1024, 1023, 1025},
                                               .queries = {1, 1, 1},
                                               .seed = 6000 + (uint64_t)d},
                             &tally);
    attention_case_check(*state,
                         &(attention_spec){.H = 2,
                                           .K = 1,
                                           .D = 64,
                                           .window = 300,
                                           .N = 1,
                                           .lengths = {1024},
                                           .queries = {1024},
                                           .seed = 6100},
                         &tally);
    attention_tally_print(&tally, "1024 keys");
}

/* Check that every planted slip is caught. */
static void test_the_comparison_catches_every_slip(void **state)
{
    attention_spec spec = {.H = 6,
                           .K = 3,
                           .D = 64,
                           .window = 20,
                           .N = 2,
                           .lengths = {30, 55},
                           .queries = {4, 1},
                           .seed = 7000};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    double *wrong = fo_memory_alloc(n, sizeof *wrong, NULL);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    attention_case_judge(c, want, NAIVE_RIGHT);
    for (int slip = NAIVE_RIGHT; slip < NAIVE_SLIPS; slip++) {
        attention_case_judge(c, wrong, (naive_slip)slip);
        for (size_t i = 0; i < n; i++)
            got[i] = (float)wrong[i];
        bool equal =
            compare_arrays("slip", got, want, n, TOLERANCE_F32, NULL, 0) ||
            compare_arrays("slip", got, want, n, TOLERANCE_LOOSEST, NULL, 0);
        if (equal != (slip == NAIVE_RIGHT))
            fail_msg("slip %d was not judged rightly", slip);
    }
    fo_memory_free(got);
    fo_memory_free(wrong);
    fo_memory_free(want);
    attention_case_close(&c);
}

/* Check scores too large for a power of e. */
static void test_B1_huge_scores_stay_finite(void **state)
{
    attention_tally tally = {0};
    for (int h = 0; h < COUNT(heads); h++)
        attention_case_check(*state,
                             &(attention_spec){.H = heads[h].H,
                                               .K = heads[h].K,
                                               .D = 64,
                                               .N = 3,
                                               .lengths = {200, 1, 70},
                                               .queries = {3, 1, 1},
                                               .score = 10000,
                                               .seed = 8000 + (uint64_t)h},
                             &tally);
    attention_tally_print(&tally, "scores of 10000");
}

/* Check that threads change nothing. */
static void test_B1_threads_change_no_bit(void **state)
{
    attention_spec spec = {.H = 4,
                           .K = 2,
                           .D = 80,
                           .N = 4,
                           .lengths = {300, 90, 1, 130},
                           .queries = {100, 1, 1, 130},
                           .seed = 9000};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    float *one = fo_memory_alloc(n, sizeof *one, NULL);
    float *many = fo_memory_alloc(n, sizeof *many, NULL);
    int usual = omp_get_max_threads();
    omp_set_num_threads(1);
    attention_case_contiguous(c, one);
    for (int threads = 2; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        attention_case_contiguous(c, many);
        assert_same_bits(many, one, n, "%d threads", threads);
    }
    omp_set_num_threads(usual);
    fo_memory_free(one);
    fo_memory_free(many);
    attention_case_close(&c);
}

/* Check that a NaN in sight shows. */
static void put_bits(float *to, uint32_t bits)
{
    memcpy(to, &bits, sizeof bits);
}

static void test_a_nan_in_sight_shows(void **state)
{
    static const uint32_t nans[] = {0x7fc00000, 0x7fc00001, 0xffc00000,
                                    0x7fffffff, 0xffffffff};
    static float k[2 * 4 * 8], v[2 * 4 * 8], room[8192];
    fo_device *device = *state;
    fill_normal(v, COUNT(v), 1, 1);
    for (int i = 0; i < COUNT(nans); i++)
        for (int H = 2; H <= 4; H += 2) {
            int32_t start[] = {0, 1}, length[] = {4};
            fo_kv kv = {k, v, FO_F32, 1, 2, 4, 8};
            fo_attention a = {
                .N = 1, .T = 1, .H = H, .q_stride = 32, .scale = 1};
            float q[32], out[32];
            a.query_start = start;
            a.length = length;
            fill_normal(q, 32, 1, 2);
            fill_normal(k, COUNT(k), 1, 3);
            put_bits(&k[(1 * 4 + 2) * 8], nans[i]); /* of kv head 1, key 2 */
            fo_status status = device->backend->attention_contiguous(
                device, out, q, &kv, &a, (fo_workspace){room, sizeof room},
                NULL);
            assert_int_equal(status, FO_OK);
            for (int j = 0; j < H * 8; j++)
                if (isnan(out[j]) != (j >= H * 4))
                    fail_msg("NaN %08x, %d heads: value %d is %g", nans[i], H,
                             j, (double)out[j]);
        }
}

/* Check that senseless calls are refused. */
static void test_B1_senseless_calls_are_refused(void **state)
{
    static float cache[64], room[8192];
    fo_device *device = *state;
    float q[32] = {0}, out[32];
    int32_t start[2], length[1];
    for (int fault = 0; fault <= 8; fault++) {
        start[0] = fault == 1 ? 1 : 0;
        start[1] = fault == 2 ? 2 : fault == 1 ? 0 : 1;
        length[0] = fault == 3 ? 5 : 3;
        fo_kv kv = {cache, cache, FO_F32, 1, 2, 4, 8};
        kv.dtype = fault == 4 ? FO_Q8_0 : FO_F32;
        kv.num_blocks = fault == 5 ? 0 : 1;
        fo_attention a = {.N = 1, .T = 1, .H = 4, .q_stride = 32, .scale = 1};
        a.query_start = start;
        a.length = length;
        a.H = fault == 6 ? 5 : 4;
        a.window = fault == 7 ? -1 : 0;
        fo_workspace workspace = {room, fault == 8 ? 64 : sizeof room};
        poison(out, sizeof out);
        fo_error error = {0};
        fo_status status = device->backend->attention_contiguous(
            device, out, q, &kv, &a, workspace, &error);
        if (status != (fault ? FO_ARG : FO_OK))
            fail_msg("fault %d: %s", fault, fo_status_name(status));
        for (int i = 0; i < 32 && fault; i++)
            assert_true(isnan(out[i]));
    }
}

/* Run the tests of attention over whole sequences. */
int main(void)
{
    fo_device *device;
    if (fo_backend_cpu.open(NULL, &device, NULL) != FO_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_B1_decode_agrees_with_the_judge, device),
        cmocka_unit_test_prestate(test_B1_prefill_agrees_with_the_judge,
                                  device),
        cmocka_unit_test_prestate(test_B1_a_thousand_keys, device),
        cmocka_unit_test_prestate(test_the_comparison_catches_every_slip,
                                  device),
        cmocka_unit_test_prestate(test_B1_huge_scores_stay_finite, device),
        cmocka_unit_test_prestate(test_B1_threads_change_no_bit, device),
        cmocka_unit_test_prestate(test_a_nan_in_sight_shows, device),
        cmocka_unit_test_prestate(test_B1_senseless_calls_are_refused, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fo_backend_cpu.close(&device);
    return failed;
}
