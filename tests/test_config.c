#include "common/memory.h"
#include "model/config.h"
#include "model_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Write the numbers of Phi-3-mini. */
typedef struct change {
    const char *key; /* without the prefix; null: nothing changes */
    double value;    /* negative: leave the key out                */
} change;

static const change phi3_mini[] = {
    {"context_length", 4096},
    {"embedding_length", 3072},
    {"feed_forward_length", 8192},
    {"block_count", 32},
    {"attention.head_count", 32},
    {"attention.head_count_kv", 32},
    {"rope.dimension_count", 96},
    {"vocab_size", 32064},
    {"attention.layer_norm_rms_epsilon", 1e-5},
};

static void put_change(model_file *file, const char *arch, change what)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch, what.key);
    if (what.value < 0)
        return;
    if (what.value == floor(what.value) && strstr(key, "factor") == NULL &&
        strstr(key, "freq") == NULL && strstr(key, "epsilon") == NULL)
        put_u32(file, key, (uint32_t)what.value);
    else
        put_f32(file, key, (float)what.value);
}

/* Phi-3-mini's numbers with some of them changed, under the name of `arch`. */
static fo_status read_changed(const char *arch, const change *changes,
                              int count, fo_config *config, fo_error *error)
{
    const int numbers = sizeof phi3_mini / sizeof *phi3_mini;
    model_file *file = model_file_new();
    put_text(file, "general.architecture", arch);
    for (int i = 0; i < numbers; i++) {
        bool changed = false;
        for (int k = 0; k < count; k++)
            changed |= strcmp(changes[k].key, phi3_mini[i].key) == 0;
        if (!changed)
            put_change(file, arch, phi3_mini[i]);
    }
    for (int k = 0; k < count; k++)
        put_change(file, arch, changes[k]);
    size_t size;
    fo_gguf *gguf;
    unsigned char *data = model_file_finish(file, &size);
    assert_int_equal(fo_gguf_parse(data, size, &gguf, error), FO_OK);
    fo_status status = fo_config_read(gguf, config, error);
    fo_gguf_close(&gguf);
    free(data);
    return status;
}

static fo_config read_with(const char *arch, const change *changes, int count)
{
    fo_config config;
    fo_error error;
    if (read_changed(arch, changes, count, &config, &error) != FO_OK)
        fail_msg("%s", error.message);
    return config;
}

/* Read Phi-3-mini. */
static void reads_phi3_mini(void **state)
{
    (void)state;
    fo_config c = read_with("phi3", NULL, 0);
    assert_int_equal(c.arch, FO_ARCH_PHI3);
    assert_int_equal(c.C, 3072);
    assert_int_equal(c.H, 32);
    assert_int_equal(c.K, 32);
    assert_int_equal(c.D, 96);
    assert_int_equal(c.F, 8192);
    assert_int_equal(c.V, 32064);
    assert_int_equal(c.L, 32);
    assert_int_equal(c.context, 4096);
    assert_int_equal(c.original_context, 4096);
    assert_int_equal(c.rotary, 96);
    assert_int_equal(c.rope_style, FO_ROPE_NEOX);
    assert_true(c.rope_base == 10000);
    assert_true(c.rope_attn_factor == 1);
    assert_true(c.epsilon == 1e-5F);
}

static void costs_what_it_costs(void **state)
{
    (void)state;
    fo_config c = read_with("phi3", NULL, 0);
    assert_int_equal(fo_config_kv_bytes(&c, FO_F16), 393216);
    assert_int_equal(fo_config_kv_bytes(&c, FO_F32), 786432);
    assert_int_equal(16 * fo_config_kv_bytes(&c, FO_F16), 6 << 20);
    assert_int_equal(4096 * fo_config_kv_bytes(&c, FO_F16), 3ULL << 29);
    c.L = 1;
    assert_int_equal(fo_config_kv_bytes(&c, FO_F16), 12288);
}

/* Read what is left out. */
static void fills_in_what_is_left_out(void **state)
{
    (void)state;
    fo_config c = read_with("llama",
                            (change[]){{"attention.head_count_kv", -1},
                                       {"rope.dimension_count", -1},
                                       {"attention.key_length", 64}},
                            3);
    assert_int_equal(c.arch, FO_ARCH_LLAMA);
    assert_int_equal(c.rope_style, FO_ROPE_NORMAL);
    assert_int_equal(c.K, 32);
    assert_int_equal(c.D, 64);
    assert_int_equal(c.rotary, 64);
    assert_int_equal(c.window, 0);
    c = read_with("llama", (change[]){{"rope.freq_base", 500000}}, 1);
    assert_true(c.rope_base == 500000);
}

static void knows_the_window(void **state)
{
    (void)state;
    const change window = {"attention.sliding_window", 100};
    const change none = {"attention.sliding_window", 0};
    const change layers = {"block_count", 31};
    assert_int_equal(read_with("phi3", &window, 1).window, 100);
    assert_int_equal(read_with("phi3", &none, 1).window, 0);
    assert_int_equal(read_with("phi3", NULL, 0).window, 2047);
    assert_int_equal(read_with("phi3", &layers, 1).window, 0);
    assert_int_equal(read_with("llama", NULL, 0).window, 0);
}

/* Read longrope. */
static void scales_attention_for_longrope(void **state)
{
    (void)state;
    change longrope[] = {{"context_length", 131072},
                         {"rope.scaling.original_context_length", 4096},
                         {"rope.scaling.attn_factor", 1.25}};
    fo_config c = read_with("phi3", longrope, 2);
    assert_int_equal(c.original_context, 4096);
    assert_true(fabs(c.rope_attn_factor - sqrt(17.0 / 12)) <= 1e-7);
    c = read_with("phi3", longrope, 3);
    assert_true(c.rope_attn_factor == 1.25F);
    c = read_with("llama", longrope, 1);
    assert_true(c.rope_attn_factor == 1);
}

/* Refuse numbers that do not fit. */
static void refuses_numbers_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        change what;
        fo_status status;
    } lies[] = {{{"context_length", -1}, FO_UNKNOWN},
                {{"context_length", 0}, FO_FORMAT},
                {{"block_count", 4e9}, FO_FORMAT},
                {{"attention.head_count", 31}, FO_FORMAT},
                {{"attention.head_count", 0}, FO_FORMAT},
                {{"attention.head_count_kv", 5}, FO_FORMAT},
                {{"attention.head_count_kv", 64}, FO_FORMAT},
                {{"attention.key_length", 95}, FO_FORMAT},
                {{"attention.value_length", 64}, FO_UNSUPPORTED},
                {{"rope.dimension_count", 98}, FO_FORMAT},
                {{"rope.dimension_count", 95}, FO_FORMAT},
                {{"rope.dimension_count", 0}, FO_FORMAT},
                {{"rope.freq_base", 0}, FO_FORMAT},
                {{"rope.freq_base", NAN}, FO_FORMAT},
                {{"rope.scaling.attn_factor", INFINITY}, FO_FORMAT},
                {{"attention.layer_norm_rms_epsilon", NAN}, FO_FORMAT},
                {{"attention.layer_norm_rms_epsilon", 0}, FO_FORMAT},
                {{"vocab_size", 0}, FO_FORMAT},
                {{"expert_count", 8}, FO_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        fo_config config;
        fo_error error = {.message = "none"};
        fo_status status =
            read_changed("phi3", &lies[i].what, 1, &config, &error);
        if (status != lies[i].status)
            fail_msg("%s %g: status %d, %s", lies[i].what.key,
                     lies[i].what.value, status, error.message);
    }
}

/* Refuse other models. */
static fo_status read_file(model_file *file)
{
    size_t size;
    fo_gguf *gguf;
    fo_config config;
    unsigned char *data = model_file_finish(file, &size);
    assert_int_equal(fo_gguf_parse(data, size, &gguf, NULL), FO_OK);
    fo_status status = fo_config_read(gguf, &config, NULL);
    fo_gguf_close(&gguf);
    free(data);
    return status;
}

static void refuses_other_models(void **state)
{
    (void)state;
    fo_config config;
    const change many[] = {{"attention.head_count", 1 << 20},
                           {"attention.head_count_kv", 1 << 20},
                           {"attention.key_length", 1 << 12}};
    assert_int_equal(read_changed("phi3", many, 3, &config, NULL), FO_FORMAT);
    assert_int_equal(read_changed("bert", NULL, 0, &config, NULL),
                     FO_UNSUPPORTED);
    assert_int_equal(read_file(model_file_new()), FO_UNKNOWN);
    model_file *file = small_model_new(&(small_model){.arch = FO_ARCH_LLAMA});
    put_text(file, "llama.rope.scaling.type", "yarn");
    assert_int_equal(read_file(file), FO_UNSUPPORTED);
    file = small_model_new(&(small_model){.arch = FO_ARCH_LLAMA});
    put_text(file, "llama.rope.scaling.type", "none");
    assert_int_equal(read_file(file), FO_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_phi3_mini),
        cmocka_unit_test(costs_what_it_costs),
        cmocka_unit_test(fills_in_what_is_left_out),
        cmocka_unit_test(knows_the_window),
        cmocka_unit_test(scales_attention_for_longrope),
        cmocka_unit_test(refuses_numbers_that_do_not_fit),
        cmocka_unit_test(refuses_other_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
