#include "model/model_inside.h"

#include "common/memory.h"

#include <math.h>

/* Give the model's memory back. */
void fo_model_close(fo_model **model)
{
    fo_model *m = *model;
    if (!m)
        return;
    void *device_memory[] = {m->frequency,  m->stream,    m->narrow,
                             m->wide,       m->inner,     m->logits,
                             m->sampling,   m->drawn,     m->workspace.data,
                             m->logit_rows, m->step.slots};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; i++)
        m->device->backend->free(m->device, device_memory[i]);
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
    int32_t **fields[] = {&at->tokens, &at->positions, &at->query_start,
                          &at->length, &at->row};
    size_t counts[] = {T, T, N + 1, N, N};
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

static fo_workload workload_of(const fo_model *m)
{
    const fo_config *c = &m->config;
    int fused = greater((c->H + 2 * c->K) * c->D, 2 * c->F);
    return (fo_workload){
        .max_tokens = m->bounds.max_tokens,
        .max_sequences = m->bounds.max_sequences,
        .max_length = m->bounds.context,
        .max_columns = greater(greater(c->C, c->F), c->H * c->D),
        .max_rows = greater(fused, greater(c->V, c->C)),
        .H = c->H,
        .K = c->K,
        .D = c->D,
        .V = c->V,
    };
}

/* Ask the device for memory unless that has failed. */
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

typedef struct taking {
    fo_device *device;
    fo_status status; /* the first failure */
    fo_error *error;
} taking;

static void *take(taking *taking, size_t bytes)
{
    void *data = NULL;
    if (taking->status == FO_OK)
        taking->status = taking->device->backend->alloc(taking->device, bytes,
                                                        &data, taking->error);
    return data;
}

static fo_status take_buffers(fo_model *m, fo_error *error)
{
    const fo_config *c = &m->config;
    size_t T = (size_t)m->bounds.max_tokens;
    size_t N = (size_t)m->bounds.max_sequences;
    size_t n = (size_t)m->bounds.max_logits;
    size_t qkv = (size_t)(c->H + 2 * c->K) * (size_t)c->D;
    size_t wide = larger(larger(qkv, 2 * (size_t)c->F), (size_t)c->C);
    size_t inner = larger((size_t)c->H * (size_t)c->D, (size_t)c->F);
    fo_workload workload = workload_of(m);
    taking taking = {.device = m->device, .error = error};
    m->index_bytes = place(&m->host, &m->bounds, NULL);
    m->workspace.bytes =
        m->device->backend->workspace_bytes(m->device, &workload);
    /* Take one buffer after the other. */
    m->frequency = take(&taking, (size_t)c->rotary / 2 * sizeof(float));
    m->stream = take(&taking, T * (size_t)c->C * sizeof(float));
    m->narrow = take(&taking, T * (size_t)c->C * sizeof(float));
    m->wide = take(&taking, T * wide * sizeof(float));
    m->inner = take(&taking, T * inner * sizeof(float));
    m->logits = take(&taking, n * (size_t)c->V * sizeof(float));
    m->logit_rows = take(&taking, n * sizeof *m->logit_rows);
    m->sampling = take(&taking, N * sizeof *m->sampling);
    m->drawn = take(&taking, N * sizeof *m->drawn);
    m->workspace.data = take(&taking, m->workspace.bytes);
    m->step.slots = take(&taking, m->index_bytes);
    place(&m->step, &m->bounds, m->step.slots);
    if (taking.status == FO_OK)
        m->host.slots = fo_memory_alloc(1, m->index_bytes, error);
    place(&m->host, &m->bounds, m->host.slots);
    if (taking.status == FO_OK && !m->host.slots)
        return FO_NOMEM;
    return taking.status;
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

static fo_status settle_bounds(fo_model *m, const fo_model_options *options,
                               fo_error *error)
{
    fo_model_options none = {0};
    const fo_model_options *o = options ? options : &none;
    fo_model_options *b = &m->bounds;
    b->context = given(o->context, m->config.context);
    if (b->context > m->config.context)
        return fo_fail_short(error, FO_LIMIT, (uint64_t)b->context,
                             (uint64_t)m->config.context,
                             "a context of %d tokens is more than the %d the "
                             "model was made for",
                             b->context, m->config.context);
    b->max_sequences = given(o->max_sequences, 1);
    b->max_logits = given(o->max_logits, b->max_sequences);
    b->max_tokens = greater(given(o->max_tokens, 512), b->max_sequences);
    b->max_tokens = greater(b->max_tokens, b->max_logits);
    return FO_OK;
}

/* Open a model. */
static fo_status build(fo_model *m, const char *path,
                       const fo_model_options *options, fo_error *error)
{
    TRY(fo_gguf_open(path, &m->gguf, error));
    TRY(fo_config_read(m->gguf, &m->config, error));
    TRY(settle_bounds(m, options, error));
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
