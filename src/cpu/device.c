#include "common/memory.h"
#include "cpu/cpu.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Open and close the device. */
fo_status cpu_open(const fo_device_options *options, fo_device **out,
                   fo_error *error)
{
    *out = NULL;
    cpu_device *cpu = fo_memory_alloc(1, sizeof *cpu, error);
    if (!cpu)
        return FO_NOMEM;
    cpu->base.backend = &fo_backend_cpu;
    cpu->limit = options ? options->memory_limit : 0;
    atomic_init(&cpu->own, 0);
    *out = &cpu->base;
    return FO_OK;
}

void cpu_close(fo_device **device)
{
    if (!*device)
        return;
    assert(atomic_load(&((cpu_device *)*device)->own) == 0);
    fo_memory_free(*device);
    *device = NULL;
}

/* Report the memory of the machine or of the limit. */
static uint64_t physical_memory(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t cpu_available_memory(void)
{
    uint64_t kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            break;
    fclose(file);
    return kib * 1024;
}

void cpu_info(fo_device *device, fo_device_info *info)
{
    cpu_device *cpu = (cpu_device *)device;
    *info = (fo_device_info){.memory_own = atomic_load(&cpu->own)};
    snprintf(info->name, sizeof info->name, "cpu");
    if (cpu->limit) {
        info->memory_total = cpu->limit;
        info->memory_free = cpu->limit - info->memory_own;
    } else {
        info->memory_total = physical_memory();
        info->memory_free = cpu_available_memory();
    }
}

/* Book bytes against the limit. */
fo_status cpu_book(cpu_device *cpu, uint64_t bytes, fo_error *error)
{
    uint64_t before = atomic_fetch_add(&cpu->own, bytes);
    uint64_t left = cpu->limit > before ? cpu->limit - before : 0;
    if (cpu->limit && bytes > left) {
        atomic_fetch_sub(&cpu->own, bytes);
        return fo_fail_short(error, FO_NOMEM, bytes, left,
                             "%" PRIu64 " bytes wanted, %" PRIu64
                             " left of a limit of %" PRIu64,
                             bytes, left, cpu->limit);
    }
    fo_status status = fo_memory_charge(FO_MEMORY_DEVICE, bytes, error);
    if (status != FO_OK)
        atomic_fetch_sub(&cpu->own, bytes);
    return status;
}

void cpu_unbook(cpu_device *cpu, uint64_t bytes)
{
    fo_memory_discharge(FO_MEMORY_DEVICE, bytes);
    atomic_fetch_sub(&cpu->own, bytes);
}

/* Hand out device memory and take it back. */
typedef struct header {
    _Alignas(64) size_t bytes;
} header;

fo_status cpu_alloc(fo_device *device, size_t bytes, void **out,
                    fo_error *error)
{
    cpu_device *cpu = (cpu_device *)device;
    *out = NULL;
    if (bytes > SIZE_MAX - 2 * sizeof(header))
        return fo_fail_short(error, FO_NOMEM, bytes, 0,
                             "%zu bytes exceed the address space", bytes);
    fo_status status = cpu_book(cpu, bytes, error);
    if (status != FO_OK)
        return status;
    /* Get the bytes from the system, or book them back. */
    size_t rounded = (bytes + 2 * sizeof(header) - 1) / sizeof(header);
    header *front = aligned_alloc(sizeof(header), rounded * sizeof(header));
    if (!front) {
        cpu_unbook(cpu, bytes);
        return fo_fail_short(error, FO_NOMEM, bytes, cpu_available_memory(),
                             "the system refused %zu bytes", bytes);
    }
    front->bytes = bytes;
    *out = front + 1;
    return FO_OK;
}

void cpu_free(fo_device *device, void *data)
{
    if (!data)
        return;
    header *front = (header *)data - 1;
    cpu_unbook((cpu_device *)device, front->bytes);
    free(front);
}

/* Move bytes within host memory. */
fo_status cpu_map(fo_device *device, const void *host, size_t bytes,
                  const void **out, fo_error *error)
{
    (void)device, (void)bytes, (void)error;
    *out = host;
    return FO_OK;
}

void cpu_unmap(fo_device *device, const void *data)
{
    (void)device, (void)data;
}

fo_status cpu_copy(fo_device *device, void *to, const void *from, size_t bytes,
                   fo_error *error)
{
    (void)device, (void)error;
    if (bytes)
        memcpy(to, from, bytes);
    return FO_OK;
}

fo_status cpu_upload(fo_device *device, void *to, const void *from_host,
                     size_t bytes, fo_error *error)
{
    return cpu_copy(device, to, from_host, bytes, error);
}

fo_status cpu_download(fo_device *device, void *to_host, const void *from,
                       size_t bytes, fo_error *error)
{
    return cpu_copy(device, to_host, from, bytes, error);
}

fo_status cpu_fill(fo_device *device, void *to, uint8_t byte, size_t bytes,
                   fo_error *error)
{
    (void)device, (void)error;
    if (bytes)
        memset(to, byte, bytes);
    return FO_OK;
}

fo_status cpu_sync(fo_device *device, fo_error *error)
{
    (void)device, (void)error;
    return FO_OK;
}

/* Measure the workspace. */
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t cpu_workspace_bytes(fo_device *device, const fo_workload *workload)
{
    (void)device;
    size_t largest = 0;
    /* Take the largest workspace any op needs. */
    largest = larger(largest, cpu_linear_workspace(workload));
    largest = larger(largest, cpu_attention_workspace(workload));
    largest = larger(largest, cpu_sample_workspace(workload));
    return largest;
}
