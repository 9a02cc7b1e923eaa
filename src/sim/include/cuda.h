/* The simulator's stand-in for the header of the CUDA driver: its calls for
 * virtual memory, with the numbers of the original.
 *
 * Nothing links the driver: a program asks for each function by its name
 * (cudaGetDriverEntryPointByVersion). Source: the CUDA Driver API manual. */
#ifndef FOLIO_SIM_CUDA_H
#define FOLIO_SIM_CUDA_H

#include "cuda_runtime.h"

#define CUDA_VERSION 13000

#ifdef __cplusplus
extern "C" {
#endif

/* Describe physical memory. */
typedef enum CUresult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
} CUresult;

typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;

typedef enum CUmemAllocationType {
    CU_MEM_ALLOCATION_TYPE_PINNED = 1
} CUmemAllocationType;

typedef enum CUmemLocationType {
    CU_MEM_LOCATION_TYPE_DEVICE = 1
} CUmemLocationType;

typedef struct CUmemLocation {
    CUmemLocationType type;
    int id;
} CUmemLocation;

typedef struct CUmemAllocationProp {
    CUmemAllocationType type;
    CUmemLocation location;
} CUmemAllocationProp;

typedef enum CUmemAllocationGranularity_flags {
    CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0,
    CU_MEM_ALLOC_GRANULARITY_RECOMMENDED = 1,
} CUmemAllocationGranularity_flags;

/* Declare the calls for virtual memory. */
typedef enum CUmemAccess_flags {
    CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3
} CUmemAccess_flags;

typedef struct CUmemAccessDesc {
    CUmemLocation location;
    CUmemAccess_flags flags;
} CUmemAccessDesc;

CUresult cuMemGetAllocationGranularity(size_t *granularity,
                                       const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option)
    SIM_SYMBOL(cuMemGetAllocationGranularity);
CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes,
                             size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags)
    SIM_SYMBOL(cuMemAddressReserve);
CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
    SIM_SYMBOL(cuMemAddressFree);
CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                     const CUmemAllocationProp *properties,
                     unsigned long long flags) SIM_SYMBOL(cuMemCreate);
CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
    SIM_SYMBOL(cuMemRelease);
CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags)
    SIM_SYMBOL(cuMemMap);
CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) SIM_SYMBOL(cuMemUnmap);
CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes,
                        const CUmemAccessDesc *access, size_t count)
    SIM_SYMBOL(cuMemSetAccess);

#ifdef __cplusplus
}
#endif

#endif
