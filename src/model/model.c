#include "model/model.h"

#include "common/memory.h"
#include "model/weights.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Hold a model and its buffers. */
/* The numbers that describe a step, on the host or on the device. */
typedef struct indices {
    int64_t *slots;       /* (max_tokens)        */
    int32_t *tokens;      /* (max_tokens)        */
    int32_t *positions;   /* (max_tokens)        */
    int32_t *query_start; /* (max_sequences + 1) */
    int32_t *length;      /* (max_sequences)     */
    int32_t *row;         /* (max_sequences)     */
} indices;

struct fo_model {
    fo_device *device;
    fo_gguf *gguf;
    fo_config config;
    fo_model_options bounds;
    fo_tokenizer *tokenizer;
    fo_weights *weights;

    indices host, step; /* step: the device's copy               */
    size_t index_bytes;
    float *frequency;      /* (rotary / 2)                        */
    float *stream;         /* (T, C)                              */
    float *narrow;         /* (T, C)                              */
    float *wide;           /* (T, (H + 2 K) D) or (T, 2 F)        */
    float *inner;          /* (T, H D) or (T, F)                  */
    float *logits;         /* (max_logits, V)                     */
    int32_t *logit_rows;   /* (max_logits)                        */
    fo_sampling *sampling; /* (max_sequences)                     */
    int32_t *drawn;        /* (max_sequences)                     */
    fo_workspace workspace;
    int last_tokens; /* T of the last pass, 0 if it failed  */
    int last_logits; /* rows of the last call for logits    */
};

/* Leave at the first failure. */
#define TRY(call)                                                              \
    do {                                                                       \
        fo_status status = (call);                                             \
        if (status != FO_OK)                                                   \
            return status;                                                     \
    } while (0)

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

/* Send the indices of a step to the device. */
static fo_status check_tokens(const fo_model *m, const fo_batch *batch,
                              fo_error *error)
{
    for (int t = 0; t < batch->T; t++) {
        int32_t id = batch->tokens[t];
        if (id < 0 || id >= m->config.V)
            return fo_fail_short(
                error, FO_ARG, (uint64_t)id, (uint64_t)m->config.V,
                "token %d is not in the vocabulary of %d", id, m->config.V);
    }
    return FO_OK;
}

static fo_status send_indices(fo_model *m, const fo_batch *batch,
                              fo_error *error)
{
    size_t T = (size_t)batch->T, N = (size_t)batch->N;
    memcpy(m->host.slots, batch->slots, T * sizeof *batch->slots);
    memcpy(m->host.tokens, batch->tokens, T * sizeof *batch->tokens);
    memcpy(m->host.positions, batch->positions, T * sizeof *batch->positions);
    memcpy(m->host.query_start, batch->query_start,
           (N + 1) * sizeof *batch->query_start);
    memcpy(m->host.length, batch->length, N * sizeof *batch->length);
    memcpy(m->host.row, batch->row, N * sizeof *batch->row);
    return m->device->backend->upload(m->device, m->step.slots, m->host.slots,
                                      m->index_bytes, error);
}

/* Project queries, keys and values. */
typedef struct pass {
    fo_model *model;
    const fo_backend *backend;
    const fo_batch *batch;
    fo_attention attention;
    fo_block_tables tables;
    bool decode; /* one query a sequence */
    fo_error *error;
} pass;

/* Rows of queries, keys and values, wherever they lie. */
typedef struct projected {
    float *q, *k, *v;
    int q_stride, kv_stride; /* floats from one token to the next */
} projected;

static fo_status linear(const pass *p, float *out /* (T, R) */, const float *x,
                        const fo_weight *weight)
{
    return p->backend->linear(p->model->device, out, x, weight, p->batch->T,
                              p->model->workspace, p->error);
}

static fo_status project(const pass *p, const fo_layer_weights *w,
                         projected *out)
{
    fo_model *m = p->model;
    const fo_config *c = &m->config;
    int queries = c->H * c->D, keys = c->K * c->D;
    if (w->qkv.data) {
        int row = queries + 2 * keys;
        *out = (projected){m->wide, m->wide + queries, m->wide + queries + keys,
                           row, row};
        return linear(p, m->wide, m->narrow, &w->qkv);
    }
    float *k = m->wide + (size_t)p->batch->T * (size_t)queries;
    float *v = k + (size_t)p->batch->T * (size_t)keys;
    *out = (projected){m->wide, k, v, queries, keys};
    TRY(linear(p, out->q, m->narrow, &w->q));
    TRY(linear(p, out->k, m->narrow, &w->k));
    return linear(p, out->v, m->narrow, &w->v);
}

/* Attend. */
static fo_status rotate(const pass *p, float *x, int heads, int stride)
{
    const fo_model *m = p->model;
    fo_rope rope = {
        .T = p->batch->T,
        .heads = heads,
        .D = m->config.D,
        .stride = stride,
        .rotary = m->config.rotary,
        .style = m->config.rope_style,
        .scale = m->config.rope_attn_factor,
        .frequency = m->frequency,
        .position = m->step.positions,
    };
    return p->backend->rope(m->device, x, &rope, p->error);
}

static fo_status attend(pass *p, const fo_layer_weights *w, const fo_kv *kv)
{
    fo_model *m = p->model;
    const fo_config *c = &m->config;
    int T = p->batch->T;
    projected x;
    TRY(p->backend->rmsnorm(m->device, m->narrow, m->stream, w->attn_norm, T,
                            c->C, c->epsilon, p->error));
    TRY(project(p, w, &x));
    TRY(rotate(p, x.q, c->H, x.q_stride));
    TRY(rotate(p, x.k, c->K, x.kv_stride));
    TRY(p->backend->kv_write(m->device, kv, x.k, x.v, x.kv_stride,
                             m->step.slots, T, p->error));
    p->attention.q_stride = x.q_stride;
    TRY((p->decode ? p->backend->attention_decode
                   : p->backend->attention_prefill)(
        m->device, m->inner, x.q, kv, &p->tables, &p->attention, m->workspace,
        p->error));
    TRY(linear(p, m->narrow, m->inner, &w->attn_out));
    return p->backend->add(m->device, m->stream, m->stream, m->narrow,
                           (int64_t)T * c->C, p->error);
}

/* Feed forward. */
static fo_status feed_forward(const pass *p, const fo_layer_weights *w)
{
    fo_model *m = p->model;
    const fo_config *c = &m->config;
    int T = p->batch->T;
    float *gate = m->wide, *up;
    int stride;
    TRY(p->backend->rmsnorm(m->device, m->narrow, m->stream, w->ffn_norm, T,
                            c->C, c->epsilon, p->error));
    if (w->gate_up.data) {
        up = gate + c->F;
        stride = 2 * c->F;
        TRY(linear(p, m->wide, m->narrow, &w->gate_up));
    } else {
        up = gate + (size_t)T * (size_t)c->F;
        stride = c->F;
        TRY(linear(p, gate, m->narrow, &w->gate));
        TRY(linear(p, up, m->narrow, &w->up));
    }
    TRY(p->backend->silu_mul(m->device, m->inner, gate, up, T, c->F, stride,
                             p->error));
    TRY(linear(p, m->narrow, m->inner, &w->down));
    return p->backend->add(m->device, m->stream, m->stream, m->narrow,
                           (int64_t)T * c->C, p->error);
}

/* Run all layers. */
static pass begin(fo_model *m, const fo_batch *batch, fo_error *error)
{
    pass p = {.model = m,
              .backend = m->device->backend,
              .batch = batch,
              .decode = batch->T == batch->N,
              .error = error};
    p.attention = (fo_attention){
        .N = batch->N,
        .T = batch->T,
        .H = m->config.H,
        .scale = (float)(1 / sqrt((double)m->config.D)),
        .window = m->config.window,
        .query_start = m->step.query_start,
        .length = m->step.length,
    };
    p.tables = (fo_block_tables){batch->table, batch->max_blocks, m->step.row};
    for (int n = 0; n < batch->N; n++) {
        int queries = batch->query_start[n + 1] - batch->query_start[n];
        p.decode = p.decode && queries == 1;
        p.attention.max_length =
            greater(p.attention.max_length, batch->length[n]);
    }
    return p;
}

fo_status fo_model_forward(fo_model *m, const fo_batch *batch, fo_error *error)
{
    assert(batch->T <= m->bounds.max_tokens);
    assert(batch->N <= m->bounds.max_sequences);
    assert(batch->query_start[batch->N] == batch->T);
    m->last_tokens = m->last_logits = 0;
    TRY(check_tokens(m, batch, error));
    TRY(send_indices(m, batch, error));
    pass p = begin(m, batch, error);
    TRY(p.backend->embed(m->device, m->stream, m->step.tokens,
                         &m->weights->embedding, batch->T, error));
    for (int l = 0; l < m->config.L; l++) {
        TRY(attend(&p, &m->weights->layers[l], &batch->kv[l]));
        TRY(feed_forward(&p, &m->weights->layers[l]));
    }
    m->last_tokens = batch->T;
    return FO_OK;
}

/* Turn hidden states into logits. */
fo_status fo_model_logits(fo_model *m, const int32_t *rows /* (n) */, int n,
                          const float **logits, fo_error *error)
{
    const fo_backend *backend = m->device->backend;
    const fo_config *c = &m->config;
    assert(n >= 0 && n <= m->bounds.max_logits);
    for (int i = 0; i < n; i++)
        assert(rows[i] >= 0 && rows[i] < m->last_tokens);
    m->last_logits = 0;
    TRY(backend->upload(m->device, m->logit_rows, rows,
                        (size_t)n * sizeof *rows, error));
    TRY(backend->gather_rows(m->device, m->narrow, m->stream, m->logit_rows, n,
                             c->C, error));
    TRY(backend->rmsnorm(m->device, m->wide, m->narrow, m->weights->output_norm,
                         n, c->C, c->epsilon, error));
    TRY(backend->linear(m->device, m->logits, m->wide, &m->weights->output, n,
                        m->workspace, error));
    m->last_logits = n;
    *logits = m->logits;
    return FO_OK;
}

/* Draw a token for each sequence. */
static fo_status check_sampling(const fo_sampling *s, fo_error *error)
{
    if (!(s->temperature >= 0 && isfinite(s->temperature)))
        return fo_fail(error, FO_ARG, "temperature %g is not 0 or more",
                       (double)s->temperature);
    if (!(s->top_p >= 0 && s->top_p <= 1))
        return fo_fail(error, FO_ARG, "top-p %g is not from 0 to 1",
                       (double)s->top_p);
    if (s->top_k < 0)
        return fo_fail(error, FO_ARG, "top-k %d is not 0 or more", s->top_k);
    return FO_OK;
}

fo_status fo_model_sample(fo_model *m, const fo_sampling *sampling /* (N) */,
                          int N, int32_t *tokens /* (N) */, fo_error *error)
{
    const fo_backend *backend = m->device->backend;
    assert(N >= 0 && N <= m->last_logits && N <= m->bounds.max_sequences);
    for (int n = 0; n < N; n++)
        TRY(check_sampling(&sampling[n], error));
    TRY(backend->upload(m->device, m->sampling, sampling,
                        (size_t)N * sizeof *sampling, error));
    TRY(backend->sample(m->device, m->drawn, m->logits, m->sampling, N,
                        m->config.V, m->workspace, error));
    TRY(backend->download(m->device, tokens, m->drawn,
                          (size_t)N * sizeof *tokens, error));
    for (int n = 0; n < N; n++) {
        if (tokens[n] < 0)
            return fo_fail(error, FO_DEVICE,
                           "the logits of sequence %d hold a NaN or no finite "
                           "largest one",
                           n);
    }
    return FO_OK;
}
