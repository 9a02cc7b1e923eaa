/* Kernels for the test of the executor, each behind a function that runs it on
 * the simulated GPU. Pointers are device memory; false where the launch was
 * abandoned. */
#ifndef FOLIO_TESTS_SIMT_KERNELS_H
#define FOLIO_TESTS_SIMT_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Declare the kernels that are right. */
/* Rows of results of one warp: for each argument in 0..32 the four shuffles. */
bool simt_shuffle(uint32_t *out /* (33, 4, 32) */, int width);
bool simt_shuffle_wide(uint64_t *out /* (32) */);

/* ballot, any and all of the lanes whose bit is set in `votes`, by the lanes of
 * `mask` and by the others, each group for itself. */
bool simt_vote(uint32_t *out /* (3, 32) */, uint32_t votes, uint32_t mask);

/* The sum over a block in rounds through shared memory. */
bool simt_rounds(int *out /* (threads) */, int threads, int rounds);

bool simt_count(int *out /* (threads) */, int threads);

/* Every thread changes the same numbers. */
bool simt_atomics(int32_t *i /* (4) */, uint32_t *u /* (6) */,
                  uint64_t *w /* (2) */, float *f /* (1) */, int blocks,
                  int threads);

/* Threads take turns with a lock that they spin on. */
bool simt_lock(int *out /* (2): lock, count */, int threads);

/* Which thread of which block came when. */
bool simt_order(int *out /* (1 + blocks * threads) */, int blocks, int threads);

/* Declare the kernels that move and convert. */
/* d = a b by ldmatrix and mma; 16-bit numbers, row by row. */
bool simt_product(float *d /* (16, 8) */, const uint16_t *a /* (16, 16) */,
                  const uint16_t *b /* (16, 8) */, bool bf16);

/* What ldmatrix gives each lane. */
bool simt_matrices(uint32_t *out /* (32, 4) */,
                   const uint16_t *in /* (4, 8, 8) */, bool transposed);

/* What shared memory holds before and after the wait for each of two groups. */
bool simt_copy(uint32_t *out /* (3, 3, 4) */, const uint32_t *in /* (2, 4) */);

/* The first words of shared memory, unwritten. */
bool simt_poison(uint32_t *out /* (words) */, int words);

/* Bits of float from every half and back, and of half from floats. */
bool simt_widen(float *out /* (2, 65536): f16, bf16 */);
bool simt_narrow(uint16_t *out /* (2, n) */, const float *in /* (n) */, int n);

/* What C spells otherwise, of every pair of the numbers. */
bool simt_arithmetic(uint32_t *out /* (n, n, 12) */, const uint32_t *in, int n);

/* Each thread reads what its neighbour has written, without a barrier. */
bool simt_neighbours(int *out /* (threads) */, int threads);

/* The indices of every thread. */
bool simt_indices(uint32_t *out /* (threads, 6) */, const uint32_t grid[3],
                  const uint32_t block[3]);

/* Declare the kernels that are wrong. */
/* Each has a right twin, which does the same job by the rules. */
typedef enum simt_fault {
    SIMT_DIVERGENT_BARRIER,
    SIMT_TWO_BARRIERS,
    SIMT_EXIT_BEFORE_BARRIER,
    SIMT_BARRIER_IN_A_LOOP,
    SIMT_NOT_IN_MASK,
    SIMT_TWO_FUNCTIONS,
    SIMT_TWO_MASKS,
    SIMT_ABSENT_LANE,
    SIMT_PART_OF_A_WARP,
    SIMT_TWO_PRODUCTS,
    SIMT_SPIN,
    SIMT_TRAP,
    SIMT_FAULTS,
} simt_fault;

bool simt_planted(simt_fault fault, bool right, int *out /* (64) */);

#ifdef __cplusplus
}

#endif

#endif
