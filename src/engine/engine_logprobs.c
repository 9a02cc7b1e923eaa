#include "engine/engine_inside.h"

#include "common/memory.h"

#include <math.h>
#include <string.h>

/* Take the memory for logprobs. */
fo_status fo_engine_open_logprobs(fo_engine *e, fo_error *error)
{
    size_t V = (size_t)fo_model_config(e->model)->V;
    size_t N = (size_t)e->bounds.max_sequences;
    size_t each = FO_MOST_LOGPROBS * sizeof *e->likeliest;
    if (!e->logit_row)
        e->logit_row = fo_memory_alloc(V, sizeof *e->logit_row, error);
    if (e->logit_row && !e->likeliest)
        e->likeliest = fo_memory_alloc(N, each, error);
    return e->likeliest ? FO_OK : FO_NOMEM;
}

/* Gather the likeliest tokens. */
/* The `wanted` largest of V values, largest first; of equals the lowest. */
static void gather(const float *row, int V, fo_logprob *best, int wanted)
{
    int count = 0;
    for (int v = 0; v < V; v++) {
        if (count == wanted && !(row[v] > best[count - 1].value))
            continue;
        int at = count < wanted ? count++ : count - 1;
        for (; at > 0 && row[v] > best[at - 1].value; at--)
            best[at] = best[at - 1];
        best[at] = (fo_logprob){v, row[v]};
    }
}

/* Weigh a token by its logits. */
fo_status fo_engine_weigh(fo_engine *e, int d, int wanted, const float *logits,
                          fo_error *error)
{
    int V = fo_model_config(e->model)->V;
    fo_logprob *own = &e->likeliest[d * FO_MOST_LOGPROBS];
    int others = wanted - 1 < V ? wanted - 1 : V;
    fo_status status = e->device->backend->download(
        e->device, e->logit_row, logits, (size_t)V * sizeof *logits, error);
    if (status != FO_OK)
        return status;
    double sum = 0;
    float largest = -INFINITY;
    for (int v = 0; v < V; v++)
        largest = fmaxf(largest, e->logit_row[v]);
    for (int v = 0; v < V; v++)
        sum += exp((double)e->logit_row[v] - largest);
    double whole = largest + log(sum);
    *own = (fo_logprob){e->drawn[d], e->logit_row[e->drawn[d]]};
    if (others > 0)
        gather(e->logit_row, V, own + 1, others);
    for (int i = 0; i <= others; i++)
        own[i].value = (float)(own[i].value - whole);
    return FO_OK;
}
