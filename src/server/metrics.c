#include "server/http_inside.h"

#include "common/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Write one figure. */
enum { PAGE = 16384 };

typedef struct page {
    char *text; /* (PAGE) */
    size_t length;
} page;

static void put(page *p, const char *name, const char *kind, const char *help,
                double value)
{
    int added =
        snprintf(p->text + p->length, PAGE - p->length,
                 "# HELP folio_%s %s\n# TYPE folio_%s %s\nfolio_%s %.17g\n",
                 name, help, name, kind, name, value);
    assert(added > 0 && (size_t)added < PAGE - p->length);
    p->length += (size_t)added;
}

static void count(page *p, const char *name, const char *help, uint64_t value)
{
    put(p, name, "counter", help, (double)value);
}

static void gauge(page *p, const char *name, const char *help, double value)
{
    put(p, name, "gauge", help, value);
}

/* Write what the host counts. */
static void put_host(page *p, const fo_host_status *s)
{
    gauge(p, "uptime_seconds", "Since the server started.",
          s->now - s->started);
    count(p, "requests_total", "Questions taken up.", s->total);
    count(p, "requests_completed_total", "Answered.", s->completed);
    count(p, "requests_failed_total", "Ended by an error.", s->failed);
    count(p, "requests_cancelled_total", "Whose client left.", s->cancelled);
    count(p, "requests_refused_total", "Turned away.", s->refused);
    gauge(p, "requests_active", "Not yet ended.", (double)s->active);
    gauge(p, "queue_answers", "Answers under way.", s->choices);
    gauge(p, "queue_answers_limit", "The most of them.", s->max_choices);
    count(p, "prompt_tokens_total", "Tokens of prompts.", s->prompt_tokens);
    count(p, "drawn_tokens_total", "Tokens drawn.", s->drawn_tokens);
    count(p, "model_loads_total", "Loads that succeeded.", s->loads);
    count(p, "model_load_failures_total", "Loads that failed.",
          s->load_failures);
    count(p, "model_unloads_total", "Unloads.", s->unloads);
    count(p, "model_idle_unloads_total", "Of these, by the timer.",
          s->idle_unloads);
    gauge(p, "idle_timeout_seconds", "As set.", s->idle_timeout);
}

/* Write what the engine counts. */
static void put_engine(page *p, const fo_snapshot *seen)
{
    const fo_engine_stats *e = &seen->engine;
    const fo_pool_stats *pool = &e->blocks.pool;
    gauge(p, "blocks", "Blocks of the cache.", pool->total);
    gauge(p, "blocks_free", "Held by nobody.", pool->free);
    gauge(p, "blocks_used", "Held.", pool->held);
    gauge(p, "blocks_shared", "Held more than once.", pool->shared);
    gauge(p, "block_utilisation", "Tokens stored per slot held.",
          e->blocks.utilisation);
    gauge(p, "sequences_running", "In the next step.", e->running);
    gauge(p, "sequences_waiting", "For their turn.", e->waiting);
    gauge(p, "engine_steps", "Since the load.", (double)e->steps);
    gauge(p, "engine_tokens", "Run through the model since the load.",
          (double)e->tokens);
    gauge(p, "engine_preemptions", "Since the load.", (double)e->preempted);
}

/* Answer a collector. */
static void put_memory(page *p, const fo_snapshot *seen)
{
    uint64_t host, device;
    fo_admin_count_memory(seen, &host, &device);
    gauge(p, "model_loaded", "Whether there is a model now.", seen != NULL);
    gauge(p, "memory_host_bytes", "As Folio counts.", (double)host);
    gauge(p, "memory_device_bytes", "As Folio counts.", (double)device);
    gauge(p, "memory_resident_bytes", "As the system counts.",
          (double)fo_admin_resident());
}

enum MHD_Result fo_admin_metrics(exchange *e)
{
    fo_host *host = e->server->options.host;
    fo_host_status status;
    fo_snapshot seen = {0};
    bool known = false;
    fo_error error = {0};
    page p = {.text = fo_memory_alloc(PAGE, 1, &error)};
    if (!p.text || fo_host_look(host, &seen, &known, &error) != FO_OK) {
        fo_memory_free(p.text);
        return fo_http_fail(e, &error, true);
    }
    fo_host_status_get(host, &status);
    put_host(&p, &status);
    put_memory(&p, known ? &seen : NULL);
    if (known)
        put_engine(&p, &seen);
    fo_snapshot_free(&seen);
    return fo_http_send(e, 200, "text/plain; version=0.0.4", p.text);
}
