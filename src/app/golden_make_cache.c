#include "app/golden_makers.h"

#include <assert.h>
#include <string.h>

enum { CACHE_BLOCKS = 5 };

/* Make a cache and rows for it. */
static void cache(golden_case *made, const golden_spec *spec)
{
    const char *names[] = {"k", "v"};
    for (int i = 0; i < 2; i++) {
        uint8_t *stored = golden_case_tensor(
            made, names[i], spec->dtype, 4,
            (int64_t[]){CACHE_BLOCKS, spec->K, spec->B, spec->D});
        size_t row_bytes = fo_dtype_bytes(spec->dtype, spec->D);
        float row[GOLDEN_COLUMNS];
        assert(spec->D <= GOLDEN_COLUMNS);
        for (int r = 0; r < CACHE_BLOCKS * spec->K * spec->B; r++) {
            for (int d = 0; d < spec->D; d++)
                row[d] = golden_case_draw(made);
            fo_dtype_store(spec->dtype, row, stored + r * row_bytes, spec->D);
        }
    }
    golden_case_word(made, "cache_type", "%s",
                     fo_dtype_info_get(spec->dtype)->name);
}

/* Make the inputs of a write and of a copy. */
void golden_make_kv_write(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout",
                     "token t goes to block slots[t] / B, "
                     "offset slots[t] %% B; -1: nowhere");
    cache(made, spec);
    const char *names[] = {"new_k", "new_v"};
    for (int i = 0; i < 2; i++) {
        float *rows = golden_case_tensor(
            made, names[i], FO_F32, 3, (int64_t[]){spec->T, spec->K, spec->D});
        for (int j = 0; j < spec->T * spec->K * spec->D; j++)
            rows[j] = golden_case_draw(made);
    }
    int64_t *slots =
        golden_case_tensor(made, "slots", FO_I64, 1, (int64_t[]){spec->T});
    for (int t = 0; t < spec->T; t++)
        slots[t] = t == 2 ? -1 : (7 * t + 3) % (CACHE_BLOCKS * spec->B);
}

void golden_make_kv_copy(golden_case *made, const golden_spec *spec)
{
    golden_case_word(made, "layout",
                     "block to[i] becomes block from[i]; a "
                     "pair with -1 copies nothing");
    cache(made, spec);
    static const int32_t from[] = {0, -1, 4}, to[] = {3, 1, 2};
    int64_t shape[] = {3};
    memcpy(golden_case_tensor(made, "from", FO_I32, 1, shape), from,
           sizeof from);
    memcpy(golden_case_tensor(made, "to", FO_I32, 1, shape), to, sizeof to);
}

/* Make the inputs of the sampler. */
void golden_make_sample(golden_case *made, const golden_spec *spec)
{
    bool greedy = strcmp(made->name, "sample_greedy") == 0;
    int64_t N = spec->T;
    golden_case_word(made, "layout",
                     "token n from logits[n]; draw by Philox "
                     "(seed, stream 0, counter position)");
    float *logits =
        golden_case_tensor(made, "logits", FO_F32, 2, (int64_t[]){N, spec->V});
    for (int64_t i = 0; i < N * spec->V; i++)
        logits[i] = 4 * golden_case_draw(made);
    float *temperature = golden_case_tensor(made, "temperature", FO_F32, 1, &N);
    float *top_p = golden_case_tensor(made, "top_p", FO_F32, 1, &N);
    int32_t *top_k = golden_case_tensor(made, "top_k", FO_I32, 1, &N);
    int64_t *seed = golden_case_tensor(made, "seed", FO_I64, 1, &N);
    int64_t *position = golden_case_tensor(made, "position", FO_I64, 1, &N);
    for (int n = 0; n < N; n++) {
        temperature[n] = greedy ? 0 : 0.5F + 0.25F * (float)(n % 4);
        top_k[n] = n % 3 == 1 ? 5 : 0;
        top_p[n] = n % 2 == 1 ? 0.75F : 1;
        seed[n] = 42 + n;
        position[n] = 1000 + n;
    }
}

/* Tell the story of a small pool. */
enum { EXTEND, RELEASE, SHARE };

/* verb, then the numbers of its request, its keep or its fork, in order */
static const int32_t story[][5] = {
    {EXTEND, 0, 5, 5},       /* blocks 0 and 1                          */
    {EXTEND, 0, 8, 8},       /* nothing new                             */
    {EXTEND, 0, 9, 9},       /* block 2                                 */
    {EXTEND, 1, 6, 6},       /* blocks 3 and 4                          */
    {SHARE, 0, 2, 6},        /* row 2 holds 0 and 1 as well             */
    {EXTEND, 2, 7, 7},       /* writes into block 1, so copies it to 5  */
    {EXTEND, 3, 20, 20},     /* five blocks wanted, two free: refused   */
    {RELEASE, 1, 0, 0, 0},   /* gives back 3 and 4                      */
    {EXTEND, 3, 16, 16},     /* takes 3, 4, 6, 7: the pool is full      */
    {EXTEND, 0, 13, 13},     /* refused                                 */
    {RELEASE, 3, 8, 16, 16}, /* a window slides: 3 and 4 come back      */
    {EXTEND, 3, 17, 17},     /* and one of them is handed out again     */
    {RELEASE, 3, 8, 15, 15}, /* a step back gives back the last block   */
    {RELEASE, 1, 0, 0, 0},   /* an empty row: nothing happens           */
    {SHARE, 0, 1, 9},        /* row 1 holds 0, 1 and 2 as well          */
    {EXTEND, 1, 10, 12},     /* copies block 2                          */
    {RELEASE, 0, 0, 0, 0},   /* blocks held elsewhere stay held         */
    {RELEASE, 1, 0, 0, 0},   {RELEASE, 2, 0, 0, 0},
    {RELEASE, 3, 0, 0, 0}, /* everything is free again                */
};

/* Make the inputs of the pool. */
void golden_make_pool(golden_case *made, const golden_spec *spec)
{
    (void)spec;
    golden_case_word(made, "layout",
                     "ops: 0 extend row length room, 1 release row first "
                     "length room, 2 share from to length; after each: the "
                     "grant (wanted granted from to; -1 where no extend), "
                     "tables, lengths, free and held");
    golden_case_word(made, "num_blocks", "8");
    golden_case_word(made, "block_size", "4");
    golden_case_word(made, "max_rows", "4");
    golden_case_word(made, "max_blocks", "6");
    int64_t shape[] = {sizeof story / sizeof *story, 5};
    memcpy(golden_case_tensor(made, "ops", FO_I32, 2, shape), story,
           sizeof story);
}
