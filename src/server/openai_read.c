#include "server/openai.h"

#include "common/json.h"
#include "common/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Refuse a parameter. */
/* What is read, what it becomes, and what was wrong with it. */
typedef struct reader {
    const char *model;
    fo_openai_request *out;
    fo_ask *ask;
    fo_openai_error *error;
    const char *param; /* being read */
    bool seeded, told_stream_options;
} reader;

__attribute__((format(printf, 2, 3))) static bool
refuse(reader *r, const char *format, ...)
{
    va_list arguments;
    *r->error = (fo_openai_error){
        .code = 400, .type = "invalid_request_error", .param = r->param};
    va_start(arguments, format);
    vsnprintf(r->error->message, sizeof r->error->message, format, arguments);
    va_end(arguments);
    return false;
}

static bool starve(reader *r)
{
    fo_error error = {.status = FO_NOMEM, .message = "out of memory"};
    fo_openai_error_from(r->error, &error, true);
    return false;
}

/* Read values of one type. */
static const char *type_of(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

static bool read_integer(reader *r, const json_t *value, int64_t low,
                         int64_t high, int *out)
{
    if (!json_is_integer(value))
        return refuse(r, "'%s' must be an integer, and is %s", r->param,
                      type_of(value));
    json_int_t number = json_integer_value(value);
    if (number < low || number > high)
        return refuse(r, "'%s' is %lld; it must be from %lld to %lld", r->param,
                      (long long)number, (long long)low, (long long)high);
    *out = (int)number;
    return true;
}

static bool read_number(reader *r, const json_t *value, double low, double high,
                        float *out)
{
    if (!json_is_number(value))
        return refuse(r, "'%s' must be a number, and is %s", r->param,
                      type_of(value));
    double number = json_number_value(value);
    if (!(number >= low && number <= high))
        return refuse(r, "'%s' is %g; it must be from %g to %g", r->param,
                      number, low, high);
    *out = (float)number;
    return true;
}

static bool read_flag(reader *r, const json_t *value, bool *out)
{
    if (!json_is_boolean(value))
        return refuse(r, "'%s' must be a boolean, and is %s", r->param,
                      type_of(value));
    *out = json_is_true(value);
    return true;
}

static bool read_words(reader *r, const json_t *value, fo_words *out)
{
    if (!json_is_string(value))
        return refuse(r, "'%s' must be a string, and holds %s", r->param,
                      type_of(value));
    size_t length = json_string_length(value);
    out->text = fo_memory_alloc(length + 1, 1, NULL);
    if (!out->text)
        return starve(r);
    memcpy(out->text, json_string_value(value), length);
    out->length = length;
    return true;
}

/* Read prompts. */
static bool read_tokens(reader *r, const json_t *value, fo_prompt *out)
{
    size_t count = json_array_size(value);
    out->tokens = fo_memory_alloc(count, sizeof *out->tokens, NULL);
    if (!out->tokens)
        return starve(r);
    for (; out->count < count; out->count++)
        if (!read_integer(r, json_array_get(value, out->count), 0, INT32_MAX,
                          &out->tokens[out->count]))
            return false;
    return true;
}

static bool read_prompt(reader *r, const json_t *value, fo_prompt *out)
{
    if (json_is_array(value))
        return read_tokens(r, value, out);
    return read_words(r, value, &out->words);
}

/* A text, an array of texts, an array of tokens, or an array of such. */
static bool read_prompts(reader *r, json_t *value)
{
    bool many =
        json_is_array(value) && !json_is_integer(json_array_get(value, 0));
    size_t count = many ? json_array_size(value) : 1;
    if (count < 1 || count > 128)
        return refuse(r, "'prompt' has %zu prompts; it must have 1 to 128",
                      count);
    r->ask->prompts = fo_memory_alloc(count, sizeof *r->ask->prompts, NULL);
    if (!r->ask->prompts)
        return starve(r);
    r->ask->prompt_count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!read_prompt(r, many ? json_array_get(value, i) : value,
                         &r->ask->prompts[i]))
            return false;
    return true;
}

/* Read messages. */
/* A text, or parts of a text in a row. */
static bool read_content(reader *r, const json_t *value, fo_words *out)
{
    if (!json_is_array(value))
        return read_words(r, value, out);
    size_t length = 0, i;
    const json_t *part;
    json_array_foreach(value, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text))
            return refuse(r, "'messages': only text is understood");
        length += json_string_length(text);
    }
    out->text = fo_memory_alloc(length + 1, 1, NULL);
    if (!out->text)
        return starve(r);
    json_array_foreach(value, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        memcpy(out->text + out->length, json_string_value(text),
               json_string_length(text));
        out->length += json_string_length(text);
    }
    return true;
}

static bool read_message(reader *r, const json_t *value, fo_chat_message *out)
{
    static const struct {
        const char *name;
        fo_chat_role role;
    } roles[] = {{"system", FO_CHAT_SYSTEM},
                 {"developer", FO_CHAT_SYSTEM},
                 {"user", FO_CHAT_USER},
                 {"assistant", FO_CHAT_ASSISTANT}};
    const char *role = json_string_value(json_object_get(value, "role"));
    const json_t *content = json_object_get(value, "content");
    fo_words words = {0};
    if (!role || !content)
        return refuse(r, "'messages': each must have a role and a content");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i].name) == 0) {
            bool good = read_content(r, content, &words);
            *out = (fo_chat_message){roles[i].role, words.text, words.length};
            return good;
        }
    return refuse(r,
                  "'messages': the role '%.40s' is none of system, "
                  "developer, user, assistant",
                  role);
}

static bool read_messages(reader *r, json_t *value)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0 || count > 4096)
        return refuse(r, "'messages' must be an array of 1 to 4096 messages");
    r->ask->messages = fo_memory_alloc(count, sizeof *r->ask->messages, NULL);
    if (!r->ask->messages)
        return starve(r);
    r->ask->message_count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!read_message(r, json_array_get(value, i), &r->ask->messages[i]))
            return false;
    return true;
}

/* Read the other parameters. */
enum { MOST_TOKENS = 1 << 24, MOST_CHOICES = 128, MOST_STOPS = 16 };

static bool read_model(reader *r, json_t *value)
{
    const char *name = json_string_value(value);
    if (!name)
        return refuse(r, "'model' must be a string, and is %s", type_of(value));
    if (strcmp(name, r->model) == 0)
        return true;
    refuse(r, "the model '%.100s' does not exist; there is '%s'", name,
           r->model);
    r->error->code = 404;
    r->error->name = "model_not_found";
    return false;
}

static bool read_max_tokens(reader *r, json_t *value)
{
    return read_integer(r, value, 1, MOST_TOKENS, &r->ask->max_new);
}

static bool read_temperature(reader *r, json_t *value)
{
    return read_number(r, value, 0, 2, &r->ask->sampling.temperature);
}

static bool read_top_p(reader *r, json_t *value)
{
    return read_number(r, value, 0, 1, &r->ask->sampling.top_p);
}

static bool read_n(reader *r, json_t *value)
{
    return read_integer(r, value, 1, MOST_CHOICES, &r->ask->n);
}

static bool read_seed(reader *r, json_t *value)
{
    if (!json_is_integer(value))
        return refuse(r, "'seed' must be an integer, and is %s",
                      type_of(value));
    r->ask->sampling.seed = (uint64_t)json_integer_value(value);
    r->seeded = true;
    return true;
}

static bool read_stop(reader *r, json_t *value)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > MOST_STOPS)
        return refuse(r, "'stop' has %zu texts, %d are the most", count,
                      MOST_STOPS);
    r->ask->stops = fo_memory_alloc(count, sizeof *r->ask->stops, NULL);
    if (!r->ask->stops)
        return starve(r);
    r->ask->stop_count = (int)count;
    for (size_t i = 0; i < count; i++) {
        json_t *text = json_is_array(value) ? json_array_get(value, i) : value;
        if (!read_words(r, text, &r->ask->stops[i]))
            return false;
        if (r->ask->stops[i].length == 0)
            return refuse(r, "'stop' holds an empty text");
    }
    return true;
}

/* Of a text the number of the likeliest, of a chat a flag. */
static bool read_logprobs(reader *r, json_t *value)
{
    int likeliest = 0;
    bool wanted = true;
    bool good = r->out->chat ? read_flag(r, value, &wanted)
                             : read_integer(r, value, 0, FO_MOST_LOGPROBS - 1,
                                            &likeliest);
    r->ask->logprobs = wanted ? 1 + likeliest : 0;
    return good;
}

static bool read_top_logprobs(reader *r, json_t *value)
{
    int likeliest = 0;
    if (!read_integer(r, value, 0, FO_MOST_LOGPROBS - 1, &likeliest))
        return false;
    if (r->ask->logprobs == 0)
        return refuse(r, "'top_logprobs' go with 'logprobs' alone");
    r->ask->logprobs = 1 + likeliest;
    return true;
}

static bool read_echo(reader *r, json_t *value)
{
    return read_flag(r, value, &r->ask->echo);
}

static bool read_stream(reader *r, json_t *value)
{
    return read_flag(r, value, &r->out->stream);
}

static bool read_stream_options(reader *r, json_t *value)
{
    json_t *usage = json_object_get(value, "include_usage");
    if (!json_is_object(value))
        return refuse(r, "'stream_options' must be an object, and is %s",
                      type_of(value));
    r->told_stream_options = true;
    return !usage || json_is_null(usage) || read_flag(r, usage, &r->out->usage);
}

/* What changes nothing is welcome; what would change the answer and is not
 * there is refused. */
static bool ignore(reader *r, json_t *value)
{
    (void)r;
    (void)value;
    return true;
}

static bool want_nothing(reader *r, json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    if ((json_is_number(value) && json_number_value(value) == 0) ||
        (json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_object(value) && json_object_size(value) == 0) ||
        (json_is_string(value) && json_string_length(value) == 0) ||
        json_is_false(value) || (type && strcmp(type, "text") == 0))
        return true;
    return refuse(r, "'%s' is not supported", r->param);
}

static bool want_n(reader *r, json_t *value)
{
    int best = 0;
    return read_integer(r, value, 1, MOST_CHOICES, &best) &&
           (best == r->ask->n || refuse(r, "'best_of' must be equal to 'n'"));
}

/* List the parameters. */
enum { IN_TEXT = 1, IN_CHAT = 2, IN_BOTH = 3 };

static const struct parameter {
    const char *name;
    int where;
    bool (*read)(reader *r, json_t *value);
} parameters[] = {
    {"model", IN_BOTH, read_model},
    {"prompt", IN_TEXT, read_prompts},
    {"messages", IN_CHAT, read_messages},
    {"max_tokens", IN_BOTH, read_max_tokens},
    {"max_completion_tokens", IN_CHAT, read_max_tokens},
    {"temperature", IN_BOTH, read_temperature},
    {"top_p", IN_BOTH, read_top_p},
    {"n", IN_BOTH, read_n},
    {"best_of", IN_TEXT, want_n},
    {"seed", IN_BOTH, read_seed},
    {"stop", IN_BOTH, read_stop},
    {"echo", IN_TEXT, read_echo},
    {"logprobs", IN_BOTH, read_logprobs},
    {"top_logprobs", IN_CHAT, read_top_logprobs},
    {"stream", IN_BOTH, read_stream},
    {"stream_options", IN_BOTH, read_stream_options},
    {"frequency_penalty", IN_BOTH, want_nothing},
    {"presence_penalty", IN_BOTH, want_nothing},
    {"logit_bias", IN_BOTH, want_nothing},
    {"suffix", IN_TEXT, want_nothing},
    {"response_format", IN_CHAT, want_nothing},
    {"tools", IN_CHAT, want_nothing},
    {"functions", IN_CHAT, want_nothing},
    {"metadata", IN_BOTH, ignore},
    {"parallel_tool_calls", IN_CHAT, ignore},
    {"service_tier", IN_BOTH, ignore},
    {"store", IN_BOTH, ignore},
    {"user", IN_BOTH, ignore},
};

enum { PARAMETERS = sizeof parameters / sizeof *parameters };

/* Read a whole question. */
static bool read_all(reader *r, json_t *body)
{
    int where = r->out->chat ? IN_CHAT : IN_TEXT;
    size_t known = 0, given = 0;
    const char *name;
    json_t *value;
    for (size_t i = 0; i < PARAMETERS; i++) {
        const struct parameter *p = &parameters[i];
        r->param = p->name;
        value = p->where & where ? json_object_get(body, p->name) : NULL;
        known += value != NULL;
        if (value && !json_is_null(value) && !p->read(r, value))
            return false;
    }
    r->param = NULL;
    if (known == json_object_size(body))
        return true;
    json_object_foreach(body, name, value)
    {
        given = 0;
        for (size_t i = 0; i < PARAMETERS; i++)
            given += parameters[i].where & where &&
                     strcmp(parameters[i].name, name) == 0;
        if (given == 0)
            return refuse(r, "unrecognised parameter '%.60s'", name);
    }
    return true;
}

static bool complete(reader *r)
{
    if (r->out->chat ? !r->ask->message_count : !r->ask->prompt_count) {
        r->param = r->out->chat ? "messages" : "prompt";
        return refuse(r, "'%s' is missing", r->param);
    }
    r->param = "stream_options";
    if (r->told_stream_options && !r->out->stream)
        return refuse(r, "'stream_options' go with 'stream' alone");
    r->param = "logprobs";
    if (r->ask->echo && r->ask->logprobs > 0)
        return refuse(r, "'logprobs' are not told of a prompt: 'echo' and "
                         "'logprobs' do not go together");
    uint64_t *seed = &r->ask->sampling.seed;
    return r->seeded || getrandom(seed, sizeof *seed, 0) == sizeof *seed ||
           refuse(r, "no random seed could be had");
}

static bool read_body(reader *r, const char *body, size_t length)
{
    json_error_t wrong;
    fo_json_starved();
    json_t *root = json_loadb(body, length,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &wrong);
    if (!root && fo_json_starved())
        return starve(r);
    if (!root)
        return refuse(r, "the body is no JSON: line %d, column %d: %s",
                      wrong.line, wrong.column, wrong.text);
    bool good = json_is_object(root)
                    ? read_all(r, root)
                    : refuse(r, "the body must be a JSON object, and is %s",
                             type_of(root));
    json_decref(root);
    return good && complete(r);
}

bool fo_openai_read(bool chat, const char *body, size_t length,
                    const char *model, fo_openai_request *out,
                    fo_openai_error *error)
{
    fo_ask *ask = fo_ask_new(chat ? FO_ASK_CHAT : FO_ASK_TEXT, NULL);
    reader r = {.model = model, .out = out, .ask = ask, .error = error};
    *out = (fo_openai_request){.chat = chat};
    if (!ask)
        return starve(&r);
    ask->sampling.temperature = 1;
    ask->max_new = chat ? -1 : 16;
    bool good = read_body(&r, body, length);
    if (!good)
        fo_ask_free(&ask);
    out->ask = ask;
    return good;
}
