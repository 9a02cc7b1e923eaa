#include "app/app.h"
#include "common/memory.h"
#include "engine/engine.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Say what folio batch takes. */
enum { KEY_TOKENS = 0x200, KEY_SEQUENCES, KEY_BLOCKS, KEY_JSONL, KEY_ALONE };

static const struct argp_option options[] = {
    {"tokens", 'n', "N", 0, "most tokens of each answer (128)", 0},
    {"max-tokens", KEY_TOKENS, "N", 0, "tokens of one step (512)", 0},
    {"sequences", KEY_SEQUENCES, "N", 0, "requests that run at once (32)", 0},
    {"blocks", KEY_BLOCKS, "N", 0, "blocks of the cache (what fits)", 0},
    {"jsonl", KEY_JSONL, NULL, 0, "print a JSON object for each answer", 0},
    {"no-sharing", KEY_ALONE, NULL, 0, "forget what was computed before", 0},
    {0},
};

static const char about[] =
    "Answer many prompts at once, one a line of FILE or standard input.\v"
    "Answers are printed as they end, each with the number of its line. Line K "
    "is drawn by the seed plus K, and does not depend on the other lines.";

typedef struct arguments {
    app_source source;
    fo_sampling sampling;
    fo_engine_options engine;
    const char *file;
    int tokens;
    bool jsonl;
} arguments;

/* Read the flags of folio batch. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    fo_engine_options *o = &a->engine;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->source;
        state->child_inputs[1] = &a->sampling;
        return 0;
    case 'n':
        a->tokens = (int)app_integer(state, "-n", arg, 1, 1 << 24);
        return 0;
    case KEY_TOKENS:
        o->max_tokens = (int)app_integer(state, "--max-tokens", arg, 1, 65536);
        return 0;
    case KEY_SEQUENCES:
        o->max_sequences = (int)app_integer(state, "--sequences", arg, 1, 4096);
        return 0;
    case KEY_BLOCKS:
        o->total_blocks = (int)app_integer(state, "--blocks", arg, 1, 1 << 24);
        return 0;
    case KEY_JSONL:
        a->jsonl = true;
        return 0;
    case KEY_ALONE:
        o->no_prefix_cache = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->file)
            return ARGP_ERR_UNKNOWN;
        a->file = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Keep what belongs to a line. */
typedef struct line {
    int number; /* from 1 */
    const char *prompt;
    size_t length;
    int64_t id; /* of its request, 0 when it has none */
    char *text; /* of the answer */
    size_t size, room;
    int tokens;
} line;

typedef struct batch {
    const arguments *arguments;
    fo_engine *engine;
    const fo_tokenizer *tokenizer;
    line *lines;
    int count, ended, refused;
    char *piece; /* the text of one token */
    size_t piece_size;
} batch;

/* Cut the input into lines. */
static fo_status cut(batch *b, char *text, size_t length, fo_error *error)
{
    int most = 1;
    for (size_t i = 0; i < length; i++)
        most += text[i] == '\n';
    b->lines = fo_memory_alloc((size_t)most, sizeof *b->lines, error);
    if (!b->lines)
        return FO_NOMEM;
    int number = 0;
    for (char *at = text, *end; at < text + length; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + length - at));
        end = end ? end : text + length;
        number++;
        if (end > at)
            b->lines[b->count++] = (line){
                .number = number, .prompt = at, .length = (size_t)(end - at)};
    }
    return FO_OK;
}

/* Print an answer or a refusal. */
static const char *finish_name(fo_finish finish)
{
    static const char *const names[] = {
        [FO_GOES_ON] = "refused",
        [FO_STOPPED] = "stopped",
        [FO_LENGTH] = "length",
        [FO_FAILED] = "failed",
    };
    return names[finish];
}

/* Text that is no UTF-8 cannot stand in JSON, and is null there. */
static void print_json(const line *l, fo_finish finish, const fo_error *error)
{
    json_t *text = json_stringn(l->text ? l->text : "", l->size);
    json_t *answer = json_pack("{s:i, s:s, s:i, s:o}", "line", l->number,
                               "finish", finish_name(finish), "tokens",
                               l->tokens, "text", text ? text : json_null());
    if (answer && error->status != FO_OK) {
        json_object_set_new(answer, "error", json_string(error->message));
        json_object_set_new(answer, "required",
                            json_integer((json_int_t)error->required));
        json_object_set_new(answer, "available",
                            json_integer((json_int_t)error->available));
    }
    if (answer)
        json_dumpf(answer, stdout, 0);
    json_decref(answer);
    printf("\n");
}

static void print(const batch *b, const line *l, fo_finish finish,
                  const fo_error *error)
{
    if (b->arguments->jsonl) {
        print_json(l, finish, error);
    } else if (error->status != FO_OK) {
        fprintf(stderr, "folio: line %d: %s\n", l->number, error->message);
    } else {
        printf("%d: ", l->number);
        app_show_text(l->text ? l->text : "", l->size, l->size);
        printf("\n");
    }
    fflush(stdout);
}

/* Submit a line. */
static fo_status submit(batch *b, line *l, fo_error *error)
{
    const arguments *a = b->arguments;
    int context = fo_engine_bounds(b->engine)->context;
    int32_t *ids;
    fo_request request = {.until_stop = true, .sampling = a->sampling};
    fo_status status = fo_tokenizer_encode(
        b->tokenizer, l->prompt, l->length,
        FO_TOKENIZER_BOS | FO_TOKENIZER_SPECIAL, &ids, &request.count, error);
    if (status != FO_OK)
        return status;
    int room = request.count < (size_t)context
                   ? context - (int)request.count
                   : 1; /* the engine will say that there is none */
    request.tokens = ids;
    request.max_new = a->tokens < room ? a->tokens : room;
    request.sampling.seed += (uint64_t)l->number;
    status = fo_engine_submit(b->engine, &request, &l->id, error);
    fo_memory_free(ids);
    return status;
}

/* Refusals are told at once; the others wait for their turn. */
static fo_status submit_all(batch *b, fo_error *error)
{
    for (int i = 0; i < b->count; i++) {
        line *l = &b->lines[i];
        fo_error why = {.status = FO_OK};
        fo_status status = submit(b, l, &why);
        if (status == FO_NOMEM) {
            *error = why;
            return status;
        }
        if (status != FO_OK) {
            print(b, l, FO_GOES_ON, &why);
            b->refused++;
        }
    }
    return FO_OK;
}

/* Take what a step tells. */
/* Lines are submitted in order, so their requests have rising numbers. */
static line *line_of(const batch *b, int64_t id)
{
    int low = 0, high = b->count;
    while (low < high) {
        int middle = low + (high - low) / 2, at = middle;
        while (at < high && b->lines[at].id == 0)
            at++;
        if (at == high || b->lines[at].id > id)
            high = middle;
        else if (b->lines[at].id < id)
            low = at + 1;
        else
            return &b->lines[at];
    }
    return NULL;
}

static fo_status take(batch *b, const fo_progress *told, fo_error *error)
{
    line *l = line_of(b, told->id);
    size_t added = 0;
    fo_status status = FO_OK;
    if (told->finish == FO_GOES_ON || told->finish == FO_LENGTH)
        status = fo_tokenizer_decode(b->tokenizer, told->token, false, b->piece,
                                     b->piece_size, &added, error);
    if (status == FO_OK && l->size + added > l->room) {
        size_t room = 2 * (l->size + added);
        char *text = fo_memory_resize(l->text, room, 1, error);
        if (!text)
            return FO_NOMEM;
        l->text = text;
        l->room = room;
    }
    if (status != FO_OK)
        return status;
    if (added > 0)
        memcpy(l->text + l->size, b->piece, added);
    l->size += added;
    l->tokens += told->token >= 0;
    if (told->finish != FO_GOES_ON) {
        print(b, l, told->finish, &told->error);
        b->ended++;
        b->refused += told->finish == FO_FAILED;
    }
    return FO_OK;
}

/* Show how far it is. */
static void show_progress(const batch *b)
{
    fo_engine_stats stats;
    if (!isatty(STDERR_FILENO) ||
        fo_engine_stats_get(b->engine, &stats, NULL) != FO_OK)
        return;
    fprintf(stderr,
            "\r%d of %d answered, %d running, %d waiting, %d blocks held  ",
            b->ended, b->count, stats.running, stats.waiting,
            stats.blocks.pool.held);
}

static void report(const batch *b, double seconds)
{
    fo_engine_stats stats;
    if (fo_engine_stats_get(b->engine, &stats, NULL) != FO_OK)
        return;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    fprintf(stderr,
            "\nanswers      %6d of %d\nsteps        %6llu\n"
            "run          %6llu tokens, %llu shared, %llu again\n"
            "drawn        %6llu tokens, %8.1f tokens/s\n"
            "at once      %6d, sent back %llu times\n"
            "blocks       %6d of %d at most\n",
            b->ended, b->count, (unsigned long long)stats.steps,
            (unsigned long long)stats.tokens,
            (unsigned long long)stats.cache.hit_tokens,
            (unsigned long long)stats.recomputed,
            (unsigned long long)stats.drawn,
            seconds > 0 ? (double)stats.drawn / seconds : 0, stats.most_running,
            (unsigned long long)stats.preempted, stats.blocks.pool.peak,
            fo_engine_bounds(b->engine)->total_blocks);
}

/* Answer all lines. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static fo_status answer(batch *b, fo_error *error)
{
    size_t most = (size_t)fo_engine_bounds(b->engine)->max_sequences;
    fo_progress *told = fo_memory_alloc(most, sizeof *told, error);
    if (!told)
        return FO_NOMEM;
    double begin = now();
    fo_status status = submit_all(b, error);
    while (status == FO_OK && !fo_engine_idle(b->engine)) {
        int count;
        status = fo_engine_step(b->engine, told, &count, error);
        for (int i = 0; i < count && status == FO_OK; i++)
            status = take(b, &told[i], error);
        show_progress(b);
    }
    if (status == FO_OK)
        report(b, now() - begin);
    fo_memory_free(told);
    return status;
}

/* Open the engine and run the batch. */
static fo_status read_prompts(const arguments *a, char **text, size_t *length,
                              fo_error *error)
{
    if (a->file && strcmp(a->file, "-") != 0 && !freopen(a->file, "r", stdin))
        return fo_fail(error, FO_IO, "%s: %s", a->file, strerror(errno));
    return app_read_input(text, length, error);
}

static fo_status work(arguments *a, fo_device *device, batch *b,
                      fo_error *error)
{
    char *text = NULL;
    size_t length = 0;
    fo_status status = read_prompts(a, &text, &length, error);
    if (status == FO_OK)
        status = cut(b, text, length, error);
    a->engine.max_waiting = b->count + 1;
    if (status == FO_OK)
        status = fo_engine_open(device, a->source.model, &a->engine, &b->engine,
                                error);
    if (status == FO_OK) {
        b->tokenizer = fo_model_tokenizer(fo_engine_model(b->engine));
        b->piece_size = fo_tokenizer_longest(b->tokenizer);
        b->piece = fo_memory_alloc(b->piece_size, 1, error);
        status = b->piece ? answer(b, error) : FO_NOMEM;
    }
    fo_engine_close(&b->engine);
    for (int i = 0; i < b->count; i++)
        fo_memory_free(b->lines[i].text);
    fo_memory_free(b->lines);
    fo_memory_free(b->piece);
    fo_memory_free(text);
    return status;
}

int app_batch(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&app_source_argp, 0, "Model and cache:", 1},
        {&app_sampling_argp, 0, "Drawing:", 2},
        {0}};
    static const struct argp argp = {options,  parse, "[FILE]", about,
                                     children, NULL,  NULL};
    arguments a = {.tokens = 128, .sampling = app_sampling_begin()};
    batch b = {.arguments = &a};
    fo_device *device;
    fo_error error;
    app_source_begin(&a.source);
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    a.engine.context = a.source.options.context;
    a.engine.block_size = a.source.options.block_size;
    a.engine.kv_dtype = a.source.options.kv_dtype;
    if (a.engine.max_tokens == 0)
        a.engine.max_tokens = a.source.options.chunk;
    fo_status status =
        a.source.backend->open(&a.source.device, &device, &error);
    if (status == FO_OK) {
        status = work(&a, device, &b, &error);
        device->backend->close(&device);
    }
    if (status != FO_OK)
        return app_fail(&error);
    return b.refused > 0 ? APP_FAILED : APP_OK;
}
