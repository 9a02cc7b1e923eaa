#include "app/app.h"
#include "app/shape.h"

#include <stdio.h>
#include <string.h>

/* Know shapes by name. */
static const app_shape shapes[] = {
    {"phi3-mini", FO_ARCH_PHI3, 3072, 8192, 32, 32, 32, 32064, 4096, 2047,
     10000},
    {"llama2-7b", FO_ARCH_LLAMA, 4096, 11008, 32, 32, 32, 32000, 4096, 0,
     10000},
    {"llama3-8b", FO_ARCH_LLAMA, 4096, 14336, 32, 32, 8, 128256, 8192, 0,
     500000},
    {"tiny", FO_ARCH_PHI3, 64, 128, 2, 4, 2, 512, 512, 127, 10000},
};

const char app_shape_names[] = "phi3-mini, llama2-7b, llama3-8b, tiny";

const app_shape *app_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

/* Say what folio make-model takes. */
enum { KEY_LAYERS = 0x300, KEY_ZEROS, KEY_SEED, KEY_VOCABULARY, KEY_FEED };

static const struct argp_option options[] = {
    {"like", 'l', "NAME", 0,
     "the shape: phi3-mini, llama2-7b, llama3-8b, tiny (phi3-mini)", 0},
    {"layers", KEY_LAYERS, "N", 0, "layers (those of the shape)", 0},
    {"vocabulary", KEY_VOCABULARY, "N", 0, "tokens (those of the shape)", 0},
    {"feed-forward", KEY_FEED, "N", 0, "inner size (that of the shape)", 0},
    {"type", 't', "TYPE", 0,
     "type of the matrices: f32, f16, bf16, q8_0, q4_0 (f16)", 0},
    {"seed", KEY_SEED, "S", 0, "seed of the weights (0)", 0},
    {"zeros", KEY_ZEROS, NULL, 0,
     "weights of zero that take no room on the disk", 0},
    {"quiet", 'q', NULL, 0, "tell nothing", 0},
    {0},
};

static const char about[] =
    "Write a model file of a known shape, with random weights.\v"
    "The same seed gives the same bytes. What such a model says means nothing, "
    "but it costs what the true one costs, in memory and in time.";

typedef struct arguments {
    app_make make;
    const char *path;
    int layers, vocabulary, feed; /* 0: the shape's */
} arguments;

/* Judge what the flags say. */
static void choose_shape(const struct argp_state *state, const char *name,
                         app_shape *shape)
{
    const app_shape *found = app_shape_find(name);
    if (!found)
        argp_error(state, "--like: no shape '%s'; there are %s", name,
                   app_shape_names);
    else
        *shape = *found;
}

static fo_dtype type_of(const struct argp_state *state, const char *name)
{
    fo_dtype type = fo_dtype_parse(name);
    if (type > FO_Q4_0)
        argp_error(state, "--type: '%s' is none of f32, f16, bf16, q8_0, q4_0",
                   name);
    return type;
}

/* Settle the shape and the file. */
static void settle(arguments *a, const struct argp_state *state)
{
    app_shape *s = &a->make.shape;
    if (!a->path)
        argp_error(state, "which file?");
    s->L = a->layers ? a->layers : s->L;
    s->V = a->vocabulary ? a->vocabulary : s->V;
    s->F = a->feed ? a->feed : s->F;
    if (s->F % 32 != 0)
        argp_error(state, "--feed-forward: %d is no multiple of 32", s->F);
}

static error_t parse_file(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    if (key == ARGP_KEY_ARG && a->path)
        argp_error(state, "'%s' is one file too many", arg);
    else if (key == ARGP_KEY_ARG)
        a->path = arg;
    else if (key == ARGP_KEY_END)
        settle(a, state);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* Read the flags of folio make-model. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'l':
        choose_shape(state, arg, &a->make.shape);
        return 0;
    case 't':
        a->make.type = type_of(state, arg);
        return 0;
    case 'q':
        a->make.quiet = true;
        return 0;
    case KEY_LAYERS:
        a->layers = (int)app_integer(state, "--layers", arg, 1, 1024);
        return 0;
    case KEY_VOCABULARY:
        a->vocabulary =
            (int)app_integer(state, "--vocabulary", arg, 420, 1 << 18);
        return 0;
    case KEY_FEED:
        a->feed = (int)app_integer(state, "--feed-forward", arg, 32, 1 << 15);
        return 0;
    case KEY_SEED:
        a->make.seed = app_seed(state, "--seed", arg);
        return 0;
    case KEY_ZEROS:
        a->make.zeros = true;
        return 0;
    default:
        return parse_file(key, arg, state);
    }
}

/* Make a model by the flags. */
int app_make_model(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "FILE", about,
                                     NULL,    NULL,  NULL};
    arguments a = {.make = {.shape = shapes[0], .type = FO_F16}};
    uint64_t bytes;
    fo_error error;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (app_model_make(&a.make, a.path, &bytes, &error) != FO_OK)
        return app_fail(&error);
    if (!a.make.quiet)
        printf("%s: %s, %d layers, %s, %llu bytes%s\n", a.path,
               a.make.shape.name, a.make.shape.L,
               fo_dtype_info_get(a.make.type)->name, (unsigned long long)bytes,
               a.make.zeros ? ", all weights 0" : "");
    return APP_OK;
}
