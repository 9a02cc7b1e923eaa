/* The manager, laid open to the files that make it up. */
#ifndef FOLIO_ENGINE_BLOCK_MANAGER_INSIDE_H
#define FOLIO_ENGINE_BLOCK_MANAGER_INSIDE_H

#include "engine/block_manager.h"

/* Define the manager. */
/* A request on its way through a batch. */
typedef struct claim {
    int64_t sequence;
    int32_t index;                 /* of the request                    */
    int32_t length, first, blocks; /* of its row, before the batch      */
    bool newcomer;                 /* the sequence was unknown before   */
    bool without_memory;           /* memory, not the pool, was short   */
} claim;

struct fo_block_manager {
    fo_device *device;
    const fo_backend *op;
    fo_block_config config;
    fo_pool_shape shape;
    fo_pool *pool;
    fo_block_table *table;
    fo_kv *layers; /* (L) */
    int32_t edge;  /* blocks with memory behind them: the pool's total */

    /* For one call to the pool; N = max_sequences. */
    void *there;         /* device memory: what is asked, grants, copies */
    claim *claims;       /* (N) */
    fo_pool_keep *keeps; /* (N) */
    fo_pool_request *requests; /* (N) */
    fo_pool_grant *grants;     /* (N) behind the requests of the call */
    int32_t *rows;             /* (N) */
    int32_t *from;             /* (N) first entry that may have changed */
    int32_t *copies;           /* (2 N) blocks copied from, then to     */
    bool *claimed;             /* (N) by row                            */
    uint64_t bytes;            /* of all of these                       */

    int32_t unread, pending, behind, owed; /* see settle */
};

/* Deal with what an operation left behind that the device did not finish: read
 * the grants of `unread` requests, take back a batch of `pending` claims, read
 * `behind` rows again, and make `owed` copies. Each is 0 between operations
 * unless the device failed. What fails is tried again the next time. */
fo_status fo_block_manager_settle(fo_block_manager *m, fo_error *error);

/* Commit slabs until `wanted` blocks are free, `free` being so now. FO_FULL
 * with nothing changed, FO_NOMEM. */
fo_status fo_block_manager_grow(fo_block_manager *m, int32_t free,
                                int64_t wanted, fo_error *error);

/* The same; what was committed is given back if it is not enough. */
fo_status fo_block_manager_grow_at_once(fo_block_manager *m, int32_t free,
                                        int64_t wanted, fo_error *error);

/* Note the copies that `n` grants name as owed. */
void fo_block_manager_owe(fo_block_manager *m, int32_t n);

/* Where the grants of `n` requests lie in device memory: behind them. */
fo_pool_grant *fo_block_manager_grants_there(const fo_block_manager *m,
                                             int32_t n);

#endif
