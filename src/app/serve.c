#include "app/app.h"
#include "common/log.h"
#include "server/http.h"

#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Say what folio serve takes. */
enum {
    KEY_HOST = 0x200,
    KEY_NAME,
    KEY_IDLE,
    KEY_REQUEST,
    KEY_QUEUE,
    KEY_SEQUENCES,
    KEY_BLOCKS,
    KEY_BODY,
    KEY_TOKEN
};

static const struct argp_option options[] = {
    {"host", KEY_HOST, "ADDRESS", 0, "where to listen (127.0.0.1)", 0},
    {"port", 'p', "PORT", 0, "and at which port, 0 is any free one (8080)", 0},
    {"name", KEY_NAME, "NAME", 0, "what clients call the model (its file)", 0},
    {"idle-timeout", KEY_IDLE, "SECONDS", 0,
     "let the model go when nobody asked for so long, 0 never (180)", 0},
    {"request-timeout", KEY_REQUEST, "SECONDS", 0,
     "end a request that takes longer, 0 never (600)", 0},
    {"queue", KEY_QUEUE, "N", 0, "answers under way at once (256)", 0},
    {"sequences", KEY_SEQUENCES, "N", 0, "answers in one step (32)", 0},
    {"blocks", KEY_BLOCKS, "N", 0, "blocks of the cache (what fits)", 0},
    {"max-body", KEY_BODY, "SIZE", 0, "the largest request (8M)", 0},
    {"admin-token", KEY_TOKEN, "TOKEN", 0,
     "what /admin asks for (FOLIO_ADMIN_TOKEN)", 0},
    {0},
};

static const char about[] =
    "Serve a model over HTTP, in the shapes of OpenAI's API.\v"
    "The model is loaded by the first request. The log goes to standard error, "
    "one JSON object a line. SIGTERM lets the requests under way end; a second "
    "one does not.";

/* Read the flags of folio serve. */
typedef struct arguments {
    app_source source;
    fo_engine_options engine;
    fo_host_options host;
    fo_server_options server;
} arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->source;
        return 0;
    case KEY_HOST:
        a->server.address = arg;
        return 0;
    case 'p':
        a->server.port = (int)app_integer(state, "--port", arg, 0, 65535);
        return 0;
    case KEY_NAME:
        a->server.model = arg;
        return 0;
    case KEY_IDLE:
        a->host.idle_timeout = app_number(state, "--idle-timeout", arg, 0, 1e9);
        return 0;
    case KEY_REQUEST:
        a->host.request_timeout =
            app_number(state, "--request-timeout", arg, 0, 1e9);
        return 0;
    /* Read the bounds of folio serve. */
    case KEY_QUEUE:
        a->host.max_choices = (int)app_integer(state, "--queue", arg, 1, 65536);
        return 0;
    case KEY_SEQUENCES:
        a->engine.max_sequences =
            (int)app_integer(state, "--sequences", arg, 1, 4096);
        return 0;
    case KEY_BLOCKS:
        a->engine.total_blocks =
            (int)app_integer(state, "--blocks", arg, 1, INT32_MAX);
        return 0;
    case KEY_BODY:
        a->server.max_body = app_bytes(state, "--max-body", arg);
        return 0;
    case KEY_TOKEN:
        a->server.token = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Wait for the signals that end a server. */
static void catch_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* The first one lets what is under way end; the second ends the program. */
static void wait_for_signals(const sigset_t *set, fo_host *host,
                             fo_server *server)
{
    const struct timespec moment = {.tv_nsec = 20000000};
    fo_host_status status;
    int number;
    while (sigwait(set, &number) != 0)
        continue;
    fo_log_write(FO_LOG_INFO, "draining", NULL, 0);
    fo_host_drain(host);
    fo_server_quiesce(server);
    do {
        if (sigtimedwait(set, NULL, &moment) > 0)
            _exit(128 + SIGTERM);
        fo_host_status_get(host, &status);
    } while (status.active > 0 || fo_server_busy(server));
}

/* Run folio serve. */
/* The file's name without what comes after its last dot. */
static const char *name_of(const char *path, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", path);
    char *name = basename(buffer), *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = 0;
    return name;
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static fo_status serve(const arguments *a, const sigset_t *set, fo_error *error)
{
    fo_host *host = NULL;
    fo_server *server = NULL;
    fo_server_options options = a->server;
    fo_status status = fo_host_open(&a->host, &host, error);
    options.host = host;
    if (status == FO_OK)
        status = fo_server_open(&options, &server, error);
    if (status == FO_OK) {
        bool six = strchr(options.address, ':');
        printf("folio: listening at http://%s%s%s:%d\n", six ? "[" : "",
               options.address, six ? "]" : "", fo_server_port(server));
        fflush(stdout);
        wait_for_signals(set, host, server);
    }
    fo_server_close(&server);
    fo_host_close(&host);
    return status;
}

int app_serve(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&app_source_argp, 0, "Model and cache:", 1}, {0}};
    static const struct argp argp = {options,  parse, NULL, about,
                                     children, NULL,  NULL};
    arguments a = {.host = {.idle_timeout = 180,
                            .request_timeout = 600,
                            .max_choices = 256},
                   .server = {.address = "127.0.0.1", .port = 8080}};
    char name[4096];
    fo_error error;
    sigset_t set;
    app_source_begin(&a.source);
    a.server.token = getenv("FOLIO_ADMIN_TOKEN");
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (!a.server.model)
        a.server.model = name_of(a.source.model, name, sizeof name);
    a.engine.context = a.source.options.context;
    a.engine.max_tokens = a.source.options.chunk;
    a.engine.block_size = a.source.options.block_size;
    a.engine.kv_dtype = a.source.options.kv_dtype;
    a.engine.max_waiting = a.host.max_choices;
    fo_runner_options runner = {.backend = a.source.backend,
                                .device = a.source.device,
                                .model = a.source.model,
                                .engine = a.engine};
    a.host.runner = &fo_runner_here;
    a.host.runner_options = &runner;
    fo_log_open(stderr, FO_LOG_INFO);
    if (!is_loopback(a.server.address) && !a.server.token)
        fprintf(stderr,
                "folio: anybody who reaches %s may use /admin: there "
                "is no --admin-token\n",
                a.server.address);
    catch_signals(&set);
    fo_status status = serve(&a, &set, &error);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
