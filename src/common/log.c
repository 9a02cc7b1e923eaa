#include "common/log.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static struct {
    pthread_mutex_t lock;
    FILE *stream;
    fo_log_level level;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *const level_names[] = {
    [FO_LOG_ERROR] = "error",
    [FO_LOG_WARNING] = "warning",
    [FO_LOG_INFO] = "info",
    [FO_LOG_DEBUG] = "debug",
};

/* Words that need no escaping in JSON. */
/* Insist on words that JSON need not escape. */
static int is_plain(const char *word)
{
    return *word &&
           !word[strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_.")];
}

void fo_log_open(FILE *stream, fo_log_level level)
{
    pthread_mutex_lock(&sink.lock);
    sink.stream = stream;
    sink.level = level;
    pthread_mutex_unlock(&sink.lock);
}

/* Write one line. */
static void write_line(FILE *stream, fo_log_level level, const char *event,
                       const fo_log_field *fields, int count)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(
        stream, "{\"time\": %lld.%06ld, \"level\": \"%s\", \"event\": \"%s\"",
        (long long)now.tv_sec, now.tv_nsec / 1000, level_names[level], event);
    for (int i = 0; i < count; i++) {
        assert(is_plain(fields[i].name));
        fprintf(stream, ", \"%s\": %" PRIu64, fields[i].name, fields[i].value);
    }
    fputs("}\n", stream);
    fflush(stream);
}

/* Write if the level is grave enough. */
bool fo_log_wants(fo_log_level level)
{
    pthread_mutex_lock(&sink.lock);
    bool wants = sink.stream && level <= sink.level;
    pthread_mutex_unlock(&sink.lock);
    return wants;
}

void fo_log_write(fo_log_level level, const char *event,
                  const fo_log_field *fields, int count)
{
    assert((unsigned)level <= FO_LOG_DEBUG && is_plain(event) && count >= 0);
    pthread_mutex_lock(&sink.lock);
    if (sink.stream && level <= sink.level)
        write_line(sink.stream, level, event, fields, count);
    pthread_mutex_unlock(&sink.lock);
}
