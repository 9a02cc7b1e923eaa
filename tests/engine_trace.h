/* Random days of an engine against books that know what must happen.
 *
 * A trace is a setup and a list of operations. Any list is a legal trace: an
 * argument names one of the requests that are alive, whichever these are. So a
 * trace that fails can be cut anywhere, and what is left can be tried. */
#ifndef FOLIO_TESTS_ENGINE_TRACE_H
#define FOLIO_TESTS_ENGINE_TRACE_H

#include "common/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Name the operations of a trace. */
typedef enum trace_kind {
    TRACE_STEP,    /*                                                     */
    TRACE_SUBMIT,  /* text, length, settings                              */
    TRACE_FORK,    /* who, sampling, fault                                */
    TRACE_ABORT,   /* who                                                 */
    TRACE_PREEMPT, /* who                                                 */
    TRACE_EVICT,   /* until so many blocks are free                       */
    TRACE_SHRINK,  /*                                                     */
    TRACE_FAIL,    /* which request for memory of the next operation fails */
    TRACE_KINDS,
} trace_kind;

typedef struct trace_op {
    uint8_t kind;
    uint8_t a, b, c;
} trace_op;

/* Lies that the books can be told, to test the tester. */
typedef enum trace_plant {
    TRACE_HONEST,
    TRACE_LIE_ABOUT_FORKS,  /* of requests that were preempted: a wrong token */
    TRACE_LIE_ABOUT_ABORTS, /* of forks: it is still alive                  */
    TRACE_PLANTS,
} trace_plant;

/* Say where a trace runs. */
enum { TRACE_SETUP = 4, TRACE_MODELS = 2 };

/* Models, and what each draws when it is asked alone: made once. */
typedef struct trace_world trace_world;
trace_world *trace_world_open(const fo_backend *backend);
void trace_world_close(trace_world **world);

typedef struct trace {
    uint8_t setup[TRACE_SETUP]; /* model, cache, and the engine's limits */
    trace_op *ops;              /* (count)                               */
    size_t count;
    trace_plant plant;
} trace;

typedef struct trace_tally {
    uint64_t ops, drawn, finished, aborted, forked, preempted, refused, failed;
    uint64_t forced; /* preempted by the engine itself */
    uint64_t evicted, shrunk;
} trace_tally;

/* Declare what can be done with a trace. */
/* Fill bytes of a setup and `count` operations from a seed. */
void trace_draw(trace *t, uint64_t seed);

/* What four bytes mean as an operation. */
trace_op trace_op_of(const uint8_t bytes[4]);

/* Run it on a new engine until the first thing goes wrong, which is told in
 * `trouble`, or to the end, at which the engine is emptied and closed. The
 * tally (may be null) is added to. */
bool trace_run(trace_world *world, const trace *t, char trouble[256],
               trace_tally *tally);

/* Make a failing trace as short as it gets in `runs` runs. */
void trace_shrink(trace_world *world, trace *t, int runs);

/* As text, and back: "setup 1 2 3 4; submit 0 5 1; step; fork 0 1 0". */
void trace_print(const trace *t, char *text, size_t size);
bool trace_parse(const char *text, trace *t); /* t->ops: by malloc */

#endif
