#include "engine/scheduler.h"

#include "common/memory.h"
#include "inputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Keep blocks by counting them. */
enum { JOBS = 64, B = 4 };

/* A pool that is a number, and jobs that end at a given length. */
typedef struct town {
    fo_scheduler *scheduler;
    fo_job jobs[JOBS + 1]; /* by number; 0 is unused          */
    int end[JOBS + 1];     /* length at which it ends         */
    int held[JOBS + 1];    /* blocks                          */
    bool gone[JOBS + 1];
    int64_t last; /* number given out                         */
    int free, total, released;
    fo_turn turns[JOBS];
    int n, decodes;
} town;

static int blocks_for(int tokens)
{
    return (tokens + B - 1) / B;
}

static fo_status grow(void *owner, fo_turn *turns, int n, fo_error *error)
{
    town *t = owner;
    (void)error;
    for (int i = 0; i < n; i++) {
        int64_t id = turns[i].job->id;
        int wanted =
            blocks_for(turns[i].job->stored + turns[i].tokens) - t->held[id];
        turns[i].error = (fo_error){.status = FO_OK};
        if (wanted > t->free) {
            fo_fail_short(&turns[i].error, FO_FULL, (uint64_t)wanted,
                          (uint64_t)t->free, "too few blocks");
            continue;
        }
        t->free -= wanted;
        t->held[id] += wanted;
    }
    return FO_OK;
}

static fo_status admit(void *owner, fo_job *job, fo_verdict *verdict,
                       fo_error *error)
{
    town *t = owner;
    int spare = t->free;
    (void)error;
    for (int64_t id = 1; id <= t->last; id++)
        if (!t->gone[id] && t->jobs[id].running)
            spare -= blocks_for(t->jobs[id].length) - t->held[id];
    *verdict = blocks_for(job->length) <= spare ? FO_ADMITTED : FO_NO_ROOM;
    return FO_OK;
}

static fo_status release(void *owner, fo_job *job, fo_error *error)
{
    town *t = owner;
    (void)error;
    t->free += t->held[job->id];
    t->held[job->id] = 0;
    t->released += job->running;
    job->stored = 0;
    return FO_OK;
}

/* Let jobs come and work. */
static void begin_town(town *t, fo_scheduler_limits limits, int blocks)
{
    memset(t, 0, sizeof *t);
    t->free = t->total = blocks;
    assert_int_equal(fo_scheduler_open(&limits, &t->scheduler, NULL), FO_OK);
}

static int64_t come(town *t, int prompt, int draws)
{
    int64_t id = ++t->last;
    t->jobs[id] = (fo_job){.id = id, .length = prompt};
    t->end[id] = prompt + draws;
    assert_int_equal(fo_scheduler_add(t->scheduler, &t->jobs[id], NULL), FO_OK);
    return id;
}

static void leave(town *t, int64_t id)
{
    t->free += t->held[id];
    t->held[id] = 0;
    t->gone[id] = true;
    fo_scheduler_remove(t->scheduler, &t->jobs[id]);
}

static void step(town *t)
{
    fo_room room = {t, grow, admit, release};
    fo_error error;
    if (fo_scheduler_step(t->scheduler, &room, t->turns, &t->n, &t->decodes,
                          &error) != FO_OK)
        fail_msg("%s", error.message);
    for (int i = 0; i < t->n; i++) {
        fo_job *job = t->turns[i].job;
        job->stored += t->turns[i].tokens;
        if (job->stored == job->length && ++job->length == t->end[job->id])
            leave(t, job->id);
    }
    if (fo_scheduler_check(t->scheduler, &error) != FO_OK)
        fail_msg("%s", error.message);
}

/* Tokens of the job in the last step, 0 if it had no turn. */
static int tokens_of(const town *t, int64_t id)
{
    for (int i = 0; i < t->n; i++)
        if (t->turns[i].job == &t->jobs[id])
            return t->turns[i].tokens;
    return 0;
}

/* Share out the tokens of a step. */
/* Tokens to be decoded come first, then prompts in order of arrival, each as
 * much as is left; nobody gets a turn when nothing is. */
static void shares_out_the_tokens_of_a_step(void **state)
{
    (void)state;
    town t;
    begin_town(&t, (fo_scheduler_limits){10, 4, 8, 4}, 100);
    come(&t, 3, 9);
    come(&t, 25, 9);
    come(&t, 4, 9);
    step(&t);
    assert_int_equal(tokens_of(&t, 1), 3);
    assert_int_equal(tokens_of(&t, 2), 7);
    assert_int_equal(tokens_of(&t, 3), 0);
    step(&t);
    assert_int_equal(t.decodes, 1);
    assert_int_equal(tokens_of(&t, 1), 1);
    assert_int_equal(tokens_of(&t, 2), 9);
    step(&t);
    assert_int_equal(tokens_of(&t, 2), 9);
    assert_int_equal(tokens_of(&t, 3), 0);
    step(&t);
    assert_int_equal(t.decodes, 2);
    assert_int_equal(tokens_of(&t, 2), 1);
    assert_int_equal(tokens_of(&t, 3), 4);
    fo_scheduler_close(&t.scheduler);
}

/* Pass over a job that does not fit, but not for ever. */
/* A large job waits for room while small ones come and go. It is overtaken as
 * often as the limit says, and then blocks are kept for it. */
static void passes_over_a_bounded_number_of_times(void **state)
{
    (void)state;
    town t;
    int most = 5, overtakes = 0;
    begin_town(&t, (fo_scheduler_limits){64, 8, 40, most}, 10);
    come(&t, 12, 14); /* three blocks at first, seven in the end */
    step(&t);
    int64_t large = come(&t, 36, 2);
    for (int i = 0; i < 20; i++) {
        int64_t small = come(&t, 4, 2);
        step(&t);
        if (t.jobs[large].running)
            break;
        overtakes += t.gone[small] || t.jobs[small].running;
    }
    assert_int_equal(overtakes, most);
    while (!t.jobs[large].running) {
        step(&t);
        assert_true(t.n > 0);
    }
    for (int64_t id = large + 1; id <= t.last; id++)
        assert_true(t.gone[id] == (id <= large + most));
    fo_scheduler_close(&t.scheduler);
}

/* Send the last comer back. */
static void sends_the_last_come_back(void **state)
{
    (void)state;
    town t;
    begin_town(&t, (fo_scheduler_limits){64, 8, 8, 4}, 6);
    for (int i = 0; i < 3; i++)
        come(&t, 8, 12); /* two blocks each, five in the end */
    step(&t);
    assert_int_equal(t.n, 3);
    step(&t); /* each asks for a third block, and there is none */
    assert_int_equal(t.n, 2);
    assert_false(t.jobs[3].running);
    assert_int_equal(t.jobs[3].stored, 0);
    assert_true(t.jobs[1].running && t.jobs[2].running);
    assert_int_equal(t.released, 1);
    for (int i = 0; i < 4; i++)
        step(&t); /* the first asks for a fourth block */
    assert_true(t.jobs[1].running);
    assert_false(t.jobs[2].running);
    for (int i = 0; i < 40; i++)
        step(&t);
    assert_true(t.gone[1] && t.gone[2] && t.gone[3]);
    assert_int_equal(t.free, t.total);
    fo_scheduler_close(&t.scheduler);
}

/* Come to an end, whatever comes. */
/* The first of the running jobs, or null. */
static const fo_job *first_running(const town *t)
{
    for (int64_t id = 1; id <= t->last; id++)
        if (!t->gone[id] && t->jobs[id].running)
            return &t->jobs[id];
    return NULL;
}

/* One step, in which the first of the running jobs must have a turn. */
static void step_and_look(town *t)
{
    const fo_job *first = first_running(t);
    int stored = first ? first->stored : 0;
    step(t);
    assert_true(t->n > 0);
    if (first)
        assert_true(t->gone[first->id] || first->stored > stored);
    int tokens = 0;
    for (int i = 0; i < t->n; i++) {
        assert_true(i >= t->decodes || t->turns[i].tokens == 1);
        tokens += t->turns[i].tokens;
    }
    assert_true(tokens <= 8);
}

static void d8_every_job_comes_to_its_end(void **state)
{
    (void)state;
    uint64_t sent_back = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        town t;
        float uniform[2 * JOBS];
        int draws[2 * JOBS];
        fill_uniform(uniform, 2 * JOBS, 1, 31, seed, 1);
        for (int i = 0; i < 2 * JOBS; i++)
            draws[i] = (int)uniform[i];
        begin_town(&t, (fo_scheduler_limits){8, 6, JOBS, 3}, 16);
        /* Let jobs come in between the steps. */
        int steps = 0, live = 0;
        while (t.last < JOBS || live > 0) {
            if (t.last < JOBS && (live == 0 || draws[t.last] % 3 != steps % 3))
                come(&t, draws[t.last], draws[JOBS + t.last]);
            step_and_look(&t);
            live = 0;
            for (int64_t id = 1; id <= t.last; id++)
                live += !t.gone[id];
            assert_true(++steps < 20000);
        }
        assert_int_equal(t.free, t.total);
        sent_back += (uint64_t)t.released;
        fo_scheduler_close(&t.scheduler);
    }
    print_message("%llu times a job was sent back\n",
                  (unsigned long long)sent_back);
    assert_true(sent_back > 300);
}

/* Say when there is no way on. */
static void says_when_a_job_cannot_go_on(void **state)
{
    (void)state;
    town t;
    fo_error error;
    begin_town(&t, (fo_scheduler_limits){64, 4, 2, 4}, 2);
    fo_room room = {&t, grow, admit, release};
    come(&t, 6, 9);
    for (int i = 0; i < 3; i++)
        step(&t);
    assert_int_equal(fo_scheduler_step(t.scheduler, &room, t.turns, &t.n,
                                       &t.decodes, &error),
                     FO_FULL);
    assert_int_equal(error.required, 1);
    assert_int_equal(error.available, 0);
    assert_int_equal(t.n, 0);
    assert_true(t.jobs[1].running);
    t.free++; /* somebody has given a block back */
    step(&t);
    assert_int_equal(tokens_of(&t, 1), 1);
    fo_scheduler_close(&t.scheduler);
}

/* Turn away whom the queue cannot take. */
static void turns_away_whom_the_queue_cannot_take(void **state)
{
    (void)state;
    town t;
    fo_error error;
    begin_town(&t, (fo_scheduler_limits){64, 1, 2, 4}, 2);
    come(&t, 4, 2);
    step(&t);
    come(&t, 4, 2);
    int64_t last = come(&t, 4, 2);
    fo_job late = {.id = 99, .length = 4};
    assert_int_equal(fo_scheduler_add(t.scheduler, &late, &error), FO_FULL);
    assert_int_equal(error.required, 3);
    assert_int_equal(error.available, 2);
    assert_null(fo_scheduler_find(t.scheduler, 99));
    leave(&t, last);
    assert_int_equal(fo_scheduler_add(t.scheduler, &late, &error), FO_OK);
    assert_ptr_equal(fo_scheduler_find(t.scheduler, 99), &late);
    fo_scheduler_close(&t.scheduler);
}

/* Notice what is wrong. */
static void notices_what_is_wrong(void **state)
{
    (void)state;
    town t;
    begin_town(&t, (fo_scheduler_limits){64, 4, 8, 2}, 20);
    for (int i = 0; i < 3; i++)
        come(&t, 4, 9);
    step(&t);
    struct {
        int *number;
        int wrong;
    } faults[] = {
        {&t.jobs[1].stored, 99},
        {&t.jobs[2].stored, -1},
        {&t.jobs[3].overtaken, 3},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        int right = *faults[i].number;
        *faults[i].number = faults[i].wrong;
        assert_int_equal(fo_scheduler_check(t.scheduler, NULL), FO_DEVICE);
        *faults[i].number = right;
        assert_int_equal(fo_scheduler_check(t.scheduler, NULL), FO_OK);
    }
    t.jobs[2].running = false;
    assert_int_equal(fo_scheduler_check(t.scheduler, NULL), FO_DEVICE);
    t.jobs[2].running = true;
    t.jobs[2].id = 7;
    assert_int_equal(fo_scheduler_check(t.scheduler, NULL), FO_DEVICE);
    t.jobs[2].id = 2;
    fo_scheduler_close(&t.scheduler);
}

/* Fail every request for memory. */
static void opens_or_leaves_nothing(void **state)
{
    (void)state;
    fo_scheduler_limits limits = {64, 4, 8, 2};
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    fo_status status = FO_NOMEM;
    uint64_t n = 0;
    while (status != FO_OK) {
        fo_scheduler *scheduler;
        fo_memory_fail_at(++n);
        status = fo_scheduler_open(&limits, &scheduler, NULL);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || scheduler == NULL);
        fo_scheduler_close(&scheduler);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
    }
    assert_int_equal(n, 5);
}

/* Run the tests of the scheduler. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_out_the_tokens_of_a_step),
        cmocka_unit_test(passes_over_a_bounded_number_of_times),
        cmocka_unit_test(sends_the_last_come_back),
        cmocka_unit_test(d8_every_job_comes_to_its_end),
        cmocka_unit_test(says_when_a_job_cannot_go_on),
        cmocka_unit_test(turns_away_whom_the_queue_cannot_take),
        cmocka_unit_test(notices_what_is_wrong),
        cmocka_unit_test(opens_or_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
