#include "server/runner.h"

#include "common/memory.h"

#include <string.h>
#include <unistd.h>

/* Hold an engine and what it told last. */
/* A request that is running, and how its tokens are to be told. */
typedef struct live {
    int64_t id;
    bool first; /* nothing told yet: drop the prefix space */
} live;

typedef struct here {
    fo_device *device;
    fo_engine *engine;
    const fo_tokenizer *tokenizer;
    int context;
    fo_progress *progress;    /* (N) */
    fo_drawn *drawn;          /* (N) */
    fo_token_told *likeliest; /* (N, FO_MOST_LOGPROBS) of those told last */
    char *text;               /* of the tokens told last                  */
    size_t text_size, text_length;
    fo_words *echoes; /* (echo_count) of the question submitted last */
    int echo_count;
    live *lives; /* (live_count) */
    int live_count, live_room;
} here;

/* Open and close the runner of this process. */
static void free_echoes(here *h)
{
    for (int i = 0; i < h->echo_count; i++)
        fo_memory_free(h->echoes[i].text);
    fo_memory_free(h->echoes);
    h->echoes = NULL;
    h->echo_count = 0;
}

static void here_close(fo_runner **runner)
{
    here *h = (here *)*runner;
    if (!h)
        return;
    free_echoes(h);
    fo_engine_close(&h->engine);
    if (h->device)
        h->device->backend->close(&h->device);
    fo_memory_free(h->progress);
    fo_memory_free(h->drawn);
    fo_memory_free(h->likeliest);
    fo_memory_free(h->text);
    fo_memory_free(h->lives);
    fo_memory_free(h);
    *runner = NULL;
}

static fo_status here_build(here *h, const fo_runner_options *o,
                            fo_error *error)
{
    fo_status status = o->backend->open(&o->device, &h->device, error);
    if (status == FO_OK)
        status =
            fo_engine_open(h->device, o->model, &o->engine, &h->engine, error);
    if (status != FO_OK)
        return status;
    h->tokenizer = fo_model_tokenizer(fo_engine_model(h->engine));
    h->context = fo_engine_bounds(h->engine)->context;
    size_t N = (size_t)fo_engine_bounds(h->engine)->max_sequences;
    h->progress = fo_memory_alloc(N, sizeof *h->progress, error);
    h->drawn = h->progress ? fo_memory_alloc(N, sizeof *h->drawn, error) : NULL;
    if (h->drawn)
        h->likeliest =
            fo_memory_alloc(N, FO_MOST_LOGPROBS * sizeof *h->likeliest, error);
    return h->likeliest ? FO_OK : FO_NOMEM;
}

static fo_status here_open(const void *options, fo_runner **out,
                           fo_error *error)
{
    *out = NULL;
    here *h = fo_memory_alloc(1, sizeof *h, error);
    if (!h)
        return FO_NOMEM;
    fo_runner *runner = (fo_runner *)h;
    fo_status status = here_build(h, options, error);
    if (status != FO_OK)
        here_close(&runner);
    *out = runner;
    return status;
}

/* Turn a question into tokens. */
static fo_status encode(const here *h, const char *text, size_t length,
                        int32_t **ids, size_t *count, fo_error *error)
{
    return fo_tokenizer_encode(h->tokenizer, text, length,
                               FO_TOKENIZER_BOS | FO_TOKENIZER_SPECIAL, ids,
                               count, error);
}

static fo_status encode_chat(const here *h, const fo_ask *ask, int32_t **ids,
                             size_t *count, fo_error *error)
{
    fo_chat_template template;
    char *text = NULL;
    size_t length = 0;
    fo_status status = fo_chat_recognise(
        fo_model_gguf(fo_engine_model(h->engine)), &template, error);
    if (status == FO_OK)
        status = fo_chat_format(template, ask->messages, ask->message_count,
                                &text, &length, error);
    if (status == FO_OK)
        status = encode(h, text, length, ids, count, error);
    fo_memory_free(text);
    return status;
}

static fo_status encode_prompt(const here *h, const fo_prompt *prompt,
                               int32_t **ids, size_t *count, fo_error *error)
{
    if (!prompt->tokens)
        return encode(h, prompt->words.text, prompt->words.length, ids, count,
                      error);
    *ids = fo_memory_alloc(prompt->count, sizeof **ids, error);
    if (!*ids)
        return FO_NOMEM;
    memcpy(*ids, prompt->tokens, prompt->count * sizeof **ids);
    *count = prompt->count;
    return FO_OK;
}

/* Submit the choices of a question. */
/* Make room for `more` live requests, so that keeping note of one cannot
 * fail. */
static fo_status widen(here *h, int more, fo_error *error)
{
    int wanted = h->live_count + more;
    if (wanted <= h->live_room)
        return FO_OK;
    live *wider =
        fo_memory_resize(h->lives, (size_t)wanted * 2, sizeof *wider, error);
    if (!wider)
        return FO_NOMEM;
    h->lives = wider;
    h->live_room = wanted * 2;
    return FO_OK;
}

static live *find(here *h, int64_t id)
{
    for (int i = 0; i < h->live_count; i++)
        if (h->lives[i].id == id)
            return &h->lives[i];
    return NULL;
}

static void forget(here *h, int64_t id)
{
    live *l = find(h, id);
    if (l)
        *l = h->lives[--h->live_count];
}

static fo_status abort_one(fo_runner *runner, int64_t id, fo_error *error)
{
    here *h = (here *)runner;
    forget(h, id);
    return fo_engine_abort(h->engine, id, error);
}

/* The first choice reads the prompt, the others are forks of it. */
static fo_status submit_prompt(here *h, const fo_ask *ask, const int32_t *ids,
                               size_t count, int64_t *requests, int *begun,
                               fo_error *error)
{
    fo_sampling sampling = ask->sampling;
    int left = count < (size_t)h->context ? h->context - (int)count : 1;
    fo_request request = {.tokens = ids,
                          .count = count,
                          .max_new = ask->max_new < 0 ? left : ask->max_new,
                          .until_stop = true,
                          .logprobs = ask->logprobs,
                          .sampling = sampling};
    fo_status status = FO_OK;
    for (int k = 0; k < ask->n && status == FO_OK; k++) {
        sampling.seed = ask->sampling.seed + (uint64_t)k;
        if (k == 0)
            status = fo_engine_submit(h->engine, &request, &requests[0], error);
        else
            status = fo_engine_fork(h->engine, requests[0], &sampling,
                                    &requests[k], error);
        if (status == FO_OK) {
            h->lives[h->live_count++] =
                (live){requests[k], ask->kind == FO_ASK_CHAT};
            ++*begun;
        }
    }
    return status;
}

/* The text of a prompt given as tokens. */
static fo_status decode_all(const here *h, const int32_t *ids, size_t count,
                            fo_words *out, fo_error *error)
{
    size_t longest = fo_tokenizer_longest(h->tokenizer);
    out->text = fo_memory_alloc(count, longest, error);
    if (!out->text)
        return FO_NOMEM;
    for (size_t i = 0; i < count; i++) {
        size_t added;
        fo_status status = fo_tokenizer_decode(
            h->tokenizer, ids[i], out->length == 0, out->text + out->length,
            longest, &added, error);
        if (status != FO_OK)
            return status;
        out->length += added;
    }
    return FO_OK;
}

/* What a client that wants its prompt told first is to be told. */
static fo_status tell_echo(here *h, const fo_ask *ask, int p,
                           fo_prompt_told *told, fo_error *error)
{
    const fo_prompt *prompt = &ask->prompts[p];
    if (!ask->echo)
        return FO_OK;
    told->text = prompt->words.text;
    told->length = prompt->words.length;
    if (!prompt->tokens)
        return FO_OK;
    fo_status status =
        decode_all(h, prompt->tokens, prompt->count, &h->echoes[p], error);
    told->text = h->echoes[p].text;
    told->length = h->echoes[p].length;
    return status;
}

/* One prompt, or the whole conversation of a chat. */
static fo_status begin(here *h, const fo_ask *ask, int p, int64_t *ids,
                       int *begun, fo_prompt_told *told, fo_error *error)
{
    bool chat = ask->kind == FO_ASK_CHAT;
    int32_t *tokens = NULL;
    size_t count = 0;
    *told = (fo_prompt_told){0};
    fo_status status =
        chat ? encode_chat(h, ask, &tokens, &count, error)
             : encode_prompt(h, &ask->prompts[p], &tokens, &count, error);
    if (status == FO_OK)
        status = submit_prompt(h, ask, tokens, count, ids + p * ask->n, begun,
                               error);
    told->tokens = (int)count;
    if (status == FO_OK && !chat)
        status = tell_echo(h, ask, p, told, error);
    fo_memory_free(tokens);
    return status;
}

static fo_status submit(fo_runner *runner, const fo_ask *ask, int64_t *ids,
                        fo_prompt_told *prompts, fo_error *error)
{
    here *h = (here *)runner;
    int count = ask->kind == FO_ASK_CHAT ? 1 : ask->prompt_count, begun = 0;
    free_echoes(h);
    fo_status status = widen(h, count * ask->n, error);
    if (status == FO_OK) {
        h->echoes = fo_memory_alloc((size_t)count, sizeof *h->echoes, error);
        h->echo_count = h->echoes ? count : 0;
        status = h->echoes ? FO_OK : FO_NOMEM;
    }
    for (int p = 0; p < count && status == FO_OK; p++)
        status = begin(h, ask, p, ids, &begun, &prompts[p], error);
    while (status != FO_OK && begun > 0)
        abort_one(runner, ids[--begun], NULL);
    return status;
}

/* Tell drawn tokens as text. */
/* Text is gathered by its place, for the buffer may move while it grows. */
static fo_status tell_token(here *h, int32_t id, bool first, fo_token_told *out,
                            fo_error *error)
{
    size_t longest = fo_tokenizer_longest(h->tokenizer);
    if (h->text_length + longest > h->text_size) {
        size_t size = 2 * (h->text_length + longest);
        char *wider = fo_memory_resize(h->text, size, 1, error);
        if (!wider)
            return FO_NOMEM;
        h->text = wider;
        h->text_size = size;
    }
    *out = (fo_token_told){.id = id};
    fo_status status =
        fo_tokenizer_decode(h->tokenizer, id, first, h->text + h->text_length,
                            longest, &out->length, error);
    h->text_length += out->length;
    return status;
}

static fo_status tell(here *h, const fo_progress *p, fo_drawn *out,
                      fo_token_told *likeliest, fo_error *error)
{
    live *l = find(h, p->id);
    *out = (fo_drawn){.id = p->id, .finish = p->finish, .error = p->error};
    if (p->token < 0)
        return FO_OK;
    fo_status status =
        tell_token(h, p->token, l && l->first, &out->token, error);
    out->token.logprob = p->logprob;
    out->likeliest_count = p->likeliest_count;
    for (int i = 0; i < p->likeliest_count && status == FO_OK; i++) {
        status = tell_token(h, p->likeliest[i].token, l && l->first,
                            &likeliest[i], error);
        likeliest[i].logprob = p->likeliest[i].value;
    }
    if (l && out->token.length > 0)
        l->first = false;
    return status;
}

/* Step the engine. */
/* Now that the text moves no more, let a token and its rivals point at it. */
static const char *point(fo_drawn *drawn, fo_token_told *likeliest,
                         const char *text)
{
    drawn->token.text = text;
    text += drawn->token.length;
    drawn->likeliest = likeliest;
    for (int i = 0; i < drawn->likeliest_count; i++) {
        likeliest[i].text = text;
        text += likeliest[i].length;
    }
    return text;
}

static fo_status step(fo_runner *runner, const fo_drawn **drawn, int *count,
                      fo_error *error)
{
    here *h = (here *)runner;
    *drawn = h->drawn;
    fo_status status = fo_engine_step(h->engine, h->progress, count, error);
    h->text_length = 0;
    for (int i = 0; i < *count && status == FO_OK; i++)
        status = tell(h, &h->progress[i], &h->drawn[i],
                      &h->likeliest[i * FO_MOST_LOGPROBS], error);
    if (status != FO_OK)
        return status;
    const char *text = h->text;
    for (int i = 0; i < *count; i++) {
        text = point(&h->drawn[i], &h->likeliest[i * FO_MOST_LOGPROBS], text);
        if (h->drawn[i].finish != FO_GOES_ON)
            forget(h, h->drawn[i].id);
    }
    return FO_OK;
}

/* Look at who holds which block. */
/* Every row of the table holds blocks; some rows are running requests. */
static void paint(const here *h, fo_snapshot *s)
{
    const fo_block_manager *blocks = fo_engine_blocks(h->engine);
    const fo_block_table *table = fo_block_manager_table(blocks);
    fo_block_row row;
    for (int i = 0; i < s->cell_count; i++)
        s->cells[i] = (fo_cell){FO_CELL_FREE, 0};
    for (int r = 0; r < fo_block_manager_config(blocks)->max_sequences; r++) {
        row = fo_block_table_at(table, r);
        for (int i = row.first; i < row.blocks; i++) {
            s->cells[row.entries[i]].owner = FO_CELL_KEPT;
            s->cells[row.entries[i]].holders++;
        }
    }
    for (int n = 0; n < h->live_count; n++) {
        if (!fo_block_table_sequence(table, h->lives[n].id, &row))
            continue;
        int seen = s->sequence_count++;
        s->sequences[seen] = (fo_sequence_seen){h->lives[n].id, row.length,
                                                row.blocks - row.first};
        for (int i = row.first; i < row.blocks; i++)
            if (s->cells[row.entries[i]].owner == FO_CELL_KEPT)
                s->cells[row.entries[i]].owner = seen;
    }
}

static fo_status look(fo_runner *runner, fo_snapshot *s, fo_error *error)
{
    here *h = (here *)runner;
    const fo_engine_options *bounds = fo_engine_bounds(h->engine);
    const fo_block_config *shape =
        fo_block_manager_config(fo_engine_blocks(h->engine));
    fo_device_info info;
    fo_status status = fo_engine_stats_get(h->engine, &s->engine, error);
    if (status == FO_OK)
        status = fo_snapshot_room(s, shape->total_blocks, h->live_count, error);
    if (status != FO_OK)
        return status;
    s->cell_count = shape->total_blocks;
    s->sequence_count = 0;
    paint(h, s);
    h->device->backend->info(h->device, &info);
    s->device_free = info.memory_free;
    s->host_bytes = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    s->device_bytes = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    s->context = bounds->context;
    s->block_size = shape->block_size;
    s->max_sequences = bounds->max_sequences;
    s->process = getpid();
    return FO_OK;
}

const fo_runner_kind fo_runner_here = {"here",    here_open, here_close, submit,
                                       abort_one, step,      look};
