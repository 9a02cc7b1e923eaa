#include "app/app.h"

#include "common/memory.h"
#include "model/tokenizer.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Read the flags of tokenize. */
typedef struct options {
    const char *model;
    const char *text; /* null: standard input */
    bool ids_alone;
} options;

static const struct argp_option flags[] = {
    {"model", 'm', "FILE", 0, "The model (golden/folio-tiny.gguf)", 0},
    {"ids", 'i', NULL, 0, "Print the ids alone, on one line", 0},
    {0},
};

static error_t read_flag(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    if (key == 'm')
        o->model = text;
    else if (key == 'i')
        o->ids_alone = true;
    else if (key == ARGP_KEY_ARG && o->text == NULL)
        o->text = text;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is one text too many; quote the text", text);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp parser = {
    .options = flags,
    .parser = read_flag,
    .args_doc = "[TEXT]",
    .doc = "Cut a text into tokens: BOS added, special tokens parsed. Without "
           "TEXT, or with -, read standard input.",
};

/* Show ids and pieces. */
static void show(const options *o, const fo_tokenizer *tokenizer,
                 const int32_t *ids, size_t count)
{
    if (!o->ids_alone)
        printf("%6s  %s\n", "id", "piece");
    for (size_t i = 0; i < count; i++) {
        if (o->ids_alone) {
            printf("%s%" PRId32, i > 0 ? " " : "", ids[i]);
            continue;
        }
        fo_gguf_string piece = fo_tokenizer_piece(tokenizer, ids[i]);
        printf("%6" PRId32 "  ", ids[i]);
        app_show_text(piece.data, piece.length, piece.length);
        putchar('\n');
    }
    if (o->ids_alone)
        putchar('\n');
}

/* Tokenize a text. */
static fo_status tokenize(const options *o, const char *text, size_t size,
                          fo_error *error)
{
    fo_gguf *gguf = NULL;
    fo_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t count;
    fo_status status = fo_gguf_open(o->model, &gguf, error);
    if (status == FO_OK)
        status = fo_tokenizer_open(gguf, &tokenizer, error);
    if (status == FO_OK)
        status = fo_tokenizer_encode(tokenizer, text, size,
                                     FO_TOKENIZER_BOS | FO_TOKENIZER_SPECIAL,
                                     &ids, &count, error);
    if (status == FO_OK)
        show(o, tokenizer, ids, count);
    fo_memory_free(ids);
    fo_tokenizer_close(&tokenizer);
    fo_gguf_close(&gguf);
    return status;
}

int app_tokenize(int argc, char **argv)
{
    char bundled[4096];
    options o = {.model = app_model(bundled, sizeof bundled)};
    fo_error error;
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    char *input = NULL;
    size_t size = o.text == NULL ? 0 : strlen(o.text);
    const char *text = o.text;
    fo_status status = FO_OK;
    if (text == NULL || strcmp(text, "-") == 0) {
        status = app_read_input(&input, &size, &error);
        text = input;
    }
    if (status == FO_OK)
        status = tokenize(&o, text, size, &error);
    fo_memory_free(input);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
