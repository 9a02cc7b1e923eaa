#include "sim/traffic.h"

#include "sim/arena.h"
#include "sim/races.h"
#include "sim/report.h"
#include "sim/simt.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Find the line of the table. */
enum { MOST_LINES = 1024, MOST_KERNELS = 256 };

static sim_traffic_line *lines; /* (MOST_LINES), all kernels' */
static int line_count;
static sim_traffic_kernel *kernels; /* (MOST_KERNELS) */
static int kernel_count;
static int current; /* kernel */

static int find_line(bool shared, enum sim_access_kind kind, uint32_t site)
{
    static uint16_t table[4096]; /* line + 1 */
    uint32_t hash = (site * 2654435761u ^ (uint32_t)current * 40503u) >> 20;
    for (uint32_t i = hash;; i++) {
        uint16_t *slot = &table[i % 4096];
        const sim_traffic_line *l = &lines[*slot - 1];
        if (*slot && *slot <= line_count && l->site == site &&
            l->kernel == current && l->shared == shared && l->kind == kind)
            return *slot - 1;
        if (*slot && *slot <= line_count && i - hash < 4096)
            continue;
        if (line_count == MOST_LINES || i - hash >= 4096)
            return -1;
        lines[line_count] = (sim_traffic_line){
            .kernel = current, .site = site, .shared = shared, .kind = kind};
        *slot = (uint16_t)++line_count;
        return line_count - 1;
    }
}

/* Count unique sectors. */
enum { SECTOR = 32 };

static uint32_t *seen[2]; /* (sectors of the arena): reading, writing */
static uint32_t launches;

static void note_unique(uint64_t offset, size_t bytes,
                        enum sim_access_kind kind)
{
    for (int way = kind == SIM_WRITE; way <= (kind != SIM_READ); way++) {
        for (uint64_t s = offset / SECTOR; s <= (offset + bytes - 1) / SECTOR;
             s++) {
            if (seen[way][s] != launches) {
                seen[way][s] = launches;
                kernels[current].unique[way] += SECTOR;
            }
        }
    }
}

/* Write down an access. */
/* From the highest bit: the line's number, the warp, how often it has met, and
 * how often the lane has been at this line since. */
enum { COUNT_BITS = 20, MEETING_BITS = 24, WARP_BITS = 5 };

typedef struct entry {
    uint64_t key;
    uint64_t address; /* an offset in shared memory or in the arena */
    uint32_t lane;
    uint32_t bytes;
} entry;

typedef struct tally {
    uint32_t meeting, count;
} tally;

enum { MOST_ENTRIES = 1 << 23 };

static entry *entries; /* (MOST_ENTRIES), of the block that runs        */
static size_t entry_count;
static tally *tallies; /* (MOST_LINES, SIM_MOST_THREADS), of that block */

void sim_traffic_note(bool shared, uint64_t offset, size_t bytes,
                      enum sim_access_kind kind, uint32_t site)
{
    int line = find_line(shared, kind, site);
    if (line < 0 || entry_count == MOST_ENTRIES)
        return;
    uint32_t thread = sim_watch_now.thread, warp = thread / 32;
    uint32_t meeting = sim_watch_now.meetings[warp];
    tally *t = &tallies[(size_t)line * SIM_MOST_THREADS + thread];
    if (t->meeting != meeting)
        *t = (tally){meeting, 0};
    uint64_t key = (uint64_t)line << WARP_BITS | warp;
    key = key << MEETING_BITS | (meeting & ((1u << MEETING_BITS) - 1));
    key = key << COUNT_BITS | t->count++;
    entries[entry_count++] = (entry){key, offset, thread % 32, (uint32_t)bytes};
    if (!shared)
        note_unique(offset, bytes, kind);
}

/* Count a request to device memory. */
static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sort, and keep one of each. */
static size_t distinct(uint64_t *numbers, size_t n)
{
    size_t kept = 0;
    qsort(numbers, n, sizeof *numbers, compare_numbers);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || numbers[i] != numbers[kept - 1])
            numbers[kept++] = numbers[i];
    }
    return kept;
}

/* How many units of `unit` bytes the lanes touch. */
static size_t units(const entry *e, size_t n, uint64_t unit)
{
    uint64_t touched[32 * 17];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t last = (e[i].address + e[i].bytes - 1) / unit;
        for (uint64_t u = e[i].address / unit; u <= last && count < 32 * 17;
             u++)
            touched[count++] = u;
    }
    return distinct(touched, count);
}

/* Count a request to shared memory. */
/* The wavefronts that lanes of one part take; the least that would do goes to
 * `ideal`. */
static size_t wavefronts(const entry *e, size_t n, size_t *ideal)
{
    uint64_t words[32 * 5];
    size_t count = 0, worst = 0, in_bank[32] = {0};
    for (size_t i = 0; i < n; i++) {
        uint64_t last = (e[i].address + e[i].bytes - 1) / 4;
        for (uint64_t w = e[i].address / 4; w <= last && count < 32 * 5; w++)
            words[count++] = w;
    }
    count = distinct(words, count);
    for (size_t i = 0; i < count; i++) {
        size_t here = ++in_bank[words[i] % 32];
        worst = here > worst ? here : worst;
    }
    *ideal = (count + 31) / 32;
    return worst;
}

static void count_shared(sim_traffic_line *l, const entry *e, size_t n)
{
    uint32_t lanes = e->bytes <= 4 ? 32 : e->bytes == 8 ? 16 : 8;
    for (size_t i = 0, next; i < n; i = next) {
        next = i;
        while (next < n && e[next].lane / lanes == e[i].lane / lanes)
            next++;
        size_t ideal;
        l->moved += wavefronts(e + i, next - i, &ideal);
        l->needed += ideal;
    }
}

/* Count a request. */
static void count_request(const entry *e, size_t n)
{
    sim_traffic_line *l =
        &lines[e->key >> (WARP_BITS + MEETING_BITS + COUNT_BITS)];
    uint64_t moved = l->moved, needed = l->needed;
    l->requests++;
    if (l->shared) {
        count_shared(l, e, n);
    } else {
        l->needed += units(e, n, 1);
        l->moved += SECTOR * units(e, n, SECTOR);
    }
    moved = l->moved - moved;
    needed = l->needed - needed;
    if (l->sample.lanes && moved * l->sample.needed <= l->sample.moved * needed)
        return;
    l->sample = (sim_traffic_sample){
        .bytes = e->bytes, .moved = moved, .needed = needed};
    for (size_t i = 0; i < n; i++) {
        l->sample.lanes |= 1u << e[i].lane;
        l->sample.address[e[i].lane] = e[i].address;
    }
}

/* Sort the accesses of a block into requests. */
static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->lane > y->lane) - (x->lane < y->lane);
}

static void count_block(void)
{
    qsort(entries, entry_count, sizeof *entries, compare_entries);
    for (size_t i = 0, next; i < entry_count; i = next) {
        next = i + 1;
        while (next < entry_count && entries[next].key == entries[i].key)
            next++;
        count_request(&entries[i], next - i);
    }
    entry_count = 0;
}

/* Begin and end what is counted. */
static bool open_tables(void)
{
    size_t sectors = sim_arena_map_of.bytes / SECTOR + 1;
    if (!entries)
        entries = sim_reserve_lazily(MOST_ENTRIES, sizeof *entries);
    if (!tallies)
        tallies = sim_reserve_lazily((size_t)MOST_LINES * SIM_MOST_THREADS,
                                     sizeof *tallies);
    if (!lines)
        lines = sim_reserve_lazily(MOST_LINES, sizeof *lines);
    if (!kernels)
        kernels = sim_reserve_lazily(MOST_KERNELS, sizeof *kernels);
    for (int way = 0; way < 2 && sectors > 1; way++) {
        if (!seen[way])
            seen[way] = sim_reserve_lazily(sectors, sizeof *seen[way]);
    }
    return entries && tallies && lines && kernels &&
           (sectors == 1 || (seen[0] && seen[1]));
}

bool sim_traffic_launch(const char *name)
{
    if (!open_tables())
        return false;
    launches++;
    char plain[sizeof kernels->name];
    sim_kernel_name(plain, sizeof plain, name);
    for (current = 0; current < kernel_count; current++) {
        if (strcmp(kernels[current].name, plain) == 0)
            break;
    }
    if (current == MOST_KERNELS)
        return false;
    if (current == kernel_count)
        kernels[kernel_count++] = (sim_traffic_kernel){.launches = 0};
    memcpy(kernels[current].name, plain, sizeof plain);
    kernels[current].launches++;
    return true;
}

/* Begin and end a block of what is counted. */
void sim_traffic_block(void)
{
    uint32_t latest = 0;
    count_block();
    kernels[current].blocks++;
    for (int w = 0; w < SIM_WATCH_WARPS; w++) {
        if (sim_watch_now.meetings[w] > latest)
            latest = sim_watch_now.meetings[w];
    }
    for (int w = 0; w < SIM_WATCH_WARPS; w++)
        sim_watch_now.meetings[w] = latest + 1;
}

void sim_traffic_launch_end(void)
{
    count_block();
}

/* Give what was counted. */
void sim_traffic_clear(void)
{
    entry_count = 0;
    line_count = kernel_count = 0;
}

int sim_traffic_kernel_count(void)
{
    return kernel_count;
}

const sim_traffic_kernel *sim_traffic_kernel_get(int i)
{
    assert(i >= 0 && i < kernel_count);
    return &kernels[i];
}

int sim_traffic_line_count(void)
{
    return line_count;
}

const sim_traffic_line *sim_traffic_line_get(int i)
{
    assert(i >= 0 && i < line_count);
    return &lines[i];
}
