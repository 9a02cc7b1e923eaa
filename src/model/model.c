#include "model/model_inside.h"

#include "common/memory.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* List the buffers of a step. */
enum buffer {
    FREQUENCY,
    STREAM,
    NARROW,
    WIDE,
    INNER,
    LOGITS,
    LOGIT_ROWS,
    SAMPLING,
    DRAWN,
    WORKSPACE,
    INDICES,
    BUFFERS
};

/* Where the model keeps its pointer to each. */
static const size_t places[BUFFERS] = {
    [FREQUENCY] = offsetof(fo_model, frequency),
    [STREAM] = offsetof(fo_model, stream),
    [NARROW] = offsetof(fo_model, narrow),
    [WIDE] = offsetof(fo_model, wide),
    [INNER] = offsetof(fo_model, inner),
    [LOGITS] = offsetof(fo_model, logits),
    [LOGIT_ROWS] = offsetof(fo_model, logit_rows),
    [SAMPLING] = offsetof(fo_model, sampling),
    [DRAWN] = offsetof(fo_model, drawn),
    [WORKSPACE] = offsetof(fo_model, workspace.data),
    [INDICES] = offsetof(fo_model, step.slots),
};

/* Give the model's memory back. */
void fo_model_close(fo_model **model)
{
    fo_model *m = *model;
    if (!m)
        return;
    for (size_t i = 0; i < BUFFERS; i++) {
        void *data;
        memcpy(&data, (char *)m + places[i], sizeof data);
        m->device->backend->free(m->device, data);
    }
    fo_memory_free(m->host.slots);
    fo_weights_close(&m->weights);
    fo_tokenizer_close(&m->tokenizer);
    fo_gguf_close(&m->gguf);
    fo_memory_free(m);
    *model = NULL;
}

/* Take the buffers of a step. */
/* Lay out the indices of a step. */
/* The bytes of all indices; points into `base` unless it is null. */
static size_t place(indices *at, const fo_model_options *bounds, void *base)
{
    size_t T = (size_t)bounds->max_tokens, N = (size_t)bounds->max_sequences;
    size_t offset = T * sizeof *at->slots;
    int32_t **fields[] = {&at->tokens,        &at->positions, &at->query_start,
                          &at->prefill_start, &at->length,    &at->row};
    size_t counts[] = {T, T, N + 1, N + 1, N, N};
    if (base)
        at->slots = base;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (base)
            *fields[i] = (int32_t *)((char *)base + offset);
        offset += counts[i] * sizeof **fields[i];
    }
    return offset;
}

/* Say what the device will be asked for. */
static int greater(int a, int b)
{
    return a > b ? a : b;
}

static fo_workload workload_of(const fo_config *c, const fo_model_options *b)
{
    int fused = greater((c->H + 2 * c->K) * c->D, 2 * c->F);
    return (fo_workload){
        .max_tokens = b->max_tokens,
        .max_sequences = b->max_sequences,
        .max_length = b->context,
        .max_columns = greater(greater(c->C, c->F), c->H * c->D),
        .max_rows = greater(fused, greater(c->V, c->C)),
        .H = c->H,
        .K = c->K,
        .D = c->D,
        .V = c->V,
    };
}

/* Measure the buffers. */
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void measure(fo_device *device, const fo_config *c,
                    const fo_model_options *b, size_t bytes[BUFFERS])
{
    size_t T = (size_t)b->max_tokens, N = (size_t)b->max_sequences;
    size_t n = (size_t)b->max_logits, C = (size_t)c->C;
    size_t queries = (size_t)c->H * (size_t)c->D;
    size_t keys = (size_t)c->K * (size_t)c->D;
    size_t wide = larger(larger(queries + 2 * keys, 2 * (size_t)c->F), C);
    fo_workload workload = workload_of(c, b);
    indices none = {0};
    bytes[FREQUENCY] = (size_t)c->rotary / 2 * sizeof(float);
    bytes[STREAM] = bytes[NARROW] = T * C * sizeof(float);
    bytes[WIDE] = T * wide * sizeof(float);
    bytes[INNER] = T * larger(queries, (size_t)c->F) * sizeof(float);
    bytes[LOGITS] = n * (size_t)c->V * sizeof(float);
    bytes[LOGIT_ROWS] = n * sizeof(int32_t);
    bytes[SAMPLING] = N * sizeof(fo_sampling);
    bytes[DRAWN] = N * sizeof(int32_t);
    bytes[WORKSPACE] = device->backend->workspace_bytes(device, &workload);
    bytes[INDICES] = place(&none, b, NULL);
}

/* Take one buffer after the other. */
static fo_status take_buffers(fo_model *m, fo_error *error)
{
    size_t bytes[BUFFERS];
    measure(m->device, &m->config, &m->bounds, bytes);
    for (size_t i = 0; i < BUFFERS; i++) {
        void *data;
        TRY(m->device->backend->alloc(m->device, bytes[i], &data, error));
        memcpy((char *)m + places[i], &data, sizeof data);
    }
    m->workspace.bytes = bytes[WORKSPACE];
    m->index_bytes = bytes[INDICES];
    m->host.slots = fo_memory_alloc(1, m->index_bytes, error);
    if (!m->host.slots)
        return FO_NOMEM;
    place(&m->host, &m->bounds, m->host.slots);
    place(&m->step, &m->bounds, m->step.slots);
    return FO_OK;
}

/* Work out the frequencies of rotation. */
static fo_status upload_frequency(fo_model *m, fo_error *error)
{
    const fo_config *c = &m->config;
    size_t pairs = (size_t)c->rotary / 2;
    const float *factors = m->bounds.context > c->original_context
                               ? m->weights->rope_long
                               : m->weights->rope_short;
    float *frequency = fo_memory_alloc(pairs, sizeof *frequency, error);
    if (!frequency)
        return FO_NOMEM;
    for (size_t i = 0; i < pairs; i++) {
        double power = pow((double)c->rope_base, -2.0 * (double)i / c->rotary);
        frequency[i] = (float)(factors ? power / (double)factors[i] : power);
    }
    fo_status status = m->device->backend->upload(
        m->device, m->frequency, frequency, pairs * sizeof *frequency, error);
    fo_memory_free(frequency);
    return status;
}

/* Settle the bounds. */
static int given(int value, int otherwise)
{
    return value > 0 ? value : otherwise;
}

fo_status fo_model_settle(const fo_config *config,
                          const fo_model_options *options,
                          fo_model_options *bounds, fo_error *error)
{
    fo_model_options none = {0};
    const fo_model_options *o = options ? options : &none;
    fo_model_options b = {.context = given(o->context, config->context),
                          .max_sequences = given(o->max_sequences, 1)};
    b.max_logits = given(o->max_logits, b.max_sequences);
    b.max_tokens = greater(given(o->max_tokens, 512), b.max_sequences);
    b.max_tokens = greater(b.max_tokens, b.max_logits);
    *bounds = b;
    if (b.context > config->context)
        return fo_fail_short(error, FO_LIMIT, (uint64_t)b.context,
                             (uint64_t)config->context,
                             "a context of %d tokens is more than the %d the "
                             "model was made for",
                             b.context, config->context);
    return FO_OK;
}

/* Foretell what a model takes. */
uint64_t fo_model_bytes(fo_device *device, const fo_config *config,
                        const fo_model_options *bounds)
{
    size_t bytes[BUFFERS];
    uint64_t sum = 0;
    measure(device, config, bounds, bytes);
    for (size_t i = 0; i < BUFFERS; i++)
        sum += bytes[i];
    return sum;
}

/* Open a model. */
static fo_status build(fo_model *m, const char *path,
                       const fo_model_options *options, fo_error *error)
{
    TRY(fo_gguf_open(path, &m->gguf, error));
    TRY(fo_config_read(m->gguf, &m->config, error));
    TRY(fo_model_settle(&m->config, options, &m->bounds, error));
    TRY(fo_tokenizer_open(m->gguf, &m->tokenizer, error));
    TRY(fo_weights_open(m->device, m->gguf, &m->config, &m->weights, error));
    TRY(take_buffers(m, error));
    return upload_frequency(m, error);
}

fo_status fo_model_open(fo_device *device, const char *path,
                        const fo_model_options *options, fo_model **out,
                        fo_error *error)
{
    *out = NULL;
    fo_model *m = fo_memory_alloc(1, sizeof *m, error);
    if (!m)
        return FO_NOMEM;
    m->device = device;
    fo_status status = build(m, path, options, error);
    if (status != FO_OK)
        fo_model_close(&m);
    *out = m;
    return status;
}

/* Let others look at the model. */
const fo_config *fo_model_config(const fo_model *model)
{
    return &model->config;
}

const fo_gguf *fo_model_gguf(const fo_model *model)
{
    return model->gguf;
}

const fo_tokenizer *fo_model_tokenizer(const fo_model *model)
{
    return model->tokenizer;
}

const fo_model_options *fo_model_bounds(const fo_model *model)
{
    return &model->bounds;
}
