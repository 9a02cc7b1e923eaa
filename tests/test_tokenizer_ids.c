#include "common/memory.h"
#include "model/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Match the real vocabularies. */
static char *read_whole(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    assert_true(size > 0);
    fclose(file);
    return text;
}

/* Compare one real text. */
/* One line of ids against the ids of one text; returns what follows it. */
static char *compare_text(const fo_tokenizer *tokenizer, const char *text,
                          size_t size, char *line, size_t number)
{
    int32_t *ids;
    size_t count;
    char *end = strchr(line, '\n');
    assert_non_null(end);
    *end = '\0';
    assert_int_equal(fo_tokenizer_encode(tokenizer, text, size,
                                         FO_TOKENIZER_SPECIAL, &ids, &count,
                                         NULL),
                     FO_OK);
    for (size_t i = 0; i < count; i++) {
        char *next;
        long want = strtol(line, &next, 10);
        if (next == line || want != ids[i])
            fail_msg("text %zu: id %zu is %d, not %ld", number, i, ids[i],
                     want);
        line = next;
    }
    if (strspn(line, " ") != strlen(line))
        fail_msg("text %zu: %zu ids are too few", number, count);
    fo_memory_free(ids);
    return end + 1;
}

/* Compare one real vocabulary. */
static void compare_vocabulary(const char *folder, const char *name)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[512], file[256];
    fo_gguf *gguf;
    fo_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(fo_gguf_open(path, &gguf, NULL), FO_OK);
    assert_int_equal(fo_tokenizer_open(gguf, &tokenizer, NULL), FO_OK);
    snprintf(file, sizeof file, "%s.inp", name);
    char *texts = read_whole(folder, file);
    snprintf(file, sizeof file, "%s.out", name);
    char *lines = read_whole(folder, file), *line = lines;
    size_t number = 0;
    for (char *text = texts, *end; text != NULL && *text != '\0'; number++) {
        end = strstr(text, mark);
        size_t size = end == NULL ? strlen(text) : (size_t)(end - text);
        if (end == NULL && *line == '\0')
            break;
        line = compare_text(tokenizer, text, size, line, number);
        text = end == NULL ? NULL : end + sizeof mark - 1;
    }
    assert_int_equal(*line, '\0');
    assert_true(number > 40);
    print_message("%s: %zu texts agree\n", name, number);
    free(texts);
    free(lines);
    fo_tokenizer_close(&tokenizer);
    fo_gguf_close(&gguf);
}

static void matches_real_vocabularies(void **state)
{
    (void)state;
    const char *folder = getenv("FOLIO_VOCAB_DIR");
    if (folder == NULL) {
        print_message("SKIP: FOLIO_VOCAB_DIR names no folder with the real "
                      "vocabularies\n");
        skip();
    }
    compare_vocabulary(folder, "ggml-vocab-phi-3.gguf");
    compare_vocabulary(folder, "ggml-vocab-llama-spm.gguf");
}

/* Match the golden ids. */
/* Compare one golden case. */
static void compare_case(const fo_tokenizer *tokenizer, const json_t *one,
                         size_t i)
{
    static char text[1 << 16];
    const json_t *bytes = json_object_get(one, "bytes");
    const json_t *want = json_object_get(one, "ids");
    size_t size = json_array_size(bytes), count;
    int32_t *ids;
    assert_true(json_is_array(bytes) && size <= sizeof text);
    for (size_t k = 0; k < size; k++)
        text[k] = (char)json_integer_value(json_array_get(bytes, k));
    assert_int_equal(fo_tokenizer_encode(tokenizer, text, size,
                                         FO_TOKENIZER_SPECIAL, &ids, &count,
                                         NULL),
                     FO_OK);
    if (count != json_array_size(want))
        fail_msg("case %zu: %zu ids, not %zu", i, count, json_array_size(want));
    for (size_t k = 0; k < count; k++)
        if (json_integer_value(json_array_get(want, k)) != ids[k])
            fail_msg("case %zu: id %zu is %d", i, k, ids[k]);
    fo_memory_free(ids);
}

static void matches_golden_ids(void **state)
{
    (void)state;
    fo_gguf *gguf;
    fo_tokenizer *tokenizer;
    json_error_t problem;
    assert_int_equal(fo_gguf_open("golden/folio-tiny.gguf", &gguf, NULL),
                     FO_OK);
    assert_int_equal(fo_tokenizer_open(gguf, &tokenizer, NULL), FO_OK);
    json_t *golden = json_load_file("golden/tokenizer.json", 0, &problem);
    assert_non_null(golden);
    json_t *cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) >= 1000);
    for (size_t i = 0; i < json_array_size(cases); i++)
        compare_case(tokenizer, json_array_get(cases, i), i);
    print_message("%zu texts agree\n", json_array_size(cases));
    json_decref(golden);
    fo_tokenizer_close(&tokenizer);
    fo_gguf_close(&gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_real_vocabularies),
        cmocka_unit_test(matches_golden_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
