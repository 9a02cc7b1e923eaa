#include "common/rng.h"
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

enum { MOST = 32064, ROWS = 32, MOST_ROWS = 8 };

static float logits[MOST_ROWS * MOST]; /* (N, V) */
static fo_sampling settings[ROWS];
static fo_device *cpu;

/* Draw rows on a device. */
static void sample_rows(fo_device *device, int32_t *tokens, int N, int V)
{
    const fo_backend *backend = device->backend;
    fo_workload workload = {.max_sequences = N, .V = V};
    size_t rows = (size_t)N;
    guarded space =
        guarded_open(device, backend->workspace_bytes(device, &workload));
    guarded row =
        guarded_copy(device, logits, rows * (size_t)V * sizeof(float));
    guarded how = guarded_copy(device, settings, rows * sizeof *settings);
    guarded out = guarded_open(device, rows * sizeof *tokens);
    fo_workspace workspace = {space.data, space.bytes};
    fo_error error = {0};
    if (backend->sample(device, out.data, row.data, how.data, N, V, workspace,
                        &error) != FO_OK)
        fail_msg("%s", error.message);
    guarded_read(&out, tokens);
    guarded_close(&out);
    guarded_close(&how);
    guarded_close(&row);
    guarded_close(&space);
}

/* Make adversarial logits. */
static void fill_logits(float *row, uint64_t i, int V)
{
    float spread = 1 + 9 * fo_rng_uniform(77, 1, i);
    for (int v = 0; v < V; v++) {
        float u = fo_rng_uniform(i, 2, (uint64_t)v);
        float value = spread * (2 * u - 1);
        row[v] = i % 3 ? value : rintf(4 * value) / 4;
        if (i % 5 == 0 && v % 3 == 1)
            row[v] = -INFINITY;
        if (i % 16 == 6)
            row[v] = v % 2 ? -0.0f : 0.0f;
    }
    float odd[] = {NAN, 3e38f, INFINITY, -3e38f, -NAN, -INFINITY};
    if (i % 7 == 0)
        row[i / 7 % (uint64_t)V] = odd[i / 7 % 6];
}

/* Make settings. */
static fo_sampling settings_of(uint64_t i, int V)
{
    fo_sampling own = {.temperature = 2 * fo_rng_uniform(77, 3, i),
                       .top_p = 1,
                       .seed = i,
                       .position = i * UINT64_C(0x9e3779b97f4a7c15)};
    if (i % 10 == 9)
        own.temperature = 0;
    if (fo_rng_uniform(77, 5, i) < 0.5f)
        own.top_k = (int32_t)(fo_rng_uniform(77, 6, i) * (float)(V + 2));
    if (fo_rng_uniform(77, 7, i) < 0.5f)
        own.top_p = fo_rng_uniform(77, 8, i);
    if (i % 50 == 17)
        own.top_p = i % 100 == 17 ? NAN : 1.5f;
    if (i % 50 == 31)
        own.temperature = i % 100 == 31 ? -1 : INFINITY;
    if (i % 50 == 43)
        own.top_k = -1;
    if (i % 50 == 44)
        own.top_p = 0;
    if (i % 50 == 45)
        own.temperature = 1e-40f;
    return own;
}

/* Draw on both devices. */
static void test_draws_equal_the_cpu(void **state)
{
    static const int sizes[] = {1, 2, 3, 16, 50, 257, 1000, 33};
    int rounds = getenv("FOLIO_QUICK") ? 10 : 70, drawn = 0;
    for (int round = 0; round < rounds; round++) {
        int V = round == 0 ? MOST : sizes[round % 8];
        int N = round == 0 ? MOST_ROWS : ROWS;
        for (int n = 0; n < N; n++) {
            uint64_t i = (uint64_t)(round * ROWS + n);
            fill_logits(logits + (size_t)n * (size_t)V, i, V);
            settings[n] = settings_of(i, V);
        }
        int32_t got[ROWS], want[ROWS];
        sample_rows(*state, got, N, V);
        sample_rows(cpu, want, N, V);
        for (int n = 0; n < N; n++, drawn++)
            if (got[n] != want[n])
                fail_msg("round %d, row %d, V %d: drew %d, the CPU %d", round,
                         n, V, got[n], want[n]);
    }
    print_message("%d draws\n", drawn);
}

/* Draw the pinned tokens on the device. */
static void test_pinned_tokens(void **state)
{
    static const int32_t pinned[16] = {56, 32, 54, 62, 5,  51, 97, 27,
                                       8,  83, 8,  35, 24, 35, 8,  70};
    int32_t got[16];
    for (int n = 0; n < 16; n++) {
        settings[n] = (fo_sampling){.temperature = 0.8f,
                                    .top_p = 0.95f,
                                    .top_k = 40,
                                    .seed = 2024,
                                    .position = (uint64_t)n};
        for (int i = 0; i < 100; i++)
            logits[100 * n + i] = (float)(i * 37 % 100) / 16;
    }
    sample_rows(*state, got, 16, 100);
    assert_memory_equal(got, pinned, sizeof pinned);
}

/* Draw under every schedule. */
static void test_schedules(void **state)
{
    int seeds = getenv("FOLIO_QUICK") ? 2 : 20, V = 300;
    int32_t first[4], got[4];
    for (int n = 0; n < 4; n++) {
        fill_logits(logits + n * V, 3 * (uint64_t)n + 1, V);
        settings[n] = (fo_sampling){.temperature = 0.7f,
                                    .top_p = n % 2 ? 0.9f : 1,
                                    .top_k = n / 2 * 50,
                                    .seed = 3};
    }
    sample_rows(cpu, first, 4, V);
    for (int seed = 1; seed <= seeds; seed++) {
        verso_schedule((uint64_t)seed);
        sample_rows(*state, got, 4, V);
        assert_memory_equal(got, first, sizeof got);
    }
    verso_schedule(0);
    verso_assert_clean();
}

/* Catch a device that draws something else. */
static void test_other_draws_differ(void **state)
{
    int32_t got[ROWS], want[ROWS];
    int V = 50, differ = 0;
    for (int n = 0; n < ROWS; n++) {
        settings[n] = (fo_sampling){
            .temperature = 1, .top_p = 1, .seed = 5, .position = (uint64_t)n};
        settings[n].top_k = n % 2 ? 10 : 0;
        for (int i = 0; i < V; i++)
            logits[n * V + i] = n % 2 ? 1 : (float)(i % 7);
    }
    sample_rows(cpu, want, ROWS, V);
    for (int n = 0; n < ROWS; n++) {
        assert_true(n % 2 == 0 || want[n] < 10);
        settings[n].position++;
        settings[n].top_k *= 2;
    }
    sample_rows(*state, got, ROWS, V);
    for (int n = 0; n < ROWS; n++)
        differ += got[n] != want[n];
    assert_true(differ > ROWS / 2);
}

/* Draw from the largest vocabulary. */
static void test_the_largest_vocabulary(void **state)
{
    enum { V = 1 << 23 };
    const fo_backend *backend = ((fo_device *)*state)->backend;
    fo_sampling how = {.temperature = 1, .top_p = 1, .seed = 1};
    fo_device *devices[] = {cpu, *state};
    fo_error error;
    int32_t token[2] = {-2, -3};
    for (int d = 0; d < 2; d++) {
        fo_workload workload = {.max_sequences = 1, .V = V};
        backend = devices[d]->backend;
        guarded space = guarded_open(
            devices[d], backend->workspace_bytes(devices[d], &workload));
        guarded row = guarded_open(devices[d], V * sizeof(float));
        guarded own = guarded_copy(devices[d], &how, sizeof how);
        guarded out = guarded_open(devices[d], sizeof token[d]);
        assert_int_equal(
            backend->fill(devices[d], row.data, 0, row.bytes, &error), FO_OK);
        fo_workspace workspace = {space.data, space.bytes};
        for (int more = 1; more >= 0; more--)
            assert_int_equal(backend->sample(devices[d], out.data, row.data,
                                             own.data, 1, V + more, workspace,
                                             &error),
                             more ? FO_ARG : FO_OK);
        guarded_read(&out, &token[d]);
        guarded_close(&out);
        guarded_close(&own);
        guarded_close(&row);
        guarded_close(&space);
    }
    assert_true(token[0] > 4096);
    assert_int_equal(token[0], token[1]);
}

/* Refuse what cannot be sampled. */
static void test_refusals(void **state)
{
    fo_device *device = *state;
    fo_error error;
    fo_workspace none = {0};
    assert_int_equal(
        device->backend->sample(device, NULL, NULL, NULL, 0, 0, none, &error),
        FO_ARG);
    assert_int_equal(
        device->backend->sample(device, NULL, NULL, NULL, 0, 5, none, &error),
        FO_OK);
}

/* List the tests of the sampler on the device. */
static int open_devices(void **state)
{
    *state = verso_open();
    return (int)fo_backend_cpu.open(NULL, &cpu, NULL);
}

static int close_devices(void **state)
{
    verso_assert_clean();
    fo_backend_cpu.close(&cpu);
    verso_backend()->close((fo_device **)state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_equal_the_cpu),
        cmocka_unit_test(test_pinned_tokens),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_other_draws_differ),
        cmocka_unit_test(test_the_largest_vocabulary),
        cmocka_unit_test(test_refusals),
    };
    if (!verso_backend()) {
        printf("SKIP: this build has no CUDA side\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
