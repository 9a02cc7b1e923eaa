#include "attention_case.h"
#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "cuda/cuda.h"
#include "inputs.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/report.h"
#endif

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* List the shapes of the decode ladder. */
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

enum { RUNGS = 8, FIRST_SPLITTING = 6, TENSOR_CORES = 8 };

static const int block_sizes[] = {8, 16, 32, 256};
static const int head_dims[] = {64, 80, 96, 128, 256};
static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
static const struct {
    int H, K;
} heads[] = {{4, 4}, {4, 1}, {8, 2}, {8, 1}, {3, 1}};

static bool has_rung(int rung, fo_dtype dtype)
{
    return rung != TENSOR_CORES || dtype != FO_F32;
}

static fo_tolerance tolerance_of(fo_dtype dtype)
{
    return dtype == FO_F32 ? TOLERANCE_F32 : TOLERANCE_LOOSEST;
}

static void set_rung(fo_device *device, int rung)
{
    ((fo_cuda_settings *)device)->decode_rung = rung;
}

/* Count cases and keep the worst. */
typedef struct tally {
    int asked, cases;        /* that the grid names; that ran */
    double worst[RUNGS + 1]; /* error of each rung            */
} tally;

static bool left_out(tally *tally)
{
    return tally->asked++ % 9 > 0 && getenv("FOLIO_QUICK");
}

static void print_tally(const char *what, fo_dtype dtype, const tally *tally)
{
    assert_true(tally->cases > 0);
    for (int rung = 1; rung <= RUNGS; rung++)
        if (has_rung(rung, dtype))
            print_message("%s, V%d %s: %d cases, worst error %.2g\n", what,
                          rung, fo_dtype_info_get(dtype)->name, tally->cases,
                          tally->worst[rung]);
}

/* Let the CPU answer. */
static void ask_cpu(const attention_case *c, float *out)
{
    attention_case on_cpu = *c;
    assert_int_equal(fo_backend_cpu.open(NULL, &on_cpu.device, NULL), FO_OK);
    attention_case_paged(&on_cpu, c->spec.seed + 2, false, out);
    fo_backend_cpu.close(&on_cpu.device);
}

/* Judge one case on some rungs. */
/* Each against the float64 judge and against the CPU. */
static void judge(fo_device *device, tally *tally, const attention_spec *spec,
                  int first_rung, int last_rung)
{
    if (left_out(tally))
        return;
    attention_case *c = attention_case_open(device, spec);
    size_t n = attention_case_values(c);
    float *got = fo_memory_alloc(2 * n, sizeof *got, NULL), *cpu = got + n;
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    fo_tolerance tolerance = tolerance_of(spec->dtype);
    attention_case_judge(c, want, NAIVE_RIGHT);
    ask_cpu(c, cpu);
    for (int rung = first_rung; rung <= last_rung; rung++) {
        if (!has_rung(rung, spec->dtype))
            continue;
        set_rung(device, rung);
        attention_case_paged(c, spec->seed + (uint64_t)rung, false, got);
        double error = assert_close(
            got, want, n, tolerance,
            "V%d H %d K %d D %d B %d %s window %d seed %d", rung, spec->H,
            spec->K, spec->D, spec->B, fo_dtype_info_get(spec->dtype)->name,
            spec->window, (int)spec->seed);
        assert_close_floats(got, cpu, n, tolerance, "V%d and the CPU", rung);
        if (error > tally->worst[rung])
            tally->worst[rung] = error;
        verso_assert_clean();
    }
    tally->cases++;
    fo_memory_free(got);
    fo_memory_free(want);
    attention_case_close(&c);
}

/* Pick a case for every rung. */
/* Every type with every head size and block size, and all pairs of these with
 * the ways to share heads and with the windows; not all of their triples. */
static attention_spec grid_spec(int t, int d, int b)
{
    int B = block_sizes[b];
    const int windows[] = {0, 1, B, 2 * B + 1, 5000};
    int h = (t + d + b) % COUNT(heads), w = (t + 2 * d + b) % COUNT(windows);
    return (attention_spec){
        .H = heads[h].H,
        .K = heads[h].K,
        .D = head_dims[d],
        .B = B,
        .dtype = dtypes[t],
        .window = windows[w],
        .N = 6,
        .lengths = {0, 1, B - 1, B, B + 1, B < 100 ? 3 * B + 5 : 2},
        .queries = {1, 1, 1, 1, 1, 1},
        .padding = b % 3 * 4,
        .seed = (uint64_t)((t * 8 + d) * 8 + b),
    };
}

/* Check every rung against judge and CPU. */
static void test_B4_every_rung_agrees_with_judge_and_cpu(void **state)
{
    for (int t = 0; t < COUNT(dtypes); t++) {
        tally tally = {0};
        for (int d = 0; d < COUNT(head_dims); d++)
            for (int b = 0; b < COUNT(block_sizes); b++) {
                attention_spec spec = grid_spec(t, d, b);
                judge(*state, &tally, &spec, 1, RUNGS);
            }
        print_tally("grid", dtypes[t], &tally);
    }
}

/* Check corners, company, schedules and refusals. */
/* Check sequences longer than one split. */
static void test_B4_long_sequences(void **state)
{
    for (int t = 0; t < COUNT(dtypes); t++) {
        tally tally = {0};
        for (int window = 0; window <= 300; window += 300) {
            attention_spec spec = {.H = window ? 4 : 2,
                                   .K = window ? 1 : 2,
                                   .D = head_dims[t + 1],
                                   .B = block_sizes[t],
                                   .dtype = dtypes[t],
                                   .window = window,
                                   .N = 3,
                                   .lengths = {257, 3, 530},
                                   .queries = {1, 1, 1},
                                   .seed = (uint64_t)(100 + t)};
            judge(*state, &tally, &spec, 1, RUNGS);
        }
        print_tally("several splits", dtypes[t], &tally);
    }
}

/* Check sequences of several strips. */
/* V2 to V4 keep the scores of 1,024 keys at a time. */
static void test_B4_several_strips(void **state)
{
    for (int t = 0; t < COUNT(dtypes); t++) {
        tally tally = {0};
        attention_spec spec = {.H = 2,
                               .K = 1,
                               .D = 64,
                               .B = 32,
                               .dtype = dtypes[t],
                               .N = 2,
                               .lengths = {2100, 1025},
                               .queries = {1, 1},
                               .seed = 40 + (uint64_t)t};
        judge(*state, &tally, &spec, 2, 4);
        for (int rung = 2; rung <= 4; rung++)
            print_message("several strips, V%d %s: worst error %.2g\n", rung,
                          fo_dtype_info_get(dtypes[t])->name,
                          tally.worst[rung]);
    }
}

/* Check that the splits of a very long sequence grow. */
static void test_B4_splits_grow(void **state)
{
    tally tally = {0};
    attention_spec spec = {.H = 2,
                           .K = 1,
                           .D = 64,
                           .B = 256,
                           .dtype = FO_F16,
                           .N = 1,
                           .lengths = {16500},
                           .queries = {1},
                           .seed = 30};
    judge(*state, &tally, &spec, FIRST_SPLITTING, RUNGS);
    for (int rung = FIRST_SPLITTING; rung <= RUNGS; rung++)
        print_message("16500 tokens, V%d: worst error %.2g\n", rung,
                      tally.worst[rung]);
}

/* Check scattered blocks on every rung. */
static void test_B3_scattered_blocks_on_every_rung(void **state)
{
    for (int t = 0; t < COUNT(dtypes); t++) {
        tally tally = {0};
        attention_spec spec = {.H = 32,
                               .K = 32,
                               .D = 128,
                               .B = 16,
                               .dtype = dtypes[t],
                               .N = 2,
                               .lengths = {30, 55},
                               .queries = {1, 1},
                               .seed = 3};
        judge(*state, &tally, &spec, 1, RUNGS);
        print_tally("30 and 55 tokens", dtypes[t], &tally);
    }
}

/* Check that company changes no bit. */
/* Alone, the sequence also has another bound on lengths, and so another grid of
 * blocks. */
static void test_B4_alone_or_in_a_batch(void **state)
{
    for (int rung = 1; rung <= RUNGS; rung++) {
        set_rung(*state, rung);
        attention_spec spec = {.H = 6,
                               .K = 2,
                               .D = 64,
                               .B = 16,
                               .dtype = FO_F16,
                               .N = 3,
                               .lengths = {40, 530, 270},
                               .queries = {1, 1, 1},
                               .seed = (uint64_t)rung};
        attention_case *c = attention_case_open(*state, &spec);
        size_t n = attention_case_values(c), each = n / (size_t)spec.N;
        float *batch = fo_memory_alloc(2 * n, sizeof *batch, NULL);
        float *again = batch + n;
        attention_case_paged(c, 1, false, batch);
        attention_case_paged(c, 5, false, again);
        assert_same_bits(again, batch, n, "V%d run again", rung);
        for (int i = 0; i < spec.N; i++) {
            attention_case part = attention_case_part(c, i, 0, 1);
            part.attention.max_length = part.length[0];
            attention_case_paged(&part, 2, false, again);
            assert_same_bits(again, batch + (size_t)i * each, each,
                             "V%d, sequence %d alone", rung, i);
        }
        fo_memory_free(batch);
        attention_case_close(&c);
    }
    verso_assert_clean();
}

/* Check every rung under many schedules. */
static void test_B4_no_schedule_changes_a_bit(void **state)
{
    int seeds = getenv("FOLIO_QUICK") ? 2 : 20;
    for (int rung = 1; rung <= RUNGS; rung++) {
        set_rung(*state, rung);
        attention_spec spec = {.H = 2,
                               .K = 1,
                               .D = 64,
                               .B = 8,
                               .dtype = FO_F16,
                               .N = 2,
                               .lengths = {21, 261},
                               .queries = {1, 1},
                               .window = 258,
                               .seed = 7};
        attention_case *c = attention_case_open(*state, &spec);
        size_t n = attention_case_values(c);
        float *first = fo_memory_alloc(2 * n, sizeof *first, NULL);
        attention_case_paged(c, 1, false, first);
        for (int seed = 1; seed <= seeds; seed++) {
            verso_schedule((uint64_t)seed);
            attention_case_paged(c, 1, false, first + n);
            assert_same_bits(first + n, first, n, "V%d under schedule %d", rung,
                             seed);
        }
        verso_schedule(0);
        fo_memory_free(first);
        attention_case_close(&c);
    }
    verso_assert_clean();
}

/* Check that the tests can fail. */
static void test_B4_wrong_answers_are_noticed(void **state)
{
    for (int rung = 1; rung <= RUNGS; rung++) {
        set_rung(*state, rung);
        attention_spec spec = {.H = 4,
                               .K = 2,
                               .D = 64,
                               .B = 16,
                               .dtype = FO_F16,
                               .N = 2,
                               .lengths = {40, 33},
                               .queries = {1, 1},
                               .window = 20,
                               .seed = 11};
        attention_case *c = attention_case_open(*state, &spec);
        size_t n = attention_case_values(c);
        float *got = fo_memory_alloc(n, sizeof *got, NULL);
        double *want = fo_memory_alloc(n, sizeof *want, NULL);
        attention_case_paged(c, 1, false, got);
        for (int slip = 0; slip < NAIVE_SLIPS; slip++) {
            char report[256];
            if (slip == NAIVE_KEY_TOO_MANY)
                continue; /* no sequence stores a key after its query's */
            attention_case_judge(c, want, (naive_slip)slip);
            assert_int_equal(compare_arrays("slip", got, want, n,
                                            TOLERANCE_LOOSEST, report,
                                            sizeof report),
                             slip == NAIVE_RIGHT);
        }
        attention_case_judge(c, want, NAIVE_RIGHT);
        memset(got, 0, n * sizeof *got);
        char report[256];
        assert_false(compare_arrays("zeros", got, want, n, TOLERANCE_LOOSEST,
                                    report, sizeof report));
        fo_memory_free(got);
        fo_memory_free(want);
        attention_case_close(&c);
    }
    verso_assert_clean();
}

/* Check that large queries change no bit. */
static void test_B4_large_queries_change_no_bit(void **state)
{
    attention_spec spec = {.H = 8,
                           .K = 2,
                           .D = 80,
                           .B = 16,
                           .dtype = FO_F16,
                           .N = 2,
                           .lengths = {50, 17},
                           .queries = {1, 1},
                           .seed = 13};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    float *small = fo_memory_alloc(2 * n, sizeof *small, NULL);
    for (int rung = 1; rung <= RUNGS; rung++) {
        set_rung(*state, rung);
        attention_case_paged(c, 1, false, small);
        c->attention.scale *= 0x1p-20f;
        for (size_t i = 0; i < n; i++)
            c->q[i] *= 0x1p20f;
        attention_case_paged(c, 1, false, small + n);
        assert_same_bits(small + n, small, n, "V%d", rung);
        c->attention.scale *= 0x1p20f;
        for (size_t i = 0; i < n; i++)
            c->q[i] *= 0x1p-20f;
    }
    fo_memory_free(small);
    attention_case_close(&c);
    verso_assert_clean();
}

/* Check that no rung hides a NaN. */
static void test_B4_no_rung_hides_a_nan(void **state)
{
    attention_spec spec = {.H = 4,
                           .K = 2,
                           .D = 64,
                           .B = 16,
                           .dtype = FO_F16,
                           .N = 3,
                           .lengths = {1, 20, 300},
                           .queries = {1, 1, 1},
                           .seed = 12};
    attention_case *c = attention_case_open(*state, &spec);
    size_t n = attention_case_values(c);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    /* In kv head 1: the only key of sequence 0, and key 200 of sequence 2. */
    c->k[1 * 64 + 5] = NAN;
    c->k[((2 * c->L + 200) * 2 + 1) * 64 + 5] = NAN;
    for (int rung = 1; rung <= RUNGS; rung++) {
        set_rung(*state, rung);
        attention_case_paged(c, 1, false, got);
        for (int i = 0; i < (int)n; i++)
            if (isnan(got[i]) != (i / 256 != 1 && i / 128 % 2 == 1))
                fail_msg("V%d: value %d is %g", rung, i, (double)got[i]);
    }
    fo_memory_free(got);
    attention_case_close(&c);
    verso_assert_clean();
}

/* Check shapes that only some rungs take. */
static void test_B4_rung_zero_takes_every_shape(void **state)
{
    static const struct {
        int D, B;
        fo_dtype dtype;
    } odd[] = {{32, 16, FO_F16},  {20, 16, FO_F16}, {33, 5, FO_F32},
               {288, 16, FO_F16}, {64, 12, FO_F16}, {128, 1, FO_F32},
               {96, 40, FO_BF16}};
    for (int i = 0; i < COUNT(odd); i++) {
        tally tally = {0};
        attention_spec spec = {.H = 4,
                               .K = 1 + i % 2,
                               .D = odd[i].D,
                               .B = odd[i].B,
                               .dtype = odd[i].dtype,
                               .N = 3,
                               .lengths = {0, 13, 77},
                               .queries = {1, 1, 1},
                               .seed = (uint64_t)i};
        judge(*state, &tally, &spec, 0, 0);
    }
}

/* List what is refused. */
typedef struct refusal {
    const char *what;
    int rung, T, H, D, alignment;
    fo_dtype dtype;
    size_t workspace;
    fo_status status;
} refusal;

static const refusal refusals[] = {
    {"a query too many", 0, 2, 4, 64, 0, FO_F16, 1 << 16, FO_ARG},
    {"3 heads over 2", 0, 1, 3, 64, 0, FO_F16, 1 << 16, FO_ARG},
    {"a quantised cache", 0, 1, 4, 64, 0, FO_Q8_0, 1 << 16, FO_ARG},
    {"no ninth rung", 9, 1, 4, 64, 0, FO_F16, 1 << 16, FO_ARG},
    {"no room for splits", 6, 1, 4, 64, 0, FO_F16, 100, FO_ARG},
    {"f32 on tensor cores", 8, 1, 4, 64, 0, FO_F32, 1 << 16, FO_UNSUPPORTED},
    {"an odd head size", 5, 1, 4, 32, 0, FO_F16, 1 << 16, FO_UNSUPPORTED},
    {"a pool off its line", 4, 1, 4, 64, 4, FO_F16, 1 << 16, FO_UNSUPPORTED},
};

/* Check what is refused. */
static void test_B4_what_cannot_be_done_is_refused(void **state)
{
    fo_device *device = *state;
    for (int i = 0; i < COUNT(refusals); i++) {
        const refusal *r = &refusals[i];
        guarded memory = guarded_open(device, 1 << 16);
        guarded out = guarded_open(device, 4096);
        char *data = memory.data;
        fo_kv kv = {data + r->alignment, data, r->dtype, 4, 2, 4, r->D};
        fo_block_tables tables = {memory.data, 2, memory.data};
        fo_attention a = {.N = 1, .T = r->T, .H = r->H, .max_length = 600};
        a.length = memory.data;
        fo_workspace workspace = {memory.data, r->workspace};
        fo_error error = {0};
        set_rung(device, r->rung);
        fo_status status = device->backend->attention_decode(
            device, out.data, memory.data, &kv, &tables, &a, workspace, &error);
        if (status != r->status)
            fail_msg("%s: %s", r->what, fo_status_name(status));
        guarded_close(&memory);
        guarded_close(&out);
    }
}

/* Expect reports of the simulator. */
static void quiet(bool on)
{
#ifndef FO_NO_SIM
    sim_report_stream(on ? NULL : stderr);
#else
    (void)on;
#endif
}

static void forget_reports(void)
{
#ifndef FO_NO_SIM
    assert_true(sim_report_count() > 0);
    sim_reports_clear();
#endif
}

/* Check that a broken table ends the launch. */
/* Only the simulator survives it: a trap costs a real GPU its context. */
static void test_B2_a_broken_table_is_a_fault(void **state)
{
    static const int32_t wrong[] = {-1, 4, INT32_MAX, INT32_MIN};
    fo_device *device = *state;
    if (!verso_is_simulated())
        skip();
    quiet(true);
    for (int rung = 1; rung <= RUNGS; rung++)
        for (int i = 0; i < COUNT(wrong); i++) {
            int32_t length = 7, row = 0, entries[] = {2, wrong[i]};
            size_t pool = 4 * 4 * 64 * 2;
            guarded g[] = {guarded_open(device, pool),
                           guarded_copy(device, &length, sizeof length),
                           guarded_copy(device, &row, sizeof row),
                           guarded_copy(device, entries, sizeof entries),
                           guarded_open(device, 64 * sizeof(float))};
            fo_kv kv = {g[0].data, g[0].data, FO_F16, 4, 1, 4, 64};
            fo_block_tables tables = {g[3].data, 2, g[2].data};
            fo_attention a = {.N = 1, .T = 1, .H = 1, .max_length = 7};
            a.length = g[1].data;
            fo_error error = {0};
            set_rung(device, rung);
            fo_status status = device->backend->attention_decode(
                device, g[4].data, g[0].data, &kv, &tables, &a,
                (fo_workspace){0}, &error);
            if (status == FO_OK)
                status = device->backend->sync(device, &error);
            assert_int_equal(status, FO_DEVICE);
            forget_reports();
            for (int k = 0; k < COUNT(g); k++)
                guarded_close(&g[k]);
        }
    quiet(false);
}

/* Run the tests of the decode ladder. */
int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    fo_device *device = verso_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_B4_every_rung_agrees_with_judge_and_cpu,
                                  device),
        cmocka_unit_test_prestate(test_B4_long_sequences, device),
        cmocka_unit_test_prestate(test_B4_several_strips, device),
        cmocka_unit_test_prestate(test_B4_splits_grow, device),
        cmocka_unit_test_prestate(test_B3_scattered_blocks_on_every_rung,
                                  device),
        cmocka_unit_test_prestate(test_B4_alone_or_in_a_batch, device),
        cmocka_unit_test_prestate(test_B4_no_schedule_changes_a_bit, device),
        cmocka_unit_test_prestate(test_B4_wrong_answers_are_noticed, device),
        cmocka_unit_test_prestate(test_B4_large_queries_change_no_bit, device),
        cmocka_unit_test_prestate(test_B4_no_rung_hides_a_nan, device),
        cmocka_unit_test_prestate(test_B4_rung_zero_takes_every_shape, device),
        cmocka_unit_test_prestate(test_B4_what_cannot_be_done_is_refused,
                                  device),
        cmocka_unit_test_prestate(test_B2_a_broken_table_is_a_fault, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device->backend->close(&device);
    return failed;
}
