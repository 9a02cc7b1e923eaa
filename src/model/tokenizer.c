#include "model/tokenizer.h"

#include "common/memory.h"
#include "model/tokenizer_vocabulary.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Read a byte token's byte. */
static bool read_byte(fo_gguf_string piece, uint8_t *out)
{
    if (piece.length != 6 || memcmp(piece.data, "<0x", 3) != 0 ||
        piece.data[5] != '>' || !isxdigit((unsigned char)piece.data[3]) ||
        !isxdigit((unsigned char)piece.data[4]))
        return false;
    char digits[3] = {piece.data[3], piece.data[4], '\0'};
    *out = (uint8_t)strtoul(digits, NULL, 16);
    return true;
}

/* Read one token. */
static fo_status read_token(fo_tokenizer *t, int id, fo_gguf_string piece,
                            double score, double type, fo_error *error)
{
    token *token = &t->tokens[id];
    char shown[64];
    fo_gguf_string_show(piece, shown, sizeof shown);
    if (!(type >= FO_TOKEN_NORMAL && type <= FO_TOKEN_BYTE))
        return fo_fail(error, FO_FORMAT, "token %d, %s, has type %g", id, shown,
                       type);
    if (isnan(score))
        return fo_fail(error, FO_FORMAT,
                       "token %d, %s: its score is not a number", id, shown);
    if (piece.length > UINT32_MAX / 2)
        return fo_fail(error, FO_FORMAT, "token %d has %zu bytes", id,
                       piece.length);
    token->piece = piece;
    token->score = (float)score;
    token->type = (uint8_t)type;
    if (token->type == FO_TOKEN_BYTE && !read_byte(piece, &token->byte))
        return fo_fail(error, FO_FORMAT,
                       "token %d, %s, is no byte such as <0x0A>", id, shown);
    if (piece.length > t->longest)
        t->longest = piece.length;
    t->has_unused |= token->type == FO_TOKEN_UNUSED;
    fo_name_table_add(&t->ids, piece.data, (uint32_t)piece.length, id);
    return FO_OK;
}

/* Read the tokens. */
static fo_status read_tokens(fo_tokenizer *t, const fo_gguf *gguf,
                             fo_error *error)
{
    fo_gguf_array pieces, scores, types;
    fo_status status =
        fo_gguf_strings(gguf, "tokenizer.ggml.tokens", &pieces, error);
    if (status == FO_OK)
        status = fo_gguf_numbers(gguf, "tokenizer.ggml.scores", &scores, error);
    if (status == FO_OK)
        status =
            fo_gguf_numbers(gguf, "tokenizer.ggml.token_type", &types, error);
    if (status != FO_OK)
        return status;
    size_t V = pieces.count;
    if (V == 0 || V > 1 << 24 || scores.count != V || types.count != V)
        return fo_fail(error, FO_FORMAT,
                       "%zu tokens have %zu scores and %zu types", V,
                       (size_t)scores.count, (size_t)types.count);
    t->V = (int)V;
    t->tokens = fo_memory_alloc(V, sizeof *t->tokens, error);
    if (t->tokens == NULL)
        return FO_NOMEM;
    status = fo_name_table_open(&t->ids, V, error);
    for (int id = 0; id < t->V && status == FO_OK; id++)
        status = read_token(t, id, fo_gguf_array_take(&pieces),
                            fo_gguf_array_number(&scores, (uint64_t)id),
                            fo_gguf_array_number(&types, (uint64_t)id), error);
    return status;
}

/* Know the byte tokens. */
/* Every byte must become something: its own token, or the unknown one. */
static fo_status find_bytes(fo_tokenizer *t, fo_error *error)
{
    for (int byte = 0; byte < 256; byte++)
        t->byte_ids[byte] = -1;
    for (int id = t->V - 1; id >= 0; id--)
        if (t->tokens[id].type == FO_TOKEN_BYTE)
            t->byte_ids[t->tokens[id].byte] = id;
    for (int byte = 0; byte < 256; byte++)
        if (t->byte_ids[byte] < 0)
            t->byte_ids[byte] = t->unknown;
    for (int byte = 0; byte < 256; byte++)
        if (t->byte_ids[byte] < 0)
            return fo_fail(error, FO_FORMAT,
                           "the vocabulary has neither a token for the byte "
                           "0x%02X nor an unknown token",
                           (unsigned)byte);
    return FO_OK;
}

/* Read the ids with a meaning. */
static fo_status read_id(const fo_tokenizer *t, const fo_gguf *gguf,
                         const char *key, int32_t usual, int32_t *out,
                         fo_error *error)
{
    uint32_t id = 0;
    *out = usual < t->V ? usual : -1;
    if (!fo_gguf_has(gguf, key))
        return FO_OK;
    fo_status status = fo_gguf_u32(gguf, key, &id, error);
    if (status == FO_OK && id >= (uint32_t)t->V)
        return fo_fail(error, FO_FORMAT, "%s is %u, beyond %d tokens", key, id,
                       t->V);
    *out = (int32_t)id;
    return status;
}

static fo_status read_flag(const fo_gguf *gguf, const char *key, bool *out,
                           fo_error *error)
{
    *out = true;
    return fo_gguf_has(gguf, key) ? fo_gguf_bool(gguf, key, out, error) : FO_OK;
}

static fo_status read_ids(fo_tokenizer *t, const fo_gguf *gguf, fo_error *error)
{
    fo_status status = read_id(t, gguf, "tokenizer.ggml.unknown_token_id", 0,
                               &t->unknown, error);
    if (status == FO_OK)
        status =
            read_id(t, gguf, "tokenizer.ggml.bos_token_id", 1, &t->bos, error);
    if (status == FO_OK)
        status =
            read_id(t, gguf, "tokenizer.ggml.eos_token_id", 2, &t->eos, error);
    if (status == FO_OK)
        status = read_id(t, gguf, "tokenizer.ggml.eot_token_id", -1,
                         &t->end_of_turn, error);
    if (status == FO_OK)
        status = read_flag(gguf, "tokenizer.ggml.add_bos_token", &t->wants_bos,
                           error);
    if (status == FO_OK)
        status = read_flag(gguf, "tokenizer.ggml.add_space_prefix",
                           &t->adds_space, error);
    return status;
}

/* Mark the tokens that take white space. */
/* The id of a special token, -1 when the vocabulary has none such. */
static int32_t special(const fo_tokenizer *t, const char *piece)
{
    int32_t id = fo_tokenizer_find(t, piece, strlen(piece));
    if (id < 0 || (t->tokens[id].type != FO_TOKEN_CONTROL &&
                   t->tokens[id].type != FO_TOKEN_USER_DEFINED))
        return -1;
    return id;
}

static void mark_takers(fo_tokenizer *t)
{
    static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
    if (special(t, "<|end|>") < 0 || special(t, "<|assistant|>") < 0)
        return;
    for (int i = 0; i < t->special_count; i++) {
        token *token = &t->tokens[t->special[i]];
        token->takes_space = true;
        for (size_t k = 0; k < sizeof keep / sizeof *keep; k++)
            if (fo_gguf_string_is(token->piece, keep[k]))
                token->takes_space = false;
    }
}

/* Mark the tokens that end a turn. */
static void mark_stops(fo_tokenizer *t)
{
    static const char *const ends[] = {"<|end|>", "<|eot_id|>", "<|endoftext|>",
                                       "<|end_of_text|>", "</s>"};
    if (t->eos >= 0)
        t->tokens[t->eos].is_stop = true;
    if (t->end_of_turn >= 0)
        t->tokens[t->end_of_turn].is_stop = true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (special(t, ends[i]) >= 0)
            t->tokens[special(t, ends[i])].is_stop = true;
}

/* Order the special tokens. */
static bool is_special(const token *token)
{
    return token->piece.length > 0 && (token->type == FO_TOKEN_CONTROL ||
                                       token->type == FO_TOKEN_USER_DEFINED ||
                                       token->type == FO_TOKEN_UNKNOWN);
}

static int first_byte(const token *token)
{
    return (unsigned char)token->piece.data[0];
}

/* Compare special tokens. */
static int by_first_byte(const void *a, const void *b)
{
    const token *x = *(const token *const *)a, *y = *(const token *const *)b;
    if (first_byte(x) != first_byte(y))
        return first_byte(x) - first_byte(y);
    if (x->piece.length != y->piece.length)
        return x->piece.length < y->piece.length ? 1 : -1;
    return (x > y) - (x < y);
}

static fo_status order_special(fo_tokenizer *t, fo_error *error)
{
    int count = 0;
    for (int id = 0; id < t->V; id++)
        count += is_special(&t->tokens[id]);
    const token **order = fo_memory_alloc((size_t)count, sizeof *order, error);
    t->special = fo_memory_alloc((size_t)count, sizeof *t->special, error);
    if (order == NULL || t->special == NULL) {
        fo_memory_free(order);
        return FO_NOMEM;
    }
    for (int id = 0; id < t->V; id++)
        if (is_special(&t->tokens[id]))
            order[t->special_count++] = &t->tokens[id];
    qsort(order, (size_t)count, sizeof *order, by_first_byte);
    for (int i = 0; i < count; i++) {
        t->special[i] = (int32_t)(order[i] - t->tokens);
        t->special_start[first_byte(order[i]) + 1] = i + 1;
    }
    for (int byte = 1; byte <= 256; byte++)
        if (t->special_start[byte] == 0)
            t->special_start[byte] = t->special_start[byte - 1];
    fo_memory_free(order);
    return FO_OK;
}

/* Open and close a tokenizer. */
fo_status fo_tokenizer_open(const fo_gguf *gguf, fo_tokenizer **out,
                            fo_error *error)
{
    *out = NULL;
    fo_gguf_string model = {0};
    char shown[64];
    fo_status status =
        fo_gguf_text(gguf, "tokenizer.ggml.model", &model, error);
    if (status != FO_OK)
        return status;
    if (!fo_gguf_string_is(model, "llama"))
        return fo_fail(error, FO_UNSUPPORTED,
                       "a tokenizer of model %s; Folio has SentencePiece's, "
                       "\"llama\"",
                       fo_gguf_string_show(model, shown, sizeof shown));
    fo_tokenizer *t = fo_memory_alloc(1, sizeof *t, error);
    if (t == NULL)
        return FO_NOMEM;
    status = read_tokens(t, gguf, error);
    if (status == FO_OK)
        status = read_ids(t, gguf, error);
    if (status == FO_OK)
        status = find_bytes(t, error);
    if (status == FO_OK)
        status = order_special(t, error);
    if (status != FO_OK) {
        fo_tokenizer_close(&t);
        return status;
    }
    mark_stops(t);
    mark_takers(t);
    *out = t;
    return FO_OK;
}

/* Close a tokenizer. */
void fo_tokenizer_close(fo_tokenizer **tokenizer)
{
    if (*tokenizer == NULL)
        return;
    fo_memory_free((*tokenizer)->tokens);
    fo_memory_free((*tokenizer)->special);
    fo_name_table_close(&(*tokenizer)->ids);
    fo_memory_free(*tokenizer);
    *tokenizer = NULL;
}

/* Turn an id into bytes. */
/* One byte of the text, if there is room for it; counted in any case. */
static void put(char *buffer, size_t size, size_t *length, char byte)
{
    if (*length < size)
        buffer[*length] = byte;
    ++*length;
}

static size_t spell(const fo_tokenizer *t, const token *token, bool first,
                    char *buffer, size_t size)
{
    size_t length = 0;
    bool drop = first && t->adds_space;
    if (token->type == FO_TOKEN_BYTE) {
        if (!(drop && token->byte == ' '))
            put(buffer, size, &length, (char)token->byte);
    } else if (token->type != FO_TOKEN_CONTROL &&
               token->type != FO_TOKEN_UNKNOWN) {
        const char *text = token->piece.data;
        for (size_t i = 0; i < token->piece.length;) {
            bool space = token->piece.length - i >= 3 &&
                         memcmp(text + i, "\xe2\x96\x81", 3) == 0;
            if (!(space && drop && i == 0))
                put(buffer, size, &length, space ? ' ' : text[i]);
            i += space ? 3 : 1;
        }
    }
    return length;
}

/* Decode one token. */
fo_status fo_tokenizer_decode(const fo_tokenizer *tokenizer, int32_t id,
                              bool first, char *buffer, size_t size,
                              size_t *length, fo_error *error)
{
    *length = 0;
    if (id < 0 || id >= tokenizer->V)
        return fo_fail(error, FO_ARG, "no token %d among %d", id, tokenizer->V);
    size_t needed =
        spell(tokenizer, &tokenizer->tokens[id], first, buffer, size);
    if (needed > size)
        return fo_fail_short(error, FO_LIMIT, needed, size,
                             "token %d has %zu bytes, the buffer %zu", id,
                             needed, size);
    *length = needed;
    return FO_OK;
}

/* Answer what an id means. */
int fo_tokenizer_size(const fo_tokenizer *tokenizer)
{
    return tokenizer->V;
}

size_t fo_tokenizer_longest(const fo_tokenizer *tokenizer)
{
    return tokenizer->longest;
}

fo_gguf_string fo_tokenizer_piece(const fo_tokenizer *tokenizer, int32_t id)
{
    assert(id >= 0 && id < tokenizer->V);
    return tokenizer->tokens[id].piece;
}

fo_token_type fo_tokenizer_type(const fo_tokenizer *tokenizer, int32_t id)
{
    assert(id >= 0 && id < tokenizer->V);
    return (fo_token_type)tokenizer->tokens[id].type;
}

int32_t fo_tokenizer_find(const fo_tokenizer *tokenizer, const char *piece,
                          size_t length)
{
    return fo_name_table_find(&tokenizer->ids, piece, length);
}

int32_t fo_tokenizer_bos(const fo_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t fo_tokenizer_eos(const fo_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool fo_tokenizer_is_stop(const fo_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->V && tokenizer->tokens[id].is_stop;
}
