/* The calls of a pool, one JSON object a line: the device and the machine, then
 * every call of the table in chapter 22. On the simulated GPU: the requests of
 * warps to memory and the bytes they move. On a GPU and on the CPU: the
 * microseconds of a call, the best of many. */
#include "cpu/cpu.h"
#include "verso.h"

#ifndef FO_NO_SIM
#include "sim/simt.h"
#include "sim/traffic.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { B = 16, BLOCKS = 8192, ROWS = 256, ROW_BLOCKS = 2048, TIMES = 30 };

typedef struct pool {
    const fo_backend *op;
    fo_device *device;
    fo_pool *pool;
    char *there; /* what is asked, then the grants */
} pool;

static void need(fo_status status, const fo_error *error)
{
    if (status == FO_OK)
        return;
    fprintf(stderr, "bench_cuda_pool: %s\n", error->message);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Send what is asked, so that the call itself can be measured alone. */
static void send(pool *p, const void *asked, size_t bytes)
{
    fo_error error;
    need(p->op->upload(p->device, p->there, asked, bytes, &error), &error);
    need(p->op->sync(p->device, &error), &error);
}

static void extend(pool *p, int n)
{
    fo_error error;
    void *grants = p->there + ROWS * sizeof(fo_pool_keep);
    need(p->op->pool_extend(p->device, p->pool, (void *)p->there, grants, n,
                            &error),
         &error);
}

static void release(pool *p, int n)
{
    fo_error error;
    need(p->op->pool_release(p->device, p->pool, (void *)p->there, n, &error),
         &error);
}

/* Make rows 0 to n - 1 as long as `tokens`; then all of them empty. */
static void grow(pool *p, int n, int tokens)
{
    fo_pool_request asked[ROWS];
    for (int i = 0; i < n; i++)
        asked[i] = (fo_pool_request){i, tokens, tokens};
    send(p, asked, sizeof asked);
    extend(p, n);
}

static void empty(pool *p)
{
    fo_pool_keep asked[ROWS] = {{0}};
    for (int i = 0; i < ROWS; i++)
        asked[i].row = i;
    send(p, asked, sizeof asked);
    release(p, ROWS);
}

/* The calls. Each first brings the pool into its state and sends what will be
 * asked; what it returns is the number of requests, or of keeps if negative. */
static int decode(pool *p)
{
    grow(p, ROWS, B);
    fo_pool_request asked[ROWS];
    for (int i = 0; i < ROWS; i++)
        asked[i] = (fo_pool_request){i, B + 1, B + 1};
    send(p, asked, sizeof asked);
    return ROWS;
}

static int nothing(pool *p)
{
    decode(p);
    extend(p, ROWS);
    return decode(p);
}

/* All but 100 blocks go to a row that is not asked for. */
static int shortage(pool *p)
{
    int rest = BLOCKS - 100, row = 0;
    fo_pool_request asked[ROWS];
    for (; rest > 0; rest -= ROW_BLOCKS, row++) {
        int blocks = rest < ROW_BLOCKS ? rest : ROW_BLOCKS;
        asked[row] = (fo_pool_request){ROWS - 1 - row, blocks * B, blocks * B};
    }
    send(p, asked, sizeof asked);
    extend(p, row);
    for (int i = 0; i < ROWS - row; i++)
        asked[i] = (fo_pool_request){i, 1, 1};
    send(p, asked, sizeof asked);
    return ROWS - row;
}

static int twice(pool *p)
{
    fo_pool_request asked[ROWS];
    for (int i = 0; i < ROWS; i++) {
        int tokens = (1 + (i >= ROWS / 2)) * B;
        asked[i] = (fo_pool_request){i % (ROWS / 2), tokens, tokens};
    }
    send(p, asked, sizeof asked);
    return ROWS;
}

static int one_row(pool *p)
{
    fo_pool_request asked[ROWS];
    for (int i = 0; i < ROWS; i++)
        asked[i] = (fo_pool_request){0, (i + 1) * B, (i + 1) * B};
    send(p, asked, sizeof asked);
    return ROWS;
}

static int prompt(pool *p)
{
    fo_pool_request asked = {0, 1024 * B, 1024 * B};
    send(p, &asked, sizeof asked);
    return 1;
}

static int give_back(pool *p)
{
    grow(p, ROWS, 4 * B);
    fo_pool_keep asked[ROWS] = {{0}};
    for (int i = 0; i < ROWS; i++)
        asked[i].row = i;
    send(p, asked, sizeof asked);
    return -ROWS;
}

static int give_back_shared(pool *p)
{
    fo_error error;
    fo_pool_fork forks[7];
    fo_pool_keep asked[8] = {{0}};
    grow(p, 1, 64 * B);
    for (int i = 0; i < 7; i++)
        forks[i] = (fo_pool_fork){0, i + 1, 64 * B};
    send(p, forks, sizeof forks);
    need(p->op->pool_share(p->device, p->pool, (void *)p->there, 7, &error),
         &error);
    for (int i = 0; i < 8; i++)
        asked[i].row = i;
    send(p, asked, sizeof asked);
    return -8;
}

static const struct {
    const char *name;
    int (*prepare)(pool *);
} calls[] = {
    {"256 rows, none needs a block", nothing},
    {"256 rows take a block each", decode},
    {"252 rows want a block each, 100 are free", shortage},
    {"128 rows, each comes twice", twice},
    {"one row comes 256 times", one_row},
    {"one row takes 1,024 blocks", prompt},
    {"256 rows give back 4 blocks each", give_back},
    {"8 rows give back 64 blocks they share", give_back_shared},
};

static void make(pool *p, int n)
{
    if (n > 0)
        extend(p, n);
    else
        release(p, -n);
}

static double time_of(pool *p, int (*prepare)(pool *))
{
    fo_error error;
    double best = 1e9;
    for (int i = 0; i < TIMES; i++) {
        int n = prepare(p);
        need(p->op->sync(p->device, &error), &error);
        double begin = seconds();
        make(p, n);
        need(p->op->sync(p->device, &error), &error);
        double took = seconds() - begin;
        best = took < best ? took : best;
        empty(p);
    }
    return best;
}

#ifndef FO_NO_SIM
static void count(bool on)
{
    sim_settings settings = sim_settings_get();
    settings.traffic = on;
    sim_settings_set(settings);
}

static void print_traffic(pool *p, int (*prepare)(pool *), const char *name)
{
    uint64_t requests = 0, moved = 0, shared = 0;
    int n = prepare(p);
    sim_traffic_clear();
    count(true);
    make(p, n);
    count(false);
    for (int i = 0; i < sim_traffic_line_count(); i++) {
        const sim_traffic_line *line = sim_traffic_line_get(i);
        if (line->shared)
            shared += line->moved;
        else
            requests += line->requests, moved += line->moved;
    }
    empty(p);
    printf("{\"call\": \"%s\", \"requests\": %llu, \"moved\": %llu, "
           "\"wavefronts\": %llu}\n",
           name, (unsigned long long)requests, (unsigned long long)moved,
           (unsigned long long)shared);
}
#endif

static void measure(const fo_backend *backend, bool simulated)
{
    fo_pool_shape shape = {BLOCKS, B, ROWS, ROW_BLOCKS};
    fo_device_info info;
    fo_error error;
    void *there;
    pool p = {.op = backend};
    need(backend->open(NULL, &p.device, &error), &error);
    need(backend->pool_open(p.device, &shape, &p.pool, &error), &error);
    need(backend->alloc(p.device, ROWS * 64, &there, &error), &error);
    p.there = there;
    backend->info(p.device, &info);
    printf("{\"device\": \"%s\", \"name\": \"%s\"}\n", backend->name,
           info.name);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
#ifndef FO_NO_SIM
        if (simulated) {
            print_traffic(&p, calls[i].prepare, calls[i].name);
            continue;
        }
#endif
        printf("{\"call\": \"%s\", \"microseconds\": %.2f}\n", calls[i].name,
               1e6 * time_of(&p, calls[i].prepare));
    }
    backend->free(p.device, there);
    backend->pool_close(p.device, &p.pool);
    backend->close(&p.device);
    (void)simulated;
}

int main(void)
{
    measure(&fo_backend_cpu, false);
    if (verso_backend())
        measure(verso_backend(), verso_is_simulated());
    return 0;
}
