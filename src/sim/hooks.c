#include "sim/arena.h"
#include "sim/races.h"
#include "sim/simt.h"
#include "sim/site.h"
#include "sim/traffic.h"
#include "sim/watch.h"
#include "sim/witness.h"

#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Keep the states of shared memory. */
enum { IN_FLIGHT = SIM_FREED + 1 };

static uint8_t shared_states[SIM_MOST_SHARED];

void sim_hooks_block(size_t bytes)
{
    memset(shared_states, SIM_UNWRITTEN, bytes);
}

/* Tell what was touched. */
static const char *verb(enum sim_access_kind kind)
{
    return kind == SIM_READ ? "read" : kind == SIM_WRITE ? "write" : "atomic";
}

static _Noreturn void beyond_device(const char *address, size_t bytes,
                                    enum sim_access_kind kind, uint32_t site)
{
    bool freed = sim_arena_state(address) == SIM_FREED;
    char where[160];
    sim_arena_describe(address, where, sizeof where);
    sim_tell(freed ? SIM_USE_AFTER_FREE : SIM_OUT_OF_BOUNDS, site, NULL,
             "%s of %zu bytes that reaches %p, %s", verb(kind), bytes,
             (const void *)address, where);
    sim_abandon();
}

static _Noreturn void beyond_shared(size_t offset, size_t bytes,
                                    enum sim_access_kind kind, uint32_t site)
{
    sim_tell(SIM_OUT_OF_BOUNDS, site, NULL,
             "%s of %zu bytes at byte %td of shared memory, which has %zu",
             verb(kind), bytes, (ptrdiff_t)offset, sim_watch_now.shared_bytes);
    sim_abandon();
}

static _Noreturn void misaligned(uintptr_t address, size_t bytes, uint32_t site)
{
    sim_tell(SIM_MISALIGNED, site, NULL,
             "%zu bytes at %p, which is no multiple of %zu", bytes,
             (const void *)address, bytes);
    sim_abandon();
}

/* Know the program's constants. */
static uintptr_t constants[16][2]; /* first and end of each segment */
static int constant_count;

static int note_segments(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum && constant_count < 16; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type != PT_LOAD || (h->p_flags & PF_W))
            continue;
        constants[constant_count][0] = info->dlpi_addr + h->p_vaddr;
        constants[constant_count++][1] =
            info->dlpi_addr + h->p_vaddr + h->p_memsz;
    }
    return 1; /* the program comes first, and no library is asked */
}

static bool constant_data(uintptr_t address)
{
    if (constant_count == 0)
        dl_iterate_phdr(note_segments, NULL);
    for (int i = 0; i < constant_count; i++) {
        if (address >= constants[i][0] && address < constants[i][1])
            return true;
    }
    return false;
}

/* Settle an access that is out of the ordinary. */
static bool settle_device(size_t offset, size_t bytes,
                          enum sim_access_kind kind, uint32_t site)
{
    uint8_t *states = sim_arena_map_of.shadow + offset;
    const char *address = (const char *)sim_arena_map_of.base + offset;
    for (size_t i = 0; i < bytes; i++) {
        if (states[i] != SIM_UNWRITTEN && states[i] != SIM_WRITTEN)
            beyond_device(address + i, bytes, kind, site);
    }
    size_t i = 0;
    while (i < bytes && states[i] == SIM_WRITTEN)
        i++;
    if (kind != SIM_WRITE && i < bytes)
        sim_tell(SIM_UNINITIALISED, site, NULL,
                 "%s of %zu bytes at %p; byte %zu was never written",
                 verb(kind), bytes, (const void *)address, i);
    if (kind != SIM_READ)
        memset(states, SIM_WRITTEN, bytes);
    return true;
}

static bool settle_shared(size_t offset, size_t bytes,
                          enum sim_access_kind kind, uint32_t site)
{
    uint8_t *states = shared_states + offset;
    for (size_t i = 0; i < bytes; i++) {
        sim_witness copy;
        if (states[i] != IN_FLIGHT)
            continue;
        sim_race_writer(&sim_shared_space, offset + i, &copy);
        sim_tell(
            SIM_IN_FLIGHT, site, &copy,
            "%s of %zu bytes of shared memory at byte %zu, where a copy that "
            "nobody has waited for is under way",
            verb(kind), bytes, offset);
        return false;
    }
    size_t i = 0;
    while (i < bytes && states[i] == SIM_WRITTEN)
        i++;
    if (kind != SIM_WRITE && i < bytes)
        sim_tell(SIM_UNINITIALISED, site, NULL,
                 "%s of %zu bytes of shared memory at byte %zu; byte %zu was "
                 "never written in this block",
                 verb(kind), bytes, offset, offset + i);
    if (kind != SIM_READ)
        memset(states, SIM_WRITTEN, bytes);
    return true;
}

/* Watch device memory. */
/* Are all of these states SIM_WRITTEN? */
static inline __attribute__((always_inline)) bool
all_written(const uint8_t *states, size_t bytes)
{
    const uint64_t all = 0x0101010101010101u * SIM_WRITTEN;
    if (bytes == 16)
        return all_written(states, 8) && all_written(states + 8, 8);
    if (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8)
        return memcmp(states, &all, bytes) == 0;
    for (size_t i = 0; i < bytes; i++) {
        if (states[i] != SIM_WRITTEN)
            return false;
    }
    return true;
}

static inline __attribute__((always_inline)) void
watch_device(size_t offset, size_t bytes, enum sim_access_kind kind,
             uint32_t site)
{
    uint8_t *states = sim_arena_map_of.shadow + offset;
    if (sim_watch_now.traffic)
        sim_traffic_note(false, offset, bytes, kind, site);
    if (!sim_watch_now.checks)
        return;
    if (!all_written(states, bytes) &&
        !settle_device(offset, bytes, kind, site))
        return;
    sim_race_check(&sim_device_space, offset, bytes, kind, site);
}

/* Watch shared memory. */
static inline __attribute__((always_inline)) void
watch_shared(size_t offset, size_t bytes, enum sim_access_kind kind,
             uint32_t site)
{
    if (offset + bytes > sim_watch_now.shared_bytes)
        beyond_shared(offset, bytes, kind, site);
    if (sim_watch_now.traffic)
        sim_traffic_note(true, offset, bytes, kind, site);
    if (!sim_watch_now.checks)
        return;
    if (!all_written(shared_states + offset, bytes) &&
        !settle_shared(offset, bytes, kind, site))
        return;
    sim_race_check(&sim_shared_space, offset, bytes, kind, site);
}

/* Watch what lies elsewhere. */
static __attribute__((noinline)) void watch_elsewhere(uintptr_t address,
                                                      size_t bytes,
                                                      enum sim_access_kind kind,
                                                      uint32_t site)
{
    enum { OWN_STACK = 32 << 10 };
    const sim_watch *w = &sim_watch_now;
    if (address - (uintptr_t)__builtin_frame_address(0) < OWN_STACK ||
        sim_on_stack((const void *)address) ||
        (kind == SIM_READ && constant_data(address)))
        return;
    if (address - w->shared + SIM_MOST_SHARED < 2 * SIM_MOST_SHARED)
        beyond_shared(address - w->shared, bytes, kind, site);
    sim_tell(SIM_HOST_POINTER, site, NULL,
             "%s of %zu bytes at %p, which is the host's memory", verb(kind),
             bytes, (const void *)address);
    sim_abandon();
}

/* Watch one access. */
static inline __attribute__((always_inline)) void
watch(uintptr_t address, size_t bytes, enum sim_access_kind kind, bool aligned,
      const void *return_address)
{
    const sim_watch *w = &sim_watch_now;
    uint32_t site = sim_site_of(return_address);
    size_t offset = address - w->shared;
    if (aligned && (address & (bytes - 1)))
        misaligned(address, bytes, site);
    if (offset < w->shared_bytes)
        watch_shared(offset, bytes, kind, site);
    else if (sim_arena_offset(address, &offset))
        watch_device(offset, bytes, kind, site);
    else
        watch_elsewhere(address, bytes, kind, site);
}

void sim_access(const void *address, size_t bytes, enum sim_access_kind kind,
                const void *return_address)
{
    bool aligned = bytes > 0 && (bytes & (bytes - 1)) == 0 && bytes <= 16;
    if (sim_watch_now.on)
        watch((uintptr_t)address, bytes, kind, aligned, return_address);
}

/* Watch an asynchronous copy. */
static void copy_part(const void *to, const void *from, size_t bytes,
                      const void *return_address, uint8_t state)
{
    size_t offset = (uintptr_t)to - sim_watch_now.shared;
    if (from)
        sim_access(from, bytes, SIM_READ, return_address);
    if (state == SIM_WRITTEN && offset + bytes <= sim_watch_now.shared_bytes)
        memset(shared_states + offset, state, bytes);
    sim_access(to, bytes, SIM_WRITE, return_address);
    if (offset + bytes <= sim_watch_now.shared_bytes)
        memset(shared_states + offset, state, bytes);
}

void sim_watch_copy(const void *to, const void *from, size_t bytes,
                    const void *return_address)
{
    if (sim_watch_now.on)
        copy_part(to, from, bytes, return_address, IN_FLIGHT);
}

void sim_watch_copy_landed(const void *to, const void *from, size_t bytes,
                           const void *return_address)
{
    bool traffic = sim_watch_now.traffic;
    if (!sim_watch_now.checks)
        return;
    sim_watch_now.traffic = false; /* it was counted when it was issued */
    copy_part(to, from, bytes, return_address, SIM_WRITTEN);
    sim_watch_now.traffic = traffic;
}

/* Answer the compiler's calls. */
#define HOOK(name, bytes, kind, aligned)                                       \
    void __tsan_##name(void *address);                                         \
    void __tsan_##name(void *address)                                          \
    {                                                                          \
        if (sim_watch_now.on)                                                  \
            watch((uintptr_t)address, bytes, kind, aligned,                    \
                  __builtin_return_address(0));                                \
    }

#define HOOKS(bytes)                                                           \
    HOOK(read##bytes, bytes, SIM_READ, true)                                   \
    HOOK(write##bytes, bytes, SIM_WRITE, true)                                 \
    HOOK(unaligned_read##bytes, bytes, SIM_READ, false)                        \
    HOOK(unaligned_write##bytes, bytes, SIM_WRITE, false)                      \
    HOOK(volatile_read##bytes, bytes, SIM_READ, true)                          \
    HOOK(volatile_write##bytes, bytes, SIM_WRITE, true)                        \
    HOOK(unaligned_volatile_read##bytes, bytes, SIM_READ, false)               \
    HOOK(unaligned_volatile_write##bytes, bytes, SIM_WRITE, false)

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *address, size_t bytes);
void __tsan_read_range(void *address, size_t bytes)
{
    sim_access(address, bytes, SIM_READ, __builtin_return_address(0));
}

void __tsan_write_range(void *address, size_t bytes);
void __tsan_write_range(void *address, size_t bytes)
{
    sim_access(address, bytes, SIM_WRITE, __builtin_return_address(0));
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
