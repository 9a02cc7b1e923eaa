#include "planted_kernels.h"

#include "cuda/instructions.cuh"
#include "cuda/kernel.cuh"

using namespace FO_SIDE;

/* Lay out the shared memory of the planted kernels. */
enum { THREADS = 64, BLOCK = 64, N = 8 * BLOCK };

struct plot {
    float x[THREADS];
};

struct narrow {
    float q[64];
};

struct halves {
    __half x[THREADS];
};

/* Plant a missing __syncthreads. */
__global__ void missing_syncthreads(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    shared.x[t] = 0;
    __syncthreads();
    if (t == 40)
        shared.x[40] = 1; /* PLANTED missing_syncthreads, other */
    if (!wrong || blockIdx.x != 2)
        __syncthreads();
    if (t == 3)
        out[blockIdx.x] = shared.x[40]; /* PLANTED missing_syncthreads */
}

/* Plant a missing __syncwarp. */
__global__ void missing_syncwarp(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    shared.x[t] = 0;
    __syncthreads();
    if (t == 38)
        shared.x[38] = 1;           /* PLANTED missing_syncwarp, other */
    float sum = warp_sum((float)t); /* a meeting, but no barrier */
    if (!wrong || blockIdx.x != 1 || t / WARP != 1)
        __syncwarp();
    if (t == 37)
        out[blockIdx.x] = sum + shared.x[38]; /* PLANTED missing_syncwarp */
}

/* Plant a missing barrier at the end of a loop. */
__global__ void missing_second_barrier(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    float sum = 0;
    for (int turn = 0; turn < 2; turn++) {
        if (t == 0)
            shared.x[0] = 1; /* PLANTED missing_second_barrier, other */
        __syncthreads();
        if (t == 63)
            sum += shared.x[0]; /* PLANTED missing_second_barrier */
        if (!wrong || blockIdx.x != 3)
            __syncthreads();
    }
    if (t == 63)
        out[blockIdx.x] = sum;
}

/* Plant a missing wait for a copy. */
__global__ void missing_wait(float *out, const float *in, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    if (t == 7)
        copy_async_16(shared.x, in); /* PLANTED missing_wait, other */
    copy_async_commit();
    if (!wrong || blockIdx.x != 1)
        copy_async_wait<0>();
    if (t == 7)
        out[blockIdx.x] = shared.x[1]; /* PLANTED missing_wait */
    copy_async_wait<0>();
}

__global__ void barrier_after_wait(float *out, const float *in, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    if (t < 16)
        shared.x[t] = 0;
    __syncthreads();
    if (t == 7)
        copy_async_16(shared.x, in); /* PLANTED barrier_after_wait, other */
    copy_async_commit();
    copy_async_wait<0>();
    if (!wrong || blockIdx.x != 1)
        __syncthreads();
    if (t == 50)
        out[blockIdx.x] = shared.x[1]; /* PLANTED barrier_after_wait */
}

/* Plant barriers that not all threads reach. */
__global__ void divergent_barrier(float *out, int wrong)
{
    int t = (int)threadIdx.x;
    if (wrong && blockIdx.x == 1 && t >= 32)
        __syncthreads(); /* PLANTED divergent_barrier, other */
    else
        __syncthreads(); /* PLANTED divergent_barrier */
    if (t == 0)
        out[blockIdx.x] = 0;
}

__global__ void early_exit(float *out, int wrong)
{
    int t = (int)threadIdx.x;
    if (wrong && blockIdx.x == 2 && t == 9)
        return;
    __syncthreads(); /* PLANTED early_exit */
    if (t == 0)
        out[blockIdx.x] = 0;
}

/* Plant addresses outside of memory. */
__global__ void bad_table_entry(float *out, const float *pool, const int *table,
                                int wrong)
{
    int t = (int)threadIdx.x;
    int entry = table[blockIdx.x] + (wrong && blockIdx.x == 3 && t == 5);
    float key = pool[entry * BLOCK + t]; /* PLANTED bad_table_entry */
    out[blockIdx.x * THREADS + t] = key;
}

__global__ void one_too_many(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    float sum = 0;
    shared.x[t] = 1;
    __syncthreads();
    if (t == 61) {
        int last = wrong && blockIdx.x == 1 ? THREADS : THREADS - 1;
        for (int i = 0; i <= last; i++)
            sum += shared.x[i]; /* PLANTED one_too_many */
        out[blockIdx.x] = sum;
    }
}

__global__ void wide_head(float *out, const float *in, int wrong)
{
    auto &shared = shared_memory<narrow>();
    int t = (int)threadIdx.x, D = wrong && blockIdx.x == 0 ? 96 : 64;
    for (int d = t; d < D; d += THREADS)
        shared.q[d] = in[d]; /* PLANTED wide_head */
    __syncthreads();
    if (t == 0)
        out[blockIdx.x] = shared.q[63];
}

__global__ void host_pointer(float *out, const float *in, const float *host,
                             int wrong)
{
    int t = (int)threadIdx.x;
    const float *from = wrong && blockIdx.x == 2 && t == 60 ? host : in;
    out[blockIdx.x * THREADS + t] = *from; /* PLANTED host_pointer */
}

__global__ void misaligned(float *out, const float *in, int wrong)
{
    int t = (int)threadIdx.x, off = wrong && blockIdx.x == 1 && t == 4;
    uint4 four = load_16(in + 4 * (t % 8) + off); /* PLANTED misaligned */
    out[blockIdx.x * THREADS + t] = __int_as_float((int)four.x);
}

__global__ void after_free(float *out, const float *in)
{
    int t = (int)threadIdx.x;
    if (blockIdx.x == 1 && t == 2)
        out[t] = in[t]; /* PLANTED after_free */
}

/* Plant reads of what was never written. */
__global__ void unwritten_shared(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    if (!wrong || blockIdx.x != 1 || t != 20)
        shared.x[t] = 1;
    __syncthreads();
    if (t == 11)
        out[blockIdx.x] = shared.x[20]; /* PLANTED unwritten_shared */
}

__global__ void unwritten_device(float *out, const float *fresh, int wrong)
{
    int t = (int)threadIdx.x;
    if (wrong && blockIdx.x == 3 && t == 12)
        out[t] = fresh[t]; /* PLANTED unwritten_device */
}

/* Plant races between blocks. */
__global__ void two_blocks_write(float *out, int wrong)
{
    int t = (int)threadIdx.x, row = (int)blockIdx.x;
    if (wrong && row == 3)
        row = 1;
    if (t == 8)
        out[row] = (float)t; /* PLANTED two_blocks_write */
}

__global__ void block_reads_block(float *out, float *state, int wrong)
{
    int t = (int)threadIdx.x;
    if (blockIdx.x == 0 && t == 1)
        state[0] = 1; /* PLANTED block_reads_block, other */
    int cell = wrong ? 0 : 1;
    if (blockIdx.x == 2 && t == 6)
        out[0] = state[cell]; /* PLANTED block_reads_block */
}

__global__ void plain_among_atomics(int *count, int wrong)
{
    bool plain = wrong && blockIdx.x == 1;
    if (threadIdx.x == 0 && blockIdx.x < 2) {
        if (plain)
            count[0] = 1; /* PLANTED plain_among_atomics */
        else
            atomicAdd(&count[0], 1); /* PLANTED plain_among_atomics, other */
    }
}

/* Plant bugs in the corners of the race checker. */
__global__ void same_half(float *out, int wrong)
{
    auto &shared = shared_memory<halves>();
    int t = (int)threadIdx.x;
    int at = wrong && blockIdx.x == 1 && t == 41 ? 40 : t;
    shared.x[at] = __float2half(1); /* PLANTED same_half */
    __syncthreads();
    if (t == 0)
        out[blockIdx.x] = __half2float(shared.x[3]);
}

__global__ void other_half(float *out, int wrong)
{
    auto &shared = shared_memory<halves>();
    int t = (int)threadIdx.x;
    shared.x[t] = __float2half(1);
    __syncthreads();
    if (t == 3) {
        __half six = shared.x[6]; /* PLANTED other_half */
        out[2 * blockIdx.x] = __half2float(six);
    }
    if (t == 40) {
        out[2 * blockIdx.x + 1] = __half2float(shared.x[7]);
        int at = wrong && blockIdx.x == 1 ? 6 : 7;
        shared.x[at] = __float2half(2); /* PLANTED other_half, other */
    }
}

__global__ void many_readers(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    shared.x[t] = 1;
    __syncthreads();
    if (t == 5 || t == 34)
        out[2 * blockIdx.x + t / WARP] = shared.x[9]; /* PLANTED many_readers */
    if (!wrong || blockIdx.x != 1)
        __syncthreads();
    if (t == 34)
        shared.x[9] = 2; /* PLANTED many_readers, other */
}

__global__ void reader_between(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    shared.x[t] = 1;
    __syncthreads();
    float sum = t == 4 ? shared.x[9] : 0;
    sum = warp_sum(sum);
    if (t == 6)
        sum += shared.x[9]; /* PLANTED reader_between */
    sum = warp_sum(sum);
    if (t == 4)
        sum += shared.x[9];
    if (!wrong || blockIdx.x != 1)
        __syncwarp();
    if (t == 4)
        shared.x[9] = 2; /* PLANTED reader_between, other */
    if (t == 4)
        out[blockIdx.x] = sum;
}

__global__ void foreign_warp_barrier(float *out, int wrong)
{
    auto &shared = shared_memory<plot>();
    int t = (int)threadIdx.x;
    shared.x[t] = 0;
    __syncthreads();
    if (t == 1)
        shared.x[1] = 1; /* PLANTED foreign_warp_barrier, other */
    if (!wrong || blockIdx.x != 2)
        __syncthreads();
    else
        __syncwarp();
    if (t == 33)
        out[blockIdx.x] = shared.x[1]; /* PLANTED foreign_warp_barrier */
}

__global__ void forgotten_reader(float *out, float *state, int wrong)
{
    int t = (int)threadIdx.x, b = (int)blockIdx.x;
    if (t == 0 && b < 3)
        out[b] = state[0]; /* PLANTED forgotten_reader */
    if (t == 0 && b == 3)
        state[wrong ? 0 : 1] = 2; /* PLANTED forgotten_reader, other */
}

/* Transpose a tile in three ways. */
enum { TILE = 32 };

template <int COLUMNS> struct tile {
    float x[TILE][COLUMNS];
};

__global__ void transpose_directly(float *out, const float *in)
{
    int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
    float value = in[y * TILE + x]; /* PLANTED directly, read */
    out[x * TILE + y] = value;      /* PLANTED directly, write */
}

template <int COLUMNS>
__global__ void transpose_shared(float *out, const float *in)
{
    auto &shared = shared_memory<tile<COLUMNS>>();
    int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
    shared.x[y][x] = in[y * TILE + x]; /* PLANTED shared, store */
    __syncthreads();
    float value = shared.x[x][y]; /* PLANTED shared, load */
    out[y * TILE + x] = value;    /* PLANTED shared, write */
}

/* Launch the planted kernels. */
/* Prepare memory for the planted kernels. */
struct memory {
    float *out;   /* (N), never read     */
    float *in;    /* (N), ones           */
    float *fresh; /* (N), never written  */
    int *table;   /* (4): 1, 3, 5, 7     */
};

static void prepare(memory *m)
{
    float ones[N];
    const int table[4] = {1, 3, 5, 7};
    for (float &x : ones)
        x = 1;
    cudaMalloc((void **)&m->out, sizeof ones);
    cudaMalloc((void **)&m->in, sizeof ones);
    cudaMalloc((void **)&m->fresh, sizeof ones);
    cudaMalloc((void **)&m->table, sizeof table);
    cudaMemcpyAsync(m->in, ones, sizeof ones, cudaMemcpyHostToDevice, 0);
    cudaMemcpyAsync(m->table, table, sizeof table, cudaMemcpyHostToDevice, 0);
}

static void release(memory *m)
{
    cudaDeviceSynchronize();
    cudaGetLastError();
    cudaFree(m->out);
    cudaFree(m->in);
    cudaFree(m->fresh);
    cudaFree(m->table);
}

extern "C" {
/* List the planted kernels. */
#define SHARED(type, kernel, ...)                                              \
    [](bool wrong) {                                                           \
        memory m;                                                              \
        prepare(&m);                                                           \
        FO_LAUNCH(kernel, 4, THREADS, sizeof(type), 0, m.out, ##__VA_ARGS__,   \
                  (int)wrong);                                                 \
        release(&m);                                                           \
    }

static float on_the_host[4];

const planted_kernel planted_kernels[] = {
    {"missing_syncthreads", SIM_RACE, 2, 3, 2, 40,
     SHARED(plot, missing_syncthreads)},
    {"missing_syncwarp", SIM_RACE, 1, 37, 1, 38,
     SHARED(plot, missing_syncwarp)},
    {"missing_second_barrier", SIM_RACE, 3, 63, 3, 0,
     SHARED(plot, missing_second_barrier)},
    {"missing_wait", SIM_IN_FLIGHT, 1, 7, 1, 7,
     SHARED(plot, missing_wait, m.in)},
    {"barrier_after_wait", SIM_RACE, 1, 50, 1, 7,
     SHARED(plot, barrier_after_wait, m.in)},
    {"divergent_barrier", SIM_BARRIER, 1, -1, 1, -1,
     SHARED(plot, divergent_barrier)},
    {"early_exit", SIM_BARRIER, 2, -1, 0, 0, SHARED(plot, early_exit)},
    /* List the planted addresses. */
    {"bad_table_entry", SIM_OUT_OF_BOUNDS, 3, 5, 0, 0,
     SHARED(plot, bad_table_entry, m.in, m.table)},
    {"one_too_many", SIM_OUT_OF_BOUNDS, 1, 61, 0, 0,
     SHARED(plot, one_too_many)},
    {"wide_head", SIM_OUT_OF_BOUNDS, 0, -1, 0, 0,
     SHARED(narrow, wide_head, m.in)},
    {"host_pointer", SIM_HOST_POINTER, 2, 60, 0, 0,
     SHARED(plot, host_pointer, m.in, on_the_host)},
    {"misaligned", SIM_MISALIGNED, 1, 4, 0, 0, SHARED(plot, misaligned, m.in)},
    {"after_free", SIM_USE_AFTER_FREE, 1, 2, 0, 0,
     [](bool wrong) {
         memory m;
         prepare(&m);
         float *gone = m.fresh;
         if (wrong)
             cudaFree(gone);
         FO_LAUNCH(after_free, 4, THREADS, 0, 0, m.out, wrong ? gone : m.in);
         if (wrong)
             m.fresh = nullptr;
         release(&m);
     }},
    {"unwritten_shared", SIM_UNINITIALISED, 1, 11, 0, 0,
     SHARED(plot, unwritten_shared)},
    {"unwritten_device", SIM_UNINITIALISED, 3, 12, 0, 0,
     SHARED(plot, unwritten_device, m.fresh)},
    /* List the planted races between blocks. */
    {"two_blocks_write", SIM_RACE, -1, 8, -1, 8,
     SHARED(plot, two_blocks_write)},
    {"block_reads_block", SIM_RACE, 2, 6, 0, 1,
     SHARED(plot, block_reads_block, m.in)},
    {"plain_among_atomics", SIM_RACE, 1, 0, 0, 0,
     [](bool wrong) {
         memory m;
         prepare(&m);
         FO_LAUNCH(plain_among_atomics, 4, THREADS, 0, 0, m.table, (int)wrong);
         release(&m);
     }},
    {"same_half", SIM_RACE, 1, -1, 1, -1, SHARED(halves, same_half)},
    {"other_half", SIM_RACE, 1, 3, 1, 40, SHARED(halves, other_half)},
    {"many_readers", SIM_RACE, 1, 5, 1, 34, SHARED(plot, many_readers)},
    {"reader_between", SIM_RACE, 1, 6, 1, 4, SHARED(plot, reader_between)},
    {"foreign_warp_barrier", SIM_RACE, 2, 33, 2, 1,
     SHARED(plot, foreign_warp_barrier)},
    {"forgotten_reader", SIM_RACE, -1, 0, 3, 0,
     SHARED(plot, forgotten_reader, m.in)},
};

const int planted_kernel_count =
    sizeof planted_kernels / sizeof *planted_kernels;

/* Leak. */
void planted_leak(void)
{
    void *lost;
    cudaMalloc(&lost, 400);
}

/* Transpose. */
bool planted_transpose(int way)
{
    static float there[TILE * TILE], back[TILE * TILE];
    float *in, *out;
    bool right = true;
    for (int i = 0; i < TILE * TILE; i++)
        there[i] = (float)i;
    cudaMalloc((void **)&in, sizeof there);
    cudaMalloc((void **)&out, sizeof there);
    cudaMemcpyAsync(in, there, sizeof there, cudaMemcpyHostToDevice, 0);
    if (way == 1)
        FO_LAUNCH(transpose_directly, 1, TILE * TILE, 0, 0, out, in);
    else if (way == 2)
        FO_LAUNCH(transpose_shared<TILE>, 1, TILE * TILE, sizeof(tile<TILE>), 0,
                  out, in);
    else
        FO_LAUNCH(transpose_shared<TILE + 1>, 1, TILE * TILE,
                  sizeof(tile<TILE + 1>), 0, out, in);
    cudaMemcpyAsync(back, out, sizeof back, cudaMemcpyDeviceToHost, 0);
    cudaDeviceSynchronize();
    for (int i = 0; i < TILE * TILE; i++)
        right = right && back[i] == there[i % TILE * TILE + i / TILE];
    cudaFree(in);
    cudaFree(out);
    return right;
}
}
