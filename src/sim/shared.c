#include "sim/inside.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Set up shared memory before a guard page. */
static char *arena; /* SIM_MOST_SHARED bytes, then a page that faults */
static size_t arena_bytes;
static size_t used;

bool sim_shared_open(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!arena) {
        arena_bytes = (SIM_MOST_SHARED + page - 1) / page * page;
        void *all = mmap(NULL, arena_bytes + page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED)
            return false;
        if (mprotect((char *)all + arena_bytes, page, PROT_NONE) != 0) {
            munmap(all, arena_bytes + page);
            return false;
        }
        arena = all;
    }
    used = bytes;
    return true;
}

void *sim_shared_base(void)
{
    return arena + arena_bytes - (used + 15) / 16 * 16;
}

void *sim_shared_end(void)
{
    return arena + arena_bytes;
}

bool sim_in_shared(const void *address)
{
    size_t room = (used + 15) / 16 * 16;
    return (uintptr_t)sim_shared_end() - 1 - (uintptr_t)address < room;
}

/* Poison shared memory. */
void sim_shared_poison(void)
{
    memset(sim_shared_base(), 0xff, (used + 15) / 16 * 16);
}
