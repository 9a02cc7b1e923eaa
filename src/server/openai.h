/* OpenAI's shapes: JSON in, JSON out. Source: the reference of OpenAI's API,
 * "Completions", "Chat" and "Errors". */
#ifndef FOLIO_SERVER_OPENAI_H
#define FOLIO_SERVER_OPENAI_H

#include "server/ticket.h"

/* Declare an error as the client sees it. */
typedef struct fo_openai_error {
    int code;          /* of HTTP */
    const char *type;  /* "invalid_request_error" */
    const char *name;  /* "model_not_found", or null */
    const char *param; /* the parameter at fault, or null */
    char message[512];
} fo_openai_error;

/* What `error` is called in HTTP. `at_the_door`: the question was refused, and
 * not taken up. */
void fo_openai_error_from(fo_openai_error *out, const fo_error *error,
                          bool at_the_door);

/* {"error": {"message", "type", "param", "code"}}, to be freed with
 * fo_memory_free; null without memory. */
char *fo_openai_error_json(const fo_openai_error *error);

/* Declare how a question is read. */
typedef struct fo_openai_request {
    bool chat;
    bool stream;
    bool usage; /* the stream shall end with what it cost */
    fo_ask *ask;
} fo_openai_request;

/* Read the body of a request. `model` is the name of the one model there is; a
 * body that names none means it. False with `error`; then out->ask is null. */
bool fo_openai_read(bool chat, const char *body, size_t length,
                    const char *model, fo_openai_request *out,
                    fo_openai_error *error);

/* Declare how an answer is written. */
/* An answer on its way, whole or as a stream of chunks. */
typedef struct fo_reply fo_reply;

/* `model` is borrowed. `created` is in seconds since 1970. Null without
 * memory. */
fo_reply *fo_reply_new(const fo_openai_request *request, const char *model,
                       int64_t created);
void fo_reply_free(fo_reply **reply);

/* Take a piece in. A stream: *chunk is what to send for it, to be freed with
 * fo_memory_free, or null for nothing. Not a stream: *chunk is null. FO_NOMEM.
 */
fo_status fo_reply_add(fo_reply *reply, const fo_piece *piece, char **chunk,
                       fo_error *error);

/* What is left to send: the whole answer; or the end of the stream. FO_NOMEM.
 */
fo_status fo_reply_end(fo_reply *reply, char **out, fo_error *error);

/* The end of a stream that cannot go on. Null without memory. */
char *fo_reply_break(const fo_openai_error *error);

#endif
