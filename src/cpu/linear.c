#include "cpu/cpu.h"
#include "cpu/lanes.h"

#include <cblas.h>
#include <omp.h>

typedef struct product {
    float *out;       /* (T, R) */
    const float *x;   /* (T, C) */
    const char *data; /* (R, C) in `dtype` */
    fo_dtype dtype;
    size_t row_bytes;
    int T, R, C;
} product;

/* Stream weights through dot products. */
enum { ROWS = 4, TOKENS = 4, SPAN = 32 };

/* Compute a small block of outputs. */
LANES_INLINE void block(const product *p, fo_dtype dtype, int r, int t,
                        int tokens)
{
    lanes sum[TOKENS][ROWS] = {0};
    const float *x = p->x + (size_t)t * (size_t)p->C;
    const char *row[ROWS];
    for (int i = 0; i < ROWS; i++)
        row[i] = p->data + (size_t)(r + i < p->R ? r + i : r) * p->row_bytes;
    int whole = p->C - p->C % LANES;
    for (int c = 0; c < whole; c += LANES) {
        /* Multiply one vector of every row with one of every token. */
        lanes w[ROWS];
        for (int i = 0; i < ROWS; i++)
            w[i] = lanes_unpack(dtype, row[i], c);
        for (int j = 0; j < tokens; j++) {
            lanes v = lanes_load(x + (size_t)j * (size_t)p->C + c);
            for (int i = 0; i < ROWS; i++)
                sum[j][i] = lanes_multiply_add(v, w[i], sum[j][i]);
        }
    }
    if (whole < p->C) {
        /* Do the same with what is left of the rows. */
        size_t left = (size_t)(p->C - whole);
        size_t bytes = fo_dtype_bytes(dtype, p->C - whole);
        for (int i = 0; i < ROWS; i++) {
            char end[sizeof(lanes)] = {0};
            memcpy(end, row[i] + fo_dtype_bytes(dtype, whole), bytes);
            lanes w = lanes_unpack(dtype, end, 0);
            for (int j = 0; j < tokens; j++) {
                float v[LANES] = {0};
                memcpy(v, x + (size_t)j * (size_t)p->C + whole,
                       left * sizeof *v);
                sum[j][i] = lanes_multiply_add(lanes_load(v), w, sum[j][i]);
            }
        }
    }
    for (int j = 0; j < tokens; j++)
        for (int i = 0; i < ROWS && r + i < p->R; i++)
            p->out[(size_t)(t + j) * (size_t)p->R + (size_t)(r + i)] =
                lanes_sum(sum[j][i]);
}

/* Pick the block's code by type and number of tokens. */
LANES_INLINE void block_of_tokens(const product *p, fo_dtype dtype, int r,
                                  int t)
{
    switch (p->T - t) {
    case 1:
        return block(p, dtype, r, t, 1);
    case 2:
        return block(p, dtype, r, t, 2);
    case 3:
        return block(p, dtype, r, t, 3);
    default:
        return block(p, dtype, r, t, TOKENS);
    }
}

static void block_of_type(const product *p, int r, int t)
{
    switch (p->dtype) {
    case FO_F16:
        return block_of_tokens(p, FO_F16, r, t);
    case FO_BF16:
        return block_of_tokens(p, FO_BF16, r, t);
    case FO_Q8_0:
        return block_of_tokens(p, FO_Q8_0, r, t);
    case FO_Q4_0:
        return block_of_tokens(p, FO_Q4_0, r, t);
    default:
        return block_of_tokens(p, FO_F32, r, t);
    }
}

static void stream(const product *p)
{
#pragma omp parallel for schedule(dynamic)
    for (int first = 0; first < p->R; first += SPAN)
        for (int r = first; r < first + SPAN && r < p->R; r += ROWS)
            for (int t = 0; t < p->T; t += TOKENS)
                block_of_type(p, r, t);
}

/* Send tiles of weights through sgemm. */
enum { TILE_ROWS = 128 };

static size_t tile_bytes(int C)
{
    return (size_t)TILE_ROWS * (size_t)C * sizeof(float);
}

static void multiply_tile(const product *p, int r, float *tile)
{
    int rows = p->R - r < TILE_ROWS ? p->R - r : TILE_ROWS;
    const char *stored = p->data + (size_t)r * p->row_bytes;
    const float *w = (const float *)(const void *)stored;
    if (p->dtype != FO_F32) {
        fo_dtype_load(p->dtype, stored, tile, (int64_t)rows * p->C);
        w = tile;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->T, rows, p->C, 1,
                p->x, p->C, w, p->C, 0, p->out + r, p->R);
}

static void multiply(const product *p, float *tiles, int threads)
{
    size_t tile_floats = tile_bytes(p->C) / sizeof(float);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int r = 0; r < p->R; r += TILE_ROWS)
        multiply_tile(p, r, tiles + (size_t)omp_get_thread_num() * tile_floats);
}

/* Say how much room the tiles take. */
size_t cpu_linear_workspace(const fo_workload *workload)
{
    if (workload->max_tokens <= cpu_linear_streamed)
        return 0;
    return (size_t)omp_get_max_threads() * tile_bytes(workload->max_columns);
}

/* Choose between streaming and sgemm. */
fo_status cpu_linear(fo_device *device, float *out, const float *x,
                     const fo_weight *weight, int T, fo_workspace workspace,
                     fo_error *error)
{
    (void)device;
    int C = weight->C, unit = fo_dtype_info_get(weight->dtype)->block_values;
    if (weight->dtype > FO_Q4_0 || C % unit != 0)
        return fo_fail(error, FO_ARG, "linear: %d columns of type %s", C,
                       fo_dtype_info_get(weight->dtype)->name);
    product p = {out,
                 x,
                 weight->data,
                 weight->dtype,
                 fo_dtype_bytes(weight->dtype, C),
                 T,
                 weight->R,
                 C};
    if (T <= cpu_linear_streamed) {
        stream(&p);
        return FO_OK;
    }
    size_t fit = workspace.bytes / tile_bytes(C);
    int threads = omp_get_max_threads();
    if (fit < (size_t)threads)
        threads = (int)fit;
    if (threads == 0)
        return fo_fail_short(error, FO_ARG, tile_bytes(C), workspace.bytes,
                             "linear: the workspace holds no tile");
    multiply(&p, workspace.data, threads);
    return FO_OK;
}
