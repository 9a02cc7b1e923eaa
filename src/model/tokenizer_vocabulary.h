/* What a tokenizer knows; private to the tokenizer files. */
#ifndef FOLIO_MODEL_TOKENIZER_VOCABULARY_H
#define FOLIO_MODEL_TOKENIZER_VOCABULARY_H

#include "model/name_table.h"
#include "model/tokenizer.h"

/* Describe one token. */
typedef struct token {
    fo_gguf_string piece;
    float score;
    uint8_t type;     /* fo_token_type                            */
    uint8_t byte;     /* of a byte token                          */
    bool is_stop;     /* ends generation                          */
    bool takes_space; /* takes the white space that follows it    */
} token;

/* Describe a vocabulary. */
struct fo_tokenizer {
    int V;
    token *tokens; /* (V) */
    fo_name_table ids;
    int32_t bos, eos, unknown; /* -1: none                          */
    int32_t end_of_turn;       /* as the file names it; -1: it does not */
    bool wants_bos;            /* a text begins with BOS             */
    bool adds_space;           /* a text begins with a space         */
    bool has_unused;
    int32_t byte_ids[256]; /* the unknown token where there is no byte token */
    size_t longest;        /* bytes of the longest piece                     */
    int32_t *special;      /* by first byte, then longest first              */
    int special_count;
    int special_start[257]; /* where a first byte's specials begin           */
};

/* Declare the merging of a stretch of text. */
/* A run of the text being encoded: at first one character, in the end a piece.
 * The runs form a list in the order of the text. */
typedef struct run {
    uint32_t at, length; /* bytes of the text; length 0: joined to its left */
    int32_t previous, next; /* -1: none */
    int32_t id;             /* the piece it is, -1: none */
} run;

/* Two neighbours that could be joined to the piece `id`. */
typedef struct candidate {
    float score;
    int32_t left, right;
    uint32_t length; /* of both together when they were entered */
    int32_t id;
} candidate;

/* Room for one stretch of text at a time; made for the longest. */
typedef struct merger {
    const fo_tokenizer *tokenizer;
    char *text; /* the stretch, its spaces written as U+2581 */
    size_t size;
    run *runs;
    int32_t run_count;
    candidate *heap;
    size_t heap_count;
    uint32_t *splits; /* (V) for unused pieces, else null */
} merger;

fo_status fo_merger_open(merger *m, const fo_tokenizer *tokenizer, size_t bytes,
                         fo_error *error);
void fo_merger_close(merger *m);

/* Append the ids of `bytes` bytes of plain text to `ids`; returns how many:
 * at most bytes + 1. */
size_t fo_merger_encode(merger *m, const char *text, size_t bytes,
                        int32_t *ids);

#endif
