#include "sim/races.h"

#include "sim/arena.h"
#include "sim/simt.h"
#include "sim/witness.h"

#include <sys/mman.h>

/* Keep marks in cells. */
/* One access: when, where, who. Era 0: none. */
typedef struct mark {
    uint32_t era;
    uint32_t site;
    uint32_t who; /* thread, 10 bits; atomic, 1 bit; barriers its warp had */
                  /* passed in this era, 21 bits                           */
} mark;

/* Whether `read` was not the only reader in its era, who else read, and in
 * which relation to it. */
enum second { NONE, SAME_WARP, OTHER_WARP };

/* What is known of four bytes. When write.era is SPLIT the four bytes have
 * cells of their own from splits[4 write.site] on, and read.era says when they
 * were last used. */
struct sim_cell {
    mark write;
    mark read;            /* the latest since that write              */
    mark other;           /* a read by an earlier block of the launch */
    uint32_t second_site; /* of the second reader                     */
    uint16_t second;      /* its thread, 10 bits; enum second, 2 bits */
    uint16_t read_bytes;  /* of the four, a bit each: all readers'    */
};

#define SPLIT UINT32_MAX

enum { ALL_BYTES = 15 };

/* Open the cells. */
sim_space sim_shared_space = {.name = "shared"};
sim_space sim_device_space = {.name = "device"};

void *sim_reserve_lazily(size_t count, size_t size)
{
    void *start = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

static bool open_space(sim_space *space, size_t bytes, uint32_t splits)
{
    if (space->cells)
        return true;
    space->splits =
        sim_reserve_lazily(4 * (size_t)splits, sizeof *space->splits);
    space->most = space->splits ? splits : 0;
    space->cells = sim_reserve_lazily(bytes / 4 + 1, sizeof *space->cells);
    return space->cells;
}

bool sim_races_launch(void)
{
    sim_device_space.floor = sim_watch_now.launch_era;
    sim_device_space.used = 0;
    return open_space(&sim_shared_space, SIM_MOST_SHARED,
                      SIM_MOST_SHARED / 4) &&
           (sim_arena_map_of.bytes == 0 ||
            open_space(&sim_device_space, sim_arena_map_of.bytes, 1 << 26));
}

void sim_races_era(void)
{
    sim_shared_space.floor = sim_watch_now.era;
    sim_shared_space.used = 0;
}

/* Ask whether a mark comes before now. */
enum { THREAD = 1023, ATOMIC = 1 << 10, WARP_ERA_SHIFT = 11 };

static uint32_t warp_of(uint32_t who)
{
    return (who & THREAD) / 32;
}

/* The running thread, as the `who` of a mark. */
static uint32_t self(enum sim_access_kind kind)
{
    uint32_t thread = sim_watch_now.thread;
    return thread | (kind == SIM_ATOMIC ? ATOMIC : 0) |
           sim_watch_now.warp_era[thread / 32] << WARP_ERA_SHIFT;
}

static bool ordered(const mark *m, uint32_t floor, uint32_t who)
{
    if (m->era < floor)
        return true;
    if (m->era != sim_watch_now.era)
        return m->era >= sim_watch_now.block_era;
    if (((m->who ^ who) & THREAD) == 0)
        return true;
    return warp_of(m->who) == warp_of(who) &&
           m->who >> WARP_ERA_SHIFT < who >> WARP_ERA_SHIFT;
}

/* Remember a read. */
static void remember_read(sim_cell *c, uint32_t floor, uint32_t who,
                          uint32_t site)
{
    mark *r = &c->read;
    const mark now = {sim_watch_now.era, site, who};
    uint32_t kind = c->second >> 10, old = r->who & THREAD;
    if (r->era != now.era) {
        if (r->era >= floor && r->era < sim_watch_now.block_era)
            c->other = *r;
        c->second = NONE << 10;
    } else if (warp_of(r->who) != warp_of(who)) {
        c->second = OTHER_WARP << 10 | old;
        c->second_site = r->site;
    } else if (r->who >> WARP_ERA_SHIFT < who >> WARP_ERA_SHIFT) {
        if (kind == SAME_WARP)
            c->second = NONE << 10;
    } else if (old != (who & THREAD) &&
               (kind == NONE || (c->second & THREAD) == (who & THREAD))) {
        c->second = SAME_WARP << 10 | old;
        c->second_site = r->site;
    }
    *r = now;
}

/* Find who races with a write. */
/* A reader that is not ordered before the running thread's write; null if there
 * is none. `second` has room for one. */
static const mark *racing_reader(const sim_cell *c, uint32_t floor,
                                 uint32_t who, mark *second)
{
    uint32_t kind = c->second >> 10;
    if (!ordered(&c->read, floor, who))
        return &c->read;
    *second = (mark){c->read.era, c->second_site, c->second & THREAD};
    if (c->read.era == sim_watch_now.era && kind != NONE) {
        bool met = c->read.who >> WARP_ERA_SHIFT < who >> WARP_ERA_SHIFT;
        if (kind == OTHER_WARP || (!met && ((second->who ^ who) & THREAD)))
            return second;
    }
    bool foreign = c->other.era > 0 && c->other.era >= floor &&
                   c->other.era < sim_watch_now.block_era;
    return foreign ? &c->other : NULL;
}

/* Report a race. */
static __attribute__((noinline)) void
race(const sim_space *space, const mark *m, bool wrote, size_t offset,
     enum sim_access_kind kind, uint32_t site)
{
    sim_witness other = {.site = m->site};
    sim_witness_block(m->era, other.block);
    sim_witness_thread(m->who & THREAD, other.thread);
    sim_tell(SIM_RACE, site, &other,
             "%s of %s memory at byte %zu, not ordered with a %s by another "
             "thread%s",
             kind == SIM_READ    ? "read"
             : kind == SIM_WRITE ? "write"
                                 : "atomic",
             space->name, offset, wrote ? "write" : "read",
             m->era < sim_watch_now.block_era ? " of another block" : "");
}

/* Touch a cell. */
static inline void touch(const sim_space *space, sim_cell *c, size_t offset,
                         enum sim_access_kind kind, uint32_t who, uint32_t site)
{
    mark second;
    bool both_atomic = kind == SIM_ATOMIC && (c->write.who & ATOMIC);
    if (!ordered(&c->write, space->floor, who) && !both_atomic)
        race(space, &c->write, true, offset, kind, site);
    if (kind == SIM_READ) {
        remember_read(c, space->floor, who, site);
        c->read_bytes = ALL_BYTES;
        return;
    }
    if (c->read.era >= space->floor) {
        const mark *reader = racing_reader(c, space->floor, who, &second);
        if (reader)
            race(space, reader, false, offset, kind, site);
    }
    *c = (sim_cell){.write = {sim_watch_now.era, site, who}};
}

/* Touch a part of a cell. */
static bool split(sim_space *space, sim_cell *c)
{
    if (c->write.era == SPLIT)
        return true;
    if (space->used == space->most)
        return false;
    sim_cell *parts = space->splits + 4 * (size_t)space->used;
    for (int i = 0; i < 4; i++) {
        parts[i] = (sim_cell){.write = c->write};
        if (c->read_bytes >> i & 1)
            parts[i] = *c;
    }
    *c = (sim_cell){.write = {.era = SPLIT, .site = space->used++}};
    return true;
}

static __attribute__((noinline)) void touch_part(sim_space *space, sim_cell *c,
                                                 size_t offset, size_t bytes,
                                                 enum sim_access_kind kind,
                                                 uint32_t who, uint32_t site)
{
    if (!split(space, c))
        return;
    sim_cell *parts = space->splits + 4 * (size_t)c->write.site;
    for (size_t i = 0; i < bytes; i++)
        touch(space, &parts[(offset + i) % 4], offset + i, kind, who, site);
    if (bytes == 4 && kind != SIM_READ)
        *c = parts[0];
    else
        c->read.era = sim_watch_now.era;
}

/* Find who last wrote a byte. */
void sim_race_writer(sim_space *space, size_t offset, sim_witness *writer)
{
    const sim_cell *c = &space->cells[offset / 4];
    if (c->write.era == SPLIT)
        c = space->splits + 4 * (size_t)c->write.site + offset % 4;
    *writer = (sim_witness){.site = c->write.site};
    sim_witness_block(c->write.era, writer->block);
    sim_witness_thread(c->write.who & THREAD, writer->thread);
}

/* Remember a read of what nobody has written. */
static bool read_unwritten(sim_cell *c, uint32_t floor, uint16_t bytes,
                           uint32_t who, uint32_t site)
{
    const mark now = {sim_watch_now.era, site, who};
    if (c->read.era < floor) {
        *c = (sim_cell){.read = now, .read_bytes = bytes};
        return true;
    }
    if (c->read.era == now.era && c->read.who == who) {
        if (!(bytes & ~c->read_bytes))
            return true;
        if (c->second >> 10 == NONE && c->other.era < floor) {
            c->read_bytes |= bytes;
            return true;
        }
    }
    if (bytes != c->read_bytes)
        return false;
    remember_read(c, floor, who, site);
    return true;
}

/* Check an access for races. */
void sim_race_check(sim_space *space, size_t offset, size_t bytes,
                    enum sim_access_kind kind, uint32_t site)
{
    uint32_t who = self(kind);
    size_t end = offset + bytes;
    while (offset < end) {
        sim_cell *c = &space->cells[offset / 4];
        size_t first = offset % 4, n = end - offset;
        if (n > 4 - first)
            n = 4 - first;
        uint16_t part = (uint16_t)(((1u << n) - 1) << first);
        if (c->write.era == SPLIT && c->read.era < space->floor)
            *c = (sim_cell){0};
        bool reads = kind == SIM_READ && c->write.era < space->floor;
        bool done = reads && read_unwritten(c, space->floor, part, who, site);
        if (!done && (reads || n < 4 || c->write.era == SPLIT))
            touch_part(space, c, offset, n, kind, who, site);
        else if (!done)
            touch(space, c, offset, kind, who, site);
        offset += n;
    }
}
