/* Text to token ids and back, as SentencePiece's byte pair encoding does it.
 *
 * Sources: Kudo and Richardson, "SentencePiece", 2018; Sennrich et al., "Neural
 * Machine Translation of Rare Words with Subword Units", 2016; the GGUF
 * specification for the keys under tokenizer.ggml. */
#ifndef FOLIO_MODEL_TOKENIZER_H
#define FOLIO_MODEL_TOKENIZER_H

#include "model/gguf.h"

typedef struct fo_tokenizer fo_tokenizer;

/* Name the kinds of token. */
/* As the file numbers them. */
typedef enum fo_token_type {
    FO_TOKEN_NORMAL = 1,
    FO_TOKEN_UNKNOWN,      /* stands for what has no token; says nothing   */
    FO_TOKEN_CONTROL,      /* steers the model; says nothing               */
    FO_TOKEN_USER_DEFINED, /* found whole, before merging; says its piece  */
    FO_TOKEN_UNUSED,       /* a step on the way to longer pieces only      */
    FO_TOKEN_BYTE,         /* "<0x0A>": one byte                           */
} fo_token_type;
/* Open a vocabulary. */

/* `gguf` must outlive the tokenizer, which borrows the pieces. FO_UNKNOWN,
 * FO_FORMAT, FO_NOMEM; FO_UNSUPPORTED: a tokenizer model other than "llama". */
fo_status fo_tokenizer_open(const fo_gguf *gguf, fo_tokenizer **out,
                            fo_error *error);
void fo_tokenizer_close(fo_tokenizer **tokenizer);
/* Go from text to ids. */

enum {
    FO_TOKENIZER_BOS = 1,     /* begin with BOS, if the vocabulary wants it   */
    FO_TOKENIZER_SPECIAL = 2, /* find special tokens spelled out in the text; */
                              /* without it, text is only ever text           */
};

/* Ids of any `bytes` bytes; they need not be valid UTF-8 and may hold zeros.
 * O(n log n). `*ids` is the caller's, to be freed with fo_memory_free; null
 * when *count is 0. FO_NOMEM; FO_LIMIT beyond 2^30 bytes. */
fo_status fo_tokenizer_encode(const fo_tokenizer *tokenizer, const char *text,
                              size_t bytes, unsigned flags, int32_t **ids,
                              size_t *count, fo_error *error);
/* Go from ids to text. */

/* The bytes that token `id` adds to a text, into `buffer`; no zero is added.
 * With `first`, the prefix space that encoding put before the text is dropped.
 * Decoding each id of an encoded text (no special tokens parsed) gives back its
 * bytes exactly, but for U+2581, which comes back as the space it was taken
 * for. FO_ARG: no such id; FO_LIMIT: `size` is too small, with both
 * numbers in `error`. fo_tokenizer_longest is always enough. */
fo_status fo_tokenizer_decode(const fo_tokenizer *tokenizer, int32_t id,
                              bool first, char *buffer, size_t size,
                              size_t *length, fo_error *error);
size_t fo_tokenizer_longest(const fo_tokenizer *tokenizer);
/* Ask what an id means. */

int fo_tokenizer_size(const fo_tokenizer *tokenizer); /* V */

/* The piece as the vocabulary spells it, U+2581 for space; `id` in [0, V). */
fo_gguf_string fo_tokenizer_piece(const fo_tokenizer *tokenizer, int32_t id);
fo_token_type fo_tokenizer_type(const fo_tokenizer *tokenizer, int32_t id);

/* The id of a piece, -1 when there is none. */
int32_t fo_tokenizer_find(const fo_tokenizer *tokenizer, const char *piece,
                          size_t length);

/* -1 when the vocabulary has none. */
int32_t fo_tokenizer_bos(const fo_tokenizer *tokenizer);
int32_t fo_tokenizer_eos(const fo_tokenizer *tokenizer);

/* Whether generation ends at `id`: EOS and the ends of a turn. */
bool fo_tokenizer_is_stop(const fo_tokenizer *tokenizer, int32_t id);

#endif
