#include "common/memory.h"
#include "engine/engine.h"
#include "engine_trace_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Keep the books of an engine. */
/* What a request must be. It is alive from the call that let it in to the step
 * that ends it; where it waits or runs is the engine's affair. */
typedef struct entry {
    int64_t id;
    int length, most; /* tokens there are, and may be */
    int sampling;
    bool until_stop, child, preempted;
    bool flowing; /* drew in the step before, so that it runs */
    int32_t tokens[WORLD_CONTEXT];
} entry;

enum { MOST_ALIVE = 32, LONG_WAIT = 400 };

typedef struct books {
    trace_world *world;
    const trace *t;
    trace_tally *tally;
    char *trouble;
    fo_engine *engine;
    fo_engine_options options;
    int model;
    size_t at; /* the operation */
    entry alive[MOST_ALIVE];
    int count;
    int64_t last_id;
    int patience; /* steps since the oldest drew last */
    uint64_t submitted, finished, aborted, drawn, preempted;
    uint64_t host, there; /* bytes when the engine was open */
    bool armed;           /* a request for memory may fail        */
} books;

/* Say what is wrong with a trace. */
static bool trouble(books *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool trouble(books *b, const char *format, ...)
{
    int n = snprintf(b->trouble, 256, "operation %zu: ", b->at);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b->trouble + n, 256 - (size_t)n, format, arguments);
    va_end(arguments);
    return false;
}

/* Set an engine up from four bytes. */
static int choose(uint8_t byte, int a, int b, int c, int d)
{
    return (const int[]){a, b, c, d}[byte % 4];
}

static void set_up(books *b)
{
    const uint8_t *s = b->t->setup;
    b->model = s[0] % TRACE_MODELS;
    b->options = (fo_engine_options){
        .context = WORLD_CONTEXT,
        .max_sequences = 2 + s[1] % 4,
        .max_waiting = choose(s[1] >> 2, 2, 4, 6, 12),
        .max_tokens = choose(s[2], 6, 9, 16, 64),
        .block_size = choose(s[2] >> 2, 4, 4, 8, 16),
        .slab_blocks = choose(s[2] >> 4, 1, 2, 3, -1),
        .no_prefix_cache = s[0] >> 1 & 1,
    };
    /* From less than a context to enough for all. */
    int whole = WORLD_CONTEXT / b->options.block_size;
    b->options.total_blocks = whole * choose(s[3], 3, 5, 8, 16) / 4;
    if (b->model == 1 && b->options.total_blocks < whole)
        b->options.total_blocks = whole; /* any request fits alone */
}

/* Foretell what a submission meets. */
typedef struct forecast {
    fo_status status;
    uint64_t required, available;
} forecast;

static int waiting_now(const books *b)
{
    fo_engine_stats stats;
    fo_engine_stats_get(b->engine, &stats, NULL);
    return stats.waiting;
}

static forecast foretell(const books *b, const fo_request *r)
{
    int B = b->options.block_size;
    uint64_t most = r->count + (uint64_t)r->max_new;
    uint64_t blocks = (most - 1 + (uint64_t)B - 1) / (uint64_t)B;
    uint64_t waiting = (uint64_t)waiting_now(b);
    if (r->count < 1 || r->max_new < 1 || r->sampling.temperature < 0)
        return (forecast){.status = FO_ARG};
    if (most > WORLD_CONTEXT)
        return (forecast){FO_LIMIT, most, WORLD_CONTEXT};
    if (b->model == 0 && blocks > (uint64_t)b->options.total_blocks)
        return (forecast){FO_FULL, blocks, (uint64_t)b->options.total_blocks};
    if (r->tokens[r->count - 1] < 0)
        return (forecast){.status = FO_ARG};
    if (waiting >= (uint64_t)b->options.max_waiting)
        return (forecast){FO_FULL, waiting + 1,
                          (uint64_t)b->options.max_waiting};
    return (forecast){.status = FO_OK};
}

/* See that a call ended as foretold. */
/* Whether a call ended as foretold. */
static bool as_foretold(books *b, const char *call, fo_status status,
                        const fo_error *error, forecast f)
{
    if (b->armed && status == FO_NOMEM) {
        b->tally->failed++;
        return true;
    }
    if (status != f.status)
        return trouble(b, "%s: %s, not %s: %s", call, fo_status_name(status),
                       fo_status_name(f.status),
                       status == FO_OK ? "" : error->message);
    if (f.required &&
        (error->required != f.required || error->available != f.available))
        return trouble(b,
                       "%s: refused with %" PRIu64 " and %" PRIu64
                       ", not %" PRIu64 " and %" PRIu64,
                       call, error->required, error->available, f.required,
                       f.available);
    if (status != FO_OK && (error->status != status || !error->message[0]))
        return trouble(b, "%s: an error without a word", call);
    return true;
}

/* Let a request into the books. */
static bool let_in(books *b, const char *call, const entry *new, int64_t id)
{
    if (id <= b->last_id)
        return trouble(b, "%s: number %" PRId64 " after %" PRId64, call, id,
                       b->last_id);
    b->last_id = id;
    b->submitted++;
    if (b->count == MOST_ALIVE)
        return trouble(b, "%s: %d requests are alive", call, b->count + 1);
    b->alive[b->count] = *new;
    b->alive[b->count++].id = id;
    return true;
}

/* Submit a request to the books and to the engine. */
static bool submit(books *b, trace_op op)
{
    entry new = {.length = 1 + op.b % WORLD_PROMPT,
                 .sampling = op.c >> 4 & 3,
                 .until_stop = op.c >> 6 & 1};
    int flaw = op.c >> 7 ? op.a / WORLD_TEXTS % 8 : 0;
    for (int i = 0; i < new.length; i++)
        new.tokens[i] = world_text(op.a % WORLD_TEXTS, i);
    fo_request r = {.tokens = new.tokens,
                    .count = flaw == 1 ? 0 : (size_t) new.length,
                    .max_new = flaw == 2   ? 0
                               : flaw == 3 ? WORLD_CONTEXT
                                           : 1 + op.c % WORLD_LONGEST,
                    .until_stop = new.until_stop,
                    .sampling = world_sampling(new.sampling)};
    if (flaw == 4)
        r.sampling.temperature = -1;
    if (flaw == 5)
        new.tokens[new.length - 1] = -5;
    new.most = new.length + r.max_new;
    fo_error error = {0};
    int64_t id = -1;
    forecast f = foretell(b, &r);
    fo_status status = fo_engine_submit(b->engine, &r, &id, &error);
    b->tally->refused += status != FO_OK;
    if (!as_foretold(b, "submit", status, &error, f))
        return false;
    return status != FO_OK || let_in(b, "submit", &new, id);
}

/* Fork a request of the books. */
/* Counted from the last comer. */
static entry *named(books *b, uint8_t who)
{
    return b->count ? &b->alive[b->count - 1 - who % b->count] : NULL;
}

static bool fork_one(books *b, trace_op op)
{
    entry *parent = named(b, op.a);
    fo_sampling how = world_sampling(op.b % WORLD_SAMPLINGS);
    int waiting = waiting_now(b);
    forecast f = {.status = FO_OK};
    if (op.c % 16 == 15)
        how.temperature = -1;
    if (!parent)
        f.status = FO_UNKNOWN;
    else if (how.temperature < 0)
        f.status = FO_ARG;
    else if (waiting >= b->options.max_waiting)
        f = (forecast){FO_FULL, (uint64_t)waiting + 1,
                       (uint64_t)b->options.max_waiting};
    fo_error error = {0};
    int64_t id = -1;
    fo_status status = fo_engine_fork(
        b->engine, parent ? parent->id : b->last_id, &how, &id, &error);
    if (!as_foretold(b, "fork", status, &error, f))
        return false;
    if (status != FO_OK)
        return true;
    b->tally->forked++;
    entry new = *parent;
    new.sampling = op.b % WORLD_SAMPLINGS;
    new.child = true;
    new.flowing = false;
    if (b->t->plant == TRACE_LIE_ABOUT_FORKS && parent->preempted)
        new.tokens[new.length - 1] ^= 1;
    return let_in(b, "fork", &new, id);
}

/* Take a request out of the books. */
static void take_out(books *b, entry *gone)
{
    size_t i = (size_t)(gone - b->alive);
    if (i == 0)
        b->patience = 0;
    memmove(gone, gone + 1, ((size_t)b->count - i - 1) * sizeof *gone);
    b->count--;
}

static bool abort_one(books *b, trace_op op)
{
    entry *e = op.a == 255 ? NULL : named(b, op.a);
    forecast f = {.status = e ? FO_OK : FO_UNKNOWN};
    fo_error error = {0};
    fo_status status =
        fo_engine_abort(b->engine, e ? e->id : b->last_id + 1, &error);
    if (!as_foretold(b, "abort", status, &error, f))
        return false;
    if (e && status == FO_NOMEM)
        return trouble(b, "abort needs memory");
    if (!e)
        return true;
    b->aborted++;
    if (b->t->plant == TRACE_LIE_ABOUT_ABORTS && e->child)
        return true;
    take_out(b, e);
    return true;
}

/* Preempt a request of the books. */
static bool preempt_one(books *b, trace_op op)
{
    entry *e = named(b, op.a);
    forecast f = {.status = e ? FO_OK : FO_UNKNOWN};
    fo_error error = {0};
    fo_engine_stats before, after;
    fo_engine_stats_get(b->engine, &before, NULL);
    fo_status status =
        fo_engine_preempt(b->engine, e ? e->id : b->last_id, &error);
    fo_engine_stats_get(b->engine, &after, NULL);
    b->preempted += after.preempted - before.preempted;
    if (e) {
        e->preempted = true;
        e->flowing = false;
    }
    if (e == b->alive)
        b->patience = 0;
    return as_foretold(b, "preempt", status, &error, f);
}

/* Judge what a request was told. */
static entry *find(books *b, int64_t id)
{
    for (int i = 0; i < b->count; i++)
        if (b->alive[i].id == id)
            return &b->alive[i];
    return NULL;
}

static bool told(books *b, const fo_progress *p)
{
    entry *e = find(b, p->id);
    if (!e)
        return trouble(b, "step: request %" PRId64 " is not alive", p->id);
    int32_t want =
        world_next(b->world, b->model, e->tokens, e->length, e->sampling);
    if (p->token != want)
        return trouble(b,
                       "step: request %" PRId64 " drew %d as its token %d, "
                       "and alone draws %d",
                       p->id, p->token, e->length, want);
    e->tokens[e->length++] = want;
    e->flowing = true;
    b->drawn++;
    fo_finish finish = FO_GOES_ON;
    if (e->until_stop && world_stops(b->world, b->model, want))
        finish = FO_STOPPED;
    else if (e->length == e->most)
        finish = FO_LENGTH;
    if (p->finish != finish)
        return trouble(b, "step: request %" PRId64 " ends with %d, not %d",
                       p->id, (int)p->finish, (int)finish);
    if (e == b->alive)
        b->patience = 0;
    if (finish == FO_GOES_ON)
        return true;
    b->finished++;
    take_out(b, e);
    return true;
}

/* Know a failure that was planted. */
/* Where a request for memory has failed. A library of the device's does not
 * say more than that it could not. */
static bool may_fail_so(const books *b, fo_status status)
{
    bool here = strcmp(b->world->device->backend->name, "cpu") == 0;
    return status == FO_NOMEM || status == FO_FULL ||
           (status == FO_DEVICE && !here);
}

/* Take a step of a trace. */
static bool step(books *b)
{
    fo_progress out[MOST_ALIVE];
    fo_engine_stats before, after;
    fo_error error = {0};
    int count = -1;
    fo_engine_stats_get(b->engine, &before, NULL);
    fo_status status = fo_engine_step(b->engine, out, &count, &error);
    fo_memory_fail_at(0); /* what follows are the judge's requests */
    if (b->armed && may_fail_so(b, status)) {
        b->tally->failed++;
        for (int i = 0; i < b->count; i++)
            b->alive[i].flowing = false;
        return count == 0 || trouble(b, "step: failed, and told of %d", count);
    }
    if (status != FO_OK)
        return trouble(b, "step: %s: %s", fo_status_name(status),
                       error.message);
    fo_engine_stats_get(b->engine, &after, NULL);
    if (b->count > 0 && after.tokens == before.tokens)
        return trouble(b, "step: %d requests are alive, and nothing was done",
                       b->count);
    if (b->count > 0 && ++b->patience > LONG_WAIT)
        return trouble(b, "step: request %" PRId64 " starves", b->alive[0].id);
    entry first = b->alive[0];
    bool flows = b->count > 0 && first.flowing;
    for (int i = 0; i < b->count; i++)
        b->alive[i].flowing = false;
    for (int i = 0; i < count; i++)
        if (!told(b, &out[i]))
            return false;
    const entry *now = flows ? find(b, first.id) : NULL;
    if (now && now->length == first.length)
        return trouble(b,
                       "step: request %" PRId64 ", the first come, had no turn",
                       first.id);
    return true;
}

/* Compare the books with the engine. */
static bool audit(books *b)
{
    fo_error error = {0};
    fo_engine_stats s;
    if (fo_engine_check(b->engine, &error) != FO_OK ||
        fo_engine_stats_get(b->engine, &s, &error) != FO_OK)
        return trouble(b, "check: %s", error.message);
    const struct {
        const char *what;
        uint64_t got, want;
    } all[] = {
        {"alive", (uint64_t)s.running + (uint64_t)s.waiting,
         (uint64_t)b->count},
        {"submitted", s.submitted, b->submitted},
        {"finished", s.finished, b->finished},
        {"aborted", s.aborted, b->aborted},
        {"failed", s.failed, 0},
        {"drawn", s.drawn, b->drawn},
        {"idle", fo_engine_idle(b->engine), b->count == 0},
        {"free and held",
         (uint64_t)s.blocks.pool.free + (uint64_t)s.blocks.pool.held,
         (uint64_t)s.blocks.pool.total},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].got != all[i].want)
            return trouble(b, "%s: %" PRIu64 ", and should be %" PRIu64,
                           all[i].what, all[i].got, all[i].want);
    if (s.running > b->options.max_sequences)
        return trouble(b, "%d run at once", s.running);
    if (b->count == 0 && b->options.no_prefix_cache && s.blocks.pool.held)
        return trouble(b, "nobody is alive, and %d blocks are held",
                       s.blocks.pool.held);
    return true;
}

/* Carry out one operation of a trace. */
static bool evict(books *b, int blocks)
{
    fo_error error = {0};
    int evicted = -1;
    fo_status status = fo_engine_evict(b->engine, blocks, &evicted, &error);
    b->tally->evicted += evicted > 0 ? (uint64_t)evicted : 0;
    return as_foretold(b, "evict", status, &error, (forecast){.status = FO_OK});
}

static bool shrink(books *b)
{
    fo_error error = {0};
    fo_engine_stats before, after;
    fo_engine_stats_get(b->engine, &before, NULL);
    fo_status status = fo_engine_shrink(b->engine, &error);
    fo_engine_stats_get(b->engine, &after, NULL);
    uint64_t was = before.blocks.committed_bytes;
    uint64_t is = after.blocks.committed_bytes;
    if (is > was || (b->options.slab_blocks < 0 && is != was))
        return trouble(b, "shrink: from %" PRIu64 " bytes to %" PRIu64, was,
                       is);
    b->tally->shrunk += is < was;
    return as_foretold(b, "shrink", status, &error,
                       (forecast){.status = FO_OK});
}

/* Choose the operation of a trace. */
static bool carry_out(books *b, trace_op op)
{
    switch ((trace_kind)op.kind) {
    case TRACE_STEP:
        return step(b);
    case TRACE_SUBMIT:
        return submit(b, op);
    case TRACE_FORK:
        return fork_one(b, op);
    case TRACE_ABORT:
        return abort_one(b, op);
    case TRACE_PREEMPT:
        return preempt_one(b, op);
    case TRACE_EVICT:
        return evict(b, op.a % (b->options.total_blocks + 1));
    case TRACE_SHRINK:
        return shrink(b);
    default:
        return true;
    }
}

/* Carry on to the end of a trace. */
/* A failure is armed for the one operation that follows. */
static bool carry_on(books *b)
{
    uint64_t failing = 0;
    for (b->at = 0; b->at < b->t->count; b->at++) {
        trace_op op = b->t->ops[b->at];
        b->tally->ops++;
        if (op.kind == TRACE_FAIL) {
            failing = 1 + op.a % 6;
            continue;
        }
        b->armed = failing > 0;
        fo_memory_fail_at(failing);
        failing = 0;
        bool fine = carry_out(b, op);
        fo_memory_fail_at(0);
        b->armed = false;
        if (!fine || !audit(b))
            return false;
    }
    return true;
}

/* Empty an engine at the end of a trace. */
static bool wind_up(books *b)
{
    fo_engine_stats s;
    for (int steps = 0; b->count > 0; steps++) {
        if (steps == 20 * LONG_WAIT)
            return trouble(b, "end: %d requests never end", b->count);
        if (!step(b) || !audit(b))
            return false;
    }
    if (!shrink(b) || !audit(b))
        return false;
    fo_engine_stats_get(b->engine, &s, NULL);
    b->tally->drawn += s.drawn;
    b->tally->finished += s.finished;
    b->tally->aborted += s.aborted;
    b->tally->preempted += s.preempted;
    b->tally->forced += s.preempted - b->preempted;
    int left = b->options.slab_blocks < 0 ? b->options.total_blocks : 0;
    if (s.blocks.pool.held || s.blocks.pool.free != left)
        return trouble(b, "end: %d blocks held, %d free, not %d",
                       s.blocks.pool.held, s.blocks.pool.free, left);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    if (host != b->host || there != b->there)
        return trouble(b, "end: %" PRId64 " bytes here, %" PRId64 " there",
                       (int64_t)(host - b->host), (int64_t)(there - b->there));
    return true;
}

/* Run an engine's trace. */
bool trace_run(trace_world *world, const trace *t, char text[256],
               trace_tally *tally)
{
    trace_tally unseen = {0};
    books b = {.world = world,
               .t = t,
               .tally = tally ? tally : &unseen,
               .trouble = text};
    fo_error error;
    text[0] = '\0';
    set_up(&b);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    if (fo_engine_open(world->device, world->path[b.model], &b.options,
                       &b.engine, &error) != FO_OK)
        return trouble(&b, "open: %s", error.message);
    b.host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    b.there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    bool fine = carry_on(&b) && wind_up(&b);
    fo_engine_close(&b.engine);
    if (fine && (fo_memory_usage_get(FO_MEMORY_HOST).bytes != host ||
                 fo_memory_usage_get(FO_MEMORY_DEVICE).bytes != there))
        fine = trouble(&b, "closed, and bytes are missing");
    return fine;
}
