#include "naive_sample.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

typedef struct candidate {
    int32_t id;
    float logit;
    double share;
} candidate;

/* Order candidates from the likeliest down. */
static int by_likelihood(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

static void renormalise(candidate *kept, int count)
{
    double total = 0;
    for (int i = 0; i < count; i++)
        total += kept[i].share;
    for (int i = 0; i < count; i++)
        kept[i].share /= total;
}

/* Judge how many of the likeliest reach a mass. */
static int reach(const candidate *sorted, int count, double top_p,
                 double *margin)
{
    if (top_p >= 1)
        return count;
    double passed = 0;
    int kept = 0;
    do {
        passed += sorted[kept++].share;
        *margin = fmin(*margin, fabs(passed - top_p));
    } while (passed < top_p && kept < count);
    return kept;
}

/* Judge the walk. */
static int32_t walk(const candidate *kept, int count, double u, double *margin)
{
    double passed = 0;
    for (int i = 0; i < count; i++) {
        double before = passed;
        passed += kept[i].share;
        if (passed > u || i == count - 1) {
            if (i > 0)
                *margin = fmin(*margin, u - before);
            if (i < count - 1)
                *margin = fmin(*margin, passed - u);
            return kept[i].id;
        }
    }
    return -1;
}

/* Judge a draw. */
naive_draw naive_sample(const float *logits /* (V) */, int V,
                        const fo_sampling *sampling, double u)
{
    naive_draw draw = {.kept = V, .margin = 1};
    candidate *all = calloc((size_t)V, sizeof *all);
    assert(all);
    for (int i = 0; i < V; i++)
        all[i] = (candidate){.id = i, .logit = logits[i]};
    qsort(all, (size_t)V, sizeof *all, by_likelihood);
    if (sampling->top_k > 0 && sampling->top_k < V)
        draw.kept = sampling->top_k;
    if (sampling->temperature == 0)
        draw.kept = 1;
    for (int i = 0; i < draw.kept; i++) {
        double above = (double)all[i].logit - all[0].logit;
        all[i].share = i == 0 ? 1 : exp(above / sampling->temperature);
    }
    renormalise(all, draw.kept);
    draw.kept = reach(all, draw.kept, sampling->top_p, &draw.margin);
    renormalise(all, draw.kept);
    qsort(all, (size_t)draw.kept, sizeof *all, by_id);
    draw.token = walk(all, draw.kept, u, &draw.margin);
    free(all);
    return draw;
}
