#include "common/memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Put a header before each allocation. */
enum { ALIGNMENT = 64 };

#define MARK UINT64_C(0x466f6c696f6d656d) /* "Foliomem" */

typedef struct header {
    void *raw;      /* what calloc gave             */
    uint64_t bytes; /* asked for by the caller      */
    uint64_t mark;  /* MARK while held, 0 when free */
} header;

_Static_assert(sizeof(header) <= ALIGNMENT, "a header fits its gap");

static struct {
    _Atomic uint64_t bytes, peak, requests;
} kinds[2];

static _Atomic uint64_t countdown;

/* Refuse the request that a test chose. */
static bool planted_failure(void)
{
    uint64_t left = atomic_load(&countdown);
    while (left > 0 &&
           !atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
    }
    return left == 1;
}

/* Count bytes and their peak. */
static void add_bytes(fo_memory_kind kind, uint64_t bytes)
{
    uint64_t now = atomic_fetch_add(&kinds[kind].bytes, bytes) + bytes;
    uint64_t peak = atomic_load(&kinds[kind].peak);
    while (peak < now &&
           !atomic_compare_exchange_weak(&kinds[kind].peak, &peak, now)) {
    }
}

/* Charge an account, and discharge it. */
fo_status fo_memory_charge(fo_memory_kind kind, uint64_t bytes, fo_error *error)
{
    atomic_fetch_add(&kinds[kind].requests, 1);
    if (planted_failure())
        return fo_fail_short(error, FO_NOMEM, bytes, 0,
                             "%llu bytes refused by a planted failure",
                             (unsigned long long)bytes);
    add_bytes(kind, bytes);
    return FO_OK;
}

void fo_memory_discharge(fo_memory_kind kind, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub(&kinds[kind].bytes, bytes);
    assert(before >= bytes);
    (void)before;
}

/* Ask how much memory the machine has left. */
static uint64_t available_bytes(void)
{
    long pages = sysconf(_SC_AVPHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

/* Find the header of an allocation. */
static header *header_of(void *pointer)
{
    header *h = (header *)((char *)pointer - ALIGNMENT);
    assert(h->mark == MARK);
    return h;
}

/* Allocate zeroed and aligned memory. */
void *fo_memory_alloc(size_t count, size_t size, fo_error *error)
{
    size_t bytes, raw_bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, 2 * ALIGNMENT, &raw_bytes)) {
        bytes = SIZE_MAX;
        raw_bytes = SIZE_MAX;
    }
    if (fo_memory_charge(FO_MEMORY_HOST, bytes, error) != FO_OK)
        return NULL;
    void *raw = raw_bytes <= PTRDIFF_MAX ? calloc(1, raw_bytes) : NULL;
    if (!raw) {
        fo_memory_discharge(FO_MEMORY_HOST, bytes);
        fo_fail_short(error, FO_NOMEM, bytes, available_bytes(),
                      "no host memory for %zu things of %zu bytes", count,
                      size);
        return NULL;
    }
    uintptr_t first = (uintptr_t)raw + ALIGNMENT;
    char *pointer = (char *)raw + ALIGNMENT;
    pointer += (ALIGNMENT - first % ALIGNMENT) % ALIGNMENT;
    *(header *)(pointer - ALIGNMENT) = (header){raw, bytes, MARK};
    return pointer;
}

/* Resize an allocation. */
void *fo_memory_resize(void *pointer, size_t count, size_t size,
                       fo_error *error)
{
    void *grown = fo_memory_alloc(count, size, error);
    if (!grown || !pointer)
        return grown;
    uint64_t old = header_of(pointer)->bytes;
    memcpy(grown, pointer, old < count * size ? old : count * size);
    fo_memory_free(pointer);
    return grown;
}

/* Give an allocation back. */
void fo_memory_free(void *pointer)
{
    if (!pointer)
        return;
    header *h = header_of(pointer);
    h->mark = 0;
    fo_memory_discharge(FO_MEMORY_HOST, h->bytes);
    free(h->raw);
}

fo_memory_usage fo_memory_usage_get(fo_memory_kind kind)
{
    return (fo_memory_usage){
        .bytes = atomic_load(&kinds[kind].bytes),
        .peak = atomic_load(&kinds[kind].peak),
        .requests = atomic_load(&kinds[kind].requests),
    };
}

void fo_memory_fail_at(uint64_t n)
{
    atomic_store(&countdown, n);
}
