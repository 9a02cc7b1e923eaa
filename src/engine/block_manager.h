/* Memory for the keys and values of many sequences: who holds which block.
 *
 * The manager owns a device's pool of blocks and, for every layer, the K and V
 * memory that the blocks index. It is the only writer: block tables read.
 *
 * A sequence is named by an id of the caller's choice and is known from the
 * first operation that succeeds for it until it is freed. Every operation
 * either succeeds or returns its reason and has changed nothing:
 *
 *   FO_FULL     too few free blocks, or sequences: required, available
 *   FO_LIMIT    longer than max_length: required, available, in tokens
 *   FO_UNKNOWN  no such sequence, no such block
 *   FO_ARG      a block freed twice, a block of another sequence, a length or
 *               position out of range, an id that is in use
 *   FO_DEVICE   the device failed. What it left half done is taken back, at
 *               once or before the next operation; only if the device goes on
 *               failing is the state uncertain
 *
 * With slabs the memory follows the load: FO_FULL also stands for too little
 * memory to commit, and then the message says so. */
#ifndef FOLIO_ENGINE_BLOCK_MANAGER_H
#define FOLIO_ENGINE_BLOCK_MANAGER_H

#include "common/backend.h"
#include "engine/block_table.h"

typedef struct fo_block_manager fo_block_manager;

/* Declare the life of a manager. */
typedef struct fo_block_config {
    int total_blocks;
    int block_size; /* tokens of one block                   */
    int num_layers;
    int kv_heads;
    int head_dim;
    fo_dtype dtype; /* F32, F16 or BF16                      */
    int max_sequences;
    int max_length;  /* tokens that one sequence may store    */
    int slab_blocks; /* 0: all memory at once; else blocks whose K and V memory
                        is committed together, as they are first needed */
} fo_block_config;

/* Bytes of K and V that one token takes over all layers, and that the whole
 * manager takes: 2 layers kv_heads head_dim bytes, times the slots. */
uint64_t fo_block_config_token_bytes(const fo_block_config *config);
uint64_t fo_block_config_bytes(const fo_block_config *config);

/* Bytes of the device's memory that a manager takes besides K and V: for the
 * pool, and for what the pool is asked. */
uint64_t fo_block_config_table_bytes(fo_device *device,
                                     const fo_block_config *config);

/* Allocate everything the manager will ever use; with slabs, all but the K and
 * V memory, for which addresses are reserved. FO_ARG for a shape with nothing
 * in it, FO_UNSUPPORTED for another dtype, FO_NOMEM with required and available
 * bytes: without slabs, if the K and V memory exceeds what the device has free,
 * before anything is allocated. */
fo_status fo_block_manager_open(fo_device *device,
                                const fo_block_config *config,
                                fo_block_manager **out, fo_error *error);

/* Null the pointer and give all back, sequences included. */
void fo_block_manager_close(fo_block_manager **manager);

/* Declare how sequences grow. */
/* Append `tokens` to what a sequence stores, with blocks for them, and give it
 * `blocks` empty ones more. An unknown sequence becomes known. */
typedef struct fo_block_request {
    int64_t sequence;
    int32_t tokens;
    int32_t blocks;
} fo_block_request;

/* One request. Where the new tokens begin inside a shared block, the sequence
 * first gets a copy of it, on every layer (copy on write). */
fo_status fo_block_manager_extend(fo_block_manager *manager, int64_t sequence,
                                  int tokens, fo_error *error);
fo_status fo_block_manager_allocate(fo_block_manager *manager, int64_t sequence,
                                    int blocks, fo_error *error);

/* Many requests in one step on the device, in order, each all or nothing.
 * results[i] tells how request i ended; a sequence may come only once (FO_ARG).
 * Returns FO_OK if the device worked, whatever the results. */
fo_status fo_block_manager_extend_batch(fo_block_manager *manager,
                                        const fo_block_request *requests,
                                        fo_error *results /* (n) */, int n,
                                        fo_error *error);

/* Declare how sequences shrink and share. */
/* Give back one block: the last of a sequence, with the tokens in it, or the
 * first, once it is full. */
fo_status fo_block_manager_free_block(fo_block_manager *manager,
                                      int64_t sequence, int32_t block,
                                      fo_error *error);

/* Give back all blocks of a sequence, which is then unknown. */
fo_status fo_block_manager_free_sequence(fo_block_manager *manager,
                                         int64_t sequence, fo_error *error);

/* Give back the blocks that lie wholly before position `first`: a sliding
 * window has left them behind. Room ahead is kept. */
fo_status fo_block_manager_trim(fo_block_manager *manager, int64_t sequence,
                                int first, fo_error *error);

/* Step back to `length` tokens and give back the blocks beyond. */
fo_status fo_block_manager_truncate(fo_block_manager *manager, int64_t sequence,
                                    int length, fo_error *error);

/* Let the unknown sequence `to` begin with from's first `tokens` tokens, in the
 * same blocks. Takes no block. */
fo_status fo_block_manager_fork(fo_block_manager *manager, int64_t from,
                                int64_t to, int tokens, fo_error *error);

/* Declare how memory follows the load. */
/* Commit slabs until `free` blocks are free: for steps that run without the
 * host. FO_FULL, there are not as many; FO_NOMEM, there is no memory for them,
 * and what was committed by then stays. */
fo_status fo_block_manager_reserve(fo_block_manager *manager, int free,
                                   fo_error *error);

/* Give back the slabs above the highest block held, but for `spare` of them. */
fo_status fo_block_manager_shrink(fo_block_manager *manager, int spare,
                                  fo_error *error);

/* Declare what a manager tells. */
typedef struct fo_block_stats {
    fo_pool_stats pool;
    fo_block_table_stats table;
    uint64_t kv_bytes;        /* of K and V, all layers, at most            */
    uint64_t committed_bytes; /* of those, of blocks there is memory for    */
    uint64_t metadata_bytes;  /* of everything else, on host and device     */
    double utilisation;       /* tokens stored / slots held; 0 with none    */
    double reuse_rate;        /* reuses / allocations; 0 with none          */
} fo_block_stats;

fo_status fo_block_manager_stats(const fo_block_manager *manager,
                                 fo_block_stats *stats, fo_error *error);

/* FO_DEVICE with the first broken invariant: of the pool, of the table against
 * the pool, or of the pool's rules by the manager. */
fo_status fo_block_manager_check(const fo_block_manager *manager,
                                 fo_error *error);

/* Borrowed from the manager. */
const fo_block_config *fo_block_manager_config(const fo_block_manager *manager);
const fo_block_table *fo_block_manager_table(const fo_block_manager *manager);
const fo_kv *fo_block_manager_layer(const fo_block_manager *manager, int layer);
const fo_kv *fo_block_manager_layers(const fo_block_manager *manager);

/* The pool's table in device memory, for attention over rows `row` (N), which
 * are the device's too. */
fo_block_tables fo_block_manager_tables(const fo_block_manager *manager,
                                        const int32_t *row);

#endif
