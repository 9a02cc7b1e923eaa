/* What attention over whole sequences and over blocks have in common: the
 * running softmax (Milakov and Gimelshein 2018; Dao et al. 2022). */
#ifndef FOLIO_CPU_ATTENTION_H
#define FOLIO_CPU_ATTENTION_H

#include "common/backend.h"

enum { cpu_attention_strip = 64 }; /* keys folded in at a time */

/* The block that holds keys i B to (i + 1) B of sequence n. */
typedef int32_t cpu_attention_block(const fo_block_tables *tables, int n,
                                    int i);

/* Where the keys of a batch lie. */
typedef struct cpu_attention_keys {
    const fo_kv *kv;
    const fo_block_tables *tables; /* null if block_of needs none */
    cpu_attention_block *block_of;
} cpu_attention_keys;

/* Describe a tile and the rows it makes. */
/* Query tokens of one sequence that are worked on together. */
typedef struct cpu_attention_tile {
    int32_t sequence;
    int32_t first; /* counted in the batch */
    int32_t tokens;
    int32_t position; /* of the first, in its sequence */
} cpu_attention_tile;

/* The queries of a tile that read one kv head, row by row: token 0 with each
 * head of the group, token 1 with each, and so on; and their running softmax.
 * The arrays lie in the workspace. */
typedef struct cpu_attention_rows {
    const cpu_attention_keys *keys;
    const fo_attention *attention;
    const cpu_attention_tile *tile;
    int head;         /* the kv head                                        */
    int G, D;         /* query heads of one kv head, head dim               */
    int count;        /* tile->tokens G                                     */
    size_t key_bytes; /* of one key or value as stored                      */
    float *q;         /* (count, D), times the scale                        */
    float *weights;   /* (count, cpu_attention_strip), scores at first      */
    float *maximum;   /* (count), m: the largest score so far               */
    float *total;     /* (count), l: the sum of all e^(score - m)           */
    float *sum;       /* (count, D), a: the values times e^(score - m)      */
    float *strip;     /* (cpu_attention_strip, D), keys or values as floats */
} cpu_attention_rows;

/* The keys [first, last) of a sequence. */
typedef struct cpu_attention_span {
    int first, last;
} cpu_attention_span;

/* Declare the steps of attention. */
/* What `tokens` queries see between them, the first of them at `position`. */
cpu_attention_span cpu_attention_visible(const fo_attention *attention,
                                         int position, int tokens);

/* Fold the keys [from, to), at most a strip, into the softmax of all rows. */
void cpu_attention_fold(const cpu_attention_rows *rows, int from, int to);

/* Attention of a batch whose arguments have been checked. `query_start` is null
 * where query n is the one query of sequence n. FO_ARG: too little workspace.
 */
fo_status cpu_attention_batch(float *out /* (T, H, D) */,
                              const float *q /* (T, H, D), q_stride */,
                              const cpu_attention_keys *keys,
                              const fo_attention *attention,
                              const int32_t *query_start /* (N + 1) */,
                              fo_workspace workspace, fo_error *error);

/* FO_ARG unless heads, sizes and types fit each other, and the queries of the
 * sequences follow each other within T. `query_start` as above. */
fo_status cpu_attention_check(const fo_kv *kv, const fo_attention *attention,
                              const int32_t *query_start /* (N + 1) */,
                              fo_error *error);

#endif
