/* What was computed once is found again: sequences that begin alike share the
 * blocks of their common beginning, and a sequence that has ended is kept until
 * its blocks are wanted.
 *
 * Only full blocks whose keys and values are written can be found, by their
 * tokens and by all tokens before them. Tokens are compared, hashes only say
 * where to look. A kept sequence stays in the block manager under its own id;
 * sharing is fo_block_manager_fork, giving back is fo_block_manager_truncate
 * and fo_block_manager_free_sequence, and no other part keeps a list of blocks.
 *
 * A sequence that was noted or begun here leaves by retire or by drop, never
 * by fo_block_manager_free_sequence. One that steps back (truncate) is noted
 * with its new length before it goes on. All memory is taken by open: nothing
 * else here allocates. An operation that fails has changed nothing, but for
 * FO_DEVICE, after which the state is uncertain.
 *
 * Kwon et al., SOSP 2023, section 4.4, share prefixes that are known
 * beforehand; here any two sequences may share. */
#ifndef FOLIO_ENGINE_PREFIX_CACHE_H
#define FOLIO_ENGINE_PREFIX_CACHE_H

#include "engine/block_manager.h"

typedef struct fo_prefix_cache fo_prefix_cache;

/* Declare the life of a cache. */
/* Host bytes that a cache over such a manager takes, all of them at open. */
uint64_t fo_prefix_cache_bytes(const fo_block_config *config, int window);

/* A cache over a manager, which is borrowed and must outlive it. `window`: keys
 * that a query sees, itself included; 0: all before it. FO_NOMEM. */
fo_status fo_prefix_cache_open(fo_block_manager *blocks, int window,
                               fo_prefix_cache **out, fo_error *error);

/* Null the pointer. Frees the sequences it keeps, and no running one. */
void fo_prefix_cache_close(fo_prefix_cache **cache);

/* Declare what a running sequence does. */
/* Make findable the full blocks of a running sequence whose K and V are
 * written: tokens[0 .. stored). Blocks noted before are not read again; a
 * smaller `stored` than before forgets those beyond it. FO_UNKNOWN: no such
 * running sequence. FO_ARG: it does not store so much, or there are more chains
 * than blocks, since some block was noted with tokens that it does not hold. */
fo_status fo_prefix_cache_note(fo_prefix_cache *cache, int64_t sequence,
                               const int32_t *tokens /* (stored) */, int stored,
                               fo_error *error);

/* Tokens that `begin` would share; changes nothing. */
int fo_prefix_cache_match(const fo_prefix_cache *cache,
                          const int32_t *tokens /* (count) */, int count);

/* The blocks that `begin` would share and the next token sees, and how many of
 * these no running sequence has: once shared they cannot be given back. Looks
 * at every entry of the block table. */
void fo_prefix_cache_weigh(const fo_prefix_cache *cache,
                           const int32_t *tokens /* (count) */, int count,
                           int *held, int *loose);

/* Let the unknown `sequence` begin with the longest cached run of full blocks
 * of `tokens`, at most count - 1 tokens, and tell how many in *hit. With 0 the
 * sequence is still unknown. What was hit counts as used now. FO_ARG: the id is
 * in use. FO_FULL: no row is free (required, available, in rows). */
fo_status fo_prefix_cache_begin(fo_prefix_cache *cache, int64_t sequence,
                                const int32_t *tokens /* (count) */, int count,
                                int *hit, fo_error *error);

/* Declare how a sequence ends. */
/* Keep the noted full blocks of a running sequence if they add anything to what
 * is kept, else free it. Either way it is no longer the caller's, and what it
 * noted counts as used now. FO_UNKNOWN: no such running sequence. */
fo_status fo_prefix_cache_retire(fo_prefix_cache *cache, int64_t sequence,
                                 fo_error *error);

/* Free a running sequence without keeping it. FO_UNKNOWN. */
fo_status fo_prefix_cache_drop(fo_prefix_cache *cache, int64_t sequence,
                               fo_error *error);

/* Declare how kept blocks go. */
/* Blocks that would be free if all kept sequences were given back. Looks at
 * every entry of the block table. */
int fo_prefix_cache_evictable(const fo_prefix_cache *cache);

/* Give back kept blocks, least recently used first and children before their
 * parents, until the pool has `free` free blocks; then whole kept sequences
 * until `rows` more sequences could begin; or until nothing is left that would
 * help. *evicted: blocks that came free. Running sequences are not touched.
 * Logs "evicted". */
fo_status fo_prefix_cache_evict(fo_prefix_cache *cache, int free, int rows,
                                int *evicted, fo_error *error);

/* Declare what a cache tells. */
typedef struct fo_prefix_cache_stats {
    int kept_sequences;
    int kept_blocks;        /* held by kept sequences, each once    */
    int nodes;              /* distinct chains of full blocks       */
    uint64_t lookups, hits; /* calls of begin; those that shared    */
    uint64_t hit_tokens;    /* that need not be computed again      */
    uint64_t evicted_blocks;
    uint64_t metadata_bytes;
} fo_prefix_cache_stats;

fo_prefix_cache_stats fo_prefix_cache_stats_get(const fo_prefix_cache *cache);

/* Whether a sequence is kept: known to the manager, and nobody's. */
bool fo_prefix_cache_keeps(const fo_prefix_cache *cache, int64_t sequence);

/* FO_DEVICE with the first broken invariant. */
fo_status fo_prefix_cache_check(const fo_prefix_cache *cache, fo_error *error);

#endif
