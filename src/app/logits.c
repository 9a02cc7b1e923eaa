#include "app/app.h"
#include "common/memory.h"
#include "common/safetensors.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Say what folio logits takes. */
enum { KEY_TOKENS = 0x200, KEY_FILE };

static const struct argp_option options[] = {
    {"tokens", KEY_TOKENS, "IDS", 0, "ids, separated by commas", 0},
    {"tokens-file", KEY_FILE, "FILE", 0,
     "a file of ids, separated by commas or white space", 0},
    {"output", 'o', "FILE", 0, "where the safetensors file goes", 0},
    {0},
};

static const char about[] =
    "Write the logits of every token of a sequence.\v"
    "The file holds one tensor, logits (T, V) in float32: row t is what the "
    "model expects after token t.";

typedef struct arguments {
    app_source source;
    const char *list;
    const char *list_path;
    const char *output;
} arguments;

/* Read a list of ids. */
typedef struct ids {
    int32_t *data;
    size_t count;
} ids;

static fo_status parse_ids(const char *text, ids *out, fo_error *error)
{
    size_t room = 0;
    for (const char *at = text;;) {
        while (*at == ',' || isspace((unsigned char)*at))
            at++;
        if (*at == '\0')
            break;
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (end == at || errno != 0 || value < 0 || value > INT32_MAX)
            return fo_fail(error, FO_ARG, "'%.20s' is no token id", at);
        if (out->count == room) {
            room = room ? 2 * room : 64;
            int32_t *grown =
                fo_memory_resize(out->data, room, sizeof *grown, error);
            if (!grown)
                return FO_NOMEM;
            out->data = grown;
        }
        out->data[out->count++] = (int32_t)value;
        at = end;
    }
    return out->count > 0 ? FO_OK : fo_fail(error, FO_ARG, "no token ids");
}

static fo_status read_ids(const char *path, ids *out, fo_error *error)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return fo_fail(error, FO_IO, "%s: %s", path, strerror(errno));
    ssize_t length = getdelim(&text, &size, '\0', file);
    fo_status status =
        ferror(file) ? fo_fail(error, FO_IO, "%s: %s", path, strerror(errno))
                     : parse_ids(length > 0 ? text : "", out, error);
    free(text);
    fclose(file);
    return status;
}

/* Read the flags of folio logits. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->source;
        return 0;
    case KEY_TOKENS:
        a->list = arg;
        return 0;
    case KEY_FILE:
        a->list_path = arg;
        return 0;
    case 'o':
        a->output = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is no option; ids go after --tokens", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!a->list == !a->list_path)
            argp_error(state, "give --tokens or --tokens-file, and not both");
        if (!a->output)
            argp_error(state, "-o says where the logits go; it is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Compute and write the logits. */
static fo_status work(const arguments *a, fo_session *session, const ids *ids,
                      fo_error *error)
{
    int V = fo_model_config(fo_session_model(session))->V;
    size_t values = ids->count * (size_t)V;
    float *logits = fo_memory_alloc(values, sizeof *logits, error);
    if (!logits)
        return FO_NOMEM;
    fo_safetensor tensor = {.name = "logits",
                            .dtype = FO_F32,
                            .rank = 2,
                            .shape = {(int64_t)ids->count, V},
                            .data = logits,
                            .bytes = values * sizeof *logits};
    fo_status status =
        fo_session_prefill(session, ids->data, ids->count, logits, error);
    if (status == FO_OK)
        status = fo_safetensors_write(a->output, &tensor, 1, NULL, 0, error);
    fo_memory_free(logits);
    return status;
}

/* Run folio logits. */
int app_logits(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&app_source_argp, 0, "Model and cache:", 1}, {0}};
    static const struct argp argp = {options,  parse, NULL, about,
                                     children, NULL,  NULL};
    arguments a = {0};
    ids ids = {0};
    fo_device *device = NULL;
    fo_session *session = NULL;
    fo_error error;
    app_source_begin(&a.source);
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    fo_status status = a.list ? parse_ids(a.list, &ids, &error)
                              : read_ids(a.list_path, &ids, &error);
    if (status == FO_OK)
        status = app_source_open(&a.source, &device, &session, &error);
    if (status == FO_OK)
        status = work(&a, session, &ids, &error);
    app_source_close(&device, &session);
    fo_memory_free(ids.data);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
