#include "server/ask.h"

#include "common/memory.h"

fo_ask *fo_ask_new(fo_ask_kind kind, fo_error *error)
{
    fo_ask *ask = fo_memory_alloc(1, sizeof *ask, error);
    if (ask)
        *ask = (fo_ask){.kind = kind, .n = 1, .sampling.top_p = 1};
    return ask;
}

void fo_ask_free(fo_ask **ask)
{
    fo_ask *a = *ask;
    if (!a)
        return;
    for (int i = 0; i < a->prompt_count; i++) {
        fo_memory_free(a->prompts[i].words.text);
        fo_memory_free(a->prompts[i].tokens);
    }
    for (int i = 0; i < a->message_count; i++)
        fo_memory_free((char *)a->messages[i].text);
    for (int i = 0; i < a->stop_count; i++)
        fo_memory_free(a->stops[i].text);
    fo_memory_free(a->prompts);
    fo_memory_free(a->messages);
    fo_memory_free(a->stops);
    fo_memory_free(a);
    *ask = NULL;
}

int fo_ask_choices(const fo_ask *ask)
{
    return ask->kind == FO_ASK_TEXT   ? ask->prompt_count * ask->n
           : ask->kind == FO_ASK_CHAT ? ask->n
                                      : 0;
}
