#include "server/http_inside.h"

#include "common/log.h"
#include "common/memory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Send an answer. */
enum MHD_Result fo_http_send(exchange *e, int code, const char *type,
                             char *body)
{
    static char none[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
        "\"param\":null,\"code\":\"out_of_memory\"}}";
    struct MHD_Response *response =
        body ? MHD_create_response_from_buffer_with_free_callback(
                   strlen(body), body, fo_memory_free)
             : MHD_create_response_from_buffer(strlen(none), none,
                                               MHD_RESPMEM_PERSISTENT);
    if (!response) {
        fo_memory_free(body);
        return MHD_NO;
    }
    code = body ? code : 503;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (code == 429 || code == 503)
        MHD_add_response_header(response, "Retry-After", "1");
    if (code == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (code == 405)
        MHD_add_response_header(response, "Allow", e->allowed);
    if (code == 413)
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result =
        MHD_queue_response(e->connection, (unsigned)code, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result fo_http_refuse(exchange *e, const fo_openai_error *error)
{
    return fo_http_send(e, error->code, "application/json",
                        fo_openai_error_json(error));
}

enum MHD_Result fo_http_fail(exchange *e, const fo_error *error,
                             bool at_the_door)
{
    fo_openai_error told;
    fo_openai_error_from(&told, error, at_the_door);
    return fo_http_refuse(e, &told);
}

/* List the routes. */
static const route routes[] = {
    {"GET", "/", fo_http_page, false},
    {"GET", "/v1/models", fo_http_models, false},
    {"GET", "/v1/models/*", fo_http_model, false},
    {"POST", "/v1/completions", fo_http_completions, false},
    {"POST", "/v1/chat/completions", fo_http_chat, false},
    {"GET", "/admin/health", fo_admin_health, true},
    {"GET", "/admin/status", fo_admin_status, true},
    {"GET", "/admin/blocks", fo_admin_blocks, true},
    {"GET", "/metrics", fo_admin_metrics, false},
    {"POST", "/admin/load", fo_admin_load, true},
    {"POST", "/admin/unload", fo_admin_unload, true},
};

enum { ROUTES = sizeof routes / sizeof *routes };

/* Find the route. */
/* A path that ends in a star stands for all that begin so. */
static bool fits(const char *pattern, const char *path)
{
    size_t length = strlen(pattern);
    if (pattern[length - 1] != '*')
        return strcmp(pattern, path) == 0;
    return strncmp(pattern, path, length - 1) == 0;
}

static void find_route(exchange *e, const char *method, const char *path)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (int i = 0; i < ROUTES; i++) {
        if (!fits(routes[i].path, path))
            continue;
        e->allowed = routes[i].method;
        if (strcmp(routes[i].method, method) == 0)
            e->route = &routes[i];
    }
}

/* Judge a request before it is read. */
/* Takes as long for a token that is nearly right as for any other. */
static bool same_secret(const char *given, const char *wanted)
{
    size_t length = strlen(wanted);
    unsigned different = strlen(given) != length;
    for (size_t i = 0; i < length && given[i]; i++)
        different |= (unsigned char)(given[i] ^ wanted[i]);
    return different == 0;
}

static const char *header(const exchange *e, const char *name)
{
    return MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

/* A page of another site may make a browser send us a request, but not without
 * telling where the page is from. */
static bool is_foreign(const exchange *e)
{
    const char *origin = header(e, "Origin"), *host = header(e, "Host");
    if (!origin)
        return false;
    const char *name = strstr(origin, "://");
    return !host || !name || strcmp(name + 3, host) != 0;
}

static bool may_enter(const exchange *e)
{
    const char *given = header(e, "Authorization");
    return !e->server->options.token || !e->route->guarded ||
           (given && strncmp(given, "Bearer ", 7) == 0 &&
            same_secret(given + 7, e->server->options.token));
}

/* False with `error`: the request is turned away. */
static bool judge(const exchange *e, fo_openai_error *error)
{
    static const char type[] = "invalid_request_error";
    const char *why = !e->allowed     ? "there is nothing at this path"
                      : !e->route     ? "this path has another method"
                      : is_foreign(e) ? "a page of another site asks"
                      : !may_enter(e) ? "the token is missing or wrong"
                      : e->too_large  ? "the body is too large"
                                      : NULL;
    int code = !e->allowed     ? 404
               : !e->route     ? 405
               : is_foreign(e) ? 403
               : !may_enter(e) ? 401
                               : 413;
    if (!why)
        return true;
    *error = (fo_openai_error){.code = code, .type = type};
    if (code == 413)
        snprintf(error->message, sizeof error->message,
                 "%s: %zu bytes are the most", why,
                 e->server->options.max_body);
    else
        snprintf(error->message, sizeof error->message, "%s", why);
    return false;
}

/* Gather the body. */
/* What exceeds the limit is read and thrown away for a while, so that the
 * client can hear why; one that goes on is cut off. */
static enum MHD_Result gather(exchange *e, const char *data, size_t *count)
{
    size_t limit = e->server->options.max_body, wanted = e->length + *count;
    e->too_large = e->too_large || wanted > limit;
    if (!e->too_large && e->route && wanted > e->size) {
        size_t size = wanted < limit / 2 ? 2 * wanted : limit;
        char *wider = fo_memory_resize(e->body, size, 1, NULL);
        if (!wider)
            return MHD_NO;
        e->body = wider;
        e->size = size;
    }
    if (!e->too_large && e->route)
        memcpy(e->body + e->length, data, *count);
    e->length = wanted;
    *count = 0;
    return wanted <= 4 * limit ? MHD_YES : MHD_NO;
}

/* Take a request in. */
static enum MHD_Result begin(fo_server *s, struct MHD_Connection *connection,
                             const char *method, const char *path, void **state)
{
    exchange *e = fo_memory_alloc(1, sizeof *e, NULL);
    fo_openai_error error;
    if (!e)
        return MHD_NO;
    *state = e;
    e->server = s;
    e->connection = connection;
    find_route(e, method, path);
    snprintf(e->path, sizeof e->path, "%s", path);
    const char *length = header(e, "Content-Length");
    e->too_large = length && strtoull(length, NULL, 10) > s->options.max_body;
    return judge(e, &error) ? MHD_YES : fo_http_refuse(e, &error);
}

static enum MHD_Result handle(void *server, struct MHD_Connection *connection,
                              const char *path, const char *method,
                              const char *version, const char *data,
                              size_t *count, void **state)
{
    exchange *e = *state;
    fo_openai_error error;
    (void)version;
    if (!e)
        return begin(server, connection, method, path, state);
    if (*count > 0)
        return gather(e, data, count);
    if (e->go_on)
        return e->go_on(e);
    return judge(e, &error) ? e->route->answer(e) : fo_http_refuse(e, &error);
}

static void done(void *server, struct MHD_Connection *connection, void **state,
                 enum MHD_RequestTerminationCode code)
{
    exchange *e = *state;
    (void)server;
    (void)connection;
    (void)code;
    if (!e)
        return;
    fo_watch_remove(e);
    fo_ticket_drop(&e->ticket);
    fo_ask_free(&e->request.ask);
    fo_reply_free(&e->reply);
    fo_memory_free(e->body);
    fo_memory_free(e->out);
    fo_memory_free(e);
    *state = NULL;
}

/* Open a server. */
enum { MAX_BODY = 8 << 20, CONNECTIONS = 512, PATIENCE = 60 };

/* The address as the system wants it; whether it is one of version 6. */
static fo_status place(const fo_server_options *o, struct sockaddr_storage *out,
                       bool *six, fo_error *error)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    *six = strchr(o->address, ':') != NULL;
    out->ss_family = *six ? AF_INET6 : AF_INET;
    if (*six)
        v6->sin6_port = htons((uint16_t)o->port);
    else
        v4->sin_port = htons((uint16_t)o->port);
    void *where = *six ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr;
    if (inet_pton(out->ss_family, o->address, where) != 1)
        return fo_fail(error, FO_ARG, "'%.60s' is no address", o->address);
    return FO_OK;
}

static fo_status start(fo_server *s, fo_error *error)
{
    const fo_server_options *o = &s->options;
    struct sockaddr_storage address;
    bool six;
    fo_status status = place(o, &address, &six, error);
    if (status != FO_OK)
        return status;
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     (six ? MHD_USE_IPv6 : 0);
    s->daemon = MHD_start_daemon(
        flags, (uint16_t)o->port, NULL, NULL, handle, s, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&address, MHD_OPTION_NOTIFY_COMPLETED, done, s,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->patience, MHD_OPTION_END);
    return s->daemon ? FO_OK
                     : fo_fail(error, FO_IO, "cannot listen at %s, port %d",
                               o->address, o->port);
}

fo_status fo_server_open(const fo_server_options *options, fo_server **out,
                         fo_error *error)
{
    *out = NULL;
    fo_server *s = fo_memory_alloc(1, sizeof *s, error);
    if (!s)
        return FO_NOMEM;
    s->options = *options;
    if (!s->options.address)
        s->options.address = "127.0.0.1";
    if (s->options.max_body == 0)
        s->options.max_body = MAX_BODY;
    if (s->options.connections == 0)
        s->options.connections = CONNECTIONS;
    if (s->options.patience == 0)
        s->options.patience = PATIENCE;
    s->started = (int64_t)time(NULL);
    pthread_mutex_init(&s->lock, NULL);
    fo_status status = fo_watch_open(s, error);
    if (status == FO_OK)
        status = start(s, error);
    if (status != FO_OK)
        fo_server_close(&s);
    *out = s;
    return status;
}

int fo_server_port(const fo_server *s)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : 0;
}

/* Close a server. */
void fo_server_quiesce(fo_server *s)
{
    MHD_socket listening = MHD_quiesce_daemon(s->daemon);
    if (listening != MHD_INVALID_SOCKET)
        close(listening);
}

bool fo_server_busy(fo_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool busy = s->watched != NULL;
    pthread_mutex_unlock(&s->lock);
    return busy;
}

/* The library wants no request asleep when it stops. */
static void wake_all(fo_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (exchange *e = s->watched; e; e = e->next)
        fo_ticket_cancel(e->ticket);
    pthread_mutex_unlock(&s->lock);
}

void fo_server_close(fo_server **server)
{
    fo_server *s = *server;
    if (!s)
        return;
    if (s->daemon) {
        wake_all(s);
        MHD_stop_daemon(s->daemon);
    }
    fo_watch_close(s);
    pthread_mutex_destroy(&s->lock);
    fo_memory_free(s);
    *server = NULL;
}
