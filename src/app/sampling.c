#include "app/app.h"

enum { KEY_TEMPERATURE = 0x400, KEY_SEED, KEY_TOP_P, KEY_TOP_K };

static const struct argp_option options[] = {
    {"temp", KEY_TEMPERATURE, "T", 0, "temperature, 0 is greedy (0.7)", 0},
    {"seed", KEY_SEED, "S", 0, "seed of the draws (0)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "keep the likeliest up to this mass (0.95)",
     0},
    {"top-k", KEY_TOP_K, "K", 0, "keep the K likeliest, 0 keeps all (40)", 0},
    {0},
};

/* Read the flags of drawing. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    fo_sampling *s = state->input;
    switch (key) {
    case KEY_TEMPERATURE:
        s->temperature = (float)app_number(state, "--temp", arg, 0, 1000);
        return 0;
    case KEY_SEED:
        s->seed = app_seed(state, "--seed", arg);
        return 0;
    case KEY_TOP_P:
        s->top_p = (float)app_number(state, "--top-p", arg, 0, 1);
        return 0;
    case KEY_TOP_K:
        s->top_k = (int32_t)app_integer(state, "--top-k", arg, 0, INT32_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp app_sampling_argp = {options, parse, NULL, NULL,
                                       NULL,    NULL,  NULL};

fo_sampling app_sampling_begin(void)
{
    return (fo_sampling){.temperature = 0.7f, .top_p = 0.95f, .top_k = 40};
}
