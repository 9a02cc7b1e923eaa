/* The decode ladder, one JSON object a line: first the device, then every rung
 * on every shape of its table in chapter 20. `bytes` is what a step must read:
 * each visible key and value once. All rungs read the same keys, scattered over
 * one pool in blocks of 16 that no two sequences share.
 *
 * On a GPU: the seconds of a step. Steps go round a ring of batches whose bytes
 * together exceed what a cache can hold; times are the median round's. On the
 * simulated GPU: what the model of its traffic counts in one small step. */
#include "common/memory.h"
#include "common/rng.h"
#include "cuda/cuda.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/simt.h"
#include "sim/traffic.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { D = 128, B = 16, RUNGS = 8, ROUNDS = 9, MOST_RING = 64, MOST_N = 64 };
enum { RING_BYTES = 1 << 30, PATTERN = 1 << 24, COPY_BYTES = 1 << 30 };

typedef struct shape {
    fo_dtype dtype;
    int N, H, K, length; /* keys of each sequence */
} shape;

typedef struct scene {
    const fo_backend *backend;
    fo_device *device;
    shape shape;
    int ring; /* batches in it */
    fo_kv kv;
    fo_block_tables tables[MOST_RING];
    fo_attention attention;
    fo_workspace workspace;
    float *q, *out;
    void *owned[16];
    int owns;
} scene;

static void need(fo_status status, const fo_error *error)
{
    if (status == FO_OK)
        return;
    fprintf(stderr, "bench_cuda_decode: %s\n", error->message);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *room(scene *s, size_t bytes)
{
    fo_error error = {0};
    void *data;
    need(s->backend->alloc(s->device, bytes, &data, &error), &error);
    return s->owned[s->owns++] = data;
}

static void *uploaded(scene *s, const void *host, size_t bytes)
{
    fo_error error = {0};
    void *data = room(s, bytes);
    need(s->backend->upload(s->device, data, host, bytes, &error), &error);
    return data;
}

/* A pool of numbers between -1 and 1: one pattern of them, over and over. */
static void *pool(scene *s, fo_dtype dtype, size_t bytes)
{
    fo_error error = {0};
    int64_t n = PATTERN / (int64_t)fo_dtype_bytes(dtype, 1);
    float *x = fo_memory_alloc((size_t)n, sizeof *x, NULL);
    char *stored = fo_memory_alloc(PATTERN, 1, NULL), *data = room(s, bytes);
    for (int64_t i = 0; i < n; i++)
        x[i] = 2 * fo_rng_uniform(20, (uint64_t)s->owns, (uint64_t)i) - 1;
    fo_dtype_store(dtype, x, stored, n);
    for (size_t at = 0; at < bytes; at += PATTERN) {
        size_t left = bytes - at < PATTERN ? bytes - at : PATTERN;
        need(s->backend->upload(s->device, data + at, stored, left, &error),
             &error);
    }
    fo_memory_free(x);
    fo_memory_free(stored);
    return data;
}

static int32_t *shuffled(int n)
{
    int32_t *order = fo_memory_alloc((size_t)n, sizeof *order, NULL);
    for (int i = 0; i < n; i++) {
        uint32_t words[4];
        fo_rng_block(20, 99, (uint64_t)i, words);
        int j = (int)(words[0] % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static size_t step_bytes(const shape *shape)
{
    int64_t keys = (int64_t)shape->N * shape->length * shape->K;
    return 2 * fo_dtype_bytes(shape->dtype, keys * D);
}

static void lay_tables(scene *s)
{
    int N = s->shape.N, blocks = s->shape.length / B;
    int32_t *order = shuffled(s->kv.num_blocks), row[MOST_N], length[MOST_N];
    int32_t *table =
        uploaded(s, order, (size_t)s->kv.num_blocks * sizeof *order);
    for (int n = 0; n < N; n++) {
        row[n] = n;
        length[n] = s->shape.length;
    }
    int32_t *rows = uploaded(s, row, (size_t)N * sizeof *row);
    for (int i = 0; i < s->ring; i++)
        s->tables[i] =
            (fo_block_tables){table + (int64_t)i * N * blocks, blocks, rows};
    s->attention = (fo_attention){
        .N = N,
        .T = N,
        .H = s->shape.H,
        .q_stride = s->shape.H * D,
        .scale = 0.088f,
        .max_length = s->shape.length,
        .length = uploaded(s, length, (size_t)N * sizeof *length)};
    fo_memory_free(order);
}

static void make_queries(scene *s)
{
    size_t n = (size_t)(s->shape.N * s->shape.H * D);
    float *query = fo_memory_alloc(n, sizeof *query, NULL);
    for (size_t i = 0; i < n; i++)
        query[i] = 4 * fo_rng_uniform(20, 7, i) - 2;
    s->q = uploaded(s, query, n * sizeof *query);
    s->out = room(s, n * sizeof *query);
    fo_memory_free(query);
}

static scene open_scene(const fo_backend *backend, fo_device *device,
                        shape shape, int ring)
{
    scene s = {.backend = backend, .device = device, .shape = shape};
    size_t bytes = step_bytes(&shape);
    s.ring = ring;
    s.kv = (fo_kv){
        NULL, NULL, shape.dtype, ring * shape.N * shape.length / B, shape.K,
        B,    D};
    s.kv.k = pool(&s, shape.dtype, (size_t)ring * bytes / 2);
    s.kv.v = pool(&s, shape.dtype, (size_t)ring * bytes / 2);
    lay_tables(&s);
    make_queries(&s);
    fo_workload workload = {.max_tokens = shape.N,
                            .max_sequences = shape.N,
                            .max_length = shape.length,
                            .H = shape.H,
                            .K = shape.K,
                            .D = D};
    s.workspace.bytes = backend->workspace_bytes(device, &workload);
    s.workspace.data = room(&s, s.workspace.bytes);
    return s;
}

static void close_scene(scene *s)
{
    while (s->owns > 0)
        s->backend->free(s->device, s->owned[--s->owns]);
}

/* Seconds of one step, over `steps` of them; negative: not a shape for it. */
static double turn(const scene *s, int steps)
{
    fo_error error = {0};
    need(s->backend->sync(s->device, &error), &error);
    double start = seconds();
    for (int i = 0; i < steps; i++) {
        fo_status status = s->backend->attention_decode(
            s->device, s->out, s->q, &s->kv, &s->tables[i % s->ring],
            &s->attention, s->workspace, &error);
        if (status == FO_UNSUPPORTED)
            return -1;
        need(status, &error);
    }
    need(s->backend->sync(s->device, &error), &error);
    return (seconds() - start) / steps;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_turn(const scene *s)
{
    double first = turn(s, 2), times[ROUNDS];
    if (first < 0)
        return first;
    first = turn(s, 2);
    int steps = first > 0.02 ? 2 : (int)(0.04 / first) + 2;
    for (int i = 0; i < ROUNDS; i++)
        times[i] = turn(s, steps);
    qsort(times, ROUNDS, sizeof *times, by_size);
    return times[ROUNDS / 2];
}

/* Bytes read and written a second by the device's own copy. */
static double copy_speed(const fo_backend *backend, fo_device *device)
{
    scene s = {.backend = backend, .device = device};
    void *to = room(&s, COPY_BYTES), *from = room(&s, COPY_BYTES);
    double times[ROUNDS];
    fo_error error = {0};
    for (int i = -1; i < ROUNDS; i++) {
        need(backend->sync(device, &error), &error);
        double start = seconds();
        for (int k = 0; k < 8; k++)
            need(backend->copy(device, to, from, COPY_BYTES, &error), &error);
        need(backend->sync(device, &error), &error);
        times[i < 0 ? 0 : i] = (seconds() - start) / 8;
    }
    close_scene(&s);
    qsort(times, ROUNDS, sizeof *times, by_size);
    return 2.0 * COPY_BYTES / times[ROUNDS / 2];
}

static void print_shape(const shape *shape, int rung)
{
    printf("{\"dtype\": \"%s\", \"kv_heads\": %d, \"context\": %d, "
           "\"rung\": %d, \"bytes\": %zu, ",
           fo_dtype_info_get(shape->dtype)->name, shape->K, shape->length, rung,
           step_bytes(shape));
}

static void measure(const fo_backend *backend, fo_device *device, shape shape)
{
    int ring = (int)(RING_BYTES / step_bytes(&shape)) + 2;
    scene s = open_scene(backend, device, shape, ring);
    for (int rung = 1; rung <= RUNGS; rung++) {
        ((fo_cuda_settings *)device)->decode_rung = rung;
        double time = median_turn(&s);
        if (time < 0)
            continue;
        print_shape(&shape, rung);
        printf("\"seconds\": %.9f}\n", time);
        fflush(stdout);
    }
    close_scene(&s);
}

#ifndef FO_NO_SIM
/* Sectors asked for and sectors touched, in bytes; wavefronts of shared memory,
 * and the fewest that would do. */
static void print_traffic(void)
{
    uint64_t moved = 0, unique = 0, waves[2] = {0};
    for (int i = 0; i < sim_traffic_kernel_count(); i++)
        unique += sim_traffic_kernel_get(i)->unique[0] +
                  sim_traffic_kernel_get(i)->unique[1];
    for (int i = 0; i < sim_traffic_line_count(); i++) {
        const sim_traffic_line *line = sim_traffic_line_get(i);
        moved += line->shared ? 0 : line->moved;
        waves[0] += line->shared ? line->moved : 0;
        waves[1] += line->shared ? line->needed : 0;
    }
    printf("\"moved\": %llu, \"touched\": %llu, \"wavefronts\": %llu, "
           "\"fewest_wavefronts\": %llu}\n",
           (unsigned long long)moved, (unsigned long long)unique,
           (unsigned long long)waves[0], (unsigned long long)waves[1]);
}

static void count_traffic(const fo_backend *backend, fo_device *device,
                          shape shape)
{
    scene s = open_scene(backend, device, shape, 1);
    sim_settings settings = sim_settings_get();
    settings.traffic = true;
    sim_settings_set(settings);
    for (int rung = 1; rung <= RUNGS; rung++) {
        ((fo_cuda_settings *)device)->decode_rung = rung;
        sim_traffic_clear();
        if (turn(&s, 1) < 0)
            continue;
        print_shape(&shape, rung);
        print_traffic();
    }
    close_scene(&s);
}
#endif

static void climb(const fo_backend *backend, fo_device *device)
{
    static const fo_dtype dtypes[] = {FO_F32, FO_F16};
    for (int t = 0; t < 2; t++)
        for (int group = 1; group <= 8; group *= 8) {
#ifndef FO_NO_SIM
            shape small = {dtypes[t], 2, 8, 8 / group, 512};
            if (verso_is_simulated()) {
                count_traffic(backend, device, small);
                continue;
            }
#endif
            for (int length = 1024; length <= 4096; length *= 4)
                measure(backend, device,
                        (shape){dtypes[t], 64, 32, 32 / group, length});
        }
}

int main(void)
{
    const fo_backend *backend = verso_backend();
    if (!backend) {
        fprintf(stderr, "bench_cuda_decode: no device in this build\n");
        return 2;
    }
    fo_error error = {0};
    fo_device *device;
    need(backend->open(NULL, &device, &error), &error);
    fo_device_info info;
    backend->info(device, &info);
    printf("{\"device\": \"%s\", \"copy_bytes_per_second\": %.0f}\n", info.name,
           verso_is_simulated() ? 0 : copy_speed(backend, device));
    climb(backend, device);
    backend->close(&device);
    return 0;
}
