/* The decode ladder on a GPU, one JSON object a line: first the device and the
 * bandwidth of its copies, then every rung on every shape of the table in
 * chapter 20. All rungs read the same keys, scattered over one pool in blocks
 * of 16 that no two sequences share; steps go round a ring of batches whose
 * bytes together exceed what a cache can hold. Times are the median round's.
 * `bytes` is what a step must read: each visible key and value once. */
#include "common/memory.h"
#include "common/rng.h"
#include "cuda/cuda.h"
#include "verso.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 64, H = 32, D = 128, B = 16, RUNGS = 8, ROUNDS = 9, MOST_RING = 64 };
enum { RING_BYTES = 1 << 30, PATTERN = 1 << 24, COPY_BYTES = 1 << 30 };

typedef struct scene {
    const fo_backend *backend;
    fo_device *device;
    int length, ring; /* keys of a sequence, batches in the ring */
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

static void lay_tables(scene *s)
{
    int blocks = s->length / B;
    int32_t *order = shuffled(s->kv.num_blocks), row[N], length[N];
    int32_t *table =
        uploaded(s, order, (size_t)s->kv.num_blocks * sizeof *order);
    for (int n = 0; n < N; n++) {
        row[n] = n;
        length[n] = s->length;
    }
    int32_t *rows = uploaded(s, row, sizeof row);
    for (int i = 0; i < s->ring; i++)
        s->tables[i] =
            (fo_block_tables){table + (int64_t)i * N * blocks, blocks, rows};
    s->attention = (fo_attention){.N = N,
                                  .T = N,
                                  .H = H,
                                  .q_stride = H * D,
                                  .scale = 0.088f,
                                  .max_length = s->length,
                                  .length = uploaded(s, length, sizeof length)};
    fo_memory_free(order);
}

static size_t step_bytes(fo_dtype dtype, int K, int length)
{
    return 2 * fo_dtype_bytes(dtype, (int64_t)N * length * K * D);
}

static scene open_scene(const fo_backend *backend, fo_device *device,
                        fo_dtype dtype, int K, int length)
{
    static float query[N * H * D];
    scene s = {.backend = backend, .device = device, .length = length};
    size_t bytes = step_bytes(dtype, K, length);
    s.ring = (int)(RING_BYTES / bytes) + 2;
    s.kv = (fo_kv){NULL, NULL, dtype, s.ring * N * length / B, K, B, D};
    s.kv.k = pool(&s, dtype, (size_t)s.ring * bytes / 2);
    s.kv.v = pool(&s, dtype, (size_t)s.ring * bytes / 2);
    lay_tables(&s);
    for (int i = 0; i < N * H * D; i++)
        query[i] = 4 * fo_rng_uniform(20, 7, (uint64_t)i) - 2;
    s.q = uploaded(&s, query, sizeof query);
    s.out = room(&s, sizeof query);
    fo_workload workload = {.max_tokens = N,
                            .max_sequences = N,
                            .max_length = length,
                            .H = H,
                            .K = K,
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

static void measure(const fo_backend *backend, fo_device *device,
                    fo_dtype dtype, int K, int length)
{
    scene s = open_scene(backend, device, dtype, K, length);
    for (int rung = 1; rung <= RUNGS; rung++) {
        ((fo_cuda_settings *)device)->decode_rung = rung;
        double time = median_turn(&s);
        if (time < 0)
            continue;
        printf("{\"dtype\": \"%s\", \"kv_heads\": %d, \"context\": %d, "
               "\"rung\": %d, \"seconds\": %.9f, \"bytes\": %zu}\n",
               fo_dtype_info_get(dtype)->name, K, length, rung, time,
               step_bytes(dtype, K, length));
        fflush(stdout);
    }
    close_scene(&s);
}

int main(void)
{
    static const fo_dtype dtypes[] = {FO_F32, FO_F16};
    const fo_backend *backend = verso_backend();
    if (!backend || verso_is_simulated()) {
        fprintf(stderr, "bench_cuda_decode: FOLIO_DEVICE=cuda, in a build with "
                        "WITH_CUDA=1, on a machine with a GPU\n");
        return 2;
    }
    fo_error error = {0};
    fo_device *device;
    need(backend->open(NULL, &device, &error), &error);
    fo_device_info info;
    backend->info(device, &info);
    printf("{\"device\": \"%s\", \"copy_bytes_per_second\": %.0f}\n", info.name,
           copy_speed(backend, device));
    for (int t = 0; t < 2; t++)
        for (int K = H; K >= H / 8; K /= 8)
            for (int length = 1024; length <= 4096; length *= 4)
                measure(backend, device, dtypes[t], K, length);
    backend->close(&device);
    return 0;
}
