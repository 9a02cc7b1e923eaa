/* Include what the test of the shapes needs. */
#include "server/openai.h"

#include "common/json.h"
#include "common/memory.h"
#include "server/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool read_text(bool chat, const char *body, fo_openai_request *out,
                      fo_openai_error *error)
{
    return fo_openai_read(chat, body, strlen(body), "tiny", out, error);
}

/* The question, or the end of the test. */
static fo_openai_request must_read(bool chat, const char *body)
{
    fo_openai_request request;
    fo_openai_error error;
    if (!read_text(chat, body, &request, &error))
        fail_msg("%s: %s", body, error.message);
    return request;
}

/* Read a question that says everything. */
static void reads_a_question_that_says_everything(void **state)
{
    (void)state;
    fo_openai_request r = must_read(
        false, "{\"model\": \"tiny\", \"prompt\": [\"A\\u0000B\", [1, 2, 3]], "
               "\"max_tokens\": 7, \"temperature\": 0.5, \"top_p\": 0.25, "
               "\"seed\": -1, \"n\": 2, \"echo\": true, \"stream\": true, "
               "\"stream_options\": {\"include_usage\": true}, "
               "\"stop\": [\"x\", \"yz\"], \"best_of\": 2, "
               "\"frequency_penalty\": 0, \"logit_bias\": null, "
               "\"user\": \"me\"}");
    const fo_ask *a = r.ask;
    assert_true(r.stream && r.usage && !r.chat && a->echo);
    assert_int_equal(a->kind, FO_ASK_TEXT);
    assert_int_equal(a->prompt_count, 2);
    assert_int_equal(a->prompts[0].words.length, 3);
    assert_memory_equal(a->prompts[0].words.text, "A\0B", 3);
    assert_int_equal(a->prompts[1].count, 3);
    assert_int_equal(a->prompts[1].tokens[2], 3);
    assert_int_equal(a->max_new, 7);
    assert_true(a->sampling.temperature == 0.5f);
    assert_true(a->sampling.top_p == 0.25f);
    assert_true(a->sampling.seed == UINT64_MAX);
    assert_int_equal(fo_ask_choices(a), 4);
    assert_int_equal(a->stop_count, 2);
    assert_string_equal(a->stops[1].text, "yz");
    fo_ask_free(&r.ask);
}

static void fills_in_what_a_question_leaves_out(void **state)
{
    (void)state;
    fo_openai_request r = must_read(false, "{\"prompt\": \"A\"}");
    fo_openai_request other = must_read(false, "{\"prompt\": \"A\"}");
    assert_int_equal(r.ask->max_new, 16);
    assert_true(r.ask->sampling.temperature == 1 && r.ask->sampling.top_p == 1);
    assert_true(r.ask->sampling.seed != other.ask->sampling.seed);
    assert_int_equal(r.ask->logprobs, 0);
    fo_ask_free(&r.ask);
    fo_ask_free(&other.ask);
    r = must_read(true, "{\"messages\": [{\"role\": \"developer\", "
                        "\"content\": \"S\"}, {\"role\": \"user\", "
                        "\"content\": [{\"type\": \"text\", \"text\": \"U\"}, "
                        "{\"type\": \"text\", \"text\": \"V\"}]}], "
                        "\"logprobs\": true}");
    assert_int_equal(r.ask->max_new, -1);
    assert_int_equal(r.ask->logprobs, 1);
    assert_int_equal(r.ask->message_count, 2);
    assert_int_equal(r.ask->messages[0].role, FO_CHAT_SYSTEM);
    assert_int_equal(r.ask->messages[1].length, 2);
    assert_memory_equal(r.ask->messages[1].text, "UV", 2);
    fo_ask_free(&r.ask);
}

/* Refuse questions that say too much or too little. */
static const struct {
    bool chat;
    int code;
    const char *param, *body;
} wrong[] = {
    {false, 400, NULL, ""},
    {false, 400, NULL, "[1]"},
    {false, 400, NULL, "{\"prompt\": \"A\"} x"},
    {false, 400, "prompt", "{}"},
    {false, 400, "prompt", "{\"prompt\": null}"},
    {false, 400, "prompt", "{\"prompt\": [1, 2.5]}"},
    {false, 400, "prompt", "{\"prompt\": [-1]}"},
    {false, 404, "model", "{\"model\": \"big\", \"prompt\": \"A\"}"},
    {false, 400, "model", "{\"model\": 1, \"prompt\": \"A\"}"},
    {false, 400, "max_tokens", "{\"prompt\": \"A\", \"max_tokens\": 1e2}"},
    {false, 400, "temperature", "{\"prompt\": \"A\", \"temperature\": -1}"},
    {false, 400, "n", "{\"prompt\": \"A\", \"n\": 99999999999}"},
    {false, 400, "best_of", "{\"prompt\": \"A\", \"best_of\": 2}"},
    {false, 400, "suffix", "{\"prompt\": \"A\", \"suffix\": \"B\"}"},
    {false, 400, "stream_options",
     "{\"prompt\": \"A\", \"stream_options\": {}}"},
    {false, 400, "logprobs",
     "{\"prompt\": \"A\", \"echo\": true, \"logprobs\": 1}"},
    {false, 400, NULL, "{\"prompt\": \"A\", \"messages\": []}"},
    {true, 400, "messages", "{\"messages\": {}}"},
    {true, 400, "top_logprobs",
     "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}], "
     "\"top_logprobs\": 2}"},
};

static void refuses_and_names_the_parameter(void **state)
{
    (void)state;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fo_openai_request r;
        fo_openai_error e;
        if (read_text(wrong[i].chat, wrong[i].body, &r, &e))
            fail_msg("read: %s", wrong[i].body);
        assert_null(r.ask);
        assert_int_equal(e.code, wrong[i].code);
        if (wrong[i].param)
            assert_string_equal(e.param, wrong[i].param);
        assert_true(strlen(e.message) > 5);
    }
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
}

/* Hold text back until it may be shown. */
/* What is shown of the parts, each after the other with a bar between them. */
static const char *shown(const char *const *parts, const char *stop)
{
    static char all[256];
    fo_text text = {0};
    fo_words stops[] = {{(char *)stop, stop ? strlen(stop) : 0}};
    all[0] = 0;
    for (int i = 0; parts[i]; i++) {
        assert_int_equal(fo_text_add(&text, stops, stop != NULL, parts[i],
                                     strlen(parts[i]), !parts[i + 1], NULL),
                         FO_OK);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%.*s|",
                 (int)text.ready, text.bytes);
    }
    fo_text_free(&text);
    return all;
}

#define SHOWN(stop, ...) shown((const char *const[]){__VA_ARGS__, NULL}, stop)

static void holds_characters_back_until_they_are_whole(void **state)
{
    (void)state;
    assert_string_equal(SHOWN(NULL, "a", "\xc3",
                              "\xa9"
                              "b"),
                        "a||\xc3\xa9"
                        "b|");
    assert_string_equal(SHOWN(NULL, "\xf0\x9f", "\x98", "\x80"),
                        "||\xf0\x9f\x98\x80|");
    assert_string_equal(SHOWN(NULL, "\xf0\x9f", "x"), "|\xef\xbf\xbdx|");
    assert_string_equal(SHOWN(NULL, "a\xc3"), "a\xef\xbf\xbd|");
    assert_string_equal(SHOWN(NULL, "\x80\xff"), "\xef\xbf\xbd\xef\xbf\xbd|");
    assert_string_equal(SHOWN(NULL, "\xed\xa0\x80"),
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|");
    assert_string_equal(SHOWN(NULL, "\xc3", "\xc3\xa9"),
                        "|\xef\xbf\xbd\xc3\xa9|");
}

static void holds_back_what_may_be_a_stop_text(void **state)
{
    (void)state;
    assert_string_equal(SHOWN("END", "aE", "N", "D", "b"), "a||||");
    assert_string_equal(SHOWN("END", "aE", "N", "x", "b"), "a||ENx|b|");
    assert_string_equal(SHOWN("END", "aE", "N"), "a|EN|");
    assert_string_equal(SHOWN("aab", "aa", "ab", "c"), "|a||");
    assert_string_equal(SHOWN("x", "axb", "c"), "a||");
}

/* Write an answer in both shapes. */
/* The pieces of an answer of two tokens, written; the JSON of what comes out.
 */
static json_t *written(bool chat, bool stream, int which)
{
    fo_openai_request r = must_read(
        chat, chat ? "{\"messages\": [{\"role\": \"user\", \"content\": "
                     "\"A\"}], \"seed\": 1}"
                   : "{\"prompt\": \"A\", \"seed\": 1}");
    fo_piece pieces[] = {{.kind = FO_PIECE_BEGUN, .tokens = 3},
                         {.kind = FO_PIECE_TOKEN, .text = "\"\n", .length = 2},
                         {.kind = FO_PIECE_TOKEN, .text = "b\0c", .length = 3},
                         {.kind = FO_PIECE_ENDED, .finish = FO_LENGTH}};
    char *told[5] = {0};
    json_t *json = NULL;
    r.stream = stream;
    fo_reply *reply = fo_reply_new(&r, "tiny", 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fo_reply_add(reply, &pieces[i], &told[i], NULL),
                         FO_OK);
    assert_int_equal(fo_reply_end(reply, &told[4], NULL), FO_OK);
    if (told[which]) {
        const char *text = told[which] + (stream ? 6 : 0);
        json = json_loads(text, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
    }
    for (int i = 0; i < 5; i++)
        fo_memory_free(told[i]);
    fo_reply_free(&reply);
    fo_ask_free(&r.ask);
    return json;
}

static void writes_both_shapes_whole_and_in_chunks(void **state)
{
    (void)state;
    const char *text, *object, *finish, *role;
    size_t length;
    int drawn;
    json_t *json = written(false, false, 4);
    assert_int_equal(json_unpack(json, "{s:s, s:[{s:s%, s:s}], s:{s:i}}",
                                 "object", &object, "choices", "text", &text,
                                 &length, "finish_reason", &finish, "usage",
                                 "completion_tokens", &drawn),
                     0);
    assert_string_equal(object, "text_completion");
    assert_int_equal(length, 5);
    assert_memory_equal(text, "\"\nb\0c", 5);
    assert_string_equal(finish, "length");
    assert_int_equal(drawn, 2);
    json_decref(json);
    json = written(true, true, 0);
    assert_int_equal(json_unpack(json, "{s:s, s:[{s:{s:s}}]}", "object",
                                 &object, "choices", "delta", "role", &role),
                     0);
    assert_string_equal(object, "chat.completion.chunk");
    assert_string_equal(role, "assistant");
    json_decref(json);
    json = written(true, true, 2);
    assert_int_equal(json_unpack(json, "{s:[{s:{s:s%}}]}", "choices", "delta",
                                 "content", &text, &length),
                     0);
    assert_int_equal(length, 3);
    json_decref(json);
    assert_null(written(false, true, 0));
}

/* Fail every request for memory of a reader. */
static void reading_survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char body[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}, "
        "{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", "
        "\"text\": \"B\"}]}], \"stop\": [\"x\", \"y\"]}";
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes, n = 0;
    for (bool good = false; !good;) {
        fo_openai_request r;
        fo_openai_error e;
        fo_memory_fail_at(++n);
        good = read_text(true, body, &r, &e);
        fo_memory_fail_at(0);
        if (!good)
            assert_int_equal(e.code, 503);
        fo_ask_free(&r.ask);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
    }
    print_message("%llu requests for memory, each made to fail\n",
                  (unsigned long long)n - 1);
    assert_true(n > 10);
}

/* List the tests of the shapes. */
static const struct CMUnitTest tests[] = {
    cmocka_unit_test(reads_a_question_that_says_everything),
    cmocka_unit_test(fills_in_what_a_question_leaves_out),
    cmocka_unit_test(refuses_and_names_the_parameter),
    cmocka_unit_test(holds_characters_back_until_they_are_whole),
    cmocka_unit_test(holds_back_what_may_be_a_stop_text),
    cmocka_unit_test(writes_both_shapes_whole_and_in_chunks),
    cmocka_unit_test(reading_survives_every_failed_allocation),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
