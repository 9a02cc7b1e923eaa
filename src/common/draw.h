/* The arithmetic of a draw, the same bits on any device: masses, keys and
 * shares. The book's chapter on sampling says how they make a token. */
#ifndef FOLIO_COMMON_DRAW_H
#define FOLIO_COMMON_DRAW_H

#include "common/anywhere.h"
#include "common/backend.h"
#include "common/rng.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* The mass of the likeliest token is 2 to this power. */
enum { FO_DRAW_MASS_BITS = 40 };

/* So many masses fit into 64 bits. */
enum { FO_DRAW_MOST_TOKENS = 1 << (63 - FO_DRAW_MASS_BITS) };

/* Know which settings are in range. */
FO_ANYWHERE bool fo_draw_in_range(const fo_sampling *sampling)
{
    return sampling->temperature >= 0 && isfinite(sampling->temperature) &&
           sampling->top_p >= 0 && sampling->top_p <= 1 && sampling->top_k >= 0;
}

/* Turn a likelihood into a whole number. */
/* The whole part of 2^40 exp(x), x <= 0: the same bits on any device. */
FO_ANYWHERE uint64_t fo_draw_mass(float x)
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
    /* 2 to the power 40 + n, by its exponent. */
    uint32_t bits = (uint32_t)(FO_DRAW_MASS_BITS + (int)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return (uint64_t)(power * scale);
}

/* Rank a logit by its bits. */
/* A whole number that orders logits: greater for a greater logit, the same for
 * an equal one. */
FO_ANYWHERE uint32_t fo_draw_key(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Take shares of a mass. */
/* The walk stops at the first token up to which the masses exceed this share
 * of their total. */
FO_ANYWHERE uint64_t fo_draw_threshold(uint64_t total,
                                       const fo_sampling *sampling)
{
    float u = fo_rng_uniform(sampling->seed, 0, sampling->position);
    unsigned __int128 share = total;
    return (uint64_t)(share * ((uint32_t)(u * 0x1p24f) << 8) >> 32);
}

/* The mass that top_p keeps of a total. */
FO_ANYWHERE uint64_t fo_draw_goal(uint64_t total, float top_p)
{
    unsigned __int128 share = total;
    share = share * (uint64_t)((double)top_p * 0x1p32) + 0xffffffffu;
    uint64_t goal = (uint64_t)(share >> 32);
    return goal > 0 ? goal : 1;
}

#endif
