/* The small world of the trace tester: two models, a few texts, and what
 * follows from each. */
#ifndef FOLIO_TESTS_ENGINE_TRACE_WORLD_H
#define FOLIO_TESTS_ENGINE_TRACE_WORLD_H

#include "engine/session.h"
#include "engine_trace.h"

/* Describe the world of a trace. */
enum {
    WORLD_CONTEXT = 48,
    WORLD_PROMPT = 32,  /* tokens of the longest prompt     */
    WORLD_LONGEST = 12, /* tokens that a request may draw   */
    WORLD_TEXTS = 6,
    WORLD_SAMPLINGS = 4,
};

typedef struct world_entry {
    uint64_t key; /* of a text and how it is drawn from; 0: unused */
    int32_t token;
} world_entry;

struct trace_world {
    fo_device *device;
    char path[TRACE_MODELS][32];
    fo_session *alone[TRACE_MODELS];
    world_entry *known; /* (size) */
    size_t size, count;
    uint64_t lone_runs;
};

/* Token `position` of a text. Neighbours begin alike. */
int32_t world_text(int text, int position);
fo_sampling world_sampling(int which);

/* The token that follows `tokens` when they are alone; -1 if there was no
 * telling. */
int32_t world_next(trace_world *world, int model, const int32_t *tokens,
                   int count, int sampling);
bool world_stops(const trace_world *world, int model, int32_t token);

#endif
