#include "common/memory.h"
#include "cpu/cpu.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

struct cpu_reservation {
    char *start;
    size_t bytes;     /* of addresses, whole pages                   */
    size_t committed; /* the first of them, whole pages              */
    cpu_reservation *next;
};

/* Count in whole pages. */
static size_t pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

/* Find a reservation. */
static cpu_reservation **find(cpu_device *cpu, const void *reserved)
{
    cpu_reservation **link = &cpu->reservations;
    while (*link && (*link)->start != reserved)
        link = &(*link)->next;
    assert(*link);
    return link;
}

/* Reserve addresses and give them back. */
fo_status cpu_reserve(fo_device *device, size_t bytes, void **out,
                      fo_error *error)
{
    cpu_device *cpu = (cpu_device *)device;
    *out = NULL;
    if (bytes > PTRDIFF_MAX)
        return fo_fail_short(error, FO_NOMEM, bytes, PTRDIFF_MAX,
                             "%zu bytes exceed the address space", bytes);
    cpu_reservation *r = fo_memory_alloc(1, sizeof *r, error);
    if (!r)
        return FO_NOMEM;
    r->bytes = pages(bytes ? bytes : 1);
    r->start =
        mmap(NULL, r->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->start == MAP_FAILED) {
        fo_memory_free(r);
        return fo_fail_short(error, FO_NOMEM, bytes, 0,
                             "the system has no %zu bytes of addresses", bytes);
    }
    r->next = cpu->reservations;
    cpu->reservations = r;
    *out = r->start;
    return FO_OK;
}

void cpu_unreserve(fo_device *device, void *reserved)
{
    cpu_device *cpu = (cpu_device *)device;
    if (!reserved)
        return;
    cpu_reservation **link = find(cpu, reserved), *r = *link;
    if (r->committed > 0)
        cpu_unbook(cpu, r->committed);
    munmap(r->start, r->bytes);
    *link = r->next;
    fo_memory_free(r);
}

/* Commit more memory. */
static fo_status grow(cpu_device *cpu, cpu_reservation *r, size_t bytes,
                      fo_error *error)
{
    size_t more = bytes - r->committed;
    fo_status status = cpu_book(cpu, more, error);
    if (status != FO_OK)
        return status;
    uint64_t available = cpu_available_memory();
    if ((available > 0 && more > available) ||
        mprotect(r->start + r->committed, more, PROT_READ | PROT_WRITE) != 0) {
        cpu_unbook(cpu, more);
        return fo_fail_short(error, FO_NOMEM, more, available,
                             "the system has no %zu bytes more", more);
    }
    r->committed = bytes;
    return FO_OK;
}

/* Commit less memory. */
static void shrink(cpu_device *cpu, cpu_reservation *r, size_t bytes)
{
    size_t less = r->committed - bytes;
    if (less == 0)
        return;
    int dropped = madvise(r->start + bytes, less, MADV_DONTNEED);
    int closed = mprotect(r->start + bytes, less, PROT_NONE);
    assert(dropped == 0 && closed == 0);
    (void)dropped, (void)closed;
    cpu_unbook(cpu, less);
    r->committed = bytes;
}

/* Move the edge of a reservation. */
fo_status cpu_commit(fo_device *device, void *reserved, size_t bytes,
                     fo_error *error)
{
    cpu_device *cpu = (cpu_device *)device;
    cpu_reservation *r = *find(cpu, reserved);
    if (bytes > r->bytes)
        return fo_fail_short(error, FO_ARG, bytes, r->bytes,
                             "%zu bytes to commit of %zu reserved", bytes,
                             r->bytes);
    if (pages(bytes) > r->committed)
        return grow(cpu, r, pages(bytes), error);
    shrink(cpu, r, pages(bytes));
    return FO_OK;
}
