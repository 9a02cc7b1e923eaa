#include "sim/arena.h"

#include "sim/report.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LONGEST  ((size_t)256 << 30)
#define SHORTEST ((size_t)1 << 30)
#define PLACE    ((void *)0x200000000000)

sim_arena sim_arena_map_of;

/* Keep what each granule is used for. */
enum use { FREE, RESERVED, MAPPED };

static uint8_t *granules; /* of enum use                              */
static uint8_t *gone;     /* has it been mapped, and unmapped since?  */
static size_t cursor;     /* where the next search begins             */

static size_t granule_of(const void *address)
{
    return ((uintptr_t)address - sim_arena_map_of.base) / SIM_GRANULE;
}

static void use_granules(const void *start, size_t bytes, enum use was,
                         enum use is)
{
    assert(bytes % SIM_GRANULE == 0);
    assert(((uintptr_t)start - sim_arena_map_of.base) % SIM_GRANULE == 0);
    size_t first = granule_of(start), n = bytes / SIM_GRANULE;
    assert(first + n <= sim_arena_map_of.bytes / SIM_GRANULE);
    for (size_t i = first; i < first + n; i++) {
        assert(granules[i] == was);
        granules[i] = is;
        if (is == MAPPED || was == MAPPED)
            gone[i] = was == MAPPED;
    }
}

/* Reserve the arena at its first use. */
static void *reserve_pages(void *wanted, size_t bytes, int protection)
{
    void *start = mmap(wanted, bytes, protection,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

static bool open_arena(void)
{
    if (sim_arena_map_of.bytes > 0)
        return true;
    for (size_t bytes = LONGEST; bytes >= SHORTEST; bytes /= 2) {
        char *base = reserve_pages(PLACE, bytes + SIM_GRANULE, PROT_NONE);
        uint8_t *shadow =
            base ? reserve_pages(NULL, bytes, PROT_READ | PROT_WRITE) : NULL;
        size_t n = bytes / SIM_GRANULE;
        uint8_t *uses =
            shadow ? reserve_pages(NULL, 2 * n, PROT_READ | PROT_WRITE) : NULL;
        if (uses) {
            uintptr_t first = (uintptr_t)base + SIM_GRANULE - 1;
            first -= first % SIM_GRANULE;
            sim_arena_map_of = (sim_arena){first, bytes, shadow};
            granules = uses;
            gone = uses + n;
            return true;
        }
        if (shadow)
            munmap(shadow, bytes);
        if (base)
            munmap(base, bytes + SIM_GRANULE);
    }
    return false;
}

/* Reserve and release addresses. */
static bool find_run(size_t from, size_t to, size_t n, size_t *found)
{
    size_t length = 0;
    for (size_t i = from; i < to; i++) {
        length = granules[i] == FREE ? length + 1 : 0;
        if (length == n) {
            *found = i + 1 - n;
            return true;
        }
    }
    return false;
}

void *sim_arena_reserve(size_t bytes)
{
    if (bytes == 0 || !open_arena())
        return NULL;
    size_t all = sim_arena_map_of.bytes / SIM_GRANULE, found;
    size_t n = bytes / SIM_GRANULE;
    if (!find_run(cursor, all, n, &found) && !find_run(0, all, n, &found))
        return NULL;
    cursor = found + n;
    void *start = (char *)sim_arena_map_of.base + found * SIM_GRANULE;
    use_granules(start, bytes, FREE, RESERVED);
    return start;
}

void sim_arena_release(void *start, size_t bytes)
{
    use_granules(start, bytes, RESERVED, FREE);
}

/* Map and unmap memory. */
static uint8_t *shadow_of(const void *address)
{
    return sim_arena_map_of.shadow +
           ((uintptr_t)address - sim_arena_map_of.base);
}

bool sim_arena_map(void *start, size_t bytes)
{
    if (mprotect(start, bytes, PROT_READ | PROT_WRITE) != 0)
        return false;
    use_granules(start, bytes, RESERVED, MAPPED);
    memset(shadow_of(start), SIM_RED_ZONE, bytes);
    return true;
}

void sim_arena_unmap(void *start, size_t bytes)
{
    use_granules(start, bytes, MAPPED, RESERVED);
    madvise(start, bytes, MADV_DONTNEED);
    mprotect(start, bytes, PROT_NONE);
    madvise(shadow_of(start), bytes, MADV_DONTNEED);
}

/* Mark bytes. */
void sim_arena_mark(void *start, size_t bytes, enum sim_state state)
{
    assert(bytes == 0 || granules[granule_of(start)] == MAPPED);
    memset(shadow_of(start), state, bytes);
    if (state == SIM_UNWRITTEN || state == SIM_FREED)
        memset(start, 0xff, bytes);
}

void sim_arena_copy_states(void *to, const void *from, size_t bytes)
{
    memmove(shadow_of(to), shadow_of(from), bytes);
}

bool sim_arena_holds(const void *address)
{
    size_t offset;
    return sim_arena_offset((uintptr_t)address, &offset);
}

enum sim_state sim_arena_state(const void *address)
{
    if (!sim_arena_holds(address))
        return SIM_UNMAPPED;
    enum sim_state state = *shadow_of(address);
    bool was_there = state == SIM_UNMAPPED && gone[granule_of(address)];
    return was_there ? SIM_FREED : state;
}

/* Measure how much of a range is allocated. */
static bool allocated(size_t offset)
{
    return (sim_arena_map_of.shadow[offset] & ~1) == SIM_UNWRITTEN;
}

/* How many of `bytes` from `offset` on are allocated without a gap. */
static size_t run_after(size_t offset, size_t bytes)
{
    const uint64_t each = 0x0101010101010101u;
    size_t i = 0;
    while (i < bytes) {
        uint64_t eight = 0;
        if (bytes - i >= 8)
            memcpy(&eight, &sim_arena_map_of.shadow[offset + i], 8);
        if ((eight & ~each) == each * SIM_UNWRITTEN)
            i += 8;
        else if (allocated(offset + i))
            i++;
        else
            break;
    }
    return i;
}

/* Check a call of the host. */
bool sim_arena_check_host(const void *start, size_t bytes, bool write,
                          const char *call)
{
    size_t offset, good = 0;
    if (sim_arena_offset((uintptr_t)start, &offset)) {
        size_t room = sim_arena_map_of.bytes - offset;
        good = run_after(offset, bytes < room ? bytes : room);
    }
    if (good < bytes) {
        char where[160];
        const char *first = (const char *)start + good;
        sim_arena_describe(first, where, sizeof where);
        sim_report_add(
            &(sim_report){.fault = sim_arena_state(first) == SIM_FREED
                                       ? SIM_USE_AFTER_FREE
                                       : SIM_OUT_OF_BOUNDS},
            "%s %s %zu bytes at %p; byte %zu is %s", call,
            write ? "writes" : "reads", bytes, start, good, where);
        return false;
    }
    if (write && bytes > 0)
        memset(shadow_of(start), SIM_WRITTEN, bytes);
    return true;
}

/* Say where an address lies. */
static size_t run_before(size_t end)
{
    size_t begin = end;
    while (begin > 0 && allocated(begin - 1))
        begin--;
    return end - begin;
}

void sim_arena_describe(const void *address, char *text, size_t size)
{
    enum { REACH = 4096 };
    size_t offset;
    if (!sim_arena_offset((uintptr_t)address, &offset)) {
        snprintf(text, size, "not device memory");
        return;
    }
    if (sim_arena_state(address) == SIM_FREED) {
        snprintf(text, size, "in memory that was freed");
        return;
    }
    for (size_t gap = 1; gap <= REACH && gap <= offset; gap++) {
        if (!allocated(offset - gap))
            continue;
        snprintf(text, size, "%zu bytes after an allocation of %zu bytes",
                 gap - 1, run_before(offset - gap + 1));
        return;
    }
    for (size_t gap = 1; gap <= REACH; gap++) {
        if (offset + gap < sim_arena_map_of.bytes && allocated(offset + gap)) {
            snprintf(text, size, "%zu bytes before an allocation", gap);
            return;
        }
    }
    snprintf(text, size, "in no allocation");
}

/* Look for leaks. */
/* Have the eight bytes from here on one state? */
static bool uniform(size_t offset)
{
    uint64_t eight;
    memcpy(&eight, &sim_arena_map_of.shadow[offset], 8);
    return eight == 0x0101010101010101u * (eight & 0xff);
}

int sim_arena_check_leaks(void)
{
    int leaks = 0;
    size_t all = sim_arena_map_of.bytes;
    for (size_t at = 0; at < all;) {
        if (granules[at / SIM_GRANULE] != MAPPED) {
            at += SIM_GRANULE - at % SIM_GRANULE;
            continue;
        }
        size_t run = run_after(at, all - at);
        if (run == 0) {
            at += at % 8 == 0 && uniform(at) ? 8 : 1;
            continue;
        }
        leaks++;
        sim_report_add(&(sim_report){.fault = SIM_LEAK},
                       "%zu bytes at %p were never freed", run,
                       (void *)(sim_arena_map_of.base + at));
        at += run;
    }
    return leaks;
}
