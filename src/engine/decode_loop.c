#include "engine/decode_loop.h"

#include "common/memory.h"
#include "engine/block_steps.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* Define the loop. */
struct fo_decode_loop {
    fo_device *device;
    fo_model *model;
    fo_block_manager *blocks;
    int N, most_tokens, stops; /* the most there is room for              */
    fo_steps here, there; /* the host's arrays, and the device's          */
    size_t sent, fetched; /* bytes from here.sampling, and where what is  */
                          /* fetched begins                               */
    int64_t *sequences;   /* (N) */
    int32_t *stored;      /* (N) tokens before the run                      */

    void *graph; /* of one step, or null, for this N, stops and max_length */
    int graph_N, graph_stops, graph_length;
};

/* Lay out the arrays of the steps. */
enum per { SEQUENCE, SEQUENCE_AND_ONE, STOP, TOKEN };

static const struct {
    size_t field, size;
    enum per per;
} arrays[] = {
    /* What the host sends, what it fetches, and what it never sees. */
    {offsetof(fo_steps, sampling), sizeof(fo_sampling), SEQUENCE},
    {offsetof(fo_steps, query_start), sizeof(int32_t), SEQUENCE_AND_ONE},
    {offsetof(fo_steps, stop), sizeof(int32_t), STOP},
    {offsetof(fo_steps, row), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, token), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, end), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, count), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, tokens), sizeof(int32_t), TOKEN},
    {offsetof(fo_steps, request), sizeof(fo_pool_request), SEQUENCE},
    {offsetof(fo_steps, grant), sizeof(fo_pool_grant), SEQUENCE},
    {offsetof(fo_steps, keep), sizeof(fo_pool_keep), SEQUENCE},
    {offsetof(fo_steps, slot), sizeof(int64_t), SEQUENCE},
    {offsetof(fo_steps, position), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, length), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, copy_from), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, copy_to), sizeof(int32_t), SEQUENCE},
    {offsetof(fo_steps, drawn), sizeof(int32_t), SEQUENCE},
};

enum { ARRAYS = sizeof arrays / sizeof *arrays };

/* Bytes up to the end of `last`; points into `base` unless it is null. */
static size_t lay_out(const fo_decode_loop *loop, fo_steps *steps, size_t last,
                      char *base)
{
    size_t offset = 0, N = (size_t)loop->N;
    const size_t counts[] = {[SEQUENCE] = N,
                             [SEQUENCE_AND_ONE] = N + 1,
                             [STOP] = (size_t)loop->stops,
                             [TOKEN] = (size_t)loop->most_tokens};
    for (size_t i = 0; i < ARRAYS; i++) {
        if (base) {
            void *at = base + offset;
            memcpy((char *)steps + arrays[i].field, &at, sizeof at);
        }
        offset += (counts[arrays[i].per] * arrays[i].size + 7) / 8 * 8;
        if (arrays[i].field == last)
            break;
    }
    return offset;
}

/* Forget a graph. */
static void forget(fo_decode_loop *l)
{
    if (l->graph)
        l->device->backend->graph_free(l->device, l->graph);
    l->graph = NULL;
}

/* Take the memory of a loop. */
void fo_decode_loop_close(fo_decode_loop **loop)
{
    fo_decode_loop *l = *loop;
    if (!l)
        return;
    forget(l);
    l->device->backend->free(l->device, l->there.sampling);
    fo_memory_free(l->here.sampling);
    fo_memory_free(l->sequences);
    fo_memory_free(l->stored);
    fo_memory_free(l);
    *loop = NULL;
}

/* Count the tokens to stop at, or note them. */
static int note_stops(const fo_tokenizer *tokenizer, int32_t *stop)
{
    int stops = 0;
    for (int32_t id = 0; id < fo_tokenizer_size(tokenizer); id++)
        if (fo_tokenizer_is_stop(tokenizer, id)) {
            if (stop)
                stop[stops] = id;
            stops++;
        }
    return stops;
}

static fo_status take(fo_decode_loop *l, fo_error *error)
{
    size_t N = (size_t)l->N;
    l->sent = lay_out(l, NULL, offsetof(fo_steps, count), NULL);
    l->fetched = lay_out(l, NULL, offsetof(fo_steps, token), NULL);
    size_t here = lay_out(l, NULL, offsetof(fo_steps, tokens), NULL);
    size_t there = lay_out(l, NULL, offsetof(fo_steps, drawn), NULL);
    char *memory = fo_memory_alloc(1, here, error);
    if (!memory)
        return FO_NOMEM;
    lay_out(l, &l->here, offsetof(fo_steps, tokens), memory);
    l->sequences = fo_memory_alloc(N, sizeof *l->sequences, error);
    if (l->sequences)
        l->stored = fo_memory_alloc(N, sizeof *l->stored, error);
    if (!l->stored)
        return FO_NOMEM;
    void *memory_there;
    fo_status status =
        l->device->backend->alloc(l->device, there, &memory_there, error);
    if (status == FO_OK)
        lay_out(l, &l->there, offsetof(fo_steps, drawn), memory_there);
    return status;
}

uint64_t fo_decode_loop_bytes(const fo_tokenizer *tokenizer, int max_sequences,
                              int most_tokens)
{
    fo_decode_loop loop = {.N = max_sequences,
                           .most_tokens = most_tokens,
                           .stops = note_stops(tokenizer, NULL)};
    return lay_out(&loop, NULL, offsetof(fo_steps, drawn), NULL);
}

fo_status fo_decode_loop_open(fo_device *device, fo_model *model,
                              fo_block_manager *blocks, int most_tokens,
                              fo_decode_loop **out, fo_error *error)
{
    *out = NULL;
    fo_decode_loop *l = fo_memory_alloc(1, sizeof *l, error);
    if (!l)
        return FO_NOMEM;
    l->device = device;
    l->model = model;
    l->blocks = blocks;
    l->N = fo_model_bounds(model)->max_sequences;
    l->most_tokens = most_tokens;
    l->stops = note_stops(fo_model_tokenizer(model), NULL);
    fo_status status = take(l, error);
    if (status != FO_OK) {
        fo_decode_loop_close(&l);
        return status;
    }
    note_stops(fo_model_tokenizer(model), l->here.stop);
    fo_block_manager_show(blocks, &l->there);
    l->there.window = fo_model_config(model)->window;
    if (l->there.window == 0)
        l->there.keep = NULL;
    *out = l;
    return FO_OK;
}

/* Make one step. */
static fo_status step(fo_decode_loop *l, int max_length, bool first,
                      fo_error *error)
{
    const fo_steps *steps = &l->there;
    fo_status status = fo_block_manager_step(l->blocks, steps, first, error);
    if (status == FO_OK)
        status =
            fo_model_decode(l->model, steps, fo_block_manager_layers(l->blocks),
                            max_length, error);
    if (status == FO_OK)
        status = l->device->backend->step_append(l->device, steps, error);
    if (status == FO_OK)
        status = fo_block_manager_step_trim(l->blocks, steps, error);
    return status;
}

/* Record a step and launch it. */
/* Have the graph of a step that is not the first one. */
static fo_status record(fo_decode_loop *l, int max_length, fo_error *error)
{
    const fo_backend *backend = l->device->backend;
    if (l->graph && l->graph_N == l->there.N &&
        l->graph_stops == l->there.stops && l->graph_length == max_length)
        return FO_OK;
    forget(l);
    fo_status status = backend->graph_begin(l->device, error);
    if (status != FO_OK)
        return status;
    status = step(l, max_length, false, error);
    fo_error of_end;
    fo_status end = backend->graph_end(l->device, &l->graph, &of_end);
    if (status == FO_OK && end != FO_OK && error)
        *error = of_end;
    if (status == FO_OK)
        status = end;
    if (status != FO_OK)
        forget(l);
    l->graph_N = l->there.N;
    l->graph_stops = l->there.stops;
    l->graph_length = max_length;
    return status;
}

static fo_status go(fo_decode_loop *l, int steps, int max_length,
                    fo_error *error)
{
    const fo_backend *backend = l->device->backend;
    bool graphs = backend->graph_begin != NULL;
    fo_status status = step(l, max_length, true, error);
    if (status == FO_OK && graphs && steps > 1)
        status = record(l, max_length, error);
    for (int k = 1; k < steps && status == FO_OK; k++)
        status = graphs ? backend->graph_launch(l->device, l->graph, error)
                        : step(l, max_length, false, error);
    return status;
}

/* Check what a loop is told. */
static fo_status check(const fo_decode_loop *l, const fo_decoding *d, int steps,
                       fo_error *error)
{
    int V = fo_model_config(l->model)->V;
    int64_t most = fo_block_manager_config(l->blocks)->max_length;
    int64_t length =
        fo_block_table_length(fo_block_manager_table(l->blocks), d->sequence);
    if (length < 0)
        return fo_fail(error, FO_UNKNOWN, "no sequence %" PRId64, d->sequence);
    if (d->last < 0 || d->last >= V)
        return fo_fail_short(error, FO_ARG, (uint64_t)d->last, (uint64_t)V,
                             "token %d is not in the vocabulary of %d", d->last,
                             V);
    if (length + steps > most)
        return fo_fail_short(error, FO_LIMIT, (uint64_t)(length + steps),
                             (uint64_t)most,
                             "sequence %" PRId64 " would store %" PRId64
                             " tokens, %" PRId64 " are the most",
                             d->sequence, length + steps, most);
    return fo_model_check_sampling(&d->sampling, error);
}

/* Send the beginning. */
static fo_status send(fo_decode_loop *l, const fo_decoding *decodings, int N,
                      fo_error *error)
{
    const fo_block_table *table = fo_block_manager_table(l->blocks);
    for (int n = 0; n < N; n++) {
        const fo_decoding *d = &decodings[n];
        l->sequences[n] = d->sequence;
        l->stored[n] = fo_block_table_length(table, d->sequence);
        l->here.row[n] = fo_block_table_row(table, d->sequence);
        l->here.token[n] = d->last;
        l->here.sampling[n] = d->sampling;
        l->here.end[n] = FO_STEP_GOES_ON;
        l->here.count[n] = 0;
    }
    for (int n = 0; n <= N; n++)
        l->here.query_start[n] = n;
    return l->device->backend->upload(l->device, l->there.sampling,
                                      l->here.sampling, l->sent, error);
}

/* Fetch the end. */
static fo_status fetch(fo_decode_loop *l, int N, int steps, fo_error *error)
{
    size_t tokens = (size_t)N * (size_t)steps * sizeof(int32_t);
    size_t begin = l->fetched;
    size_t bytes =
        (size_t)((char *)l->here.tokens - ((char *)l->here.sampling + begin)) +
        tokens;
    fo_status status = l->device->backend->download(
        l->device, (char *)l->here.sampling + begin,
        (char *)l->there.sampling + begin, bytes, error);
    if (status != FO_OK)
        return status;
    return fo_block_manager_catch_up(l->blocks, l->sequences, N, error);
}

/* Say how a sequence ended. */
/* No block was free, of all that there are or of those with memory. */
static void blame(const fo_decode_loop *l, fo_decoding *d)
{
    fo_block_stats stats;
    int total = fo_block_manager_config(l->blocks)->total_blocks, there = total;
    if (fo_block_manager_stats(l->blocks, &stats, NULL) == FO_OK)
        there = stats.pool.total;
    fo_fail_short(&d->error, FO_FULL, 1, 0,
                  "sequence %" PRId64 " wants 1 block; 0 of %d are free%s",
                  d->sequence, there,
                  there < total ? ", and memory for more is short" : "");
}

static void tell(const fo_decode_loop *l, fo_decoding *d, int n)
{
    d->count = l->here.count[n];
    d->stopped = l->here.end[n] == FO_STEP_STOPPED;
    d->error = (fo_error){.status = FO_OK};
    if (l->here.end[n] == FO_STEP_REFUSED)
        blame(l, d);
    if (l->here.end[n] == FO_STEP_UNDRAWN)
        fo_fail(&d->error, FO_DEVICE,
                "the logits of sequence %" PRId64
                " hold a NaN or no finite largest one",
                d->sequence);
}

/* Take back tokens that are stored and whose successors were not drawn. */
static void step_back(fo_decode_loop *l, int N)
{
    const fo_block_table *table = fo_block_manager_table(l->blocks);
    for (int n = 0; n < N; n++) {
        int length = l->stored[n] + l->here.count[n];
        if (fo_block_table_length(table, l->sequences[n]) > length)
            fo_block_manager_truncate(l->blocks, l->sequences[n], length, NULL);
    }
}

/* Run the loop. */
/* Enough for every length of the run, and seldom another one. */
static int bound(const fo_decode_loop *l, int N, int steps)
{
    int most = fo_block_manager_config(l->blocks)->max_length, bound = 64;
    for (int n = 0; n < N; n++)
        while (bound < most && bound < l->stored[n] + steps)
            bound = bound > most / 2 ? most : 2 * bound;
    return bound < most ? bound : most;
}

fo_status fo_decode_loop_run(fo_decode_loop *l, fo_decoding *decodings, int N,
                             int steps, bool until_stop, int32_t *tokens,
                             fo_error *error)
{
    assert(N <= l->N && (int64_t)N * steps <= l->most_tokens);
    fo_status status = FO_OK;
    for (int n = 0; n < N; n++) {
        decodings[n].count = 0;
        decodings[n].stopped = false;
        decodings[n].error = (fo_error){.status = FO_OK};
    }
    for (int n = 0; n < N && status == FO_OK; n++)
        status = check(l, &decodings[n], steps, error);
    if (status != FO_OK || N == 0 || steps == 0)
        return status;
    status = send(l, decodings, N, error);
    if (status != FO_OK)
        return status;
    l->there.N = N;
    l->there.stops = until_stop ? l->stops : 0;
    status = fo_block_manager_prepare(l->blocks, l->sequences, N, steps,
                                      l->there.window, error);
    if (status != FO_OK)
        return status;
    status = go(l, steps, bound(l, N, steps), error);
    /* Fetch whatever there is. */
    fo_status fetched = fetch(l, N, steps, NULL);
    if (fetched != FO_OK)
        fetched = fetch(l, N, steps, status == FO_OK ? error : NULL);
    if (fetched != FO_OK)
        return status == FO_OK ? fetched : status;
    for (int n = 0; n < N; n++) {
        tell(l, &decodings[n], n);
        for (int k = 0; k < decodings[n].count; k++)
            tokens[n * steps + k] = l->here.tokens[k * N + n];
    }
    if (status != FO_OK)
        step_back(l, N);
    return status;
}
