#include "app/golden_makers.h"

#include <assert.h>
#include <math.h>

/* Draw a matrix and a weight. */
static void matrix(golden_case *made, const char *name, int rows, int columns)
{
    float *values =
        golden_case_tensor(made, name, FO_F32, 2, (int64_t[]){rows, columns});
    for (int64_t i = 0; i < (int64_t)rows * columns; i++)
        values[i] = golden_case_draw(made);
}

static void weight(golden_case *made, const char *name, fo_dtype dtype,
                   int rows, int columns)
{
    bool blocks = dtype == FO_Q8_0 || dtype == FO_Q4_0;
    int64_t row_bytes = fo_dtype_bytes(dtype, columns);
    uint8_t *stored =
        golden_case_tensor(made, name, blocks ? FO_U8 : dtype, 2,
                           (int64_t[]){rows, blocks ? row_bytes : columns});
    float row[GOLDEN_COLUMNS];
    assert(columns <= GOLDEN_COLUMNS);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++)
            row[c] = golden_case_draw(made);
        fo_dtype_store(dtype, row, stored + r * row_bytes, columns);
    }
    golden_case_word(made, "weight_type", "%s", fo_dtype_info_get(dtype)->name);
    golden_case_word(made, "columns", "%d", columns);
}

/* Choose rows by number. */
static void choices(golden_case *made, const char *name, int count, int below)
{
    int32_t *chosen =
        golden_case_tensor(made, name, FO_I32, 1, (int64_t[]){count});
    for (int i = 0; i < count; i++)
        chosen[i] = golden_case_choose(made, below);
}

/* Make the inputs of the layers. */
void golden_make_embed(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out[t] = table[tokens[t]]");
    choices(made, "tokens", spec->T, spec->V);
    weight(made, "table", spec->dtype, spec->V, spec->C);
}

void golden_make_rmsnorm(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out = weight * x / rms(x), row by row");
    golden_case_word(made, "epsilon", "1e-05");
    matrix(made, "x", spec->T, spec->C);
    matrix(made, "weight", 1, spec->C);
}

void golden_make_linear(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out (T, R) = x (T, C) weight (R, C)^T");
    matrix(made, "x", spec->T, spec->C);
    weight(made, "weight", spec->dtype, spec->R, spec->C);
}

void golden_make_add(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out = x + y");
    matrix(made, "x", spec->T, spec->C);
    matrix(made, "y", spec->T, spec->C);
}

void golden_make_silu_mul(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out = silu(gate) * up; x = gate | up");
    matrix(made, "x", spec->T, 2 * spec->C);
}

void golden_make_gather_rows(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout", "out[i] = x[rows[i]]");
    matrix(made, "x", spec->T, spec->C);
    choices(made, "rows", spec->T / 2, spec->T);
}

/* Make the inputs of a rotation. */
void golden_make_rope(golden_case *made, const golden_spec *spec)
{
    bool neox = spec->style == FO_ROPE_NEOX;
    golden_case_word(made, "layout", "out = x (T, heads, D) with pairs turned");
    golden_case_word(made, "style", "%s", neox ? "neox" : "normal");
    golden_case_word(made, "scale", "1.25");
    golden_case_word(made, "heads", "%d", spec->H);
    matrix(made, "x", spec->T, spec->H * spec->D);
    int half = spec->rotary / 2;
    float *frequency =
        golden_case_tensor(made, "frequency", FO_F32, 1, (int64_t[]){half});
    for (int i = 0; i < half; i++)
        frequency[i] = (float)pow(10000.0, -(double)i / half);
    choices(made, "position", spec->T, 4096);
}
