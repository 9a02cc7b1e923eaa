/* Between the executor and the checkers of memory: hooks.c, races.c, traffic.c.
 *
 * An *era* is the time between two barriers of one block. Eras are counted over
 * the life of the program, and blocks run one after another, so that each block
 * and each launch is an interval of eras and an older era is a smaller number.
 */
#ifndef FOLIO_SIM_WATCH_H
#define FOLIO_SIM_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Hold what both sides see. */
enum { SIM_WATCH_WARPS = 32 };

typedef struct sim_watch {
    bool on;         /* a kernel runs and is watched: for one of    */
    bool checks;     /* mistakes                                    */
    bool traffic;    /* traffic                                     */
    uint32_t thread; /* that runs: its number in the block          */
    uint32_t era;    /* now                                         */
    uint32_t block_era, launch_era;     /* when they began                */
    uint32_t warp_era[SIM_WATCH_WARPS]; /* barriers the warp has passed   */
    uint32_t meetings[SIM_WATCH_WARPS]; /* and its warp functions as well */
    uintptr_t shared; /* the block's shared memory                   */
    size_t shared_bytes;
} sim_watch;

extern sim_watch sim_watch_now;

/* Declare what the executor tells. */
/* A launch begins, with its shape of a block, and ends. The name stays valid
 * between. */
void sim_watch_launch(const char *kernel, const uint32_t block[3]);
void sim_watch_launch_end(void);

/* A block begins, with its shared memory, which holds nothing yet. */
void sim_watch_block(const uint32_t block[3], void *shared, size_t bytes);

/* Every thread of the block has arrived at its barrier, and none has left it;
 * the same for all lanes of a warp. */
void sim_watch_barrier(void);
void sim_watch_warp_barrier(uint32_t warp);

/* Thread `number` of the block runs from now on. */
static inline void sim_watch_thread(uint32_t number)
{
    sim_watch_now.thread = number;
}

/* All 32 lanes of the warp have met in a warp function, of whatever kind. */
static inline void sim_watch_meeting(uint32_t warp)
{
    sim_watch_now.meetings[warp]++;
}

/* The running thread has issued a copy of `bytes` to shared memory (`from` may
 * be null: zeros); it has waited for that copy. */
void sim_watch_copy(const void *to, const void *from, size_t bytes,
                    const void *return_address);
void sim_watch_copy_landed(const void *to, const void *from, size_t bytes,
                           const void *return_address);

/* Declare what an access tells. */
enum sim_access_kind { SIM_READ, SIM_WRITE, SIM_ATOMIC };

/* The running thread is about to access memory; nothing happens unless a kernel
 * runs and is watched. `return_address` is __builtin_return_address(0) in the
 * function that the kernel called. */
void sim_access(const void *address, size_t bytes, enum sim_access_kind kind,
                const void *return_address);

#ifdef __cplusplus
}
#endif

#endif
