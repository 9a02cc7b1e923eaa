/* The books of a pool, laid open to be checked. Words and rules:
 * common/backend.h. */
#ifndef FOLIO_COMMON_POOL_BOOKS_H
#define FOLIO_COMMON_POOL_BOOKS_H

#include "common/backend.h"

/* All arrays are host memory. */
typedef struct fo_pool_books {
    fo_pool_shape shape;
    int32_t total;         /* blocks in use                       */
    int32_t free;          /* depth of the stack                  */
    int32_t fresh;         /* the lowest block never handed out   */
    const int32_t *table;  /* (max_rows, max_blocks)              */
    const int32_t *length; /* (max_rows)                          */
    const int32_t *first;  /* (max_rows)                          */
    const int32_t *blocks; /* (max_rows)                          */
    const int32_t *count;  /* (num_blocks)                        */
    const int32_t *stack;  /* (num_blocks), the top at free - 1   */
    int32_t *tally;        /* (num_blocks), scratch               */
} fo_pool_books;

/* FO_DEVICE with the first broken invariant in the message. */
fo_status fo_pool_books_check(const fo_pool_books *books, fo_error *error);

#endif
