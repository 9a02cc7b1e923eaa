#include "common/memory.h"
#include "model/tokenizer_vocabulary.h"

#include <inttypes.h>
#include <string.h>

/* Find a special token. */
/* The longest special token that begins at text[at], or -1. */
static int32_t special_at(const fo_tokenizer *t, const char *text, size_t bytes,
                          size_t at)
{
    int byte = (unsigned char)text[at];
    for (int i = t->special_start[byte]; i < t->special_start[byte + 1]; i++) {
        fo_gguf_string piece = t->tokens[t->special[i]].piece;
        if (piece.length <= bytes - at &&
            memcmp(piece.data, text + at, piece.length) == 0)
            return t->special[i];
    }
    return -1;
}

/* White space as C's isspace has it in its own locale. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Walk from one special token to the next. */
/* Append the ids of the text to `ids`; returns how many. */
static size_t walk(merger *m, const char *text, size_t bytes, bool parse,
                   int32_t *ids)
{
    const fo_tokenizer *t = m->tokenizer;
    size_t count = 0, start = 0;
    for (size_t at = 0; parse && at < bytes;) {
        int32_t id = special_at(t, text, bytes, at);
        if (id < 0) {
            at++;
            continue;
        }
        if (at > start)
            count += fo_merger_encode(m, text + start, at - start, ids + count);
        ids[count++] = id;
        at += t->tokens[id].piece.length;
        while (t->tokens[id].takes_space && at < bytes && is_space(text[at]))
            at++;
        start = at;
    }
    if (bytes > start)
        count += fo_merger_encode(m, text + start, bytes - start, ids + count);
    return count;
}

/* Encode a text. */
fo_status fo_tokenizer_encode(const fo_tokenizer *tokenizer, const char *text,
                              size_t bytes, unsigned flags, int32_t **ids,
                              size_t *count, fo_error *error)
{
    const size_t most = (size_t)1 << 30;
    *ids = NULL;
    *count = 0;
    if (bytes > most)
        return fo_fail_short(error, FO_LIMIT, bytes, most,
                             "a text of %zu bytes is too long to encode",
                             bytes);
    merger m;
    fo_status status = fo_merger_open(&m, tokenizer, bytes, error);
    if (status != FO_OK)
        return status;
    int32_t *all = fo_memory_alloc(2 * bytes + 2, sizeof *all, error);
    if (all == NULL) {
        fo_merger_close(&m);
        return FO_NOMEM;
    }
    size_t n = 0;
    if ((flags & FO_TOKENIZER_BOS) != 0 && tokenizer->wants_bos &&
        tokenizer->bos >= 0)
        all[n++] = tokenizer->bos;
    n += walk(&m, text, bytes, (flags & FO_TOKENIZER_SPECIAL) != 0, all + n);
    fo_merger_close(&m);
    /* Give back what was not used. */
    if (n == 0) {
        fo_memory_free(all);
        return FO_OK;
    }
    int32_t *fitted = fo_memory_resize(all, n, sizeof *all, error);
    if (fitted == NULL) {
        fo_memory_free(all);
        return FO_NOMEM;
    }
    *ids = fitted;
    *count = n;
    return FO_OK;
}
