#include "server/http_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Watch the sockets of those who wait. */
/* Number 0 is the pipe that ends the watch. */
static void client_left(fo_server *s, uint64_t number)
{
    pthread_mutex_lock(&s->lock);
    for (exchange *e = s->watched; e; e = e->next)
        if (e->number == number)
            fo_ticket_cancel(e->ticket);
    pthread_mutex_unlock(&s->lock);
}

static void *watch(void *server)
{
    fo_server *s = server;
    struct epoll_event events[64];
    for (bool ends = false; !ends;) {
        int count = epoll_wait(s->epoll, events, 64, -1);
        if (count < 0 && errno != EINTR)
            return NULL;
        for (int i = 0; i < count; i++)
            if (events[i].data.u64 == 0)
                ends = true;
            else
                client_left(s, events[i].data.u64);
    }
    return NULL;
}

/* Add a request to those who are watched. */
static int socket_of(const exchange *e)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        e->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info->connect_fd;
}

/* Told once: the other side has closed, or at least sends no more. */
void fo_watch_add(exchange *e)
{
    fo_server *s = e->server;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT};
    pthread_mutex_lock(&s->lock);
    e->number = event.data.u64 = ++s->last_number;
    e->next = s->watched;
    s->watched = e;
    pthread_mutex_unlock(&s->lock);
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, socket_of(e), &event);
}

void fo_watch_remove(exchange *e)
{
    fo_server *s = e->server;
    if (e->number == 0)
        return;
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, socket_of(e), NULL);
    pthread_mutex_lock(&s->lock);
    for (exchange **at = &s->watched; *at; at = &(*at)->next)
        if (*at == e) {
            *at = e->next;
            break;
        }
    pthread_mutex_unlock(&s->lock);
    e->number = 0;
}

/* Start and stop watching. */
fo_status fo_watch_open(fo_server *s, fo_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    s->stop[0] = s->stop[1] = -1;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0 || pipe(s->stop) != 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->stop[0], &event) != 0)
        return fo_fail(error, FO_IO, "watching connections: %s",
                       strerror(errno));
    s->watching = pthread_create(&s->watcher, NULL, watch, s) == 0;
    return s->watching ? FO_OK
                       : fo_fail(error, FO_NOMEM, "no thread to watch with");
}

void fo_watch_close(fo_server *s)
{
    if (s->watching && write(s->stop[1], "", 1) == 1)
        pthread_join(s->watcher, NULL);
    for (int i = 0; i < 2; i++)
        if (s->stop[i] >= 0)
            close(s->stop[i]);
    if (s->epoll >= 0)
        close(s->epoll);
}
