/* The float64 judge of the sampler: sort everything, then walk. */
#ifndef FOLIO_TESTS_NAIVE_SAMPLE_H
#define FOLIO_TESTS_NAIVE_SAMPLE_H

#include "common/backend.h"

typedef struct naive_draw {
    int32_t token;
    int kept;      /* tokens that survive top_k and top_p                   */
    double margin; /* mass between the decision and another one: how far u  */
                   /* is from the token's edges and top_p from the cut's    */
} naive_draw;

/* The draw with the random number u from logits without NaN. */
naive_draw naive_sample(const float *logits /* (V) */, int V,
                        const fo_sampling *sampling, double u);

#endif
