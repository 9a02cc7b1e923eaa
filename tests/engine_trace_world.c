#include "engine_trace_world.h"

#include "common/rng.h"
#include "model_file.h"
#include "toy_model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Draw texts that begin alike. */
enum { ALIKE = 20 };

int32_t world_text(int text, int position)
{
    uint64_t stream = (uint64_t)(position < ALIKE ? text / 3 : text);
    return (int32_t)(fo_rng_uniform(41, stream, (uint64_t)position) *
                     SMALL_VOCABULARY);
}

fo_sampling world_sampling(int which)
{
    static const fo_sampling samplings[WORLD_SAMPLINGS] = {
        {.temperature = 0},
        {.temperature = 0.9f, .top_p = 0.95f, .seed = 7},
        {.temperature = 1.2f, .top_p = 1, .top_k = 5, .seed = 8},
        {.temperature = 2, .top_p = 1, .seed = 9},
    };
    return samplings[which % WORLD_SAMPLINGS];
}

/* Remember what follows a text. */
static uint64_t key_of(int model, const int32_t *tokens, int count,
                       int sampling)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325);
    key = (key ^ (uint64_t)(model * WORLD_SAMPLINGS + sampling)) *
          UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < count; i++) {
        key = (key ^ (uint64_t)(uint32_t)tokens[i]) *
              UINT64_C(0x9e3779b97f4a7c15);
        key ^= key >> 29;
    }
    return key ? key : 1;
}

/* The place of a key, or where it belongs. */
static world_entry *place(world_entry *known, size_t size, uint64_t key)
{
    size_t i = key & (size - 1);
    while (known[i].key && known[i].key != key)
        i = (i + 1) & (size - 1);
    return &known[i];
}

/* Put what follows into the table. */
static bool remember(trace_world *w, uint64_t key, int32_t token)
{
    if (2 * w->count >= w->size) {
        size_t size = w->size ? 2 * w->size : 1 << 14;
        world_entry *known = calloc(size, sizeof *known);
        if (!known)
            return false;
        for (size_t i = 0; i < w->size; i++)
            if (w->known[i].key)
                *place(known, size, w->known[i].key) = w->known[i];
        free(w->known);
        w->known = known;
        w->size = size;
    }
    world_entry *entry = place(w->known, w->size, key);
    w->count += entry->key == 0;
    *entry = (world_entry){key, token};
    return true;
}

/* Ask a model alone. */
/* What follows a text, as far as a request may go. */
static bool ask_alone(trace_world *w, int model, const int32_t *tokens,
                      int count, int sampling)
{
    int32_t text[WORLD_CONTEXT];
    fo_session *s;
    fo_sampling how = world_sampling(sampling);
    memcpy(text, tokens, (size_t)count * sizeof *text);
    if (fo_session_fork(w->alone[model], &s, NULL) != FO_OK)
        return false;
    bool fine = fo_session_prefill(s, text, (size_t)count, NULL, NULL) == FO_OK;
    w->lone_runs++;
    int end = count + WORLD_LONGEST;
    end = end < WORLD_CONTEXT ? end : WORLD_CONTEXT;
    while (fine && count < end) {
        uint64_t key = key_of(model, text, count, sampling);
        fine = fo_session_decode(s, &how, &text[count], NULL) == FO_OK &&
               remember(w, key, text[count]);
        count++;
    }
    fo_session_unload(&s);
    return fine;
}

/* Find or ask what follows. */
int32_t world_next(trace_world *w, int model, const int32_t *tokens, int count,
                   int sampling)
{
    uint64_t key = key_of(model, tokens, count, sampling);
    world_entry *entry = w->size ? place(w->known, w->size, key) : NULL;
    if (!entry || !entry->key) {
        if (!ask_alone(w, model, tokens, count, sampling))
            return -1;
        entry = place(w->known, w->size, key);
    }
    return entry->token;
}

bool world_stops(const trace_world *w, int model, int32_t token)
{
    const fo_model *alone = fo_session_model(w->alone[model]);
    return fo_tokenizer_is_stop(fo_model_tokenizer(alone), token);
}

/* Open the world of a trace. */
trace_world *trace_world_open(const fo_backend *backend)
{
    static const toy_model models[TRACE_MODELS] = {
        {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true},
        {.arch = FO_ARCH_PHI3, .K = 2, .window = 20},
    };
    fo_session_options options = {
        .context = WORLD_CONTEXT, .block_size = 8, .sequences = 2};
    trace_world *w = calloc(1, sizeof *w);
    bool fine = w && backend->open(NULL, &w->device, NULL) == FO_OK;
    for (int i = 0; fine && i < TRACE_MODELS; i++) {
        toy_model_write(&models[i], w->path[i]);
        fine = fo_session_load(w->device, w->path[i], &options, &w->alone[i],
                               NULL) == FO_OK;
    }
    if (!fine)
        trace_world_close(&w);
    return w;
}

void trace_world_close(trace_world **world)
{
    trace_world *w = *world;
    if (!w)
        return;
    for (int i = 0; i < TRACE_MODELS; i++) {
        fo_session_unload(&w->alone[i]);
        if (w->path[i][0])
            unlink(w->path[i]);
    }
    if (w->device)
        w->device->backend->close(&w->device);
    free(w->known);
    free(w);
    *world = NULL;
}
