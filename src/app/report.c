#include "app/report.h"
#include "common/memory.h"
#include "model/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Say what folio report takes. */
enum { KEY_LAYERS = 0x400, KEY_CONTEXTS, KEY_KV, KEY_NO_SESSION };

static const struct argp_option options[] = {
    {"like", 'l', "NAME", 0,
     "a shape: phi3-mini, llama2-7b, llama3-8b, tiny (phi3-mini)", 0},
    {"model", 'm', "FILE", 0, "the shape of a model, which is run too", 0},
    {"layers", KEY_LAYERS, "N", 0, "layers of the cache (the shape's)", 0},
    {"contexts", KEY_CONTEXTS, "N,N...", 0,
     "tokens to measure at (0,1000,2048,4096)", 0},
    {"device", 'd', "DEVICE", 0, "where to measure (cpu)", 0},
    {"kv-type", KEY_KV, "TYPE", 0, "type of the cache: f32, f16, bf16 (f16)",
     0},
    {"no-session", KEY_NO_SESSION, NULL, 0, "run no model, only the cache", 0},
    {"output", 'o', "DIR", 0, "where the report goes (build/report)", 0},
    {0},
};

static const char about[] =
    "Measure what a model's memory grows to, and report it.\v"
    "A cache of all layers is filled token by token, and one layer of the "
    "shape, with random weights, is run (with --model, the model). What the "
    "device has handed out and what the system has in memory are noted on the "
    "way. DIR gets memory.md and memory.svg.";

typedef struct arguments {
    app_report report;
    const char *subject; /* "memory" */
    int layers;
    bool contexts; /* they were given */
} arguments;

/* Read a list of contexts. */
static void read_contexts(const struct argp_state *state, const char *text,
                          app_report *r)
{
    r->count = 0;
    for (const char *at = text; at && r->count < APP_CONTEXTS;) {
        char number[16];
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        snprintf(number, sizeof number, "%.*s", (int)length, at);
        int context = (int)app_integer(state, "--contexts", number, 0, 1 << 20);
        if (r->count > 0 && context <= r->contexts[r->count - 1])
            argp_error(state, "--contexts: %d does not rise", context);
        r->contexts[r->count++] = context;
        at = comma ? comma + 1 : NULL;
    }
    if (r->contexts[r->count - 1] == 0)
        argp_error(state, "--contexts: nothing to grow to");
}

/* Read the flags of folio report. */
static error_t parse_what(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    if (key == ARGP_KEY_ARG && !a->subject && strcmp(arg, "memory") == 0)
        a->subject = arg;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "no report on '%s'; there is one on memory", arg);
    else if (key == ARGP_KEY_END && !a->subject)
        argp_error(state, "a report on what? There is one on memory");
    else if (key != ARGP_KEY_END)
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static void choose_shape(const struct argp_state *state, const char *name,
                         app_shape *shape)
{
    const app_shape *found = app_shape_find(name);
    if (!found)
        argp_error(state, "--like: no shape '%s'; there are %s", name,
                   app_shape_names);
    else
        *shape = *found;
}

/* Read one flag. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    app_report *r = &a->report;
    switch (key) {
    case 'l':
        choose_shape(state, arg, &r->shape);
        return 0;
    case 'm':
        r->model = arg;
        return 0;
    case 'd':
        r->backend = app_backend(state, arg);
        return 0;
    case 'o':
        r->folder = arg;
        return 0;
    case KEY_LAYERS:
        a->layers = (int)app_integer(state, "--layers", arg, 1, 1024);
        return 0;
    case KEY_CONTEXTS:
        read_contexts(state, arg, r);
        a->contexts = true;
        return 0;
    case KEY_KV:
        r->kv_dtype = app_cache_type(state, arg);
        return 0;
    case KEY_NO_SESSION:
        r->session = false;
        return 0;
    default:
        return parse_what(key, arg, state);
    }
}

/* Take the shape of a model. */
static fo_status read_shape(const char *path, app_shape *shape, fo_error *error)
{
    fo_gguf *gguf;
    fo_config c;
    fo_status status = fo_gguf_open(path, &gguf, error);
    if (status != FO_OK)
        return status;
    status = fo_config_read(gguf, &c, error);
    if (status == FO_OK)
        *shape = (app_shape){"the model", c.arch,   c.H * c.D,  c.F,
                             c.L,         c.H,      c.K,        c.V,
                             c.context,   c.window, c.rope_base};
    fo_gguf_close(&gguf);
    return status;
}

/* Settle the contexts. */
/* Of the usual contexts, those below the shape's own, and that. */
static void fit_contexts(app_report *r)
{
    int kept = 0, most = r->shape.context;
    while (kept < r->count && r->contexts[kept] < most)
        kept++;
    if (kept == r->count)
        return;
    r->contexts[kept] = most;
    r->count = kept + 1;
}

static fo_status settle(arguments *a, fo_error *error)
{
    app_report *r = &a->report;
    fo_status status =
        r->model ? read_shape(r->model, &r->shape, error) : FO_OK;
    if (status != FO_OK)
        return status;
    int most = r->shape.context;
    if (!a->contexts)
        fit_contexts(r);
    if (r->contexts[r->count - 1] > most)
        return fo_fail_short(
            error, FO_LIMIT, (uint64_t)r->contexts[r->count - 1],
            (uint64_t)most, "a context of %d tokens is more than the %d of %s",
            r->contexts[r->count - 1], most, r->shape.name);
    r->shape.L = a->layers ? a->layers : r->shape.L;
    return FO_OK;
}

/* Put what was measured into words. */
/* Write the tables. */
static bool listed(const app_report *r, int tokens)
{
    for (int i = 0; i < r->count; i++)
        if (r->contexts[i] == tokens)
            return true;
    return false;
}

static void write_table(FILE *to, const app_report *r, const app_samples *s)
{
    fprintf(to,
            "| tokens | blocks | K and V held | K and V committed | own bytes "
            "| resident, MiB |\n|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < s->count; i++) {
        const app_sample *at = &s->at[i];
        app_written held, committed, own;
        if (listed(r, at->tokens))
            fprintf(to, "| %d | %d | %s | %s | %s | %.1f |\n", at->tokens,
                    at->blocks, app_grouped(at->usage.held, held),
                    app_grouped(at->usage.committed, committed),
                    app_grouped(at->usage.own, own),
                    (double)at->usage.resident / 0x1p20);
    }
}

/* Write what had been planned. */
static void write_plan(FILE *to, const app_report *r, const app_samples *s)
{
    app_written weights, rest, own;
    const fo_plan *plan = &s->plan;
    fprintf(to,
            "\nPlanned before the load: weights of %s bytes, and %s bytes "
            "besides them. Handed out by the device after it: %s bytes.\n",
            app_grouped(plan->weights, weights),
            app_grouped(plan->required - plan->weights, rest),
            app_grouped(s->at->usage.own, own));
    if (r->shape.window)
        fprintf(to, "A window of %d tokens bounds what the session holds.\n",
                r->shape.window);
}

/* Write the words of a report. */
static void write_words(FILE *to, const app_report *r, const app_samples *cache,
                        const app_samples *session)
{
    struct utsname system;
    uname(&system);
    const char *type = fo_dtype_info_get(r->kv_dtype)->name;
    fprintf(to,
            "# Memory of %s\n\nMeasured on device %s of a machine with %s "
            "%s, %s, %ld processors.\n\n",
            r->shape.name, r->backend->name, system.sysname, system.release,
            system.machine, sysconf(_SC_NPROCESSORS_ONLN));
    fprintf(to, "## The cache of %d layers, %s, filled token by token\n\n",
            r->shape.L, type);
    write_table(to, r, cache);
    const app_sample *last = &cache->at[cache->count - 1];
    fprintf(to, "\n%.1f bytes a token at %d tokens.\n",
            (double)last->usage.held / last->tokens, last->tokens);
    if (session->count > 0) {
        fprintf(to, "\n## A session: %s\n\n",
                r->model ? r->model : "one layer, weights in q8_0");
        write_table(to, r, session);
        write_plan(to, r, session);
    }
    fprintf(to, "\n![Memory over context](memory.svg)\n");
}

/* Write the report. */
static fo_status write_report(const app_report *r, const app_samples *cache,
                              const app_samples *session, fo_error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/memory.md", r->folder);
    FILE *to = fopen(path, "w");
    if (to)
        write_words(to, r, cache, session);
    bool good = to && !ferror(to);
    if ((to && fclose(to) != 0) || !good)
        return fo_fail(error, FO_IO, "cannot write %.150s: %s", path,
                       strerror(errno));
    return FO_OK;
}

/* Choose the lines of the plot. */
enum { COMMITTED, HELD, ONE_LAYER, SESSION, LINES };

static double gib(uint64_t bytes)
{
    return (double)bytes / 0x1p30;
}

/* The height of a line at a sample; one layer's is reckoned, not measured. */
static double height(const app_report *r, const app_samples *cache, int line,
                     const app_sample *at)
{
    uint64_t one = cache->token_bytes / (uint64_t)r->shape.L;
    return gib(line == COMMITTED   ? at->usage.committed
               : line == ONE_LAYER ? one * (uint64_t)at->tokens
                                   : at->usage.held);
}

/* Fill the lines of the plot. */
/* `memory` has room for both coordinates of all samples of all lines. */
static void choose_lines(const app_report *r, const app_samples *cache,
                         const app_samples *session, double *memory,
                         app_line lines[LINES])
{
    static const app_line kinds[LINES] = {
        [COMMITTED] = {.name = "committed, in slabs",
                       .tint = 'b',
                       .stairs = true},
        [HELD] = {.name = "held, in blocks", .tint = 'a'},
        [ONE_LAYER] = {.name = "one layer: the test plan's figure",
                       .tint = 'd',
                       .dashed = true},
        [SESSION] = {.name = "a session of one layer, held", .tint = 'c'}};
    for (int l = 0; l < LINES; l++) {
        const app_samples *s = l == SESSION ? session : cache;
        double *x = memory, *y = memory + s->count;
        for (int i = 0; i < s->count; i++) {
            x[i] = s->at[i].tokens;
            y[i] = height(r, cache, l, &s->at[i]);
        }
        memory += 2 * s->count;
        lines[l] = kinds[l];
        lines[l].count = s->count;
        lines[l].x = x;
        lines[l].y = y;
    }
    if (r->model)
        lines[SESSION].name = "the session, held";
}

/* Draw the report. */
static fo_status draw_report(const app_report *r, const app_samples *cache,
                             const app_samples *session, fo_error *error)
{
    app_line lines[LINES];
    char path[4096], title[96];
    size_t samples = (size_t)(3 * cache->count + session->count);
    double *memory = fo_memory_alloc(2 * samples, sizeof *memory, error);
    if (!memory)
        return FO_NOMEM;
    choose_lines(r, cache, session, memory, lines);
    snprintf(path, sizeof path, "%s/memory.svg", r->folder);
    snprintf(title, sizeof title, "K and V of %s, %d layers, %s", r->shape.name,
             r->shape.L, fo_dtype_info_get(r->kv_dtype)->name);
    fo_status status = app_plot_write(path, title, lines,
                                      LINES - (session->count == 0), error);
    fo_memory_free(memory);
    return status;
}

/* Run a session of one layer. */
static fo_status run_session(const app_report *r, app_samples *out,
                             fo_error *error)
{
    enum { STEP = 256 };
    char path[4096];
    uint64_t bytes;
    if (r->model)
        return app_measure_session(r, r->model, STEP, out, error);
    app_make make = {.shape = r->shape, .type = FO_Q8_0};
    make.shape.L = 1;
    snprintf(path, sizeof path, "%s/one-layer.gguf", r->folder);
    fo_status status = app_model_make(&make, path, &bytes, error);
    if (status == FO_OK)
        status = app_measure_session(r, path, STEP, out, error);
    unlink(path);
    return status;
}

/* Report. */
static fo_status report_memory(arguments *a, fo_error *error)
{
    app_report *r = &a->report;
    app_samples cache = {0}, session = {0};
    fo_status status = settle(a, error);
    if (status == FO_OK && mkdir(r->folder, 0777) != 0 && errno != EEXIST)
        status = fo_fail(error, FO_IO, "cannot make %.150s: %s", r->folder,
                         strerror(errno));
    if (status == FO_OK)
        status = app_measure_cache(r, 64, &cache, error);
    if (status == FO_OK && r->session)
        status = run_session(r, &session, error);
    if (status == FO_OK)
        status = write_report(r, &cache, &session, error);
    if (status == FO_OK)
        status = draw_report(r, &cache, &session, error);
    fo_memory_free(cache.at);
    fo_memory_free(session.at);
    return status;
}

int app_report_run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "memory", about,
                                     NULL,    NULL,  NULL};
    arguments a = {.report = {.backend = app_backend(NULL, NULL),
                              .shape = *app_shape_find("phi3-mini"),
                              .kv_dtype = FO_F16,
                              .folder = "build/report",
                              .contexts = {0, 1000, 2048, 4096},
                              .count = 4,
                              .session = true}};
    fo_error error;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (report_memory(&a, &error) != FO_OK)
        return app_fail(&error);
    printf("%s/memory.md\n%s/memory.svg\n", a.report.folder, a.report.folder);
    return APP_OK;
}
