/* A cache over a small manager, on each device in turn. */
#ifndef FOLIO_TESTS_PREFIX_CASE_H
#define FOLIO_TESTS_PREFIX_CASE_H

#include "engine/prefix_cache.h"

/* Case: declare it. */
enum { B = 4, BLOCKS = 24, ROWS = 8, LONGEST = 48 };

/* What most requests say. */
extern const int32_t text[LONGEST];

typedef struct prefix_case {
    int side;        /* how many devices were opened before; begin with {0} */
    int slab_blocks; /* of the manager's configuration               */
    fo_device *device;
    fo_block_manager *m;
    const fo_block_table *table;
    fo_prefix_cache *c;
    fo_error error;
} prefix_case;

/* Close the case if it is open, and open it on the next device: the CPU, then
 * the verso where it is built in. False when there is none. */
bool prefix_case_next(prefix_case *f, int window);

/* Blocks that are free, once the books of the manager and of the cache were
 * found right. */
int free_blocks(prefix_case *f);

/* Fail the test unless the status is FO_OK. */
void must(prefix_case *f, fo_status status);

/* Begin with what is cached, store the rest, and note it all; tell the hit. */
int serve(prefix_case *f, int64_t sequence, const int32_t *tokens, int count);
void retire(prefix_case *f, int64_t sequence);
int evict(prefix_case *f, int free, int rows);

/* Fail the test unless a sequence has these blocks, and no more. */
void expect_blocks(prefix_case *f, int64_t sequence, int n,
                   const int32_t *blocks /* (n) */);

#endif
