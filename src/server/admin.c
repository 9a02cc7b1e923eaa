#include "server/http_inside.h"

#include "common/json.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Send JSON. */
static enum MHD_Result send_json(exchange *e, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
    json_decref(object);
    return fo_http_send(e, 200, "application/json", text);
}

enum MHD_Result fo_admin_health(exchange *e)
{
    return send_json(e, json_pack("{s:s}", "status", "healthy"));
}

/* Tell how much memory there is in use. */
uint64_t fo_admin_resident(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void fo_admin_count_memory(const fo_snapshot *seen, uint64_t *host,
                           uint64_t *device)
{
    *host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    *device = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    if (seen && seen->process != getpid()) {
        *host += seen->host_bytes;
        *device += seen->device_bytes;
    }
}

static json_t *memory_object(const fo_snapshot *seen)
{
    uint64_t host, device;
    fo_admin_count_memory(seen, &host, &device);
    return json_pack("{s:b, s:f, s:I, s:I, s:I, s:I}", "model_loaded",
                     seen != NULL, "active_memory_gb",
                     (double)(host + device) / 1e9, "active_memory_bytes",
                     (json_int_t)(host + device), "host_bytes",
                     (json_int_t)host, "device_bytes", (json_int_t)device,
                     "resident_bytes", (json_int_t)fo_admin_resident());
}

/* Tell of the blocks and of the engine. */
static json_t *blocks_object(const fo_snapshot *s)
{
    const fo_block_stats *b = &s->engine.blocks;
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:I, s:I}",
                     "total", b->pool.total, "free", b->pool.free, "used",
                     b->pool.held, "shared", b->pool.shared, "peak",
                     b->pool.peak, "block_size", s->block_size, "utilisation",
                     b->utilisation, "reuse_rate", b->reuse_rate, "allocations",
                     (json_int_t)b->pool.allocations, "kv_bytes",
                     (json_int_t)b->kv_bytes);
}

static json_t *engine_object(const fo_snapshot *s)
{
    const fo_engine_stats *e = &s->engine;
    return json_pack(
        "{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I}", "running", e->running,
        "waiting", e->waiting, "most_running", e->most_running, "context",
        s->context, "steps", (json_int_t)e->steps, "preemptions",
        (json_int_t)e->preempted, "tokens", (json_int_t)e->tokens, "drawn",
        (json_int_t)e->drawn, "recomputed", (json_int_t)e->recomputed);
}

/* Tell the state of the server. */
static json_t *requests_object(const fo_host_status *s)
{
    double ago = s->now - s->last_activity;
    json_t *last = s->last_activity < 0 ? json_null()
                                        : json_real((double)time(NULL) - ago);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:f, s:o, s:I, s:I}", "total",
        (json_int_t)s->total, "active", (json_int_t)s->active, "completed",
        (json_int_t)s->completed, "failed", (json_int_t)s->failed, "cancelled",
        (json_int_t)s->cancelled, "refused", (json_int_t)s->refused, "queue",
        s->choices, "queue_limit", s->max_choices, "uptime",
        s->now - s->started, "last_activity", last, "prompt_tokens",
        (json_int_t)s->prompt_tokens, "drawn_tokens",
        (json_int_t)s->drawn_tokens);
}

static json_t *model_object(const exchange *e, const fo_host_status *s)
{
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "id", e->server->options.model,
        "state", fo_host_state_name(s->state), "loads", (json_int_t)s->loads,
        "load_failures", (json_int_t)s->load_failures, "unloads",
        (json_int_t)s->unloads, "idle_unloads", (json_int_t)s->idle_unloads,
        "load_seconds", s->last_load_seconds < 0 ? 0 : s->last_load_seconds);
}

/* From what was seen last: asking wakes nobody. */
enum MHD_Result fo_admin_status(exchange *e)
{
    fo_host *host = e->server->options.host;
    fo_host_status status;
    fo_snapshot seen = {0};
    bool known = false;
    fo_error error = {0};
    fo_host_status_get(host, &status);
    if (fo_host_look(host, &seen, &known, &error) != FO_OK)
        return fo_http_fail(e, &error, true);
    json_t *object = json_pack("{s:s, s:o, s:o, s:o, s:f}", "status", "running",
                               "model", model_object(e, &status), "memory",
                               memory_object(known ? &seen : NULL), "requests",
                               requests_object(&status), "idle_timeout_seconds",
                               status.idle_timeout);
    if (object && known) {
        json_object_set_new(object, "blocks", blocks_object(&seen));
        json_object_set_new(object, "engine", engine_object(&seen));
    }
    fo_snapshot_free(&seen);
    return send_json(e, object);
}

/* Load and unload on request. */
/* Orders have no pieces: they end well or not. */
static enum MHD_Result report(exchange *e)
{
    fo_piece *piece;
    fo_error error = {0};
    fo_host_status status;
    switch (fo_ticket_take(e->ticket, &piece, &error)) {
    case FO_TAKEN_END:
        fo_host_status_get(e->server->options.host, &status);
        return send_json(e, json_pack("{s:s, s:s}", "status", "ok", "model",
                                      fo_host_state_name(status.state)));
    case FO_TAKEN_FAILED:
        return fo_http_fail(e, &error, false);
    default:
        return MHD_YES;
    }
}

static enum MHD_Result order(exchange *e, fo_ask_kind kind)
{
    fo_error error = {0};
    fo_ask *ask = fo_ask_new(kind, &error);
    if (!ask)
        return fo_http_fail(e, &error, true);
    return fo_http_ask(e, &ask, report);
}

enum MHD_Result fo_admin_load(exchange *e)
{
    return order(e, FO_ASK_LOAD);
}

enum MHD_Result fo_admin_unload(exchange *e)
{
    const char *now = MHD_lookup_connection_value(e->connection,
                                                  MHD_GET_ARGUMENT_KIND, "now");
    bool at_once = now && strcmp(now, "0") != 0;
    return order(e, at_once ? FO_ASK_UNLOAD_NOW : FO_ASK_UNLOAD);
}
