#include "app/golden_makers.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Decide the lengths of a batch. */
enum { SEQUENCES = 4 };

typedef struct batch {
    int32_t length[SEQUENCES];  /* tokens in the cache         */
    int32_t queries[SEQUENCES]; /* of them, those that now ask */
} batch;

static batch decide(const golden_spec *spec)
{
    int whole = spec->B > 0 ? 2 * spec->B : 32;
    batch b = {.length = {spec->longest, whole, 1, 0}, .queries = {1, 1, 1, 1}};
    if (strcmp(spec->op, "attention_decode") != 0) {
        b.queries[0] = spec->longest;
        b.queries[1] = 5;
        b.queries[3] = 0;
    }
    return b;
}

/* Deal the blocks of a batch. */
static int64_t blocks_of(int64_t length, int64_t B)
{
    return (length + B - 1) / B;
}

static void deal(golden_case *made, const golden_spec *spec, const batch *b,
                 int32_t *table, int max_blocks, int num_blocks)
{
    int32_t pack[GOLDEN_BLOCKS];
    for (int i = 0; i < num_blocks; i++)
        pack[i] = i;
    for (int i = num_blocks - 1; i > 0; i--) {
        int other = golden_case_choose(made, i + 1);
        int32_t swapped = pack[i];
        pack[i] = pack[other];
        pack[other] = swapped;
    }
    for (int n = 0, next = 0; n < SEQUENCES; n++) {
        int32_t *row = table + (SEQUENCES - 1 - n) * max_blocks;
        int oldest = b->length[n] - b->queries[n] - spec->window + 1;
        int first = spec->window && oldest > 0 ? oldest / spec->B : 0;
        for (int i = 0; i < max_blocks; i++) {
            bool held = i >= first && i < blocks_of(b->length[n], spec->B);
            row[i] = held ? pack[next++] : -1;
        }
    }
}

/* Write the tokens of a batch into the cache. */
static void fill(golden_case *made, const golden_spec *spec, const batch *b,
                 const int32_t *table, int max_blocks, uint8_t *k, uint8_t *v,
                 float *keys)
{
    size_t row_bytes = fo_dtype_bytes(spec->dtype, spec->D);
    for (int n = 0; n < SEQUENCES; n++) {
        const int32_t *row = table + (SEQUENCES - 1 - n) * max_blocks;
        for (int64_t j = 0; j < b->length[n] * spec->K; j++) {
            int64_t token = j / spec->K, head = j % spec->K;
            float value[GOLDEN_COLUMNS];
            for (int d = 0; d < spec->D; d++) {
                keys[d] = golden_case_draw(made);
                value[d] = golden_case_draw(made) + (float)(token % 7) - 2;
            }
            int32_t block = row[token / spec->B];
            if (block >= 0) {
                int64_t at = (block * spec->K + head) * spec->B;
                size_t offset = (at + token % spec->B) * row_bytes;
                fo_dtype_store(spec->dtype, keys, k + offset, spec->D);
                fo_dtype_store(spec->dtype, value, v + offset, spec->D);
            }
            keys += spec->D;
        }
    }
}

/* Point each query at a key it can see. */
static void point(golden_case *made, const golden_spec *spec, const batch *b,
                  const float *keys, float *q)
{
    for (int n = 0; n < SEQUENCES; n++) {
        for (int i = 0; i < b->queries[n]; i++) {
            int position = b->length[n] - b->queries[n] + i;
            int seen = position + 1;
            if (spec->window && seen > spec->window)
                seen = spec->window;
            for (int h = 0; h < spec->H; h++, q += spec->D) {
                int head = h / (spec->H / spec->K);
                int back = seen > 0 ? golden_case_choose(made, seen) : 0;
                const float *key =
                    keys + ((position - back) * spec->K + head) * spec->D;
                for (int d = 0; d < spec->D; d++)
                    q[d] = golden_case_draw(made) + (seen > 0 ? 3 * key[d] : 0);
            }
        }
        keys += b->length[n] * spec->K * spec->D;
    }
}

/* Explain the layout in words. */
static void describe(golden_case *made, const golden_spec *spec, bool paged)
{
    golden_case_word(
        made, "layout",
        paged ? "k, v [blocks][kv heads][block size][head dim]; position j of "
                "sequence n: block table[row[n]][j / B], offset j %% B"
              : "k, v [sequences][kv heads][reserved length][head dim]");
    golden_case_word(made, "visible",
                     "key j to query at position p: 0 <= p - j%s",
                     spec->window ? ", p - j < window" : "");
    golden_case_word(made, "unused", "slots without a token hold NaN");
    golden_case_word(made, "scale", "%.9g", 1 / sqrt(spec->D));
    golden_case_word(made, "window", "%d", spec->window);
    golden_case_word(made, "cache_type", "%s",
                     fo_dtype_info_get(spec->dtype)->name);
}

/* Make the inputs of attention. */
void golden_make_attention(golden_case *made, const golden_spec *given)
{
    golden_spec spec = *given;
    bool paged = spec.B > 0;
    batch b = decide(&spec);
    if (!paged)
        spec.B = spec.longest;
    /* Count what the batch needs. */
    int tokens = 0, queries = 0, num_blocks = paged ? 2 : SEQUENCES;
    for (int n = 0; n < SEQUENCES; n++) {
        tokens += b.length[n];
        queries += b.queries[n];
        num_blocks += paged ? blocks_of(b.length[n], spec.B) : 0;
    }
    int max_blocks = paged ? blocks_of(spec.longest, spec.B) + 1 : 1;
    assert(num_blocks <= GOLDEN_BLOCKS && spec.D <= GOLDEN_COLUMNS);
    describe(made, &spec, paged);
    int32_t table[SEQUENCES * GOLDEN_BLOCKS];
    if (paged)
        deal(made, &spec, &b, table, max_blocks, num_blocks);
    else
        for (int n = 0; n < SEQUENCES; n++)
            table[SEQUENCES - 1 - n] = n;
    int64_t cache[] = {num_blocks, spec.K, spec.B, spec.D};
    uint8_t *k = golden_case_tensor(made, "k", spec.dtype, 4, cache);
    uint8_t *v = golden_case_tensor(made, "v", spec.dtype, 4, cache);
    memset(k, 0xff, made->tensors[made->count - 1].bytes);
    memset(v, 0xff, made->tensors[made->count - 1].bytes);
    static float keys[GOLDEN_KEYS];
    assert(tokens * spec.K * spec.D <= GOLDEN_KEYS);
    fill(made, &spec, &b, table, max_blocks, k, v, keys);
    float *q = golden_case_tensor(made, "q", FO_F32, 3,
                                  (int64_t[]){queries, spec.H, spec.D});
    point(made, &spec, &b, keys, q);
    /* Add the index arrays of the batch. */
    int32_t *start = golden_case_tensor(made, "query_start", FO_I32, 1,
                                        (int64_t[]){SEQUENCES + 1});
    int32_t *length =
        golden_case_tensor(made, "length", FO_I32, 1, (int64_t[]){SEQUENCES});
    for (int n = 0; n < SEQUENCES; n++) {
        start[n + 1] = start[n] + b.queries[n];
        length[n] = b.length[n];
    }
    if (paged) {
        int32_t *row =
            golden_case_tensor(made, "row", FO_I32, 1, (int64_t[]){SEQUENCES});
        for (int n = 0; n < SEQUENCES; n++)
            row[n] = SEQUENCES - 1 - n;
        int64_t shape[] = {SEQUENCES, max_blocks};
        memcpy(golden_case_tensor(made, "table", FO_I32, 2, shape), table,
               sizeof *table * SEQUENCES * max_blocks);
    }
}
