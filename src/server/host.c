#include "server/host.h"

#include "common/log.h"
#include "common/memory.h"
#include "server/text.h"

#include <malloc.h>
#include <string.h>

/* Describe a question under way. */
typedef struct choice {
    int64_t id; /* as the runner calls it  */
    bool live;  /* the runner works at it  */
    fo_text text;
} choice;

/* States: waiting in the inbox; live; over, to be ended at the end of the step,
 * when the counts and the snapshot tell of it. */
typedef struct job {
    struct job *next;
    fo_ticket *ticket;
    const fo_ask *ask;
    double deadline;
    int live;       /* choices that have not ended          */
    bool over;      /* by `error`, or well if that is FO_OK */
    bool cancelled; /* the reader is gone                   */
    fo_error error;
    int choice_count;
    choice choices[];
} job;

/* Hold the state of a host. */
enum { MOST_CHOICES = 256, OUTBOX_BYTES = 1 << 20 };

static const double LOOK_EVERY = 0.05; /* seconds */

struct fo_host {
    fo_host_options options;
    pthread_t thread;
    pthread_cond_t changed;
    pthread_mutex_t lock; /* guards from here to `status` */
    job *inbox, *inbox_last;
    bool stopping, shut; /* the thread shall end; no question is accepted */
    bool nudged;         /* a reader has dropped its ticket               */
    fo_host_status status;

    pthread_mutex_t look_lock; /* guards `seen` and `known` */
    fo_snapshot seen;
    bool known;

    /* The host's thread alone. */
    fo_runner *runner;
    job *live;
    double looked;
};

static double now_of(const fo_host *h)
{
    return h->options.clock->now(h->options.clock);
}

const char *fo_host_state_name(fo_host_state state)
{
    static const char *const names[] = {"unloaded", "loading", "ready",
                                        "draining"};
    return names[state];
}

/* Count what comes and what ends. */
static void set_state(fo_host *h, fo_host_state state)
{
    pthread_mutex_lock(&h->lock);
    h->status.state = state;
    pthread_mutex_unlock(&h->lock);
}

static void count_end(fo_host *h, const job *j)
{
    fo_host_status *s = &h->status;
    pthread_mutex_lock(&h->lock);
    s->last_activity = now_of(h);
    s->choices -= j->choice_count;
    if (j->choice_count > 0) {
        s->active--;
        s->cancelled += j->cancelled;
        s->completed += !j->cancelled && j->error.status == FO_OK;
        s->failed += !j->cancelled && j->error.status != FO_OK;
    }
    pthread_mutex_unlock(&h->lock);
}

/* End a question. */
static void free_job(job *j)
{
    for (int i = 0; i < j->choice_count; i++)
        fo_text_free(&j->choices[i].text);
    fo_memory_free(j);
}

/* Its choices leave the model, but its reader is not told yet. */
static void mark_over(fo_host *h, job *j, const fo_error *error)
{
    if (j->over)
        return;
    j->over = true;
    if (error)
        j->error = *error;
    for (int i = 0; i < j->choice_count; i++)
        if (j->choices[i].live && h->runner)
            h->options.runner->abort(h->runner, j->choices[i].id, NULL);
    for (int i = 0; i < j->choice_count; i++)
        j->choices[i].live = false;
    j->live = 0;
}

/* The reader is told last: when it has its answer, that is counted, and no byte
 * is left but what it holds itself. */
static void finish(fo_host *h, job *j, const fo_error *error)
{
    mark_over(h, j, error);
    j->cancelled = j->error.status != FO_OK && fo_ticket_dropped(j->ticket);
    count_end(h, j);
    fo_ticket *ticket = j->ticket;
    fo_error why = j->error;
    free_job(j);
    fo_ticket_end(ticket, why.status == FO_OK ? NULL : &why);
}

static void mark_all_over(fo_host *h, const fo_error *error)
{
    for (job *j = h->live; j; j = j->next)
        mark_over(h, j, error);
}

/* Take out what is over and tell the readers. */
static void finish_those_over(fo_host *h)
{
    for (job **at = &h->live; *at;) {
        job *j = *at;
        if (!j->over) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        finish(h, j, NULL);
    }
}

/* Look at the model. */
static void look(fo_host *h)
{
    double now = now_of(h);
    bool busy = false;
    for (const job *j = h->live; j; j = j->next)
        busy = busy || !j->over;
    if (!h->runner || (busy && now - h->looked < LOOK_EVERY))
        return;
    h->looked = now;
    pthread_mutex_lock(&h->look_lock);
    if (h->options.runner->look(h->runner, &h->seen, NULL) == FO_OK)
        h->known = true;
    pthread_mutex_unlock(&h->look_lock);
}

/* Load the model and let it go. */
/* What the C library keeps for later is given back to the system as well. */
static void unload(fo_host *h, bool idle)
{
    const fo_log_field fields[] = {{"idle", idle}};
    if (h->runner) {
        h->options.runner->close(&h->runner);
        malloc_trim(0);
        pthread_mutex_lock(&h->look_lock);
        h->known = false;
        fo_snapshot_free(&h->seen);
        pthread_mutex_unlock(&h->look_lock);
        pthread_mutex_lock(&h->lock);
        h->status.unloads++;
        h->status.idle_unloads += idle;
        pthread_mutex_unlock(&h->lock);
        fo_log_write(FO_LOG_INFO, "model_unloaded", fields, 1);
    }
    set_state(h, FO_HOST_UNLOADED);
}

static fo_status load(fo_host *h, fo_error *error)
{
    if (h->runner)
        return FO_OK;
    double began = now_of(h);
    set_state(h, FO_HOST_LOADING);
    *error = (fo_error){0};
    fo_status status =
        h->options.runner->open(h->options.runner_options, &h->runner, error);
    double seconds = now_of(h) - began;
    const fo_log_field fields[] = {{"milliseconds", (uint64_t)(seconds * 1e3)},
                                   {"required", error->required},
                                   {"available", error->available}};
    pthread_mutex_lock(&h->lock);
    h->status.state = status == FO_OK ? FO_HOST_READY : FO_HOST_UNLOADED;
    h->status.loads += status == FO_OK;
    h->status.load_failures += status != FO_OK;
    if (status == FO_OK)
        h->status.last_load_seconds = seconds;
    pthread_mutex_unlock(&h->lock);
    fo_log_write(status == FO_OK ? FO_LOG_INFO : FO_LOG_ERROR,
                 status == FO_OK ? "model_loaded" : "load_failed", fields,
                 status == FO_OK ? 1 : 3);
    look(h);
    return status;
}

/* Begin a question. */
static fo_status put_begun(job *j, const fo_prompt_told *told, int prompts,
                           fo_error *error)
{
    fo_piece begun = {.kind = FO_PIECE_BEGUN};
    for (int p = 0; p < prompts; p++)
        begun.tokens += told[p].tokens;
    fo_status status = fo_ticket_put(j->ticket, &begun, error);
    for (int i = 0; i < j->choice_count && status == FO_OK && j->ask->echo;
         i++) {
        const fo_prompt_told *prompt = &told[i / j->ask->n];
        fo_piece echo = {.kind = FO_PIECE_ECHO,
                         .choice = i,
                         .text = prompt->text,
                         .length = prompt->length};
        status = fo_ticket_put(j->ticket, &echo, error);
    }
    return status;
}

static fo_status submit(fo_host *h, job *j, fo_error *error)
{
    int prompts = j->ask->kind == FO_ASK_CHAT ? 1 : j->ask->prompt_count;
    size_t each = sizeof(int64_t);
    fo_prompt_told *told =
        fo_memory_alloc((size_t)prompts, sizeof *told, error);
    int64_t *ids = fo_memory_alloc((size_t)j->choice_count, each, error);
    fo_status status = told && ids ? FO_OK : FO_NOMEM;
    if (status == FO_OK)
        status = h->options.runner->submit(h->runner, j->ask, ids, told, error);
    if (status == FO_OK) {
        for (int i = 0; i < j->choice_count; i++) {
            j->choices[i].id = ids[i];
            j->choices[i].live = true;
        }
        j->live = j->choice_count;
        status = put_begun(j, told, prompts, error);
        pthread_mutex_lock(&h->lock);
        for (int p = 0; p < prompts; p++)
            h->status.prompt_tokens += (uint64_t)told[p].tokens;
        pthread_mutex_unlock(&h->lock);
    }
    fo_memory_free(told);
    fo_memory_free(ids);
    return status;
}

/* Last come, last in the list: it is the first to be shed. */
static void begin(fo_host *h, job *j)
{
    fo_error error = {0};
    fo_status status = load(h, &error);
    if (status == FO_OK)
        status = submit(h, j, &error);
    if (status != FO_OK) {
        finish(h, j, &error);
        return;
    }
    job **end = &h->live;
    while (*end)
        end = &(*end)->next;
    j->next = NULL;
    *end = j;
}

/* Tell what was drawn. */
static job *find(const fo_host *h, int64_t id, choice **out)
{
    for (job *j = h->live; j; j = j->next)
        for (int i = 0; i < j->choice_count; i++)
            if (j->choices[i].live && j->choices[i].id == id) {
                *out = &j->choices[i];
                return j;
            }
    return NULL;
}

static fo_piece_token piece_token(const fo_token_told *told)
{
    return (fo_piece_token){told->id, told->logprob, told->text, told->length};
}

static fo_status put_drawn(job *j, choice *c, const fo_drawn *drawn,
                           fo_error *error)
{
    fo_piece_token likeliest[drawn->likeliest_count + 1];
    for (int i = 0; i < drawn->likeliest_count; i++)
        likeliest[i] = piece_token(&drawn->likeliest[i]);
    fo_piece piece = {.kind = FO_PIECE_TOKEN,
                      .choice = (int)(c - j->choices),
                      .text = c->text.bytes,
                      .length = c->text.ready,
                      .token = piece_token(&drawn->token),
                      .likeliest = likeliest,
                      .likeliest_count = drawn->likeliest_count};
    fo_status status = fo_ticket_put(j->ticket, &piece, error);
    if (status != FO_OK || (!c->text.stopped && drawn->finish == FO_GOES_ON))
        return status;
    fo_piece ended = {.kind = FO_PIECE_ENDED,
                      .choice = piece.choice,
                      .finish = c->text.stopped ? FO_STOPPED : drawn->finish};
    return fo_ticket_put(j->ticket, &ended, error);
}

static void deliver(fo_host *h, const fo_drawn *drawn)
{
    choice *c;
    job *j = find(h, drawn->id, &c);
    if (!j)
        return;
    bool runs = drawn->finish == FO_GOES_ON;
    c->live = runs;
    if (drawn->finish == FO_FAILED) {
        mark_over(h, j, &drawn->error);
        return;
    }
    fo_error error = {0};
    fo_status status =
        fo_text_add(&c->text, j->ask->stops, j->ask->stop_count,
                    drawn->token.text, drawn->token.length, !runs, &error);
    if (status == FO_OK)
        status = put_drawn(j, c, drawn, &error);
    if (c->live && c->text.stopped) {
        h->options.runner->abort(h->runner, c->id, NULL);
        c->live = false;
    }
    j->live -= !c->live;
    if (status != FO_OK || j->live == 0)
        mark_over(h, j, status == FO_OK ? NULL : &error);
}

/* Go one step on. */
/* A step that finds no memory would find none again: the last come goes. A
 * model that broke is of no use to anyone. */
static void bear(fo_host *h, fo_status status, fo_error *error)
{
    job *last = h->live;
    if (status != FO_NOMEM && status != FO_FULL) {
        mark_all_over(h, error);
        finish_those_over(h);
        unload(h, false);
        return;
    }
    while (last->next)
        last = last->next;
    error->status = FO_NOMEM;
    mark_over(h, last, error);
}

static void step(fo_host *h)
{
    const fo_drawn *drawn;
    int count = 0;
    fo_error error = {0};
    if (!h->live)
        return;
    fo_status status =
        h->options.runner->step(h->runner, &drawn, &count, &error);
    if (status != FO_OK) {
        bear(h, status, &error);
        return;
    }
    pthread_mutex_lock(&h->lock);
    h->status.drawn_tokens += (uint64_t)count;
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < count; i++)
        deliver(h, &drawn[i]);
}

/* Weed out what is not wanted any more. */
/* Whether a question must end before its time, and why. */
static bool must_end(const fo_host *h, const job *j, double now,
                     fo_error *error)
{
    bool dropped = fo_ticket_dropped(j->ticket);
    if (dropped)
        fo_fail(error, FO_GONE, "the reader is gone");
    else if (now >= j->deadline)
        fo_fail_short(error, FO_LATE, 0,
                      (uint64_t)(h->options.request_timeout * 1e3),
                      "the request was not done within %g seconds",
                      h->options.request_timeout);
    return dropped || now >= j->deadline;
}

static void weed(fo_host *h)
{
    double now = now_of(h);
    fo_error error = {0};
    job *out = NULL;
    for (job *j = h->live; j; j = j->next)
        if (must_end(h, j, now, &error))
            mark_over(h, j, &error);
    pthread_mutex_lock(&h->lock);
    h->nudged = false;
    h->inbox_last = NULL;
    for (job **at = &h->inbox; *at;) {
        job *j = *at;
        if (must_end(h, j, now, &error)) {
            *at = j->next;
            j->error = error;
            j->next = out;
            out = j;
        } else {
            h->inbox_last = j;
            at = &j->next;
        }
    }
    pthread_mutex_unlock(&h->lock);
    for (job *next; out; out = next) {
        next = out->next;
        finish(h, out, &out->error);
    }
}

/* Work through the inbox. */
static job *pop(fo_host *h)
{
    pthread_mutex_lock(&h->lock);
    job *j = h->inbox;
    if (j)
        h->inbox = j->next;
    if (!h->inbox)
        h->inbox_last = NULL;
    pthread_mutex_unlock(&h->lock);
    return j;
}

static job *peek(fo_host *h)
{
    pthread_mutex_lock(&h->lock);
    job *j = h->inbox;
    pthread_mutex_unlock(&h->lock);
    return j;
}

/* The last question to unload at once, or null. */
static const job *last_order(fo_host *h)
{
    const job *found = NULL;
    pthread_mutex_lock(&h->lock);
    for (const job *j = h->inbox; j; j = j->next)
        if (j->ask->kind == FO_ASK_UNLOAD_NOW)
            found = j;
    pthread_mutex_unlock(&h->lock);
    return found;
}

static bool unloads(const job *j)
{
    return j->ask->kind == FO_ASK_UNLOAD || j->ask->kind == FO_ASK_UNLOAD_NOW;
}

/* End all that came before an order to unload at once. */
static void obey(fo_host *h)
{
    const job *order = last_order(h);
    fo_error error = {0};
    if (!order)
        return;
    fo_fail(&error, FO_GONE, "the model was unloaded on request");
    mark_all_over(h, &error);
    finish_those_over(h);
    unload(h, false);
    for (bool last = false; !last;) {
        job *j = pop(h);
        last = j == order;
        finish(h, j, unloads(j) ? NULL : &error);
    }
}

/* A load that fails, fails for all who have waited for it, and for nobody who
 * comes after. */
static void fail_waiting(fo_host *h, const fo_error *error)
{
    pthread_mutex_lock(&h->lock);
    job *first = h->inbox, **end = &first;
    while (*end && !unloads(*end))
        end = &(*end)->next;
    h->inbox = *end;
    if (!h->inbox)
        h->inbox_last = NULL;
    *end = NULL;
    pthread_mutex_unlock(&h->lock);
    for (job *next; first; first = next) {
        next = first->next;
        finish(h, first, error);
    }
}

static void work_through(fo_host *h)
{
    obey(h);
    for (job *j; (j = peek(h));) {
        fo_error error = {0};
        if (unloads(j)) {
            if (h->live) {
                set_state(h, FO_HOST_DRAINING);
                return;
            }
            unload(h, false);
            finish(h, pop(h), NULL);
        } else if (load(h, &error) != FO_OK) {
            fail_waiting(h, &error);
        } else if (j->ask->kind == FO_ASK_LOAD) {
            finish(h, pop(h), NULL);
        } else {
            begin(h, pop(h));
        }
    }
}

/* Let go when nobody asks. */
/* The moment to let go, the lock being held. */
static double idle_at(const fo_host *h)
{
    const fo_host_status *s = &h->status;
    if (!h->runner || h->live || h->inbox || h->options.idle_timeout <= 0)
        return FO_NEVER;
    return s->last_activity + h->options.idle_timeout;
}

/* Whoever asks from here on finds the inbox, not the model. */
static void let_go_if_idle(fo_host *h)
{
    pthread_mutex_lock(&h->lock);
    bool idle = now_of(h) >= idle_at(h);
    pthread_mutex_unlock(&h->lock);
    if (idle)
        unload(h, true);
}

/* Be the host's thread. */
static void end_all(fo_host *h)
{
    fo_error error = {0};
    fo_fail(&error, FO_GONE, "the server is shutting down");
    mark_all_over(h, &error);
    finish_those_over(h);
    for (job *j; (j = pop(h));)
        finish(h, j, unloads(j) ? NULL : &error);
    unload(h, false);
}

static void *work(void *host)
{
    fo_host *h = host;
    pthread_mutex_lock(&h->lock);
    while (!h->stopping) {
        double until = idle_at(h);
        if (!h->inbox && !h->live && !h->nudged && now_of(h) < until) {
            h->options.clock->wait(h->options.clock, &h->changed, &h->lock,
                                   until);
            continue;
        }
        pthread_mutex_unlock(&h->lock);
        weed(h);
        finish_those_over(h);
        work_through(h);
        step(h);
        look(h);
        finish_those_over(h);
        let_go_if_idle(h);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    end_all(h);
    return NULL;
}

/* Open and close a host. */
fo_status fo_host_open(const fo_host_options *options, fo_host **out,
                       fo_error *error)
{
    *out = NULL;
    fo_host *h = fo_memory_alloc(1, sizeof *h, error);
    if (!h)
        return FO_NOMEM;
    h->options = *options;
    if (!h->options.clock)
        h->options.clock = fo_clock_real();
    if (h->options.max_choices == 0)
        h->options.max_choices = MOST_CHOICES;
    if (h->options.outbox_bytes == 0)
        h->options.outbox_bytes = OUTBOX_BYTES;
    h->status = (fo_host_status){.started = now_of(h),
                                 .last_activity = -1,
                                 .last_load_seconds = -1,
                                 .idle_timeout = options->idle_timeout,
                                 .max_choices = h->options.max_choices};
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->look_lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    if (pthread_create(&h->thread, NULL, work, h) != 0) {
        fo_memory_free(h);
        return fo_fail(error, FO_NOMEM, "no thread for the model's host");
    }
    *out = h;
    return FO_OK;
}

void fo_host_close(fo_host **host)
{
    fo_host *h = *host;
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = h->shut = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->look_lock);
    pthread_mutex_destroy(&h->lock);
    fo_memory_free(h);
    *host = NULL;
}

/* Answer from any thread. */
static void nudge(void *host)
{
    fo_host *h = host;
    pthread_mutex_lock(&h->lock);
    h->nudged = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* The lock is held. */
static fo_status judge(const fo_host *h, int choices, fo_error *error)
{
    const fo_host_status *s = &h->status;
    if (h->shut)
        return fo_fail(error, FO_GONE, "the server is shutting down");
    if (choices > s->max_choices)
        return fo_fail_short(error, FO_ARG, (uint64_t)choices,
                             (uint64_t)s->max_choices,
                             "%d answers asked for at once, %d are the most",
                             choices, s->max_choices);
    if (choices > s->max_choices - s->choices)
        return fo_fail_short(error, FO_FULL, (uint64_t)choices,
                             (uint64_t)(s->max_choices - s->choices),
                             "the queue is full: %d answers are under way, "
                             "%d are the most",
                             s->choices, s->max_choices);
    return FO_OK;
}

/* The lock is held. */
static void accept(fo_host *h, job *j)
{
    fo_host_status *s = &h->status;
    *(h->inbox_last ? &h->inbox_last->next : &h->inbox) = j;
    h->inbox_last = j;
    s->choices += j->choice_count;
    s->total += j->choice_count > 0;
    s->active += j->choice_count > 0;
    s->last_activity = now_of(h);
    pthread_cond_signal(&h->changed);
}

fo_status fo_host_ask(fo_host *h, fo_ask *ask, const fo_listener *listener,
                      fo_ticket **ticket, fo_error *error)
{
    int choices = fo_ask_choices(ask);
    fo_ticket *t = NULL;
    *ticket = NULL;
    job *j =
        fo_memory_alloc(1, sizeof *j + (size_t)choices * sizeof(choice), error);
    if (j)
        t = fo_ticket_new(listener, h->options.outbox_bytes, nudge, h, error);
    if (!t) {
        fo_memory_free(j);
        return FO_NOMEM;
    }
    *j = (job){.ticket = t, .ask = ask, .choice_count = choices};
    double limit = h->options.request_timeout;
    pthread_mutex_lock(&h->lock);
    j->deadline = limit > 0 && choices > 0 ? now_of(h) + limit : FO_NEVER;
    fo_status status = judge(h, choices, error);
    if (status == FO_OK) {
        fo_ticket_own(t, ask);
        accept(h, j);
    } else {
        h->status.refused++;
    }
    pthread_mutex_unlock(&h->lock);
    *ticket = t;
    if (status != FO_OK) {
        fo_ticket_end(t, NULL);
        fo_ticket_drop(ticket);
        fo_memory_free(j);
    }
    return status;
}

void fo_host_drain(fo_host *h)
{
    pthread_mutex_lock(&h->lock);
    h->shut = true;
    pthread_mutex_unlock(&h->lock);
}

void fo_host_status_get(fo_host *h, fo_host_status *status)
{
    pthread_mutex_lock(&h->lock);
    *status = h->status;
    status->now = now_of(h);
    pthread_mutex_unlock(&h->lock);
}

fo_status fo_host_look(fo_host *h, fo_snapshot *snapshot, bool *known,
                       fo_error *error)
{
    fo_status status = FO_OK;
    pthread_mutex_lock(&h->look_lock);
    *known = h->known;
    if (h->known)
        status = fo_snapshot_copy(snapshot, &h->seen, error);
    pthread_mutex_unlock(&h->look_lock);
    return status;
}
