#include "common/memory.h"
#include "sim/arena.h"
#include "sim/include/cuda.h"
#include "sim/runtime.h"

#include <stdlib.h>
#include <string.h>

/* Count physical memory. */
static uint64_t limit_set, taken;

/* FOLIO_SIM_MEMORY, or 0 if it is absent or no size. */
static uint64_t limit_of_environment(void)
{
    const char *text = getenv("FOLIO_SIM_MEMORY");
    if (!text)
        return 0;
    char *end;
    double bytes = strtod(text, &end);
    static const char units[] = "KMG";
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1024;
    bool sound = (unit || !*end) && bytes >= 1 && bytes < 0x1p60;
    return sound ? (uint64_t)bytes : 0;
}

void sim_memory_limit(uint64_t bytes)
{
    limit_set = bytes;
}

uint64_t sim_memory_total(void)
{
    uint64_t limit = limit_set ? limit_set : limit_of_environment();
    return limit ? limit : (uint64_t)4 << 30;
}

/* Take and give back physical memory. */
uint64_t sim_memory_taken(void)
{
    return taken;
}

bool sim_memory_take(uint64_t bytes)
{
    uint64_t total = sim_memory_total();
    if (taken > total || bytes > total - taken)
        return false;
    taken += bytes;
    return true;
}

void sim_memory_give(uint64_t bytes)
{
    taken -= bytes;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    if (sim_fails(__func__))
        return cudaErrorInvalidValue;
    *total = sim_memory_total();
    *free = *total > taken ? *total - taken : 0;
    return cudaSuccess;
}

/* Reserve addresses on the simulated device. */
CUresult cuMemGetAllocationGranularity(size_t *granularity,
                                       const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option)
{
    (void)properties, (void)option;
    if (sim_fails(__func__))
        return CUDA_ERROR_INVALID_VALUE;
    *granularity = SIM_GRANULE;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes,
                             size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags)
{
    (void)wanted, (void)flags;
    if (sim_fails(__func__))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes == 0 || bytes % SIM_GRANULE || alignment > SIM_GRANULE)
        return CUDA_ERROR_INVALID_VALUE;
    void *start = sim_arena_reserve(bytes);
    *address = (CUdeviceptr)(uintptr_t)start;
    return start ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
    sim_arena_release((void *)(uintptr_t)address, bytes);
    return CUDA_SUCCESS;
}

/* Keep what a handle stands for. */
/* What a handle stands for. It holds its bytes until it is released and no
 * longer mapped, as the driver has it; it can be mapped at one place. */
typedef struct physical {
    size_t bytes;
    CUdeviceptr mapped; /* 0: nowhere */
    bool open;          /* access is set */
    bool released;
    struct physical *next;
} physical;

static physical *all;

static void retire(physical *memory)
{
    if (!memory->released || memory->mapped)
        return;
    physical **link = &all;
    while (*link != memory)
        link = &(*link)->next;
    *link = memory->next;
    sim_memory_give(memory->bytes);
    fo_memory_free(memory);
}

static physical *mapped_at(CUdeviceptr address)
{
    for (physical *m = all; m; m = m->next)
        if (m->mapped == address)
            return m;
    return NULL;
}

/* Create physical memory. */
CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                     const CUmemAllocationProp *properties,
                     unsigned long long flags)
{
    (void)flags;
    if (sim_fails(__func__))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes == 0 || bytes % SIM_GRANULE || properties->location.id != 0 ||
        properties->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_memory_take(bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    physical *memory = fo_memory_alloc(1, sizeof *memory, NULL);
    if (!memory) {
        sim_memory_give(bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *memory = (physical){.bytes = bytes, .next = all};
    all = memory;
    *handle = (CUmemGenericAllocationHandle)(uintptr_t)memory;
    return CUDA_SUCCESS;
}

/* Map it and release it. */
CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    physical *memory = (physical *)(uintptr_t)handle;
    memory->released = true;
    retire(memory);
    return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    (void)flags;
    physical *memory = (physical *)(uintptr_t)handle;
    if (sim_fails(__func__) || memory->mapped || offset ||
        bytes != memory->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    memory->mapped = address;
    return CUDA_SUCCESS;
}

/* Open and close a mapping. */
/* Bytes can be touched once access is set, not before. */
CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes,
                        const CUmemAccessDesc *access, size_t count)
{
    physical *memory = mapped_at(address);
    if (sim_fails(__func__) || !memory || bytes != memory->bytes ||
        count != 1 || access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
        return CUDA_ERROR_INVALID_VALUE;
    memory->open = sim_arena_map((void *)(uintptr_t)address, bytes);
    return memory->open ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
    physical *memory = mapped_at(address);
    if (!memory || bytes != memory->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (memory->open)
        sim_arena_unmap((void *)(uintptr_t)address, bytes);
    memory->open = false;
    memory->mapped = 0;
    retire(memory);
    return CUDA_SUCCESS;
}

/* Find the functions of the driver by name. */
cudaError_t
cudaGetDriverEntryPointByVersion(const char *symbol, void **function,
                                 unsigned version, unsigned long long flags,
                                 enum cudaDriverEntryPointQueryResult *result)
{
    (void)version, (void)flags;
#define ENTRY(name)                                                            \
    {                                                                          \
#name, (void (*)(void))name                                            \
    }
    static const struct {
        const char *name;
        void (*function)(void);
    } known[] = {
        ENTRY(cuMemGetAllocationGranularity),
        ENTRY(cuMemAddressReserve),
        ENTRY(cuMemAddressFree),
        ENTRY(cuMemCreate),
        ENTRY(cuMemRelease),
        ENTRY(cuMemMap),
        ENTRY(cuMemUnmap),
        ENTRY(cuMemSetAccess),
    };
    *function = NULL;
    *result = cudaDriverEntryPointSymbolNotFound;
    if (sim_fails(__func__))
        return cudaErrorSymbolNotFound;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, symbol) == 0) {
            memcpy(function, &known[i].function, sizeof *function);
            *result = cudaDriverEntryPointSuccess;
        }
    return cudaSuccess;
}

/* Allocate without slabs. */
/* One range of its own for each allocation; a small record goes with it. */
typedef struct allocation {
    void *start;
    size_t bytes; /* of the range */
    struct allocation *next;
} allocation;

static allocation *allocations;

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = NULL;
    size_t range = (bytes / SIM_GRANULE + 1) * SIM_GRANULE;
    if (sim_fails(__func__) || !sim_memory_take(range))
        return cudaErrorMemoryAllocation;
    allocation *a = fo_memory_alloc(1, sizeof *a, NULL);
    void *start = a ? sim_arena_reserve(range) : NULL;
    if (!start || !sim_arena_map(start, range)) {
        if (start)
            sim_arena_release(start, range);
        fo_memory_free(a);
        sim_memory_give(range);
        return cudaErrorMemoryAllocation;
    }
    *a = (allocation){start, range, allocations};
    allocations = a;
    sim_arena_mark(start, bytes, SIM_UNWRITTEN);
    *out = start;
    return cudaSuccess;
}

/* Free what was allocated without slabs. */
cudaError_t cudaFree(void *data)
{
    allocation **link = &allocations;
    while (data && *link && (*link)->start != data)
        link = &(*link)->next;
    if (!data)
        return cudaSuccess;
    if (!*link)
        return cudaErrorInvalidValue;
    allocation *a = *link;
    *link = a->next;
    sim_arena_unmap(a->start, a->bytes);
    sim_arena_release(a->start, a->bytes);
    sim_memory_give(a->bytes);
    fo_memory_free(a);
    return cudaSuccess;
}

/* Allocate pinned memory. */
cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    *out = sim_fails(__func__) ? NULL : fo_memory_alloc(1, bytes, NULL);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *data)
{
    fo_memory_free(data);
    return cudaSuccess;
}
