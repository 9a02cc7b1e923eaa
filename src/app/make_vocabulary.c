#include "app/shape.h"
#include "common/memory.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { PIECE = 24, BYTES = 256, FIRST_BYTE = 3, LETTERS = 95, SPECIALS = 64 };

#define SPACE "\xe2\x96\x81"

/* Make up pieces. */
/* Of two syllables and up, each piece is made of earlier ones. */
enum { SYLLABLES = 16 * 5 };

static void add_syllable(char *piece, int which)
{
    static const char consonants[] = "tnsrhldcmfpgwbvk", vowels[] = "eaoiu";
    size_t length = strlen(piece);
    piece[length] = consonants[which / 5];
    piece[length + 1] = vowels[which % 5];
    piece[length + 2] = '\0';
}

static void make_up(char *piece, int k)
{
    const int one = SYLLABLES, two = one * one;
    int syllables = k < 2 * one ? 1 : k < 2 * one + 2 * two ? 2 : 3;
    int i = syllables == 1   ? k
            : syllables == 2 ? k - 2 * one
                             : k - 2 * one - 2 * two;
    int kinds = syllables == 1 ? one : two;
    bool spaced = syllables < 3 && i >= kinds;
    strcpy(piece, spaced ? SPACE : "");
    if (spaced)
        i -= kinds;
    for (int unit = syllables == 3   ? two
                    : syllables == 2 ? one
                                     : 1;
         unit > 0; unit /= one) {
        add_syllable(piece, i / unit);
        i %= unit;
    }
}

/* Name the special tokens. */
static fo_token_type name_special(char *piece, int i)
{
    static const char *const names[] = {
        "<|endoftext|>",    "<|assistant|>",    "<|placeholder1|>",
        "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
        "<|system|>",       "<|end|>",          "<|placeholder5|>",
        "<|placeholder6|>", "<|user|>"};
    const int known = sizeof names / sizeof *names;
    if (i < known)
        strcpy(piece, names[i]);
    else
        snprintf(piece, PIECE, "<unused%d>", i - known);
    return i < known ? FO_TOKEN_CONTROL : FO_TOKEN_UNUSED;
}

/* Write the piece of an id. */
/* Ids from `specials` on are special; the letters come just before them. */
static fo_token_type write_piece(char *piece, int id, int specials)
{
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    int letter = id - (specials - LETTERS);
    if (id < FIRST_BYTE) {
        strcpy(piece, first[id]);
        return id == 0 ? FO_TOKEN_UNKNOWN : FO_TOKEN_CONTROL;
    }
    if (id < FIRST_BYTE + BYTES) {
        snprintf(piece, PIECE, "<0x%02X>", (unsigned)(id - FIRST_BYTE));
        return FO_TOKEN_BYTE;
    }
    if (id >= specials)
        return name_special(piece, id - specials);
    if (letter < 0)
        make_up(piece, id - FIRST_BYTE - BYTES);
    else if (letter == 0)
        strcpy(piece, SPACE);
    else
        snprintf(piece, PIECE, "%c", '!' + letter - 1);
    return FO_TOKEN_NORMAL;
}

/* Put the keys of the tokenizer. */
static void put_keys(fo_gguf_writer *w, const app_shape *shape, int specials,
                     const char *const *pieces, const float *scores,
                     const int32_t *types)
{
    bool phi3 = shape->arch == FO_ARCH_PHI3;
    uint64_t V = (uint64_t)shape->V;
    fo_gguf_put_text(w, "tokenizer.ggml.model", "llama");
    fo_gguf_put_strings(w, "tokenizer.ggml.tokens", pieces, V);
    fo_gguf_put_numbers(w, "tokenizer.ggml.scores", FO_GGUF_F32, scores, V);
    fo_gguf_put_numbers(w, "tokenizer.ggml.token_type", FO_GGUF_I32, types, V);
    fo_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    fo_gguf_put_u32(w, "tokenizer.ggml.eos_token_id",
                    phi3 ? (uint32_t)specials : 2);
    fo_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    fo_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    fo_gguf_put_text(w, "tokenizer.chat_template",
                     phi3 ? "<|user|>\nTEXT<|end|>\n<|assistant|>\n"
                          : "[INST] <<SYS>>TEXT<</SYS>> [/INST]");
}

/* Put a whole vocabulary. */
fo_status app_vocabulary_put(fo_gguf_writer *w, const app_shape *shape,
                             fo_error *error)
{
    size_t V = (size_t)shape->V;
    int specials = shape->V - (shape->arch == FO_ARCH_PHI3 ? SPECIALS : 0);
    char(*text)[PIECE] = fo_memory_alloc(V, sizeof *text, error);
    const char **pieces = fo_memory_alloc(V, sizeof *pieces, error);
    float *scores = fo_memory_alloc(V, sizeof *scores, error);
    int32_t *types = fo_memory_alloc(V, sizeof *types, error);
    fo_status status = text && pieces && scores && types ? FO_OK : FO_NOMEM;
    for (int id = 0; id < shape->V && status == FO_OK; id++) {
        pieces[id] = text[id];
        types[id] = (int32_t)write_piece(text[id], id, specials);
        scores[id] = types[id] == FO_TOKEN_NORMAL ? (float)-id : 0;
    }
    if (status == FO_OK)
        put_keys(w, shape, specials, pieces, scores, types);
    fo_memory_free(text);
    fo_memory_free(pieces);
    fo_memory_free(scores);
    fo_memory_free(types);
    return status;
}
