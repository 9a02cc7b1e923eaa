/* What the parts of a long day share. */
#ifndef FOLIO_TESTS_STRESS_INSIDE_H
#define FOLIO_TESTS_STRESS_INSIDE_H

#include "common/memory.h"
#include "engine/block_manager.h"
#include "stress.h"

/* Hold what a day is made of. */
enum { STRESS_MOST = 64, STRESS_LONGEST = 1024, STRESS_SPARE = 128 };

/* A guest: one sequence, and what it should hold. Token p of it is row text[p]
 * of the day's stock. */
typedef struct stress_guest {
    int64_t id;
    int length;
    int base;       /* token p of its own is row base + p */
    int64_t parent; /* of a fork that has written nothing yet; or 0 */
    int16_t text[STRESS_LONGEST];
} stress_guest;

/* Hold all of a day. */
typedef struct stress_day {
    const stress_options *options;
    stress_result *result;
    fo_device *device;
    const fo_backend *op;
    fo_block_manager *blocks;
    stress_guest guests[STRESS_MOST];
    int live, wanted; /* guests, and as many as there should be */
    int64_t next_id;
    uint64_t draws;
    int width; /* heads D                                  */
    int room;  /* tokens at most: the longest, and one more */

    /* The stock of tokens and queries, on the host as the cache rounds them,
     * and on the device. */
    int rows;
    float *k, *v, *q; /* (rows, heads, D)              */
    float *there_k, *there_v, *there_q;
    /* A step's arrays on the device. */
    float *new_k, *new_v, *out; /* (STRESS_MOST, heads, D)       */
    int64_t *slots;             /* (STRESS_LONGEST)              */
    int32_t *numbers;           /* (4 STRESS_MOST)               */
    fo_workspace workspace;
    /* For the judge. */
    float *judged_k, *judged_v, *got; /* (STRESS_LONGEST, heads, D) */
    double *want;
    int32_t
        *seen; /* (blocks) tokens in the fullest use of each, for the audit */
    void *lost;
    int32_t held;       /* blocks, by the last audit */
    double token_bytes; /* of K and V */

    uint64_t host_bytes, device_bytes; /* when the day began */
    double utilisation;                /* summed over the steps */
} stress_day;

/* Declare the parts of a day. */
/* Each is false when the day has come to grief, and has said so. */
bool stress_trouble(stress_day *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint32_t stress_draw(stress_day *d, uint32_t below); /* 0 .. below - 1 */

bool stress_open(stress_day *d);
void stress_close(stress_day *d);
bool stress_guests_move(stress_day *d); /* arrive, fork, leave */
bool stress_decode(stress_day *d, int *first_query);
bool stress_audit(stress_day *d);
bool stress_judge(stress_day *d, int first_query);
bool stress_go_home(stress_day *d);
bool stress_leave(stress_day *d, int i);

/* Whether a refusal of so many blocks says what it should. */
bool stress_refused(stress_day *d, const fo_error *why, int wanted);

/* Write tokens from .. to - 1 of a guest into the cache. */
bool stress_write(stress_day *d, const stress_guest *g, int from, int to);

#endif
