#include "sim/runtime.h"
#include "common/memory.h"
#include "sim/arena.h"
#include "sim/graph.h"
#include "sim/include/cuda.h"
#include "sim/report.h"
#include "sim/simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Plant a failure in a call. */
static uint64_t countdown;
static const char *failed_call;

void sim_fail_at(uint64_t n)
{
    countdown = n;
    failed_call = NULL;
}

const char *sim_failed_call(void)
{
    return failed_call;
}

bool sim_fails(const char *call)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed_call = call;
    return true;
}

/* Keep the last error. */
/* A call that a test made to fail. The number is cudaErrorUnknown's. */
#define PLANTED ((cudaError_t)999)

static cudaError_t last_error;
static uint64_t events_seen; /* reports that have become an error */

static cudaError_t fails(cudaError_t code)
{
    return last_error = code;
}

/* Kernels and copies that ran since the last question may have been reported.
 */
static cudaError_t look(void)
{
    if (sim_report_events() != events_seen) {
        events_seen = sim_report_events();
        last_error = cudaErrorLaunchFailure;
    }
    return last_error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return look();
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = look();
    last_error = cudaSuccess;
    return code;
}

/* Name the errors of the runtime. */
static const struct {
    cudaError_t code;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorNoDevice, "cudaErrorNoDevice",
     "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice",
     "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle",
     "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorSymbolNotFound, "cudaErrorSymbolNotFound",
     "named symbol not found"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure",
     "the simulator has reported a fault"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {PLANTED, "cudaErrorUnknown", "a planted failure"},
};

/* Look a name up. */
enum { ERRORS = sizeof errors / sizeof *errors };

static int error_index(cudaError_t code)
{
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].code == code)
            return i;
    return -1;
}

const char *cudaGetErrorName(cudaError_t code)
{
    int i = error_index(code);
    return i < 0 ? "unrecognized error code" : errors[i].name;
}

const char *cudaGetErrorString(cudaError_t code)
{
    int i = error_index(code);
    return i < 0 ? "unrecognized error code" : errors[i].text;
}

/* Begin a call of the runtime. */
#define BEGIN                                                                  \
    do {                                                                       \
        if (sim_fails(__func__))                                               \
            return fails(PLANTED);                                             \
    } while (0)

/* Describe the one simulated device. */
static int device_count(void)
{
    const char *text = getenv("FOLIO_SIM_DEVICES");
    return text && strcmp(text, "0") == 0 ? 0 : 1;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    BEGIN;
    *count = device_count();
    return *count ? cudaSuccess : fails(cudaErrorNoDevice);
}

/* Choose the device. */
cudaError_t cudaGetDevice(int *device)
{
    BEGIN;
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    BEGIN;
    return device == 0 && device_count() ? cudaSuccess
                                         : fails(cudaErrorInvalidDevice);
}

/* Answer for attributes. */
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute,
                                   int device)
{
    BEGIN;
    static const struct {
        enum cudaDeviceAttr attribute;
        int value;
    } known[] = {
        {cudaDevAttrMaxThreadsPerBlock, SIM_MOST_THREADS},
        {cudaDevAttrMaxSharedMemoryPerBlock, 48 * 1024},
        {cudaDevAttrWarpSize, SIM_LANES},
        {cudaDevAttrMultiProcessorCount, 4},
        {cudaDevAttrL2CacheSize, 1 << 20},
        {cudaDevAttrComputeCapabilityMajor, 8},
        {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, SIM_MOST_SHARED + 1024},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, SIM_MOST_SHARED},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (device == 0 && known[i].attribute == attribute) {
            *value = known[i].value;
            return cudaSuccess;
        }
    return fails(device == 0 ? cudaErrorInvalidValue : cudaErrorInvalidDevice);
}

/* Describe the device in one go. */
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    BEGIN;
    if (device != 0)
        return fails(cudaErrorInvalidDevice);
    *properties = (cudaDeviceProp){
        .name = "simulated GPU",
        .totalGlobalMem = sim_memory_total(),
        .sharedMemPerBlock = 48 * 1024,
        .sharedMemPerBlockOptin = SIM_MOST_SHARED,
        .maxThreadsPerBlock = SIM_MOST_THREADS,
        .multiProcessorCount = 4,
        .major = 8,
        .minor = 0,
        .l2CacheSize = 1 << 20,
    };
    return cudaSuccess;
}

cudaError_t sim_function_set(enum cudaFuncAttribute attribute, int value)
{
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
        (value < 0 || value > SIM_MOST_SHARED))
        return fails(cudaErrorInvalidValue);
    return cudaSuccess;
}

/* Create, wait for and destroy streams. */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    BEGIN;
    (void)flags;
    *stream = fo_memory_alloc(1, sizeof **stream, NULL);
    return *stream ? cudaSuccess : fails(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return fails(cudaErrorInvalidResourceHandle);
    sim_capture_drop(stream);
    fo_memory_free(stream);
    return cudaSuccess;
}

/* Wait for a stream. */
/* All work is done as it is submitted: to wait is to look for faults. */
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    BEGIN;
    if (sim_stream_captures(stream)) {
        sim_capture_spoil(stream);
        return fails(cudaErrorStreamCaptureUnsupported);
    }
    return cudaGetLastError();
}

cudaError_t cudaDeviceSynchronize(void)
{
    BEGIN;
    return cudaGetLastError();
}

/* Check and make copies. */
typedef struct transfer {
    void *to;
    const void *from;
    size_t bytes;
    bool to_device, from_device;
    int byte; /* of a fill, whose `from` is null */
} transfer;

static void carry_out(void *argument)
{
    const transfer *t = argument;
    const char *call = t->from ? "cudaMemcpyAsync" : "cudaMemsetAsync";
    if (t->from_device && !sim_arena_check_host(t->from, t->bytes, false, call))
        return;
    if (t->to_device && !sim_arena_check_host(t->to, t->bytes, true, call))
        return;
    if (!t->from)
        memset(t->to, t->byte, t->bytes);
    else
        memmove(t->to, t->from, t->bytes);
    if (t->from_device && t->to_device)
        sim_arena_copy_states(t->to, t->from, t->bytes);
}

/* Submit a copy and look at what came of it. */
static cudaError_t submit(cudaStream_t stream, transfer *t)
{
    if (t->bytes == 0)
        return cudaSuccess;
    look();
    if (!sim_stream_copy_submit(stream, carry_out, t, sizeof *t))
        return fails(cudaErrorMemoryAllocation);
    if (sim_report_events() == events_seen)
        return cudaSuccess;
    events_seen = sim_report_events();
    return fails(cudaErrorInvalidValue);
}

/* Copy and fill. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                            enum cudaMemcpyKind kind, cudaStream_t stream)
{
    BEGIN;
    transfer t = {.to = to, .from = from, .bytes = bytes};
    t.to_device = kind == cudaMemcpyHostToDevice ||
                  kind == cudaMemcpyDeviceToDevice ||
                  (kind == cudaMemcpyDefault && sim_arena_holds(to));
    t.from_device = kind == cudaMemcpyDeviceToHost ||
                    kind == cudaMemcpyDeviceToDevice ||
                    (kind == cudaMemcpyDefault && sim_arena_holds(from));
    if (bytes && (!to || !from))
        return fails(cudaErrorInvalidValue);
    return submit(stream, &t);
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes,
                            cudaStream_t stream)
{
    BEGIN;
    transfer t = {.to = to, .bytes = bytes, .to_device = true, .byte = byte};
    return submit(stream, &t);
}

/* Take the time of the host. */
struct sim_event {
    struct timespec time;
    bool recorded;
};

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    BEGIN;
    *event = fo_memory_alloc(1, sizeof **event, NULL);
    return *event ? cudaSuccess : fails(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    fo_memory_free(event);
    return cudaSuccess;
}

/* Record events and subtract them. */
static void record(void *argument)
{
    cudaEvent_t event = argument;
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    event->recorded = true;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    BEGIN;
    sim_stream_submit(stream, record, event, NULL);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    BEGIN;
    (void)event;
    return look();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first,
                                 cudaEvent_t last)
{
    BEGIN;
    if (!first->recorded || !last->recorded)
        return fails(cudaErrorInvalidResourceHandle);
    double seconds = (double)(last->time.tv_sec - first->time.tv_sec);
    double rest = (double)(last->time.tv_nsec - first->time.tv_nsec);
    *milliseconds = (float)(seconds * 1e3 + rest * 1e-6);
    return cudaSuccess;
}
