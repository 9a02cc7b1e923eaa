#include "common/memory.h"
#include "common/rng.h"
#include "model/tokenizer.h"
#include "model_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Open the small vocabulary. */
typedef struct vocabulary {
    unsigned char *data;
    fo_gguf *gguf;
    fo_tokenizer *tokenizer;
} vocabulary;

static vocabulary open_file(model_file *file)
{
    vocabulary v = {0};
    size_t size;
    fo_error error;
    v.data = model_file_finish(file, &size);
    if (fo_gguf_parse(v.data, size, &v.gguf, &error) != FO_OK ||
        fo_tokenizer_open(v.gguf, &v.tokenizer, &error) != FO_OK)
        fail_msg("%s", error.message);
    return v;
}

static vocabulary open_small(fo_arch arch)
{
    model_file *file = model_file_new();
    put_vocabulary(file, arch);
    return open_file(file);
}

static void close_vocabulary(vocabulary *v)
{
    fo_tokenizer_close(&v->tokenizer);
    fo_gguf_close(&v->gguf);
    free(v->data);
}

static int32_t id_of(const vocabulary *v, const char *piece)
{
    int32_t id = fo_tokenizer_find(v->tokenizer, piece, strlen(piece));
    if (id < 0)
        fail_msg("no piece %s", piece);
    return id;
}

/* Draw a random text. */
static const char *const parts[] = {
    "a",
    "b",
    "he",
    "l",
    "lo",
    "block",
    "the",
    " ",
    "  ",
    "\n",
    "\xc3\xa9",
    "\xe2\x82",
    "\xf0\x9f\xa6\x99",
    "\xff",
    "\x80",
    "\xe2\x82\xac",
    "\xf0\x9f",
    "\xed\xa0\x80",
    "<s>",
    "<|end|>",
    "<0x41>",
    "bbb",
};

static size_t random_text(uint64_t round, char *text, size_t room)
{
    size_t size = 0, want = round % room;
    for (uint64_t i = 0; size < want; i++) {
        uint32_t words[4];
        fo_rng_block(10, round, i, words);
        size_t part = words[0] % (sizeof parts / sizeof *parts + 4);
        if (part >= sizeof parts / sizeof *parts) {
            text[size++] = (char)words[1];
            continue;
        }
        size_t length = strlen(parts[part]);
        if (size + length > room)
            break;
        memcpy(text + size, parts[part], length);
        size += length;
    }
    return size;
}

/* Check that ids decode to a text. */
static bool decodes_to(const vocabulary *v, const int32_t *ids, size_t count,
                       const char *text, size_t size)
{
    char back[4096];
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        assert_int_equal(fo_tokenizer_decode(v->tokenizer, ids[i], i == 0,
                                             back + at, sizeof back - at,
                                             &length, NULL),
                         FO_OK);
        at += length;
    }
    return at == size && memcmp(back, text, size) == 0;
}

/* Encode plainly and slowly. */
typedef struct part {
    unsigned char bytes[80];
    size_t size;
} part;

/* Look a piece up by asking every token. */
static int32_t ask_every_token(const vocabulary *v, const part *part)
{
    for (int32_t id = 0; id < fo_tokenizer_size(v->tokenizer); id++) {
        fo_gguf_string piece = fo_tokenizer_piece(v->tokenizer, id);
        fo_token_type type = fo_tokenizer_type(v->tokenizer, id);
        if ((type == FO_TOKEN_NORMAL || type == FO_TOKEN_UNUSED) &&
            piece.length == part->size &&
            memcmp(piece.data, part->bytes, part->size) == 0)
            return id;
    }
    return -1;
}

static part joined(const part *a, const part *b)
{
    part both = *a;
    if (a->size + b->size > sizeof both.bytes)
        return (part){.size = 0};
    memcpy(both.bytes + a->size, b->bytes, b->size);
    both.size += b->size;
    return both;
}

/* Cut a text into characters, plainly. */
static size_t plain_character(const unsigned char *s, size_t left)
{
    for (size_t length = 2; length <= 4 && length <= left; length++) {
        uint32_t code = s[0] & (0x7f >> length);
        for (size_t i = 1; i < length; i++)
            code = code << 6 | (s[i] & 0x3f);
        unsigned char again[4] = {0};
        static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
        uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
        if (code < least || code > 0x10ffff ||
            (code >= 0xd800 && code < 0xe000))
            continue;
        for (size_t i = 0; i < length; i++)
            again[i] =
                (unsigned char)(0x80 | (code >> 6 * (length - 1 - i) & 0x3f));
        again[0] = (unsigned char)(leads[length] | code >> 6 * (length - 1));
        if (memcmp(again, s, length) == 0)
            return length;
    }
    return 1;
}

static size_t cut_plainly(const unsigned char *text, size_t size, part *parts)
{
    size_t n = 0;
    if (size > 0)
        parts[n++] = (part){"\xe2\x96\x81", 3};
    for (size_t i = 0; i < size;) {
        size_t length = plain_character(text + i, size - i);
        parts[n] = (part){"\xe2\x96\x81", 3};
        if (text[i] != ' ') {
            memcpy(parts[n].bytes, text + i, length);
            parts[n].size = length;
        }
        n++;
        i += length;
    }
    return n;
}

static bool naive_agrees(const vocabulary *v, const int32_t *ids, size_t count,
                         const char *text, size_t size)
{
    static part parts[128];
    size_t n = cut_plainly((const unsigned char *)text, size, parts);
    for (;;) {
        float best = -INFINITY;
        size_t where = n;
        for (size_t i = 0; i + 1 < n; i++) {
            part pair = joined(&parts[i], &parts[i + 1]);
            int32_t id = pair.size == 0 ? -1 : ask_every_token(v, &pair);
            if (id >= 0 && -(float)id > best) {
                best = -(float)id;
                where = i;
            }
        }
        if (where == n)
            break;
        parts[where] = joined(&parts[where], &parts[where + 1]);
        memmove(&parts[where + 1], &parts[where + 2],
                (n - where - 2) * sizeof *parts);
        n--;
    }
    /* Compare the parts with the ids. */
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = ask_every_token(v, &parts[i]);
        bool apart = parts[i].size == 2 && memcmp(parts[i].bytes, "bb", 2) == 0;
        size_t ids_here = apart ? 2 : id >= 0 ? 1 : parts[i].size;
        if (at + ids_here > count)
            return false;
        for (size_t k = 0; k < ids_here; k++, at++) {
            int32_t want = apart     ? id_of(v, "b")
                           : id >= 0 ? id
                                     : 3 + parts[i].bytes[k];
            if (ids[at] != want)
                return false;
        }
    }
    return at == count;
}

/* Come back unharmed. */
static void comes_back_unharmed(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    char text[64];
    for (uint64_t round = 0; round < 16000; round++) {
        size_t size = random_text(round, text, sizeof text);
        int32_t *ids;
        size_t count;
        assert_int_equal(
            fo_tokenizer_encode(v.tokenizer, text, size, 0, &ids, &count, NULL),
            FO_OK);
        if (!decodes_to(&v, ids, count, text, size))
            fail_msg("text %llu came back harmed", (unsigned long long)round);
        if (round % 17 == 0 && !naive_agrees(&v, ids, count, text, size))
            fail_msg("text %llu is cut wrongly", (unsigned long long)round);
        fo_memory_free(ids);
    }
    close_vocabulary(&v);
}

/* Catch a planted fault. */
static void judges_catch_planted_faults(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    int32_t good[] = {id_of(&v, "\xe2\x96\x81the"), id_of(&v, "he")};
    int32_t letters[] = {id_of(&v, "\xe2\x96\x81"), id_of(&v, "th"),
                         id_of(&v, "e"), id_of(&v, "he")};
    int32_t wrong[] = {id_of(&v, "\xe2\x96\x81the"), id_of(&v, "ll")};
    const char *text = "thehe";
    assert_true(decodes_to(&v, good, 2, text, 5));
    assert_true(naive_agrees(&v, good, 2, text, 5));
    assert_true(decodes_to(&v, letters, 4, text, 5));
    assert_false(naive_agrees(&v, letters, 4, text, 5));
    assert_false(decodes_to(&v, wrong, 2, text, 5));
    assert_false(naive_agrees(&v, wrong, 2, text, 5));
    assert_false(decodes_to(&v, good, 1, text, 5));
    assert_false(naive_agrees(&v, good, 1, text, 5));
    assert_false(decodes_to(&v, good, 2, text, 4));
    assert_false(naive_agrees(&v, good, 2, text, 4));
    close_vocabulary(&v);
}

/* Check single cuts. */
static void check_ids(const vocabulary *v, const char *text, unsigned flags,
                      const char *const *want, size_t want_count)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(fo_tokenizer_encode(v->tokenizer, text, strlen(text),
                                         flags, &ids, &count, NULL),
                     FO_OK);
    for (size_t i = 0; i < count && i < want_count; i++)
        if (ids[i] != id_of(v, want[i]))
            fail_msg("%s: piece %zu is %d, not %s", text, i, ids[i], want[i]);
    assert_int_equal(count, want_count);
    fo_memory_free(ids);
}

#define CHECK(text, flags, ...)                                                \
    check_ids(&v, text, flags, (const char *[]){__VA_ARGS__},                  \
              sizeof(const char *[]){__VA_ARGS__} / sizeof(char *))

#define S "\xe2\x96\x81"

static void cuts_as_expected(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_LLAMA);
    CHECK("hello", 0, S "hello");
    CHECK(" hello", 0, S S, "hello");
    CHECK("the block", 0, S "the", S "block");
    CHECK("aaa", 0, S "a", "aa");
    CHECK("x", 0, S, "<0x78>");
    CHECK("\xc3\xa9", 0, S, "<0xC3>", "<0xA9>");
    CHECK("a" S "a", 0, S "a", S "a");
    CHECK("hello", FO_TOKENIZER_BOS, "<s>", S "hello");
    int32_t *ids;
    size_t count;
    assert_int_equal(
        fo_tokenizer_encode(v.tokenizer, "", 0, 0, &ids, &count, NULL), FO_OK);
    assert_null(ids);
    assert_int_equal(count, 0);
    close_vocabulary(&v);
}

static void takes_unused_pieces_apart(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_LLAMA);
    CHECK("ebb", 0, S, "e", "b", "b");
    CHECK("ebbb", 0, S, "e", "bbb");
    CHECK("ebbbb", 0, S, "e", "b", "b", "b", "b");
    close_vocabulary(&v);
}

/* Check what tokens mean. */
/* Check special tokens. */
static void finds_special_tokens(void **state)
{
    (void)state;
    const unsigned flags = FO_TOKENIZER_SPECIAL;
    vocabulary v = open_small(FO_ARCH_PHI3);
    CHECK("<|user|>\nhello<|end|>\n<|assistant|>\n", flags, "<|user|>",
          S "hello", "<|end|>", "<|assistant|>");
    CHECK("<s> a", flags, "<s>", S, S "a");
    CHECK("</s> \t\v a", flags, "</s>", S "a");
    CHECK("<|endoftext|> a", flags, "<|endoftext|>", S, S "a");
    CHECK("<user>a", flags, "<user>", S "a");
    CHECK("<s><s>", flags | FO_TOKENIZER_BOS, "<s>", "<s>", "<s>");
    CHECK("a<|end|", flags, S "a", "<0x3C>", "<0x7C>", "e", "<0x6E>", "d",
          "<0x7C>");
    close_vocabulary(&v);

    model_file *file = model_file_new();
    put_vocabulary(file, FO_ARCH_PHI3);
    put_bool(file, "tokenizer.ggml.add_space_prefix", false);
    put_bool(file, "tokenizer.ggml.add_bos_token", false);
    v = open_file(file);
    CHECK("hello<|end|> the", flags | FO_TOKENIZER_BOS, "hello", "<|end|>",
          "the");
    close_vocabulary(&v);
}

static void takes_text_as_text(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    CHECK("<s>", 0, S, "<0x3C>", "<0x73>", "<0x3E>");
    CHECK("<0x41>", 0, S, "<0x3C>", "<0x30>", "<0x78>", "<0x34>", "<0x31>",
          "<0x3E>");
    close_vocabulary(&v);
}

/* Check the ends. */
static void knows_the_ends(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    static const char *const stops[] = {"</s>", "<|end|>", "<|endoftext|>"};
    int count = 0;
    for (size_t i = 0; i < 3; i++)
        assert_true(fo_tokenizer_is_stop(v.tokenizer, id_of(&v, stops[i])));
    for (int32_t id = -1; id <= SMALL_VOCABULARY; id++)
        count += fo_tokenizer_is_stop(v.tokenizer, id);
    assert_int_equal(count, 3);
    assert_int_equal(fo_tokenizer_bos(v.tokenizer), 1);
    assert_int_equal(fo_tokenizer_eos(v.tokenizer), id_of(&v, "<|endoftext|>"));
    assert_int_equal(fo_tokenizer_size(v.tokenizer), SMALL_VOCABULARY);
    close_vocabulary(&v);

    model_file *file = model_file_new();
    put_vocabulary(file, FO_ARCH_PHI3);
    put_u32(file, "tokenizer.ggml.eot_token_id", 259);
    v = open_file(file);
    assert_true(fo_tokenizer_is_stop(v.tokenizer, 259));
    close_vocabulary(&v);
}

static void decodes_into_small_buffers(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    char buffer[8] = "#######";
    size_t length;
    fo_error error;
    int32_t block = id_of(&v, S "block");
    assert_int_equal(fo_tokenizer_decode(v.tokenizer, block, false, buffer, 5,
                                         &length, &error),
                     FO_LIMIT);
    assert_int_equal(error.required, 6);
    assert_int_equal(error.available, 5);
    assert_int_equal(buffer[5], '#');
    assert_int_equal(fo_tokenizer_decode(v.tokenizer, block, true, buffer, 5,
                                         &length, &error),
                     FO_OK);
    assert_memory_equal(buffer, "block", 5);
    assert_int_equal(fo_tokenizer_decode(v.tokenizer, SMALL_VOCABULARY, false,
                                         buffer, 5, &length, &error),
                     FO_ARG);
    close_vocabulary(&v);
}

/* Refuse a vocabulary that lies. */
static void tell(model_file *file, int lie)
{
    static const char *const pieces[] = {"<unk>", "<0xZZ>"};
    static const float scores[] = {0, 0, 0}, nan_score[] = {0, NAN};
    static const int32_t types[] = {2, 1}, bytes_types[] = {2, 6},
                         bad_types[] = {2, 9};
    put_text(file, "tokenizer.ggml.model", lie == 0 ? "gpt2" : "llama");
    put_strings(file, "tokenizer.ggml.tokens", pieces, lie == 1 ? 0 : 2);
    if (lie != 2)
        put_numbers(file, "tokenizer.ggml.scores", FO_GGUF_F32,
                    lie == 3 ? nan_score : scores, lie == 4 ? 3 : 2);
    put_numbers(file, "tokenizer.ggml.token_type", FO_GGUF_I32,
                lie == 5   ? bytes_types
                : lie == 6 ? bad_types
                           : types,
                2);
    if (lie == 7)
        put_u32(file, "tokenizer.ggml.eos_token_id", 2);
    if (lie == 8)
        put_text(file, "tokenizer.ggml.add_bos_token", "yes");
}

static void refuses_lies(void **state)
{
    (void)state;
    static const fo_status want[] = {
        FO_UNSUPPORTED, FO_FORMAT, FO_UNKNOWN, FO_FORMAT, FO_FORMAT,
        FO_FORMAT,      FO_FORMAT, FO_FORMAT,  FO_FORMAT, FO_OK};
    for (int lie = 0; lie < 10; lie++) {
        model_file *file = model_file_new();
        tell(file, lie);
        vocabulary v = {0};
        size_t size;
        fo_error error = {.message = "none"};
        v.data = model_file_finish(file, &size);
        assert_int_equal(fo_gguf_parse(v.data, size, &v.gguf, NULL), FO_OK);
        fo_status got = fo_tokenizer_open(v.gguf, &v.tokenizer, &error);
        if (got != want[lie])
            fail_msg("lie %d: status %d, %s", lie, got, error.message);
        close_vocabulary(&v);
    }
}

/* Fail at every allocation of a tokenizer. */
static fo_status use(const fo_gguf *gguf)
{
    fo_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t count;
    fo_status status = fo_tokenizer_open(gguf, &tokenizer, NULL);
    if (status == FO_OK)
        status = fo_tokenizer_encode(tokenizer, "the block", 9, 3, &ids, &count,
                                     NULL);
    fo_memory_free(ids);
    fo_tokenizer_close(&tokenizer);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    uint64_t held = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).requests;
    assert_int_equal(use(v.gguf), FO_OK);
    uint64_t n = fo_memory_usage_get(FO_MEMORY_HOST).requests - before;
    assert_true(n >= 8);
    for (uint64_t i = 1; i <= n; i++) {
        fo_memory_fail_at(i);
        assert_int_equal(use(v.gguf), FO_NOMEM);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, held);
    }
    fo_memory_fail_at(0);
    assert_int_equal(use(v.gguf), FO_OK);
    close_vocabulary(&v);
}

/* Encode a long text. */
static void encodes_a_long_text(void **state)
{
    (void)state;
    vocabulary v = open_small(FO_ARCH_PHI3);
    const size_t size = 1 << 20;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = "the block aaaa hello bbb "[i % 25];
    int32_t *ids;
    size_t count;
    assert_int_equal(
        fo_tokenizer_encode(v.tokenizer, text, size, 3, &ids, &count, NULL),
        FO_OK);
    assert_true(count > size / 8 && count < size / 2);
    fo_memory_free(ids);
    free(text);
    close_vocabulary(&v);
}

/* List the tests of the tokenizer. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_unharmed),
        cmocka_unit_test(judges_catch_planted_faults),
        cmocka_unit_test(cuts_as_expected),
        cmocka_unit_test(takes_unused_pieces_apart),
        cmocka_unit_test(finds_special_tokens),
        cmocka_unit_test(takes_text_as_text),
        cmocka_unit_test(knows_the_ends),
        cmocka_unit_test(decodes_into_small_buffers),
        cmocka_unit_test(refuses_lies),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(encodes_a_long_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
