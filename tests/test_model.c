#include "model/model.h"

#include "compare.h"
#include "cpu/cpu.h"
#include "engine/block_manager.h"
#include "inputs.h"
#include "model_file.h"
#include "toy_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { V = SMALL_VOCABULARY };

#define CLOSE ((fo_tolerance){1e-4, 1e-4})

/* Say how the sequences grow. */
enum { SEQUENCES = 3, STEPS = 5 };

static const int lengths[STEPS][SEQUENCES] = {
    {5, 17, 33}, {1, 1, 1}, {1, 20, 2}, {1, 1, 1}, {16, 0, 1}};

static const toy_model models[] = {
    {.arch = FO_ARCH_PHI3, .K = 4},
    {.arch = FO_ARCH_PHI3, .K = 2, .window = 9, .original = 64},
    {.arch = FO_ARCH_LLAMA, .K = 2},
    {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true},
};

enum { MODELS = sizeof models / sizeof *models };

/* Set a stage with a model and a cache. */
typedef struct stage {
    char path[32];
    fo_device *device;
    fo_model *model;
    fo_block_manager *blocks;
} stage;

static stage stage_open_with(const toy_model *toy, fo_model_options options)
{
    stage s;
    toy_model_write(toy, s.path);
    assert_int_equal(fo_backend_cpu.open(NULL, &s.device, NULL), FO_OK);
    assert_int_equal(fo_model_open(s.device, s.path, &options, &s.model, NULL),
                     FO_OK);
    const fo_config *c = fo_model_config(s.model);
    fo_block_config shape = {.total_blocks = 100,
                             .block_size = 4,
                             .num_layers = c->L,
                             .kv_heads = c->K,
                             .head_dim = c->D,
                             .dtype = FO_F32,
                             .max_sequences = 2 * SEQUENCES,
                             .max_length = TOY_CONTEXT};
    assert_int_equal(fo_block_manager_open(s.device, &shape, &s.blocks, NULL),
                     FO_OK);
    return s;
}

static stage stage_open(const toy_model *toy)
{
    return stage_open_with(
        toy, (fo_model_options){.max_tokens = 128, .max_sequences = SEQUENCES});
}

static void stage_close(stage *s)
{
    fo_block_manager_close(&s->blocks);
    fo_model_close(&s->model);
    fo_backend_cpu.close(&s->device);
    unlink(s->path);
}

/* Run one step of several sequences. */
typedef struct row_of_step {
    int64_t name;
    int which; /* of the sequences */
    int count;
} row_of_step;

/* The logits (n, V) of the last token of each; `late` is added to positions. */
static float *run_rows(stage *s, const row_of_step *rows, int n, int late)
{
    int32_t tokens[128], positions[128], start[SEQUENCES + 1] = {0};
    int32_t length[SEQUENCES], row[SEQUENCES], last[SEQUENCES];
    int64_t slots[128];
    int decodes = 0;
    while (decodes < n && rows[decodes].count == 1)
        decodes++;
    const fo_block_table *table = fo_block_manager_table(s->blocks);
    for (int i = 0, t = 0; i < n; i++) {
        int before = fo_block_table_length(table, rows[i].name);
        before = before < 0 ? 0 : before;
        assert_int_equal(fo_block_manager_extend(s->blocks, rows[i].name,
                                                 rows[i].count, NULL),
                         FO_OK);
        fo_block_table_slots(table, rows[i].name, before, rows[i].count,
                             slots + t);
        for (int end = t + rows[i].count; t < end; t++, before++) {
            tokens[t] = (rows[i].which * 71 + before * 37) % V;
            positions[t] = before + late;
        }
        start[i + 1] = t;
        length[i] = before;
        row[i] = fo_block_table_row(table, rows[i].name);
        last[i] = t - 1;
    }
    /* Run the batch and fetch the last logits. */
    fo_block_tables tables = fo_block_manager_tables(s->blocks, NULL);
    fo_batch batch = {.T = start[n],
                      .N = n,
                      .tokens = tokens,
                      .positions = positions,
                      .slots = slots,
                      .query_start = start,
                      .length = length,
                      .row = row,
                      .table = tables.table,
                      .max_blocks = tables.max_blocks,
                      .kv = fo_block_manager_layers(s->blocks),
                      .decodes = decodes};
    const float *logits;
    float *host = malloc((size_t)n * V * sizeof *host);
    poison(host, (size_t)n * V * sizeof *host);
    assert_int_equal(fo_model_forward(s->model, &batch, NULL), FO_OK);
    assert_int_equal(fo_model_logits(s->model, last, n, &logits, NULL), FO_OK);
    s->device->backend->download(s->device, host, logits,
                                 (size_t)n * V * sizeof *host, NULL);
    return host;
}

static float *step(stage *s, const int64_t *names, const int *counts, int late)
{
    row_of_step rows[SEQUENCES];
    int n = 0;
    for (int q = 0; q < SEQUENCES; q++) {
        if (counts[q] > 0)
            rows[n++] = (row_of_step){names[q], q, counts[q]};
    }
    float *some = run_rows(s, rows, n, late);
    float *all = calloc(SEQUENCES * V, sizeof *all);
    for (int r = 0; r < n; r++)
        memcpy(all + (size_t)rows[r].which * V, some + (size_t)r * V,
               V * sizeof *all);
    free(some);
    return all;
}

static float *step_apart(stage *s, const int64_t *names, const int *counts)
{
    float *all = calloc(SEQUENCES * V, sizeof *all);
    for (int q = 0; q < SEQUENCES; q++) {
        row_of_step row = {names[q], q, counts[q]};
        if (counts[q] == 0)
            continue;
        float *one = run_rows(s, &row, 1, 0);
        memcpy(all + (size_t)q * V, one, V * sizeof *all);
        free(one);
    }
    return all;
}

static double differ(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Run sequences together and apart. */
static void agrees_in_a_batch(void **state)
{
    (void)state;
    int64_t together[] = {1, 2, 3}, apart[] = {11, 12, 13};
    for (int m = 0; m < MODELS; m++) {
        stage s = stage_open(&models[m]);
        for (int i = 0; i < STEPS; i++) {
            float *want = step_apart(&s, apart, lengths[i]);
            float *got = step(&s, together, lengths[i], 0);
            assert_close_floats(got, want, SEQUENCES * V, CLOSE,
                                "model %d, step %d", m, i);
            free(want);
            free(got);
        }
        stage_close(&s);
    }
}

/* Notice positions that are one too late. */
static void notices_wrong_positions(void **state)
{
    (void)state;
    int64_t right[] = {1, 2, 3}, wrong[] = {11, 12, 13};
    for (int m = 0; m < MODELS; m++) {
        stage s = stage_open(&models[m]);
        float *want = step(&s, right, lengths[0], 0);
        float *same = step(&s, right, lengths[1], 0);
        float *got = step(&s, wrong, lengths[0], 0);
        float *late = step(&s, wrong, lengths[1], 1);
        assert_true(differ(same, late, SEQUENCES * V) > 1e-2);
        free(want);
        free(same);
        free(got);
        free(late);
        stage_close(&s);
    }
}

/* Choose between long and short factors. */
static float *logits_with_context(int context)
{
    toy_model toy = {.arch = FO_ARCH_PHI3, .K = 4, .original = 64};
    stage s = stage_open_with(
        &toy, (fo_model_options){.context = context, .max_tokens = 128});
    row_of_step row = {1, 0, 20};
    float *logits = run_rows(&s, &row, 1, 0);
    stage_close(&s);
    return logits;
}

static void chooses_factors_by_context(void **state)
{
    (void)state;
    float *shorter = logits_with_context(64), *longer = logits_with_context(65);
    float *whole = logits_with_context(TOY_CONTEXT);
    assert_same_bits(longer, whole, V, "contexts of 65 and 256");
    assert_true(differ(shorter, longer, V) > 1e-2);
    free(shorter);
    free(longer);
    free(whole);
}

/* Refuse what a model cannot do. */
static void refuses_bad_requests(void **state)
{
    (void)state;
    stage s = stage_open(&models[0]);
    fo_error error;
    fo_model *none;
    fo_model_options longer = {.context = TOY_CONTEXT + 1};
    assert_int_equal(
        fo_model_open(s.device, "no such file", NULL, &none, &error), FO_IO);
    assert_int_equal(fo_model_open(s.device, s.path, &longer, &none, &error),
                     FO_LIMIT);
    assert_int_equal(error.required, TOY_CONTEXT + 1);
    assert_int_equal(error.available, TOY_CONTEXT);
    assert_null(none);
    for (int32_t id = -1; id <= V; id += V + 1) {
        fo_batch batch = {
            .T = 1, .N = 1, .tokens = &id, .query_start = (int32_t[]){0, 1}};
        assert_int_equal(fo_model_forward(s.model, &batch, &error), FO_ARG);
    }
    stage_close(&s);
}

static void refuses_to_draw_from_nan(void **state)
{
    (void)state;
    toy_model broken = {.arch = FO_ARCH_LLAMA, .K = 4, .broken = true};
    const toy_model *toys[] = {&models[0], &broken};
    for (int i = 0; i < 2; i++) {
        stage s = stage_open(toys[i]);
        row_of_step row = {1, 0, 3};
        free(run_rows(&s, &row, 1, 0));
        int32_t token = 0;
        fo_error error;
        fo_sampling warm = {.temperature = 1, .top_p = 1};
        fo_sampling wrong[] = {{.temperature = -1, .top_p = 1},
                               {.temperature = 1, .top_p = NAN},
                               {.temperature = 1, .top_p = 1, .top_k = -1}};
        for (int w = 0; w < 3; w++)
            assert_int_equal(
                fo_model_sample(s.model, &wrong[w], 1, &token, &error), FO_ARG);
        assert_int_equal(fo_model_sample(s.model, &warm, 1, &token, &error),
                         i == 0 ? FO_OK : FO_DEVICE);
        assert_true(token >= (i == 0 ? 0 : -1) && token < V);
        stage_close(&s);
    }
}

/* Run the tests of the model. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_in_a_batch),
        cmocka_unit_test(notices_wrong_positions),
        cmocka_unit_test(chooses_factors_by_context),
        cmocka_unit_test(refuses_bad_requests),
        cmocka_unit_test(refuses_to_draw_from_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
