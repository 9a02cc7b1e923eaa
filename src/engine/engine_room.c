#include "engine/engine_inside.h"

#include "common/log.h"
#include "common/memory.h"

#include <assert.h>

/* Say how many blocks a sequence will hold. */
static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* With a window, a step sees the window before its first token, and its own
 * tokens, wherever in a block these begin. */
int fo_engine_need(const fo_engine *e, int stored)
{
    int64_t B = e->bounds.block_size;
    int whole = (int)((stored + B - 1) / B);
    if (e->window == 0)
        return whole;
    int64_t seen = (int64_t)e->window - 1 + e->bounds.max_tokens;
    int64_t most = (seen + B - 2) / B + 1;
    return most < whole ? (int)most : whole;
}

/* Trim a sequence to its window. */
fo_status fo_engine_trim(fo_engine *e, const fo_job *job, fo_error *error)
{
    fo_block_row row;
    int first = job->stored + 1 - e->window, B = e->bounds.block_size;
    if (e->window == 0 ||
        !fo_block_table_sequence(fo_block_manager_table(e->blocks), job->id,
                                 &row) ||
        first < (row.first + 1) * B)
        return FO_OK;
    return fo_block_manager_trim(e->blocks, job->id, first, error);
}

/* Reckon what is spare. */
/* Blocks that a running job will yet ask for to store all it has. */
static int claim_of(const fo_engine *e, const fo_job *job)
{
    fo_block_row row;
    int need = fo_engine_need(e, job->length);
    if (!fo_block_table_sequence(fo_block_manager_table(e->blocks), job->id,
                                 &row))
        return need;
    int held = row.blocks - row.first;
    int left = (job->length + e->bounds.block_size - 1) / e->bounds.block_size -
               row.blocks;
    return smaller(left, need > held ? need - held : 0);
}

static fo_status reckon(fo_engine *e, fo_error *error)
{
    fo_block_stats stats;
    fo_job *const *jobs;
    int count = fo_scheduler_jobs(e->scheduler, &jobs);
    fo_status status = fo_block_manager_stats(e->blocks, &stats, error);
    if (status != FO_OK)
        return status;
    /* What is free, what can be committed, and what can be given up. */
    e->spare = stats.pool.free + e->bounds.total_blocks - stats.pool.total;
    if (e->cache)
        e->spare += fo_prefix_cache_evictable(e->cache);
    for (int i = 0; i < count; i++)
        if (jobs[i]->running)
            e->spare -= claim_of(e, jobs[i]);
    if (e->spare < 0)
        e->spare = 0;
    return FO_OK;
}

/* Judge a waiting request. */
/* Whether a request shall wait until the one it was forked from has computed
 * what they have in common. */
static bool waits_for(const fo_engine *e, const request *r)
{
    const fo_job *other = fo_scheduler_find(e->scheduler, r->follows);
    return other && other->stored < r->job.length - 1;
}

/* Whether it can begin with the blocks of that one: whatever its next token
 * sees must still be there. */
static bool can_share(const fo_engine *e, const request *r)
{
    fo_block_row row;
    int common = r->job.length - 1, first = 0;
    if (e->window && common + 1 > e->window)
        first = common + 1 - e->window;
    return common > 0 && fo_scheduler_find(e->scheduler, r->follows) &&
           fo_block_table_sequence(fo_block_manager_table(e->blocks),
                                   r->follows, &row) &&
           row.first * e->bounds.block_size <= first;
}

/* Have a row for one sequence more. */
static fo_status have_row(fo_engine *e, fo_error *error)
{
    int evicted;
    const fo_block_table *table = fo_block_manager_table(e->blocks);
    if (!e->cache || fo_block_table_stats_get(table).sequences <
                         fo_block_manager_config(e->blocks)->max_sequences)
        return FO_OK;
    return fo_prefix_cache_evict(e->cache, 0, 1, &evicted, error);
}

/* Begin with a parent's blocks, and room for a copy of the last one. */
static fo_status begin_with_parent(fo_engine *e, request *r,
                                   fo_verdict *verdict, fo_error *error)
{
    *verdict = FO_NO_ROOM;
    if (e->spare < 1)
        return FO_OK;
    int common = r->job.length - 1;
    fo_status status = have_row(e, error);
    if (status == FO_OK)
        status = fo_block_manager_fork(e->blocks, r->follows, r->job.id, common,
                                       error);
    if (status != FO_OK)
        return status;
    r->job.stored = common;
    e->spare--;
    *verdict = FO_ADMITTED;
    return FO_OK;
}

/* Whether a request fits that begins with what others have left. What it shares
 * need not be found, but cannot be given up any more. */
static bool fits_sharing(const fo_engine *e, const request *r, int need)
{
    int length = r->job.length, B = e->bounds.block_size, hit, held, loose;
    if (!e->cache)
        return false;
    hit = fo_prefix_cache_match(e->cache, r->tokens, length) / B;
    if (hit == 0 || need - hit > e->spare)
        return false;
    fo_prefix_cache_weigh(e->cache, r->tokens, length, &held, &loose);
    int left = (length + B - 1) / B - hit;
    return smaller(left, need - held) <= e->spare - loose;
}

/* Begin with what others have left, if there is anything. */
static fo_status begin_alone(fo_engine *e, request *r, fo_verdict *verdict,
                             fo_error *error)
{
    int need = fo_engine_need(e, r->job.length);
    *verdict = FO_NO_ROOM;
    if (need > e->spare && !fits_sharing(e, r, need))
        return FO_OK;
    fo_status status = have_row(e, error);
    if (status == FO_OK && e->cache)
        status = fo_prefix_cache_begin(e->cache, r->job.id, r->tokens,
                                       r->job.length, &r->job.stored, error);
    if (status == FO_OK && r->job.stored > 0) {
        /* Weigh what is left: what it shares cannot be evicted now. */
        status = fo_engine_trim(e, &r->job, error);
        if (status == FO_OK)
            status = reckon(e, error);
        need = claim_of(e, &r->job);
    }
    if (status == FO_OK && need > e->spare) {
        e->spare = -1;
        return e->room.release(e, &r->job, error);
    }
    e->spare -= need;
    *verdict = FO_ADMITTED;
    return status;
}

static fo_status admit(void *owner, fo_job *job, fo_verdict *verdict,
                       fo_error *error)
{
    fo_engine *e = owner;
    request *r = (request *)job;
    *verdict = FO_NOT_YET;
    if (waits_for(e, r))
        return FO_OK;
    fo_status status = e->spare < 0 ? reckon(e, error) : FO_OK;
    if (status == FO_OK)
        status = can_share(e, r) ? begin_with_parent(e, r, verdict, error)
                                 : begin_alone(e, r, verdict, error);
    if (status == FO_OK && *verdict == FO_ADMITTED)
        r->follows = 0;
    return status;
}

/* Grow sequences. */
static fo_status ask(fo_engine *e, fo_turn *turns, const int *which, int n,
                     fo_error *error)
{
    for (int i = 0; i < n; i++) {
        const fo_turn *turn = &turns[which[i]];
        e->requests[i] = (fo_block_request){.sequence = turn->job->id,
                                            .tokens = turn->tokens};
    }
    fo_status status = fo_block_manager_extend_batch(e->blocks, e->requests,
                                                     e->results, n, error);
    for (int i = 0; i < n; i++)
        turns[which[i]].error = e->results[i];
    return status;
}

/* The turns that got nothing, and the blocks that these want together. */
static int refused(const fo_turn *turns, int n, int *which, int *wanted)
{
    int count = 0;
    *wanted = 0;
    for (int i = 0; i < n; i++)
        if (turns[i].error.status != FO_OK) {
            which[count++] = i;
            *wanted += (int)turns[i].error.required;
        }
    return count;
}

/* Ask; if that is too much, give up what is kept and ask again. */
static fo_status grow(void *owner, fo_turn *turns, int n, fo_error *error)
{
    fo_engine *e = owner;
    int evicted = 0, wanted;
    for (int i = 0; i < n; i++)
        e->asking[i] = i;
    fo_status status = ask(e, turns, e->asking, n, error);
    int count = refused(turns, n, e->asking, &wanted);
    if (status != FO_OK || count == 0 || !e->cache)
        return status;
    status = fo_prefix_cache_evict(e->cache, wanted, 0, &evicted, error);
    if (status != FO_OK || evicted == 0)
        return status;
    return ask(e, turns, e->asking, count, error);
}

/* Let go of a sequence. */
static bool known(const fo_engine *e, int64_t sequence)
{
    return fo_block_table_row(fo_block_manager_table(e->blocks), sequence) >= 0;
}

/* Free a sequence that nobody shall find. */
static fo_status drop(fo_engine *e, int64_t sequence, fo_error *error)
{
    return e->cache
               ? fo_prefix_cache_drop(e->cache, sequence, error)
               : fo_block_manager_free_sequence(e->blocks, sequence, error);
}

static fo_status release(void *owner, fo_job *job, fo_error *error)
{
    fo_engine *e = owner;
    request *r = (request *)job;
    fo_status status = FO_OK;
    fo_block_row row = {.blocks = 0};
    fo_block_table_sequence(fo_block_manager_table(e->blocks), job->id, &row);
    int blocks = row.blocks - row.first;
    if (known(e, job->id))
        status = drop(e, job->id, error);
    if (status != FO_OK)
        return status;
    if (job->running) {
        const fo_log_field fields[] = {{"request", (uint64_t)job->id},
                                       {"blocks", (uint64_t)blocks},
                                       {"tokens", (uint64_t)job->stored}};
        e->stats.preempted++;
        fo_log_write(FO_LOG_WARNING, "preempted", fields, 3);
        if (r->given_up < job->stored)
            r->given_up = job->stored;
    }
    job->stored = 0;
    return FO_OK;
}

fo_room fo_engine_room(fo_engine *e)
{
    return (fo_room){
        .owner = e, .grow = grow, .admit = admit, .release = release};
}

/* End a request. */
enum { SPARE_SLABS = 1 };

/* Give back the sequences of requests that have ended. */
static fo_status drain(fo_engine *e, fo_error *error)
{
    while (e->leaving_count > 0) {
        const leaver *last = &e->leaving[e->leaving_count - 1];
        fo_status status = FO_OK;
        if (!e->cache || !last->keep)
            status = drop(e, last->sequence, error);
        else if (!fo_prefix_cache_keeps(e->cache, last->sequence))
            status = fo_prefix_cache_retire(e->cache, last->sequence, error);
        if (status != FO_OK)
            return status;
        e->leaving_count--;
    }
    return FO_OK;
}

fo_status fo_engine_end(fo_engine *e, request *r, bool keep, fo_error *error)
{
    if (known(e, r->job.id))
        e->leaving[e->leaving_count++] = (leaver){r->job.id, keep};
    fo_scheduler_remove(e->scheduler, &r->job);
    e->stats.metadata_bytes -= sizeof *r + (size_t)r->most * sizeof *r->tokens;
    fo_memory_free(r);
    fo_status status = drain(e, error);
    if (status == FO_OK && e->bounds.slab_blocks > 0)
        status = fo_block_manager_shrink(e->blocks, SPARE_SLABS, error);
    return status;
}

/* Tidy up after a failure. */
/* Take back what a sequence stores beyond its job. One that waits stores
 * nothing, even if it was about to run. */
static fo_status correct(fo_engine *e, fo_job *job, fo_error *error)
{
    if (!job->running)
        job->stored = 0;
    int32_t length =
        fo_block_table_length(fo_block_manager_table(e->blocks), job->id);
    if (length < 0 || (job->running && length == job->stored))
        return FO_OK;
    if (job->running && job->stored > 0)
        return fo_block_manager_truncate(e->blocks, job->id, job->stored,
                                         error);
    return drop(e, job->id, error);
}

fo_status fo_engine_tidy(fo_engine *e, fo_error *error)
{
    fo_job *const *jobs;
    int count = fo_scheduler_jobs(e->scheduler, &jobs);
    fo_status status = drain(e, error);
    for (int i = 0; e->untidy && i < count && status == FO_OK; i++)
        status = correct(e, jobs[i], error);
    if (status == FO_OK)
        e->untidy = false;
    return status;
}
