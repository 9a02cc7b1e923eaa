#include "server/openai.h"

#include "common/json.h"
#include "common/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Write an error. */
void fo_openai_error_from(fo_openai_error *out, const fo_error *error,
                          bool at_the_door)
{
    static const struct {
        fo_status status;
        int code;
        const char *type, *name;
    } kinds[] = {
        {FO_ARG, 400, "invalid_request_error", NULL},
        {FO_LIMIT, 400, "invalid_request_error", "context_length_exceeded"},
        {FO_FULL, 400, "invalid_request_error", "out_of_blocks"},
        {FO_UNSUPPORTED, 400, "invalid_request_error", "unsupported"},
        {FO_UNKNOWN, 400, "invalid_request_error", "unsupported"},
        {FO_NOMEM, 503, "server_error", "out_of_memory"},
        {FO_GONE, 503, "server_error", "unavailable"},
        {FO_LATE, 504, "server_error", "timeout"},
    };
    *out = (fo_openai_error){.code = 500, .type = "server_error"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].status == error->status) {
            out->code = kinds[i].code;
            out->type = kinds[i].type;
            out->name = kinds[i].name;
        }
    if (at_the_door && error->status == FO_FULL) {
        out->code = 429;
        out->type = "rate_limit_error";
        out->name = "queue_full";
    }
    snprintf(out->message, sizeof out->message, "%s", error->message);
}

static json_t *error_object(const fo_openai_error *e)
{
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message",
                     e->message, "type", e->type, "param", e->param, "code",
                     e->name);
}

static char *dump(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

char *fo_openai_error_json(const fo_openai_error *error)
{
    return dump(error_object(error));
}

/* Hold an answer. */
typedef struct answer {
    char *text; /* (length) of a whole answer */
    size_t length, size;
    const char *finish; /* "stop", "length"; null: not yet */
} answer;

struct fo_reply {
    bool chat, stream, usage;
    char id[40];
    const char *model;
    int64_t created;
    int prompt_tokens, drawn_tokens;
    int count;
    answer answers[];
};

fo_reply *fo_reply_new(const fo_openai_request *request, const char *model,
                       int64_t created)
{
    int count = fo_ask_choices(request->ask);
    uint64_t random[2] = {0};
    fo_reply *r = fo_memory_alloc(
        1, sizeof *r + (size_t)count * sizeof *r->answers, NULL);
    if (!r)
        return NULL;
    r->chat = request->chat;
    r->stream = request->stream;
    r->usage = request->usage;
    r->model = model;
    r->created = created;
    r->count = count;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        random[0] = (uint64_t)(uintptr_t)r;
    snprintf(r->id, sizeof r->id, "%s-%016" PRIx64 "%08" PRIx32,
             r->chat ? "chatcmpl" : "cmpl", random[0], (uint32_t)random[1]);
    return r;
}

void fo_reply_free(fo_reply **reply)
{
    fo_reply *r = *reply;
    for (int i = 0; r && i < r->count; i++)
        fo_memory_free(r->answers[i].text);
    fo_memory_free(r);
    *reply = NULL;
}

/* Write what every object begins with. */
/* `choices` is taken over. */
static json_t *envelope(const fo_reply *r, json_t *choices)
{
    const char *kind = !r->chat    ? "text_completion"
                       : r->stream ? "chat.completion.chunk"
                                   : "chat.completion";
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", r->id, "object",
                     kind, "created", (json_int_t)r->created, "model", r->model,
                     "system_fingerprint", "folio", "choices", choices);
}

static json_t *usage(const fo_reply *r)
{
    return json_pack("{s:i, s:i, s:i}", "prompt_tokens", r->prompt_tokens,
                     "completion_tokens", r->drawn_tokens, "total_tokens",
                     r->prompt_tokens + r->drawn_tokens);
}

/* "data: ...", an empty line. */
static char *event(json_t *object)
{
    char *json = dump(object);
    size_t room = json ? strlen(json) + 9 : 0;
    char *text = json ? fo_memory_alloc(room, 1, NULL) : NULL;
    if (text)
        snprintf(text, room, "data: %s\n\n", json);
    fo_memory_free(json);
    return text;
}

/* Write a chunk. */
/* One choice of a chunk. Of a chat, `role` is told once, before any text. */
static json_t *delta(const fo_reply *r, const fo_piece *p, bool role,
                     const char *finish)
{
    if (!r->chat)
        return json_pack("[{s:i, s:s%, s:n, s:s?}]", "index", p->choice, "text",
                         p->length ? p->text : "", p->length, "logprobs",
                         "finish_reason", finish);
    json_t *words = json_object();
    if (role)
        json_object_set_new(words, "role", json_string("assistant"));
    if (role || !finish)
        json_object_set_new(words, "content",
                            json_stringn(p->length ? p->text : "", p->length));
    return json_pack("[{s:i, s:o, s:n, s:s?}]", "index", p->choice, "delta",
                     words, "logprobs", "finish_reason", finish);
}

static json_t *chunk_of(const fo_reply *r, json_t *choices)
{
    json_t *object = envelope(r, choices);
    if (r->usage)
        json_object_set_new(object, "usage", json_null());
    return object;
}

/* The first chunks of a chat tell who speaks. */
static char *begin_stream(const fo_reply *r)
{
    fo_piece piece = {0};
    json_t *choices = json_array();
    for (piece.choice = 0; piece.choice < r->count; piece.choice++) {
        json_t *one = delta(r, &piece, true, NULL);
        json_array_extend(choices, one);
        json_decref(one);
    }
    return event(chunk_of(r, choices));
}

/* Gather an answer. */
static bool gather(answer *a, const fo_piece *p)
{
    if (p->length == 0)
        return true;
    if (a->length + p->length > a->size) {
        size_t size = 2 * (a->length + p->length);
        char *wider = fo_memory_resize(a->text, size, 1, NULL);
        if (!wider)
            return false;
        a->text = wider;
        a->size = size;
    }
    memcpy(a->text + a->length, p->text, p->length);
    a->length += p->length;
    return true;
}

fo_status fo_reply_add(fo_reply *r, const fo_piece *p, char **chunk,
                       fo_error *error)
{
    answer *a = &r->answers[p->choice];
    bool good = true, silent = !r->stream;
    *chunk = NULL;
    if (p->kind == FO_PIECE_BEGUN)
        r->prompt_tokens = p->tokens;
    if (p->kind == FO_PIECE_TOKEN)
        r->drawn_tokens++;
    if (p->kind == FO_PIECE_ENDED)
        a->finish = p->finish == FO_STOPPED ? "stop" : "length";
    if (p->kind == FO_PIECE_BEGUN)
        silent = silent || !r->chat;
    else if (!r->stream)
        good = gather(a, p);
    else
        silent = p->kind != FO_PIECE_ENDED && p->length == 0;
    if (!silent)
        *chunk = p->kind == FO_PIECE_BEGUN
                     ? begin_stream(r)
                     : event(chunk_of(r, delta(r, p, false, a->finish)));
    if (!good || (!silent && !*chunk))
        return fo_fail(error, FO_NOMEM, "no memory for an answer");
    return FO_OK;
}

/* Write the end. */
static json_t *whole_choice(const fo_reply *r, int i)
{
    const answer *a = &r->answers[i];
    json_t *text = json_stringn(a->text ? a->text : "", a->length);
    if (!r->chat)
        return json_pack("{s:i, s:o, s:n, s:s?}", "index", i, "text", text,
                         "logprobs", "finish_reason", a->finish);
    return json_pack("{s:i, s:{s:s, s:o}, s:n, s:s?}", "index", i, "message",
                     "role", "assistant", "content", text, "logprobs",
                     "finish_reason", a->finish);
}

/* The bytes of `text` and then "data: [DONE]"; frees `text`, which may be
 * null. */
static char *add_done(char *text)
{
    size_t room = (text ? strlen(text) : 0) + 16;
    char *out = fo_memory_alloc(room, 1, NULL);
    if (out)
        snprintf(out, room, "%sdata: [DONE]\n\n", text ? text : "");
    fo_memory_free(text);
    return out;
}

fo_status fo_reply_end(fo_reply *r, char **out, fo_error *error)
{
    json_t *choices = json_array();
    for (int i = 0; i < r->count && !r->stream; i++)
        json_array_append_new(choices, whole_choice(r, i));
    json_t *object = envelope(r, choices);
    if (object)
        json_object_set_new(object, "usage", usage(r));
    if (!r->stream) {
        *out = dump(object);
    } else if (r->usage) {
        *out = add_done(event(object));
    } else {
        json_decref(object);
        *out = add_done(NULL);
    }
    return *out ? FO_OK : fo_fail(error, FO_NOMEM, "no memory for an answer");
}

char *fo_reply_break(const fo_openai_error *error)
{
    return add_done(event(error_object(error)));
}
