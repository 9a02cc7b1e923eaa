#include "engine/engine_inside.h"

#include "common/log.h"
#include "common/memory.h"

#include <inttypes.h>
#include <string.h>

/* Judge a request at the door. */
static fo_status judge_size(const fo_engine *e, const fo_request *asked,
                            fo_error *error)
{
    uint64_t count = asked->count, more = (uint64_t)asked->max_new;
    uint64_t most = count < UINT64_MAX - more ? count + more : UINT64_MAX;
    if (most > (uint64_t)e->bounds.context)
        return fo_fail_short(error, FO_LIMIT, most, (uint64_t)e->bounds.context,
                             "a prompt of %zu tokens and %d more do not fit "
                             "into the context of %d",
                             asked->count, asked->max_new, e->bounds.context);
    int need = fo_engine_need(e, (int)most - 1);
    if (need > e->bounds.total_blocks)
        return fo_fail_short(
            error, FO_FULL, (uint64_t)need, (uint64_t)e->bounds.total_blocks,
            "a prompt of %zu tokens and %d more take %d "
            "blocks, there are %d",
            asked->count, asked->max_new, need, e->bounds.total_blocks);
    return FO_OK;
}

static fo_status judge(const fo_engine *e, const fo_request *asked,
                       fo_error *error)
{
    int V = fo_model_config(e->model)->V;
    if (asked->count < 1 || asked->max_new < 1)
        return fo_fail(error, FO_ARG,
                       "a prompt of %zu tokens and %d to draw: both must be 1 "
                       "or more",
                       asked->count, asked->max_new);
    if (asked->logprobs < 0 || asked->logprobs > FO_MOST_LOGPROBS)
        return fo_fail(error, FO_ARG, "%d logprobs, %d are the most",
                       asked->logprobs, FO_MOST_LOGPROBS);
    fo_status status = fo_model_check_sampling(&asked->sampling, error);
    if (status == FO_OK)
        status = judge_size(e, asked, error);
    for (size_t i = 0; i < asked->count && status == FO_OK; i++)
        if (asked->tokens[i] < 0 || asked->tokens[i] >= V)
            status = fo_fail(error, FO_ARG,
                             "token %d is not in the vocabulary of %d",
                             asked->tokens[i], V);
    return status;
}

/* Let a request wait. */
/* A request with the first `length` of its tokens. */
static fo_status enter(fo_engine *e, const request *like, const int32_t *tokens,
                       int64_t *id, fo_error *error)
{
    size_t bytes = (size_t)like->most * sizeof *tokens;
    request *r = fo_memory_alloc(1, sizeof *r + bytes, error);
    if (!r)
        return FO_NOMEM;
    *r = *like;
    r->job.id = e->last_id + 1;
    memcpy(r->tokens, tokens, (size_t)r->job.length * sizeof *tokens);
    fo_status status = fo_scheduler_add(e->scheduler, &r->job, error);
    if (status != FO_OK) {
        fo_memory_free(r);
        return status;
    }
    *id = ++e->last_id;
    e->stats.submitted++;
    e->stats.metadata_bytes += sizeof *r + bytes;
    return FO_OK;
}

/* Note that a request was turned away. */
static fo_status refused(fo_engine *e, fo_status status, uint64_t count,
                         uint64_t more, const fo_error *error)
{
    if (status == FO_OK)
        return status;
    const fo_log_field fields[] = {{"prompt", count},
                                   {"max_new", more},
                                   {"required", error->required},
                                   {"available", error->available}};
    e->stats.refused++;
    fo_log_write(FO_LOG_WARNING, "refused", fields, 4);
    return status;
}

fo_status fo_engine_submit(fo_engine *e, const fo_request *asked, int64_t *id,
                           fo_error *error)
{
    fo_error unseen;
    fo_error *why = error ? error : &unseen;
    *why = (fo_error){.status = FO_OK};
    fo_status status = judge(e, asked, why);
    if (status == FO_OK && asked->logprobs > 0)
        status = fo_engine_open_logprobs(e, why);
    if (status == FO_OK) {
        request like = {.job.length = (int)asked->count,
                        .most = (int)asked->count + asked->max_new,
                        .until_stop = asked->until_stop,
                        .logprobs = asked->logprobs,
                        .sampling = asked->sampling};
        status = enter(e, &like, asked->tokens, id, why);
    }
    return refused(e, status, asked->count, (uint64_t)asked->max_new, why);
}

/* Find a live request. */
static fo_status find(const fo_engine *e, int64_t id, request **out,
                      fo_error *error)
{
    *out = (request *)fo_scheduler_find(e->scheduler, id);
    if (*out)
        return FO_OK;
    return fo_fail(error, FO_UNKNOWN, "no request %" PRId64, id);
}

/* Fork a request. */
fo_status fo_engine_fork(fo_engine *e, int64_t id, const fo_sampling *sampling,
                         int64_t *child, fo_error *error)
{
    fo_error unseen;
    fo_error *why = error ? error : &unseen;
    *why = (fo_error){.status = FO_OK};
    request *r;
    fo_status status = find(e, id, &r, why);
    if (status == FO_OK)
        status = fo_model_check_sampling(sampling, why);
    if (status != FO_OK)
        return status;
    request like = {.job.length = r->job.length,
                    .most = r->most,
                    .follows = id,
                    .until_stop = r->until_stop,
                    .logprobs = r->logprobs,
                    .sampling = *sampling};
    status = enter(e, &like, r->tokens, child, why);
    return refused(e, status, (uint64_t)like.job.length,
                   (uint64_t)(like.most - like.job.length), why);
}

/* End a request before its time. */
fo_status fo_engine_abort(fo_engine *e, int64_t id, fo_error *error)
{
    request *r;
    fo_status status = find(e, id, &r, error);
    if (status != FO_OK)
        return status;
    e->stats.aborted++;
    return fo_engine_end(e, r, false, error);
}

/* Take back what was given. */
fo_status fo_engine_preempt(fo_engine *e, int64_t id, fo_error *error)
{
    request *r;
    fo_status status = find(e, id, &r, error);
    if (status != FO_OK || !r->job.running)
        return status;
    status = e->room.release(e, &r->job, error);
    if (status == FO_OK)
        fo_scheduler_send_back(e->scheduler, &r->job);
    return status;
}

fo_status fo_engine_evict(fo_engine *e, int blocks, int *evicted,
                          fo_error *error)
{
    *evicted = 0;
    fo_status status = fo_engine_tidy(e, error);
    if (status != FO_OK || !e->cache)
        return status;
    return fo_prefix_cache_evict(e->cache, blocks, 0, evicted, error);
}

fo_status fo_engine_shrink(fo_engine *e, fo_error *error)
{
    int evicted;
    fo_status status =
        fo_engine_evict(e, e->bounds.total_blocks, &evicted, error);
    if (status == FO_OK && e->bounds.slab_blocks > 0)
        status = fo_block_manager_shrink(e->blocks, 0, error);
    return status;
}
