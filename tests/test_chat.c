#include "common/memory.h"
#include "model/chat.h"
#include "model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Say a conversation. */
/* One letter a role: s, u, a. The text of message i is "m" and i. */
static fo_status say(fo_chat_template kind, const char *roles, char **text,
                     size_t *length)
{
    static const char *const texts[] = {"m0", "m1", "m2", "m3", "m4"};
    fo_chat_message messages[5];
    int count = (int)strlen(roles);
    for (int i = 0; i < count; i++)
        messages[i] = (fo_chat_message){roles[i] == 's'   ? FO_CHAT_SYSTEM
                                        : roles[i] == 'u' ? FO_CHAT_USER
                                                          : FO_CHAT_ASSISTANT,
                                        texts[i], 2};
    return fo_chat_format(kind, messages, count, text, length, NULL);
}

static void check_text(fo_chat_template kind, const char *roles,
                       const char *want)
{
    char *text;
    size_t length;
    assert_int_equal(say(kind, roles, &text, &length), FO_OK);
    assert_string_equal(text, want);
    assert_int_equal(length, strlen(want));
    fo_memory_free(text);
}

/* Check each template. */
static void writes_each_template(void **state)
{
    (void)state;
    check_text(FO_CHAT_PHI3, "u", "<|user|>\nm0<|end|>\n<|assistant|>\n");
    check_text(FO_CHAT_PHI3, "suau",
               "<|system|>\nm0<|end|>\n<|user|>\nm1<|end|>\n<|assistant|>\nm2"
               "<|end|>\n<|user|>\nm3<|end|>\n<|assistant|>\n");
    check_text(FO_CHAT_LLAMA2, "u", "[INST] m0 [/INST]");
    check_text(FO_CHAT_LLAMA2, "suau",
               "[INST] <<SYS>>\nm0\n<</SYS>>\n\nm1 [/INST] m2 </s><s>[INST] "
               "m3 [/INST]");
    check_text(FO_CHAT_LLAMA3, "su",
               "<|start_header_id|>system<|end_header_id|>\n\nm0<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nm1<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

/* Check what has no place. */
static void refuses_other_orders(void **state)
{
    (void)state;
    static const struct {
        fo_chat_template kind;
        const char *roles;
    } wrong[] = {{FO_CHAT_PHI3, ""},     {FO_CHAT_PHI3, "ua"},
                 {FO_CHAT_PHI3, "usu"},  {FO_CHAT_LLAMA3, "s"},
                 {FO_CHAT_LLAMA2, "uu"}, {FO_CHAT_LLAMA2, "au"},
                 {FO_CHAT_LLAMA2, "sau"}};
    char *text;
    size_t length;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(say(wrong[i].kind, wrong[i].roles, &text, &length),
                         FO_ARG);
        assert_null(text);
    }
}

/* Check which template a file has. */
static fo_status recognise(const char *template, fo_chat_template *kind)
{
    size_t size;
    fo_gguf *gguf;
    model_file *file = model_file_new();
    if (template != NULL)
        put_text(file, "tokenizer.chat_template", template);
    unsigned char *data = model_file_finish(file, &size);
    assert_int_equal(fo_gguf_parse(data, size, &gguf, NULL), FO_OK);
    fo_status status = fo_chat_recognise(gguf, kind, NULL);
    fo_gguf_close(&gguf);
    free(data);
    return status;
}

static void recognises_templates(void **state)
{
    (void)state;
    fo_chat_template kind;
    assert_int_equal(recognise("'<|user|>' '<|end|>' '<|assistant|>'", &kind),
                     FO_OK);
    assert_int_equal(kind, FO_CHAT_PHI3);
    assert_int_equal(recognise("'[INST] ' + '<<SYS>>\n'", &kind), FO_OK);
    assert_int_equal(kind, FO_CHAT_LLAMA2);
    assert_int_equal(recognise("<|start_header_id|> <|eot_id|>", &kind), FO_OK);
    assert_int_equal(kind, FO_CHAT_LLAMA3);
    assert_int_equal(recognise("<|im_start|>", &kind), FO_UNSUPPORTED);
    assert_int_equal(recognise("", &kind), FO_UNSUPPORTED);
    assert_int_equal(recognise(NULL, &kind), FO_UNKNOWN);
}

static void fails_without_memory(void **state)
{
    (void)state;
    char *text;
    size_t length;
    fo_memory_fail_at(1);
    assert_int_equal(say(FO_CHAT_PHI3, "u", &text, &length), FO_NOMEM);
    fo_memory_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_each_template),
        cmocka_unit_test(refuses_other_orders),
        cmocka_unit_test(recognises_templates),
        cmocka_unit_test(fails_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
