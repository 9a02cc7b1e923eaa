/* The ladder of prefill, one JSON object a line. On a GPU: the device, then the
 * time of every rung for prompts of 512 to 4096 tokens; whole, as a last chunk
 * of 512 over a cached prefix, and over one room a sequence. `pairs` counts the
 * queries and keys that see each other, in all heads. In the simulator: what
 * every rung moves between memory and chip for one small prompt, and its
 * wavefronts of shared memory. */
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
#include <time.h>

enum { D = 128, B = 16, RUNGS = 3, ROUNDS = 9, MOST_N = 16 };
enum { TOKENS = 8192, CHUNK = 512, PATTERN = 1 << 20 };

/* N sequences of `length` tokens, the last `queries` of them to be worked on;
 * `room`: one block a sequence, and no table. */
typedef struct shape {
    const char *name;
    int N, length, queries, H, K;
    int room;
} shape;

typedef struct scene {
    fo_device *device;
    shape shape;
    fo_kv kv;
    fo_block_tables tables;
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
    fprintf(stderr, "bench_cuda_prefill: %s\n", error->message);
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
    need(s->device->backend->alloc(s->device, bytes, &data, &error), &error);
    return s->owned[s->owns++] = data;
}

static void upload(scene *s, void *to, const void *host, size_t bytes)
{
    fo_error error = {0};
    need(s->device->backend->upload(s->device, to, host, bytes, &error),
         &error);
}

static void *uploaded(scene *s, const void *host, size_t bytes)
{
    void *data = room(s, bytes);
    upload(s, data, host, bytes);
    return data;
}

/* Numbers between -1 and 1: one pattern of them, over and over. */
static void *numbers(scene *s, fo_dtype dtype, int64_t n)
{
    float *x = fo_memory_alloc(PATTERN, sizeof *x, NULL);
    char *stored = fo_memory_alloc(PATTERN, sizeof *x, NULL);
    for (int64_t i = 0; i < PATTERN; i++)
        x[i] = 2 * fo_rng_uniform(21, (uint64_t)s->owns, (uint64_t)i) - 1;
    fo_dtype_store(dtype, x, stored, PATTERN);
    char *data = room(s, fo_dtype_bytes(dtype, n));
    for (int64_t at = 0; at < n; at += PATTERN)
        upload(s, data + fo_dtype_bytes(dtype, at), stored,
               fo_dtype_bytes(dtype, n - at < PATTERN ? n - at : PATTERN));
    fo_memory_free(x);
    fo_memory_free(stored);
    return data;
}

static void lay_table(scene *s)
{
    int blocks = s->kv.num_blocks;
    int32_t *order = fo_memory_alloc((size_t)blocks, sizeof *order, NULL);
    int32_t row[MOST_N], start[MOST_N + 1], length[MOST_N];
    for (int i = 0; i < blocks; i++) {
        int j = (int)(fo_rng_uniform(21, 99, (uint64_t)i) * (float)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    const shape *shape = &s->shape;
    for (int n = 0; n <= shape->N; n++) {
        start[n] = n * shape->queries;
        if (n < shape->N)
            row[n] = n, length[n] = shape->length;
    }
    s->tables = (fo_block_tables){
        uploaded(s, order, (size_t)blocks * sizeof *order), shape->length / B,
        uploaded(s, row, (size_t)shape->N * sizeof *row)};
    s->attention = (fo_attention){
        .N = shape->N,
        .T = start[shape->N],
        .H = shape->H,
        .q_stride = shape->H * D,
        .scale = 0.088f,
        .max_length = shape->length,
        .query_start =
            uploaded(s, start, ((size_t)shape->N + 1) * sizeof *start),
        .length = uploaded(s, length, (size_t)shape->N * sizeof *length)};
    fo_memory_free(order);
}

static scene open_scene(fo_device *device, shape shape)
{
    scene s = {.device = device, .shape = shape};
    int B_here = shape.room ? shape.length : B;
    int64_t values = (int64_t)shape.N * shape.length * shape.K * D;
    s.kv = (fo_kv){numbers(&s, FO_F16, values),
                   numbers(&s, FO_F16, values),
                   FO_F16,
                   shape.N * shape.length / B_here,
                   shape.K,
                   B_here,
                   D};
    lay_table(&s);
    int64_t rows = (int64_t)s.attention.T * shape.H;
    s.q = numbers(&s, FO_F32, rows * D);
    s.out = room(&s, (size_t)(rows * D) * sizeof(float));
    fo_workload workload = {.max_tokens = s.attention.T,
                            .max_sequences = shape.N,
                            .max_length = shape.length,
                            .H = shape.H,
                            .K = shape.K,
                            .D = D};
    s.workspace.bytes = device->backend->workspace_bytes(device, &workload);
    s.workspace.data = room(&s, s.workspace.bytes);
    return s;
}

static void close_scene(scene *s)
{
    while (s->owns > 0)
        s->device->backend->free(s->device, s->owned[--s->owns]);
}

static void run(const scene *s)
{
    const fo_backend *b = s->device->backend;
    fo_error error = {0};
    if (s->shape.room)
        need(b->attention_contiguous(s->device, s->out, s->q, &s->kv,
                                     &s->attention, s->workspace, &error),
             &error);
    else
        need(b->attention_prefill(s->device, s->out, s->q, &s->kv, &s->tables,
                                  &s->attention, s->workspace, &error),
             &error);
}

/* Seconds of one call, over `calls` of them. */
static double turn(const scene *s, int calls)
{
    fo_error error = {0};
    need(s->device->backend->sync(s->device, &error), &error);
    double start = seconds();
    for (int i = 0; i < calls; i++)
        run(s);
    need(s->device->backend->sync(s->device, &error), &error);
    return (seconds() - start) / calls;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_turn(const scene *s)
{
    double times[ROUNDS], first = turn(s, 1);
    first = turn(s, 1);
    int calls = first > 0.02 ? 1 : (int)(0.03 / first) + 1;
    for (int i = 0; i < ROUNDS; i++)
        times[i] = turn(s, calls);
    qsort(times, ROUNDS, sizeof *times, by_size);
    return times[ROUNDS / 2];
}

static void choose(fo_device *device, int rung)
{
    ((fo_cuda_settings *)device)->prefill_rung = rung;
}

static double pairs(const shape *shape)
{
    double seen = 0;
    for (int i = 1; i <= shape->queries; i++)
        seen += shape->length - shape->queries + i;
    return seen * shape->N * shape->H;
}

static void measure_speed(fo_device *device)
{
    fo_device_info info;
    device->backend->info(device, &info);
    printf("{\"device\": \"%s\", \"head_dim\": %d}\n", info.name, D);
    for (int length = 512; length <= 4096; length *= 2) {
        const shape shapes[] = {
            {"whole", TOKENS / length, length, length, 32, 32, 0},
            {"last", TOKENS / CHUNK, length, CHUNK, 32, 32, 0},
            {"room", TOKENS / length, length, length, 32, 32, 1},
        };
        for (int i = 0; i < 3; i++) {
            scene s = open_scene(device, shapes[i]);
            for (int rung = 1; rung <= RUNGS; rung++) {
                choose(device, rung);
                printf("{\"tokens\": %d, \"shape\": \"%s\", \"rung\": %d, "
                       "\"pairs\": %.0f, \"seconds\": %.9f}\n",
                       length, shapes[i].name, rung, pairs(&shapes[i]),
                       median_turn(&s));
                fflush(stdout);
            }
            close_scene(&s);
        }
    }
}

#ifndef FO_NO_SIM
static void measure_traffic(fo_device *device)
{
    const shape shape = {"whole", 1, 256, 256, 4, 2, 0};
    scene s = open_scene(device, shape);
    for (int rung = 1; rung <= RUNGS; rung++) {
        choose(device, rung);
        sim_settings settings = sim_settings_get();
        settings.traffic = true;
        sim_settings_set(settings);
        sim_traffic_clear();
        run(&s);
        settings.traffic = false;
        sim_settings_set(settings);
        uint64_t requests[2] = {0}, needed[2] = {0}, moved[2] = {0};
        for (int i = 0; i < sim_traffic_line_count(); i++) {
            const sim_traffic_line *line = sim_traffic_line_get(i);
            requests[line->shared] += line->requests;
            needed[line->shared] += line->needed;
            moved[line->shared] += line->moved;
        }
        const sim_traffic_kernel *kernel = sim_traffic_kernel_get(0);
        printf("{\"rung\": %d, \"pairs\": %.0f, \"requests\": %llu, "
               "\"needed\": %llu, \"moved\": %llu, \"unique\": %llu, "
               "\"fewest\": %llu, \"wavefronts\": %llu}\n",
               rung, pairs(&shape), (unsigned long long)requests[0],
               (unsigned long long)needed[0], (unsigned long long)moved[0],
               (unsigned long long)(kernel->unique[0] + kernel->unique[1]),
               (unsigned long long)needed[1], (unsigned long long)moved[1]);
    }
    close_scene(&s);
}
#endif

int main(void)
{
    const fo_backend *backend = verso_backend();
    if (!backend) {
        printf("this build has no verso\n");
        return 0;
    }
    fo_error error = {0};
    fo_device *device;
    need(backend->open(NULL, &device, &error), &error);
#ifndef FO_NO_SIM
    if (verso_is_simulated())
        measure_traffic(device);
    else
#endif
        measure_speed(device);
    choose(device, 0);
    backend->close(&device);
    return 0;
}
