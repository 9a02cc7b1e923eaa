#include "common/rng.h"
#include "cpu/cpu.h"
#include "naive_sample.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 10000, MOST = 32064, ROWS = 4 };

static float logits[ROWS * MOST]; /* (N, V) */

/* Draw through the device. */
static void sample_rows(fo_device *device, int32_t *tokens,
                        const fo_sampling *sampling, int N, int V)
{
    const fo_backend *backend = device->backend;
    fo_workload workload = {.max_sequences = N, .V = V};
    fo_workspace workspace = {.bytes =
                                  backend->workspace_bytes(device, &workload)};
    size_t sizes[] = {(size_t)N * (size_t)V * sizeof(float),
                      (size_t)N * sizeof *sampling, (size_t)N * sizeof *tokens};
    void *at[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(backend->alloc(device, sizes[i], &at[i], NULL), FO_OK);
    backend->alloc(device, workspace.bytes, &workspace.data, NULL);
    backend->fill(device, workspace.data, 0xff, workspace.bytes, NULL);
    backend->fill(device, at[2], 0x7f, sizes[2], NULL);
    backend->upload(device, at[0], logits, sizes[0], NULL);
    backend->upload(device, at[1], sampling, sizes[1], NULL);
    assert_int_equal(
        backend->sample(device, at[2], at[0], at[1], N, V, workspace, NULL),
        FO_OK);
    assert_int_equal(backend->download(device, tokens, at[2], sizes[2], NULL),
                     FO_OK);
    backend->free(device, workspace.data);
    for (int i = 0; i < 3; i++)
        backend->free(device, at[i]);
}

static int32_t draw_one(fo_device *device, const fo_sampling *sampling, int V)
{
    int32_t token;
    sample_rows(device, &token, sampling, 1, V);
    return token;
}

/* Make logits and settings from a case number. */
static double draw_number(uint64_t i, uint64_t which)
{
    return (double)fo_rng_uniform(77, which, i);
}

static int vocabulary_of(uint64_t i)
{
    static const int sizes[] = {1, 2, 3, 16, 50, 256, 257, 1000};
    return i % 500 == 0 ? MOST : sizes[i % 8];
}

static void fill_logits(uint64_t i, int V)
{
    double spread = 1 + 9 * draw_number(i, 1);
    for (int v = 0; v < V; v++) {
        double value = spread * (2 * fo_rng_uniform(i, 2, (uint64_t)v) - 1);
        logits[v] = (float)(i % 3 ? value : rint(4 * value) / 4);
    }
}

static fo_sampling settings_of(uint64_t i, int V)
{
    fo_sampling sampling = {.temperature = (float)(2 * draw_number(i, 3)),
                            .top_p = 1,
                            .seed = i,
                            .position = (uint64_t)(4096 * draw_number(i, 4))};
    if (i % 10 == 9)
        sampling.temperature = 0;
    if (draw_number(i, 5) < 0.5)
        sampling.top_k = (int32_t)(draw_number(i, 6) * (V + 2));
    if (draw_number(i, 7) < 0.5)
        sampling.top_p = (float)draw_number(i, 8);
    return sampling;
}

static double uniform_of(const fo_sampling *sampling)
{
    return (double)fo_rng_uniform(sampling->seed, 0, sampling->position);
}

/* Draw ten thousand tokens and ask the judge. */
static void agrees_with_the_judge(void **state)
{
    int forgiven = 0;
    for (uint64_t i = 0; i < CASES; i++) {
        int V = vocabulary_of(i);
        fo_sampling sampling = settings_of(i, V);
        fill_logits(i, V);
        naive_draw want =
            naive_sample(logits, V, &sampling, uniform_of(&sampling));
        int32_t got = draw_one(*state, &sampling, V);
        if (got == want.token)
            continue;
        if (want.margin >= 1e-6)
            fail_msg("case %llu, V %d: drew %d, the judge %d, margin %g",
                     (unsigned long long)i, V, got, want.token, want.margin);
        forgiven++;
    }
    print_message("%d draws, %d within 1e-6 of an edge\n", CASES, forgiven);
    assert_true(forgiven <= CASES / 1000);
}

/* Catch a sampler that is off by one draw. */
static void catches_a_wrong_position(void **state)
{
    int caught = 0;
    for (uint64_t i = 0; i < 100; i++) {
        fo_sampling sampling = {
            .temperature = 1, .top_p = 1, .seed = i, .position = i};
        fill_logits(i, 50);
        naive_draw want =
            naive_sample(logits, 50, &sampling, uniform_of(&sampling));
        sampling.position++;
        caught += draw_one(*state, &sampling, 50) != want.token &&
                  want.margin >= 1e-6;
    }
    assert_true(caught > 50);
}

/* Take the lowest id of the largest logit. */
static void greedy_takes_the_lowest_id(void **state)
{
    const float row[] = {-1, 3, -0.0f, 3, 3, 2};
    fo_sampling sampling = {.top_p = 0.5f, .top_k = 2};
    memcpy(logits, row, sizeof row);
    for (uint64_t seed = 0; seed < 20; seed++) {
        sampling.seed = seed;
        assert_int_equal(draw_one(*state, &sampling, 6), 1);
    }
    const float zeros[] = {-1, -0.0f, 0.0f};
    memcpy(logits, zeros, sizeof zeros);
    assert_int_equal(draw_one(*state, &sampling, 3), 1);
}

/* Cut ties by id and masses exactly. */
/* The set of ids that 200 draws find, as bits. */
static unsigned drawn_set(void **state, const float *row, int V,
                          fo_sampling sampling)
{
    unsigned set = 0;
    memcpy(logits, row, (size_t)V * sizeof *row);
    for (uint64_t i = 0; i < 200; i++) {
        sampling.position = i;
        set |= 1u << draw_one(*state, &sampling, V);
    }
    return set;
}

static void cuts_ties_exactly(void **state)
{
    const float equal[] = {0.0f, -0.0f, 0.0f};
    const float rising[] = {1, 2, 3, 4};
    fo_sampling half = {.temperature = 1, .top_p = 0.5f};
    fo_sampling third = {.temperature = 1, .top_p = 0.34f};
    fo_sampling none = {.temperature = 1, .top_p = 0};
    fo_sampling two = {.temperature = 1, .top_p = 1, .top_k = 2};
    fo_sampling all = {.temperature = 1, .top_p = 1, .top_k = 9};
    assert_int_equal(drawn_set(state, equal, 2, half), 1);
    assert_int_equal(drawn_set(state, equal, 3, third), 3);
    assert_int_equal(drawn_set(state, equal, 3, none), 1);
    assert_int_equal(drawn_set(state, equal, 3, two), 3);
    assert_int_equal(drawn_set(state, rising, 4, two), 12);
    assert_int_equal(drawn_set(state, rising, 4, none), 8);
    assert_int_equal(drawn_set(state, rising, 4, all), 15);
}

/* Count how often each token is drawn. */
enum { DRAWS = 100000, SIDES = 8 };

static double chi_square(const int *counts, const float *row)
{
    double total = 0, statistic = 0;
    for (int i = 0; i < SIDES; i++)
        total += exp((double)row[i]);
    for (int i = 0; i < SIDES; i++) {
        double expected = DRAWS * exp((double)row[i]) / total;
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return statistic;
}

static double frequencies_at(void **state, float temperature)
{
    const float row[SIDES] = {0, 0.5f, -1, 2, 1, -2, 0.25f, 1.5f};
    int counts[SIDES] = {0};
    fo_sampling sampling = {.temperature = temperature, .top_p = 1, .seed = 5};
    memcpy(logits, row, sizeof row);
    for (uint64_t i = 0; i < DRAWS; i++) {
        sampling.position = i;
        counts[draw_one(*state, &sampling, SIDES)]++;
    }
    return chi_square(counts, row);
}

static void draws_with_the_right_frequencies(void **state)
{
    double right = frequencies_at(state, 1);
    double wrong = frequencies_at(state, 1.05f);
    print_message("chi-square %.2f, of a wrong temperature %.2f\n", right,
                  wrong);
    assert_true(right < 24.3);
    assert_true(wrong > 24.3);
}

/* Draw alone, in a batch, and with other threads. */
static void draws_the_same_in_a_batch(void **state)
{
    fo_sampling sampling[ROWS];
    int32_t alone[ROWS], together[ROWS];
    int V = 1000, threads = omp_get_max_threads();
    for (uint64_t i = 0; i < 50; i++) {
        for (uint64_t n = 0; n < ROWS; n++) {
            fill_logits(ROWS * i + n, V);
            memmove(logits + (ROWS - 1 - n) * (size_t)V, logits,
                    (size_t)V * sizeof *logits);
            sampling[ROWS - 1 - n] = settings_of(ROWS * i + n, V);
        }
        omp_set_num_threads(1 + (int)(i % 4));
        sample_rows(*state, together, sampling, ROWS, V);
        for (int n = 0; n < ROWS; n++) {
            memmove(logits, logits + (size_t)n * (size_t)V,
                    (size_t)V * sizeof *logits);
            alone[n] = draw_one(*state, &sampling[n], V);
        }
        assert_memory_equal(alone, together, sizeof alone);
    }
    omp_set_num_threads(threads);
}

/* Refuse rows that no token can be drawn from. */
static void refuses_broken_rows(void **state)
{
    const float broken[][3] = {{1, NAN, 2},
                               {NAN, 1, 2},
                               {1, 2, NAN},
                               {1, INFINITY, 2},
                               {-INFINITY, -INFINITY, -INFINITY}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        memcpy(logits, broken[i], sizeof broken[i]);
        for (int warm = 0; warm < 2; warm++) {
            fo_sampling sampling = {.temperature = (float)warm, .top_p = 1};
            assert_int_equal(draw_one(*state, &sampling, 3), -1);
        }
    }
    const float masked[] = {-INFINITY, 1, -INFINITY, 1, 3e38f, -3e38f};
    fo_sampling warm = {.temperature = 1, .top_p = 1};
    assert_int_equal(drawn_set(state, masked, 4, warm), 10);
    assert_int_equal(drawn_set(state, masked, 6, warm), 16);
    fo_sampling wrong[] = {{.temperature = -1, .top_p = 1},
                           {.temperature = NAN, .top_p = 1},
                           {.temperature = INFINITY, .top_p = 1},
                           {.temperature = 1, .top_p = 1.5f},
                           {.temperature = 1, .top_p = -0.5f},
                           {.temperature = 1, .top_p = NAN},
                           {.temperature = 1, .top_p = 1, .top_k = -1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(draw_one(*state, &wrong[i], 4), -1);
    fo_error error;
    fo_device *device = *state;
    assert_int_equal(device->backend->sample(device, NULL, NULL, NULL, 0, 0,
                                             (fo_workspace){0}, &error),
                     FO_ARG);
}

/* Pin draws for other devices. */
static void draws_the_pinned_tokens(void **state)
{
    static const int32_t pinned[16] = {56, 32, 54, 62, 5,  51, 97, 27,
                                       8,  83, 8,  35, 24, 35, 8,  70};
    fo_sampling sampling = {
        .temperature = 0.8f, .top_p = 0.95f, .top_k = 40, .seed = 2024};
    for (int i = 0; i < 100; i++)
        logits[i] = (float)(i * 37 % 100) / 16;
    for (int i = 0; i < 16; i++) {
        sampling.position = (uint64_t)i;
        assert_int_equal(draw_one(*state, &sampling, 100), pinned[i]);
    }
}

/* Run the tests of the sampler. */
static int open_device(void **state)
{
    return (int)fo_backend_cpu.open(NULL, (fo_device **)state, NULL);
}

static int close_device(void **state)
{
    fo_backend_cpu.close((fo_device **)state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_judge),
        cmocka_unit_test(catches_a_wrong_position),
        cmocka_unit_test(greedy_takes_the_lowest_id),
        cmocka_unit_test(cuts_ties_exactly),
        cmocka_unit_test(draws_with_the_right_frequencies),
        cmocka_unit_test(draws_the_same_in_a_batch),
        cmocka_unit_test(refuses_broken_rows),
        cmocka_unit_test(draws_the_pinned_tokens),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
