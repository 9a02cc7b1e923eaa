/* Who works in a step, on how many tokens, and who gives way.
 *
 * A job is known by its number; numbers rise with arrival, and the order of
 * arrival is the only rank there is. The scheduler knows neither model nor
 * blocks. It asks their owner through a fo_room, so that a test can put a
 * counter in the owner's place.
 *
 * Two promises hold whatever the owner answers, as long as each job fits when
 * it is alone:
 *
 *   Progress: the first of the running jobs has a turn in every step and
 *   is never sent back.
 *   Fairness: while a job waits, at most `max_overtakes` later ones are
 *   admitted. */
#ifndef FOLIO_ENGINE_SCHEDULER_H
#define FOLIO_ENGINE_SCHEDULER_H

#include "common/status.h"

#include <stdbool.h>

typedef struct fo_scheduler fo_scheduler;

/* Say what the scheduler knows of a job. */
/* Waiting: not running, nothing stored. Running: has a turn when there is one.
 * The owner of the job keeps `length` and `stored` true. */
typedef struct fo_job {
    int64_t id;    /* rises with arrival                               */
    int length;    /* tokens there are: the prompt and those drawn     */
    int stored;    /* of these, with K and V; always less than length  */
    int overtaken; /* later jobs admitted since this one waits         */
    bool running;
} fo_job;

/* A job that is to store its next `tokens` tokens in this step. When they are
 * all it has, it draws one more. */
typedef struct fo_turn {
    fo_job *job;
    int tokens;
    fo_error error; /* FO_OK, or why `grow` gave nothing */
} fo_turn;

/* Say what it asks of the owner of the blocks. */
typedef enum fo_verdict {
    FO_ADMITTED, /* `stored` may have grown: it shares what others computed */
    FO_NO_ROOM,  /* its tokens do not fit beside those that run             */
    FO_NOT_YET,  /* it waits for another job, of its own accord             */
} fo_verdict;

/* `grow` finds blocks for each turn, in order, all or nothing each, and tells
 * in its `error`. `admit` judges whether all tokens of a waiting job will fit.
 * `release` takes all blocks of a job and sets `stored` to 0. Any of them may
 * fail as a whole (FO_DEVICE). */
typedef struct fo_room {
    void *owner;
    fo_status (*grow)(void *owner, fo_turn *turns /* (n) */, int n,
                      fo_error *error);
    fo_status (*admit)(void *owner, fo_job *job, fo_verdict *verdict,
                       fo_error *error);
    fo_status (*release)(void *owner, fo_job *job, fo_error *error);
} fo_room;

/* Declare the life of a scheduler. */
typedef struct fo_scheduler_limits {
    int max_tokens;    /* of one step; no less than max_running        */
    int max_running;   /*                                              */
    int max_waiting;   /* beyond it nobody may join                    */
    int max_overtakes; /* of one waiting job                           */
} fo_scheduler_limits;

/* Take all memory there will be need of. FO_NOMEM. */
fo_status fo_scheduler_open(const fo_scheduler_limits *limits,
                            fo_scheduler **out, fo_error *error);
void fo_scheduler_close(fo_scheduler **scheduler);

/* Declare how jobs come and go. */
/* Let a job wait; the caller owns it, and its number exceeds all before it.
 * FO_FULL, with the jobs that would wait and may: the queue is full. */
fo_status fo_scheduler_add(fo_scheduler *scheduler, fo_job *job,
                           fo_error *error);

/* Forget a job that is known, waiting or running. */
void fo_scheduler_remove(fo_scheduler *scheduler, fo_job *job);

/* A running job waits again, in its old place. */
void fo_scheduler_send_back(fo_scheduler *scheduler, fo_job *job);

/* The job of that number, or null. */
fo_job *fo_scheduler_find(const fo_scheduler *scheduler, int64_t id);

/* Plan a step. The first *decodes of the *n turns store one token each, the
 * last one of a running job; room for all of them has been made. *n = 0: there
 * is no job. FO_FULL, FO_NOMEM: a job that has the blocks to itself has got
 * none, for the reason given. Errors of the owner: turns may have been grown
 * and are then forgotten. */
fo_status fo_scheduler_step(fo_scheduler *scheduler, const fo_room *room,
                            fo_turn *turns /* (max_running) */, int *n,
                            int *decodes, fo_error *error);

/* Declare how jobs are looked at. */
/* All of them in order of arrival; borrowed. */
int fo_scheduler_jobs(const fo_scheduler *scheduler, fo_job *const **jobs);
int fo_scheduler_running(const fo_scheduler *scheduler);
int fo_scheduler_waiting(const fo_scheduler *scheduler);

/* FO_DEVICE with the first thing that is not as it should be. */
fo_status fo_scheduler_check(const fo_scheduler *scheduler, fo_error *error);

#endif
