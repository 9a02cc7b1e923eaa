/* The one seam through which all memory passes.
 *
 * Host and device bytes are counted apart. Tests can make the n-th request from
 * now fail, whichever kind it is. Counters are safe to use from many threads.
 */
#ifndef FOLIO_COMMON_MEMORY_H
#define FOLIO_COMMON_MEMORY_H

#include "common/status.h"

#include <stddef.h>

typedef enum fo_memory_kind {
    FO_MEMORY_HOST,
    FO_MEMORY_DEVICE,
} fo_memory_kind;

typedef struct fo_memory_usage {
    uint64_t bytes;    /* held now                    */
    uint64_t peak;     /* most ever held              */
    uint64_t requests; /* made so far, failed or not  */
} fo_memory_usage;

/* Zeroed host memory for `count` things of `size` bytes, aligned to 64; null
 * with FO_NOMEM in `error` when there is none. Zero bytes give a pointer that
 * may be freed but not read. The caller owns it. */
void *fo_memory_alloc(size_t count, size_t size, fo_error *error);

/* `pointer` (may be null) grown or shrunk to count * size bytes, old contents
 * kept, new bytes zero. On failure null is returned and `pointer` still holds.
 */
void *fo_memory_resize(void *pointer, size_t count, size_t size,
                       fo_error *error);

/* Give host memory back; null is allowed. */
void fo_memory_free(void *pointer);

/* For devices: count bytes that the device itself hands out. A charge may be
 * refused (FO_NOMEM) by a test's planted failure, never otherwise. */
fo_status fo_memory_charge(fo_memory_kind kind, uint64_t bytes,
                           fo_error *error);
void fo_memory_discharge(fo_memory_kind kind, uint64_t bytes);

fo_memory_usage fo_memory_usage_get(fo_memory_kind kind);

/* Make the n-th request from now (1 is the next one) fail once; 0 disarms. */
void fo_memory_fail_at(uint64_t n);

#endif
