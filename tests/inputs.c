#include "inputs.h"

#include "common/memory.h"
#include "common/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

/* Fill with uniform numbers. */
void fill_uniform(float *x, size_t n, float low, float high, uint64_t seed,
                  uint64_t stream)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(low +
                       ((double)high - low) * fo_rng_uniform(seed, stream, i));
}

/* Add twelve words into a normal number. */
static float normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint64_t sum = 0;
    for (uint64_t block = 0; block < 3; block++) {
        uint32_t words[4];
        fo_rng_block(seed, stream, 3 * index + block, words);
        for (int i = 0; i < 4; i++)
            sum += words[i];
    }
    return (float)((double)sum * 0x1p-32 - 6);
}

void fill_normal(float *x, size_t n, uint64_t seed, uint64_t stream)
{
    for (size_t i = 0; i < n; i++)
        x[i] = normal(seed, stream, i);
}

/* Fill rows of values that do not cancel. */
void fill_values(float *v, size_t rows, size_t D, uint64_t seed,
                 uint64_t stream)
{
    fill_normal(v, rows * D, seed, stream);
    for (size_t row = 0; row < rows; row++) {
        float mean = 0.5f + fo_rng_uniform(~seed, stream, row);
        for (size_t d = 0; d < D; d++)
            v[row * D + d] = mean + 0.25f * v[row * D + d];
    }
}

/* Aim a query at a key. */
void aim_query(float *q, const float *key, size_t D, float score)
{
    double square = 0;
    for (size_t d = 0; d < D; d++)
        square += (double)key[d] * key[d];
    for (size_t d = 0; d < D; d++)
        q[d] = (float)(score * sqrt((double)D) / square * key[d]);
}

/* Poison memory. */
void poison(void *data, size_t bytes)
{
    if (bytes > 0)
        memset(data, 0xff, bytes);
}

/* Lay a buffer between two guards. */
static void require(fo_status status, const fo_error *error)
{
    if (status != FO_OK)
        fail_msg("%s", error->message);
}

guarded guarded_open(fo_device *device, size_t bytes)
{
    const fo_backend *backend = device->backend;
    guarded g = {.device = device, .bytes = bytes};
    fo_error error;
    require(backend->alloc(device, bytes + 2 * GUARD, &g.whole, &error),
            &error);
    g.data = (char *)g.whole + GUARD;
    require(
        backend->fill(device, g.whole, GUARD_BYTE, bytes + 2 * GUARD, &error),
        &error);
    require(backend->fill(device, g.data, 0xff, bytes, &error), &error);
    return g;
}

/* Fill a guarded buffer and read it. */
guarded guarded_copy(fo_device *device, const void *host, size_t bytes)
{
    guarded g = guarded_open(device, bytes);
    fo_error error;
    require(device->backend->upload(device, g.data, host, bytes, &error),
            &error);
    return g;
}

void guarded_read(const guarded *g, void *host)
{
    fo_error error;
    require(g->device->backend->download(g->device, host, g->data, g->bytes,
                                         &error),
            &error);
}

/* Look at the guards. */
bool guarded_intact(const guarded *g)
{
    const char *sides[2] = {g->whole, (const char *)g->data + g->bytes};
    for (int side = 0; side < 2; side++) {
        unsigned char bytes[GUARD];
        fo_error error;
        require(g->device->backend->download(g->device, bytes, sides[side],
                                             GUARD, &error),
                &error);
        for (int i = 0; i < GUARD; i++)
            if (bytes[i] != GUARD_BYTE)
                return false;
    }
    return true;
}

/* Close a buffer and insist on its guards. */
void guarded_close(guarded *g)
{
    bool intact = guarded_intact(g);
    g->device->backend->free(g->device, g->whole);
    *g = (guarded){0};
    if (!intact)
        fail_msg("a write went past the end of its buffer");
}
