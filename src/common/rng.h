/* Random numbers by counter, not by state: the n-th number of a stream can be
 * computed on any device, in any order, and is the same everywhere.
 *
 * Philox4x32-10: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
 * SC 2011. Its published test vectors are in the tests. */
#ifndef FOLIO_COMMON_RNG_H
#define FOLIO_COMMON_RNG_H

#include "common/anywhere.h"

#include <stdint.h>

/* Run ten rounds over a block. */
/* The four words of block `counter` of stream (seed, stream). */
FO_ANYWHERE void fo_rng_block(uint64_t seed, uint64_t stream, uint64_t counter,
                              uint32_t words[4])
{
    uint32_t x[4] = {(uint32_t)counter, (uint32_t)(counter >> 32),
                     (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53 * x[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57 * x[2];
        x[0] = (uint32_t)(product1 >> 32) ^ x[1] ^ key[0];
        x[1] = (uint32_t)product1;
        x[2] = (uint32_t)(product0 >> 32) ^ x[3] ^ key[1];
        x[3] = (uint32_t)product0;
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++)
        words[i] = x[i];
}

/* Draw one number. */
/* Draw number `counter` of a stream: uniform in [0, 1), 24 bits. */
FO_ANYWHERE float fo_rng_uniform(uint64_t seed, uint64_t stream,
                                 uint64_t counter)
{
    uint32_t words[4];
    fo_rng_block(seed, stream, counter, words);
    return (float)(words[0] >> 8) * 0x1p-24f;
}

#endif
