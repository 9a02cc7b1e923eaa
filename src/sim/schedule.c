#include "sim/inside.h"

#include <stdlib.h>

sim_settings sim_rules;

/* Read the settings. */
static bool read;

sim_settings sim_settings_get(void)
{
    if (!read) {
        const char *seed = getenv("FOLIO_SIM_SEED");
        const char *checks = getenv("FOLIO_SIM_CHECKS");
        sim_settings_set((sim_settings){
            .seed = seed ? strtoull(seed, NULL, 0) : 0,
            .checks = !checks || atoi(checks) != 0,
            .strict = true,
        });
    }
    return sim_rules;
}

void sim_settings_set(sim_settings settings)
{
    sim_rules = settings;
    read = true;
#ifdef SIM_ADDRESS_SANITIZER
    sim_rules.checks = false;
#endif
}

/* Draw from the seed. */
/* SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014. */
static uint64_t state;

uint32_t sim_draw(void)
{
    if (sim_rules.seed == 0)
        return 0;
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* Put the blocks of a grid in order. */
/* Multiplying by a number prime to the count visits each block once. */
static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

sim_order sim_order_begin(uint64_t blocks)
{
    state = sim_rules.seed;
    sim_order order = {
        .blocks = blocks, .first = sim_draw() % blocks, .step = 1};
    if (sim_rules.seed)
        do
            order.step = 1 + sim_draw() % blocks;
        while (divisor(order.step, blocks) != 1);
    return order;
}

uint64_t sim_order_block(const sim_order *order, uint64_t i)
{
    unsigned __int128 far = (unsigned __int128)i * order->step + order->first;
    return (uint64_t)(far % order->blocks);
}
