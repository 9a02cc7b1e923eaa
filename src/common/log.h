/* Levelled, machine-readable log: one JSON object a line. */
#ifndef FOLIO_COMMON_LOG_H
#define FOLIO_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum fo_log_level {
    FO_LOG_ERROR,
    FO_LOG_WARNING,
    FO_LOG_INFO,
    FO_LOG_DEBUG,
} fo_log_level;

/* One number of an event. */
typedef struct fo_log_field {
    const char *name;
    uint64_t value;
} fo_log_field;

/* Lines of `level` and graver go to `stream` (borrowed); null silences all.
 * Silent until called. */
void fo_log_open(FILE *stream, fo_log_level level);

/* Whether lines of this level are written: for those to whom finding out what
 * to write is work. */
bool fo_log_wants(fo_log_level level);

/* {"time": seconds, "level": "info", "event": "...", "name": value, ...} */
void fo_log_write(fo_log_level level, const char *event,
                  const fo_log_field *fields, int count);

#endif
