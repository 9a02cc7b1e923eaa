/* A question on its way, and the outbox of its answer.
 *
 * Two hold a ticket: the host, until it has ended, and the reader, until it
 * drops it. The host puts pieces in at one end; the reader takes them out at
 * the other and may be as slow as it likes. */
#ifndef FOLIO_SERVER_TICKET_H
#define FOLIO_SERVER_TICKET_H

#include "server/runner.h"

typedef struct fo_ticket fo_ticket;

/* Declare the pieces of an answer. */
typedef enum fo_piece_kind {
    FO_PIECE_BEGUN, /* the question was taken up: `tokens` of its prompts    */
    FO_PIECE_ECHO,  /* the text of the prompt of a choice                    */
    FO_PIECE_TOKEN, /* one token; its `text` may lag behind, or be empty     */
    FO_PIECE_ENDED, /* a choice has ended: the rest of its text, `finish`    */
} fo_piece_kind;

/* A token with its logarithm of probability; the text is its own. */
typedef struct fo_piece_token {
    int32_t id;
    float logprob;
    const char *text;
    size_t length;
} fo_piece_token;

/* One allocation: what it points at lies behind it. Freed by fo_memory_free. */
typedef struct fo_piece fo_piece;
struct fo_piece {
    fo_piece *next;
    size_t bytes; /* of the allocation */
    fo_piece_kind kind;
    int choice;
    int tokens;       /* of the prompts, with FO_PIECE_BEGUN               */
    fo_finish finish; /* with FO_PIECE_ENDED: FO_STOPPED or FO_LENGTH      */
    const char *text; /* that may be shown now: whole characters           */
    size_t length;
    fo_piece_token token;      /* with FO_PIECE_TOKEN                      */
    fo_piece_token *likeliest; /* (likeliest_count) best first             */
    int likeliest_count;
};

/* Declare how a reader takes them. */
/* How a reader that has nothing to do is put to sleep and woken. The calls come
 * in turn, `sleep` from the reader's own fo_ticket_take, `wake` from any
 * thread; neither may call back into the ticket. */
typedef struct fo_listener {
    void *owner;
    void (*sleep)(void *owner);
    void (*wake)(void *owner);
} fo_listener;

typedef enum fo_taken {
    FO_TAKEN_NOTHING, /* there is none yet; the reader was put to sleep      */
    FO_TAKEN_PIECE,   /* the piece is the reader's                           */
    FO_TAKEN_END,     /* all is told                                         */
    FO_TAKEN_FAILED,  /* `error` says why no more will come                  */
} fo_taken;

fo_taken fo_ticket_take(fo_ticket *ticket, fo_piece **piece, fo_error *error);

/* The same for a reader that has a thread to wait with, and no listener. */
fo_taken fo_ticket_wait(fo_ticket *ticket, fo_piece **piece, fo_error *error);

/* Whether the ticket has ended, well or not, its pieces taken or not. */
bool fo_ticket_ended(fo_ticket *ticket);

/* The reader wants no more: what is running for it ends, and so does the
 * ticket. */
void fo_ticket_cancel(fo_ticket *ticket);

/* The same, and the reader gives the ticket up: the listener is not called any
 * more. Nulls the pointer. */
void fo_ticket_drop(fo_ticket **ticket);

/* Declare how the host puts them. */
/* Null with FO_NOMEM. `dropped` tells the host that a reader has left before
 * the end. */
fo_ticket *fo_ticket_new(const fo_listener *listener, size_t most_bytes,
                         void (*dropped)(void *host), void *host,
                         fo_error *error);

/* Let the ticket own its question: it lives as long as either holds it. */
void fo_ticket_own(fo_ticket *ticket, fo_ask *ask);

/* `piece` gives all but `next` and `bytes`, and is copied. FO_NOMEM; FO_FULL:
 * the reader has left more than most_bytes lying. The ticket shall end then. */
fo_status fo_ticket_put(fo_ticket *ticket, const fo_piece *piece,
                        fo_error *error);

/* No more pieces; `error` null if all is well. The host's hold ends. */
void fo_ticket_end(fo_ticket *ticket, const fo_error *error);

bool fo_ticket_dropped(fo_ticket *ticket);

#endif
