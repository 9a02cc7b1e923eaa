#include "sim/arena.h"
#include "sim/inside.h"
#include "sim/watch.h"

#include "common/dtype.h"

#include <string.h>

/* Load and store 16 bytes. */
sim_words sim_load_16(const void *from)
{
    sim_access(from, sizeof(sim_words), SIM_READ, __builtin_return_address(0));
    return *(const sim_words *)from;
}

void sim_store_16(void *to, sim_words value)
{
    sim_access(to, sizeof value, SIM_WRITE, __builtin_return_address(0));
    *(sim_words *)to = value;
}

/* Hand on 16 bytes. */
static bool never_written(const char *from, size_t bytes)
{
    bool any = false;
    for (size_t i = 0; i < bytes; i++) {
        enum sim_state state = sim_arena_state(from + i);
        if (state != SIM_UNWRITTEN && state != SIM_WRITTEN)
            return false;
        any |= state == SIM_UNWRITTEN;
    }
    return any;
}

void sim_copy_16(void *to, const void *from)
{
    const void *site = __builtin_return_address(0);
    bool unwritten = never_written(from, sizeof(sim_words));
    if (!unwritten)
        sim_access(from, sizeof(sim_words), SIM_READ, site);
    sim_access(to, sizeof(sim_words), SIM_WRITE, site);
    *(sim_words *)to = *(const sim_words *)from;
    if (unwritten)
        sim_arena_copy_states(to, from, sizeof(sim_words));
}

/* Insist on a whole warp. */
/* These instructions are `.aligned`: all lanes execute the same one. */
static void insist_on_warp(const sim_lane *lanes, uint32_t present)
{
    const sim_lane *one = &lanes[__builtin_ctz(present)];
    if (present != ~0u) {
        sim_complain(SIM_WARP_MISUSE, one, NULL, "%s by part of a warp, 0x%08x",
                     one->doing, present);
        sim_abandon();
    }
    for (int i = 1; i < SIM_LANES; i++)
        if (lanes[i].line != one->line) {
            sim_complain(SIM_WARP_MISUSE, &lanes[i], one,
                         "%s executed at two places by one warp", one->doing);
            sim_abandon();
        }
}

/* Load four matrices of 8 by 8. */
typedef struct matrix_load {
    const uint16_t *row; /* (8) */
    bool transposed;
    sim_words words;
} matrix_load;

/* Lane l brings row l % 8 of matrix l / 8, and receives of each matrix the
 * elements 2 (l % 4) and the next one of row l / 4; transposed, of column l
 * / 4. Source: PTX ISA, ldmatrix. */
static void load_matrices(sim_lane *lanes, uint32_t present)
{
    insist_on_warp(lanes, present);
    for (int l = 0; l < SIM_LANES; l++) {
        matrix_load *to = lanes[l].operand;
        for (int m = 0; m < 4; m++) {
            uint32_t pair[2];
            for (int e = 0; e < 2; e++) {
                int major = l / 4, minor = l % 4 * 2 + e;
                int row = to->transposed ? minor : major;
                int column = to->transposed ? major : minor;
                matrix_load *from = lanes[8 * m + row].operand;
                pair[e] = from->row[column];
            }
            to->words[m] = pair[0] | pair[1] << 16;
        }
    }
}

sim_words sim_load_matrix(const void *row, bool transposed, const char *file,
                          int line)
{
    matrix_load load = {.row = row, .transposed = transposed};
    sim_access(row, 16, SIM_READ, __builtin_return_address(0));
    sim_self->operand = &load;
    sim_gather(transposed ? "ldmatrix.trans" : "ldmatrix", ~0u, load_matrices,
               file, line);
    return load.words;
}

/* Say where a fragment's elements stand. */
/* Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point
 * type". Element i of lane l: */
typedef struct spot {
    int row, column;
} spot;

static spot spot_in_a(int l, int i) /* (16, 16), i in 0..7 */
{
    return (spot){l / 4 + (i / 2 % 2) * 8, l % 4 * 2 + i % 2 + i / 4 * 8};
}

static spot spot_in_b(int l, int i) /* (16, 8), i in 0..3 */
{
    return (spot){l % 4 * 2 + i % 2 + i / 2 * 8, l / 4};
}

static spot spot_in_d(int l, int i) /* (16, 8), i in 0..3 */
{
    return (spot){l / 4 + i / 2 * 8, l % 4 * 2 + i % 2};
}

/* Describe a product of small matrices. */
typedef struct matrix_product {
    sim_floats d;
    sim_words a;
    uint64_t b;
    fo_dtype type;
} matrix_product;

/* Multiply the fragments of a warp. */
static void multiply(sim_lane *lanes, uint32_t present)
{
    uint16_t half_a[16][16], half_b[16][8];
    float a[16][16], b[16][8], d[16][8] = {{0}};
    insist_on_warp(lanes, present);
    for (int l = 0; l < SIM_LANES; l++) {
        const matrix_product *p = lanes[l].operand;
        for (int i = 0; i < 8; i++) {
            spot s = spot_in_a(l, i);
            half_a[s.row][s.column] = (uint16_t)(p->a[i / 2] >> i % 2 * 16);
        }
        for (int i = 0; i < 4; i++) {
            spot s = spot_in_b(l, i);
            half_b[s.row][s.column] = (uint16_t)(p->b >> i * 16);
        }
    }
    fo_dtype type = ((matrix_product *)lanes->operand)->type;
    fo_dtype_load(type, half_a, &a[0][0], 256);
    fo_dtype_load(type, half_b, &b[0][0], 128);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            for (int column = 0; column < 8; column++)
                d[row][column] += a[row][k] * b[k][column];
    for (int l = 0; l < SIM_LANES; l++) {
        matrix_product *p = lanes[l].operand;
        for (int i = 0; i < 4; i++) {
            spot s = spot_in_d(l, i);
            p->d[i] += d[s.row][s.column];
        }
    }
}

/* Take part in a product. */
sim_floats sim_multiply(sim_matrix_type type, sim_floats d, sim_words a,
                        uint64_t b, const char *file, int line)
{
    bool f16 = type == SIM_MATRIX_F16;
    matrix_product product = {d, a, b, f16 ? FO_F16 : FO_BF16};
    sim_self->operand = &product;
    sim_gather(f16 ? "mma of f16" : "mma of bf16", ~0u, multiply, file, line);
    return product.d;
}
