#include "app/app.h"
#include "common/memory.h"
#include "cpu/lanes.h"
#include "engine/block_manager.h"
#include "model/model.h"

#include <cblas.h>
#include <errno.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Read the clock. */
static struct {
    clockid_t id;
    int threads; /* that the clock adds up */
} timer = {CLOCK_MONOTONIC, 1};

static double now(void)
{
    struct timespec time;
    clock_gettime(timer.id, &time);
    double seconds = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    return seconds / timer.threads;
}

/* Count what a token costs. */
typedef struct cost {
    double bytes; /* that generating a token reads, the cache apart */
    double flops; /* of a prompt token in the layers' matrices      */
} cost;

static bool begins(fo_gguf_string name, const char *start)
{
    size_t length = strlen(start);
    return name.length >= length && memcmp(name.data, start, length) == 0;
}

static cost cost_of(const fo_gguf *gguf)
{
    cost sum = {0, 0};
    bool tied = !fo_gguf_tensor_find(gguf, "output.weight");
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        const fo_gguf_tensor *tensor = fo_gguf_tensor_at(gguf, i);
        bool looked_up = begins(tensor->name, "token_embd.") && !tied;
        sum.bytes +=
            (double)tensor->bytes / (looked_up ? (double)tensor->dims[1] : 1.0);
        if (begins(tensor->name, "blk.") && tensor->rank == 2)
            sum.flops +=
                2.0 * (double)tensor->dims[0] * (double)tensor->dims[1];
    }
    return sum;
}

/* Open a model to measure. */
enum { PROMPT = 512, SHORT_PROMPT = 128, WRITTEN = 64, BLOCK = 16 };
enum { CONTEXT = PROMPT + BLOCK, SEQUENCE = 1 };

typedef struct subject {
    fo_model *model;
    fo_block_manager *blocks;
    int length; /* tokens stored by the sequence */
    cost cost;
} subject;

static fo_status subject_open(subject *s, fo_device *device, const char *path,
                              fo_error *error)
{
    fo_model_options bounds = {.context = CONTEXT, .max_tokens = PROMPT};
    fo_status status = fo_model_open(device, path, &bounds, &s->model, error);
    if (status != FO_OK)
        return status;
    const fo_config *c = fo_model_config(s->model);
    s->cost = cost_of(fo_model_gguf(s->model));
    fo_block_config shape = {.total_blocks = CONTEXT / BLOCK,
                             .block_size = BLOCK,
                             .num_layers = c->L,
                             .kv_heads = c->K,
                             .head_dim = c->D,
                             .dtype = FO_F32,
                             .max_sequences = 1,
                             .max_length = CONTEXT};
    return fo_block_manager_open(device, &shape, &s->blocks, error);
}

/* Say what folio bench takes. */
enum { MODELS = 8 };

typedef struct arguments {
    const fo_backend *backend;
    fo_device *device;
    float *buffer, *product;
    const char *path[MODELS];
    subject subject[MODELS];
    int models, rounds;
} arguments;

static const struct argp_option options[] = {
    {"device", 'd', "DEVICE", 0, "where to compute: cpu, sim, cuda (cpu)", 0},
    {"rounds", 'r', "N", 0, "rounds to measure (5)", 0},
    {"processor-time", 'p', NULL, 0,
     "count the time that threads compute, not the time that passes", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'd':
        a->backend = app_backend(state, arg);
        return 0;
    case 'r':
        a->rounds = (int)app_integer(state, "-r", arg, 1, 1000);
        return 0;
    case 'p':
        timer.id = CLOCK_PROCESS_CPUTIME_ID;
        timer.threads = omp_get_max_threads();
        return 0;
    case ARGP_KEY_ARG:
        if (a->models == MODELS)
            argp_error(state, "at most %d models", MODELS);
        a->path[a->models++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which model?");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Measure how fast memory is read. */
enum { BUFFER_FLOATS = 64 << 20, PASSES = 4, PAGE = 1024 /* floats */ };

static volatile float kept; /* where a result goes that nobody needs */

/* The sum of four pages; those `ahead` floats further will be read next. */
static float sum_pages(const float *page, size_t ahead)
{
    lanes sum[4] = {0};
    for (size_t i = 0; i < PAGE; i += LANES)
        for (size_t s = 0; s < 4; s++) {
            __builtin_prefetch(page + s * PAGE + i + ahead);
            sum[s] += lanes_load(page + s * PAGE + i);
        }
    return lanes_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Bytes in a second. */
static double read_rate(const float *buffer)
{
    double start = now();
    for (int pass = 0; pass < PASSES; pass++) {
        float sum = 0;
#pragma omp parallel for reduction(+ : sum) schedule(dynamic, 16)
        for (size_t i = 0; i < BUFFER_FLOATS; i += 4 * PAGE)
            sum += sum_pages(buffer + i,
                             i + 8 * PAGE <= BUFFER_FLOATS ? 4 * PAGE : 0);
        kept = sum;
    }
    return (double)PASSES * BUFFER_FLOATS * sizeof(float) / (now() - start);
}

/* Measure how fast the library multiplies. */
enum { MATRIX = 2048 };

/* Operations in a second; `buffer` holds two matrices. */
static double multiply_rate(const float *buffer, float *product)
{
    double start = now();
    for (int pass = 0; pass < PASSES; pass++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, MATRIX, MATRIX,
                    MATRIX, 1, buffer, MATRIX, buffer + MATRIX * MATRIX, MATRIX,
                    0, product, MATRIX);
    return 2.0 * PASSES * MATRIX * MATRIX * MATRIX / (now() - start);
}

/* Take one step. */
static fo_status step(subject *s, const int32_t *tokens, int count,
                      fo_error *error)
{
    static int32_t positions[PROMPT];
    static int64_t slots[PROMPT];
    fo_status status =
        fo_block_manager_extend(s->blocks, SEQUENCE, count, error);
    if (status != FO_OK)
        return status;
    const fo_block_table *table = fo_block_manager_table(s->blocks);
    fo_block_tables tables = fo_block_manager_tables(s->blocks, NULL);
    fo_block_table_slots(table, SEQUENCE, s->length, count, slots);
    for (int i = 0; i < count; i++)
        positions[i] = s->length + i;
    s->length += count;
    fo_batch batch = {.T = count,
                      .N = 1,
                      .tokens = tokens,
                      .positions = positions,
                      .slots = slots,
                      .query_start = (int32_t[]){0, count},
                      .length = (int32_t[]){s->length},
                      .row = (int32_t[]){fo_block_table_row(table, SEQUENCE)},
                      .table = tables.table,
                      .max_blocks = tables.max_blocks,
                      .kv = fo_block_manager_layers(s->blocks)};
    return fo_model_forward(s->model, &batch, error);
}

/* Time a prompt and a continuation. */
static fo_status read_prompt(subject *s, int count, fo_error *error)
{
    static int32_t ids[PROMPT];
    int V = fo_model_config(s->model)->V;
    for (int i = 0; i < count; i++)
        ids[i] = i * 7919 % V;
    return step(s, ids, count, error);
}

static fo_status forget(subject *s, fo_status status, fo_error *error)
{
    s->length = 0;
    fo_status freed =
        fo_block_manager_free_sequence(s->blocks, SEQUENCE, error);
    return status != FO_OK ? status : freed;
}

static fo_status time_prompt(subject *s, double *rate, fo_error *error)
{
    double start = now();
    fo_status status = read_prompt(s, PROMPT, error);
    *rate = PROMPT / (now() - start);
    return forget(s, status, error);
}

static fo_status write_token(subject *s, int32_t row, fo_error *error)
{
    const float *logits;
    int32_t token;
    fo_sampling greedy = {.top_p = 1, .position = (uint64_t)s->length};
    fo_status status = fo_model_logits(s->model, &row, 1, &logits, error);
    if (status == FO_OK)
        status = fo_model_sample(s->model, &greedy, 1, &token, error);
    if (status == FO_OK)
        status = step(s, &token, 1, error);
    return status;
}

static fo_status time_writing(subject *s, double *rate, fo_error *error)
{
    fo_status status = read_prompt(s, SHORT_PROMPT, error);
    double start = now();
    for (int i = 0; i < WRITTEN && status == FO_OK; i++)
        status = write_token(s, i ? 0 : SHORT_PROMPT - 1, error);
    *rate = WRITTEN / (now() - start);
    return forget(s, status, error);
}

/* Keep what a round has measured. */
typedef struct round {
    double read[MODELS], multiply[MODELS];  /* bytes, operations a second */
    double decode[MODELS], prefill[MODELS]; /* tokens a second            */
} round;

/* Measure in rounds. */
static fo_status measure_round(arguments *a, round *round, fo_error *error)
{
    fo_status status = FO_OK;
    for (int i = 0; i < a->models && status == FO_OK; i++) {
        subject *s = &a->subject[i];
        round->read[i] = read_rate(a->buffer);
        status = time_writing(s, &round->decode[i], error);
        round->multiply[i] = multiply_rate(a->buffer, a->product);
        if (status == FO_OK)
            status = time_prompt(s, &round->prefill[i], error);
    }
    return status;
}

static fo_status measure(arguments *a, round *rounds, fo_error *error)
{
    fo_status status = measure_round(a, &rounds[0], error);
    for (int k = 0; k < a->rounds && status == FO_OK; k++) {
        status = measure_round(a, &rounds[k], error);
        fprintf(stderr, "round %d of %d\n", k + 1, a->rounds);
    }
    return status;
}

/* Print the series as JSON. */
typedef double reading(const round *round, int model);

static double read_of(const round *r, int model)
{
    return r->read[model];
}

static double multiply_of(const round *r, int model)
{
    return r->multiply[model];
}

static double decode_of(const round *r, int model)
{
    return r->decode[model];
}

static double prefill_of(const round *r, int model)
{
    return r->prefill[model];
}

static void print_series(const arguments *a, const round *rounds,
                         const char *name, reading *value, int model)
{
    printf(",\n   \"%s\": [", name);
    for (int k = 0; k < a->rounds; k++)
        printf("%s%.6g", k ? ", " : "", value(&rounds[k], model));
    printf("]");
}

static void print_json(const arguments *a, const round *rounds)
{
    printf("{\"clock\": \"%s\", \"prompt\": %d, \"decoded_after\": %d, "
           "\"decoded\": %d,\n \"models\": [",
           timer.id == CLOCK_MONOTONIC ? "wall" : "processor", PROMPT,
           SHORT_PROMPT, WRITTEN);
    for (int i = 0; i < a->models; i++) {
        cost cost = a->subject[i].cost;
        printf("%s\n  {\"bytes_per_token\": %.0f, \"flops_per_prompt_token\": "
               "%.0f",
               i ? "," : "", cost.bytes, cost.flops);
        print_series(a, rounds, "read_bytes_per_second", read_of, i);
        print_series(a, rounds, "decode_tokens_per_second", decode_of, i);
        print_series(a, rounds, "sgemm_flops_per_second", multiply_of, i);
        print_series(a, rounds, "prefill_tokens_per_second", prefill_of, i);
        printf("}");
    }
    printf("]}\n");
}

/* Take memory, measure, give it back. */
static fo_status prepare(arguments *a, fo_error *error)
{
    a->buffer = fo_memory_alloc(BUFFER_FLOATS, sizeof(float), error);
    if (a->buffer)
        a->product = fo_memory_alloc(MATRIX * MATRIX, sizeof(float), error);
    if (!a->product)
        return FO_NOMEM;
    for (int i = 0; i < BUFFER_FLOATS; i++)
        a->buffer[i] = 1e-3f * (float)(i % 1000);
    fo_status status = a->backend->open(NULL, &a->device, error);
    for (int i = 0; i < a->models && status == FO_OK; i++)
        status = subject_open(&a->subject[i], a->device, a->path[i], error);
    return status;
}

static void dispose(arguments *a)
{
    for (int i = 0; i < a->models; i++) {
        fo_block_manager_close(&a->subject[i].blocks);
        fo_model_close(&a->subject[i].model);
    }
    if (a->device)
        a->backend->close(&a->device);
    fo_memory_free(a->product);
    fo_memory_free(a->buffer);
}

int app_bench(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "MODEL...",
        "Measure this machine's limits, and how near to them models come.\v"
        "The result is JSON on standard output.",
        NULL,
        NULL,
        NULL};
    arguments a = {.backend = app_backend(NULL, "cpu"), .rounds = 5};
    fo_error error;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    fo_status status = prepare(&a, &error);
    round *rounds = NULL;
    if (status == FO_OK)
        rounds = fo_memory_alloc((size_t)a.rounds, sizeof *rounds, &error);
    if (status == FO_OK)
        status = rounds ? measure(&a, rounds, &error) : FO_NOMEM;
    if (status == FO_OK)
        print_json(&a, rounds);
    fo_memory_free(rounds);
    dispose(&a);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
