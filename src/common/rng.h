/* Random numbers by counter, not by state: the n-th number of a stream can be
 * computed on any device, in any order, and is the same everywhere.
 *
 * Philox4x32-10: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
 * SC 2011. Its published test vectors are in the tests. */
#ifndef FOLIO_COMMON_RNG_H
#define FOLIO_COMMON_RNG_H

#include <stdint.h>

/* The four words of block `counter` of stream (seed, stream). */
void fo_rng_block(uint64_t seed, uint64_t stream, uint64_t counter,
                  uint32_t words[4]);

/* Draw number `counter` of a stream: uniform in [0, 1), 24 bits. */
float fo_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

#endif
