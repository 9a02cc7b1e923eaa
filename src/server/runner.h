/* What runs the model for the host: here, or in another process.
 *
 *     open -> submit, step, submit, step, abort ... -> close
 *
 * The host's own thread alone calls a runner, one call at a time. A runner that
 * is open holds the model. Calls that fail with FO_DEVICE or FO_IO mean that it
 * is of no more use and can only be closed. */
#ifndef FOLIO_SERVER_RUNNER_H
#define FOLIO_SERVER_RUNNER_H

#include "engine/engine.h"
#include "server/ask.h"

typedef struct fo_runner fo_runner;

/* Declare what a runner tells. */
/* A token as text. Pieces may be parts of a character, or empty. */
typedef struct fo_token_told {
    int32_t id;
    float logprob; /* natural logarithm; 0 if none was asked for */
    const char *text;
    size_t length;
} fo_token_told;

/* One token of one request. All that it points at is the runner's and holds
 * until its next call. */
typedef struct fo_drawn {
    int64_t id;
    fo_finish finish;
    fo_token_told token;
    const fo_token_told *likeliest; /* (likeliest_count) best first */
    int likeliest_count;
    fo_error error; /* of a request that failed */
} fo_drawn;

/* A prompt as the model sees it; borrowed as above. */
typedef struct fo_prompt_told {
    int tokens;
    const char *text; /* only for an ask that wants its echo */
    size_t length;
} fo_prompt_told;

/* The state of the blocks at one moment. */
enum { FO_CELL_FREE = -1, FO_CELL_KEPT = -2 };

typedef struct fo_cell {
    int32_t owner;   /* the first sequence that holds the block, an index; */
                     /* or FO_CELL_FREE; or FO_CELL_KEPT by the cache      */
    int32_t holders; /* 0: free; 2 and more: shared                        */
} fo_cell;

typedef struct fo_sequence_seen {
    int64_t id; /* as fo_runner_submit gave it */
    int32_t tokens, blocks;
} fo_sequence_seen;

/* What an open runner looks like from outside. The arrays are owned, and may
 * have more room than is used. */
typedef struct fo_snapshot {
    fo_engine_stats engine;
    uint64_t host_bytes, device_bytes; /* as Folio counts them            */
    uint64_t device_free;              /* what the device has left        */
    int context, block_size, max_sequences;
    int64_t process; /* where the model is */
    fo_cell *cells;  /* (cell_count) */
    int cell_count, cell_room;
    fo_sequence_seen *sequences; /* (sequence_count) */
    int sequence_count, sequence_room;
} fo_snapshot;

void fo_snapshot_free(fo_snapshot *snapshot);

/* FO_NOMEM: `to` holds what it held. */
fo_status fo_snapshot_copy(fo_snapshot *to, const fo_snapshot *from,
                           fo_error *error);

/* Make room for this many cells and sequences, of which none is set. */
fo_status fo_snapshot_room(fo_snapshot *snapshot, int cells, int sequences,
                           fo_error *error);

/* Declare the calls of a runner. */
typedef struct fo_runner_kind {
    const char *name;

    /* Load the model. `options` outlive the runner. */
    fo_status (*open)(const void *options, fo_runner **out, fo_error *error);

    /* Let the model go; in whatever state. Nulls the pointer. */
    void (*close)(fo_runner **runner);

    /* Begin all choices of an ask: ids[i] is choice i. All or none. Errors: as
     * fo_engine_submit; FO_UNSUPPORTED, FO_UNKNOWN: a chat with a model that
     * has no template for one. */
    fo_status (*submit)(fo_runner *runner, const fo_ask *ask,
                        int64_t *ids /* (choices) */,
                        fo_prompt_told *prompts /* (prompts, 1 for a chat) */,
                        fo_error *error);

    /* End one request; its blocks are free at once. */
    fo_status (*abort)(fo_runner *runner, int64_t id, fo_error *error);

    /* One step of all requests; *drawn holds until the next call. */
    fo_status (*step)(fo_runner *runner, const fo_drawn **drawn, int *count,
                      fo_error *error);

    /* Refresh a snapshot. */
    fo_status (*look)(fo_runner *runner, fo_snapshot *snapshot,
                      fo_error *error);
} fo_runner_kind;

/* Declare the runner of this process. */
typedef struct fo_runner_options {
    const fo_backend *backend;
    fo_device_options device;
    const char *model;
    fo_engine_options engine;
} fo_runner_options;

/* Its options are an fo_runner_options. */
extern const fo_runner_kind fo_runner_here;

#endif
