/* A linear layer to test, on any device. */
#ifndef FOLIO_TESTS_LINEAR_LAYER_H
#define FOLIO_TESTS_LINEAR_LAYER_H

#include "inputs.h"

typedef struct layer {
    fo_device *device;
    guarded weights, x;    /* (R, C) in `weight.dtype`, (T, C)   */
    fo_weight weight;      /* in the device's memory             */
    fo_weight host_weight; /* the same bytes in the host's       */
    float *host_x;         /* (T, C)                             */
    int T;
} layer;

/* The types that weights are stored in. */
extern const fo_dtype layer_types[5];

layer layer_open(fo_device *device, fo_dtype dtype, int T, int R, int C);
void layer_close(layer *l);

/* Host memory for the test itself; never null. */
void *room(size_t bytes);

#endif
