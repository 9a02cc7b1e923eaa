/* The memory of a CUDA device: one reserved range of addresses, with physical
 * memory behind it where it is in use. */
#ifndef FOLIO_CUDA_SLABS_CUH
#define FOLIO_CUDA_SLABS_CUH

#include "cuda/device.cuh"

#include <cuda.h>

namespace FO_SIDE
{

/* Hold the functions of the driver. */
/* Asked for by name: a program that links the driver does not start without
 * one. */
struct driver {
    decltype(&cuMemGetAllocationGranularity) granularity;
    decltype(&cuMemAddressReserve) reserve;
    decltype(&cuMemAddressFree) unreserve;
    decltype(&cuMemCreate) create;
    decltype(&cuMemRelease) release;
    decltype(&cuMemMap) map;
    decltype(&cuMemUnmap) unmap;
    decltype(&cuMemSetAccess) access;
};

/* Hold the slabs of a device. */
/* A span is a run of the range, held by one allocation or free. Spans lie in
 * order, touch, and cover the range; no two free ones are neighbours. A held
 * span is its bytes, a red zone of at least 256, and the rest of the last 256.
 */
struct span {
    size_t begin;
    size_t bytes; /* asked for, if held */
    bool held;
};

struct reservation; /* in reserve.cu */

/* A slab is committed, that is backed by physical memory, while `uses`, the
 * number of allocations with bytes in it, is not 0. */
struct slabs {
    driver calls;
    int ordinal;
    CUdeviceptr base;
    size_t range;      /* bytes of addresses, a multiple of slab_bytes   */
    size_t slab_bytes; /* a multiple of the driver's granularity         */
    uint32_t *uses;    /* (range / slab_bytes)                           */
    span *span_list;   /* (room), spans of them used                     */
    size_t spans, room;
    uint64_t own;       /* bytes handed out                               */
    uint64_t limit;     /* bytes that may be handed out, 0: no limit      */
    uint64_t committed; /* bytes of physical memory, reservations' too     */
    size_t granule;     /* the driver's granularity                        */
    reservation *reservations;
};

/* Declare the work of the slabs. */
/* A range for the GPU `ordinal`; `out` is null after a failure. */
fo_status slabs_open(int ordinal, uint64_t limit, slabs **out, fo_error *error);
void slabs_close(slabs **memory);

/* Addresses are aligned to 256 bytes. FO_NOMEM with the bytes required and
 * those available, when the limit or the GPU has too few. */
fo_status slabs_take(slabs *memory, size_t bytes, void **out, fo_error *error);

/* Slabs that nothing uses any more are given back, once `stream` has done its
 * work. */
void slabs_give(slabs *memory, void *data, cudaStream_t stream);

/* Count bytes as handed out: FO_NOMEM beyond the limit. */
fo_status slabs_book(slabs *memory, uint64_t bytes, fo_error *error);
void slabs_unbook(slabs *memory, uint64_t bytes);

/* What the driver said, and to which of its calls. */
struct answer {
    CUresult code;
    const char *call;
};

/* Put physical memory behind reserved addresses, and take the same piece away
 * again. Whole granules. */
answer slabs_map(slabs *memory, CUdeviceptr at, size_t bytes);
void slabs_unmap(slabs *memory, CUdeviceptr at, size_t bytes);

/* Turn a refusal of `bytes` bytes into an error: FO_NOMEM or FO_DEVICE. */
fo_status slabs_blame(answer refusal, size_t bytes, fo_error *error);

} // namespace FO_SIDE

#endif
