/* The prefix cache once more, with no tree and no hash: every question is
 * answered by comparing the tokens of all sequences. It judges the real one. */
#ifndef FOLIO_TESTS_NAIVE_PREFIX_H
#define FOLIO_TESTS_NAIVE_PREFIX_H

#include "engine/block_table.h"

/* Judge: declare it. */
enum { naive_rows = 8, naive_longest = 48, naive_most = 24 };

/* A sequence that the manager knows; id 0: none. */
typedef struct naive_sequence {
    int64_t id;
    bool kept;
    int32_t tokens[naive_longest]; /* stored                           */
    int length;                    /* of them                          */
    int noted;                     /* full blocks that can be found    */
    int first, end;                /* entries that have a block        */
    int32_t block[naive_longest];  /* of each entry                    */
    uint64_t used[naive_longest];  /* when the chain of each entry was */
} naive_sequence;

typedef struct naive_prefix {
    int B, window, blocks;
    uint64_t clock, evicted;
    naive_sequence at[naive_rows];
} naive_prefix;

/* Judge: declare what it answers. */
naive_sequence *naive_prefix_find(naive_prefix *judge, int64_t id);

/* Tokens that could be shared, and whether `row` begins like one of the
 * sequences that could be forked for them. */
int naive_prefix_match(const naive_prefix *judge, const int32_t *tokens,
                       int count);
bool naive_prefix_could_fork(const naive_prefix *judge, const int32_t *tokens,
                             int hit, const fo_block_row *row);

/* What has been done with the real one. */
void naive_prefix_begin(naive_prefix *judge, int64_t id, const int32_t *tokens,
                        int hit, const fo_block_row *row);
void naive_prefix_note(naive_prefix *judge, int64_t id, int stored);
void naive_prefix_retire(naive_prefix *judge, int64_t id);
void naive_prefix_evict(naive_prefix *judge, int free, int rows);

/* What should then be so. */
int naive_prefix_free(const naive_prefix *judge);
int naive_prefix_evictable(const naive_prefix *judge);
int naive_prefix_chains(const naive_prefix *judge);
int naive_prefix_rows_free(const naive_prefix *judge);

#endif
