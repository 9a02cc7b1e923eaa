/* A server, laid open to the files that make it up. */
#ifndef FOLIO_SERVER_HTTP_INSIDE_H
#define FOLIO_SERVER_HTTP_INSIDE_H

#include "server/http.h"
#include "server/openai.h"

#include <microhttpd.h>

/* Hold one request. */
typedef struct exchange exchange;

/* A path, the method it answers to, and what answers. */
typedef struct route {
    const char *method, *path;
    enum MHD_Result (*answer)(exchange *e);
    bool guarded; /* by the token */
} route;

/* States: its body comes in; asked, with a ticket, and until the answer begins
 * again and again put to sleep; answered. */
struct exchange {
    fo_server *server;
    struct MHD_Connection *connection;
    const route *route;  /* null: no such path or method */
    char path[128];      /* the beginning of it */
    const char *allowed; /* methods of the path, null: no such path */
    char *body;
    size_t length, size;
    bool too_large;
    fo_ticket *ticket;
    enum MHD_Result (*go_on)(exchange *e); /* when there is something to take */
    fo_openai_request request;
    fo_reply *reply;
    char *out; /* (out_length) of a stream, sent up to out_at */
    size_t out_length, out_at;
    bool last; /* nothing comes after `out` */
    uint64_t number;
    exchange *next; /* of those that are watched */
};

/* Hold a server. */
struct fo_server {
    fo_server_options options;
    struct MHD_Daemon *daemon;
    pthread_t watcher;
    bool watching;
    int epoll, stop[2];
    pthread_mutex_t lock; /* guards the list and the number */
    exchange *watched;
    uint64_t last_number;
    int64_t started; /* seconds since 1970 */
};

/* Declare what the parts of a server do for each other. */
/* Answers with a body, which is freed with fo_memory_free; null: 500. */
enum MHD_Result fo_http_send(exchange *e, int code, const char *type,
                             char *body);
enum MHD_Result fo_http_refuse(exchange *e, const fo_openai_error *error);
enum MHD_Result fo_http_fail(exchange *e, const fo_error *error,
                             bool at_the_door);

/* Hand in a question and wait for it: `go_on` is called when there is something
 * to take. `ask` is gone in any case. */
enum MHD_Result fo_http_ask(exchange *e, fo_ask **ask,
                            enum MHD_Result (*go_on)(exchange *e));

/* What answers. */
enum MHD_Result fo_http_page(exchange *e);
enum MHD_Result fo_http_models(exchange *e);
enum MHD_Result fo_http_model(exchange *e);
enum MHD_Result fo_http_completions(exchange *e);
enum MHD_Result fo_http_chat(exchange *e);
enum MHD_Result fo_admin_health(exchange *e);
enum MHD_Result fo_admin_status(exchange *e);
enum MHD_Result fo_admin_blocks(exchange *e);
enum MHD_Result fo_admin_load(exchange *e);
enum MHD_Result fo_admin_unload(exchange *e);
enum MHD_Result fo_admin_metrics(exchange *e);

/* Bytes that Folio counts, wherever the model is; `seen` is null while there is
 * none. Bytes of this process that lie in memory, as the system counts them. */
void fo_admin_count_memory(const fo_snapshot *seen, uint64_t *host,
                           uint64_t *device);
uint64_t fo_admin_resident(void);

/* Notice when the client of a request that waits has left. */
fo_status fo_watch_open(fo_server *server, fo_error *error);
void fo_watch_close(fo_server *server);
void fo_watch_add(exchange *e);
void fo_watch_remove(exchange *e);

#endif
