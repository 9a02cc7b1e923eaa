#include "engine/engine_inside.h"

#include "common/log.h"

/* Lay out the batch. */
/* The tokens of turn i, from `t` on. */
static void lay_out_turn(fo_engine *e, const fo_turn *turn, int i, int t)
{
    const fo_block_table *table = fo_block_manager_table(e->blocks);
    const request *r = (const request *)turn->job;
    int stored = r->job.stored;
    fo_block_table_slots(table, r->job.id, stored, turn->tokens, e->slots + t);
    for (int k = 0; k < turn->tokens; k++) {
        e->tokens[t + k] = r->tokens[stored + k];
        e->positions[t + k] = stored + k;
    }
    e->query_start[i] = t;
    e->length[i] = stored + turn->tokens;
    e->row[i] = fo_block_table_row(table, r->job.id);
}

static fo_batch lay_out(fo_engine *e, int n, int decodes)
{
    fo_block_tables tables = fo_block_manager_tables(e->blocks, NULL);
    int T = 0;
    for (int i = 0; i < n; T += e->turns[i++].tokens)
        lay_out_turn(e, &e->turns[i], i, T);
    e->query_start[n] = T;
    return (fo_batch){.T = T,
                      .N = n,
                      .decodes = decodes,
                      .tokens = e->tokens,
                      .positions = e->positions,
                      .slots = e->slots,
                      .query_start = e->query_start,
                      .length = e->length,
                      .row = e->row,
                      .table = tables.table,
                      .max_blocks = tables.max_blocks,
                      .kv = fo_block_manager_layers(e->blocks)};
}

/* Draw for those that have run all their tokens. */
enum { UNTOLD = -2 };

static bool draws(const fo_turn *turn)
{
    return turn->job->stored + turn->tokens == turn->job->length;
}

/* For those that want to know how likely their tokens were. */
static fo_status weigh(fo_engine *e, int n, const float *logits,
                       fo_error *error)
{
    fo_status status = FO_OK;
    size_t V = (size_t)fo_model_config(e->model)->V;
    for (int i = 0, d = 0; i < n && status == FO_OK; i++) {
        int wanted = ((const request *)e->turns[i].job)->logprobs;
        if (!draws(&e->turns[i]))
            continue;
        if (wanted > 0 && e->drawn[d] >= 0)
            status =
                fo_engine_weigh(e, d, wanted, logits + (size_t)d * V, error);
        d++;
    }
    return status;
}

/* The tokens drawn, in order of the turns, go to e->drawn; -1 where there was
 * none to be drawn. */
static fo_status draw(fo_engine *e, int n, fo_error *error)
{
    int count = 0;
    const float *logits;
    for (int i = 0; i < n; i++) {
        const fo_turn *turn = &e->turns[i];
        if (!draws(turn))
            continue;
        e->logit_rows[count] = e->query_start[i + 1] - 1;
        e->sampling[count] = ((const request *)turn->job)->sampling;
        e->sampling[count++].position = (uint64_t)turn->job->length;
    }
    if (count == 0)
        return FO_OK;
    fo_status status =
        fo_model_logits(e->model, e->logit_rows, count, &logits, error);
    if (status != FO_OK)
        return status;
    /* Some of them may have no token to draw: that is theirs to bear. */
    for (int i = 0; i < count; i++)
        e->drawn[i] = UNTOLD;
    status = fo_model_sample(e->model, e->sampling, count, e->drawn, error);
    return e->drawn[0] == UNTOLD ? status : weigh(e, n, logits, error);
}

/* Take the step as made. */
/* What a request has to show for its turn; whether it has ended. */
static bool advance(const fo_engine *e, request *r, int d, fo_progress *out)
{
    int32_t token = e->drawn[d];
    const fo_tokenizer *tokenizer = fo_model_tokenizer(e->model);
    *out = (fo_progress){.id = r->job.id, .token = token};
    if (token < 0) {
        out->finish = FO_FAILED;
        fo_fail(
            &out->error, FO_DEVICE,
            "the logits of request %lld hold a NaN or no finite largest one",
            (long long)r->job.id);
        return true;
    }
    if (r->logprobs > 0) {
        const fo_logprob *own = &e->likeliest[d * FO_MOST_LOGPROBS];
        int V = fo_model_config(e->model)->V;
        out->logprob = own->value;
        out->likeliest = own + 1;
        out->likeliest_count = r->logprobs - 1 < V ? r->logprobs - 1 : V;
    }
    r->tokens[r->job.length++] = token;
    if (r->until_stop && fo_tokenizer_is_stop(tokenizer, token))
        out->finish = FO_STOPPED;
    else if (r->job.length == r->most)
        out->finish = FO_LENGTH;
    return out->finish != FO_GOES_ON;
}

static void count_turn(fo_engine *e, const fo_turn *turn)
{
    const request *r = (const request *)turn->job;
    int again = r->given_up - r->job.stored;
    e->stats.tokens += (uint64_t)turn->tokens;
    if (again > 0)
        e->stats.recomputed +=
            (uint64_t)(again < turn->tokens ? again : turn->tokens);
}

/* Let others find what has been written. */
static void note(fo_engine *e, const request *r)
{
    if (e->cache)
        fo_prefix_cache_note(e->cache, r->job.id, r->tokens, r->job.stored,
                             NULL);
}

static int commit(fo_engine *e, int n, fo_progress *out)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        fo_job *job = e->turns[i].job;
        bool drew = draws(&e->turns[i]), ended = false;
        count_turn(e, &e->turns[i]);
        int stored = job->stored + e->turns[i].tokens;
        if (drew) {
            fo_progress *told = &out[count];
            ended = advance(e, (request *)job, count++, told);
            e->stats.drawn += told->token >= 0;
            e->stats.failed += told->finish == FO_FAILED;
            e->stats.finished += ended && told->finish != FO_FAILED;
        }
        job->stored = stored;
        note(e, (request *)job);
        if (ended)
            fo_engine_end(e, (request *)job, out[count - 1].token >= 0, NULL);
        else
            fo_engine_trim(e, job, NULL);
    }
    return count;
}

/* Run the model over all turns. */
static fo_status make(fo_engine *e, int *n, fo_error *error)
{
    int decodes;
    fo_status status =
        fo_scheduler_step(e->scheduler, &e->room, e->turns, n, &decodes, error);
    if (status != FO_OK || *n == 0)
        return status;
    int running = fo_scheduler_running(e->scheduler);
    if (e->stats.most_running < running)
        e->stats.most_running = running;
    fo_batch batch = lay_out(e, *n, decodes);
    status = fo_model_forward(e->model, &batch, error);
    if (status == FO_OK)
        status = draw(e, *n, error);
    return status;
}

/* Leave every request where it was. */
static fo_status step_back(fo_engine *e, fo_status status, fo_error *error)
{
    const fo_log_field fields[] = {{"required", error->required},
                                   {"available", error->available}};
    if (status == FO_NOMEM || status == FO_FULL)
        fo_log_write(FO_LOG_ERROR, "out_of_memory", fields, 2);
    e->untidy = true;
    fo_engine_tidy(e, NULL);
    return status;
}

/* Go on by one step. */
fo_status fo_engine_step(fo_engine *e, fo_progress *out, int *count,
                         fo_error *error)
{
    int n = 0;
    fo_error unseen;
    fo_error *why = error ? error : &unseen;
    *why = (fo_error){.status = FO_OK};
    *count = 0;
    e->spare = -1;
    fo_status status = fo_engine_tidy(e, why);
    if (status == FO_OK)
        status = make(e, &n, why);
    if (status != FO_OK)
        return step_back(e, status, why);
    if (n > 0) {
        e->stats.steps++;
        *count = commit(e, n, out);
    }
    return FO_OK;
}
