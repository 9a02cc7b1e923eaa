#include "attention_case.h"
#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "inputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* List the shapes of the paged grid. */
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const int block_sizes[] = {8, 16, 32, 64, 128, 256};
static const int head_dims[] = {64, 80, 96, 128, 256};
static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
static const struct {
    int H, K;
} heads[] = {{4, 4}, {8, 2}, {8, 1}, {3, 3}, {3, 1}};

/* Pick a case of the grid. */
static attention_spec grid_spec(int b, int d, int h, int i)
{
    int B = block_sizes[b];
    const int windows[] = {0, 1, B, 100, 5000};
    return (attention_spec){
        .H = heads[h].H,
        .K = heads[h].K,
        .D = head_dims[d],
        .B = B,
        .dtype = dtypes[(b + d + i) % COUNT(dtypes)],
        .window = windows[(b + d + h + i) % COUNT(windows)],
        .N = 6,
        .lengths = {0, 1, B - 1, B, B + 1, 2 * B + 3},
        .queries = {1, 1, 1, 1, 1, 1},
        .padding = i % 3 * 4,
        .seed = (uint64_t)(((b * 8 + d) * 8 + h) * 8 + i),
    };
}

/* Check that neither paging nor the order of blocks changes a bit. */
static void test_B2_paging_changes_no_bit(void **state)
{
    for (int b = 0; b < COUNT(block_sizes); b++) {
        attention_spec spec =
            grid_spec(b, b % COUNT(head_dims), b % COUNT(heads), b);
        attention_case *c = attention_case_open(*state, &spec);
        size_t n = attention_case_values(c);
        float *whole = fo_memory_alloc(n, sizeof *whole, NULL);
        float *paged = fo_memory_alloc(n, sizeof *paged, NULL);
        attention_case_contiguous(c, whole);
        for (uint64_t order = 0; order < 6; order++) {
            attention_case_paged(c, order, order % 2, paged);
            assert_same_bits(paged, whole, n, "block size %d, order %d", spec.B,
                             (int)order);
        }
        fo_memory_free(whole);
        fo_memory_free(paged);
        attention_case_close(&c);
    }
}

/* Check two sequences of 30 and 55 tokens in scattered blocks. */
static void test_B3_scattered_blocks_equal_plain_attention(void **state)
{
    attention_spec spec = {.H = 32,
                           .K = 32,
                           .D = 128,
                           .B = 16,
                           .N = 2,
                           .lengths = {30, 55},
                           .queries = {1, 1},
                           .seed = 3};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    float *plain = fo_memory_alloc(n, sizeof *plain, NULL);
    float *paged = fo_memory_alloc(n, sizeof *paged, NULL);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    attention_case_contiguous(c, plain);
    attention_case_paged(c, 7, false, paged);
    attention_case_judge(c, want, NAIVE_RIGHT);
    assert_close_floats(paged, plain, n, TOLERANCE_LOOSEST, "B3 plain");
    double error = assert_close(paged, want, n, TOLERANCE_F32, "B3 judge");
    print_message("lengths 30 and 55: worst error %.2g\n", error);
    fo_memory_free(plain);
    fo_memory_free(paged);
    fo_memory_free(want);
    attention_case_close(&c);
}

/* Check decode and prefill over the grid. */
static void test_B2_decode_agrees_with_the_judge(void **state)
{
    attention_tally tally = {0};
    for (int b = 0; b < COUNT(block_sizes); b++)
        for (int d = 0; d < COUNT(head_dims); d++)
            for (int h = 0; h < COUNT(heads); h++) {
                attention_spec spec = grid_spec(b, d, h, h);
                attention_case_check(*state, &spec, &tally);
            }
    attention_tally_print(&tally, "decode");
}

static void test_B2_prefill_agrees_with_the_judge(void **state)
{
    attention_tally tally = {0};
    for (int b = 0; b < COUNT(block_sizes); b++)
        for (int d = 0; d < COUNT(head_dims); d++) {
            attention_spec spec = grid_spec(b, d, (b + d) % COUNT(heads), d);
            int queries[] = {2, 1, 7, 0, spec.B < 40 ? spec.B : 40, 17};
            memcpy(spec.queries, queries, sizeof queries);
            attention_case_check(*state, &spec, &tally);
        }
    attention_tally_print(&tally, "prefill");
}

/* Check every type with every window and block size. */
static void test_B2_types_and_windows_at_every_block_size(void **state)
{
    attention_tally tally = {0};
    for (int b = 0; b < COUNT(block_sizes); b++)
        for (int t = 0; t < COUNT(dtypes); t++)
            for (int w = 0; w < 5; w++) {
                attention_spec spec = grid_spec(b, 0, 1, w);
                const int windows[] = {0, 1, spec.B, 100, 5000};
                spec.dtype = dtypes[t];
                spec.window = windows[w];
                spec.H = 4;
                spec.K = 1;
                spec.queries[5] = 1 + w;
                attention_case_check(*state, &spec, &tally);
            }
    attention_tally_print(&tally, "types and windows");
}

static void test_B2_a_thousand_keys(void **state)
{
    attention_tally tally = {0};
    for (int b = 0; b < COUNT(block_sizes); b++) {
        attention_spec spec = grid_spec(b, b % COUNT(head_dims), 1, 0);
        const int lengths[] = {1024, 1023, 1025, 1024};
        memcpy(spec.lengths, lengths, sizeof lengths);
        spec.N = 4;
        spec.window = b % 2 ? 0 : 700;
        spec.queries[3] = 9;
        attention_case_check(*state, &spec, &tally);
    }
    attention_tally_print(&tally, "1024 keys");
}

/* Check that company changes nothing. */
static void test_B2_alone_or_in_a_batch(void **state)
{
    for (int h = 0; h < COUNT(heads); h++) {
        attention_spec spec = grid_spec(1, 1, h, h);
        attention_case *c = attention_case_open(*state, &spec);
        size_t n = attention_case_values(c), each = n / (size_t)spec.N;
        float *batch = fo_memory_alloc(n, sizeof *batch, NULL);
        float *alone = fo_memory_alloc(each, sizeof *alone, NULL);
        attention_case_paged(c, 1, false, batch);
        for (int i = 0; i < spec.N; i++) {
            attention_case part = attention_case_part(c, i, 0, 1);
            attention_case_paged(&part, 2, i % 2, alone);
            assert_same_bits(alone, batch + (size_t)i * each, each,
                             "sequence %d", i);
        }
        fo_memory_free(batch);
        fo_memory_free(alone);
        attention_case_close(&c);
    }
}

/* Check chunks of a prompt against the whole. */
static void test_B5_chunks_agree_with_the_whole(void **state)
{
    static const int sizes[] = {1, 7, 16, 64, 100};
    attention_spec spec = {.H = 4,
                           .K = 2,
                           .D = 96,
                           .B = 16,
                           .dtype = FO_F16,
                           .window = 90,
                           .N = 2,
                           .lengths = {40, 150},
                           .queries = {40, 140},
                           .seed = 5};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    size_t query = (size_t)(spec.H * spec.D);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    attention_case_judge(c, want, NAIVE_RIGHT);
    for (int s = 0; s < COUNT(sizes); s++) {
        /* Run the prompts in chunks. */
        for (int i = 0; i < spec.N; i++)
            for (int first = 0; first < spec.queries[i]; first += sizes[s]) {
                int left = spec.queries[i] - first;
                attention_case part = attention_case_part(
                    c, i, first, left < sizes[s] ? left : sizes[s]);
                size_t at = (size_t)(c->query_start[i] + first) * query;
                attention_case_paged(&part, (uint64_t)first, false, got + at);
            }
        double error =
            assert_close(got, want, n, TOLERANCE_F32, "chunks of %d", sizes[s]);
        print_message("chunks of %d: worst error %.2g\n", sizes[s], error);
    }
    fo_memory_free(got);
    fo_memory_free(want);
    attention_case_close(&c);
}

/* Check windows whose older blocks were given back. */
static void test_B6_blocks_behind_the_window_are_never_read(void **state)
{
    static const int windows[] = {1, 15, 16, 17, 33, 100};
    attention_tally tally = {0};
    for (int w = 0; w < COUNT(windows); w++)
        for (int b = 0; b < 3; b++) {
            attention_spec spec = {.H = 4,
                                   .K = 2,
                                   .D = 64,
                                   .B = block_sizes[b],
                                   .window = windows[w],
                                   .N = 4,
                                   .lengths = {300, 257, 256, 17},
                                   .queries = {1, 1, 1, 1},
                                   .seed = (uint64_t)(100 * w + b)};
            attention_case_check(*state, &spec, &tally);
            spec.queries[0] = 40;
            spec.queries[2] = 3;
            attention_case_check(*state, &spec, &tally);
        }
    attention_tally_print(&tally, "windows");
}

/* Check that broken tables are reported. */
static void test_B2_broken_tables_are_reported(void **state)
{
    static float cache[128], room[8192];
    fo_device *device = *state;
    float q[32] = {0}, out[32];
    for (int fault = 0; fault <= 6; fault++) {
        int32_t start[] = {0, 1}, length[] = {7}, row[] = {1};
        int32_t entries[] = {-1, -1, 2, fault == 1 ? -1 : fault == 2 ? 4 : 0};
        fo_kv kv = {cache, cache, FO_F32, 4, 2, 4, 4};
        kv.dtype = fault == 3 ? FO_I32 : FO_F32;
        fo_block_tables tables = {entries, fault == 4 ? 1 : 2, row};
        fo_attention a = {.N = 1, .T = 1, .H = 4, .q_stride = 16, .scale = 1};
        a.query_start = start;
        a.length = length;
        a.T = fault == 5 ? 2 : 1;
        a.H = fault == 6 ? 3 : 4;
        fo_workspace workspace = {room, sizeof room};
        poison(out, sizeof out);
        fo_error error = {0};
        fo_status status = device->backend->attention_decode(
            device, out, q, &kv, &tables, &a, workspace, &error);
        fo_status want = fault == 0 ? FO_OK : fault > 2 ? FO_ARG : FO_DEVICE;
        if (status != want)
            fail_msg("fault %d: %s", fault, fo_status_name(status));
        for (int i = 0; i < 16 && fault; i++)
            assert_true(isnan(out[i]));
    }
}

/* Run the tests of attention over blocks. */
int main(void)
{
    fo_device *device;
    if (fo_backend_cpu.open(NULL, &device, NULL) != FO_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_B2_paging_changes_no_bit, device),
        cmocka_unit_test_prestate(
            test_B3_scattered_blocks_equal_plain_attention, device),
        cmocka_unit_test_prestate(test_B2_decode_agrees_with_the_judge, device),
        cmocka_unit_test_prestate(test_B2_prefill_agrees_with_the_judge,
                                  device),
        cmocka_unit_test_prestate(test_B2_types_and_windows_at_every_block_size,
                                  device),
        cmocka_unit_test_prestate(test_B2_a_thousand_keys, device),
        cmocka_unit_test_prestate(test_B2_alone_or_in_a_batch, device),
        cmocka_unit_test_prestate(test_B5_chunks_agree_with_the_whole, device),
        cmocka_unit_test_prestate(
            test_B6_blocks_behind_the_window_are_never_read, device),
        cmocka_unit_test_prestate(test_B2_broken_tables_are_reported, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fo_backend_cpu.close(&device);
    return failed;
}
