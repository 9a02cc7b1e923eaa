/* The memory of the simulated device: one range of addresses with a shadow that
 * holds the state of every byte.
 *
 * Addresses are reserved and granules of them mapped, as CUDA's virtual memory
 * calls do. A fresh mapping is a red zone; who hands out its bytes marks them.
 * Ranges given to reserve, release, map and unmap are multiples of a granule.
 * One thread at a time. */
#ifndef FOLIO_SIM_ARENA_H
#define FOLIO_SIM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIM_GRANULE ((size_t)2 << 20)

/* Name the states of a byte. */
/* The state of one byte of device memory. */
enum sim_state {
    SIM_UNMAPPED,  /* reserved or free address space: an access faults       */
    SIM_RED_ZONE,  /* there, but part of no allocation: nothing may touch it */
    SIM_UNWRITTEN, /* allocated, never written: reading it is a mistake      */
    SIM_WRITTEN,   /* allocated and written                                  */
    SIM_FREED,     /* was allocated, and is kept from reuse to be caught     */
};

/* Declare the life of memory. */
/* `bytes` of address space, SIM_UNMAPPED; null when the arena has no run of
 * that length. `release` takes back a range that is no longer mapped. */
void *sim_arena_reserve(size_t bytes);
void sim_arena_release(void *start, size_t bytes);

/* Put memory behind a reserved range, SIM_RED_ZONE throughout; false when the
 * system has none. `unmap` takes it away again. */
bool sim_arena_map(void *start, size_t bytes);
void sim_arena_unmap(void *start, size_t bytes);

/* Set the state of bytes that are mapped. Bytes marked SIM_UNWRITTEN or
 * SIM_FREED are filled with 0xff, which is NaN in every float format and -1 in
 * every integer: who uses them gets no plausible number. */
void sim_arena_mark(void *start, size_t bytes, enum sim_state state);

/* Let `bytes` at `to` have the states of those at `from`, as a copy on the
 * device leaves them. */
void sim_arena_copy_states(void *to, const void *from, size_t bytes);

/* Declare the questions about memory. */
/* Is this an address of the arena? */
bool sim_arena_holds(const void *address);

/* The state of one byte; SIM_UNMAPPED outside of the arena, SIM_FREED where it
 * was mapped once and is no longer. */
enum sim_state sim_arena_state(const void *address);

/* A call of the host (its name in `call`) is about to read or write device
 * memory. False, and a report, unless every byte belongs to an allocation.
 * Bytes written become SIM_WRITTEN; to read unwritten ones is no mistake here,
 * since a copy hands on what it finds and whoever uses it is caught. */
bool sim_arena_check_host(const void *start, size_t bytes, bool write,
                          const char *call);

/* Report every run of allocated bytes that is left, and return how many there
 * are: for the end of a device's life. */
int sim_arena_check_leaks(void);

/* Say in words where an address lies, such as "4 bytes after an allocation of
 * 96 bytes". */
void sim_arena_describe(const void *address, char *text, size_t size);

/* Let the hooks look at the shadow. */
/* For hooks.c: where the arena lies, and the shadow of an address in it. */
typedef struct sim_arena {
    uintptr_t base;
    size_t bytes;
    uint8_t *shadow; /* (bytes), of enum sim_state */
} sim_arena;

extern sim_arena sim_arena_map_of;

static inline bool sim_arena_offset(uintptr_t address, size_t *offset)
{
    *offset = address - sim_arena_map_of.base;
    return *offset < sim_arena_map_of.bytes;
}

#ifdef __cplusplus
}
#endif

#endif
