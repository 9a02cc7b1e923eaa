/* The model's host: loads it when it is asked for, runs all questions in one
 * batch, and lets it go.
 *
 *     unloaded -> loading -> ready -> draining -> unloaded
 *
 * One thread of the host's own does all of that. The calls below come from any
 * thread, never wait for the model, and never touch it. */
#ifndef FOLIO_SERVER_HOST_H
#define FOLIO_SERVER_HOST_H

#include "server/clock.h"
#include "server/ticket.h"

typedef struct fo_host fo_host;

/* Declare the settings of a host. */
typedef struct fo_host_options {
    const fo_runner_kind *runner;
    const void *runner_options; /* outlive the host */
    fo_clock *clock;            /* null: the machine's */
    double idle_timeout;    /* seconds without a question; 0: never let go  */
    double request_timeout; /* seconds of one question in all; 0: no bound   */
    int max_choices;        /* accepted and not yet ended; default 256       */
    size_t outbox_bytes;    /* unread, of one question; default 1 MiB        */
} fo_host_options;

/* Declare the calls of a host. */
/* Start the host's thread; the model is not loaded. FO_NOMEM. */
fo_status fo_host_open(const fo_host_options *options, fo_host **out,
                       fo_error *error);

/* End all questions with FO_GONE, let the model go, and wait for the thread.
 * Nulls the pointer. Tickets that readers still hold stay good. */
void fo_host_close(fo_host **host);

/* Hand in a question, which is the host's if it is accepted. `listener` may be
 * null. FO_FULL: too many are under way, required and available choices;
 * FO_GONE: the host is shutting down; FO_NOMEM.
 *
 * The answer comes through the ticket. How that may fail: as fo_runner's
 * submit; FO_NOMEM the model does not fit; FO_LATE its time was up; FO_GONE the
 * model was taken away; FO_FULL the reader is too slow, or it would not fit
 * into the blocks if it were alone; FO_DEVICE, FO_IO what runs the model broke;
 * those of the model's file. */
fo_status fo_host_ask(fo_host *host, fo_ask *ask, const fo_listener *listener,
                      fo_ticket **ticket, fo_error *error);

/* Accept no more questions; those under way go on. */
void fo_host_drain(fo_host *host);

/* Declare what a host tells. */
typedef enum fo_host_state {
    FO_HOST_UNLOADED,
    FO_HOST_LOADING,
    FO_HOST_READY,
    FO_HOST_DRAINING, /* asked to let go: what is under way ends first */
} fo_host_state;

/* "unloaded", "loading", "ready", "draining". */
const char *fo_host_state_name(fo_host_state state);

/* total = active + completed + failed + cancelled, always. */
typedef struct fo_host_status {
    fo_host_state state;
    double now, started;      /* by the host's clock                          */
    double last_activity;     /* a question came or ended; -1: never          */
    double idle_timeout;      /* as set */
    double last_load_seconds; /* -1: never loaded                             */
    uint64_t total;           /* questions accepted; loads and unloads apart  */
    uint64_t active;          /* of these, not yet ended                      */
    uint64_t completed, failed, cancelled; /* of these; cancelled: dropped    */
    uint64_t refused;                      /* at the door, besides these      */
    int choices, max_choices;              /* under way                       */
    uint64_t loads, load_failures, unloads, idle_unloads;
    uint64_t prompt_tokens, drawn_tokens;
} fo_host_status;

/* Neither wakes the model nor counts as activity. */
void fo_host_status_get(fo_host *host, fo_host_status *status);

/* The last look at the model: refreshed after steps, at most every twentieth
 * of a second, and when nothing is left to do. *known: false while no model is
 * loaded. FO_NOMEM. */
fo_status fo_host_look(fo_host *host, fo_snapshot *snapshot, bool *known,
                       fo_error *error);

#endif
