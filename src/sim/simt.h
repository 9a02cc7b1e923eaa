/* The executor of the simulated GPU: one fiber a thread, one block at a time.
 *
 * Words: a *lane* is one thread of a warp of 32; it is *ready*, it *waits* (for
 * its warp or at the block's barrier), or it has *exited*. A *site* is the line
 * of a kernel at which a lane last entered the executor. Threads of a block are
 * numbered x fastest, as CUDA does.
 *
 * One launch runs at a time, on the host thread that asked for it. */
#ifndef FOLIO_SIM_SIMT_H
#define FOLIO_SIM_SIMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bound what a block may be. */
enum { SIM_LANES = 32, SIM_MOST_THREADS = 1024, SIM_MOST_WARPS = 32 };

/* Bytes of shared memory a block may have, as on an H200. */
enum { SIM_MOST_SHARED = 227 * 1024 };

/* Choose a schedule and what is checked. */
typedef struct sim_settings {
    uint64_t seed; /* of the schedule; 0: lowest lane, warp, block first   */
    bool checks;   /* watch memory accesses                                */
    bool strict;   /* report barriers that hardware happens to get through */
    bool traffic;  /* count sectors and bank conflicts                     */
} sim_settings;

/* First read: seed from FOLIO_SIM_SEED, checks from FOLIO_SIM_CHECKS (1 if
 * absent), strict on, traffic off. In a build with AddressSanitizer kernels
 * report no accesses, and checks stays off. */
sim_settings sim_settings_get(void);
void sim_settings_set(sim_settings settings);

/* Describe a launch. */
typedef struct sim_index {
    uint32_t x, y, z;
} sim_index;

typedef struct sim_launch {
    const char *name; /* of the kernel, for reports        */
    sim_index grid, block;
    size_t shared_bytes;
    void (*run)(void *arguments); /* the kernel, called by each thread */
    void *arguments;
} sim_launch;

/* Run a grid to its end. False if it was refused (a shape or a size that no GPU
 * takes, no memory for the stacks) or abandoned because of a fault; the report
 * says which. */
bool sim_execute(const sim_launch *launch);

/* Report a launch that cannot be made; the runtime's last error says so, too.
 */
void sim_refuse(const sim_launch *launch, const char *why);

/* Tell a thread's memory apart. */
/* Whether an address lies in a fiber's stack. */
bool sim_on_stack(const void *address);

/* End the launch that runs, after a report; does not return. For a fault after
 * which a kernel cannot go on. */
void sim_abandon(void) __attribute__((noreturn));

/* Answer for the built-in variables. */
/* Const: for one thread the answers never change. */
sim_index sim_thread_index(void) __attribute__((const));
sim_index sim_block_index(void) __attribute__((const));
sim_index sim_block_shape(void) __attribute__((const));
sim_index sim_grid_shape(void) __attribute__((const));
void *sim_shared_base(void) __attribute__((const));

/* Meet the block or the warp. */
void sim_barrier(const char *file, int line);
int sim_barrier_count(int predicate, const char *file, int line);
void sim_warp_barrier(uint32_t mask, const char *file, int line);

typedef enum sim_shuffle_kind {
    SIM_SHUFFLE_INDEX,
    SIM_SHUFFLE_UP,
    SIM_SHUFFLE_DOWN,
    SIM_SHUFFLE_XOR,
} sim_shuffle_kind;

/* The 64 bits that another lane offers; as PTX defines shfl.sync. */
uint64_t sim_shuffle(sim_shuffle_kind kind, uint32_t mask, uint64_t bits,
                     uint32_t lane, uint32_t width, const char *file, int line);

/* The lanes of the mask whose predicate is not zero. */
uint32_t sim_ballot(uint32_t mask, int predicate, const char *file, int line);

/* Change memory atomically. */
typedef enum sim_fold {
    SIM_FOLD_ADD,
    SIM_FOLD_MIN,
    SIM_FOLD_MAX,
    SIM_FOLD_AND,
    SIM_FOLD_OR,
    SIM_FOLD_XOR,
    SIM_FOLD_EXCHANGE,
} sim_fold;

/* Atomics on global or shared memory; each returns what was there before. */
int32_t sim_atomic_i32(sim_fold fold, int32_t *at, int32_t value);
uint32_t sim_atomic_u32(sim_fold fold, uint32_t *at, uint32_t value);
uint64_t sim_atomic_u64(sim_fold fold, uint64_t *at, uint64_t value);
float sim_atomic_f32(sim_fold fold, float *at, float value);
uint32_t sim_atomic_swap_u32(uint32_t *at, uint32_t expected, uint32_t wanted);
uint64_t sim_atomic_swap_u64(uint64_t *at, uint64_t expected, uint64_t wanted);

/* Let other threads run, where the schedule wants it. */
void sim_yield(void);

/* End the launch with a report, as a trap does. */
void sim_trap(const char *file, int line) __attribute__((noreturn));

/* Stand in for the special instructions. */
/* Four words in a register: passed by value, they touch no memory. */
typedef uint32_t sim_words __attribute__((vector_size(16)));
typedef float sim_floats __attribute__((vector_size(16)));

sim_words sim_load_16(const void *from);
void sim_store_16(void *to, sim_words value);
void sim_copy_16(void *to, const void *from); /* both device memory */

void sim_copy_async(void *shared, const void *global, bool wanted,
                    const char *file, int line);
void sim_copy_commit(void);
void sim_copy_wait(uint32_t groups);

sim_words sim_load_matrix(const void *row, bool transposed, const char *file,
                          int line);

typedef enum sim_matrix_type {
    SIM_MATRIX_F16,
    SIM_MATRIX_BF16
} sim_matrix_type;

/* d + a b for one warp, fragments as PTX deals them for mma.m16n8k16. */
sim_floats sim_multiply(sim_matrix_type type, sim_floats d, sim_words a,
                        uint64_t b, const char *file, int line);

#ifdef __cplusplus
}

#endif

#endif
