/* The contract: one table of functions per kind of device.
 *
 * Letters: T tokens in a batch, N sequences, C hidden size, R rows of a weight,
 * F feed-forward size, H query heads, K kv heads, D head dim, B block size,
 * V vocabulary, L layers.
 *
 * Rules for every op:
 *  - all array arguments lie in the device's memory; scalars and the parameter
 *    structs themselves are the host's;
 *  - an op allocates nothing and does not wait: outputs and workspace come from
 *    the caller, and `sync` waits;
 *  - float32 arithmetic; matrices are row-major; a (T, C) argument with a
 * stride has that many floats from one row to the next;
 *  - outputs do not overlap inputs unless the op says so;
 *  - a count of zero is legal and does nothing.
 *
 * Errors: FO_ARG for shapes the op cannot take, FO_DEVICE for a fault. */
#ifndef FOLIO_COMMON_BACKEND_H
#define FOLIO_COMMON_BACKEND_H

#include "common/dtype.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fo_backend fo_backend;

/* Each backend's own device begins with this. */
typedef struct fo_device {
    const fo_backend *backend;
} fo_device;

typedef struct fo_device_options {
    uint64_t memory_limit; /* bytes this device may hand out, 0: no limit */
} fo_device_options;

typedef struct fo_device_info {
    char name[64];
    uint64_t memory_total; /* bytes, the limit when one is set           */
    uint64_t memory_free;  /* bytes                                      */
    uint64_t memory_own;   /* bytes handed out: by alloc, by commit      */
} fo_device_info;

typedef struct fo_workspace {
    void *data;
    size_t bytes;
} fo_workspace;

/* Upper bounds of what a caller will ask for; `workspace_bytes` turns them into
 * the size of one workspace that serves every op within them. */
typedef struct fo_workload {
    int max_tokens;    /* T of linear, attention_prefill           */
    int max_sequences; /* N of attention and sample                */
    int max_length;    /* keys of one sequence                     */
    int max_columns;   /* C of any linear                          */
    int max_rows;      /* R of any linear                          */
    int H, K, D, V;
} fo_workload;

/* A matrix of weights, (R, C), rows contiguous in `dtype`. */
typedef struct fo_weight {
    const void *data;
    fo_dtype dtype;
    int R, C;
} fo_weight;

typedef enum fo_rope_style {
    FO_ROPE_NEOX,   /* rotates pairs (i, i + rotary / 2): Phi-3   */
    FO_ROPE_NORMAL, /* rotates pairs (2 i, 2 i + 1): Llama's GGUF */
} fo_rope_style;

typedef struct fo_rope {
    int T, heads, D;
    int stride; /* floats from one token to the next        */
    int rotary; /* leading dimensions of a head that rotate */
    fo_rope_style style;
    float scale;             /* multiplies cos and sin; 1 without longrope */
    const float *frequency;  /* (rotary / 2), radians a position         */
    const int32_t *position; /* (T)                                     */
} fo_rope;

/* One layer's cache: K and V, each [num_blocks][K][B][D] in `dtype`. The token
 * with slot s lies in block s / B at offset s % B of every kv head. */
typedef struct fo_kv {
    void *k;
    void *v;
    fo_dtype dtype; /* F32, F16 or BF16 */
    int num_blocks, K, B, D;
} fo_kv;

/* A batch of queries. Sequence n owns the query tokens query_start[n] up to
 * query_start[n + 1]; they are its last ones, so that query i of q stands at
 * position length[n] - q + i. Key j is visible to the query at position p when
 * 0 <= p - j, and p - j < window if there is a window. A query that sees no key
 * yields zeros. */
typedef struct fo_attention {
    int N, T, H;
    int q_stride;               /* floats from one query token to the next   */
    float scale;                /* multiplies q k                            */
    int window;                 /* 0: none                                   */
    int max_length;             /* no length exceeds it; known to the host   */
    const int32_t *query_start; /* (N + 1)                                   */
    const int32_t *length;      /* (N) keys stored, the queries' included    */
} fo_attention;

/* Where the keys of a batch lie: sequence n has row row[n] of `table`; entry i
 * is the block of positions i B to (i + 1) B, -1 where there is none. */
typedef struct fo_block_tables {
    const int32_t *table; /* (max_rows, max_blocks) */
    int max_blocks;
    const int32_t *row; /* (N) */
} fo_block_tables;

/* How the next token of one sequence is drawn. */
typedef struct fo_sampling {
    float temperature; /* 0: greedy, the lowest id of the largest logit      */
    float top_p;       /* keep the likeliest tokens up to this mass; 1: all  */
    int32_t top_k;     /* keep this many of the likeliest; 0: all            */
    uint64_t seed;
    uint64_t position; /* of the token to be drawn: the counter of the draw  */
} fo_sampling;

/* ---- The pool: who holds which block ---------------------------------- *
 *
 * States of a block: out of use (from `total` up), free (on the free stack
 * once, count 0), or held (count = number of table entries that name it, 1 or
 * more). free + held = total, always; a new pool has all its num_blocks in use.
 * A row is one sequence: its entries first .. blocks - 1 name blocks, all
 * others are -1; it stores `length` tokens, and first B <= length <= blocks B.
 * A new row is empty: all three are 0.
 *
 * Blocks are handed out from the top of a stack. A new pool hands out 0, 1, 2
 * and so on; blocks that come into use lie beneath all free ones, the lowest
 * of them on top. One request takes its copy first, then its new entries in
 * rising order. A block whose count falls to 0 is pushed at once; one keep
 * gives back from the last entry to the first, so that a row given back and
 * asked for again gets the same ids in the same order.
 *
 * The requests, keeps and forks of a call take effect one after another, in
 * order, as if each had been a call of its own; a row may come twice. One that
 * breaks a rule stated with its struct does nothing but raise `illegal` in the
 * statistics: nothing stops to tell the host. */
typedef struct fo_pool fo_pool;

typedef struct fo_pool_shape {
    int num_blocks; /* the most it can have */
    int B;
    int max_rows;
    int max_blocks; /* of one row */
} fo_pool_shape;

/* Give `row` blocks for at least `room` tokens and let it store `length`
 * tokens. Rule: old length <= length <= room. All or nothing.
 *
 * When the room goes beyond the old length and begins inside a block that
 * others hold too, the row gets a block of its own in its place, and the grant
 * names the copy to be made (kv_copy) before anything is written. The copies of
 * one call are independent: no block is both copied to and copied from. */
typedef struct fo_pool_request {
    int32_t row;
    int32_t length;
    int32_t room;
} fo_pool_request;

typedef struct fo_pool_grant {
    int32_t wanted;    /* blocks the request needs, a copy included, or   */
                       /* -1: it breaks the rule                          */
    int32_t granted;   /* the same, or -1 and nothing changed: too few    */
                       /* free blocks, or a row too short for the room    */
    int32_t copy_from; /* -1: nothing to copy                             */
    int32_t copy_to;
} fo_pool_grant;

/* Keep the blocks of `row` that hold room for positions first .. room - 1 (of
 * entries first / B and up, below ceil(room / B)), give back all others, and
 * let it store `length` tokens. Rule: 0 <= first <= length <= old length,
 * length <= room, and length >= first B of the row (its first block is not
 * stepped back over) unless all three are 0.
 *
 * 0, 0, 0: the whole row, empty again. first, old length, all the room: what a
 * sliding window has left behind. 0, shorter, shorter: a step back. */
typedef struct fo_pool_keep {
    int32_t row;
    int32_t first;
    int32_t length;
    int32_t room;
} fo_pool_keep;

/* Let the empty row `to` hold, besides `from`, the blocks of from's first
 * `length` tokens; what from has left behind is left behind in `to`. Rule: `to`
 * is empty, and first B of `from` <= length <= its length. */
typedef struct fo_pool_fork {
    int32_t from;
    int32_t to;
    int32_t length;
} fo_pool_fork;

/* The pool's arrays in device memory, to be read only. */
typedef struct fo_pool_view {
    const int32_t *table;  /* (max_rows, max_blocks) */
    const int32_t *length; /* (max_rows)             */
    const int32_t *first;  /* (max_rows)             */
    const int32_t *blocks; /* (max_rows)             */
} fo_pool_view;

typedef struct fo_pool_stats {
    int32_t total;        /* in use: blocks it may hand out               */
    int32_t free, held;   /* of those                                      */
    int32_t highest;      /* 1 + the highest block held, 0 with none       */
    int32_t shared;       /* held more than once                           */
    int32_t peak;         /* most ever held                                */
    uint64_t allocations; /* blocks handed out so far                      */
    uint64_t reuses;      /* of those, blocks that had been held before    */
    uint64_t tokens;      /* stored in blocks now held; where holders of a */
                          /* shared block differ, its fullest counts       */
    uint64_t illegal;     /* requests, keeps and forks that broke a rule   */
    uint64_t metadata_bytes;
} fo_pool_stats;

/* ---- Steps that need no host ------------------------------------------- *
 *
 * One step: step_request, pool_extend, step_place, kv_copy, a forward pass over
 * one token a sequence, sample, step_append, and pool_release if there is a
 * window. All arrays are device memory and the caller's. */
typedef enum fo_step_end {
    FO_STEP_GOES_ON,
    FO_STEP_STOPPED, /* it drew a token to stop at, which was appended */
    FO_STEP_REFUSED, /* the pool gave no block; the row is as it was   */
    FO_STEP_UNDRAWN, /* no token could be drawn; the last one is stored */
} fo_step_end;

typedef struct fo_steps {
    int N;
    int B, max_blocks; /* of the pool             */
    int window;        /* 0: none                 */
    int stops;         /* tokens to stop at       */
    fo_pool_view pool;
    int32_t *row;         /* (N) of each sequence, all different         */
    int32_t *query_start; /* (N + 1) 0, 1 .. N: one query each           */
    int32_t *stop;        /* (stops)                                     */
    int32_t *end; /* (N) an fo_step_end, all 0 before the first step     */

    /* From step_request and from pool_extend. */
    fo_pool_request *request; /* (N) */
    fo_pool_grant *grant;     /* (N) */

    /* From step_place; of a sequence that has ended 0, -1, 0, -1, -1. */
    int32_t *position;  /* (N) of the token to be stored                  */
    int64_t *slot;      /* (N)                                            */
    int32_t *length;    /* (N) this token included                        */
    int32_t *copy_from; /* (N) for kv_copy                                */
    int32_t *copy_to;   /* (N)                                            */
    fo_pool_keep *keep; /* (N) what the window leaves; null: no window    */

    /* From sample, and from step_append. */
    int32_t *drawn;        /* (N) -1: no token could be drawn             */
    int32_t *token;        /* (N) the last token of each, yet to be stored */
    fo_sampling *sampling; /* (N) the position counts up                  */
    int32_t *count;        /* (N) tokens appended, 0 before the first step */
    int32_t *tokens;       /* (steps, N) the k-th of sequence n at k N + n */
} fo_steps;

struct fo_backend {
    const char *name; /* "cpu", "sim", "cuda" */

    /* Give a device its life and its memory. */
    /* Life. `close` nulls the pointer; everything allocated must be freed. */
    fo_status (*open)(const fo_device_options *options, fo_device **out,
                      fo_error *error);
    void (*close)(fo_device **device);
    void (*info)(fo_device *device, fo_device_info *info);

    /* Memory. `alloc` fails with FO_NOMEM, its bytes are not cleared. `map`
     * makes host bytes that outlive the mapping readable by ops: a device that
     * computes in host memory returns the very pointer, others copy. */
    fo_status (*alloc)(fo_device *device, size_t bytes, void **out,
                       fo_error *error);
    void (*free)(fo_device *device, void *data);
    fo_status (*map)(fo_device *device, const void *host, size_t bytes,
                     const void **out, fo_error *error);
    void (*unmap)(fo_device *device, const void *data);
    fo_status (*upload)(fo_device *device, void *to, const void *from_host,
                        size_t bytes, fo_error *error);
    fo_status (*download)(fo_device *device, void *to_host, const void *from,
                          size_t bytes, fo_error *error);
    fo_status (*copy)(fo_device *device, void *to, const void *from,
                      size_t bytes, fo_error *error);
    fo_status (*fill)(fo_device *device, void *to, uint8_t byte, size_t bytes,
                      fo_error *error);

    /* Let memory come and go. */
    /* Memory that comes and goes. `reserve` takes addresses alone: an access to
     * them faults. `commit` puts memory behind the first `bytes` bytes of a
     * reservation and behind no others; old contents below stay, new bytes are
     * not cleared. Own bytes count what is committed, rounded up to the
     * device's pages. FO_NOMEM, and FO_ARG beyond the reservation: nothing has
     * changed. To commit less waits for the device, and never fails. */
    fo_status (*reserve)(fo_device *device, size_t bytes, void **out,
                         fo_error *error);
    fo_status (*commit)(fo_device *device, void *reserved, size_t bytes,
                        fo_error *error);
    void (*unreserve)(fo_device *device, void *reserved); /* null is nothing */

    /* Give a device its time. */
    /* Time. `download` waits for its own bytes; `sync` for everything. The
     * graph slots are optional: null where a device has no graphs. From
     * graph_begin to graph_end ops are recorded and not carried out; a graph
     * holds the arguments they were given. graph_end ends the recording even
     * where it fails. */
    fo_status (*sync)(fo_device *device, fo_error *error);
    fo_status (*graph_begin)(fo_device *device, fo_error *error);
    fo_status (*graph_end)(fo_device *device, void **graph, fo_error *error);
    fo_status (*graph_launch)(fo_device *device, void *graph, fo_error *error);
    void (*graph_free)(fo_device *device, void *graph); /* null is nothing */

    size_t (*workspace_bytes)(fo_device *device, const fo_workload *workload);

    /* Compute the parts of a layer. */
    /* Ops of a layer. */
    fo_status (*embed)(fo_device *device, float *out /* (T, C) */,
                       const int32_t *tokens /* (T) */,
                       const fo_weight *table /* (V, C) */, int T,
                       fo_error *error);
    fo_status (*rmsnorm)(fo_device *device, float *out /* (T, C) */,
                         const float *x /* (T, C) */,
                         const float *weight /* (C) */, int T, int C,
                         float epsilon, fo_error *error);
    fo_status (*linear)(fo_device *device, float *out /* (T, R) */,
                        const float *x /* (T, C) */, const fo_weight *weight,
                        int T, fo_workspace workspace, fo_error *error);
    fo_status (*add)(fo_device *device, float *out /* (n), may be x or y */,
                     const float *x /* (n) */, const float *y /* (n) */,
                     int64_t n, fo_error *error);
    fo_status (*rope)(fo_device *device, float *x /* (T, heads, D) */,
                      const fo_rope *rope, fo_error *error);
    fo_status (*silu_mul)(fo_device *device, float *out /* (T, F) */,
                          const float *gate /* (T, F), stride */,
                          const float *up /* (T, F), stride */, int T, int F,
                          int stride, fo_error *error);
    fo_status (*gather_rows)(fo_device *device, float *out /* (n, C) */,
                             const float *x /* (T, C) */,
                             const int32_t *rows /* (n) */, int n, int C,
                             fo_error *error);

    /* Write to the cache and attend over it. */
    /* The cache. A slot of -1 writes nothing; so does a pair with a -1. */
    fo_status (*kv_write)(fo_device *device, const fo_kv *kv,
                          const float *k /* (T, K, D), stride */,
                          const float *v /* (T, K, D), stride */, int stride,
                          const int64_t *slots /* (T) */, int T,
                          fo_error *error);
    fo_status (*kv_copy)(fo_device *device, const fo_kv *kv,
                         const int32_t *from /* (n) */,
                         const int32_t *to /* (n) */, int n, fo_error *error);

    /* Attention. `attention_decode` requires T = N, one query a sequence. */
    fo_status (*attention_prefill)(fo_device *device,
                                   float *out /* (T, H, D) */,
                                   const float *q /* (T, H, D), q_stride */,
                                   const fo_kv *kv,
                                   const fo_block_tables *tables,
                                   const fo_attention *attention,
                                   fo_workspace workspace, fo_error *error);
    fo_status (*attention_decode)(fo_device *device, float *out /* (N, H, D) */,
                                  const float *q /* (N, H, D), q_stride */,
                                  const fo_kv *kv,
                                  const fo_block_tables *tables,
                                  const fo_attention *attention,
                                  fo_workspace workspace, fo_error *error);
    /* Choose a contiguous baseline and the next token. */
    /* The baseline without a table: `kv` holds one block a sequence, in order,
     * so num_blocks = N and B is the length reserved for each. */
    fo_status (*attention_contiguous)(fo_device *device,
                                      float *out /* (T, H, D) */,
                                      const float *q /* (T, H, D), q_stride */,
                                      const fo_kv *kv,
                                      const fo_attention *attention,
                                      fo_workspace workspace, fo_error *error);

    fo_status (*sample)(fo_device *device, int32_t *tokens /* (N) */,
                        const float *logits /* (N, V) */,
                        const fo_sampling *sampling /* (N) */, int N, int V,
                        fo_workspace workspace, fo_error *error);

    /* Hand out blocks and take them back. */
    /* The pool. Requests and grants lie in device memory; a grant refused is no
     * error of the call. `stats` and `check` wait. `check` returns FO_DEVICE
     * with the first broken invariant in the message. `pool_bytes` tells what
     * pool_open will take of the device's memory. */
    size_t (*pool_bytes)(fo_device *device, const fo_pool_shape *shape);
    fo_status (*pool_open)(fo_device *device, const fo_pool_shape *shape,
                           fo_pool **out, fo_error *error);
    void (*pool_close)(fo_device *device, fo_pool **pool);
    fo_pool_view (*pool_view)(fo_device *device, const fo_pool *pool);
    fo_status (*pool_extend)(fo_device *device, fo_pool *pool,
                             const fo_pool_request *requests /* (n) */,
                             fo_pool_grant *grants /* (n) */, int n,
                             fo_error *error);
    fo_status (*pool_release)(fo_device *device, fo_pool *pool,
                              const fo_pool_keep *keeps /* (n) */, int n,
                              fo_error *error);
    fo_status (*pool_share)(fo_device *device, fo_pool *pool,
                            const fo_pool_fork *forks /* (n) */, int n,
                            fo_error *error);
    /* Let the pool hand out blocks 0 .. blocks - 1 and no others; waits. FO_ARG
     * below 0 and beyond num_blocks. FO_FULL where a block from `blocks` up is
     * held, with the blocks required and those available. Nothing has changed
     * then. */
    fo_status (*pool_resize)(fo_device *device, fo_pool *pool, int blocks,
                             fo_error *error);
    fo_status (*pool_stats)(fo_device *device, const fo_pool *pool,
                            fo_pool_stats *stats, fo_error *error);
    fo_status (*pool_check)(fo_device *device, const fo_pool *pool,
                            fo_error *error);

    /* Go from step to step. */
    /* Steps. `step_request` asks one token more for each sequence that goes on.
     * `step_place` says where it was granted, or that the sequence has ended.
     * `step_append` takes the drawn token as the next input. */
    fo_status (*step_request)(fo_device *device, const fo_steps *steps,
                              fo_error *error);
    fo_status (*step_place)(fo_device *device, const fo_steps *steps,
                            fo_error *error);
    fo_status (*step_append)(fo_device *device, const fo_steps *steps,
                             fo_error *error);
};

#endif
