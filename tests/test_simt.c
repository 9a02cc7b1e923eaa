#ifndef FO_NO_SIM
#include "simt_kernels.h"

#include "compare.h"

#include "common/dtype.h"
#include "common/rng.h"
#include "sim/arena.h"
#include "sim/report.h"
#include "sim/simt.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Take device memory. */
static char *memory; /* one granule of the arena */
static size_t taken;

/* Device memory that nobody has written; the gap after it is a red zone. */
static void *take(size_t bytes)
{
    void *start = memory + taken;
    taken += (bytes + 511) / 256 * 256;
    assert_true(taken <= SIM_GRANULE);
    sim_arena_mark(start, bytes, SIM_UNWRITTEN);
    return start;
}

static void *take_copy(const void *from, size_t bytes)
{
    void *start = take(bytes);
    sim_arena_mark(start, bytes, SIM_WRITTEN);
    memcpy(start, from, bytes);
    return start;
}

/* Begin and end each test. */
static int begin(void **state)
{
    (void)state;
    if (!memory)
        memory = sim_arena_reserve(SIM_GRANULE);
    assert_non_null(memory);
    assert_true(sim_arena_map(memory, SIM_GRANULE));
    taken = 0;
    sim_reports_clear();
    sim_report_stream(NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sim_settings_set((sim_settings){.checks = true, .strict = true});
    sim_arena_unmap(memory, SIM_GRANULE);
    return 0;
}

static void expect_no_report(void)
{
    if (sim_report_count() > 0)
        sim_report_print(stderr, sim_report_get(0));
    assert_int_equal(sim_report_count(), 0);
}

/* Name every thread. */
static void every_thread_knows_its_place(void **state)
{
    (void)state;
    const uint32_t grid[3] = {2, 3, 2}, block[3] = {5, 4, 3};
    uint32_t *out = take(720 * 6 * sizeof *out), *row = out;
    assert_true(simt_indices(out, grid, block));
    for (uint32_t b = 0; b < 12; b++)
        for (uint32_t t = 0; t < 60; t++, row += 6) {
            const uint32_t want[6] = {t % 5, t / 5 % 4, t / 20,
                                      b % 2, b / 2 % 3, b / 6};
            assert_memory_equal(row, want, sizeof want);
        }
    expect_no_report();
}

/* Compute as C does. */
static void arithmetic_is_that_of_a_gpu(void **state)
{
    (void)state;
    const uint32_t in[] = {0, 1, 0x80000000u, 0xffffffffu, 0x12345678u, 96};
    enum { N = sizeof in / sizeof *in };
    uint32_t *out = take(N * N * 12 * sizeof *out), *row = out;
    assert_true(simt_arithmetic(out, take_copy(in, sizeof in), N));
    for (int i = 0; i < N * N; i++, row += 12) {
        uint32_t a = in[i / N], b = in[i % N], ones[2] = {0};
        uint32_t first[2] = {0}, leading[2] = {32, 64};
        uint64_t wide = (uint64_t)a << 32 | b, words[2] = {a, wide};
        for (uint32_t w = 0; w < 2; w++)
            for (uint32_t bit = 0; bit < 32 + 32 * w; bit++)
                if (words[w] >> bit & 1) {
                    ones[w]++;
                    first[w] = first[w] ? first[w] : bit + 1;
                    leading[w] = 31 + 32 * w - bit;
                }
        int least = (int)a < (int)b ? (int)a : (int)b;
        const uint32_t want[12] = {
            ones[0],
            ones[1],
            first[0],
            first[1],
            leading[0],
            leading[1],
            (uint32_t)((uint64_t)a * b >> 32),
            (uint32_t)((int64_t)(int)a * (int)b >> 32),
            (uint32_t)((unsigned __int128)wide * wide >> 96),
            (a & 255) | (b >> 8 & 255) << 8 | (a >> 16 & 255) << 16 |
                (b >> 16 & 255) << 24,
            a,
            (uint32_t)(least > -5 ? least : -5)};
        assert_memory_equal(row, want, sizeof want);
    }
    expect_no_report();
}

/* Shuffle as the manual says. */
/* What lane `l` gets, by walking through its segment. */
static uint32_t shuffled(int kind, int l, int i, int width)
{
    int first = l / width * width, last = first + width - 1, from = l;
    if (kind == 0)
        from = first + i % width;
    if (kind == 1 && l - i >= first)
        from = l - i;
    if (kind == 2 && l + i <= last)
        from = l + i;
    if (kind == 3 && (l ^ (i % 32)) <= last)
        from = l ^ (i % 32);
    return 100 + (uint32_t)from;
}

static void shuffles_move_values(void **state)
{
    (void)state;
    uint32_t *out = take(33 * 128 * sizeof *out);
    for (int width = 1; width <= 32; width *= 2) {
        assert_true(simt_shuffle(out, width));
        for (int i = 0; i <= 32; i++)
            for (int kind = 0; kind < 4; kind++)
                for (int l = 0; l < 32; l++)
                    assert_int_equal(out[(i * 4 + kind) * 32 + l],
                                     shuffled(kind, l, i, width));
    }
    uint64_t *wide = take(32 * sizeof *wide);
    assert_true(simt_shuffle_wide(wide));
    for (uint64_t l = 0; l < 32; l++)
        assert_true(wide[l] == (31 - l) * UINT64_C(0x100000001));
    expect_no_report();
}

/* Vote as the manual says. */
static void votes_count_the_lanes_of_a_mask(void **state)
{
    (void)state;
    uint32_t *out = take(96 * sizeof *out);
    const uint32_t cases[][2] = {{0, ~0u},
                                 {~0u, ~0u},
                                 {0x80000001u, ~0u},
                                 {0x00ff00ffu, 0x0000ffffu},
                                 {0x5555u, 0x5555u},
                                 {0xfffffffeu, 1u},
                                 {0x12345678u, 0x0f0f0f0fu}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint32_t votes = cases[c][0], mask = cases[c][1];
        assert_true(simt_vote(out, votes, mask));
        for (int l = 0; l < 32; l++) {
            uint32_t group = mask >> l & 1 ? mask : ~mask;
            assert_int_equal(out[l], votes & group);
            assert_int_equal(out[32 + l], (votes & group) != 0);
            assert_int_equal(out[64 + l], (votes & group) == group);
        }
    }
    expect_no_report();
}

/* Meet at barriers many times. */
static void barriers_keep_rounds_apart(void **state)
{
    (void)state;
    const int sizes[] = {1, 31, 32, 33, 128, 200, 1024};
    int *out = take(1024 * sizeof *out);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            int n = sizes[s], rounds = n > 200 ? 3 : 20;
            sim_settings_set((sim_settings){seed, true, true, false});
            assert_true(simt_rounds(out, n, rounds));
            for (int i = 0; i < n; i++)
                assert_int_equal(out[i], (i + rounds) % n + rounds);
        }
    assert_true(simt_count(out, 77));
    for (int i = 0; i < 77; i++)
        assert_int_equal(out[i], 100 * 38 + 3);
    expect_no_report();
}

/* Change numbers atomically. */
static void atomics_lose_nothing(void **state)
{
    (void)state;
    enum { BLOCKS = 3, THREADS = 100, N = BLOCKS * THREADS };
    const int32_t i0[4] = {7, 7, 7, 7};
    const uint32_t u0[6] = {7, 7, 7, ~0u, 0, 7};
    const uint64_t w0[2] = {7, 7};
    const float f0 = 1;
    int32_t *i = take_copy(i0, sizeof i0);
    uint32_t *u = take_copy(u0, sizeof u0), exclusive = 7;
    uint64_t *w = take_copy(w0, sizeof w0);
    float *f = take_copy(&f0, sizeof f0);
    assert_true(simt_atomics(i, u, w, f, BLOCKS, THREADS));
    for (uint32_t k = 0; k < N; k++)
        exclusive ^= k;
    const int32_t sum = N * (N - 1) / 2;
    const int32_t want_i[4] = {7 + sum, 7 - sum, 1 - N, N - 1};
    const uint32_t want_u[6] = {7 + (uint32_t)sum, 0, ~0u, 0, ~0u, exclusive};
    assert_memory_equal(i, want_i, sizeof want_i);
    assert_memory_equal(u, want_u, sizeof want_u);
    assert_true(w[0] == 7 + ((uint64_t)N << 32));
    assert_true(w[1] == (uint64_t)(N - 1) << 33);
    assert_true(*f == 1 + N / 2.0f);
    expect_no_report();
}

static void a_lock_lets_one_thread_in(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        const int zero[2] = {0, 0};
        int *out = take_copy(zero, sizeof zero);
        sim_settings_set((sim_settings){seed, true, true, false});
        assert_true(simt_lock(out, 96));
        assert_int_equal(out[0], 0);
        assert_int_equal(out[1], 96);
    }
    expect_no_report();
}

/* Repeat a schedule from its seed. */
enum { ORDER = 6 * 64 };

static void order_of(uint64_t seed, int *order)
{
    const int zero = 0;
    int *out = take(sizeof(int) * (1 + ORDER));
    sim_arena_mark(out, sizeof zero, SIM_WRITTEN);
    *out = zero;
    sim_settings_set((sim_settings){seed, true, true, false});
    assert_true(simt_order(out, 6, 64));
    memcpy(order, out + 1, ORDER * sizeof *order);
    bool seen[ORDER] = {false};
    for (int i = 0; i < ORDER; i++) {
        assert_in_range(order[i], 0, ORDER - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
}

static void a_seed_repeats_its_schedule(void **state)
{
    (void)state;
    int orders[9][ORDER], again[ORDER];
    for (uint64_t seed = 0; seed < 9; seed++) {
        order_of(seed, orders[seed]);
        order_of(seed, again);
        assert_memory_equal(again, orders[seed], sizeof again);
        for (uint64_t other = 0; other < seed; other++)
            assert_memory_not_equal(orders[seed], orders[other], sizeof again);
    }
    expect_no_report();
}

/* See in another order what the first one hid. */
static int wrong_neighbours(uint64_t seed)
{
    int *out = take(64 * sizeof *out), wrong = 0;
    sim_settings_set((sim_settings){seed, false, true, false});
    assert_true(simt_neighbours(out, 64));
    for (int i = 0; i < 64; i++)
        wrong += out[i] != i - 1;
    return wrong;
}

static void another_order_shows_a_missing_barrier(void **state)
{
    (void)state;
    assert_int_equal(wrong_neighbours(0), 0);
    for (uint64_t seed = 1; seed < 9; seed++)
        assert_in_range(wrong_neighbours(seed), 1, 64);
}

/* Load matrices as the manual says. */
static void matrices_are_dealt_to_lanes(void **state)
{
    (void)state;
    uint16_t in[4][8][8];
    for (int i = 0; i < 256; i++)
        in[i / 64][i / 8 % 8][i % 8] = (uint16_t)(1000 + i);
    uint16_t *device = take_copy(in, sizeof in);
    uint32_t *out = take(128 * sizeof *out);
    for (int transposed = 0; transposed < 2; transposed++) {
        assert_true(simt_matrices(out, device, transposed));
        for (int l = 0; l < 32; l++)
            for (int m = 0; m < 4; m++) {
                int a = l / 4, b = l % 4 * 2;
                uint32_t low = transposed ? in[m][b][a] : in[m][a][b];
                uint32_t high = transposed ? in[m][b + 1][a] : in[m][a][b + 1];
                assert_int_equal(out[l * 4 + m], low | high << 16);
            }
    }
    expect_no_report();
}

/* Multiply matrices as plain loops do. */
static void products_equal_plain_loops(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        uint16_t a[256], b[128];
        double x[256], y[128], want[128] = {0};
        for (uint64_t i = 0; i < 256; i++) {
            float v = fo_rng_uniform(5, 1, i) * 2 - 0.7f;
            a[i] = bf16 ? fo_bf16_from_f32(v) : fo_f16_from_f32(v);
            x[i] = bf16 ? fo_f32_from_bf16(a[i]) : fo_f32_from_f16(a[i]);
        }
        for (uint64_t i = 0; i < 128; i++) {
            float v = fo_rng_uniform(5, 2, i) * 2 - 0.7f;
            b[i] = bf16 ? fo_bf16_from_f32(v) : fo_f16_from_f32(v);
            y[i] = bf16 ? fo_f32_from_bf16(b[i]) : fo_f32_from_f16(b[i]);
        }
        for (int i = 0; i < 2048; i++)
            want[i / 128 * 8 + i % 8] += x[i / 8] * y[i / 8 % 16 * 8 + i % 8];
        float *d = take(128 * sizeof *d);
        assert_true(simt_product(d, take_copy(a, sizeof a),
                                 take_copy(b, sizeof b), bf16));
        assert_close(d, want, 128, TOLERANCE_F32, "product, bf16 %d", bf16);
    }
    expect_no_report();
}

/* Copy no earlier than is promised. */
static const uint32_t source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint32_t landed[12] = {1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8};

static void copies_land_when_they_are_waited_for(void **state)
{
    (void)state;
    uint32_t unwritten[12];
    memset(unwritten, 0xff, sizeof unwritten);
    const uint32_t *in = take_copy(source, sizeof source);
    uint32_t *out = take(36 * sizeof *out);
    assert_true(simt_copy(out, in));
    assert_memory_equal(out, unwritten, 48);
    assert_memory_equal(out + 12, landed, 32);
    assert_memory_equal(out + 20, unwritten, 16);
    assert_memory_equal(out + 24, landed, 48);
    expect_no_report();
}

static void some_schedules_copy_early(void **state)
{
    (void)state;
    const uint32_t *in = take_copy(source, sizeof source);
    uint32_t *out = take(36 * sizeof *out);
    bool early[3] = {false}, late[3] = {false};
    for (uint64_t seed = 1; seed < 12; seed++) {
        sim_settings_set((sim_settings){seed, true, true, false});
        assert_true(simt_copy(out, in));
        for (int c = 0; c < 3; c++) {
            bool there = memcmp(out + c * 4, landed + c * 4, 16) == 0;
            *(there ? &early[c] : &late[c]) = true;
        }
        assert_memory_equal(out + 12, landed, 32);
        assert_memory_equal(out + 24, landed, 48);
    }
    for (int c = 0; c < 3; c++)
        assert_true(early[c] && late[c]);
    expect_no_report();
}

/* Poison shared memory for every block. */
static void shared_memory_begins_as_nan(void **state)
{
    (void)state;
    uint32_t *out = take(100 * sizeof *out);
    for (int words = 1; words <= 100; words += 33) {
        memset(out, 0, 400);
        assert_true(simt_poison(out, words)); /* its second block saw this */
        for (int i = 0; i < words; i++)
            assert_int_equal(out[i], 0xffffffffu);
    }
    expect_no_report();
}

/* Convert every half. */
/* Its value, from the definition of the format. */
static double value_of(uint32_t bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    int fraction = (int)bits & ((1 << fraction_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == 2 * bias + 1)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits),
                        exponent - bias - fraction_bits);
}

static void halves_widen_exactly(void **state)
{
    (void)state;
    float *out = take(2 * 65536 * sizeof *out);
    assert_true(simt_widen(out));
    for (uint32_t i = 0; i < 65536; i++)
        for (int type = 0; type < 2; type++) {
            double want = type ? value_of(i, 8, 7) : value_of(i, 5, 10);
            float got = out[type * 65536 + i];
            if (isnan(want))
                assert_true(isnan(got));
            else
                assert_true(got == want && !signbit(got) == !signbit(want));
        }
    expect_no_report();
}

/* Find the middles between halves. */
/* From the middle between two neighbours, and from its neighbours. */
static int middles(float *in, int type, uint32_t first)
{
    int n = 0;
    uint32_t end = type ? 0x7f80 : 0x7c00;
    for (uint32_t i = first; i < first + 8192 && i < end; i++) {
        double low = type ? value_of(i, 8, 7) : value_of(i, 5, 10);
        double high = type ? value_of(i + 1, 8, 7) : value_of(i + 1, 5, 10);
        if (isinf(high)) /* as if the exponents went on */
            high = ldexp(1, type ? 128 : 16);
        float middle = (float)((low + high) / 2);
        in[n++] = nextafterf(middle, 0);
        in[n++] = middle;
        in[n++] = nextafterf(middle, INFINITY);
    }
    return n;
}

/* Round every middle to even. */
static void floats_round_to_the_nearest_half(void **state)
{
    (void)state;
    enum { MOST = 3 * 8192 };
    float *in = take(MOST * sizeof *in);
    uint16_t *out = take(2 * MOST * sizeof *out);
    for (int type = 0; type < 2; type++)
        for (uint32_t first = 0; first < 0x8000; first += 8192) {
            int n = middles(in, type, first);
            if (n == 0)
                continue;
            sim_arena_mark(in, MOST * sizeof *in, SIM_WRITTEN);
            assert_true(simt_narrow(out, in, n));
            const uint16_t *got = out + type * n;
            for (int i = 0; i < n; i += 3) {
                uint16_t low = (uint16_t)(first + (uint32_t)i / 3);
                assert_int_equal(got[i], low);
                assert_int_equal(got[i + 1], low + (low & 1));
                assert_int_equal(got[i + 2], low + 1);
            }
        }
    expect_no_report();
}

/* Expect a report where the mistake is. */
/* The line that is blamed carries the words of its planted mistake. */
static void expect_report(sim_fault fault, const char *words)
{
    assert_int_equal(sim_report_count(), 1);
    const sim_report *r = sim_report_get(0);
    assert_int_equal(r->fault, fault);
    assert_string_equal(r->kernel, "planted");
    assert_true(r->at.line > 0);
    assert_int_not_equal(r->at.file[0], '/'); /* wherever it was built */
    char line[200] = "";
    FILE *file = fopen(r->at.file, "r");
    assert_non_null(file);
    for (int i = 0; i < r->at.line; i++)
        assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    if (!strstr(line, words))
        fail_msg("%s is blamed on line %d: %s", words, r->at.line, line);
}

/* List the planted mistakes. */
static const struct planted {
    simt_fault mistake;
    sim_fault fault;
    const char *words;
    bool goes_on; /* hardware would get through, and so does the launch */
} planted[] = {
    {SIMT_DIVERGENT_BARRIER, SIM_DEADLOCK, "planted: waits", false},
    {SIMT_TWO_BARRIERS, SIM_BARRIER, "planted: the other of two", true},
    {SIMT_EXIT_BEFORE_BARRIER, SIM_BARRIER, "planted: not all", true},
    {SIMT_BARRIER_IN_A_LOOP, SIM_BARRIER, "planted: the second", true},
    {SIMT_NOT_IN_MASK, SIM_WARP_MISUSE, "planted: without lane 0", false},
    {SIMT_TWO_FUNCTIONS, SIM_WARP_MISUSE, "planted: a shuffle", false},
    {SIMT_TWO_MASKS, SIM_WARP_MISUSE, "planted: masks overlap", false},
    {SIMT_ABSENT_LANE, SIM_WARP_MISUSE, "planted: lane 19", true},
    {SIMT_PART_OF_A_WARP, SIM_WARP_MISUSE, "planted: without the last", false},
    {SIMT_TWO_PRODUCTS, SIM_WARP_MISUSE, "planted: one product", false},
    {SIMT_SPIN, SIM_DEADLOCK, "planted: nobody sets it", false},
    {SIMT_TRAP, SIM_WARP_MISUSE, "planted: a trap", false},
};

/* Catch the planted mistakes and acquit their twins. */
static void mistakes_are_caught_where_they_are(void **state)
{
    (void)state;
    assert_int_equal(sizeof planted / sizeof *planted, SIMT_FAULTS);
    const int zeros[64] = {0};
    for (int i = 0; i < SIMT_FAULTS; i++) {
        const struct planted *p = &planted[i];
        int *out = take_copy(zeros, sizeof zeros);
        assert_int_equal(simt_planted(p->mistake, false, out), p->goes_on);
        expect_report(p->fault, p->words);
        sim_reports_clear();
    }
}

static void right_twins_are_not_reported(void **state)
{
    (void)state;
    const int zeros[64] = {0};
    for (int i = 0; i < SIMT_FAULTS; i++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            int *out = take_copy(zeros, sizeof zeros);
            sim_settings_set((sim_settings){seed, true, true, false});
            bool well = simt_planted(planted[i].mistake, true, out);
            expect_no_report();
            assert_true(well);
        }
}

/* Go on after a launch was abandoned. */
static void a_launch_after_a_fault_is_sound(void **state)
{
    (void)state;
    const int zeros[64] = {0};
    for (int i = 0; i < SIMT_FAULTS; i++) {
        simt_planted(planted[i].mistake, false, take_copy(zeros, sizeof zeros));
        sim_reports_clear();
        int *out = take(64 * sizeof *out);
        assert_true(simt_rounds(out, 64, 5));
        for (int t = 0; t < 64; t++)
            assert_int_equal(out[t], (t + 5) % 64 + 5);
        expect_no_report();
    }
}

/* Say who waits where. */
static void a_deadlock_lists_who_waits_where(void **state)
{
    (void)state;
    simt_planted(SIMT_DIVERGENT_BARRIER, false, take(256));
    const char *text = sim_report_get(0)->text;
    assert_non_null(strstr(text, "20 threads (0 to 19) in __syncthreads at "));
    assert_non_null(strstr(text, "12 threads (20 to 31) in a vote at "));
    assert_non_null(strstr(text, "simt_kernels.cu:"));
}

/* Be lenient where hardware is. */
static void without_strictness_barriers_pass(void **state)
{
    (void)state;
    sim_settings_set((sim_settings){.checks = true, .strict = false});
    assert_true(simt_planted(SIMT_TWO_BARRIERS, false, take(256)));
    assert_true(simt_planted(SIMT_EXIT_BEFORE_BARRIER, false, take(256)));
    expect_no_report();
}

/* Refuse what no GPU would run. */
static void no_thread(void *unused)
{
    (void)unused;
    fail_msg("a refused launch ran");
}

static void impossible_launches_are_refused(void **state)
{
    (void)state;
    const struct {
        sim_index grid, block;
        size_t shared_bytes;
    } cases[] = {
        {{0, 1, 1}, {1, 1, 1}, 0},       {{1, 1, 1}, {0, 1, 1}, 0},
        {{1, 65536, 1}, {1, 1, 1}, 0},   {{1, 1, 1}, {1025, 1, 1}, 0},
        {{1, 1, 1}, {32, 33, 1}, 0},     {{1, 1, 1}, {1, 1, 65}, 0},
        {{1, 1, 1}, {1, 1, 1}, 1 << 20},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sim_launch launch = {"planted",      cases[i].grid,
                             cases[i].block, cases[i].shared_bytes,
                             no_thread,      NULL};
        sim_reports_clear();
        assert_false(sim_execute(&launch));
        assert_int_equal(sim_report_count(), 1);
        assert_int_equal(sim_report_get(0)->fault, SIM_CALL);
    }
}

/* List the tests of the executor. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_thread_knows_its_place),
        TEST(arithmetic_is_that_of_a_gpu),
        TEST(shuffles_move_values),
        TEST(votes_count_the_lanes_of_a_mask),
        TEST(barriers_keep_rounds_apart),
        TEST(atomics_lose_nothing),
        TEST(a_lock_lets_one_thread_in),
        TEST(a_seed_repeats_its_schedule),
        TEST(another_order_shows_a_missing_barrier),
        TEST(matrices_are_dealt_to_lanes),
        TEST(products_equal_plain_loops),
        TEST(copies_land_when_they_are_waited_for),
        TEST(some_schedules_copy_early),
        TEST(shared_memory_begins_as_nan),
        TEST(halves_widen_exactly),
        TEST(floats_round_to_the_nearest_half),
        TEST(mistakes_are_caught_where_they_are),
        TEST(right_twins_are_not_reported),
        TEST(a_launch_after_a_fault_is_sound),
        TEST(a_deadlock_lists_who_waits_where),
        TEST(without_strictness_barriers_pass),
        TEST(impossible_launches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
#include <stdio.h>

int main(void)
{
    puts("SKIP: ThreadSanitizer leaves no room for the simulator");
    return 0;
}

#endif
