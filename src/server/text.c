#include "server/text.h"

#include "common/memory.h"

#include <string.h>

/* Judge the beginning of a character. */
/* Of 1 to 4 bytes: how many the character has, 0 if none begins so. The second
 * byte's bounds keep out what is too long, a surrogate, or beyond U+10FFFF
 * (The Unicode Standard, table 3-7). */
static int character(const unsigned char *b, int count)
{
    int length = b[0] < 0x80   ? 1
                 : b[0] < 0xc2 ? 0
                 : b[0] < 0xe0 ? 2
                 : b[0] < 0xf0 ? 3
                 : b[0] < 0xf5 ? 4
                               : 0;
    unsigned char low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;
    if (count > 1 && (b[1] < low || b[1] > high))
        return 0;
    for (int i = 2; i < count; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Take bytes in as whole characters. */
static void put(fo_text *t, const void *bytes, size_t count)
{
    memcpy(t->bytes + t->length, bytes, count);
    t->length += count;
}

/* U+FFFD in place of what cannot become a character. */
static void give_up(fo_text *t)
{
    put(t, "\xef\xbf\xbd", 3);
    t->part_length = 0;
}

static void take(fo_text *t, unsigned char byte)
{
    t->part[t->part_length++] = byte;
    int length = character(t->part, t->part_length);
    if (length == 0 && t->part_length > 1) {
        give_up(t);
        t->part[t->part_length++] = byte;
        length = character(t->part, 1);
    }
    if (length == 0) {
        give_up(t);
    } else if (length == t->part_length) {
        put(t, t->part, (size_t)length);
        t->part_length = 0;
    }
}

/* Look for the text before which to stop. */
/* Where the first stop text begins, or `length`. */
static size_t find_stop(const fo_text *t, const fo_words *stops, int count)
{
    size_t found = t->length;
    for (int i = 0; i < count; i++) {
        const char *at =
            memmem(t->bytes, t->length, stops[i].text, stops[i].length);
        if (at && (size_t)(at - t->bytes) < found)
            found = (size_t)(at - t->bytes);
    }
    return found;
}

/* How many bytes at the end could be the beginning of a stop text. */
static size_t may_stop(const fo_text *t, const fo_words *stops, int count)
{
    size_t most = 0;
    for (int i = 0; i < count; i++)
        for (size_t n = most + 1; n < stops[i].length && n <= t->length; n++)
            if (memcmp(t->bytes + t->length - n, stops[i].text, n) == 0)
                most = n;
    return most;
}

/* Show what may be shown. */
/* Room for `more` bytes, each of which may become two replaced characters. */
static fo_status make_room(fo_text *t, size_t more, fo_error *error)
{
    size_t wanted = t->length + 6 * more + 4;
    if (wanted <= t->size)
        return FO_OK;
    char *wider = fo_memory_resize(t->bytes, 2 * wanted, 1, error);
    if (!wider)
        return FO_NOMEM;
    t->bytes = wider;
    t->size = 2 * wanted;
    return FO_OK;
}

fo_status fo_text_add(fo_text *t, const fo_words *stops, int stop_count,
                      const char *bytes, size_t count, bool last,
                      fo_error *error)
{
    fo_status status = make_room(t, count, error);
    if (status != FO_OK)
        return status;
    t->length -= t->ready;
    memmove(t->bytes, t->bytes + t->ready, t->length);
    t->ready = 0;
    if (t->stopped)
        return FO_OK;
    for (size_t i = 0; i < count; i++)
        take(t, (unsigned char)bytes[i]);
    if (last && t->part_length > 0)
        give_up(t);
    size_t end = find_stop(t, stops, stop_count);
    t->stopped = end < t->length;
    t->ready = end;
    if (!t->stopped && !last)
        t->ready -= may_stop(t, stops, stop_count);
    return FO_OK;
}

void fo_text_free(fo_text *t)
{
    fo_memory_free(t->bytes);
    *t = (fo_text){0};
}
