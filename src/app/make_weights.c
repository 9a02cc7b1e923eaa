#include "app/app.h"
#include "app/shape.h"
#include "common/memory.h"
#include "common/rng.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Describe the tensors of a model. */
enum { MOST_COLUMNS = 1 << 15, AT_ONCE = 1 << 22 };

typedef struct tensor {
    fo_dtype type;
    int R, C;    /* R = 0: a norm                                      */
    double gain; /* rows have this length, on average                  */
    int sharp;   /* leading rows that are longer: queries and keys     */
} tensor;

typedef struct making {
    const app_make *make;
    fo_gguf_writer *writer;
    tensor *tensors;
    int count;
    uint64_t bytes, done; /* of all tensors, and of those written  */
    time_t told;          /* when progress was last shown          */
} making;

/* List the tensors. */
static void put(making *m, const char *name, int R, int C, double gain,
                int sharp)
{
    tensor *t = &m->tensors[m->count++];
    *t = (tensor){R ? m->make->type : FO_F32, R, C, gain, sharp};
    fo_gguf_put_tensor(m->writer, name, t->type, R, C);
    m->bytes += fo_dtype_bytes(t->type, C) * (uint64_t)(R ? R : 1);
}

static void put_layer(making *m, int l)
{
    const app_shape *s = &m->make->shape;
    bool phi3 = s->arch == FO_ARCH_PHI3;
    int q = s->C, kv = s->C / s->H * s->K;
    const struct {
        const char *part;
        int R, C;
        double gain;
        int sharp;
        bool wanted;
    } parts[] = {{"attn_norm", 0, s->C, 0, 0, true},
                 {"attn_qkv", q + 2 * kv, s->C, 1, q + kv, phi3},
                 {"attn_q", q, s->C, 1, q, !phi3},
                 {"attn_k", kv, s->C, 1, kv, !phi3},
                 {"attn_v", kv, s->C, 1, 0, !phi3},
                 {"attn_output", s->C, q, 1, 0, true},
                 {"ffn_norm", 0, s->C, 0, 0, true},
                 {"ffn_gate", s->F, s->C, 1.5, 0, !phi3},
                 {"ffn_up", phi3 ? 2 * s->F : s->F, s->C, 1.5, 0, true},
                 {"ffn_down", s->C, s->F, 1, 0, true}};
    char name[64];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, parts[i].part);
        if (parts[i].wanted)
            put(m, name, parts[i].R, parts[i].C, parts[i].gain, parts[i].sharp);
    }
}

/* List what is outside the layers. */
static void put_tensors(making *m)
{
    const app_shape *s = &m->make->shape;
    put(m, "token_embd.weight", s->V, s->C, sqrt(s->C), 0);
    put(m, "output_norm.weight", 0, s->C, 0, 0);
    put(m, "output.weight", s->V, s->C, 2, 0);
    for (int l = 0; l < s->L; l++)
        put_layer(m, l);
}

/* Draw weights by their place. */
/* Value i of a tensor is the sum of four bytes of word i of its stream: mean 0,
 * deviation `gain`, and the same whoever draws it. i is a multiple of 4. */
static void draw(float *out, int n, double gain, uint64_t seed, int stream,
                 uint64_t i)
{
    const double deviation = sqrt(4 * (256.0 * 256.0 - 1) / 12);
    float scale = (float)(gain / deviation);
    for (int done = 0; done < n; done += 4) {
        uint32_t words[4];
        fo_rng_block(seed, (uint64_t)stream, (i + (uint64_t)done) / 4, words);
        for (int k = 0; k < 4; k++) {
            uint32_t w = words[k];
            int sum = (int)((w & 0xff) + (w >> 8 & 0xff) + (w >> 16 & 0xff) +
                            (w >> 24));
            out[done + k] = (float)(sum - 510) * scale;
        }
    }
}

/* A norm scales by 0.8 to 1.2. */
static void draw_norm(float *out, int n, uint64_t seed, int stream)
{
    for (int i = 0; i < n; i++)
        out[i] =
            0.8f + 0.4f * fo_rng_uniform(seed, (uint64_t)stream, (uint64_t)i);
}

/* Draw some rows of a tensor. */
static void draw_rows(const making *m, int stream, int first, int rows,
                      unsigned char *out)
{
    const tensor *t = &m->tensors[stream];
    const double sharp = sqrt(2.5);
    size_t row_bytes = fo_dtype_bytes(t->type, t->C);
    uint64_t seed = m->make->seed;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        float values[MOST_COLUMNS];
        int row = first + r;
        double gain = (row < t->sharp ? sharp : t->gain) / sqrt(t->C);
        if (t->R)
            draw(values, t->C, gain, seed, stream,
                 (uint64_t)row * (uint64_t)t->C);
        else
            draw_norm(values, t->C, seed, stream);
        fo_dtype_store(t->type, values, out + (size_t)r * row_bytes, t->C);
    }
}

/* Tell how far it is. */
static void tell(making *m)
{
    time_t now = time(NULL);
    if (m->make->quiet || now - m->told < 2)
        return;
    m->told = now;
    fprintf(stderr, "%3.0f %% of %.2f GB\n",
            100 * (double)m->done / (double)m->bytes, (double)m->bytes / 1e9);
}

/* Write all tensors. */
static fo_status write_tensor(making *m, int stream, unsigned char *buffer,
                              fo_error *error)
{
    const tensor *t = &m->tensors[stream];
    int R = t->R ? t->R : 1, most = AT_ONCE / t->C;
    size_t row_bytes = fo_dtype_bytes(t->type, t->C);
    for (int first = 0, rows; first < R; first += rows) {
        rows = R - first < most ? R - first : most;
        draw_rows(m, stream, first, rows, buffer);
        size_t bytes = (size_t)rows * row_bytes;
        fo_status status =
            fo_gguf_writer_data(m->writer, stream, (uint64_t)first * row_bytes,
                                buffer, bytes, error);
        if (status != FO_OK)
            return status;
        m->done += bytes;
        tell(m);
    }
    return FO_OK;
}

static fo_status write_tensors(making *m, fo_error *error)
{
    fo_status status = FO_OK;
    unsigned char *buffer = fo_memory_alloc(AT_ONCE, sizeof(float), error);
    if (!buffer)
        return FO_NOMEM;
    m->told = time(NULL);
    for (int i = 0; i < m->count && status == FO_OK; i++)
        status = write_tensor(m, i, buffer, error);
    fo_memory_free(buffer);
    return status;
}

/* Put the numbers of a model. */
static void put_numbers(fo_gguf_writer *w, const app_shape *s)
{
    const struct {
        const char *key;
        int value;
    } numbers[] = {{"context_length", s->context},
                   {"embedding_length", s->C},
                   {"feed_forward_length", s->F},
                   {"block_count", s->L},
                   {"attention.head_count", s->H},
                   {"attention.head_count_kv", s->K},
                   {"rope.dimension_count", s->C / s->H},
                   {"attention.sliding_window", s->window}};
    const char *arch = fo_arch_name(s->arch);
    char key[96];
    fo_gguf_put_text(w, "general.architecture", arch);
    fo_gguf_put_text(w, "general.name", s->name);
    fo_gguf_put_text(w, "general.description",
                     "random weights in the shape of a model");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, numbers[i].key);
        if (numbers[i].value || s->arch == FO_ARCH_PHI3)
            fo_gguf_put_u32(w, key, (uint32_t)numbers[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    fo_gguf_put_f32(w, key, 1e-5f);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    fo_gguf_put_f32(w, key, s->rope_base);
}

/* Make a model. */
static fo_status fill(making *m, uint64_t *bytes, fo_error *error)
{
    put_numbers(m->writer, &m->make->shape);
    fo_status status = app_vocabulary_put(m->writer, &m->make->shape, error);
    if (status != FO_OK)
        return status;
    put_tensors(m);
    status = fo_gguf_writer_begin(m->writer, m->make->zeros, bytes, error);
    if (status == FO_OK && !m->make->zeros)
        status = write_tensors(m, error);
    if (status == FO_OK)
        status = fo_gguf_writer_finish(m->writer, error);
    return status;
}

fo_status app_model_make(const app_make *make, const char *path,
                         uint64_t *bytes, fo_error *error)
{
    making m = {.make = make};
    size_t most = 3 + 9 * (size_t)make->shape.L;
    assert(make->shape.C <= MOST_COLUMNS && make->shape.F <= MOST_COLUMNS);
    fo_status status = FO_NOMEM;
    m.tensors = fo_memory_alloc(most, sizeof *m.tensors, error);
    if (m.tensors)
        status = fo_gguf_writer_open(path, &m.writer, error);
    if (status == FO_OK)
        status = fill(&m, bytes, error);
    fo_gguf_writer_close(&m.writer);
    fo_memory_free(m.tensors);
    return status;
}
