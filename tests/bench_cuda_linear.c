/* Count the traffic of linear layers on the simulated GPU, or time them on a
 * real one; print a Markdown table. */
#include "cuda/cuda.h"
#include "inputs.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/simt.h"
#include "sim/traffic.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const fo_dtype types[] = {FO_F32, FO_F16, FO_BF16, FO_Q8_0, FO_Q4_0};

/* Lay out a layer to measure. */
typedef struct layer {
    fo_device *device;
    int R, C, T, copies;
    size_t bytes; /* of one copy of the weights */
    fo_dtype dtype;
    char *weights;
    float *x, *out;
    fo_workspace workspace;
} layer;

static void need(fo_status status, const fo_error *error)
{
    if (status == FO_OK)
        return;
    fprintf(stderr, "bench_cuda_linear: %s\n", error->message);
    exit(1);
}

static void *zeros(const layer *l, size_t bytes)
{
    const fo_backend *backend = l->device->backend;
    void *data;
    fo_error error;
    need(backend->alloc(l->device, bytes, &data, &error), &error);
    need(backend->fill(l->device, data, 0, bytes, &error), &error);
    return data;
}

static void lay_out(layer *l)
{
    fo_workload workload = {
        .max_tokens = l->T, .max_rows = l->R, .max_columns = l->C};
    size_t R = (size_t)l->R, C = (size_t)l->C, T = (size_t)l->T;
    l->bytes = fo_dtype_bytes(l->dtype, (int64_t)(R * C));
    l->weights = zeros(l, l->bytes * (size_t)l->copies);
    l->x = zeros(l, T * C * sizeof(float));
    l->out = zeros(l, T * R * sizeof(float));
    l->workspace.bytes =
        l->device->backend->workspace_bytes(l->device, &workload);
    l->workspace.data = zeros(l, l->workspace.bytes);
}

static void take_away(layer *l)
{
    const fo_backend *backend = l->device->backend;
    backend->free(l->device, l->weights);
    backend->free(l->device, l->x);
    backend->free(l->device, l->out);
    backend->free(l->device, l->workspace.data);
}

static void call(const layer *l, int i)
{
    fo_weight weight = {l->weights + l->bytes * (size_t)(i % l->copies),
                        l->dtype, l->R, l->C};
    fo_error error;
    need(l->device->backend->linear(l->device, l->out, l->x, &weight, l->T,
                                    l->workspace, &error),
         &error);
}

/* Count the traffic of a layer. */
#ifndef FO_NO_SIM
static void print_traffic(fo_device *device)
{
    static const int tokens[] = {1, 8};
    sim_settings settings = sim_settings_get();
    settings.traffic = true;
    sim_settings_set(settings);
    printf("| weights | tokens | bytes of weights | bytes moved | ratio "
           "| wavefronts | fewest |\n|---|---|---|---|---|---|---|\n");
    for (int d = 0; d < 5; d++)
        for (int t = 0; t < 2; t++) {
            layer l = {device, 64, 3072, tokens[t], 1, .dtype = types[d]};
            lay_out(&l);
            sim_traffic_clear();
            call(&l, 0);
            unsigned long long moved = 0, waves = 0, fewest = 0;
            for (int i = 0; i < sim_traffic_line_count(); i++) {
                const sim_traffic_line *line = sim_traffic_line_get(i);
                moved += line->shared ? 0 : line->moved;
                waves += line->shared ? line->moved : 0;
                fewest += line->shared ? line->needed : 0;
            }
            printf("| %s | %d | %zu | %llu | %.2f | %llu | %llu |\n",
                   fo_dtype_info_get(types[d])->name, l.T, l.bytes, moved,
                   (double)moved / (double)l.bytes, waves, fewest);
            take_away(&l);
        }
}
#else
static void print_traffic(fo_device *device)
{
    (void)device;
}
#endif

/* Time a layer. */
enum { ROUNDS = 9, CALLS = 40, BIG = 1 << 28 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_of(const layer *l)
{
    double times[ROUNDS];
    fo_error error;
    for (int round = -1; round < ROUNDS; round++) {
        need(l->device->backend->sync(l->device, &error), &error);
        double start = seconds();
        for (int i = 0; i < CALLS; i++)
            call(l, i);
        need(l->device->backend->sync(l->device, &error), &error);
        times[round < 0 ? 0 : round] = (seconds() - start) / CALLS;
    }
    qsort(times, ROUNDS, sizeof *times, by_size);
    return times[ROUNDS / 2];
}

static void print_times(fo_device *device)
{
    static const int tokens[] = {1, 8, 32, 512};
    fo_device_info info;
    device->backend->info(device, &info);
    printf("| weights | microseconds at 4.8 TB/s | 1 token | 8 tokens "
           "| 32 tokens | 512 tokens |\n|---|---|---|---|---|---|\n");
    for (int d = 0; d < 5; d++) {
        layer l = {device, 16384, 3072, 0, 1, .dtype = types[d]};
        l.bytes = fo_dtype_bytes(l.dtype, (int64_t)l.R * l.C);
        printf("| %s | %.1f |", fo_dtype_info_get(l.dtype)->name,
               (double)l.bytes / 4.8e6);
        for (int t = 0; t < 4; t++) {
            l.T = tokens[t];
            l.copies = (int)(BIG / l.bytes) + 2;
            lay_out(&l);
            printf(" %.1f |", 1e6 * time_of(&l));
            fflush(stdout);
            take_away(&l);
        }
        printf("\n");
    }
    printf("\nMicroseconds a call on %s; medians of %d rounds.\n", info.name,
           ROUNDS);
}

int main(void)
{
    const fo_backend *backend = verso_backend();
    fo_device *device;
    fo_error error = {0};
    if (!backend || backend->open(NULL, &device, &error) != FO_OK) {
        fprintf(stderr, "bench_cuda_linear: no device: %s\n", error.message);
        return 2;
    }
    if (verso_is_simulated())
        print_traffic(device);
    else
        print_times(device);
    backend->close(&device);
}
