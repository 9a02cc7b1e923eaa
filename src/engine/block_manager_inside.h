/* The manager, laid open to the files that make it up. */
#ifndef FOLIO_ENGINE_BLOCK_MANAGER_INSIDE_H
#define FOLIO_ENGINE_BLOCK_MANAGER_INSIDE_H

#include "engine/block_manager.h"

/* Define the manager. */
/* Bytes for the largest of what a pool may be asked. */
enum { asked_bytes = sizeof(fo_pool_keep) };

/* A request on its way through a batch. */
typedef struct claim {
    int32_t index; /* of the request                             */
    bool newcomer; /* the sequence was unknown before            */
} claim;

struct fo_block_manager {
    fo_device *device;
    const fo_backend *op;
    fo_block_config config;
    fo_pool_shape shape;
    fo_pool *pool;
    fo_block_table *table;
    fo_kv *layers; /* (L) */

    /* For one call to the pool; N = max_sequences. */
    void *there; /* device memory: what is asked, grants, copies */
    fo_pool_request *requests; /* (N) */
    fo_pool_grant *grants;     /* (N) */
    claim *claims;             /* (N) */
    int32_t *rows;             /* (N) */
    int32_t *from;             /* (N) first entry that may have changed */
    int32_t *copies;           /* (2 N) blocks copied from, then to     */
    bool *claimed;             /* (N) by row                            */
    uint64_t bytes;            /* of all of these                       */
};

#endif
