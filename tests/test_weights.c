#include "common/memory.h"
#include "common/rng.h"
#include "model/tokenizer.h"
#include "model/weights.h"
#include "model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Open all that a file holds. */
typedef struct model {
    fo_gguf *gguf;
    fo_config config;
    fo_weights *weights;
    fo_tokenizer *tokenizer;
} model;

static fo_status open_all(counting_device *device, const void *data,
                          size_t size, model *m, fo_error *error)
{
    *m = (model){0};
    fo_status status = fo_gguf_parse(data, size, &m->gguf, error);
    if (status == FO_OK)
        status = fo_config_read(m->gguf, &m->config, error);
    if (status == FO_OK)
        status = fo_weights_open(&device->base, m->gguf, &m->config,
                                 &m->weights, error);
    if (status == FO_OK)
        status = fo_tokenizer_open(m->gguf, &m->tokenizer, error);
    return status;
}

static void close_all(model *m)
{
    fo_tokenizer_close(&m->tokenizer);
    fo_weights_close(&m->weights);
    fo_gguf_close(&m->gguf);
}

/* Write, open and close a model; returns what opening returned. */
static fo_status try_file(model_file *file, fo_error *error)
{
    counting_device device = {.base = {&counting_backend}};
    model m;
    size_t size;
    unsigned char *data = model_file_finish(file, &size);
    fo_status status = open_all(&device, data, size, &m, error);
    close_all(&m);
    assert_int_equal(device.mapped, 0);
    free(data);
    return status;
}

/* Find every weight in its place. */
static void check_weight(fo_weight weight, int R, int C)
{
    assert_non_null(weight.data);
    assert_int_equal(weight.dtype, FO_Q8_0);
    assert_int_equal(weight.R, R);
    assert_int_equal(weight.C, C);
}

static void finds_the_weights_of_phi3(void **state)
{
    (void)state;
    counting_device device = {.base = {&counting_backend}};
    model m;
    size_t size;
    unsigned char *data = model_file_finish(
        small_model_new(&(small_model){.arch = FO_ARCH_PHI3, .type = 8}),
        &size);
    assert_int_equal(open_all(&device, data, size, &m, NULL), FO_OK);
    check_weight(m.weights->embedding, SMALL_VOCABULARY, 32);
    check_weight(m.weights->output, SMALL_VOCABULARY, 32);
    assert_ptr_not_equal(m.weights->output.data, m.weights->embedding.data);
    check_weight(m.weights->layers[1].qkv, 64, 32);
    check_weight(m.weights->layers[1].attn_out, 32, 32);
    check_weight(m.weights->layers[1].gate_up, 192, 32);
    check_weight(m.weights->layers[1].down, 32, 96);
    assert_null(m.weights->layers[1].q.data);
    assert_non_null(m.weights->layers[0].ffn_norm);
    assert_null(m.weights->rope_long);
    assert_int_equal(device.mapped, 3 + 2 * 6);
    assert_ptr_equal(
        m.weights->layers[0].qkv.data,
        fo_gguf_tensor_find(m.gguf, "blk.0.attn_qkv.weight")->data);
    close_all(&m);
    assert_int_equal(device.mapped, 0);
    free(data);
}

/* Find every weight of Llama. */
static void finds_the_weights_of_llama(void **state)
{
    (void)state;
    counting_device device = {.base = {&counting_backend}};
    model m;
    size_t size;
    unsigned char *data =
        model_file_finish(small_model_new(&(small_model){
                              .arch = FO_ARCH_LLAMA, .type = 8, .tied = true}),
                          &size);
    assert_int_equal(open_all(&device, data, size, &m, NULL), FO_OK);
    check_weight(m.weights->output, SMALL_VOCABULARY, 32);
    assert_ptr_equal(m.weights->output.data, m.weights->embedding.data);
    check_weight(m.weights->layers[0].q, 32, 32);
    check_weight(m.weights->layers[0].k, 16, 32);
    check_weight(m.weights->layers[0].v, 16, 32);
    check_weight(m.weights->layers[0].gate, 96, 32);
    check_weight(m.weights->layers[0].up, 96, 32);
    assert_null(m.weights->layers[0].qkv.data);
    assert_int_equal(device.mapped, 2 + 2 * 9);
    close_all(&m);
    free(data);
}

/* Refuse a model that is not whole. */
static void refuses_a_model_that_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        small_model model;
        fo_status status;
        const char *word;
    } wrong[] = {
        {{.drop = "blk.1.ffn_down.weight"}, FO_UNKNOWN, "blk.1.ffn_down"},
        {{.drop = "output_norm.weight"}, FO_UNKNOWN, "output_norm"},
        {{.drop = "token_embd.weight"}, FO_UNKNOWN, "token_embd"},
        {{.drop = "block_count"}, FO_UNKNOWN, "phi3.block_count"},
        {{.extra = "blk.0.attn_qkv.bias"}, FO_UNSUPPORTED, "attn_qkv.bias"},
        {{.extra = "rope_factors_long.weight"}, FO_FORMAT, "rope_factors"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fo_error error = {.message = "none"};
        fo_status status = try_file(small_model_new(&wrong[i].model), &error);
        if (status != wrong[i].status ||
            strstr(error.message, wrong[i].word) == NULL)
            fail_msg("%s: status %d, %s", wrong[i].word, status, error.message);
    }
    model_file *file = small_model_new(&(small_model){.drop = "output.weight"});
    put_tensor(file, "output.weight", 0, 2, (uint64_t[]){32, 8},
               (float[256]){0}, 1024);
    assert_int_equal(try_file(file, NULL), FO_FORMAT);
}

static void refuses_types_it_does_not_compute(void **state)
{
    (void)state;
    fo_error error;
    model_file *file =
        small_model_new(&(small_model){.drop = "blk.0.attn_output.weight"});
    put_tensor(file, "blk.0.attn_output.weight", 3, 2, (uint64_t[]){32, 32},
               (char[640]){0}, 640);
    assert_int_equal(try_file(file, &error), FO_UNSUPPORTED);
    assert_non_null(strstr(error.message, "q4_1"));
    file = small_model_new(&(small_model){.drop = "output_norm.weight"});
    put_tensor(file, "output_norm.weight", 1, 1, (uint64_t[]){32},
               (char[64]){0}, 64);
    assert_int_equal(try_file(file, &error), FO_UNSUPPORTED);
}

static void takes_the_factors_of_longrope(void **state)
{
    (void)state;
    for (int bad = 0; bad < 3; bad++) {
        float factors[4] = {1, 2, 3, bad == 2 ? 0 : 4};
        model_file *file = small_model_new(&(small_model){0});
        put_tensor(file, "rope_factors_long.weight", 0, 1,
                   (uint64_t[]){bad == 1 ? 3 : 4}, factors, 16);
        put_tensor(file, "rope_factors_short.weight", 0, 1, (uint64_t[]){4},
                   (float[]){1, 1, 1, 1}, 16);
        assert_int_equal(try_file(file, NULL), bad == 0 ? FO_OK : FO_FORMAT);
    }
}

/* Fail at every allocation of a load. */
static void survives_every_failed_request(void **state)
{
    (void)state;
    counting_device device = {.base = {&counting_backend}};
    model m;
    size_t size;
    unsigned char *data =
        model_file_finish(small_model_new(&(small_model){0}), &size);
    fo_memory_usage before = fo_memory_usage_get(FO_MEMORY_HOST);
    assert_int_equal(open_all(&device, data, size, &m, NULL), FO_OK);
    int maps = device.mapped;
    close_all(&m);
    uint64_t n = fo_memory_usage_get(FO_MEMORY_HOST).requests - before.requests;
    assert_true(n >= 12 && maps == 15);
    for (uint64_t i = 1; i <= n + (uint64_t)maps; i++) {
        fo_memory_fail_at(i <= n ? i : 0);
        device.fail_at = i <= n ? 0 : (int)(i - n);
        assert_int_equal(open_all(&device, data, size, &m, NULL), FO_NOMEM);
        close_all(&m);
        assert_int_equal(device.mapped, 0);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                         before.bytes);
    }
    fo_memory_fail_at(0);
    free(data);
}

/* Survive truncation and mutation. */
static unsigned char *honest_model(size_t *size)
{
    return model_file_finish(small_model_new(&(small_model){.type = 8}), size);
}

/* The bytes in a block of their very size, so that a sanitizer sees any step
 * beyond them. */
static unsigned char *copy_of(const unsigned char *data, size_t size)
{
    unsigned char *copy = NULL;
    assert_int_equal(posix_memalign((void **)&copy, 64, size), 0);
    memcpy(copy, data, size);
    return copy;
}

static bool survives(const unsigned char *data, size_t size)
{
    counting_device device = {.base = {&counting_backend}};
    uint64_t held = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    model m;
    fo_error error = {0};
    fo_status status = open_all(&device, data, size, &m, &error);
    close_all(&m);
    assert_int_equal(device.mapped, 0);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, held);
    if (status != FO_OK)
        assert_true(error.status == status && error.message[0] != '\0');
    return status == FO_OK;
}

/* Survive truncation. */
static void survives_truncation(void **state)
{
    (void)state;
    size_t size, cuts = 0;
    unsigned char *good = honest_model(&size);
    assert_true(survives(good, size));
    for (size_t length = 0; length < size; length += 64, cuts++) {
        unsigned char *data = copy_of(good, length);
        assert_false(survives(data, length));
        free(data);
    }
    assert_true(cuts > 300);
    free(good);
}

/* Change a few bytes. */
static void mutate(unsigned char *data, size_t size, const uint32_t words[4])
{
    size_t range = words[0] % 2 == 0 ? 800 : size - 8;
    size_t at = words[1] % range;
    uint64_t extremes[] = {0, 1, UINT64_MAX, 1ULL << 63, 1ULL << 32};
    switch (words[2] % 4) {
    case 0:
        data[at] ^= (unsigned char)(1U << words[3] % 8);
        break;
    case 1:
        data[at] = (unsigned char)words[3];
        break;
    case 2:
        memcpy(data + at, &extremes[words[3] % 5], 8);
        break;
    default:
        memcpy(data + at, &words[3], 4);
    }
}

/* Survive mutation. */
static void survives_mutation(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = honest_model(&size), *data = copy_of(good, size);
    int opened = 0;
    for (uint64_t round = 0; round < 10000; round++) {
        uint32_t words[4];
        fo_rng_block(9, round, 0, words);
        memcpy(data, good, size);
        for (uint32_t i = 0; i <= words[0] % 8; i++) {
            fo_rng_block(9, round, i + 1, words);
            mutate(data, size, words);
        }
        opened += survives(data, size);
    }
    print_message("10000 mutations: %d opened, %d refused\n", opened,
                  10000 - opened);
    assert_true(opened > 0 && opened < 10000);
    free(good);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_weights_of_phi3),
        cmocka_unit_test(finds_the_weights_of_llama),
        cmocka_unit_test(refuses_a_model_that_is_not_whole),
        cmocka_unit_test(refuses_types_it_does_not_compute),
        cmocka_unit_test(takes_the_factors_of_longrope),
        cmocka_unit_test(survives_every_failed_request),
        cmocka_unit_test(survives_truncation),
        cmocka_unit_test(survives_mutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
