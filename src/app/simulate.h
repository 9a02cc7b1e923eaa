/* What folio simulate is asked, and what comes of it. */
#ifndef FOLIO_APP_SIMULATE_H
#define FOLIO_APP_SIMULATE_H

#include "app/golden_makers.h"
#include "cuda/cuda.h"
#include "sim/simt.h"

#include <stdbool.h>

typedef struct simulate_options {
    const char *kernel; /* an op, an op and a rung, or a golden's file */
    char op[64];
    golden_spec spec;
    fo_cuda_settings rungs;
    sim_settings settings;
    fo_device_options device;
    uint64_t inputs;
    int times; /* the op is run, for the clock */
    bool json;
} simulate_options;

typedef struct simulate_result {
    double seconds;   /* of the processor that the fastest run of the op took */
    double error;     /* largest difference of the answers, or INFINITY    */
    bool same_bits;   /* of those that are no floats                       */
    fo_status status; /* of the op on the simulated device                 */
    fo_error why;
} simulate_result;

/* Print what was counted since the last clear; JSON: false if it cannot be
 * written. */
void simulate_print(const simulate_options *o, const simulate_result *r);
bool simulate_print_json(const simulate_options *o, const simulate_result *r);

#endif
