/* Include what the tests of prefill need. */
#include "attention_case.h"
#include "common/memory.h"
#include "compare.h"
#include "cpu/cpu.h"
#include "cuda/cuda.h"
#include "inputs.h"
#include "verso.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* List what the grid of prefill is made of. */
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

enum { RUNGS = 3 };

static const int block_sizes[] = {8, 16, 24, 32, 64, 128, 256};
static const int head_dims[] = {64, 80, 96, 128, 256};
static const fo_dtype dtypes[] = {FO_F32, FO_F16, FO_BF16};
static const struct {
    int H, K;
} heads[] = {{2, 2}, {4, 2}, {4, 1}, {3, 3}, {3, 1}};

typedef struct stage {
    fo_device *verso, *cpu;
} stage;

static bool takes(int rung, fo_dtype dtype)
{
    return rung < 3 || dtype != FO_F32;
}

static void choose(fo_device *device, int rung)
{
    if (device->backend != &fo_backend_cpu)
        ((fo_cuda_settings *)device)->prefill_rung = rung;
}

static fo_tolerance tolerance_of(fo_dtype dtype)
{
    return dtype == FO_F32 ? TOLERANCE_F32 : TOLERANCE_LOOSEST;
}

/* Keep a tally of a row of cases. */
typedef struct tally {
    int asked; /* cases that the grid names */
    int cases; /* cases that ran            */
    double worst[RUNGS + 1];
} tally;

static bool left_out(tally *tally)
{
    return tally->asked++ % 9 > 0 && getenv("FOLIO_QUICK");
}

static void print_tally(const char *what, const tally *tally)
{
    assert_true(tally->cases > 0);
    print_message("%s: %d cases; worst error of rung", what, tally->cases);
    for (int rung = 0; rung <= RUNGS; rung++)
        if (tally->worst[rung] > 0)
            print_message(" %d: %.2g", rung, tally->worst[rung]);
    print_message("\n");
}

/* Run a rung over one layout. */
typedef enum layout { CONTIGUOUS, PAGED } layout;

static void run(const attention_case *c, layout layout, int rung, float *out)
{
    choose(c->device, rung);
    if (layout == PAGED)
        attention_case_paged(c, c->spec.seed + 1, true, out);
    else
        attention_case_contiguous(c, out);
    choose(c->device, 0);
}

/* Judge every rung. */
/* By the float64 judge and by the CPU; all rungs that take the type, and over
 * one room the choice of rung 0. */
static void judge_rungs(const stage *stage, tally *tally, attention_case *c,
                        layout layout)
{
    const attention_spec *s = &c->spec;
    size_t n = attention_case_values(c);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    float *cpu = fo_memory_alloc(n, sizeof *cpu, NULL);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    attention_case_judge(c, want, NAIVE_RIGHT);
    attention_case here = *c;
    here.device = stage->cpu;
    run(&here, layout, 0, cpu);
    for (int rung = layout == PAGED; rung <= RUNGS; rung++) {
        if (!takes(rung, s->dtype))
            continue;
        /* Judge one rung. */
        char label[128];
        snprintf(label, sizeof label,
                 "rung %d H %d K %d D %d B %d %s window %d seed %d", rung, s->H,
                 s->K, s->D, s->B, fo_dtype_info_get(s->dtype)->name, s->window,
                 (int)s->seed);
        poison(got, n * sizeof *got);
        run(c, layout, rung, got);
        fo_tolerance tolerance = tolerance_of(s->dtype);
        double error = assert_close(got, want, n, tolerance, "%s", label);
        assert_close_floats(got, cpu, n, tolerance, "%s, the CPU", label);
        tally->worst[rung] = fmax(tally->worst[rung], error);
        tally->cases++;
    }
    fo_memory_free(got);
    fo_memory_free(cpu);
    fo_memory_free(want);
    verso_assert_clean();
}

static void judge_spec(const stage *stage, tally *tally,
                       const attention_spec *spec, layout layout)
{
    if (left_out(tally))
        return;
    attention_case *c = attention_case_open(stage->verso, spec);
    judge_rungs(stage, tally, c, layout);
    attention_case_close(&c);
}

/* Pick a case of the grid of prefill. */
static attention_spec grid_spec(int d, int t, int i)
{
    int B = block_sizes[(d + 2 * t + i) % COUNT(block_sizes)];
    int h = (d + t + i) % COUNT(heads);
    const int windows[] = {0, 1, B, 21, 5000};
    attention_spec spec = {
        .H = heads[h].H,
        .K = heads[h].K,
        .D = head_dims[d],
        .B = B,
        .dtype = dtypes[t],
        .window = windows[(2 * d + t + 3 * i) % COUNT(windows)],
        .N = 6,
        .lengths = {0, 1, B - 1, B, B < 64 ? B + 1 : 9, B < 64 ? 2 * B + 3 : 7},
        .queries = {0, 1, 3, B < 20 ? B : 5, 0, 7},
        .padding = i % 3,
        .seed = (uint64_t)((d * 8 + t) * 8 + i),
    };
    return spec;
}

/* Check every rung over the grid. */
static void test_B5_every_rung_agrees_with_both_judges(void **state)
{
    for (int t = 0; t < COUNT(dtypes); t++) {
        tally tally = {0};
        for (int d = 0; d < COUNT(head_dims); d++)
            for (int i = 0; i < 2; i++) {
                attention_spec spec = grid_spec(d, t, i);
                judge_spec(*state, &tally, &spec, PAGED);
            }
        print_tally(fo_dtype_info_get(dtypes[t])->name, &tally);
    }
}

/* Check tiles that are cut by prefixes and windows. */
static void test_B5_long_prompts_over_cached_prefixes(void **state)
{
    tally tally = {0};
    const int windows[] = {0, 64, 65, 33, 200};
    for (int i = 0; i < COUNT(windows); i++) {
        attention_spec spec = {.H = 2,
                               .K = 1,
                               .D = 64,
                               .B = block_sizes[i],
                               .dtype = dtypes[i % 3],
                               .window = windows[i],
                               .N = 3,
                               .lengths = {70, 150, 129},
                               .queries = {70, 33, 1},
                               .padding = 4,
                               .seed = 300 + (uint64_t)i};
        judge_spec(*state, &tally, &spec, PAGED);
    }
    print_tally("long", &tally);
}

/* Check one room a sequence. */
static void test_B1_contiguous_prefill_and_decode(void **state)
{
    tally tally = {0};
    for (int t = 0; t < COUNT(dtypes); t++)
        for (int form = 0; form < 3; form++) {
            static const int uneven[] = {0, 1, 3, 1, 0, 1};
            attention_spec spec = grid_spec(t + form, t, form);
            for (int n = 0; n < spec.N && form > 0; n++)
                spec.queries[n] = form == 1 ? 1 : uneven[n];
            judge_spec(*state, &tally, &spec, CONTIGUOUS);
        }
    print_tally("contiguous", &tally);
}

/* Aim every query at two keys at once. */
static void aim_at_rivals(attention_case *c)
{
    const attention_spec *s = &c->spec;
    size_t D = (size_t)s->D;
    float aim[256];
    for (int t = 0; t < c->attention.T; t++)
        for (int h = 0; h < s->H; h++) {
            float *q = c->q + (int64_t)t * c->attention.q_stride + h * s->D;
            memset(q, 0, D * sizeof *q);
            int p = s->lengths[0] - c->attention.T + t;
            for (int rival = 0; rival < 2; rival++) {
                int64_t key = (int64_t)(rival ? p : p / 2) * s->K;
                key += h / (s->H / s->K);
                aim_query(aim, c->k + key * s->D, D, s->score);
                for (int i = 0; i < s->D; i++)
                    q[i] += aim[i];
            }
        }
}

/* Check that rounding a query moves no rival's weight. */
static void test_B5_rival_keys_at_high_scores(void **state)
{
    static const float scores[] = {100, 30, 12};
    tally tally = {0};
    for (int i = 0; i < COUNT(scores); i++)
        for (int t = COUNT(dtypes) - 1; t > 0; t--) {
            if (left_out(&tally))
                continue;
            attention_spec spec = {.H = 4,
                                   .K = 2,
                                   .D = 64,
                                   .B = 16,
                                   .dtype = dtypes[t],
                                   .N = 1,
                                   .lengths = {80},
                                   .queries = {40},
                                   .score = scores[i],
                                   .seed = 400 + (uint64_t)i};
            attention_case *c =
                attention_case_open(((stage *)*state)->verso, &spec);
            aim_at_rivals(c);
            judge_rungs(*state, &tally, c, PAGED);
            attention_case_close(&c);
        }
    print_tally("rivals", &tally);
}

/* Check that the layout changes no bit. */
static void test_B2_paging_changes_no_bit_of_any_rung(void **state)
{
    const stage *stage = *state;
    for (int rung = 1; rung <= RUNGS; rung++) {
        attention_spec spec = grid_spec(rung, 1 + rung % 2, 1);
        attention_case *c = attention_case_open(stage->verso, &spec);
        size_t n = attention_case_values(c);
        float *whole = fo_memory_alloc(n, sizeof *whole, NULL);
        float *paged = fo_memory_alloc(n, sizeof *paged, NULL);
        run(c, CONTIGUOUS, rung, whole);
        run(c, PAGED, rung, paged);
        assert_same_bits(paged, whole, n, "rung %d", rung);
        fo_memory_free(whole);
        fo_memory_free(paged);
        attention_case_close(&c);
    }
    verso_assert_clean();
}

/* Check chunks of a prompt against the whole of it. */
static void test_B5_chunks_give_the_bits_of_the_whole(void **state)
{
    static const int sizes[] = {7, 40};
    const stage *stage = *state;
    attention_spec spec = {.H = 3,
                           .K = 1,
                           .D = 80,
                           .B = 16,
                           .dtype = FO_BF16,
                           .window = 50,
                           .N = 1,
                           .lengths = {90},
                           .queries = {80},
                           .seed = 5};
    attention_case *c = attention_case_open(stage->verso, &spec);
    size_t n = attention_case_values(c), query = (size_t)(spec.H * spec.D);
    float *whole = fo_memory_alloc(n, sizeof *whole, NULL);
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    for (int rung = 1; rung <= RUNGS; rung++) {
        run(c, PAGED, rung, whole);
        for (int s = 0; s < COUNT(sizes); s++) {
            poison(got, n * sizeof *got);
            /* Run the prompt in chunks. */
            for (int first = 0; first < spec.queries[0]; first += sizes[s]) {
                int left = spec.queries[0] - first;
                int count = left < sizes[s] ? left : sizes[s];
                attention_case part = attention_case_part(c, 0, first, count);
                run(&part, PAGED, rung, got + (size_t)first * query);
            }
            assert_same_bits(got, whole, n, "rung %d, chunks of %d", rung,
                             sizes[s]);
        }
    }
    fo_memory_free(whole);
    fo_memory_free(got);
    attention_case_close(&c);
    verso_assert_clean();
}

/* Check that company changes no bit of prefill. */
static void test_B2_alone_or_in_company(void **state)
{
    const stage *stage = *state;
    for (int rung = 1; rung <= RUNGS; rung++) {
        attention_spec spec = grid_spec(0, 2, rung);
        attention_case *c = attention_case_open(stage->verso, &spec);
        size_t n = attention_case_values(c), query = (size_t)(spec.H * spec.D);
        float *batch = fo_memory_alloc(n, sizeof *batch, NULL);
        float *alone = fo_memory_alloc(n, sizeof *alone, NULL);
        run(c, PAGED, rung, batch);
        for (int i = 0; i < spec.N; i++) {
            if (spec.queries[i] == 0)
                continue;
            attention_case part = attention_case_part(c, i, 0, spec.queries[i]);
            run(&part, PAGED, rung, alone);
            assert_same_bits(alone, batch + (size_t)c->query_start[i] * query,
                             (size_t)spec.queries[i] * query,
                             "rung %d, sequence %d", rung, i);
        }
        fo_memory_free(batch);
        fo_memory_free(alone);
        attention_case_close(&c);
    }
    verso_assert_clean();
}

/* Check that no schedule changes a bit. */
static void test_B5_schedules_change_no_bit(void **state)
{
    const stage *stage = *state;
    if (!verso_is_simulated()) {
        print_message("SKIP: a GPU chooses its own schedule\n");
        skip();
    }
    attention_spec spec = {.H = 2,
                           .K = 1,
                           .D = 64,
                           .B = 8,
                           .dtype = FO_F16,
                           .window = 40,
                           .N = 2,
                           .lengths = {67, 5},
                           .queries = {3, 2},
                           .seed = 6};
    attention_case *c = attention_case_open(stage->verso, &spec);
    size_t n = attention_case_values(c);
    float *first = fo_memory_alloc(n, sizeof *first, NULL);
    float *other = fo_memory_alloc(n, sizeof *other, NULL);
    for (int rung = 1; rung <= RUNGS; rung++) {
        verso_schedule(0);
        run(c, PAGED, rung, first);
        for (uint64_t seed = 1; seed <= 20; seed++) {
            verso_schedule(seed);
            run(c, PAGED, rung, other);
            assert_same_bits(other, first, n, "rung %d, schedule %d", rung,
                             (int)seed);
        }
    }
    verso_schedule(0);
    verso_assert_clean();
    fo_memory_free(first);
    fo_memory_free(other);
    attention_case_close(&c);
}

/* Check that rung 0 takes every shape that the CPU takes. */
static void test_B5_the_best_rung_takes_any_shape(void **state)
{
    static const int sizes[] = {8, 20, 32, 64, 192};
    const stage *stage = *state;
    double worst = 0;
    for (int i = 0; i < COUNT(sizes); i++)
        for (int t = 0; t < COUNT(dtypes); t++) {
            attention_spec spec = {.H = 4,
                                   .K = 2,
                                   .D = sizes[i],
                                   .B = 4,
                                   .dtype = dtypes[t],
                                   .N = 2,
                                   .lengths = {9, 30},
                                   .queries = {9, 2},
                                   .seed = 500 + (uint64_t)i};
            attention_case *c = attention_case_open(stage->verso, &spec);
            size_t n = attention_case_values(c);
            float *got = fo_memory_alloc(n, sizeof *got, NULL);
            double *want = fo_memory_alloc(n, sizeof *want, NULL);
            attention_case_judge(c, want, NAIVE_RIGHT);
            run(c, PAGED, 0, got);
            double error = assert_close(got, want, n, tolerance_of(dtypes[t]),
                                        "D %d", sizes[i]);
            worst = fmax(worst, error);
            fo_memory_free(got);
            fo_memory_free(want);
            attention_case_close(&c);
        }
    print_message("any shape: worst error %.2g\n", worst);
    verso_assert_clean();
}

/* Check what prefill refuses. */
static void test_B5_what_no_rung_can_do_is_refused(void **state)
{
    const stage *stage = *state;
    fo_device *device = stage->verso;
    guarded room = guarded_open(device, 4096);
    /* List what prefill refuses. */
    static const struct {
        int rung, H, D;
        fo_dtype dtype;
        fo_status want;
    } cases[] = {
        {3, 2, 64, FO_F32, FO_UNSUPPORTED},
        {2, 2, 8, FO_F32, FO_UNSUPPORTED},
        {3, 2, 72, FO_F16, FO_UNSUPPORTED},
        {4, 2, 64, FO_F16, FO_UNSUPPORTED},
        {1, 2, 257, FO_F16, FO_UNSUPPORTED},
        {-1, 2, 64, FO_F16, FO_UNSUPPORTED},
        {0, 3, 64, FO_F16, FO_ARG},
        {0, 2, 0, FO_F16, FO_ARG},
        {0, 2, 64, FO_I32, FO_ARG},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        fo_kv kv = {room.data, room.data, cases[i].dtype, 1, 2, 8, cases[i].D};
        fo_attention a = {.N = 1,
                          .T = 1,
                          .H = cases[i].H,
                          .q_stride = cases[i].H * cases[i].D,
                          .scale = 1,
                          .max_length = 1,
                          .query_start = room.data,
                          .length = room.data};
        fo_error error = {0};
        choose(device, cases[i].rung);
        fo_status status = device->backend->attention_contiguous(
            device, room.data, room.data, &kv, &a, (fo_workspace){0}, &error);
        if (status != cases[i].want)
            fail_msg("case %d: %s", i, fo_status_name(status));
        assert_true(error.message[0] != 0);
    }
    choose(device, 0);
    guarded_close(&room);
}

/* Check an empty batch and a sequence without queries. */
static void test_B5_an_empty_batch_is_done_at_once(void **state)
{
    const stage *stage = *state;
    attention_spec spec = {.H = 2,
                           .K = 2,
                           .D = 64,
                           .B = 8,
                           .N = 2,
                           .lengths = {5, 0},
                           .queries = {0, 0}};
    attention_case *c = attention_case_open(stage->verso, &spec);
    for (int N = 0; N <= 2; N += 2)
        for (int rung = 0; rung <= 2; rung++) {
            attention_case part = *c;
            part.attention.N = part.spec.N = N;
            float nothing;
            run(&part, PAGED, rung, &nothing);
            run(&part, CONTIGUOUS, rung, &nothing);
        }
    attention_case_close(&c);
    verso_assert_clean();
}

/* Check a place beyond the reach of 32 bits. */
/* A pool of which only the last blocks exist: its first byte is pretended to
 * lie far before them. */
static void test_B2_places_beyond_32_bits(void **state)
{
    enum { D = 64, B = 16, L = 20, FAR = INT32_MAX / (B * D) + 7 };
    const stage *stage = *state;
    fo_device *device = stage->verso;
    attention_spec spec = {.H = 1,
                           .K = 1,
                           .D = D,
                           .B = B,
                           .dtype = FO_F16,
                           .N = 1,
                           .lengths = {L},
                           .queries = {3},
                           .seed = 7};
    attention_case *c = attention_case_open(device, &spec);
    size_t n = attention_case_values(c);
    /* Lay out a pool whose blocks are far away. */
    uint16_t stored[2][2 * B * D];
    poison(stored, sizeof stored);
    fo_dtype_store(FO_F16, c->k, stored[0], L * D);
    fo_dtype_store(FO_F16, c->v, stored[1], L * D);
    guarded k = guarded_copy(device, stored[0], sizeof stored[0]);
    guarded v = guarded_copy(device, stored[1], sizeof stored[1]);
    int32_t entries[] = {FAR, FAR + 1, -1}, rows[] = {0};
    guarded table = guarded_copy(device, entries, sizeof entries);
    guarded row = guarded_copy(device, rows, sizeof rows);
    uintptr_t before = (uintptr_t)FAR * B * D * sizeof(uint16_t);
    fo_kv kv = {(void *)((uintptr_t)k.data - before),
                (void *)((uintptr_t)v.data - before),
                FO_F16,
                FAR + 2,
                1,
                B,
                D};
    fo_block_tables tables = {table.data, 3, row.data};
    guarded q = guarded_copy(device, c->q, n * sizeof(float));
    guarded start = guarded_copy(device, c->query_start, 2 * sizeof(int32_t));
    guarded length = guarded_copy(device, c->length, sizeof(int32_t));
    guarded out = guarded_open(device, n * sizeof(float));
    fo_attention a = c->attention;
    a.query_start = start.data;
    a.length = length.data;
    /* Judge every rung over the far pool. */
    float *got = fo_memory_alloc(n, sizeof *got, NULL);
    double *want = fo_memory_alloc(n, sizeof *want, NULL);
    attention_case_judge(c, want, NAIVE_RIGHT);
    for (int rung = 1; rung <= RUNGS; rung++) {
        choose(device, rung);
        fo_error error = {0};
        fo_status status = device->backend->attention_prefill(
            device, out.data, q.data, &kv, &tables, &a, (fo_workspace){0},
            &error);
        if (status != FO_OK)
            fail_msg("rung %d: %s", rung, error.message);
        guarded_read(&out, got);
        assert_close(got, want, n, TOLERANCE_LOOSEST, "rung %d, far", rung);
    }
    choose(device, 0);
    /* Close the far pool. */
    guarded *all[] = {&k, &v, &table, &row, &q, &start, &length, &out};
    for (int i = 0; i < COUNT(all); i++)
        guarded_close(all[i]);
    fo_memory_free(got);
    fo_memory_free(want);
    attention_case_close(&c);
    verso_assert_clean();
}

/* Run the tests of prefill. */
int main(void)
{
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    stage stage = {.verso = verso_open()};
    if (fo_backend_cpu.open(NULL, &stage.cpu, NULL) != FO_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_B5_every_rung_agrees_with_both_judges,
                                  &stage),
        cmocka_unit_test_prestate(test_B5_long_prompts_over_cached_prefixes,
                                  &stage),
        cmocka_unit_test_prestate(test_B1_contiguous_prefill_and_decode,
                                  &stage),
        cmocka_unit_test_prestate(test_B5_rival_keys_at_high_scores, &stage),
        cmocka_unit_test_prestate(test_B2_paging_changes_no_bit_of_any_rung,
                                  &stage),
        cmocka_unit_test_prestate(test_B5_chunks_give_the_bits_of_the_whole,
                                  &stage),
        cmocka_unit_test_prestate(test_B2_alone_or_in_company, &stage),
        cmocka_unit_test_prestate(test_B5_schedules_change_no_bit, &stage),
        cmocka_unit_test_prestate(test_B5_the_best_rung_takes_any_shape,
                                  &stage),
        cmocka_unit_test_prestate(test_B5_what_no_rung_can_do_is_refused,
                                  &stage),
        cmocka_unit_test_prestate(test_B5_an_empty_batch_is_done_at_once,
                                  &stage),
        cmocka_unit_test_prestate(test_B2_places_beyond_32_bits, &stage),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stage.verso->backend->close(&stage.verso);
    fo_backend_cpu.close(&stage.cpu);
    return failed;
}
