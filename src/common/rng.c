#include "common/rng.h"

/* Multiply two words into two. */
static void multiply(uint32_t a, uint32_t b, uint32_t *high, uint32_t *low)
{
    uint64_t product = (uint64_t)a * b;
    *high = (uint32_t)(product >> 32);
    *low = (uint32_t)product;
}

/* Run ten rounds over a block. */
void fo_rng_block(uint64_t seed, uint64_t stream, uint64_t counter,
                  uint32_t words[4])
{
    uint32_t x[4] = {(uint32_t)counter, (uint32_t)(counter >> 32),
                     (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint32_t high0, low0, high1, low1;
        multiply(0xD2511F53, x[0], &high0, &low0);
        multiply(0xCD9E8D57, x[2], &high1, &low1);
        x[0] = high1 ^ x[1] ^ key[0];
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ key[1];
        x[3] = low0;
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++)
        words[i] = x[i];
}

/* Draw one number. */
float fo_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t words[4];
    fo_rng_block(seed, stream, counter, words);
    return (float)(words[0] >> 8) * 0x1p-24f;
}
