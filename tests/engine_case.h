/* Crowds of requests for an engine, and what each of them draws alone. Each
 * function fails the cmocka test if something is not as it should be. */
#ifndef FOLIO_TESTS_ENGINE_CASE_H
#define FOLIO_TESTS_ENGINE_CASE_H

#include "engine/engine.h"
#include "toy_model.h"

enum { MOST = TOY_CONTEXT, CROWD = 8 };

/* Name the toys and the sides. */
/* Toys as files: without a window, with one of 20, and a llama. */
enum { PLAIN, WINDOWED, LLAMA, KINDS };
extern char toy_paths[KINDS][32];

/* For the beginning and the end of a group of tests. */
int toy_paths_write(void **state);
int toy_paths_remove(void **state);

/* The backends to be tested: the CPU, and the verso where it is built in. */
int workload_sides(const fo_backend *out[2]);

/* Describe a workload. */
typedef struct wish {
    int32_t prompt[MOST];
    fo_request request;
    int arrival;        /* the step before which it is submitted */
    int32_t want[MOST]; /* its tokens when it is alone      */
    int wanted;
} wish;

typedef struct workload {
    uint64_t seed;
    int kind, count;
    wish wishes[CROWD];
} workload;

/* Some requests of up to `longest` tokens of prompt; some begin alike, some are
 * greedy, some end at a token to stop at. */
void workload_draw(workload *w, uint64_t seed, int kind, int longest,
                   int most_new);

/* The same, but all come at once, and all draw as many tokens. */
void workload_crowd(workload *w, uint64_t seed, int kind, int count, int prompt,
                    int draws);

/* Ask each in a session of its own, for `want`. */
void workload_ask_alone(fo_device *device, workload *w);

/* Describe what is told. */
/* What a request has been told so far. */
typedef struct answer {
    int64_t id;
    int32_t tokens[MOST];
    int count;
    fo_finish finish;
} answer;

void workload_hand_out(const fo_progress *told, int count,
                       answer *answers /* (n) */, int n);

/* Submit each at its time, and step until nothing is left to do. */
void workload_ask(fo_engine *engine, const workload *w,
                  answer *answers /* (CROWD) */);

/* Each has drawn what it wanted. */
void workload_expect(const workload *w, const answer *answers, const char *way);

/* Name what a test does with an engine. */
fo_engine *toy_engine_open(fo_device *device, int kind,
                           const fo_engine_options *options);

/* Close an engine that is idle, and has lost no block. */
void toy_engine_close(fo_engine **engine);

void toy_engine_expect_sound(const fo_engine *engine);

/* One step; what it tells goes to the answers. Returns how many were told. */
int toy_engine_step(fo_engine *engine, answer *answers /* (n) */, int n);

/* `count` tokens 0, and `draws` to draw. */
fo_status toy_engine_submit(fo_engine *e, int count, int draws,
                            fo_error *error);

fo_engine_stats toy_engine_stats(const fo_engine *engine);

#endif
