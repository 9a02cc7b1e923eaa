#include "server/http_inside.h"

#include "common/json.h"
#include "common/memory.h"

#include <string.h>
#include <time.h>

/* Put a request to sleep and wake it. */
static void put_to_sleep(void *owner)
{
    exchange *e = owner;
    MHD_suspend_connection(e->connection);
}

static void wake(void *owner)
{
    exchange *e = owner;
    MHD_resume_connection(e->connection);
}

enum MHD_Result fo_http_ask(exchange *e, fo_ask **ask,
                            enum MHD_Result (*go_on)(exchange *e))
{
    fo_listener listener = {e, put_to_sleep, wake};
    fo_error error = {0};
    fo_status status = fo_host_ask(e->server->options.host, *ask, &listener,
                                   &e->ticket, &error);
    if (status != FO_OK) {
        fo_ask_free(ask);
        return fo_http_fail(e, &error, true);
    }
    *ask = NULL;
    e->go_on = go_on;
    fo_watch_add(e);
    return go_on(e);
}

/* Answer all at once. */
static enum MHD_Result send_answer(exchange *e)
{
    char *body = NULL;
    fo_reply_end(e->reply, &body, NULL);
    return fo_http_send(e, 200, "application/json", body);
}

/* Answer in a stream. */
static void set_out(exchange *e, char *text)
{
    fo_memory_free(e->out);
    e->out = text;
    e->out_length = text ? strlen(text) : 0;
    e->out_at = 0;
}

/* Put what comes next into e->out; false if there is nothing yet, and the
 * connection sleeps. */
static bool fill(exchange *e)
{
    fo_piece *piece;
    fo_error error = {0};
    fo_openai_error told;
    char *text = NULL;
    fo_taken taken = fo_ticket_take(e->ticket, &piece, &error);
    if (taken == FO_TAKEN_NOTHING)
        return false;
    if (taken == FO_TAKEN_PIECE) {
        fo_reply_add(e->reply, piece, &text, &error);
        fo_memory_free(piece);
    } else if (taken == FO_TAKEN_END) {
        e->last = true;
        fo_reply_end(e->reply, &text, &error);
    }
    if (error.status != FO_OK) {
        e->last = true;
        fo_openai_error_from(&told, &error, false);
        text = fo_reply_break(&told);
    }
    set_out(e, text);
    return true;
}

static ssize_t stream(void *state, uint64_t position, char *buffer, size_t room)
{
    exchange *e = state;
    (void)position;
    while (e->out_at == e->out_length) {
        if (e->last)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!fill(e))
            return 0;
    }
    size_t left = e->out_length - e->out_at;
    size_t count = left < room ? left : room;
    memcpy(buffer, e->out + e->out_at, count);
    e->out_at += count;
    return (ssize_t)count;
}

/* Begin to answer. */
/* What comes first tells whether it is an answer or an error. */
static enum MHD_Result begin_stream(exchange *e, fo_piece *first)
{
    char *text = NULL;
    fo_reply_add(e->reply, first, &text, NULL);
    fo_memory_free(first);
    set_out(e, text);
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, 16384, stream, e, NULL);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    enum MHD_Result result = MHD_queue_response(e->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result go_on(exchange *e)
{
    for (;;) {
        fo_piece *piece;
        fo_error error = {0};
        switch (fo_ticket_take(e->ticket, &piece, &error)) {
        case FO_TAKEN_NOTHING:
            return MHD_YES;
        case FO_TAKEN_END:
            return send_answer(e);
        case FO_TAKEN_FAILED:
            return fo_http_fail(e, &error, false);
        case FO_TAKEN_PIECE:
            break;
        }
        if (e->request.stream)
            return begin_stream(e, piece);
        char *none;
        fo_status status = fo_reply_add(e->reply, piece, &none, &error);
        fo_memory_free(piece);
        if (status != FO_OK)
            return fo_http_fail(e, &error, false);
    }
}

/* Ask for a completion. */
static enum MHD_Result ask_for(exchange *e, bool chat)
{
    const char *model = e->server->options.model;
    fo_openai_error error;
    if (!fo_openai_read(chat, e->body ? e->body : "", e->length, model,
                        &e->request, &error))
        return fo_http_refuse(e, &error);
    e->reply = fo_reply_new(&e->request, model, (int64_t)time(NULL));
    if (!e->reply)
        return fo_http_send(e, 503, "application/json", NULL);
    return fo_http_ask(e, &e->request.ask, go_on);
}

enum MHD_Result fo_http_completions(exchange *e)
{
    return ask_for(e, false);
}

enum MHD_Result fo_http_chat(exchange *e)
{
    return ask_for(e, true);
}

/* Tell what models there are. */
static json_t *model_object(const exchange *e)
{
    return json_pack("{s:s, s:s, s:I, s:s}", "id", e->server->options.model,
                     "object", "model", "created",
                     (json_int_t)e->server->started, "owned_by", "folio");
}

static enum MHD_Result send_json(exchange *e, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return fo_http_send(e, 200, "application/json", text);
}

enum MHD_Result fo_http_models(exchange *e)
{
    return send_json(e, json_pack("{s:s, s:[o]}", "object", "list", "data",
                                  model_object(e)));
}

enum MHD_Result fo_http_model(exchange *e)
{
    fo_openai_error error = {.code = 404,
                             .type = "invalid_request_error",
                             .name = "model_not_found",
                             .message = "there is no such model"};
    if (strcmp(e->path + strlen("/v1/models/"), e->server->options.model) == 0)
        return send_json(e, model_object(e));
    return fo_http_refuse(e, &error);
}
