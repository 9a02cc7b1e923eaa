#include "server/openai.h"

#include "common/json.h"
#include "common/memory.h"
#include "server/text.h"

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
    size_t offset;      /* characters told before the next token           */
    json_t *logprobs;   /* of a whole answer, or of the next chunk; or null */
    const char *finish; /* "stop", "length"; null: not yet */
} answer;

struct fo_reply {
    bool chat, stream, usage, logprobs;
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
    r->logprobs = request->ask->logprobs > 0;
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
    for (int i = 0; r && i < r->count; i++) {
        fo_memory_free(r->answers[i].text);
        json_decref(r->answers[i].logprobs);
    }
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

/* Write how likely tokens were. */
/* A token's bytes as text, whatever they are. */
static json_t *token_text(const fo_piece_token *t)
{
    fo_text text = {0};
    json_t *string = NULL;
    if (fo_text_add(&text, NULL, 0, t->text, t->length, true, NULL) == FO_OK)
        string = json_stringn(text.bytes, text.ready);
    fo_text_free(&text);
    return string;
}

/* JSON has no infinity; -9999 stands for it, as it does with OpenAI. */
static json_t *logprob_of(const fo_piece_token *t)
{
    return json_real(t->logprob > -9999 ? (double)t->logprob : -9999);
}

/* A token of a chat: {"token", "logprob", "bytes"}. */
static json_t *token_object(const fo_piece_token *t)
{
    json_t *bytes = json_array();
    for (size_t i = 0; i < t->length; i++)
        json_array_append_new(bytes, json_integer((unsigned char)t->text[i]));
    return json_pack("{s:o, s:o, s:o}", "token", token_text(t), "logprob",
                     logprob_of(t), "bytes", bytes);
}

static bool add_to_chat(answer *a, const fo_piece *p)
{
    json_t *others = json_array(), *own = token_object(&p->token);
    if (!a->logprobs)
        a->logprobs = json_pack("{s:[]}", "content");
    for (int i = 0; i < p->likeliest_count; i++)
        json_array_append_new(others, token_object(&p->likeliest[i]));
    json_object_set_new(own, "top_logprobs", others);
    return json_array_append_new(json_object_get(a->logprobs, "content"),
                                 own) == 0;
}

/* Of a text: arrays side by side, and where in the text each token begins. */
static bool add_to_text(answer *a, const fo_piece *p)
{
    json_t *others = json_object(), *own = token_text(&p->token);
    if (!a->logprobs)
        a->logprobs =
            json_pack("{s:[], s:[], s:[], s:[]}", "tokens", "token_logprobs",
                      "top_logprobs", "text_offset");
    for (int i = 0; i < p->likeliest_count; i++) {
        json_t *name = token_text(&p->likeliest[i]);
        if (name && !json_object_get(others, json_string_value(name)))
            json_object_set_new(others, json_string_value(name),
                                logprob_of(&p->likeliest[i]));
        json_decref(name);
    }
    json_t *offset = json_integer((json_int_t)a->offset);
    for (size_t i = 0; i < p->token.length; i++)
        a->offset += (p->token.text[i] & 0xc0) != 0x80;
    json_t *l = a->logprobs;
    return json_array_append_new(json_object_get(l, "tokens"), own) == 0 &&
           json_array_append_new(json_object_get(l, "token_logprobs"),
                                 logprob_of(&p->token)) == 0 &&
           json_array_append_new(json_object_get(l, "top_logprobs"), others) ==
               0 &&
           json_array_append_new(json_object_get(l, "text_offset"), offset) ==
               0;
}

/* Write a chunk. */
/* One choice of a chunk. Of a chat, `role` is told once, before any text. */
static json_t *delta(const fo_reply *r, const fo_piece *p, bool role,
                     const char *finish)
{
    const answer *a = &r->answers[p->choice];
    if (!r->chat)
        return json_pack("[{s:i, s:s%, s:O?, s:s?}]", "index", p->choice,
                         "text", p->length ? p->text : "", p->length,
                         "logprobs", a->logprobs, "finish_reason", finish);
    json_t *words = json_object();
    if (role)
        json_object_set_new(words, "role", json_string("assistant"));
    if (role || !finish)
        json_object_set_new(words, "content",
                            json_stringn(p->length ? p->text : "", p->length));
    return json_pack("[{s:i, s:o, s:O?, s:s?}]", "index", p->choice, "delta",
                     words, "logprobs", a->logprobs, "finish_reason", finish);
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
    if (p->kind == FO_PIECE_TOKEN && r->logprobs)
        good = r->chat ? add_to_chat(a, p) : add_to_text(a, p);
    if (p->kind == FO_PIECE_ECHO)
        for (size_t i = 0; i < p->length; i++)
            a->offset += (p->text[i] & 0xc0) != 0x80;
    if (p->kind == FO_PIECE_ENDED)
        a->finish = p->finish == FO_STOPPED ? "stop" : "length";
    if (p->kind == FO_PIECE_BEGUN)
        silent = silent || !r->chat;
    else if (!r->stream)
        good = good && gather(a, p);
    else
        silent = p->kind != FO_PIECE_ENDED && p->length == 0 && !a->logprobs;
    if (!silent)
        *chunk = p->kind == FO_PIECE_BEGUN
                     ? begin_stream(r)
                     : event(chunk_of(r, delta(r, p, false, a->finish)));
    if (!silent) {
        json_decref(a->logprobs);
        a->logprobs = NULL;
    }
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
        return json_pack("{s:i, s:o, s:O?, s:s?}", "index", i, "text", text,
                         "logprobs", a->logprobs, "finish_reason", a->finish);
    return json_pack("{s:i, s:{s:s, s:o}, s:O?, s:s?}", "index", i, "message",
                     "role", "assistant", "content", text, "logprobs",
                     a->logprobs, "finish_reason", a->finish);
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
