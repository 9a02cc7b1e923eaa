#include "cpu/cpu.h"
#include "cpu/lanes.h"

#include <cblas.h>
#include <omp.h>

typedef struct product {
    float *out;       /* (T, R) */
    const float *x;   /* (T, C) */
    const char *data; /* (R, C) in `dtype` */
    fo_dtype dtype;
    size_t row_bytes, unit_bytes; /* of C and of 32 columns */
    int T, R, C;
} product;

/* Stream weights through dot products. */
enum { ROWS = 4, TOKENS = 4, UNIT = 32, SPAN = 32 };
enum { WORTH_THREADS = 1 << 18 }; /* products; some ten microseconds */

/* Compute a small block of outputs. */
/* Multiply 32 columns of every row with those of every token. */
LANES_INLINE void multiply_unit(lanes sum[TOKENS][ROWS], fo_dtype dtype,
                                const char *const unit[ROWS], const float *x,
                                size_t stride, int tokens)
{
#pragma GCC unroll 8
    for (int h = 0; h < UNIT; h += LANES) {
        lanes w[ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
            w[i] = lanes_unpack(dtype, unit[i], h);
#pragma GCC unroll 8
        for (int j = 0; j < tokens; j++) {
            lanes v = lanes_load(x + (size_t)j * stride + h);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++)
                sum[j][i] = lanes_multiply_add(v, w[i], sum[j][i]);
        }
    }
}

LANES_INLINE void block(const product *p, fo_dtype dtype, int r, int t,
                        int tokens)
{
    lanes sum[TOKENS][ROWS];
    for (int j = 0; j < tokens; j++)
        for (int i = 0; i < ROWS; i++)
            sum[j][i] = (lanes){0};
    size_t stride = (size_t)p->C;
    const float *x = p->x + (size_t)t * stride;
    const char *unit[ROWS];
    for (int i = 0; i < ROWS; i++)
        unit[i] = p->data + (size_t)(r + i < p->R ? r + i : r) * p->row_bytes;
    int whole = p->C / UNIT;
    size_t ahead = r + 2 * ROWS <= p->R ? ROWS * p->row_bytes : 0;
    for (int u = 0; u < whole; u++) {
        multiply_unit(sum, dtype, unit, x, stride, tokens);
        for (int i = 0; i < ROWS; i++) {
            __builtin_prefetch(unit[i] + ahead);
            if (dtype == FO_F32) /* a unit is two cache lines */
                __builtin_prefetch(unit[i] + ahead + 64);
            unit[i] += p->unit_bytes;
        }
        x += UNIT;
    }
    if (p->C % UNIT != 0) {
        /* Multiply what is left of the rows. */
        char ends[ROWS][UNIT * sizeof(float)] = {0};
        float rest[TOKENS][UNIT] = {0};
        size_t left = (size_t)(p->C % UNIT);
        for (int i = 0; i < ROWS; i++) {
            memcpy(ends[i], unit[i], fo_dtype_bytes(dtype, (int64_t)left));
            unit[i] = ends[i];
        }
        for (int j = 0; j < tokens; j++)
            memcpy(rest[j], x + (size_t)j * stride, left * sizeof(float));
        multiply_unit(sum, dtype, unit, rest[0], UNIT, tokens);
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
    int64_t products = (int64_t)p->T * p->R * p->C;
#pragma omp parallel for schedule(dynamic) if (products >= WORTH_THREADS)
    for (int first = 0; first < p->R; first += SPAN)
        for (int r = first; r < first + SPAN && r < p->R; r += ROWS)
            for (int t = 0; t < p->T; t += TOKENS)
                block_of_type(p, r, t);
}

/* Choose how many rows a tile has. */
enum { MOST_ROWS = 512, LEAST_ROWS = 64, TILE_FLOATS = 1 << 20 };

/* Most rows of a tile of C columns, in sixteens. */
static int most_rows(int C)
{
    int rows = TILE_FLOATS / C / 16 * 16;
    return rows > MOST_ROWS ? MOST_ROWS : rows < LEAST_ROWS ? LEAST_ROWS : rows;
}

/* Rows of each of a multiple of four equal tiles, in sixteens. */
static int tile_rows(int R, int C)
{
    int four = 4 * most_rows(C);
    int tiles = 4 * ((R + four - 1) / four);
    return ((R + tiles - 1) / tiles + 15) / 16 * 16;
}

/* Bytes that hold a tile of C columns, or of fewer. */
static size_t tile_bytes(int C)
{
    size_t floats = (size_t)MOST_ROWS * (size_t)C;
    size_t least = (size_t)LEAST_ROWS * (size_t)C;
    if (floats > TILE_FLOATS)
        floats = TILE_FLOATS;
    return (floats > least ? floats : least) * sizeof(float);
}

/* Send tiles of weights through sgemm. */
/* Unpack a run of weights. */
LANES_INLINE void unpack_units(fo_dtype dtype, const char *unit, float *to,
                               size_t units, size_t unit_bytes)
{
    for (size_t u = 0; u < units; u++, unit += unit_bytes, to += UNIT)
        for (int h = 0; h < UNIT; h += LANES) {
            lanes v = lanes_unpack(dtype, unit, h);
            memcpy(to + h, &v, sizeof v);
        }
}

static void unpack(const product *p, const char *from, float *to, size_t n)
{
    size_t units = n / UNIT, bytes = p->unit_bytes;
    if (p->dtype == FO_F16)
        unpack_units(FO_F16, from, to, units, bytes);
    else if (p->dtype == FO_BF16)
        unpack_units(FO_BF16, from, to, units, bytes);
    else if (p->dtype == FO_Q8_0)
        unpack_units(FO_Q8_0, from, to, units, bytes);
    else
        unpack_units(FO_Q4_0, from, to, units, bytes);
    fo_dtype_load(p->dtype, from + units * bytes, to + units * UNIT,
                  (int64_t)(n % UNIT));
}

static void multiply_tile(const product *p, int r, int rows, float *tile)
{
    if (rows > p->R - r)
        rows = p->R - r;
    const char *stored = p->data + (size_t)r * p->row_bytes;
    const float *w = (const float *)(const void *)stored;
    if (p->dtype != FO_F32) {
        unpack(p, stored, tile, (size_t)rows * (size_t)p->C);
        w = tile;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->T, rows, p->C, 1,
                p->x, p->C, w, p->C, 0, p->out + r, p->R);
}

static void multiply(const product *p, char *tiles, int threads)
{
    int rows = tile_rows(p->R, p->C);
    size_t bytes = tile_bytes(p->C);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int r = 0; r < p->R; r += rows) {
        void *tile = tiles + (size_t)omp_get_thread_num() * bytes;
        multiply_tile(p, r, rows, tile);
    }
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
    cpu_linear_way way =
        T <= cpu_linear_streamed ? CPU_LINEAR_STREAM : CPU_LINEAR_TILES;
    return cpu_linear_by(way, device, out, x, weight, T, workspace, error);
}

fo_status cpu_linear_by(cpu_linear_way way, fo_device *device, float *out,
                        const float *x, const fo_weight *weight, int T,
                        fo_workspace workspace, fo_error *error)
{
    (void)device;
    int R = weight->R, C = weight->C;
    const fo_dtype_info *info = fo_dtype_info_get(weight->dtype);
    if (weight->dtype > FO_Q4_0 || C < 1 || C % info->block_values != 0)
        return fo_fail(error, FO_ARG, "linear: %d columns of type %s", C,
                       info->name);
    product p = {out,
                 x,
                 weight->data,
                 weight->dtype,
                 fo_dtype_bytes(weight->dtype, C),
                 fo_dtype_bytes(weight->dtype, UNIT),
                 T,
                 R,
                 C};
    if (way == CPU_LINEAR_STREAM) {
        stream(&p);
        return FO_OK;
    }
    if (T == 0 || R == 0)
        return FO_OK;
    int threads = omp_get_max_threads();
    size_t tiles = workspace.bytes / tile_bytes(C);
    if (tiles == 0)
        return fo_fail_short(error, FO_ARG, tile_bytes(C), workspace.bytes,
                             "linear: the workspace holds no tile");
    multiply(&p, workspace.data,
             tiles < (size_t)threads ? (int)tiles : threads);
    return FO_OK;
}
