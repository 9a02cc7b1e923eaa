#include "engine/scheduler.h"

#include "common/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Define the scheduler. */
struct fo_scheduler {
    fo_scheduler_limits limits;
    fo_job **jobs; /* (max_running + max_waiting) by rising number */
    int count, running;
    fo_turn *again; /* (max_running) turns that grow a second time  */
    int *at;        /* (max_running) where these stand              */
};

/* Take and give back the memory of a scheduler. */
fo_status fo_scheduler_open(const fo_scheduler_limits *limits,
                            fo_scheduler **out, fo_error *error)
{
    assert(limits->max_tokens >= limits->max_running);
    *out = NULL;
    fo_scheduler *s = fo_memory_alloc(1, sizeof *s, error);
    if (!s)
        return FO_NOMEM;
    size_t running = (size_t)limits->max_running;
    s->limits = *limits;
    s->jobs = fo_memory_alloc(running + (size_t)limits->max_waiting,
                              sizeof *s->jobs, error);
    if (s->jobs)
        s->again = fo_memory_alloc(running, sizeof *s->again, error);
    if (s->again)
        s->at = fo_memory_alloc(running, sizeof *s->at, error);
    *out = s;
    if (!s->at)
        fo_scheduler_close(out);
    return *out ? FO_OK : FO_NOMEM;
}

void fo_scheduler_close(fo_scheduler **scheduler)
{
    fo_scheduler *s = *scheduler;
    if (!s)
        return;
    fo_memory_free(s->at);
    fo_memory_free(s->again);
    fo_memory_free(s->jobs);
    fo_memory_free(s);
    *scheduler = NULL;
}

/* Find a job by its number. */
/* Where a job of this number stands or would stand. */
static int place_of(const fo_scheduler *s, int64_t id)
{
    int low = 0, high = s->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (s->jobs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

fo_job *fo_scheduler_find(const fo_scheduler *s, int64_t id)
{
    int place = place_of(s, id);
    return place < s->count && s->jobs[place]->id == id ? s->jobs[place] : NULL;
}

/* Let jobs come and go. */
fo_status fo_scheduler_add(fo_scheduler *s, fo_job *job, fo_error *error)
{
    int waiting = s->count - s->running;
    assert(s->count == 0 || s->jobs[s->count - 1]->id < job->id);
    if (waiting >= s->limits.max_waiting)
        return fo_fail_short(error, FO_FULL, (uint64_t)waiting + 1,
                             (uint64_t)s->limits.max_waiting,
                             "%d requests are waiting, %d may", waiting,
                             s->limits.max_waiting);
    job->running = false;
    job->overtaken = 0;
    s->jobs[s->count++] = job;
    return FO_OK;
}

void fo_scheduler_remove(fo_scheduler *s, fo_job *job)
{
    int place = place_of(s, job->id);
    assert(place < s->count && s->jobs[place] == job);
    s->running -= job->running;
    s->count--;
    memmove(s->jobs + place, s->jobs + place + 1,
            (size_t)(s->count - place) * sizeof *s->jobs);
}

void fo_scheduler_send_back(fo_scheduler *s, fo_job *job)
{
    assert(job->running && job->stored == 0);
    job->running = false;
    job->overtaken = 0;
    s->running--;
}

/* Share the step among those that run. */
/* The turns of the running jobs; `*left` tokens of the step remain. */
static int plan(const fo_scheduler *s, fo_turn *turns, int *decodes, int *left)
{
    int n = 0;
    *left = s->limits.max_tokens;
    for (int i = 0; i < s->count; i++) {
        fo_job *job = s->jobs[i];
        if (job->running && job->length - job->stored == 1)
            turns[n++] = (fo_turn){.job = job, .tokens = 1};
    }
    *decodes = n;
    *left -= n;
    for (int i = 0; i<s->count && * left> 0; i++) {
        fo_job *job = s->jobs[i];
        int rest = job->length - job->stored;
        if (!job->running || rest == 1)
            continue;
        int tokens = rest < *left ? rest : *left;
        turns[n++] = (fo_turn){.job = job, .tokens = tokens};
        *left -= tokens;
    }
    return n;
}

/* Make room for every turn. */
/* The last comer of the running jobs. */
static fo_job *last_running(const fo_scheduler *s)
{
    int i = s->count - 1;
    while (!s->jobs[i]->running)
        i--;
    return s->jobs[i];
}

/* Strike the turn of a job, if it has one. */
static void strike(fo_turn *turns, int *n, int *decodes, const fo_job *job)
{
    for (int i = 0; i < *n; i++) {
        if (turns[i].job != job)
            continue;
        *decodes -= i < *decodes;
        *n -= 1;
        memmove(turns + i, turns + i + 1, (size_t)(*n - i) * sizeof *turns);
    }
}

/* Ask once more for the turns that got nothing; *refused is one that still has
 * nothing, or null. */
static fo_status ask_again(fo_scheduler *s, const fo_room *room, fo_turn *turns,
                           int n, const fo_turn **refused, fo_error *error)
{
    int count = 0;
    *refused = NULL;
    for (int i = 0; i < n; i++)
        if (turns[i].error.status != FO_OK) {
            s->at[count] = i;
            s->again[count++] = turns[i];
        }
    fo_status status =
        count ? room->grow(room->owner, s->again, count, error) : FO_OK;
    for (int i = 0; i < count; i++) {
        turns[s->at[i]] = s->again[i];
        if (s->again[i].error.status != FO_OK)
            *refused = &turns[s->at[i]];
    }
    return status;
}

static fo_status make_room(fo_scheduler *s, const fo_room *room, fo_turn *turns,
                           int *n, int *decodes, fo_error *error)
{
    const fo_turn *refused = NULL;
    fo_status status = *n ? room->grow(room->owner, turns, *n, error) : FO_OK;
    for (int i = 0; i < *n; i++)
        if (turns[i].error.status != FO_OK)
            refused = &turns[i];
    while (status == FO_OK && refused) {
        /* Send the last comer back and ask again. */
        fo_job *victim = last_running(s);
        if (s->running == 1) {
            if (error)
                *error = refused->error;
            return refused->error.status;
        }
        status = room->release(room->owner, victim, error);
        if (status != FO_OK)
            return status;
        fo_scheduler_send_back(s, victim);
        strike(turns, n, decodes, victim);
        status = ask_again(s, room, turns, *n, &refused, error);
    }
    return status;
}

/* Admit those that fit. */
/* Let a job run, and note whom it has overtaken. */
static void let_run(fo_scheduler *s, int place)
{
    for (int i = 0; i < place; i++)
        s->jobs[i]->overtaken += !s->jobs[i]->running;
    s->jobs[place]->running = true;
    s->running++;
}

/* Judge one job; if it is admitted, its turn is *turn. */
static fo_status try(fo_scheduler *s, const fo_room *room, int place, int left,
                     fo_turn *turn, fo_verdict *verdict, fo_error *error)
{
    fo_job *job = s->jobs[place];
    *turn = (fo_turn){.job = job};
    fo_status status = room->admit(room->owner, job, verdict, error);
    if (status != FO_OK || *verdict != FO_ADMITTED)
        return status;
    int rest = job->length - job->stored;
    turn->tokens = rest < left ? rest : left;
    status = room->grow(room->owner, turn, 1, error);
    if (status != FO_OK)
        return status;
    if (turn->error.status == FO_OK) {
        let_run(s, place);
        return FO_OK;
    }
    *verdict = FO_NO_ROOM;
    return room->release(room->owner, job, error);
}

/* A job that has been overtaken often enough shuts the door behind it. */
static fo_status admit(fo_scheduler *s, const fo_room *room, int left,
                       fo_turn *turns, int *n, fo_error *error)
{
    fo_error refusal = {.status = FO_OK};
    int most = -1; /* times that one of those passed over was overtaken */
    for (int i = 0; i < s->count && left > 0; i++) {
        if (s->running == s->limits.max_running ||
            most >= s->limits.max_overtakes)
            break;
        if (s->jobs[i]->running)
            continue;
        fo_verdict verdict;
        fo_turn *turn = &turns[*n];
        fo_status status = try(s, room, i, left, turn, &verdict, error);
        if (status != FO_OK)
            return status;
        if (verdict == FO_ADMITTED) {
            left -= turn->tokens;
            most += most >= 0;
            *n += 1;
        } else {
            if (turn->error.status != FO_OK)
                refusal = turn->error;
            if (most < s->jobs[i]->overtaken)
                most = s->jobs[i]->overtaken;
        }
    }
    if (*n == 0 && refusal.status != FO_OK && error)
        *error = refusal;
    return *n == 0 ? refusal.status : FO_OK;
}

/* Plan a step. */
fo_status fo_scheduler_step(fo_scheduler *s, const fo_room *room,
                            fo_turn *turns, int *n, int *decodes,
                            fo_error *error)
{
    int left, running = s->running;
    *n = plan(s, turns, decodes, &left);
    fo_status status = make_room(s, room, turns, n, decodes, error);
    if (status == FO_OK && s->running == running)
        status = admit(s, room, left, turns, n, error);
    if (status != FO_OK)
        *n = *decodes = 0;
    return status;
}

/* Let others look at the jobs. */
int fo_scheduler_jobs(const fo_scheduler *s, fo_job *const **jobs)
{
    *jobs = s->jobs;
    return s->count;
}

int fo_scheduler_running(const fo_scheduler *s)
{
    return s->running;
}

int fo_scheduler_waiting(const fo_scheduler *s)
{
    return s->count - s->running;
}

/* Check what must always hold for jobs. */
fo_status fo_scheduler_check(const fo_scheduler *s, fo_error *error)
{
    int running = 0;
    for (int i = 0; i < s->count; i++) {
        const fo_job *job = s->jobs[i];
        running += job->running;
        if (i && s->jobs[i - 1]->id >= job->id)
            return fo_fail(error, FO_DEVICE,
                           "request %" PRId64 " stands behind %" PRId64,
                           job->id, s->jobs[i - 1]->id);
        if (job->stored < 0 || job->stored >= job->length)
            return fo_fail(error, FO_DEVICE,
                           "request %" PRId64 " stores %d of %d tokens",
                           job->id, job->stored, job->length);
        if (!job->running && job->stored)
            return fo_fail(error, FO_DEVICE,
                           "request %" PRId64 " waits and stores %d tokens",
                           job->id, job->stored);
        if (job->overtaken > s->limits.max_overtakes)
            return fo_fail(error, FO_DEVICE,
                           "request %" PRId64 " was overtaken %d times",
                           job->id, job->overtaken);
    }
    if (running != s->running || running > s->limits.max_running)
        return fo_fail(error, FO_DEVICE, "%d requests run, %d are counted",
                       running, s->running);
    return FO_OK;
}
