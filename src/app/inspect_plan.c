#include "app/app.h"
#include "engine/plan.h"

#include <stdio.h>

/* Show what loading takes. */
static void show_part(const char *name, uint64_t bytes, const char *what)
{
    app_written digits, size;
    printf("  %-10s  %16s  %10s  %s\n", name, app_grouped(bytes, digits),
           app_size_name(bytes, size), what);
}

static uint64_t cache_at(const fo_plan *plan, int tokens)
{
    int B = (int)(plan->block_bytes / plan->token_bytes);
    return (uint64_t)((tokens + B - 1) / B) * plan->block_bytes;
}

/* One row a context: K and V, and all of it, for each type of cache. */
static void show_contexts(const fo_plan *f32, const fo_plan *f16)
{
    const int contexts[] = {0, 1000, 2048, 4096};
    app_written a, b, c, d;
    int most = f32->context, count = sizeof contexts / sizeof *contexts;
    printf("  %-10s  %16s  %16s  %16s  %16s\n", "context", "K and V, f32",
           "all", "K and V, f16", "all");
    for (int i = 0, tokens = 0; i <= count && tokens < most; i++) {
        tokens = i < count && contexts[i] < most ? contexts[i] : most;
        uint64_t wide = cache_at(f32, tokens), narrow = cache_at(f16, tokens);
        printf("  %-10d  %16s  %16s  %16s  %16s\n", tokens,
               app_grouped(wide, a),
               app_grouped(f32->required - f32->kv + wide, b),
               app_grouped(narrow, c),
               app_grouped(f16->required - f16->kv + narrow, d));
    }
}

/* Plan both types of cache. */
static fo_status make_plans(fo_device *device, const fo_gguf *gguf,
                            int block_size, fo_plan plans[2], fo_error *error)
{
    static const fo_dtype types[] = {FO_F32, FO_F16};
    fo_status status = FO_OK;
    for (int i = 0; i < 2 && status == FO_OK; i++) {
        const fo_plan_request request = {.max_logits = 32,
                                         .block_size = block_size,
                                         .loop_tokens = -1,
                                         .kv_dtype = types[i]};
        status = fo_plan_of(device, gguf, &request, &plans[i], error);
    }
    return status;
}

/* Show the plan of a file. */
fo_status app_plan_show(const fo_gguf *gguf, const fo_backend *backend,
                        int block_size, fo_error *error)
{
    fo_plan plans[2];
    fo_device *device;
    fo_status status = backend->open(NULL, &device, error);
    if (status != FO_OK)
        return status;
    status = make_plans(device, gguf, block_size, plans, error);
    backend->close(&device);
    if (status != FO_OK)
        return status;
    printf("\nmemory: what loading takes on %s, one sequence, blocks of %d "
           "tokens\n",
           backend->name, block_size);
    show_part("weights", plans->weights, "mapped or copied");
    show_part("workspace", plans->workspace, "buffers of a pass of 512 tokens");
    show_part("tables", plans->tables, "who holds which block");
    show_part("available", plans->available, "on the device now");
    printf("\n");
    show_contexts(&plans[0], &plans[1]);
    return FO_OK;
}
