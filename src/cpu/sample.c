#include "common/rng.h"
#include "cpu/cpu.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* The mass of the likeliest token is 2 to this power. */
enum { MASS_BITS = 40 };

/* So many masses fit into 64 bits. */
enum { MOST_TOKENS = 1 << (63 - MASS_BITS) };

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

/* Turn a likelihood into a whole number. */
/* 2 to a power from -126 to 127. */
static float power_of_two(int power)
{
    uint32_t bits = (uint32_t)(power + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The whole part of 2^40 exp(x), x <= 0: the same bits on any device. */
static uint64_t mass_of(float x)
{
    x = x > -28.0f ? x : -28.0f; /* exp(-28) is less than 2^-40 */
    float n = rintf(x * 1.44269504f);
    float r = fmaf(n, -355.0f / 512.0f, x);
    r = fmaf(n, 2.12194440e-4f, r); /* 355 / 512 - ln 2 */
    float power = 1.0f / 5040.0f;
    power = fmaf(power, r, 1.0f / 720.0f);
    power = fmaf(power, r, 1.0f / 120.0f);
    power = fmaf(power, r, 1.0f / 24.0f);
    power = fmaf(power, r, 1.0f / 6.0f);
    power = fmaf(power, r, 0.5f);
    power = fmaf(power, r, 1.0f);
    power = fmaf(power, r, 1.0f);
    return (uint64_t)(power * power_of_two(MASS_BITS + (int)n));
}

/* Rank a logit by its bits. */
/* A whole number that orders logits: greater for a greater logit, the same for
 * an equal one. */
static uint32_t key_of(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
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
            uint32_t own = key_of(logits[i]);
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
        uint32_t key = key_of(logits[i]);
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

/* The first id at which the masses up to it exceed fraction / 2^32 of all. */
static int32_t walk(const uint64_t *masses /* (V) */, int V, uint32_t fraction)
{
    unsigned __int128 share = sum(masses, V);
    uint64_t threshold = (uint64_t)(share * fraction >> 32);
    uint64_t passed = masses[0];
    int32_t id = 0;
    while (passed <= threshold)
        passed += masses[++id];
    return id;
}

/* Draw one token. */
static bool in_range(const fo_sampling *sampling)
{
    return sampling->temperature >= 0 && isfinite(sampling->temperature) &&
           sampling->top_p >= 0 && sampling->top_p <= 1 && sampling->top_k >= 0;
}

static int32_t draw(const float *logits /* (V) */, const fo_sampling *sampling,
                    int V, uint64_t *masses /* (V) */)
{
    int32_t best = largest(logits, V);
    if (best < 0 || !in_range(sampling))
        return -1;
    if (sampling->temperature == 0)
        return best;
    for (int i = 0; i < V; i++)
        masses[i] = mass_of((logits[i] - logits[best]) / sampling->temperature);
    if (sampling->top_k > 0 && sampling->top_k < V)
        keep(logits, masses, V, BY_COUNT, (uint64_t)sampling->top_k);
    if (sampling->top_p < 1) {
        /* Keep the mass that top_p asks for. */
        uint64_t fraction = (uint64_t)((double)sampling->top_p * 0x1p32);
        unsigned __int128 share = sum(masses, V);
        uint64_t goal = (uint64_t)((share * fraction + 0xffffffffu) >> 32);
        keep(logits, masses, V, BY_MASS, goal > 0 ? goal : 1);
    }
    float u = fo_rng_uniform(sampling->seed, 0, sampling->position);
    return walk(masses, V, (uint32_t)(u * 0x1p24f) << 8);
}

/* Draw a token for each row. */
fo_status cpu_sample(fo_device *device, int32_t *tokens /* (N) */,
                     const float *logits /* (N, V) */,
                     const fo_sampling *sampling /* (N) */, int N, int V,
                     fo_workspace workspace, fo_error *error)
{
    (void)device;
    assert(N >= 0);
    if (V < 1 || V > MOST_TOKENS)
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
