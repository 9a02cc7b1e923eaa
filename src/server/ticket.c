#include "server/ticket.h"

#include "common/memory.h"

#include <pthread.h>
#include <string.h>

/* Hold an outbox. */
/* States: open; ended, no piece will be added; dropped, none will be taken. */
struct fo_ticket {
    pthread_mutex_t lock; /* guards all below but `ask` */
    pthread_cond_t changed;
    fo_ask *ask;
    fo_listener listener;
    void (*on_drop)(void *host);
    void *host;
    int holders;
    bool asleep, ended, dropped;
    fo_error error;
    fo_piece *first, *last;
    size_t bytes, most_bytes;
};

static void tell_reader(fo_ticket *t)
{
    if (t->asleep)
        t->listener.wake(t->listener.owner);
    t->asleep = false;
    pthread_cond_broadcast(&t->changed);
}

/* Give up one hold, the lock being held. */
static void let_go(fo_ticket *t)
{
    bool last = --t->holders == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last)
        return;
    for (fo_piece *next; t->first; t->first = next) {
        next = t->first->next;
        fo_memory_free(t->first);
    }
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    fo_ask_free(&t->ask);
    fo_memory_free(t);
}

/* Make a ticket and let it go. */
fo_ticket *fo_ticket_new(const fo_listener *listener, size_t most_bytes,
                         void (*dropped)(void *host), void *host,
                         fo_error *error)
{
    fo_ticket *t = fo_memory_alloc(1, sizeof *t, error);
    if (!t)
        return NULL;
    *t = (fo_ticket){.on_drop = dropped,
                     .host = host,
                     .holders = 2,
                     .most_bytes = most_bytes};
    if (listener)
        t->listener = *listener;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    return t;
}

void fo_ticket_own(fo_ticket *t, fo_ask *ask)
{
    t->ask = ask;
}

void fo_ticket_cancel(fo_ticket *t)
{
    pthread_mutex_lock(&t->lock);
    bool tell = !t->dropped && !t->ended;
    t->dropped = true;
    pthread_mutex_unlock(&t->lock);
    if (tell)
        t->on_drop(t->host);
}

void fo_ticket_drop(fo_ticket **ticket)
{
    fo_ticket *t = *ticket;
    if (!t)
        return;
    *ticket = NULL;
    pthread_mutex_lock(&t->lock);
    t->asleep = false;
    t->listener = (fo_listener){0};
    pthread_mutex_unlock(&t->lock);
    fo_ticket_cancel(t);
    pthread_mutex_lock(&t->lock);
    let_go(t);
}

bool fo_ticket_dropped(fo_ticket *t)
{
    pthread_mutex_lock(&t->lock);
    bool dropped = t->dropped;
    pthread_mutex_unlock(&t->lock);
    return dropped;
}

/* Copy a piece into one allocation. */
static size_t token_bytes(const fo_piece *p)
{
    size_t bytes = p->length + p->token.length;
    for (int i = 0; i < p->likeliest_count; i++)
        bytes += sizeof *p->likeliest + p->likeliest[i].length;
    return bytes;
}

static const char *move_text(char **to, const char *text, size_t length)
{
    char *at = *to;
    if (length > 0)
        memcpy(at, text, length);
    *to += length;
    return at;
}

static fo_piece *copy_piece(const fo_piece *p, fo_error *error)
{
    size_t bytes = sizeof *p + token_bytes(p);
    fo_piece *copy = fo_memory_alloc(1, bytes, error);
    if (!copy)
        return NULL;
    *copy = *p;
    copy->next = NULL;
    copy->bytes = bytes;
    copy->likeliest = (fo_piece_token *)(copy + 1);
    char *to = (char *)(copy->likeliest + p->likeliest_count);
    copy->text = move_text(&to, p->text, p->length);
    copy->token.text = move_text(&to, p->token.text, p->token.length);
    for (int i = 0; i < p->likeliest_count; i++) {
        copy->likeliest[i] = p->likeliest[i];
        copy->likeliest[i].text =
            move_text(&to, p->likeliest[i].text, p->likeliest[i].length);
    }
    return copy;
}

/* Put pieces in. */
fo_status fo_ticket_put(fo_ticket *t, const fo_piece *piece, fo_error *error)
{
    fo_piece *copy = copy_piece(piece, error);
    if (!copy)
        return FO_NOMEM;
    fo_status status = FO_OK;
    pthread_mutex_lock(&t->lock);
    if (t->dropped || t->bytes + copy->bytes > t->most_bytes) {
        status =
            fo_fail_short(error, FO_FULL, t->bytes + copy->bytes, t->most_bytes,
                          "the reader is too slow: %zu bytes of the "
                          "answer lie unread",
                          t->bytes);
        fo_memory_free(copy);
    } else {
        *(t->last ? &t->last->next : &t->first) = copy;
        t->last = copy;
        t->bytes += copy->bytes;
        tell_reader(t);
    }
    pthread_mutex_unlock(&t->lock);
    return status;
}

void fo_ticket_end(fo_ticket *t, const fo_error *error)
{
    pthread_mutex_lock(&t->lock);
    t->ended = true;
    if (error)
        t->error = *error;
    tell_reader(t);
    let_go(t);
}

/* Take pieces out. */
/* The lock is held, and held after. */
static fo_taken take(fo_ticket *t, fo_piece **piece, fo_error *error)
{
    *piece = t->first;
    if (t->first) {
        t->first = t->first->next;
        if (!t->first)
            t->last = NULL;
        t->bytes -= (*piece)->bytes;
        return FO_TAKEN_PIECE;
    }
    if (!t->ended)
        return FO_TAKEN_NOTHING;
    if (error)
        *error = t->error;
    return t->error.status == FO_OK ? FO_TAKEN_END : FO_TAKEN_FAILED;
}

fo_taken fo_ticket_take(fo_ticket *t, fo_piece **piece, fo_error *error)
{
    pthread_mutex_lock(&t->lock);
    fo_taken taken = take(t, piece, error);
    if (taken == FO_TAKEN_NOTHING && !t->asleep && t->listener.sleep) {
        t->asleep = true;
        t->listener.sleep(t->listener.owner);
    }
    pthread_mutex_unlock(&t->lock);
    return taken;
}

fo_taken fo_ticket_wait(fo_ticket *t, fo_piece **piece, fo_error *error)
{
    pthread_mutex_lock(&t->lock);
    fo_taken taken;
    while ((taken = take(t, piece, error)) == FO_TAKEN_NOTHING)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return taken;
}

bool fo_ticket_ended(fo_ticket *t)
{
    pthread_mutex_lock(&t->lock);
    bool ended = t->ended;
    pthread_mutex_unlock(&t->lock);
    return ended;
}
