#include "app/golden_case.h"

#include "app/golden_makers.h"

#include <string.h>

/* clang-format off */
static const golden_spec specs[] = {
/* List the cases of the layers. */
{.name = "embed_f16", .op = "embed", .dtype = FO_F16, .T = 5, .V = 40, .C = 96},
{.name = "embed_q4_0", .op = "embed", .dtype = FO_Q4_0, .T = 5, .V = 40,
 .C = 96},
{.name = "rmsnorm", .op = "rmsnorm", .T = 7, .C = 96},
{.name = "linear_f32", .op = "linear", .dtype = FO_F32, .T = 37, .C = 96,
 .R = 65},
{.name = "linear_f16", .op = "linear", .dtype = FO_F16, .T = 37, .C = 96,
 .R = 65},
{.name = "linear_bf16", .op = "linear", .dtype = FO_BF16, .T = 3, .C = 96,
 .R = 65},
{.name = "linear_q8_0", .op = "linear", .dtype = FO_Q8_0, .T = 3, .C = 96,
 .R = 65},
{.name = "linear_q4_0", .op = "linear", .dtype = FO_Q4_0, .T = 1, .C = 96,
 .R = 65},
{.name = "add", .op = "add", .T = 3, .C = 37},
{.name = "silu_mul", .op = "silu_mul", .T = 5, .C = 96},
{.name = "gather_rows", .op = "gather_rows", .T = 9, .C = 33},
{.name = "rope_neox", .op = "rope", .T = 6, .H = 3, .D = 96, .rotary = 96,
 .style = FO_ROPE_NEOX},
{.name = "rope_normal", .op = "rope", .T = 6, .H = 3, .D = 64, .rotary = 64,
 .style = FO_ROPE_NORMAL},
{.name = "rope_partial", .op = "rope", .T = 6, .H = 3, .D = 80, .rotary = 32,
 .style = FO_ROPE_NEOX},
/* List the cases of the cache and of attention. */
{.name = "kv_write_f32", .op = "kv_write", .dtype = FO_F32, .T = 6, .K = 2,
 .D = 64, .B = 4},
{.name = "kv_write_f16", .op = "kv_write", .dtype = FO_F16, .T = 6, .K = 2,
 .D = 80, .B = 4},
{.name = "kv_write_bf16", .op = "kv_write", .dtype = FO_BF16, .T = 6, .K = 2,
 .D = 96, .B = 4},
{.name = "kv_copy_f16", .op = "kv_copy", .dtype = FO_F16, .K = 2, .D = 64,
 .B = 4},
{.name = "attention_contiguous", .op = "attention_contiguous", .H = 4, .K = 2,
 .D = 64, .longest = 55},
{.name = "attention_decode_mha_f32", .op = "attention_decode", .H = 4, .K = 4,
 .D = 64, .B = 16, .longest = 55},
{.name = "attention_decode_gqa_f16", .op = "attention_decode", .dtype = FO_F16,
 .H = 8, .K = 2, .D = 128, .B = 16, .longest = 70},
{.name = "attention_decode_mqa_bf16", .op = "attention_decode",
 .dtype = FO_BF16, .H = 8, .K = 1, .D = 96, .B = 8, .longest = 70},
{.name = "attention_decode_window", .op = "attention_decode", .dtype = FO_F16,
 .H = 4, .K = 2, .D = 80, .B = 8, .longest = 70, .window = 20},
{.name = "attention_decode_d256", .op = "attention_decode", .dtype = FO_F16,
 .H = 2, .K = 1, .D = 256, .B = 32, .longest = 40},
{.name = "attention_prefill_mha_f32", .op = "attention_prefill", .H = 4, .K = 4,
 .D = 64, .B = 16, .longest = 40},
{.name = "attention_prefill_gqa_f16", .op = "attention_prefill",
 .dtype = FO_F16, .H = 8, .K = 2, .D = 96, .B = 16, .longest = 40},
{.name = "attention_prefill_window", .op = "attention_prefill",
 .dtype = FO_BF16, .H = 4, .K = 1, .D = 80, .B = 8, .longest = 40,
 .window = 9},
/* List the cases that answer in whole numbers. */
{.name = "sample_greedy", .op = "sample", .T = 4, .V = 97},
{.name = "sample_seeded", .op = "sample", .T = 16, .V = 97},
{.name = "pool", .op = "pool"},
/* List the cases that take another road. */
{.name = "embed_f32", .op = "embed", .dtype = FO_F32, .T = 5, .V = 40, .C = 96},
{.name = "embed_bf16", .op = "embed", .dtype = FO_BF16, .T = 5, .V = 40,
 .C = 96},
{.name = "embed_q8_0", .op = "embed", .dtype = FO_Q8_0, .T = 5, .V = 40,
 .C = 96},
{.name = "linear_f16_few", .op = "linear", .dtype = FO_F16, .T = 3, .C = 96,
 .R = 65},
{.name = "linear_bf16_many", .op = "linear", .dtype = FO_BF16, .T = 37, .C = 96,
 .R = 65},
{.name = "linear_q8_0_many", .op = "linear", .dtype = FO_Q8_0, .T = 37, .C = 96,
 .R = 65},
{.name = "linear_q4_0_many", .op = "linear", .dtype = FO_Q4_0, .T = 37, .C = 96,
 .R = 65},
{.name = "attention_decode_long_f16", .op = "attention_decode",
 .dtype = FO_F16, .H = 8, .K = 1, .D = 128, .B = 16, .longest = 700},
{.name = "attention_prefill_d128_bf16", .op = "attention_prefill",
 .dtype = FO_BF16, .H = 4, .K = 1, .D = 128, .B = 16, .longest = 70},
};
/* clang-format on */

static const struct {
    const char *op;
    void (*make)(golden_case *made, const golden_spec *spec);
} makers[] = {
    {"embed", golden_make_embed},
    {"rmsnorm", golden_make_rmsnorm},
    {"linear", golden_make_linear},
    {"add", golden_make_add},
    {"silu_mul", golden_make_silu_mul},
    {"gather_rows", golden_make_gather_rows},
    {"rope", golden_make_rope},
    {"kv_write", golden_make_kv_write},
    {"kv_copy", golden_make_kv_copy},
    {"attention_contiguous", golden_make_attention},
    {"attention_decode", golden_make_attention},
    {"attention_prefill", golden_make_attention},
    {"sample", golden_make_sample},
    {"pool", golden_make_pool},
};

/* Make the case of one row. */
bool golden_case_of(const golden_spec *spec, uint64_t seed, golden_case *made)
{
    *made = (golden_case){.name = spec->name, .seed = seed};
    golden_case_word(made, "op", "%s", spec->op);
    golden_case_word(made, "seed", "%llu", (unsigned long long)seed);
    golden_case_word(made, "generator", "folio golden");
    golden_case_word(made, "tolerance", "1e-3");
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (strcmp(makers[i].op, spec->op) == 0) {
            makers[i].make(made, spec);
            return true;
        }
    }
    golden_case_close(made);
    return false;
}

bool golden_case_make(int index, golden_case *made)
{
    if (index < 0 || index >= (int)(sizeof specs / sizeof *specs))
        return false;
    return golden_case_of(&specs[index], (uint64_t)index + 1, made);
}
