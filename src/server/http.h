/* The server's doors: routes, requests that wait, streams. */
#ifndef FOLIO_SERVER_HTTP_H
#define FOLIO_SERVER_HTTP_H

#include "server/host.h"

typedef struct fo_server fo_server;

/* Declare a server. */
typedef struct fo_server_options {
    fo_host *host;       /* outlives the server                              */
    const char *address; /* to listen at: a number, v4 or v6; 127.0.0.1      */
    int port;            /* 0: any that is free                              */
    const char *model;   /* its name in answers                              */
    const char *token;   /* that /admin asks for; null: none                 */
    size_t max_body;     /* bytes; default 8 MiB                             */
    int connections;     /* at once; default 512                             */
    int patience;        /* seconds for which nothing moves; default 60      */
} fo_server_options;

/* Listen and answer, on threads of its own. FO_ARG: no such address; FO_IO: the
 * port is taken; FO_NOMEM. */
fo_status fo_server_open(const fo_server_options *options, fo_server **out,
                         fo_error *error);
int fo_server_port(const fo_server *server);

/* Take no more connections; those there are go on. */
void fo_server_quiesce(fo_server *server);

/* Whether anybody still waits for an answer, or for the rest of one. */
bool fo_server_busy(fo_server *server);

/* End all connections. Nulls the pointer. */
void fo_server_close(fo_server **server);

#endif
