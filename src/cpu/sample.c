#include "common/draw.h"
#include "cpu/cpu.h"

#include <assert.h>

/* Find the largest logit. */
/* The lowest id of the largest logit; -1 if there is a NaN, or if the largest
 * is not finite. */
static int32_t largest(const float *logits /* (V) */, int V)
{
    int32_t best = 0;
    bool broken = false;
    for (int32_t i = 0; i < V; i++) {
        broken |= isnan(logits[i]);
        if (logits[i] > logits[best])
            best = i;
    }
    return broken || !isfinite(logits[best]) ? -1 : best;
}

/* Find where the likeliest tokens reach a goal. */
/* What one token counts for. */
typedef enum measure { BY_COUNT, BY_MASS } measure;

/* A cut: all tokens with a greater key are kept, and of the tokens with this
 * key as many as `goal` still asks for. */
typedef struct cut {
    uint32_t key;
    uint64_t goal;
} cut;

/* Where the likeliest tokens together count for `goal`, which is positive and
 * at most what all tokens count for. */
static cut find_cut(const float *logits /* (V) */,
                    const uint64_t *masses /* (V) */, int V, measure by,
                    uint64_t goal)
{
    uint32_t key = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        /* Fill the bins of one byte. */
        uint64_t bins[256] = {0};
        for (int i = 0; i < V; i++) {
            uint32_t own = fo_draw_key(logits[i]);
            if ((uint64_t)(own ^ key) >> (shift + 8) == 0)
                bins[own >> shift & 255] += by == BY_MASS ? masses[i] : 1;
        }
        uint32_t bin = 255;
        while (bins[bin] < goal)
            goal -= bins[bin--];
        key |= bin << shift;
    }
    return (cut){key, goal};
}

/* Keep the likeliest tokens that reach a goal. */
static void keep(const float *logits /* (V) */, uint64_t *masses /* (V) */,
                 int V, measure by, uint64_t goal)
{
    cut cut = find_cut(logits, masses, V, by, goal);
    for (int i = 0; i < V; i++) {
        uint32_t key = fo_draw_key(logits[i]);
        if (key > cut.key)
            continue;
        if (key < cut.key || cut.goal == 0) {
            masses[i] = 0;
            continue;
        }
        uint64_t counted = by == BY_MASS ? masses[i] : 1;
        cut.goal -= counted < cut.goal ? counted : cut.goal;
    }
}

/* Walk the masses to the drawn token. */
static uint64_t sum(const uint64_t *masses /* (V) */, int V)
{
    uint64_t total = 0;
    for (int i = 0; i < V; i++)
        total += masses[i];
    return total;
}

/* The first id at which the masses up to it exceed the threshold. */
static int32_t walk(const uint64_t *masses /* (V) */, uint64_t threshold)
{
    uint64_t passed = masses[0];
    int32_t id = 0;
    while (passed <= threshold)
        passed += masses[++id];
    return id;
}

/* Draw one token. */
static int32_t draw(const float *logits /* (V) */, const fo_sampling *sampling,
                    int V, uint64_t *masses /* (V) */)
{
    int32_t best = largest(logits, V);
    if (best < 0 || !fo_draw_in_range(sampling))
        return -1;
    float temperature = sampling->temperature;
    if (temperature == 0)
        return best;
    for (int i = 0; i < V; i++)
        masses[i] = fo_draw_mass((logits[i] - logits[best]) / temperature);
    if (sampling->top_k > 0 && sampling->top_k < V)
        keep(logits, masses, V, BY_COUNT, (uint64_t)sampling->top_k);
    if (sampling->top_p < 1)
        keep(logits, masses, V, BY_MASS,
             fo_draw_goal(sum(masses, V), sampling->top_p));
    return walk(masses, fo_draw_threshold(sum(masses, V), sampling));
}

/* Draw a token for each row. */
fo_status cpu_sample(fo_device *device, int32_t *tokens /* (N) */,
                     const float *logits /* (N, V) */,
                     const fo_sampling *sampling /* (N) */, int N, int V,
                     fo_workspace workspace, fo_error *error)
{
    (void)device;
    assert(N >= 0);
    if (V < 1 || V > FO_DRAW_MOST_TOKENS)
        return fo_fail(error, FO_ARG, "cannot sample from %d tokens", V);
    assert(workspace.bytes >= (size_t)N * (size_t)V * sizeof(uint64_t));
    uint64_t *masses = workspace.data; /* (N, V) */
#pragma omp parallel for if (N > 1)
    for (int n = 0; n < N; n++) {
        size_t row = (size_t)n * (size_t)V;
        tokens[n] = draw(logits + row, &sampling[n], V, masses + row);
    }
    return FO_OK;
}

size_t cpu_sample_workspace(const fo_workload *workload)
{
    return (size_t)workload->max_sequences * (size_t)workload->V *
           sizeof(uint64_t);
}
