/* What went wrong, and the numbers needed to put it right.
 *
 * Every function that can fail for a reason outside the program (memory, files,
 * devices, requests) returns a fo_status and fills the caller's fo_error. A
 * mistake of the programmer (a null pointer, a negative count) is an assert. */
#ifndef FOLIO_COMMON_STATUS_H
#define FOLIO_COMMON_STATUS_H

#include <stdint.h>

typedef enum fo_status {
    FO_OK,
    FO_NOMEM,       /* host or device memory; required, available in bytes   */
    FO_ARG,         /* the caller's input is wrong                           */
    FO_UNKNOWN,     /* no such sequence, block, key or tensor                */
    FO_IO,          /* the system could not read or write a file             */
    FO_FORMAT,      /* a file's contents break its format                    */
    FO_UNSUPPORTED, /* well formed, but not something Folio can do           */
    FO_FULL,        /* the pool is out of blocks; required, available blocks */
    FO_LIMIT,       /* context length exceeded; required, available tokens   */
    FO_DEVICE,      /* the device reported a fault                           */
    FO_LATE,        /* its time was up; required 0, available milliseconds   */
    FO_GONE,        /* taken away or given up while it was in use            */
} fo_status;

typedef struct fo_error {
    fo_status status;
    const char *file;   /* where in Folio's source it was noticed */
    int line;           /*                                        */
    uint64_t required;  /* units by status, 0 where none apply    */
    uint64_t available; /*                                        */
    char message[256];  /* for a person; no newline               */
} fo_error;

/* The name a log line or an exit message carries, such as "out of memory". */
const char *fo_status_name(fo_status status);

/* Fill `error` (may be null: the caller wants the status alone) and return
 * `status`, so that failing is one statement: return fo_fail(error, ...). */
#define fo_fail(error, status, ...)                                            \
    fo_error_set(error, status, 0, 0, __FILE__, __LINE__, __VA_ARGS__)

/* The same with the two numbers that fit the status. */
#define fo_fail_short(error, status, required, available, ...)                 \
    fo_error_set(error, status, required, available, __FILE__, __LINE__,       \
                 __VA_ARGS__)

__attribute__((format(printf, 7, 8))) fo_status
fo_error_set(fo_error *error, fo_status status, uint64_t required,
             uint64_t available, const char *file, int line, const char *format,
             ...);

/* Put "PATH: " before the message of an error (may be null) met in that file.
 */
void fo_error_in_file(fo_error *error, const char *path);

#endif
