#include "app/app.h"
#include "common/memory.h"
#include "model/chat.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Say what folio run takes. */
enum { KEY_CHAT = 0x200, KEY_IDS };

static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "what to continue; - reads standard input", 0},
    {"tokens", 'n', "N", 0, "most tokens to generate (128)", 0},
    {"chat", KEY_CHAT, NULL, 0, "put the prompt as a question to be answered",
     0},
    {"ids", KEY_IDS, NULL, 0, "print the generated ids, not text", 0},
    {0},
};

static const char about[] =
    "Continue a text.\v"
    "The text goes to standard output, the figures after it to standard "
    "error. The same command draws the same tokens every time; another seed "
    "draws others.";

typedef struct arguments {
    app_source source;
    fo_sampling sampling;
    const char *prompt;
    int tokens;
    bool chat;
    bool ids;
} arguments;

/* Read the flags of folio run. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->source;
        state->child_inputs[1] = &a->sampling;
        return 0;
    case 'p':
        a->prompt = arg;
        return 0;
    case 'n':
        a->tokens = (int)app_integer(state, "-n", arg, 1, 1 << 24);
        return 0;
    /* Read the switches of folio run. */
    case KEY_CHAT:
        a->chat = true;
        return 0;
    case KEY_IDS:
        a->ids = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is no option; the prompt goes after -p", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Print text as it comes, characters whole. */
/* Bytes a UTF-8 character with this first byte has; 0 if none begins so. */
static size_t character_length(unsigned char first)
{
    return first < 0x80   ? 1
           : first < 0xc2 ? 0
           : first < 0xe0 ? 2
           : first < 0xf0 ? 3
           : first < 0xf5 ? 4
                          : 0;
}

/* How many of the bytes end with a whole character. */
static size_t whole(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = (unsigned char)text[length - back];
        if (character_length(byte) > back)
            return length - back;
        if ((byte & 0xc0) != 0x80)
            break;
    }
    return length;
}

typedef struct printer {
    const fo_tokenizer *tokenizer;
    bool first;  /* nothing has been printed yet; drop the prefix space */
    char *held;  /* bytes of a character that is not whole yet, and room */
    size_t size; /* for one more piece                                  */
    size_t length;
} printer;

static fo_status print(printer *p, int32_t id, fo_error *error)
{
    size_t added;
    fo_status status =
        fo_tokenizer_decode(p->tokenizer, id, p->first, p->held + p->length,
                            p->size - p->length, &added, error);
    if (status != FO_OK)
        return status;
    p->first = p->first && added == 0;
    p->length += added;
    size_t ready = whole(p->held, p->length);
    fwrite(p->held, 1, ready, stdout);
    p->length -= ready;
    memmove(p->held, p->held + ready, p->length);
    if (fflush(stdout) != 0)
        return fo_fail(error, FO_IO, "standard output: %s", strerror(errno));
    return FO_OK;
}

/* Turn the prompt into tokens. */
typedef struct prompt {
    char *text;
    size_t length;
    int32_t *ids;
    size_t count;
} prompt;

static fo_status copy_argument(const char *text, prompt *p, fo_error *error)
{
    p->length = strlen(text);
    p->text = fo_memory_alloc(p->length + 1, 1, error);
    if (!p->text)
        return FO_NOMEM;
    memcpy(p->text, text, p->length);
    return FO_OK;
}

/* Replace the text by a conversation that asks it. */
static fo_status ask(const fo_session *session, prompt *p, fo_error *error)
{
    fo_chat_template template;
    fo_status status = fo_chat_recognise(
        fo_model_gguf(fo_session_model(session)), &template, error);
    if (status != FO_OK)
        return status;
    fo_chat_message message = {FO_CHAT_USER, p->text, p->length};
    char *text;
    size_t length;
    status = fo_chat_format(template, &message, 1, &text, &length, error);
    if (status != FO_OK)
        return status;
    fo_memory_free(p->text);
    p->text = text;
    p->length = length;
    return FO_OK;
}

static fo_status prepare(const arguments *a, const fo_session *session,
                         prompt *p, fo_error *error)
{
    fo_status status = strcmp(a->prompt, "-") == 0
                           ? app_read_input(&p->text, &p->length, error)
                           : copy_argument(a->prompt, p, error);
    if (status == FO_OK && a->chat)
        status = ask(session, p, error);
    if (status != FO_OK)
        return status;
    status = fo_session_encode(session, p->text, p->length,
                               FO_TOKENIZER_BOS | FO_TOKENIZER_SPECIAL, &p->ids,
                               &p->count, error);
    if (status == FO_OK && p->count == 0)
        return fo_fail(error, FO_ARG, "the prompt is empty");
    return status;
}

/* Generate token by token. */
enum { MOST_AT_ONCE = 64 };

typedef struct figures {
    size_t prompt, generated;        /* tokens  */
    double prefill, first, generate; /* seconds */
} figures;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static fo_status show(const arguments *a, printer *p, int32_t id, bool first,
                      fo_error *error)
{
    if (!a->ids)
        return print(p, id, error);
    printf(first ? "%d" : " %d", id);
    return FO_OK;
}

static fo_status generate(const arguments *a, fo_session *session,
                          const prompt *prompt, printer *p, figures *f,
                          fo_error *error)
{
    double begin = now();
    f->prompt = prompt->count;
    fo_status status =
        fo_session_prefill(session, prompt->ids, prompt->count, NULL, error);
    f->prefill = now() - begin;
    if (status != FO_OK)
        return status;
    if (!a->chat && !a->ids)
        fwrite(prompt->text, 1, prompt->length, stdout);
    int room = fo_session_context(session) - fo_session_length(session);
    int left = a->tokens < room ? a->tokens : room;
    for (int ask = 1, got = 1; left > 0 && status == FO_OK; left -= got) {
        /* Generate a few tokens and show them. */
        int32_t ids[MOST_AT_ONCE];
        double asked = now();
        fo_status drawn = fo_session_generate(session, &a->sampling, ask, true,
                                              ids, &got, error);
        if (f->generated == 0)
            f->first = now() - begin;
        bool stopped =
            got > 0 && fo_tokenizer_is_stop(p->tokenizer, ids[got - 1]);
        for (int i = 0; i < got - stopped && status == FO_OK; i++)
            status = show(a, p, ids[i], f->generated++ == 0, error);
        if (status == FO_OK)
            status = drawn;
        if (stopped)
            break;
        if (now() - asked < 0.05 && ask < MOST_AT_ONCE)
            ask *= 2;
        ask = ask < left - got ? ask : left - got;
    }
    f->generate = now() - begin - f->first;
    fwrite(p->held, 1, p->length, stdout);
    printf("\n");
    fflush(stdout);
    return status;
}

/* Report what it cost. */
static double rate(size_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static fo_status report(const fo_session *session, const figures *f,
                        fo_error *error)
{
    const fo_block_manager *blocks = fo_session_blocks(session);
    const fo_block_config *shape = fo_block_manager_config(blocks);
    fo_block_stats stats;
    fo_status status = fo_block_manager_stats(blocks, &stats, error);
    if (status != FO_OK)
        return status;
    size_t later = f->generated > 0 ? f->generated - 1 : 0;
    fprintf(stderr, "\nprompt       %6zu tokens, %8.1f tokens/s\n", f->prompt,
            rate(f->prompt, f->prefill));
    fprintf(stderr, "decode       %6zu tokens, %8.1f tokens/s\n", f->generated,
            rate(later, f->generate));
    fprintf(stderr, "first token  %6.1f ms\n", f->first * 1e3);
    fprintf(stderr, "blocks       %6d of %d used, %d tokens each\n",
            stats.pool.held, shape->total_blocks, shape->block_size);
    fprintf(stderr, "cache        %6llu bytes/token, %s\n",
            (unsigned long long)fo_block_config_token_bytes(shape),
            fo_dtype_info_get(shape->dtype)->name);
    fprintf(stderr, "utilisation  %6.1f %%\n", 100 * stats.utilisation);
    return FO_OK;
}

/* Run folio run. */
static fo_status work(const arguments *a, fo_session *session, fo_error *error)
{
    figures figures = {0};
    prompt prompt = {0};
    const fo_tokenizer *tokenizer =
        fo_model_tokenizer(fo_session_model(session));
    size_t size = fo_tokenizer_longest(tokenizer) + 4;
    printer printer = {.tokenizer = tokenizer, .first = a->chat, .size = size};
    fo_status status = FO_NOMEM;
    printer.held = fo_memory_alloc(size, 1, error);
    if (printer.held)
        status = prepare(a, session, &prompt, error);
    if (status == FO_OK)
        status = generate(a, session, &prompt, &printer, &figures, error);
    if (status == FO_OK)
        status = report(session, &figures, error);
    fo_memory_free(printer.held);
    fo_memory_free(prompt.text);
    fo_memory_free(prompt.ids);
    return status;
}

int app_run(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&app_source_argp, 0, "Model and cache:", 1},
        {&app_sampling_argp, 0, "Drawing:", 2},
        {0}};
    static const struct argp argp = {options,  parse, NULL, about,
                                     children, NULL,  NULL};
    arguments a = {.prompt = "A block table",
                   .tokens = 128,
                   .sampling = app_sampling_begin()};
    fo_device *device;
    fo_session *session;
    fo_error error;
    app_source_begin(&a.source);
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (app_source_open(&a.source, &device, &session, &error) != FO_OK)
        return app_fail(&error);
    fo_status status = work(&a, session, &error);
    app_source_close(&device, &session);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
