#include "model/model_inside.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

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

/* How many sequences, from the first, are attended one query each. */
static int decodes_of(const fo_batch *batch)
{
    if (batch->decodes > 0 || batch->T != batch->N)
        return batch->decodes;
    for (int n = 0; n < batch->N; n++)
        if (batch->query_start[n + 1] - batch->query_start[n] != 1)
            return 0;
    return batch->N;
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
    int n = decodes_of(batch);
    for (int i = n; i <= batch->N; i++)
        m->host.prefill_start[i - n] = batch->query_start[i] - n;
    memcpy(m->host.length, batch->length, N * sizeof *batch->length);
    memcpy(m->host.row, batch->row, N * sizeof *batch->row);
    return m->device->backend->upload(m->device, m->step.slots, m->host.slots,
                                      m->index_bytes, error);
}

/* Project queries, keys and values. */
typedef struct pass {
    fo_model *model;
    const fo_backend *backend;
    int T;
    const int32_t *tokens;    /* (T) on the device, as the next two  */
    const int32_t *positions; /* (T)                                 */
    const int64_t *slots;     /* (T)                                 */
    const fo_kv *kv;          /* (L) on the host                     */
    fo_block_tables tables;
    fo_attention decode;  /* the first sequences, one query each       */
    fo_attention prefill; /* the others                                */
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
    return p->backend->linear(p->model->device, out, x, weight, p->T,
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
    float *k = m->wide + (size_t)p->T * (size_t)queries;
    float *v = k + (size_t)p->T * (size_t)keys;
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
        .T = p->T,
        .heads = heads,
        .D = m->config.D,
        .stride = stride,
        .rotary = m->config.rotary,
        .style = m->config.rope_style,
        .scale = m->config.rope_attn_factor,
        .frequency = m->frequency,
        .position = p->positions,
    };
    return p->backend->rope(m->device, x, &rope, p->error);
}

/* Let each query look at the keys of its sequence. */
static fo_status look(const pass *p, const projected *x, const fo_kv *kv)
{
    fo_model *m = p->model;
    fo_attention decode = p->decode, prefill = p->prefill;
    int n = decode.N;
    decode.q_stride = prefill.q_stride = x->q_stride;
    if (n > 0)
        TRY(p->backend->attention_decode(m->device, m->inner, x->q, kv,
                                         &p->tables, &decode, m->workspace,
                                         p->error));
    if (prefill.N == 0)
        return FO_OK;
    fo_block_tables tables = p->tables;
    tables.row += n;
    return p->backend->attention_prefill(
        m->device, m->inner + (size_t)n * (size_t)(m->config.H * m->config.D),
        x->q + (size_t)n * (size_t)x->q_stride, kv, &tables, &prefill,
        m->workspace, p->error);
}

static fo_status attend(const pass *p, const fo_layer_weights *w,
                        const fo_kv *kv)
{
    fo_model *m = p->model;
    const fo_config *c = &m->config;
    int T = p->T;
    projected x;
    TRY(p->backend->rmsnorm(m->device, m->narrow, m->stream, w->attn_norm, T,
                            c->C, c->epsilon, p->error));
    TRY(project(p, w, &x));
    TRY(rotate(p, x.q, c->H, x.q_stride));
    TRY(rotate(p, x.k, c->K, x.kv_stride));
    TRY(p->backend->kv_write(m->device, kv, x.k, x.v, x.kv_stride, p->slots, T,
                             p->error));
    TRY(look(p, &x, kv));
    TRY(linear(p, m->narrow, m->inner, &w->attn_out));
    return p->backend->add(m->device, m->stream, m->stream, m->narrow,
                           (int64_t)T * c->C, p->error);
}

/* Feed forward. */
static fo_status feed_forward(const pass *p, const fo_layer_weights *w)
{
    fo_model *m = p->model;
    const fo_config *c = &m->config;
    int T = p->T;
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
static fo_attention attention_of(const fo_model *m, int N, int T,
                                 const int32_t *query_start,
                                 const int32_t *length)
{
    return (fo_attention){
        .N = N,
        .T = T,
        .H = m->config.H,
        .scale = (float)(1 / sqrt((double)m->config.D)),
        .window = m->config.window,
        .query_start = query_start,
        .length = length,
    };
}

static int longest(const int32_t *length, int N)
{
    int longest = 0;
    for (int n = 0; n < N; n++)
        if (longest < length[n])
            longest = length[n];
    return longest;
}

static pass begin(fo_model *m, const fo_batch *batch, fo_error *error)
{
    pass p = {.model = m,
              .backend = m->device->backend,
              .T = batch->T,
              .tokens = m->step.tokens,
              .positions = m->step.positions,
              .slots = m->step.slots,
              .kv = batch->kv,
              .error = error};
    int n = decodes_of(batch);
    p.tables = (fo_block_tables){batch->table, batch->max_blocks, m->step.row};
    p.decode = attention_of(m, n, n, m->step.query_start, m->step.length);
    p.decode.max_length = longest(batch->length, n);
    p.prefill = attention_of(m, batch->N - n, batch->T - n,
                             m->step.prefill_start, m->step.length + n);
    p.prefill.max_length = longest(batch->length + n, batch->N - n);
    return p;
}

static fo_status run_layers(pass *p)
{
    fo_model *m = p->model;
    TRY(p->backend->embed(m->device, m->stream, p->tokens,
                          &m->weights->embedding, p->T, p->error));
    for (int l = 0; l < m->config.L; l++) {
        TRY(attend(p, &m->weights->layers[l], &p->kv[l]));
        TRY(feed_forward(p, &m->weights->layers[l]));
    }
    return FO_OK;
}

fo_status fo_model_forward(fo_model *m, const fo_batch *batch, fo_error *error)
{
    assert(batch->T <= m->bounds.max_tokens);
    assert(batch->N <= m->bounds.max_sequences);
    assert(batch->query_start[batch->N] == batch->T);
    assert(batch->decodes <= batch->N);
    assert(batch->query_start[batch->decodes] == batch->decodes);
    m->last_tokens = m->last_logits = 0;
    TRY(check_tokens(m, batch, error));
    TRY(send_indices(m, batch, error));
    pass p = begin(m, batch, error);
    TRY(run_layers(&p));
    m->last_tokens = batch->T;
    return FO_OK;
}

/* Turn hidden states into logits. */
static fo_status project_logits(fo_model *m, const float *x /* (n, C) */, int n,
                                fo_error *error)
{
    const fo_backend *backend = m->device->backend;
    TRY(backend->rmsnorm(m->device, m->wide, x, m->weights->output_norm, n,
                         m->config.C, m->config.epsilon, error));
    return backend->linear(m->device, m->logits, m->wide, &m->weights->output,
                           n, m->workspace, error);
}

fo_status fo_model_logits(fo_model *m, const int32_t *rows /* (n) */, int n,
                          const float **logits, fo_error *error)
{
    const fo_backend *backend = m->device->backend;
    assert(n >= 0 && n <= m->bounds.max_logits);
    for (int i = 0; i < n; i++)
        assert(rows[i] >= 0 && rows[i] < m->last_tokens);
    m->last_logits = 0;
    TRY(backend->upload(m->device, m->logit_rows, rows,
                        (size_t)n * sizeof *rows, error));
    TRY(backend->gather_rows(m->device, m->narrow, m->stream, m->logit_rows, n,
                             m->config.C, error));
    TRY(project_logits(m, m->narrow, n, error));
    m->last_logits = n;
    *logits = m->logits;
    return FO_OK;
}

/* Draw a token for each sequence. */
fo_status fo_model_check_sampling(const fo_sampling *s, fo_error *error)
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
        TRY(fo_model_check_sampling(&sampling[n], error));
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

/* Decode where the indices are. */
fo_status fo_model_decode(fo_model *m, const fo_steps *steps,
                          const fo_kv *kv /* (L) */, int max_length,
                          fo_error *error)
{
    int N = steps->N;
    assert(N <= m->bounds.max_sequences && N <= m->bounds.max_logits);
    m->last_tokens = m->last_logits = 0;
    pass p = {.model = m,
              .backend = m->device->backend,
              .T = N,
              .tokens = steps->token,
              .positions = steps->position,
              .slots = steps->slot,
              .kv = kv,
              .error = error};
    p.decode = attention_of(m, N, N, steps->query_start, steps->length);
    p.decode.max_length = max_length;
    p.tables =
        (fo_block_tables){steps->pool.table, steps->max_blocks, steps->row};
    TRY(run_layers(&p));
    TRY(project_logits(m, m->stream, N, error));
    return p.backend->sample(m->device, steps->drawn, m->logits,
                             steps->sampling, N, m->config.V, m->workspace,
                             error);
}
