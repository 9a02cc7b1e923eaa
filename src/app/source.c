#include "app/app.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_CONTEXT = 0x100,
    KEY_CHUNK,
    KEY_BLOCK,
    KEY_KV,
    KEY_MEMORY,
    KEY_EVENTS
};

static const struct argp_option options[] = {
    {"model", 'm', "FILE", 0, "the model, a GGUF file (the bundled one)", 0},
    {"device", 'd', "DEVICE", 0, "where to compute: cpu, sim, cuda (cpu)", 0},
    {"memory", KEY_MEMORY, "SIZE", 0,
     "memory the device may hand out, such as 512M or 1G (no limit)", 0},
    {"ctx", KEY_CONTEXT, "N", 0, "tokens of context (what the model has)", 0},
    {"kv-type", KEY_KV, "TYPE", 0, "type of the cache: f32, f16, bf16 (f32)",
     0},
    {"events", KEY_EVENTS, "FILE", 0,
     "write what happens to the memory, a JSON object a line", 0},
    {"chunk", KEY_CHUNK, "N", 0, "tokens of one pass over a prompt (512)", 0},
    {"block-size", KEY_BLOCK, "N", 0, "tokens of a block (16)", 0},
    {0},
};

/* Judge the flags of a source. */
fo_dtype app_cache_type(const struct argp_state *state, const char *name)
{
    fo_dtype dtype = fo_dtype_parse(name);
    if (dtype != FO_F32 && dtype != FO_F16 && dtype != FO_BF16)
        argp_error(state, "--kv-type: '%s' is none of f32, f16, bf16", name);
    return dtype;
}

/* The file is flushed after each line, and closed when the program ends. */
static void log_to(const struct argp_state *state, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        argp_failure(state, APP_FAILED, errno, "%s", path);
    fo_log_open(file, FO_LOG_INFO);
}

/* Read the flags of a source. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    app_source *source = state->input;
    fo_session_options *o = &source->options;
    switch (key) {
    case 'm':
        source->model = arg;
        return 0;
    case 'd':
        source->backend = app_backend(state, arg);
        return 0;
    case KEY_MEMORY:
        source->device.memory_limit = app_bytes(state, "--memory", arg);
        return 0;
    case KEY_EVENTS:
        log_to(state, arg);
        return 0;
    case KEY_CONTEXT:
        o->context = (int)app_integer(state, "--ctx", arg, 1, 1 << 24);
        return 0;
    case KEY_CHUNK:
        o->chunk = (int)app_integer(state, "--chunk", arg, 1, 1 << 16);
        return 0;
    case KEY_BLOCK:
        o->block_size = (int)app_integer(state, "--block-size", arg, 1, 4096);
        return 0;
    case KEY_KV:
        o->kv_dtype = app_cache_type(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp app_source_argp = {options, parse, NULL, NULL,
                                     NULL,    NULL,  NULL};

/* Open what the flags name. */
void app_source_begin(app_source *source)
{
    memset(source, 0, sizeof *source);
    source->backend = app_backend(NULL, NULL);
    source->model = app_model(source->buffer, sizeof source->buffer);
}

fo_status app_source_open(const app_source *source, fo_device **device,
                          fo_session **session, fo_error *error)
{
    *session = NULL;
    fo_status status = source->backend->open(&source->device, device, error);
    if (status == FO_OK)
        status = fo_session_load(*device, source->model, &source->options,
                                 session, error);
    if (status != FO_OK)
        app_source_close(device, session);
    return status;
}

void app_source_close(fo_device **device, fo_session **session)
{
    fo_session_unload(session);
    if (*device)
        (*device)->backend->close(device);
}
