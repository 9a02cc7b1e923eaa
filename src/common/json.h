/* jansson, drawing its memory from Folio's seam.
 *
 * A program that includes this header has every byte of its JSON counted, and
 * its tests can make any of jansson's allocations fail. */
#ifndef FOLIO_COMMON_JSON_H
#define FOLIO_COMMON_JSON_H

#include <jansson.h>
#include <stdbool.h>

/* Whether this thread's jansson was refused memory since the last call. Its own
 * errors do not always tell a full memory from a broken text. */
bool fo_json_starved(void);

#endif
