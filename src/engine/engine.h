/* Many requests at work on one model and one pool of blocks.
 *
 *     open -> submit, submit ... -> step, step ... -> close
 *
 * Requests join and leave between any two steps. A step runs some tokens of
 * each running request through the model at once, and tells which of them drew
 * a token. What a request draws depends on its own prompt and settings alone,
 * not on its neighbours. One thread at a time may use an engine. */
#ifndef FOLIO_ENGINE_ENGINE_H
#define FOLIO_ENGINE_ENGINE_H

#include "engine/block_manager.h"
#include "engine/prefix_cache.h"
#include "model/model.h"

typedef struct fo_engine fo_engine;

/* Say how an engine is to be set up. */
/* 0 stands for the default. */
typedef struct fo_engine_options {
    int context;       /* most tokens of one request; default: the model's   */
    int max_tokens;    /* of one step; default 512, and one a sequence       */
    int max_sequences; /* running at once; default 32                        */
    int max_waiting;   /* submitted and not running; default 1024            */
    int block_size;    /* default 16                                         */
    int total_blocks;  /* default: what the device has free once the model is */
                       /* open, at most max_sequences contexts               */
    int slab_blocks;   /* committed together as they are needed; default: of */
                       /* about 64 MiB; negative: all at once                */
    fo_dtype kv_dtype; /* of the cache: F32, F16 or BF16                      */
    bool no_prefix_cache; /* forget what has ended                            */
} fo_engine_options;

/* Open the model at `path` and take all memory that any step needs. `device`
 * must outlive the engine. Errors: those of fo_model_open; FO_ARG for settings
 * out of range; FO_NOMEM, with required and available bytes if it is known
 * before anything is taken. */
fo_status fo_engine_open(fo_device *device, const char *path,
                         const fo_engine_options *options, fo_engine **out,
                         fo_error *error);
void fo_engine_close(fo_engine **engine);

/* Ask for a continuation. */
enum { FO_MOST_LOGPROBS = 21 };

typedef struct fo_request {
    const int32_t *tokens; /* (count) the prompt; copied                    */
    size_t count;          /* 1 or more                                     */
    int max_new;           /* tokens to draw at most, 1 or more             */
    bool until_stop;       /* end with a token at which the tokenizer stops */
    fo_sampling sampling;  /* `position` is set by the engine               */
    int logprobs;          /* tell how likely each token was, and the       */
                           /* logprobs - 1 likeliest; 0: nothing; at most   */
                           /* FO_MOST_LOGPROBS                              */
} fo_request;

/* Let a request wait for its turn; numbers rise from 1. Nothing has changed
 * after any of
 *   FO_ARG    nothing to continue or to draw, an id outside the vocabulary,
 *             settings out of range
 *   FO_LIMIT  prompt and max_new exceed the context: required, available tokens
 *   FO_FULL   it would not fit if it were alone: required, available blocks;
 *             or the queue is full: required, available requests
 *   FO_NOMEM */
fo_status fo_engine_submit(fo_engine *engine, const fo_request *request,
                           int64_t *id, fo_error *error);

/* Continue a live request a second time from where it stands now, drawn by
 * `sampling`, to the same number of tokens in all. The two share what they have
 * in common. FO_UNKNOWN; FO_ARG; FO_FULL: the queue is full; FO_NOMEM. */
fo_status fo_engine_fork(fo_engine *engine, int64_t id,
                         const fo_sampling *sampling, int64_t *child,
                         fo_error *error);

/* End a request; its blocks are free at once. FO_UNKNOWN: it was never
 * submitted, or has ended already. */
fo_status fo_engine_abort(fo_engine *engine, int64_t id, fo_error *error);

/* Declare a step. */
typedef enum fo_finish {
    FO_GOES_ON,
    FO_STOPPED, /* the token is one to stop at            */
    FO_LENGTH,  /* max_new tokens have been drawn         */
    FO_FAILED,  /* no token could be drawn: see the error */
} fo_finish;

typedef struct fo_logprob {
    int32_t token;
    float value;
} fo_logprob;

typedef struct fo_progress {
    int64_t id;
    int32_t token; /* drawn in this step; -1 if it failed */
    fo_finish finish;
    fo_error error; /* FO_OK unless it failed */

    /* Natural logarithms of probabilities as the model gives them, before
     * temperature and the bounds of sampling. The array is the engine's, until
     * the next step. */
    float logprob;
    const fo_logprob *likeliest; /* (likeliest_count) best first */
    int likeliest_count;
} fo_progress;

/* Tell who drew a token; those that ended are unknown from then on. *count = 0
 * with FO_OK: nobody did. FO_NOMEM, FO_FULL, FO_DEVICE: every request is where
 * it was, though some may wait that ran, and the step may be tried again. */
fo_status fo_engine_step(fo_engine *engine,
                         fo_progress *out /* (max_sequences) */, int *count,
                         fo_error *error);

/* Whether there is nothing to do. */
bool fo_engine_idle(const fo_engine *engine);

/* Declare what is taken back. */
/* A running request waits again, its blocks free; what it has stored will be
 * computed anew. FO_UNKNOWN. */
fo_status fo_engine_preempt(fo_engine *engine, int64_t id, fo_error *error);

/* Give back blocks of requests that have ended, until `blocks` are free or none
 * is left. *evicted: how many came free. */
fo_status fo_engine_evict(fo_engine *engine, int blocks, int *evicted,
                          fo_error *error);

/* Give back all that is kept, and all memory of blocks that is then not in use:
 * for a host that must shed memory. */
fo_status fo_engine_shrink(fo_engine *engine, fo_error *error);

/* Look into an engine. */
typedef struct fo_engine_stats {
    int running, waiting;
    int most_running;   /* at once, so far                                  */
    uint64_t submitted; /* forks included                                   */
    uint64_t finished, failed, aborted;
    uint64_t refused;   /* at the door                                      */
    uint64_t preempted; /* times that a request was sent back               */
    uint64_t steps;
    uint64_t tokens;     /* run through the model                           */
    uint64_t recomputed; /* of these, stored before and given up            */
    uint64_t drawn;
    uint64_t metadata_bytes; /* of requests and steps, besides the blocks'  */
    fo_block_stats blocks;
    fo_prefix_cache_stats cache; /* all 0 without one                       */
} fo_engine_stats;

fo_status fo_engine_stats_get(const fo_engine *engine, fo_engine_stats *stats,
                              fo_error *error);

/* FO_DEVICE with the first broken invariant, of the engine or of what it is
 * made of. */
fo_status fo_engine_check(const fo_engine *engine, fo_error *error);

/* Borrowed. */
const fo_model *fo_engine_model(const fo_engine *engine);
const fo_block_manager *fo_engine_blocks(const fo_engine *engine);

/* The settings in force, with no 0 left in them but where 0 is a choice. */
const fo_engine_options *fo_engine_bounds(const fo_engine *engine);

#endif
