/* Text on its way out: whole characters, and nothing that might yet turn out to
 * be the text before which to stop. */
#ifndef FOLIO_SERVER_TEXT_H
#define FOLIO_SERVER_TEXT_H

#include "server/ask.h"

/* States of its bytes: `told` are gone; `held` may be the beginning of a stop
 * text, and are valid UTF-8; `part` are the beginning of a character. */
typedef struct fo_text {
    char *bytes; /* held, and before them those that may be shown now */
    size_t ready, length, size;
    unsigned char part[4];
    int part_length;
    bool stopped; /* a stop text was found: nothing more will be shown */
} fo_text;

/* Add what the model drew. The first `ready` of `bytes` may be shown, until the
 * next call. Bytes that are no UTF-8 become U+FFFD. With `last` nothing is held
 * back any more. FO_NOMEM. */
fo_status fo_text_add(fo_text *text, const fo_words *stops, int stop_count,
                      const char *bytes, size_t count, bool last,
                      fo_error *error);
void fo_text_free(fo_text *text);

#endif
