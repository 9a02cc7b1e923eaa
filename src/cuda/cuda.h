/* The CUDA device: the verso, written to be fast. One source, two machines: by
 * nvcc for a GPU, by the host's compiler for the simulated one. */
#ifndef FOLIO_CUDA_CUDA_H
#define FOLIO_CUDA_CUDA_H

#include "common/backend.h"

/* A device of either side begins with this. A ladder has several kernels for
 * one op, its rungs, counted from 1; rung 0 is the best one for the shape.
 * Tests and benchmarks set another; the op returns FO_UNSUPPORTED when that
 * rung cannot take the shape. */
typedef struct fo_cuda_settings {
    fo_device device;
    int decode_rung;
    int prefill_rung;
} fo_cuda_settings;

/* Each exists where it was built in. `open` gives FO_DEVICE on a machine
 * without a GPU. `alloc` aligns to 256 bytes. */
extern const fo_backend fo_backend_cuda;
extern const fo_backend fo_backend_sim;

#endif
