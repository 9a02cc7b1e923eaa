/* Where the tokens of each sequence lie: the reading side of the block manager.
 *
 * A sequence is named by an id of the caller's choice and has a row while the
 * manager knows it. The table holds a copy of what the device's pool says about
 * the rows; the manager refreshes it after each operation, and nobody else
 * writes it. The pool owns the blocks, the table merely answers quickly.
 *
 * Reading never fails and never allocates: what is not there is -1. */
#ifndef FOLIO_ENGINE_BLOCK_TABLE_H
#define FOLIO_ENGINE_BLOCK_TABLE_H

#include "common/backend.h"

#include <stdbool.h>

typedef struct fo_block_table fo_block_table;

/* Declare the questions a table answers. */
/* One sequence. Entries first .. blocks - 1 are block ids, entry i the block of
 * positions i B to (i + 1) B; earlier ones are -1. The view is borrowed and
 * holds until the manager's next operation. */
typedef struct fo_block_row {
    int32_t row;
    int32_t length; /* tokens stored */
    int32_t first, blocks;
    const int32_t *entries; /* (blocks) */
} fo_block_row;

/* Everything about a sequence; false if it is unknown. */
bool fo_block_table_sequence(const fo_block_table *table, int64_t sequence,
                             fo_block_row *out);

/* The block that holds a position, or -1. */
int32_t fo_block_table_block(const fo_block_table *table, int64_t sequence,
                             int32_t position);

/* The slot of a position, block * B + position % B, or -1. */
int64_t fo_block_table_slot(const fo_block_table *table, int64_t sequence,
                            int32_t position);

/* The slots of positions from `position` on: the slot mapping of a prefill, or
 * with n = 1 of a decode step. */
void fo_block_table_slots(const fo_block_table *table, int64_t sequence,
                          int32_t position, int n, int64_t *slots /* (n) */);

/* Tokens stored by a sequence, or -1. */
int32_t fo_block_table_length(const fo_block_table *table, int64_t sequence);

typedef struct fo_block_table_stats {
    int sequences;
    int64_t entries; /* block ids in all rows, shared ones every time */
    int64_t tokens;  /* of all sequences, shared ones every time      */
    int32_t longest; /* tokens of the longest sequence                */
    uint64_t bytes;  /* of the table itself, on the host              */
} fo_block_table_stats;

fo_block_table_stats fo_block_table_stats_get(const fo_block_table *table);

/* Declare how the manager keeps a table. */
/* A table over a pool of this shape, all rows unused. */
fo_status fo_block_table_open(fo_device *device, const fo_pool *pool,
                              const fo_pool_shape *shape, fo_block_table **out,
                              fo_error *error);
void fo_block_table_close(fo_block_table **table);

/* Give a sequence that is unknown a row, or return -1: all rows are in use. */
int32_t fo_block_table_add(fo_block_table *table, int64_t sequence);

/* Forget a sequence that is known. Its row must be empty by then. */
void fo_block_table_remove(fo_block_table *table, int64_t sequence);

/* The row of a sequence, or -1. */
int32_t fo_block_table_row(const fo_block_table *table, int64_t sequence);

/* One row by its number. */
fo_block_row fo_block_table_at(const fo_block_table *table, int32_t row);

/* Copy rows from the device: of row rows[i] what changed, its entries from
 * from[i] up. */
fo_status fo_block_table_refresh(fo_block_table *table,
                                 const int32_t *rows /* (n) */,
                                 const int32_t *from /* (n) */, int n,
                                 fo_error *error);

/* FO_DEVICE unless every row equals the device's. */
fo_status fo_block_table_check(const fo_block_table *table, fo_error *error);

#endif
