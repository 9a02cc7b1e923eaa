#include "toy_model.h"

#include "inputs.h"
#include "model_file.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { C = 32, H = 4, D = 8, F = 48, L = 2, V = SMALL_VOCABULARY };

/* Write one random tensor. */
typedef struct toy_writer {
    model_file *file;
    const toy_model *toy;
    uint64_t stream; /* each tensor draws from its own */
} toy_writer;

static void put_matrix(toy_writer *to, const char *name, int rows, int columns,
                       double gain)
{
    size_t n = (size_t)rows * (size_t)columns;
    float *values = malloc(n * sizeof *values);
    assert(values);
    fill_normal(values, n, 42, to->stream++);
    for (size_t i = 0; i < n; i++)
        values[i] *= (float)(gain / sqrt(columns));
    put_tensor(to->file, name, 0, 2,
               (uint64_t[]){(uint64_t)columns, (uint64_t)rows}, values,
               n * sizeof *values);
    free(values);
}

static void put_vector(toy_writer *to, const char *name, int n, float low,
                       float high)
{
    float values[C];
    fill_uniform(values, (size_t)n, low, high, 42, to->stream++);
    if (to->toy->broken && strcmp(name, "output_norm.weight") == 0)
        values[C - 1] = NAN;
    put_tensor(to->file, name, 0, 1, (uint64_t[]){(uint64_t)n}, values,
               (size_t)n * sizeof *values);
}

/* Write a toy's tensors. */
static void put_layer(toy_writer *to, int l)
{
    int keys = to->toy->K * D;
    bool phi3 = to->toy->arch == FO_ARCH_PHI3;
    const struct {
        const char *part;
        int rows, columns;
        double gain;
        bool wanted;
    } parts[] = {{"attn_qkv", H * D + 2 * keys, C, 1.7, phi3},
                 {"attn_q", H * D, C, 1.7, !phi3},
                 {"attn_k", keys, C, 1.7, !phi3},
                 {"attn_v", keys, C, 1, !phi3},
                 {"attn_output", C, H * D, 1, true},
                 {"ffn_up", phi3 ? 2 * F : F, C, 1.5, true},
                 {"ffn_gate", F, C, 1.5, !phi3},
                 {"ffn_down", C, F, 1, true}};
    char name[64];
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", l);
    put_vector(to, name, C, 0.8f, 1.2f);
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", l);
    put_vector(to, name, C, 0.8f, 1.2f);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, parts[i].part);
        if (parts[i].wanted)
            put_matrix(to, name, parts[i].rows, parts[i].columns,
                       parts[i].gain);
    }
}

static void write_toy_tensors(toy_writer *to)
{
    put_matrix(to, "token_embd.weight", V, C, to->toy->tied ? 4 : sqrt(C));
    put_vector(to, "output_norm.weight", C, 0.8f, 1.2f);
    if (!to->toy->tied)
        put_matrix(to, "output.weight", V, C, 4);
    if (to->toy->original) {
        put_vector(to, "rope_factors_long.weight", D / 2, 2, 8);
        put_vector(to, "rope_factors_short.weight", D / 2, 1, 1.5f);
    }
    for (int l = 0; l < L; l++)
        put_layer(to, l);
}

/* Write a toy's numbers. */
static void put_number(toy_writer *to, const char *name, int value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", fo_arch_name(to->toy->arch), name);
    if (value)
        put_u32(to->file, key, (uint32_t)value);
}

static void write_toy_numbers(toy_writer *to)
{
    char key[96];
    const char *arch = fo_arch_name(to->toy->arch);
    put_text(to->file, "general.architecture", arch);
    put_number(to, "context_length", TOY_CONTEXT);
    put_number(to, "embedding_length", C);
    put_number(to, "feed_forward_length", F);
    put_number(to, "block_count", L);
    put_number(to, "attention.head_count", H);
    put_number(to, "attention.head_count_kv", to->toy->K);
    put_number(to, "rope.dimension_count", D);
    put_number(to, "attention.sliding_window", to->toy->window);
    put_number(to, "rope.scaling.original_context_length", to->toy->original);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    put_f32(to->file, key, 1e-5f);
}

void toy_model_write(const toy_model *toy, char path[32])
{
    size_t size;
    toy_writer to = {model_file_new(), toy, 0};
    write_toy_numbers(&to);
    put_vocabulary(to.file, toy->arch);
    write_toy_tensors(&to);
    unsigned char *data = model_file_finish(to.file, &size);
    strcpy(path, "/tmp/folio-toy-XXXXXX");
    int file = mkstemp(path);
    assert(file >= 0);
    ssize_t written = write(file, data, size);
    assert(written == (ssize_t)size);
    close(file);
    free(data);
}
