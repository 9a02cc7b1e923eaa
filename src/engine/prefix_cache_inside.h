/* The cache, laid open to the files that make it up and to its test. */
#ifndef FOLIO_ENGINE_PREFIX_CACHE_INSIDE_H
#define FOLIO_ENGINE_PREFIX_CACHE_INSIDE_H

#include "engine/prefix_cache.h"

/* Define a node. */
enum { no_one = -1, root = 0 };

/* A chain of full blocks, named by its last block: `depth` blocks, of which the
 * node has the tokens of the last and its parent the others. A node lives while
 * it has a child or a sequence that ends at it; all sequences that end at it or
 * below hold the chain. Node 0 is the root, the chain of no block. */
typedef struct prefix_node {
    uint64_t hash; /* over the parent's hash and the tokens      */
    uint64_t used; /* when it was last used, 0: never            */
    int32_t parent, depth;
    int32_t child;         /* the first of its children                  */
    int32_t after, before; /* among its siblings                         */
    int32_t ends;          /* the first sequence whose chain ends here   */
    int32_t kept;          /* kept sequences that end here or below      */
    int32_t next;          /* in its bucket; among the unused nodes      */
} prefix_node;

/* Define a holder. */
/* A sequence that holds a chain. Its place is its row of the block table. */
typedef struct prefix_holder {
    int64_t sequence;
    int32_t node;          /* where its chain ends; no_one: not a holder  */
    int32_t after, before; /* among those that end there                  */
    int32_t loose;         /* blocks no running sequence has, for evict   */
    bool kept;             /* it has ended                                */
} prefix_holder;

/* Define the cache. */
struct fo_prefix_cache {
    fo_block_manager *blocks;
    const fo_block_table *table;
    int B, window, max_rows, total_blocks;
    int32_t capacity;       /* nodes, the root included                 */
    int32_t unused;         /* the first node that is none              */
    int32_t live;           /* nodes, the root not included             */
    prefix_node *nodes;     /* (capacity)                               */
    int32_t *tokens;        /* (capacity, B)                            */
    int32_t *buckets;       /* (mask + 1) first node of each            */
    uint64_t mask;          /* buckets - 1, a power of two less one     */
    prefix_holder *holders; /* (max_rows)                               */
    int32_t *marks;         /* (total_blocks) for one call              */
    uint64_t clock;         /* rises with every use                     */
    uint64_t hash_bits;     /* of a hash that count: all, but in a test */
    uint64_t lookups, hits, hit_tokens, evicted_blocks;
};

/* Declare the tree. */
/* The child of `parent` with these B tokens, or no_one. */
int32_t prefix_node_find(const fo_prefix_cache *cache, int32_t parent,
                         const int32_t *tokens /* (B) */);

/* The same, made if need be; no_one if no node is left. */
int32_t prefix_node_add(fo_prefix_cache *cache, int32_t parent,
                        const int32_t *tokens /* (B) */);

/* The hash of a block behind a chain with that hash. */
uint64_t prefix_hash(const fo_prefix_cache *cache, uint64_t chain,
                     const int32_t *tokens /* (B) */);

/* The node after `at` in a walk over `top` and all below it, parents first, or
 * no_one. `below` false leaves out what is below `at`. */
int32_t prefix_node_after(const fo_prefix_cache *cache, int32_t at, int32_t top,
                          bool below);

/* The node and all its parents are used now. */
void prefix_node_touch(fo_prefix_cache *cache, int32_t node);

/* Let the holder of a row end at another node of the tree. Nodes that nobody
 * holds any more are gone. no_one: it is no holder, and not kept. */
void prefix_holder_move(fo_prefix_cache *cache, int32_t row, int32_t node);

/* Count a holder as kept. */
void prefix_holder_keep(fo_prefix_cache *cache, int32_t row);

/* Declare the holders. */
/* Whether a sequence could begin with the first `depth` blocks of a row: those
 * that its next token will see are still there. */
bool prefix_holder_serves(const fo_prefix_cache *cache, int32_t row,
                          int32_t depth);

/* Whether another kept holder has all blocks that this one has up to a node of
 * its chain. */
bool prefix_holder_covered(const fo_prefix_cache *cache, int32_t row,
                           int32_t node);

/* Free the sequence of a holder. */
fo_status prefix_holder_free(fo_prefix_cache *cache, int32_t row,
                             fo_error *error);

/* Set marks to 1 for blocks that running sequences have, else 0. */
void prefix_mark_running(const fo_prefix_cache *cache);

#endif
