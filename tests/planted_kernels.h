/* Kernels with a bug each, for the checkers of the simulated GPU. */
#ifndef FOLIO_TESTS_PLANTED_KERNELS_H
#define FOLIO_TESTS_PLANTED_KERNELS_H

#include "sim/report.h"

#include <stdbool.h>

typedef struct planted_kernel {
    const char *name;  /* of the kernel, and of the marks in its source    */
    sim_fault fault;   /* that is reported when it runs wrong              */
    int block, thread; /* the culprit, -1: any                             */
    int other_block, other_thread; /* of the other access, -1: there is none  */
    void (*run)(bool wrong);
} planted_kernel;

#ifdef __cplusplus
extern "C" {
#endif

extern const planted_kernel planted_kernels[];
extern const int planted_kernel_count;

/* Allocate device memory and never give it back. */
void planted_leak(void);

/* Transpose a tile in way 1, 2 or 3; is the answer right? */
bool planted_transpose(int way);

#ifdef __cplusplus
}
#endif

#endif
