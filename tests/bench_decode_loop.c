/* What a token costs in the three ways of drawing it, one JSON object a line:
 * single steps, a loop that launches every kernel, and a loop that launches a
 * graph.
 *
 *     bench_decode_loop MODEL.gguf [TOKENS]
 *
 * Counts what the host is asked for each token; on the simulated GPU the
 * kernels too; elsewhere the microseconds a token takes, the best of several
 * runs. */
#include "cpu/cpu.h"
#include "engine/session.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/simt.h"
#include "sim/traffic.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROMPT = 16, MOST = 1024 };

typedef enum way { SINGLE_STEPS, LOOP, GRAPH } way;

static const char *const names[] = {"single steps", "loop", "loop, a graph"};

static void need(fo_status status, const fo_error *error)
{
    if (status == FO_OK)
        return;
    fprintf(stderr, "bench_decode_loop: %s\n", error->message);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The table of the backend, with a count in each slot that moves data. */
static const fo_backend *real;
static fo_backend counting;
static int uploads, downloads, graphs;

static fo_status count_upload(fo_device *device, void *to, const void *from,
                              size_t bytes, fo_error *error)
{
    uploads++;
    return real->upload(device, to, from, bytes, error);
}

static fo_status count_download(fo_device *device, void *to, const void *from,
                                size_t bytes, fo_error *error)
{
    downloads++;
    return real->download(device, to, from, bytes, error);
}

static fo_status count_launch(fo_device *device, void *graph, fo_error *error)
{
    graphs++;
    return real->graph_launch(device, graph, error);
}

static fo_device *open_by(const fo_backend *backend, way way)
{
    fo_device *device;
    fo_error error;
    real = backend;
    counting = *backend;
    counting.upload = count_upload;
    counting.download = count_download;
    counting.graph_launch = count_launch;
    if (way != GRAPH)
        counting.graph_begin = NULL;
    need(backend->open(NULL, &device, &error), &error);
    device->backend = &counting;
    return device;
}

static void draw(fo_session *s, way way, int n)
{
    int32_t tokens[MOST];
    fo_sampling greedy = {0};
    fo_error error;
    int count;
    if (way != SINGLE_STEPS) {
        need(fo_session_generate(s, &greedy, n, false, tokens, &count, &error),
             &error);
        return;
    }
    for (int i = 0; i < n; i++)
        need(fo_session_decode(s, &greedy, &tokens[i], &error), &error);
}

/* Begin with a prompt and the first token, and the graph recorded. */
static fo_session *begin(fo_device *device, const char *path, way way)
{
    int32_t prompt[PROMPT];
    fo_session *s;
    fo_error error;
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = i + 3;
    need(fo_session_load(device, path, NULL, &s, &error), &error);
    need(fo_session_prefill(s, prompt, PROMPT, NULL, &error), &error);
    draw(s, way, 3);
    uploads = downloads = graphs = 0;
    return s;
}

static uint64_t kernels(void)
{
    uint64_t launches = 0;
#ifndef FO_NO_SIM
    for (int i = 0; i < sim_traffic_kernel_count(); i++)
        launches += sim_traffic_kernel_get(i)->launches;
#endif
    return launches;
}

static void watch(bool on)
{
#ifndef FO_NO_SIM
    sim_settings settings = sim_settings_get();
    settings.traffic = on;
    settings.checks = false;
    sim_settings_set(settings);
    sim_traffic_clear();
#else
    (void)on;
#endif
}

static void measure(const fo_backend *backend, const char *path, int n,
                    bool simulated)
{
    fo_device_info info;
    for (way way = SINGLE_STEPS; way <= GRAPH; way++) {
        double best = 1e9;
        if (way == GRAPH && !backend->graph_begin)
            continue;
        fo_device *device = open_by(backend, way);
        backend->info(device, &info);
        for (int round = 0; round < (simulated ? 1 : 5); round++) {
            fo_session *s = begin(device, path, way);
            watch(simulated);
            double start = seconds();
            draw(s, way, n);
            double took = seconds() - start;
            best = took < best ? took : best;
            fo_session_unload(&s);
        }
        printf("{\"device\": \"%s\", \"name\": \"%s\", \"way\": \"%s\", "
               "\"tokens\": %d, \"uploads\": %d, \"downloads\": %d, "
               "\"graphs\": %d, \"kernels\": %llu, \"microseconds\": %.1f}\n",
               backend->name, info.name, names[way], n, uploads, downloads,
               graphs, (unsigned long long)kernels(), 1e6 * best / n);
        fflush(stdout);
        watch(false);
        backend->close(&device);
    }
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 128;
    if (argc < 2 || n < 1 || n > MOST) {
        fprintf(stderr, "bench_decode_loop MODEL.gguf [TOKENS]\n");
        return 2;
    }
    measure(&fo_backend_cpu, argv[1], n, false);
    if (verso_backend())
        measure(verso_backend(), argv[1], verso_is_simulated() ? 8 : n,
                verso_is_simulated());
    return 0;
}
