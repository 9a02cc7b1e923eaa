#include "common/status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Name each status. */
const char *fo_status_name(fo_status status)
{
    switch (status) {
    case FO_OK:
        return "ok";
    case FO_NOMEM:
        return "out of memory";
    case FO_ARG:
        return "bad argument";
    case FO_UNKNOWN:
        return "unknown name";
    case FO_IO:
        return "input or output failed";
    case FO_FORMAT:
        return "broken format";
    case FO_UNSUPPORTED:
        return "unsupported";
    case FO_FULL:
        return "out of blocks";
    case FO_LIMIT:
        return "context length exceeded";
    case FO_DEVICE:
        return "device fault";
    case FO_LATE:
        return "out of time";
    case FO_GONE:
        return "gone";
    }
    return "unknown status";
}

/* Fill the caller's error. */
fo_status fo_error_set(fo_error *error, fo_status status, uint64_t required,
                       uint64_t available, const char *file, int line,
                       const char *format, ...)
{
    assert(status != FO_OK);
    if (!error)
        return status;
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    *error = (fo_error){
        .status = status,
        .file = file,
        .line = line,
        .required = required,
        .available = available,
    };
    memcpy(error->message, message, strlen(message) + 1);
    return status;
}

/* Name the file of an error. */
void fo_error_in_file(fo_error *error, const char *path)
{
    if (!error)
        return;
    fo_error whole = *error;
    fo_fail(&whole, error->status, "%.120s: %s", path, error->message);
    memcpy(error->message, whole.message, sizeof error->message);
}
