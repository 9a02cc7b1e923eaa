/* The engine, laid open to the files that make it up. */
#ifndef FOLIO_ENGINE_ENGINE_INSIDE_H
#define FOLIO_ENGINE_ENGINE_INSIDE_H

#include "engine/engine.h"
#include "engine/scheduler.h"

/* Describe a live request. */
/* The scheduler knows its job, the block manager a sequence of its number. */
typedef struct request {
    fo_job job;      /* first, so that a job leads to its request          */
    int most;        /* tokens with which it ends                          */
    int64_t follows; /* until it runs: the request it was forked from, or 0 */
    int given_up;    /* most tokens stored when it was sent back           */
    bool until_stop;
    int logprobs;
    fo_sampling sampling;
    int32_t tokens[]; /* (most) job.length of them are there */
} request;

/* Hold the engine and the memory of a step. */
/* A sequence whose request has ended. */
typedef struct leaver {
    int64_t sequence;
    bool keep; /* for the prefix cache */
} leaver;

struct fo_engine {
    fo_device *device;
    fo_engine_options bounds;
    fo_model *model;
    fo_block_manager *blocks;
    fo_prefix_cache *cache; /* null: none */
    fo_scheduler *scheduler;
    fo_room room;
    int64_t last_id;
    int window;      /* of the model, 0: none                             */
    int spare;       /* blocks to which no running job has a claim; -1:   */
                     /* not reckoned in this step                         */
    bool untidy;     /* sequences may store more than their jobs say      */
    leaver *leaving; /* (rows) not yet given back                         */
    int leaving_count;
    fo_engine_stats stats;

    /* T = max_tokens, N = max_sequences. */
    fo_turn *turns;             /* (N) */
    fo_block_request *requests; /* (N) */
    fo_error *results;          /* (N) */
    fo_sampling *sampling;      /* (N) of those that draw        */
    int64_t *slots;             /* (T) */
    int *asking;                /* (N) turns that ask for blocks */
    int32_t *tokens;            /* (T) */
    int32_t *positions;         /* (T) */
    int32_t *query_start;       /* (N + 1) */
    int32_t *length;            /* (N) */
    int32_t *row;               /* (N) */
    int32_t *logit_rows;        /* (N) of those that draw        */
    int32_t *drawn;             /* (N) */
    float *logit_row;           /* (V) null until logprobs are wanted */
    fo_logprob *likeliest;      /* (N, FO_MOST_LOGPROBS) */
};

/* Declare what the parts do for each other. */
/* The answers to the scheduler's questions. */
fo_room fo_engine_room(fo_engine *engine);

/* Most blocks that a sequence holds at once on its way to `stored` tokens. */
int fo_engine_need(const fo_engine *engine, int stored);

/* Give back the blocks that no later token of a job sees. */
fo_status fo_engine_trim(fo_engine *engine, const fo_job *job, fo_error *error);

/* End a request: its sequence leaves, and its memory is given back. What it
 * has computed may be kept for others. */
fo_status fo_engine_end(fo_engine *engine, request *request, bool keep,
                        fo_error *error);

/* Take the memory for logprobs, if it is not there yet. FO_NOMEM. */
fo_status fo_engine_open_logprobs(fo_engine *engine, fo_error *error);

/* Weigh the d-th token drawn, and the wanted - 1 likeliest, by its row of
 * logits in device memory. */
fo_status fo_engine_weigh(fo_engine *engine, int d, int wanted,
                          const float *logits /* (V) */, fo_error *error);

/* Make the block manager's sequences what the jobs say they are. */
fo_status fo_engine_tidy(fo_engine *engine, fo_error *error);

#endif
