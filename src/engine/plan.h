/* What a load will take of a device, before it takes anything.
 *
 * A plan is exact: opening a model, a manager and a decode loop of the same
 * shape takes these bytes of the device's memory and no others. Memory of the
 * host is not planned. */
#ifndef FOLIO_ENGINE_PLAN_H
#define FOLIO_ENGINE_PLAN_H

#include "engine/block_manager.h"
#include "model/model.h"

/* Say what is to be loaded. */
/* 0 stands for the default. */
typedef struct fo_plan_request {
    int context, max_tokens, max_sequences, max_logits; /* of the model */
    int block_size;    /* tokens of a block; default: 16                    */
    int rows;          /* sequences the manager knows at once; default:     */
                       /* max_sequences                                     */
    int contexts;      /* whole contexts to have blocks for; default: 1     */
    int total_blocks;  /* default: the blocks of these contexts             */
    int loop_tokens;   /* most_tokens of a decode loop; default: no loop;   */
                       /* -1: the context                                   */
    fo_dtype kv_dtype; /* of the cache: F32, F16 or BF16                    */
} fo_plan_request;

/* Say what it will take. */
/* All in bytes, but for the last line. */
typedef struct fo_plan {
    uint64_t weights;   /* that the device must hold, mapped or copied       */
    uint64_t workspace; /* buffers of a pass, op workspace, step indices     */
    uint64_t kv;        /* of all blocks, all layers                         */
    uint64_t tables;    /* pool, block table, staging: metadata              */
    uint64_t required;  /* the sum of these four                             */
    uint64_t available; /* memory_free of the device                         */
    uint64_t token_bytes, block_bytes; /* of K and V, over all layers        */
    int blocks, context, sequences;
} fo_plan;

/* Make a plan. */
/* Reads the file's metadata, takes nothing of the device's memory and keeps
 * nothing of the host's. Errors: those of the file and its configuration;
 * FO_LIMIT, the context asked for exceeds the model's; FO_ARG, negative
 * numbers or a cache of another type; FO_NOMEM, required exceeds available,
 * both in `error` and in the plan, which is whole then too. */
fo_status fo_plan_make(fo_device *device, const char *path,
                       const fo_plan_request *request, fo_plan *plan,
                       fo_error *error);

/* The same for a file that is open, without judging whether it fits. */
fo_status fo_plan_of(fo_device *device, const fo_gguf *gguf,
                     const fo_plan_request *request, fo_plan *plan,
                     fo_error *error);

#endif
