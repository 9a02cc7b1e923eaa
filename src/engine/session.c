#include "engine/session.h"

#include "common/memory.h"
#include "engine/decode_loop.h"
#include "engine/plan.h"
#include "engine/usage.h"

#include <inttypes.h>

/* Rows of logits that are computed at once when all are wanted, and bytes of K
 * and V that are taken at once. */
enum { LOGIT_ROWS = 32, SLAB_BYTES = 64 << 20 };

/* Hold what the sessions of a load share. */
typedef struct core {
    fo_device *device;
    fo_model *model;
    fo_block_manager *blocks;
    fo_decode_loop *loop;
    int32_t *positions; /* (chunk)                                   */
    int64_t *slots;     /* (chunk)                                   */
    int sessions;       /* that there are now                        */
    int64_t next;       /* the manager's name for the next sequence  */
    uint64_t passes;    /* begun by the model                        */
} core;

/* Remember where a sequence stands. */
struct fo_session {
    core *core;
    int64_t sequence; /* the manager's name for it                     */
    int length;       /* tokens of the sequence                        */
    int stored;       /* of these, with K and V: length, or 1 less     */
    int32_t last;     /* the last token, if there is one               */
    uint64_t pass;    /* that ran it, as its last token; 0 after a draw */
    int last_row;     /* and its row there                             */
};

/* Whether the logits of the last token can still be computed. */
static bool ready(const fo_session *s)
{
    return s->pass > 0 && s->pass == s->core->passes;
}

/* Unload a session. */
static void close_core(core *c)
{
    fo_decode_loop_close(&c->loop);
    fo_memory_free(c->slots);
    fo_memory_free(c->positions);
    fo_block_manager_close(&c->blocks);
    fo_model_close(&c->model);
    fo_memory_free(c);
}

void fo_session_unload(fo_session **session)
{
    fo_session *s = *session;
    if (!s)
        return;
    core *c = s->core;
    fo_device *device = c->device;
    bool last = --c->sessions == 0;
    if (last) {
        close_core(c);
    } else {
        fo_block_manager_free_sequence(c->blocks, s->sequence, NULL);
        fo_block_manager_shrink(c->blocks, 1, NULL);
    }
    fo_memory_free(s);
    *session = NULL;
    if (last)
        fo_usage_log("memory_unloaded", device, NULL, 0);
}

/* Load a session. */
static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static fo_status check_options(const fo_session_options *o, fo_error *error)
{
    if (o->context < 0 || o->chunk < 0 || o->block_size < 0 || o->sequences < 0)
        return fo_fail(error, FO_ARG,
                       "context %d, chunk %d, block size %d and sequences %d "
                       "must not be negative",
                       o->context, o->chunk, o->block_size, o->sequences);
    if (o->kv_dtype != FO_F32 && o->kv_dtype != FO_F16 &&
        o->kv_dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache cannot be stored as %s",
                       fo_dtype_info_get(o->kv_dtype)->name);
    return FO_OK;
}

static fo_status choose_shape(const fo_model *model,
                              const fo_session_options *o,
                              fo_block_config *shape, fo_error *error)
{
    const fo_config *c = fo_model_config(model);
    int context = fo_model_bounds(model)->context;
    int B = o->block_size > 0 ? o->block_size : 16;
    int64_t sequences = o->sequences > 0 ? o->sequences : 1;
    int64_t blocks = sequences * ((context - 1) / B + 1);
    if (blocks > 1 << 30)
        return fo_fail(error, FO_ARG, "%" PRId64 " blocks are too many",
                       blocks);
    *shape = (fo_block_config){
        .total_blocks = (int)blocks,
        .block_size = B,
        .num_layers = c->L,
        .kv_heads = c->K,
        .head_dim = c->D,
        .dtype = o->kv_dtype,
        .max_sequences = (int)sequences,
        .max_length = context,
    };
    uint64_t bytes = fo_block_config_token_bytes(shape) * (uint64_t)B;
    int64_t slab =
        o->slab_blocks > 0 ? o->slab_blocks : (int64_t)(SLAB_BYTES / bytes) + 1;
    shape->slab_blocks = o->slab_blocks < 0 || slab >= blocks ? 0 : (int)slab;
    return FO_OK;
}

/* Refuse a load that does not fit, before anything is taken. */
static fo_status plan(const core *c, const char *path,
                      const fo_session_options *o,
                      const fo_model_options *bounds, fo_error *error)
{
    const fo_plan_request request = {
        .context = o->context,
        .max_tokens = bounds->max_tokens,
        .max_logits = bounds->max_logits,
        .block_size = o->block_size,
        .rows = o->sequences,
        .contexts = o->sequences,
        .loop_tokens = -1,
        .kv_dtype = o->kv_dtype,
    };
    fo_plan plan;
    return fo_plan_make(c->device, path, &request, &plan, error);
}

static fo_status build(core *c, const char *path, const fo_session_options *o,
                       fo_error *error)
{
    int chunk = o->chunk > 0 ? o->chunk : 512;
    fo_model_options bounds = {.context = o->context,
                               .max_tokens = chunk,
                               .max_logits = smaller(chunk, LOGIT_ROWS)};
    fo_block_config shape;
    fo_status status = check_options(o, error);
    if (status == FO_OK)
        status = plan(c, path, o, &bounds, error);
    if (status == FO_OK)
        status = fo_model_open(c->device, path, &bounds, &c->model, error);
    if (status == FO_OK)
        status = choose_shape(c->model, o, &shape, error);
    if (status == FO_OK)
        status = fo_block_manager_open(c->device, &shape, &c->blocks, error);
    if (status != FO_OK)
        return status;
    c->positions = fo_memory_alloc((size_t)chunk, sizeof *c->positions, error);
    if (c->positions)
        c->slots = fo_memory_alloc((size_t)chunk, sizeof *c->slots, error);
    if (!c->slots)
        return FO_NOMEM;
    return fo_decode_loop_open(c->device, c->model, c->blocks, shape.max_length,
                               &c->loop, error);
}

/* A session of an empty sequence, which the manager does not know yet. */
static fo_session *begin(core *c, fo_error *error)
{
    fo_session *s = fo_memory_alloc(1, sizeof *s, error);
    if (!s)
        return NULL;
    s->core = c;
    s->sequence = c->next++;
    c->sessions++;
    return s;
}

fo_status fo_session_load(fo_device *device, const char *path,
                          const fo_session_options *options, fo_session **out,
                          fo_error *error)
{
    fo_session_options defaults = {0};
    *out = NULL;
    core *c = fo_memory_alloc(1, sizeof *c, error);
    if (!c)
        return FO_NOMEM;
    c->device = device;
    fo_status status = build(c, path, options ? options : &defaults, error);
    if (status == FO_OK)
        *out = begin(c, error);
    if (*out) {
        fo_usage_log("memory_loaded", device, c->blocks, 0);
        return FO_OK;
    }
    close_core(c);
    return status == FO_OK ? FO_NOMEM : status;
}

/* Fork a session. */
fo_status fo_session_fork(fo_session *session, fo_session **out,
                          fo_error *error)
{
    core *c = session->core;
    int most = fo_block_manager_config(c->blocks)->max_sequences;
    *out = NULL;
    if (c->sessions == most)
        return fo_fail_short(error, FO_FULL, (uint64_t)most + 1, (uint64_t)most,
                             "all %d sessions of this load are in use", most);
    fo_session *s = begin(c, error);
    if (!s)
        return FO_NOMEM;
    fo_status status = FO_OK;
    if (session->stored > 0)
        status = fo_block_manager_fork(c->blocks, session->sequence,
                                       s->sequence, session->stored, error);
    if (status != FO_OK) {
        fo_session_unload(&s);
        return status;
    }
    int64_t sequence = s->sequence;
    *s = *session;
    s->sequence = sequence;
    *out = s;
    return FO_OK;
}

/* Run one chunk. */
/* Store the next `count` tokens of the sequence. */
static fo_status run_chunk(fo_session *s, const int32_t *tokens, int count,
                           fo_error *error)
{
    const fo_block_table *table = fo_block_manager_table(s->core->blocks);
    fo_status status =
        fo_block_manager_extend(s->core->blocks, s->sequence, count, error);
    if (status != FO_OK)
        return status;
    fo_block_tables tables = fo_block_manager_tables(s->core->blocks, NULL);
    fo_block_table_slots(table, s->sequence, s->stored, count, s->core->slots);
    for (int i = 0; i < count; i++)
        s->core->positions[i] = s->stored + i;
    fo_batch batch = {
        .T = count,
        .N = 1,
        .tokens = tokens,
        .positions = s->core->positions,
        .slots = s->core->slots,
        .query_start = (int32_t[]){0, count},
        .length = (int32_t[]){s->stored + count},
        .row = (int32_t[]){fo_block_table_row(table, s->sequence)},
        .table = tables.table,
        .max_blocks = tables.max_blocks,
        .kv = fo_block_manager_layers(s->core->blocks),
    };
    status = fo_model_forward(s->core->model, &batch, error);
    if (status == FO_OK)
        s->stored += count;
    return status;
}

/* Return the logits of a chunk. */
static fo_status read_logits(fo_session *s, int count,
                             float *logits /* (count, V) */, fo_error *error)
{
    size_t V = (size_t)fo_model_config(s->core->model)->V;
    int most = fo_model_bounds(s->core->model)->max_logits;
    for (int done = 0, n; done < count; done += n) {
        int32_t rows[LOGIT_ROWS];
        const float *computed;
        n = smaller(most, count - done);
        for (int i = 0; i < n; i++)
            rows[i] = done + i;
        fo_status status =
            fo_model_logits(s->core->model, rows, n, &computed, error);
        if (status == FO_OK)
            status = s->core->device->backend->download(
                s->core->device, logits + (size_t)done * V, computed,
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
    int window = fo_model_config(s->core->model)->window;
    if (window == 0 || s->stored <= window)
        return FO_OK;
    return fo_block_manager_trim(s->core->blocks, s->sequence,
                                 s->stored - window, error);
}

static fo_status run_chunks(fo_session *s, const int32_t *tokens, size_t count,
                            float *logits /* (count, V) */, fo_error *error)
{
    size_t V = (size_t)fo_model_config(s->core->model)->V;
    size_t chunk = (size_t)fo_model_bounds(s->core->model)->max_tokens;
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
    s->pass = 0;
    s->core->passes++;
    fo_status status = run_chunks(s, tokens, count, logits, error);
    if (status != FO_OK) {
        fo_block_manager_truncate(s->core->blocks, s->sequence, before, NULL);
        s->stored = before;
    }
    return status;
}

/* Append tokens that are given. */
static fo_status check_room(const fo_session *s, size_t count, fo_error *error)
{
    int context = fo_model_bounds(s->core->model)->context;
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
    s->pass = s->core->passes;
    fo_usage_log("memory_prefilled", s->core->device, s->core->blocks,
                 s->length);
    return FO_OK;
}

/* Append a token that is drawn. */
/* Bring the last token's row to hand. */
static fo_status run_last(fo_session *s, fo_error *error)
{
    fo_status status = FO_OK;
    if (s->stored == s->length) {
        status = fo_block_manager_truncate(s->core->blocks, s->sequence,
                                           s->length - 1, error);
        if (status == FO_OK)
            s->stored--;
    }
    if (status == FO_OK)
        status = run(s, &s->last, 1, NULL, error);
    if (status == FO_OK)
        s->pass = s->core->passes;
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
    if (status == FO_OK && !ready(s))
        status = run_last(s, error);
    if (status == FO_OK)
        status =
            fo_model_logits(s->core->model, &s->last_row, 1, &logits, error);
    if (status == FO_OK)
        status = fo_model_sample(s->core->model, &drawn, 1, token, error);
    if (status != FO_OK)
        return status;
    s->last = *token;
    s->length++;
    s->pass = 0;
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
         fo_tokenizer_is_stop(fo_model_tokenizer(s->core->model), tokens[0])))
        return status;
    fo_decoding decoding = {s->sequence, s->last, *sampling, 0, false, {0}};
    decoding.sampling.position = (uint64_t)s->length;
    s->core->passes++;
    status = fo_decode_loop_run(s->core->loop, &decoding, 1, most - *count,
                                until_stop, tokens + *count, error);
    /* Note what the loop has appended. */
    *count += decoding.count;
    s->length += decoding.count;
    s->stored = fo_block_table_length(fo_block_manager_table(s->core->blocks),
                                      s->sequence);
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
    return fo_tokenizer_encode(fo_model_tokenizer(s->core->model), text, bytes,
                               flags, ids, count, error);
}

const fo_model *fo_session_model(const fo_session *s)
{
    return s->core->model;
}

const fo_block_manager *fo_session_blocks(const fo_session *s)
{
    return s->core->blocks;
}

int64_t fo_session_sequence(const fo_session *s)
{
    return s->sequence;
}

int fo_session_length(const fo_session *s)
{
    return s->length;
}

int fo_session_context(const fo_session *s)
{
    return fo_model_bounds(s->core->model)->context;
}
