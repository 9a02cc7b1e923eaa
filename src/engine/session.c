#include "engine/session.h"

#include "common/memory.h"
#include "engine/decode_loop.h"

/* The manager's name for the session's sequence. */
enum { SEQUENCE = 0 };

/* Rows of logits that are computed at once when all are wanted. */
enum { LOGIT_ROWS = 32 };

/* Remember where the sequence stands. */
struct fo_session {
    fo_device *device;
    fo_model *model;
    fo_block_manager *blocks;
    int length;         /* tokens of the sequence                    */
    int stored;         /* of these, with K and V: length, or 1 less */
    int32_t last;       /* the last token, if there is one           */
    bool ready;         /* the last pass ran it, as its last token   */
    int last_row;       /* and this was its row                      */
    int32_t *positions; /* (chunk)                                   */
    int64_t *slots;     /* (chunk)                                   */
    fo_decode_loop *loop;
};

/* Unload a session. */
void fo_session_unload(fo_session **session)
{
    fo_session *s = *session;
    if (!s)
        return;
    fo_decode_loop_close(&s->loop);
    fo_memory_free(s->slots);
    fo_memory_free(s->positions);
    fo_block_manager_close(&s->blocks);
    fo_model_close(&s->model);
    fo_memory_free(s);
    *session = NULL;
}

/* Load a session. */
static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static fo_status check_options(const fo_session_options *o, fo_error *error)
{
    if (o->context < 0 || o->chunk < 0 || o->block_size < 0)
        return fo_fail(error, FO_ARG,
                       "context %d, chunk %d and block size %d must not be "
                       "negative",
                       o->context, o->chunk, o->block_size);
    if (o->kv_dtype != FO_F32 && o->kv_dtype != FO_F16 &&
        o->kv_dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache cannot be stored as %s",
                       fo_dtype_info_get(o->kv_dtype)->name);
    return FO_OK;
}

static fo_block_config shape_of(const fo_model *model,
                                const fo_session_options *o)
{
    const fo_config *c = fo_model_config(model);
    int context = fo_model_bounds(model)->context;
    int B = o->block_size > 0 ? o->block_size : 16;
    return (fo_block_config){
        .total_blocks = (context + B - 1) / B,
        .block_size = B,
        .num_layers = c->L,
        .kv_heads = c->K,
        .head_dim = c->D,
        .dtype = o->kv_dtype,
        .max_sequences = 1,
        .max_length = context,
    };
}

static fo_status build(fo_session *s, const char *path,
                       const fo_session_options *o, fo_error *error)
{
    int chunk = o->chunk > 0 ? o->chunk : 512;
    fo_model_options bounds = {.context = o->context,
                               .max_tokens = chunk,
                               .max_logits = smaller(chunk, LOGIT_ROWS)};
    fo_status status = check_options(o, error);
    if (status == FO_OK)
        status = fo_model_open(s->device, path, &bounds, &s->model, error);
    if (status != FO_OK)
        return status;
    fo_block_config shape = shape_of(s->model, o);
    status = fo_block_manager_open(s->device, &shape, &s->blocks, error);
    if (status != FO_OK)
        return status;
    s->positions = fo_memory_alloc((size_t)chunk, sizeof *s->positions, error);
    if (s->positions)
        s->slots = fo_memory_alloc((size_t)chunk, sizeof *s->slots, error);
    if (!s->slots)
        return FO_NOMEM;
    return fo_decode_loop_open(s->device, s->model, s->blocks,
                               fo_session_context(s), &s->loop, error);
}

fo_status fo_session_load(fo_device *device, const char *path,
                          const fo_session_options *options, fo_session **out,
                          fo_error *error)
{
    fo_session_options defaults = {0};
    *out = NULL;
    fo_session *s = fo_memory_alloc(1, sizeof *s, error);
    if (!s)
        return FO_NOMEM;
    s->device = device;
    fo_status status = build(s, path, options ? options : &defaults, error);
    if (status != FO_OK)
        fo_session_unload(&s);
    *out = s;
    return status;
}

/* Run one chunk. */
/* Store the next `count` tokens of the sequence. */
static fo_status run_chunk(fo_session *s, const int32_t *tokens, int count,
                           fo_error *error)
{
    const fo_block_table *table = fo_block_manager_table(s->blocks);
    fo_status status =
        fo_block_manager_extend(s->blocks, SEQUENCE, count, error);
    if (status != FO_OK)
        return status;
    fo_block_tables tables = fo_block_manager_tables(s->blocks, NULL);
    fo_block_table_slots(table, SEQUENCE, s->stored, count, s->slots);
    for (int i = 0; i < count; i++)
        s->positions[i] = s->stored + i;
    fo_batch batch = {
        .T = count,
        .N = 1,
        .tokens = tokens,
        .positions = s->positions,
        .slots = s->slots,
        .query_start = (int32_t[]){0, count},
        .length = (int32_t[]){s->stored + count},
        .row = (int32_t[]){fo_block_table_row(table, SEQUENCE)},
        .table = tables.table,
        .max_blocks = tables.max_blocks,
        .kv = fo_block_manager_layers(s->blocks),
    };
    status = fo_model_forward(s->model, &batch, error);
    if (status == FO_OK)
        s->stored += count;
    return status;
}

/* Return the logits of a chunk. */
static fo_status read_logits(fo_session *s, int count,
                             float *logits /* (count, V) */, fo_error *error)
{
    size_t V = (size_t)fo_model_config(s->model)->V;
    int most = fo_model_bounds(s->model)->max_logits;
    for (int done = 0, n; done < count; done += n) {
        int32_t rows[LOGIT_ROWS];
        const float *computed;
        n = smaller(most, count - done);
        for (int i = 0; i < n; i++)
            rows[i] = done + i;
        fo_status status = fo_model_logits(s->model, rows, n, &computed, error);
        if (status == FO_OK)
            status = s->device->backend->download(
                s->device, logits + (size_t)done * V, computed,
                (size_t)n * V * sizeof *logits, error);
        if (status != FO_OK)
            return status;
    }
    return FO_OK;
}

/* Run tokens chunk by chunk, all or none. */
/* Give back the blocks that the window has left behind. */
static fo_status trim(fo_session *s, fo_error *error)
{
    int window = fo_model_config(s->model)->window;
    if (window == 0 || s->stored <= window)
        return FO_OK;
    return fo_block_manager_trim(s->blocks, SEQUENCE, s->stored - window,
                                 error);
}

static fo_status run_chunks(fo_session *s, const int32_t *tokens, size_t count,
                            float *logits /* (count, V) */, fo_error *error)
{
    size_t V = (size_t)fo_model_config(s->model)->V;
    size_t chunk = (size_t)fo_model_bounds(s->model)->max_tokens;
    bool fresh = s->stored == 0;
    fo_status status = FO_OK;
    for (size_t done = 0, n; done < count && status == FO_OK; done += n) {
        n = count - done < chunk ? count - done : chunk;
        status = run_chunk(s, tokens + done, (int)n, error);
        if (status == FO_OK && logits)
            status = read_logits(s, (int)n, logits + done * V, error);
        if (status == FO_OK && (fresh || done + n == count))
            status = trim(s, error);
        s->last_row = (int)n - 1;
    }
    return status;
}

static fo_status run(fo_session *s, const int32_t *tokens, size_t count,
                     float *logits /* (count, V) */, fo_error *error)
{
    int before = s->stored;
    s->ready = false;
    fo_status status = run_chunks(s, tokens, count, logits, error);
    if (status != FO_OK) {
        fo_block_manager_truncate(s->blocks, SEQUENCE, before, NULL);
        s->stored = before;
    }
    return status;
}

/* Append tokens that are given. */
static fo_status check_room(const fo_session *s, size_t count, fo_error *error)
{
    int context = fo_model_bounds(s->model)->context;
    if (count <= (size_t)(context - s->length))
        return FO_OK;
    return fo_fail_short(error, FO_LIMIT, (uint64_t)s->length + count,
                         (uint64_t)context,
                         "%zu tokens do not fit into the context of %d",
                         (size_t)s->length + count, context);
}

fo_status fo_session_prefill(fo_session *s, const int32_t *tokens /* (count) */,
                             size_t count, float *logits /* (count, V) */,
                             fo_error *error)
{
    fo_status status = check_room(s, count, error);
    if (status == FO_OK && count > 0 && s->stored < s->length)
        status = run(s, &s->last, 1, NULL, error);
    if (status != FO_OK || count == 0)
        return status;
    status = run(s, tokens, count, logits, error);
    if (status != FO_OK)
        return status;
    s->length += (int)count;
    s->last = tokens[count - 1];
    s->ready = true;
    return FO_OK;
}

/* Append a token that is drawn. */
/* Bring the last token's row to hand. */
static fo_status run_last(fo_session *s, fo_error *error)
{
    fo_status status = FO_OK;
    if (s->stored == s->length) {
        status = fo_block_manager_truncate(s->blocks, SEQUENCE, s->length - 1,
                                           error);
        if (status == FO_OK)
            s->stored--;
    }
    if (status == FO_OK)
        status = run(s, &s->last, 1, NULL, error);
    s->ready = status == FO_OK;
    return status;
}

fo_status fo_session_decode(fo_session *s, const fo_sampling *sampling,
                            int32_t *token, fo_error *error)
{
    const float *logits;
    fo_sampling drawn = *sampling;
    drawn.position = (uint64_t)s->length;
    if (s->length == 0)
        return fo_fail(error, FO_ARG, "an empty sequence has no next token");
    fo_status status = check_room(s, 1, error);
    if (status == FO_OK && !s->ready)
        status = run_last(s, error);
    if (status == FO_OK)
        status = fo_model_logits(s->model, &s->last_row, 1, &logits, error);
    if (status == FO_OK)
        status = fo_model_sample(s->model, &drawn, 1, token, error);
    if (status != FO_OK)
        return status;
    s->last = *token;
    s->length++;
    s->ready = false;
    return FO_OK;
}

/* Append tokens without the host. */
/* Draw the first token the old way if the last one is stored already. */
static fo_status draw_first(fo_session *s, const fo_sampling *sampling,
                            int32_t *tokens, int *count, fo_error *error)
{
    if (s->stored < s->length)
        return FO_OK;
    fo_status status = fo_session_decode(s, sampling, tokens, error);
    *count = status == FO_OK;
    return status;
}

fo_status fo_session_generate(fo_session *s, const fo_sampling *sampling,
                              int most, bool until_stop, int32_t *tokens,
                              int *count, fo_error *error)
{
    *count = 0;
    fo_status status = check_room(s, (size_t)most, error);
    if (status != FO_OK || most == 0)
        return status;
    status = draw_first(s, sampling, tokens, count, error);
    if (status != FO_OK || *count == most ||
        (until_stop && *count &&
         fo_tokenizer_is_stop(fo_model_tokenizer(s->model), tokens[0])))
        return status;
    fo_decoding decoding = {SEQUENCE, s->last, *sampling, 0, false, {0}};
    decoding.sampling.position = (uint64_t)s->length;
    status = fo_decode_loop_run(s->loop, &decoding, 1, most - *count,
                                until_stop, tokens + *count, error);
    /* Note what the loop has appended. */
    *count += decoding.count;
    s->length += decoding.count;
    s->stored =
        fo_block_table_length(fo_block_manager_table(s->blocks), SEQUENCE);
    if (decoding.count > 0)
        s->last = tokens[*count - 1];
    if (status == FO_OK && decoding.error.status != FO_OK) {
        status = decoding.error.status;
        if (error)
            *error = decoding.error;
    }
    return status;
}

/* Answer what others ask of a session. */
fo_status fo_session_encode(const fo_session *s, const char *text, size_t bytes,
                            unsigned flags, int32_t **ids, size_t *count,
                            fo_error *error)
{
    return fo_tokenizer_encode(fo_model_tokenizer(s->model), text, bytes, flags,
                               ids, count, error);
}

const fo_model *fo_session_model(const fo_session *s)
{
    return s->model;
}

const fo_block_manager *fo_session_blocks(const fo_session *s)
{
    return s->blocks;
}

int fo_session_length(const fo_session *s)
{
    return s->length;
}

int fo_session_context(const fo_session *s)
{
    return fo_model_bounds(s->model)->context;
}
