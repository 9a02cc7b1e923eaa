/* Include the judges of the chapters. */
#include "compare.h"
#include "naive_attention.h"
#include "naive_layers.h"
#include "naive_pool.h"
#include "naive_sample.h"
#include "planted.h"

#include "common/rng.h"
#include "common/safetensors.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDENS "golden/*.safetensors"

/* Fetch what a judge needs. */
static const fo_safetensor *tensor(const fo_safetensors *file, const char *name)
{
    const fo_safetensor *found = fo_safetensors_find(file, name);
    if (!found)
        fail_msg("no tensor '%s'", name);
    return found;
}

static int size(const fo_safetensors *file, const char *name, int dimension)
{
    return (int)tensor(file, name)->shape[dimension];
}

static const void *data(const fo_safetensors *file, const char *name)
{
    return tensor(file, name)->data;
}

static const char *word(const fo_safetensors *file, const char *key)
{
    const char *found = fo_safetensors_metadata(file, key);
    if (!found)
        fail_msg("no word '%s'", key);
    return found;
}

static fo_weight weight(const fo_safetensors *file, const char *name)
{
    return (fo_weight){.data = data(file, name),
                       .dtype = fo_dtype_parse(word(file, "weight_type")),
                       .R = size(file, name, 0),
                       .C = atoi(word(file, "columns"))};
}

/* Compare the answer with the judge's. */
static double *room(const fo_safetensors *file)
{
    double *want = calloc(tensor(file, "out")->bytes / 4 + 1, sizeof *want);
    assert_non_null(want);
    return want;
}

static double verdict(const fo_safetensors *file, double *want,
                      const char *path)
{
    const fo_safetensor *out = tensor(file, "out");
    double worst = assert_close(out->data, want, out->bytes / sizeof(float),
                                TOLERANCE_F32, "%s", path);
    free(want);
    return worst;
}

/* Judge the ops of a layer. */
static double judge_embed(const fo_safetensors *file, const char *path)
{
    fo_weight table = weight(file, "table");
    double *want = room(file);
    naive_embed(want, data(file, "tokens"), &table, size(file, "tokens", 0));
    return verdict(file, want, path);
}

static double judge_rmsnorm(const fo_safetensors *file, const char *path)
{
    double *want = room(file);
    naive_rmsnorm(want, data(file, "x"), data(file, "weight"),
                  size(file, "x", 0), size(file, "x", 1),
                  strtof(word(file, "epsilon"), NULL));
    return verdict(file, want, path);
}

static double judge_linear(const fo_safetensors *file, const char *path)
{
    fo_weight matrix = weight(file, "weight");
    double *want = room(file);
    naive_linear(want, data(file, "x"), &matrix, size(file, "x", 0));
    return verdict(file, want, path);
}

static double judge_add(const fo_safetensors *file, const char *path)
{
    double *want = room(file);
    naive_add(want, data(file, "x"), data(file, "y"),
              tensor(file, "x")->bytes / sizeof(float));
    return verdict(file, want, path);
}

static double judge_silu_mul(const fo_safetensors *file, const char *path)
{
    int T = size(file, "x", 0), stride = size(file, "x", 1), F = stride / 2;
    const float *gate = data(file, "x");
    double *want = room(file);
    naive_silu_mul(want, gate, gate + F, T, F, stride);
    return verdict(file, want, path);
}

static double judge_gather_rows(const fo_safetensors *file, const char *path)
{
    int n = size(file, "rows", 0), C = size(file, "x", 1);
    const int32_t *rows = data(file, "rows");
    const float *x = data(file, "x");
    double *want = room(file);
    for (int i = 0; i < n * C; i++)
        want[i] = x[rows[i / C] * C + i % C];
    return verdict(file, want, path);
}

static double judge_rope(const fo_safetensors *file, const char *path)
{
    int heads = atoi(word(file, "heads"));
    fo_rope rope = {
        .T = size(file, "x", 0),
        .heads = heads,
        .D = size(file, "x", 1) / heads,
        .stride = size(file, "x", 1),
        .rotary = 2 * size(file, "frequency", 0),
        .style = strcmp(word(file, "style"), "neox") == 0 ? FO_ROPE_NEOX
                                                          : FO_ROPE_NORMAL,
        .scale = strtof(word(file, "scale"), NULL),
        .frequency = data(file, "frequency"),
        .position = data(file, "position"),
    };
    double *want = room(file);
    naive_rope(want, data(file, "x"), &rope);
    return verdict(file, want, path);
}

/* Judge the ops of the cache. */
static void expect_bytes(const fo_safetensors *file, const char *name,
                         uint8_t *want, const char *path)
{
    const fo_safetensor *out = tensor(file, name);
    if (memcmp(out->data, want, out->bytes) != 0)
        fail_msg("%s: %s differs", path, name);
    free(want);
}

static uint8_t *copy_of(const fo_safetensors *file, const char *name)
{
    const fo_safetensor *old = tensor(file, name);
    uint8_t *copy = malloc(old->bytes);
    assert_non_null(copy);
    memcpy(copy, old->data, old->bytes);
    return copy;
}

static void judge_write(const fo_safetensors *file, const char *cache,
                        const char *rows, const char *out, const char *path)
{
    const int64_t *slots = data(file, "slots"), *shape;
    fo_dtype dtype = fo_dtype_parse(word(file, "cache_type"));
    uint8_t *want = copy_of(file, cache);
    const float *from = data(file, rows);
    shape = tensor(file, cache)->shape;
    int64_t K = shape[1], B = shape[2], D = shape[3];
    for (int t = 0; t < size(file, "slots", 0); t++)
        for (int64_t h = 0; h < K && slots[t] >= 0; h++) {
            int64_t row = (slots[t] / B * K + h) * B + slots[t] % B;
            fo_dtype_store(dtype, from + (t * K + h) * D,
                           want + fo_dtype_bytes(dtype, row * D), D);
        }
    expect_bytes(file, out, want, path);
}

static double judge_kv_write(const fo_safetensors *file, const char *path)
{
    judge_write(file, "k", "new_k", "out_k", path);
    judge_write(file, "v", "new_v", "out_v", path);
    return 0;
}

static double judge_kv_copy(const fo_safetensors *file, const char *path)
{
    const char *names[][2] = {{"k", "out_k"}, {"v", "out_v"}};
    const int32_t *from = data(file, "from"), *to = data(file, "to");
    for (int i = 0; i < 2; i++) {
        const fo_safetensor *old = tensor(file, names[i][0]);
        size_t block = old->bytes / (size_t)old->shape[0];
        uint8_t *want = copy_of(file, names[i][0]);
        for (int j = 0; j < size(file, "from", 0); j++)
            if (from[j] >= 0 && to[j] >= 0)
                memcpy(want + block * (size_t)to[j],
                       (const uint8_t *)old->data + block * (size_t)from[j],
                       block);
        expect_bytes(file, names[i][1], want, path);
    }
    return 0;
}

/* Judge attention. */
static float *gathered(const fo_safetensors *file, const char *name, int L,
                       const fo_kv *kv, const fo_block_tables *tables,
                       const fo_attention *attention)
{
    size_t values = (size_t)attention->N * L * kv->K * kv->D;
    float *rows = calloc(values, sizeof *rows);
    assert_non_null(rows);
    naive_gather(rows, L, kv, data(file, name), tables, attention);
    return rows;
}

static double judge_attention(const fo_safetensors *file, const char *path)
{
    /* Read an attention golden. */
    bool paged = strcmp(word(file, "op"), "attention_contiguous") != 0;
    fo_kv kv = {.dtype = fo_dtype_parse(word(file, "cache_type")),
                .num_blocks = size(file, "k", 0),
                .K = size(file, "k", 1),
                .B = size(file, "k", 2),
                .D = size(file, "k", 3)};
    fo_attention attention = {.N = size(file, "length", 0),
                              .T = size(file, "q", 0),
                              .H = size(file, "q", 1),
                              .q_stride = size(file, "q", 1) * kv.D,
                              .scale = strtof(word(file, "scale"), NULL),
                              .window = atoi(word(file, "window")),
                              .query_start = data(file, "query_start"),
                              .length = data(file, "length")};
    fo_block_tables tables = {0};
    if (paged)
        tables = (fo_block_tables){.table = data(file, "table"),
                                   .max_blocks = size(file, "table", 1),
                                   .row = data(file, "row")};
    int L = 1;
    for (int n = 0; n < attention.N; n++)
        L = attention.length[n] > L ? attention.length[n] : L;
    attention.max_length = L;
    float *k = gathered(file, "k", L, &kv, paged ? &tables : NULL, &attention);
    float *v = gathered(file, "v", L, &kv, paged ? &tables : NULL, &attention);
    double *want = room(file);
    naive_attention(want, data(file, "q"), k, v, L, kv.K, kv.D, &attention,
                    NAIVE_RIGHT);
    free(k);
    free(v);
    return verdict(file, want, path);
}

/* Judge the sampler. */
static double judge_sample(const fo_safetensors *file, const char *path)
{
    int N = size(file, "logits", 0), V = size(file, "logits", 1);
    const float *logits = data(file, "logits");
    const float *temperature = data(file, "temperature");
    const float *top_p = data(file, "top_p");
    const int32_t *top_k = data(file, "top_k"), *out = data(file, "out");
    const int64_t *seed = data(file, "seed");
    const int64_t *position = data(file, "position");
    for (int n = 0; n < N; n++) {
        fo_sampling row = {.temperature = temperature[n],
                           .top_p = top_p[n],
                           .top_k = top_k[n],
                           .seed = (uint64_t)seed[n],
                           .position = (uint64_t)position[n]};
        double u = fo_rng_uniform(row.seed, 0, row.position);
        naive_draw draw = naive_sample(logits + (int64_t)n * V, V, &row, u);
        if (draw.token != out[n] || draw.margin < 1e-6)
            fail_msg("%s: row %d: got %d, want %d, margin %g", path, n, out[n],
                     draw.token, draw.margin);
    }
    return 0;
}

/* Tell the story to the naive pool. */
static fo_pool_grant tell(naive_pool *pool, const int32_t *op)
{
    fo_pool_grant none = {-1, -1, -1, -1};
    if (op[0] == 0)
        return naive_pool_extend(
            pool,
            (fo_pool_request){.row = op[1], .length = op[2], .room = op[3]});
    if (op[0] == 1)
        naive_pool_release(pool, (fo_pool_keep){.row = op[1],
                                                .first = op[2],
                                                .length = op[3],
                                                .room = op[4]});
    else
        naive_pool_share(
            pool, (fo_pool_fork){.from = op[1], .to = op[2], .length = op[3]});
    return none;
}

/* Judge the pool. */
static double judge_pool(const fo_safetensors *file, const char *path)
{
    fo_pool_shape shape = {.num_blocks = atoi(word(file, "num_blocks")),
                           .B = atoi(word(file, "block_size")),
                           .max_rows = atoi(word(file, "max_rows")),
                           .max_blocks = atoi(word(file, "max_blocks"))};
    naive_pool pool;
    naive_pool_open(&pool, &shape);
    const int32_t *ops = data(file, "ops");
    const int32_t *grants = data(file, "out_grants");
    const int32_t *tables = data(file, "out_tables");
    const int32_t *lengths = data(file, "out_lengths");
    const int32_t *counts = data(file, "out_counts");
    for (int i = 0; i < size(file, "ops", 0); i++) {
        fo_pool_grant grant = tell(&pool, ops + 5 * i);
        bool same = memcmp(&grant, grants + 4 * i, sizeof grant) == 0;
        for (int row = 0; row < shape.max_rows; row++) {
            same &= pool.rows[row].length == *lengths++;
            for (int j = 0; j < shape.max_blocks; j++)
                same &= pool.rows[row].entry[j] == *tables++;
        }
        same &= pool.free_count == counts[2 * i];
        same &= shape.num_blocks - pool.free_count == counts[2 * i + 1];
        if (!same)
            fail_msg("%s: step %d differs", path, i);
    }
    return 0;
}

/* List the judges. */
static const struct {
    const char *op;
    double (*judge)(const fo_safetensors *file, const char *path);
} judges[] = {
    {"embed", judge_embed},
    {"rmsnorm", judge_rmsnorm},
    {"linear", judge_linear},
    {"add", judge_add},
    {"silu_mul", judge_silu_mul},
    {"gather_rows", judge_gather_rows},
    {"rope", judge_rope},
    {"kv_write", judge_kv_write},
    {"kv_copy", judge_kv_copy},
    {"attention_contiguous", judge_attention},
    {"attention_decode", judge_attention},
    {"attention_prefill", judge_attention},
    {"sample", judge_sample},
    {"pool", judge_pool},
};

/* Judge one golden. */
static double judge_file(const char *path)
{
    fo_error error;
    fo_safetensors *file = NULL;
    if (fo_safetensors_open(path, &file, &error) != FO_OK)
        fail_msg("%s: %s", path, error.message);
    const char *op = fo_safetensors_metadata(file, "op");
    double worst = -1;
    for (size_t i = 0; i < sizeof judges / sizeof *judges; i++) {
        if (op && strcmp(judges[i].op, op) == 0)
            worst = judges[i].judge(file, path);
    }
    if (worst < 0)
        fail_msg("%s: nobody judges the op '%s'", path, op ? op : "");
    fo_safetensors_close(&file);
    return worst;
}

/* Tell an op's golden from a model's. */
static bool is_op_case(const char *path)
{
    return !strstr(path, "/logits_");
}

/* Judge every file of the folder. */
static void test_judge_agrees_with_every_golden(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(GOLDENS, 0, NULL, &found), 0);
    int judged = 0;
    double worst = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (!is_op_case(found.gl_pathv[i]))
            continue;
        double error = judge_file(found.gl_pathv[i]);
        worst = error > worst ? error : worst;
        judged++;
    }
    globfree(&found);
    print_message("%d goldens judged, worst error %.2e\n", judged, worst);
    assert_true(judged >= 30);
}

/* Turn one bit of an answer over. */
static char copy_path[] = "/tmp/folio-golden-XXXXXX";

static void judge_the_copy(void **state)
{
    (void)state;
    judge_file(copy_path);
}

/* The answer must lie at the end of the file. */
static void copy_with_last_byte(const char *from, char turned)
{
    static char bytes[1 << 20];
    FILE *file = fopen(from, "rb");
    assert_non_null(file);
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(count, 1, sizeof bytes - 1);
    bytes[count - 1] ^= turned;
    file = fopen(copy_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* Refuse an answer with one wrong bit. */
static void test_judge_sees_one_wrong_bit(void **state)
{
    (void)state;
    const char *sound[] = {
        "golden/add.safetensors", "golden/attention_decode_mha_f32.safetensors",
        "golden/kv_write_f16.safetensors", "golden/sample_seeded.safetensors",
        "golden/pool.safetensors"};
    const struct CMUnitTest planted[] = {
        cmocka_unit_test(judge_the_copy),
    };
    int made = mkstemp(copy_path);
    assert_true(made >= 0);
    close(made);
    for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) {
        copy_with_last_byte(sound[i], 0);
        assert_int_equal(planted_failures(planted), 0);
        copy_with_last_byte(sound[i], 0x40);
        assert_int_equal(planted_failures(planted), 1);
    }
    unlink(copy_path);
}

/* Run the judge. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge_agrees_with_every_golden),
        cmocka_unit_test(test_judge_sees_one_wrong_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
