/* Kernels for measuring the simulated GPU itself: each does one thing many
 * times. */
#ifndef FOLIO_TESTS_BENCH_KERNELS_H
#define FOLIO_TESTS_BENCH_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bench_kernel {
    BENCH_SHUFFLE, /* one a turn                                         */
    BENCH_VOTE,    /*                                                    */
    BENCH_BARRIER, /*                                                    */
    BENCH_ATOMIC,  /* on one number for each thread                      */
    BENCH_LOAD,    /* of a float of device memory                        */
    BENCH_SHARED,  /* a store and a load of shared memory                */
    BENCH_PRODUCT, /* mma                                                */
    BENCH_NOTHING, /* the kernel returns                                 */
    BENCH_KERNELS,
} bench_kernel;

/* Run it with `turns` turns on one row of blocks. */
void bench_run(bench_kernel kernel, int blocks, int threads, int turns,
               float *data /* (blocks * threads) */);

#ifdef __cplusplus
}
#endif

#endif
