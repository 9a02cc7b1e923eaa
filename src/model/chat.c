#include "model/chat.h"

#include "common/memory.h"

#include <assert.h>
#include <string.h>

/* Recognise a template. */
fo_status fo_chat_recognise(const fo_gguf *gguf, fo_chat_template *out,
                            fo_error *error)
{
    static const struct {
        fo_chat_template kind;
        const char *marks[2];
    } known[] = {
        {FO_CHAT_PHI3, {"<|assistant|>", "<|end|>"}},
        {FO_CHAT_LLAMA3, {"<|start_header_id|>", "<|eot_id|>"}},
        {FO_CHAT_LLAMA2, {"[INST]", "<<SYS>>"}},
    };
    fo_gguf_string text = {0};
    fo_status status =
        fo_gguf_text(gguf, "tokenizer.chat_template", &text, error);
    if (status != FO_OK)
        return status;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *const *marks = known[i].marks;
        if (memmem(text.data, text.length, marks[0], strlen(marks[0])) &&
            memmem(text.data, text.length, marks[1], strlen(marks[1]))) {
            *out = known[i].kind;
            return FO_OK;
        }
    }
    char shown[64];
    return fo_fail(error, FO_UNSUPPORTED,
                   "a chat template that is not Phi-3's, Llama 2's or Llama "
                   "3's: %s",
                   fo_gguf_string_show(text, shown, sizeof shown));
}

/* Write text, or only count it. */
typedef struct page {
    char *text; /* null: only count */
    size_t length;
} page;

static void put(page *to, const char *text, size_t length)
{
    if (to->text != NULL && length > 0)
        memcpy(to->text + to->length, text, length);
    to->length += length;
}

static void put_mark(page *to, const char *mark)
{
    put(to, mark, strlen(mark));
}

static void put_message(page *to, const fo_chat_message *message)
{
    put(to, message->text, message->length);
}

/* Write a conversation for Phi-3. */
static void write_phi3(page *to, const fo_chat_message *messages, int count)
{
    static const char *const names[] = {
        [FO_CHAT_SYSTEM] = "<|system|>\n",
        [FO_CHAT_USER] = "<|user|>\n",
        [FO_CHAT_ASSISTANT] = "<|assistant|>\n",
    };
    for (int i = 0; i < count; i++) {
        put_mark(to, names[messages[i].role]);
        put_message(to, &messages[i]);
        put_mark(to, "<|end|>\n");
    }
    put_mark(to, "<|assistant|>\n");
}

/* Write a conversation for Llama 2. */
static void write_llama2(page *to, const fo_chat_message *messages, int count)
{
    for (int i = 0; i < count; i++) {
        const fo_chat_message *message = &messages[i];
        if (message->role == FO_CHAT_ASSISTANT) {
            put_mark(to, " ");
            put_message(to, message);
            put_mark(to, " </s><s>");
        } else if (message->role == FO_CHAT_SYSTEM) {
            put_mark(to, "[INST] <<SYS>>\n");
            put_message(to, message);
            put_mark(to, "\n<</SYS>>\n\n");
        } else {
            if (i == 0 || messages[i - 1].role != FO_CHAT_SYSTEM)
                put_mark(to, "[INST] ");
            put_message(to, message);
            put_mark(to, " [/INST]");
        }
    }
}

/* Write a conversation for Llama 3. */
static void write_llama3(page *to, const fo_chat_message *messages, int count)
{
    static const char *const names[] = {
        [FO_CHAT_SYSTEM] = "system",
        [FO_CHAT_USER] = "user",
        [FO_CHAT_ASSISTANT] = "assistant",
    };
    for (int i = 0; i <= count; i++) {
        put_mark(to, "<|start_header_id|>");
        put_mark(to, names[i < count ? messages[i].role : FO_CHAT_ASSISTANT]);
        put_mark(to, "<|end_header_id|>\n\n");
        if (i < count) {
            put_message(to, &messages[i]);
            put_mark(to, "<|eot_id|>");
        }
    }
}

/* Format a conversation. */
/* Check the order of roles. */
static fo_status check_roles(fo_chat_template kind,
                             const fo_chat_message *messages, int count,
                             fo_error *error)
{
    if (count < 1 || messages[count - 1].role != FO_CHAT_USER)
        return fo_fail(error, FO_ARG,
                       "a conversation must end with the user's message");
    for (int i = 0; i < count; i++) {
        bool turns = i == 0 || messages[i].role != messages[i - 1].role;
        if (messages[i].role == FO_CHAT_SYSTEM && i > 0)
            return fo_fail(error, FO_ARG,
                           "message %d: only the first may be the system's",
                           i + 1);
        if (kind == FO_CHAT_LLAMA2 &&
            (!turns || messages[0].role == FO_CHAT_ASSISTANT ||
             (i == 1 && messages[0].role == FO_CHAT_SYSTEM &&
              messages[1].role != FO_CHAT_USER)))
            return fo_fail(error, FO_ARG,
                           "message %d: user and assistant must take turns, "
                           "the user first",
                           i + 1);
    }
    return FO_OK;
}

fo_status fo_chat_format(fo_chat_template kind, const fo_chat_message *messages,
                         int count, char **text, size_t *length,
                         fo_error *error)
{
    static void (*const writers[])(page *, const fo_chat_message *, int) = {
        [FO_CHAT_PHI3] = write_phi3,
        [FO_CHAT_LLAMA2] = write_llama2,
        [FO_CHAT_LLAMA3] = write_llama3,
    };
    *text = NULL;
    *length = 0;
    fo_status status = check_roles(kind, messages, count, error);
    if (status != FO_OK)
        return status;
    page counted = {0};
    writers[kind](&counted, messages, count);
    page written = {fo_memory_alloc(counted.length + 1, 1, error), 0};
    if (written.text == NULL)
        return FO_NOMEM;
    writers[kind](&written, messages, count);
    assert(written.length == counted.length);
    *text = written.text;
    *length = written.length;
    return FO_OK;
}
