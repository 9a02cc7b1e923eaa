#include "cuda/slabs.cuh"

#include "cuda/instructions.cuh"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

namespace FO_SIDE
{

enum { ALIGNMENT = 256, RED_ZONE = 256, MOST_SLABS = 8192 };

static size_t rounded(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Ask the driver for its functions. */
template <class F>
static fo_status find(const char *name, F *function, fo_error *error)
{
    cudaDriverEntryPointQueryResult result;
    void *found = nullptr;
    FO_TRY_CUDA(cudaGetDriverEntryPointByVersion(name, &found, 12000,
                                                 cudaEnableDefault, &result));
    if (!found || result != cudaDriverEntryPointSuccess)
        return fo_fail(error, FO_DEVICE, "the driver has no %s", name);
    *function = reinterpret_cast<F>(found);
    return FO_OK;
}

#define FIND(name, member)                                                     \
    if (status == FO_OK)                                                       \
    status = find(#name, &calls->member, error)

static fo_status find_all(driver *calls, fo_error *error)
{
    fo_status status = FO_OK;
    FIND(cuMemGetAllocationGranularity, granularity);
    FIND(cuMemAddressReserve, reserve);
    FIND(cuMemAddressFree, unreserve);
    FIND(cuMemCreate, create);
    FIND(cuMemRelease, release);
    FIND(cuMemMap, map);
    FIND(cuMemUnmap, unmap);
    FIND(cuMemSetAccess, access);
    return status;
}

/* Describe what physical memory is wanted. */
static CUmemAllocationProp properties(int ordinal)
{
    CUmemAllocationProp wanted = {};
    wanted.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    wanted.location.id = ordinal;
    return wanted;
}

static fo_status fault_of_driver(CUresult code, const char *call,
                                 fo_error *error)
{
    return fo_fail(error, FO_DEVICE, "%s: CUDA error %d", call, (int)code);
}

/* Reserve the range. */
/* Twice the memory of the GPU, so that room between two allocations does not
 * keep out a third that the memory itself has room for. */
static fo_status reserve(slabs *memory, fo_error *error)
{
    size_t free, total, granularity;
    FO_TRY_CUDA(cudaMemGetInfo(&free, &total));
    CUmemAllocationProp wanted = properties(memory->ordinal);
    CUresult code = memory->calls.granularity(&granularity, &wanted,
                                              CU_MEM_ALLOC_GRANULARITY_MINIMUM);
    if (code != CUDA_SUCCESS)
        return fault_of_driver(code, "cuMemGetAllocationGranularity", error);
    memory->granule = granularity;
    size_t range = rounded(2 * total, granularity);
    memory->slab_bytes = rounded(range / MOST_SLABS + 1, granularity);
    range = rounded(range, memory->slab_bytes);
    code = memory->calls.reserve(&memory->base, range, 0, 0, 0);
    if (code != CUDA_SUCCESS)
        return fault_of_driver(code, "cuMemAddressReserve", error);
    memory->range = range;
    return FO_OK;
}

/* Open and close the slabs. */
fo_status slabs_open(int ordinal, uint64_t limit, slabs **out, fo_error *error)
{
    slabs *memory = (slabs *)fo_memory_alloc(1, sizeof *memory, error);
    *out = memory;
    if (!memory)
        return FO_NOMEM;
    memory->ordinal = ordinal;
    memory->limit = limit;
    fo_status status = find_all(&memory->calls, error);
    if (status == FO_OK)
        status = reserve(memory, error);
    if (status == FO_OK) {
        size_t count = memory->range / memory->slab_bytes;
        memory->room = 64;
        memory->uses =
            (uint32_t *)fo_memory_alloc(count, sizeof *memory->uses, error);
        memory->span_list = (span *)fo_memory_alloc(
            memory->room, sizeof *memory->span_list, error);
        memory->spans = 1; /* the whole range, free */
        if (!memory->uses || !memory->span_list)
            status = FO_NOMEM;
    }
    if (status != FO_OK)
        slabs_close(out);
    return status;
}

void slabs_close(slabs **slot)
{
    slabs *memory = *slot;
    if (!memory)
        return;
    assert(memory->own == 0 && memory->committed == 0);
    assert(memory->spans <= 1 && !memory->reservations);
    if (memory->range)
        memory->calls.unreserve(memory->base, memory->range);
    fo_memory_free(memory->uses);
    fo_memory_free(memory->span_list);
    fo_memory_free(memory);
    *slot = nullptr;
}

/* Commit a slab and give it back. */
answer slabs_map(slabs *memory, CUdeviceptr at, size_t bytes)
{
    CUmemAllocationProp wanted = properties(memory->ordinal);
    CUmemAccessDesc access = {};
    access.location = wanted.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    CUmemGenericAllocationHandle handle;
    const driver *calls = &memory->calls;
    CUresult code = calls->create(&handle, bytes, &wanted, 0);
    if (code != CUDA_SUCCESS)
        return {code, "cuMemCreate"};
    code = calls->map(at, bytes, 0, handle, 0);
    calls->release(handle); /* the mapping holds it from here on */
    if (code != CUDA_SUCCESS)
        return {code, "cuMemMap"};
    code = calls->access(at, bytes, &access, 1);
    if (code != CUDA_SUCCESS) {
        calls->unmap(at, bytes);
        return {code, "cuMemSetAccess"};
    }
    memory->committed += bytes;
    return {CUDA_SUCCESS, nullptr};
}

void slabs_unmap(slabs *memory, CUdeviceptr at, size_t bytes)
{
    memory->calls.unmap(at, bytes);
    memory->committed -= bytes;
}

static CUdeviceptr start_of(const slabs *memory, size_t slab)
{
    return memory->base + slab * memory->slab_bytes;
}

/* Count who uses which slab. */
/* The slabs first .. end - 1 that hold bytes of an allocation. */
struct stretch {
    size_t first, end;
};

static stretch slabs_under(const slabs *memory, size_t begin, size_t bytes)
{
    return {begin / memory->slab_bytes,
            rounded(begin + bytes, memory->slab_bytes) / memory->slab_bytes};
}

/* The stretch is used by one less; an idle GPU's memory is not kept. */
static void leave(slabs *memory, stretch s, const cudaStream_t *stream)
{
    bool waited = stream == nullptr;
    for (size_t slab = s.first; slab < s.end; slab++)
        if (--memory->uses[slab] == 0) {
            if (!waited)
                (void)cudaStreamSynchronize(*stream);
            waited = true;
            slabs_unmap(memory, start_of(memory, slab), memory->slab_bytes);
        }
}

static answer enter(slabs *memory, stretch s)
{
    for (size_t slab = s.first; slab < s.end; slab++) {
        answer a = {CUDA_SUCCESS, nullptr};
        if (memory->uses[slab] == 0)
            a = slabs_map(memory, start_of(memory, slab), memory->slab_bytes);
        if (a.code != CUDA_SUCCESS) {
            leave(memory, {s.first, slab}, nullptr);
            return a;
        }
        memory->uses[slab]++;
    }
    return {CUDA_SUCCESS, nullptr};
}

/* Find the first span with room. */
static size_t end_of(const slabs *memory, size_t i)
{
    return i + 1 < memory->spans ? memory->span_list[i + 1].begin
                                 : memory->range;
}

/* The span's index, or `spans` if none is long enough. */
static size_t first_fit(const slabs *memory, size_t room)
{
    for (size_t i = 0; i < memory->spans; i++)
        if (!memory->span_list[i].held &&
            end_of(memory, i) - memory->span_list[i].begin >= room)
            return i;
    return memory->spans;
}

static fo_status make_room_for_a_span(slabs *memory, fo_error *error)
{
    if (memory->spans < memory->room)
        return FO_OK;
    span *grown = (span *)fo_memory_resize(memory->span_list, 2 * memory->room,
                                           sizeof *grown, error);
    if (!grown)
        return FO_NOMEM;
    memory->span_list = grown;
    memory->room *= 2;
    return FO_OK;
}

/* Split spans and join them. */
static void insert(slabs *memory, size_t i, span s)
{
    span *at = memory->span_list + i;
    memmove(at + 1, at, (memory->spans - i) * sizeof *at);
    *at = s;
    memory->spans++;
}

static void drop(slabs *memory, size_t i)
{
    span *at = memory->span_list + i;
    memory->spans--;
    memmove(at, at + 1, (memory->spans - i) * sizeof *at);
}

static void hold(slabs *memory, size_t i, size_t bytes, size_t room)
{
    span *s = memory->span_list + i;
    size_t end = s->begin + room;
    bool rest = end < end_of(memory, i);
    s->held = true;
    s->bytes = bytes;
    if (rest)
        insert(memory, i + 1, {end, 0, false});
}

static void unhold(slabs *memory, size_t i)
{
    memory->span_list[i].held = false;
    if (i + 1 < memory->spans && !memory->span_list[i + 1].held)
        drop(memory, i + 1);
    if (i > 0 && !memory->span_list[i - 1].held)
        drop(memory, i);
}

/* Book the bytes of an allocation. */
fo_status slabs_book(slabs *memory, uint64_t bytes, fo_error *error)
{
    uint64_t left = memory->limit - memory->own;
    if (memory->limit && bytes > left)
        return fo_fail_short(error, FO_NOMEM, bytes, left,
                             "%" PRIu64 " bytes wanted, %" PRIu64
                             " left of a limit of %" PRIu64,
                             bytes, left, memory->limit);
    fo_status status = fo_memory_charge(FO_MEMORY_DEVICE, bytes, error);
    if (status == FO_OK)
        memory->own += bytes;
    return status;
}

void slabs_unbook(slabs *memory, uint64_t bytes)
{
    fo_memory_discharge(FO_MEMORY_DEVICE, bytes);
    memory->own -= bytes;
}

/* Say how much is missing. */
static fo_status refuse(size_t bytes, fo_error *error)
{
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess)
        (void)cudaGetLastError();
    return fo_fail_short(error, FO_NOMEM, bytes, free,
                         "%zu bytes wanted, %zu free of the GPU's %zu", bytes,
                         free, total);
}

fo_status slabs_blame(answer refusal, size_t bytes, fo_error *error)
{
    if (refusal.code == CUDA_ERROR_OUT_OF_MEMORY)
        return refuse(bytes, error);
    return fault_of_driver(refusal.code, refusal.call, error);
}

/* Take memory. */
/* Put an allocation whose bytes are booked into the first span with room. */
static fo_status place(slabs *memory, size_t bytes, void **out, fo_error *error)
{
    size_t room = rounded(bytes + RED_ZONE, ALIGNMENT);
    size_t i = first_fit(memory, room);
    if (i == memory->spans)
        return refuse(bytes, error);
    fo_status status = make_room_for_a_span(memory, error);
    if (status != FO_OK)
        return status;
    size_t begin = memory->span_list[i].begin;
    if (bytes > 0) {
        answer a = enter(memory, slabs_under(memory, begin, bytes));
        if (a.code != CUDA_SUCCESS)
            return slabs_blame(a, bytes, error);
    }
    hold(memory, i, bytes, room);
    *out = reinterpret_cast<void *>(memory->base + begin);
    mark_allocated(*out, bytes);
    return FO_OK;
}

fo_status slabs_take(slabs *memory, size_t bytes, void **out, fo_error *error)
{
    *out = nullptr;
    if (!memory->limit && bytes > memory->range - RED_ZONE - ALIGNMENT)
        return refuse(bytes, error);
    fo_status status = slabs_book(memory, bytes, error);
    if (status != FO_OK)
        return status;
    if (bytes > memory->range - RED_ZONE - ALIGNMENT)
        status = refuse(bytes, error);
    else
        status = place(memory, bytes, out, error);
    if (status != FO_OK)
        slabs_unbook(memory, bytes);
    return status;
}

/* Give memory back. */
/* The index of the span that begins there. */
static size_t span_at(const slabs *memory, size_t begin)
{
    size_t low = 0, high = memory->spans;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (memory->span_list[middle].begin <= begin)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void slabs_give(slabs *memory, void *data, cudaStream_t stream)
{
    if (!data)
        return;
    size_t begin = (size_t)(reinterpret_cast<CUdeviceptr>(data) - memory->base);
    size_t i = span_at(memory, begin);
    span s = memory->span_list[i];
    assert(s.held && s.begin == begin);
    mark_freed(data, s.bytes);
    if (s.bytes > 0)
        leave(memory, slabs_under(memory, begin, s.bytes), &stream);
    unhold(memory, i);
    slabs_unbook(memory, s.bytes);
}

} // namespace FO_SIDE
