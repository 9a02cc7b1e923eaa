/* What a client asks of the model, free of HTTP and JSON. */
#ifndef FOLIO_SERVER_ASK_H
#define FOLIO_SERVER_ASK_H

#include "common/backend.h"
#include "model/chat.h"

#include <stdbool.h>
#include <stddef.h>

/* Declare a question. */
typedef enum fo_ask_kind {
    FO_ASK_TEXT,       /* continue each of the prompts                       */
    FO_ASK_CHAT,       /* answer the messages                                */
    FO_ASK_LOAD,       /* have the model loaded                              */
    FO_ASK_UNLOAD,     /* let it go when all that was asked before has ended */
    FO_ASK_UNLOAD_NOW, /* end all that was asked before, and let it go       */
} fo_ask_kind;

typedef struct fo_words {
    char *text; /* owned, length bytes and a zero */
    size_t length;
} fo_words;

/* Text, or tokens in its place. */
typedef struct fo_prompt {
    fo_words words;
    int32_t *tokens; /* (count), null: words */
    size_t count;
} fo_prompt;

/* One question; it owns all that it points at. Every prompt is continued `n`
 * times: choice k of prompt p is number p n + k and draws with seed + k. */
typedef struct fo_ask {
    fo_ask_kind kind;
    fo_prompt *prompts; /* (prompt_count) */
    int prompt_count;
    fo_chat_message *messages; /* (message_count) their text is owned */
    int message_count;
    int n;
    int max_new;  /* tokens to draw; -1: as many as the context leaves */
    bool echo;    /* tell the prompt first                             */
    int logprobs; /* 0: none; k: the token's own and the k - 1 likeliest */
    fo_sampling sampling;
    fo_words *stops; /* (stop_count) text before which to end */
    int stop_count;
} fo_ask;

/* A question of this kind with nothing in it; null with FO_NOMEM. */
fo_ask *fo_ask_new(fo_ask_kind kind, fo_error *error);
void fo_ask_free(fo_ask **ask);

/* How many answers it wants: 0 for the kinds that only load or unload. */
int fo_ask_choices(const fo_ask *ask);

#endif
