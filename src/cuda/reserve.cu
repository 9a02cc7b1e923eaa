#include "cuda/instructions.cuh"
#include "cuda/slabs.cuh"

#include <assert.h>

namespace FO_SIDE
{

/* A range of addresses with memory behind its front. */
struct reservation {
    CUdeviceptr start;
    size_t bytes;     /* of addresses, whole granules                  */
    size_t committed; /* the first of them, whole granules             */
    size_t edge;      /* as it was asked for, at most `committed`      */
    reservation *next;
};

/* Reserve addresses of the GPU and give them back. */
static reservation **find(slabs *memory, const void *reserved)
{
    reservation **link = &memory->reservations;
    while (*link && (*link)->start != (CUdeviceptr)reserved)
        link = &(*link)->next;
    assert(*link);
    return link;
}

static size_t granules(const slabs *memory, size_t bytes)
{
    return (bytes + memory->granule - 1) / memory->granule * memory->granule;
}

fo_status cuda_reserve(fo_device *device, size_t bytes, void **out,
                       fo_error *error)
{
    slabs *memory = of(device)->memory;
    *out = nullptr;
    if (bytes > PTRDIFF_MAX)
        return fo_fail_short(error, FO_NOMEM, bytes, PTRDIFF_MAX,
                             "%zu bytes exceed the address space", bytes);
    reservation *r = (reservation *)fo_memory_alloc(1, sizeof *r, error);
    if (!r)
        return FO_NOMEM;
    r->bytes = granules(memory, bytes ? bytes : 1);
    CUresult code = memory->calls.reserve(&r->start, r->bytes, 0, 0, 0);
    if (code != CUDA_SUCCESS) {
        fo_memory_free(r);
        return slabs_blame({code, "cuMemAddressReserve"}, bytes, error);
    }
    r->next = memory->reservations;
    memory->reservations = r;
    *out = reinterpret_cast<void *>(r->start);
    return FO_OK;
}

/* Map pieces and unmap them. */
static void shrink(slabs *memory, reservation *r, size_t bytes)
{
    slabs_unbook(memory, r->committed - bytes);
    while (r->committed > bytes) {
        r->committed -= memory->granule;
        slabs_unmap(memory, r->start + r->committed, memory->granule);
    }
}

static fo_status grow(slabs *memory, reservation *r, size_t bytes,
                      fo_error *error)
{
    size_t before = r->committed, more = bytes - before;
    fo_status status = slabs_book(memory, more, error);
    if (status != FO_OK)
        return status;
    while (r->committed < bytes) {
        answer a = slabs_map(memory, r->start + r->committed, memory->granule);
        if (a.code != CUDA_SUCCESS) {
            slabs_unbook(memory, bytes - r->committed);
            shrink(memory, r, before);
            return slabs_blame(a, more, error);
        }
        r->committed += memory->granule;
    }
    return FO_OK;
}

/* Move the edge of a reservation on the GPU. */
fo_status cuda_commit(fo_device *device, void *reserved, size_t bytes,
                      fo_error *error)
{
    slabs *memory = of(device)->memory;
    reservation *r = *find(memory, reserved);
    size_t needed = granules(memory, bytes);
    if (bytes > r->bytes)
        return fo_fail_short(error, FO_ARG, bytes, r->bytes,
                             "%zu bytes to commit of %zu reserved", bytes,
                             r->bytes);
    fo_status status = FO_OK;
    if (needed > r->committed) {
        status = grow(memory, r, needed, error);
    } else if (needed < r->committed) {
        (void)cudaStreamSynchronize(of(device)->stream);
        shrink(memory, r, needed);
    }
    if (status != FO_OK)
        return status;
    char *at = (char *)reserved;
    size_t last = r->edge < needed ? r->edge : needed;
    if (bytes > r->edge)
        mark_allocated(at + r->edge, bytes - r->edge);
    else if (last > bytes)
        mark_freed(at + bytes, last - bytes);
    r->edge = bytes;
    return FO_OK;
}

void cuda_unreserve(fo_device *device, void *reserved)
{
    slabs *memory = of(device)->memory;
    if (!reserved)
        return;
    (void)cuda_commit(device, reserved, 0, nullptr);
    reservation **link = find(memory, reserved), *r = *link;
    memory->calls.unreserve(r->start, r->bytes);
    *link = r->next;
    fo_memory_free(r);
}

} // namespace FO_SIDE
