/* Conversations as the text a model was trained on. Sources: the Phi-3 model
 * card; "Llama 2: Open Foundation and Fine-Tuned Chat Models" (Touvron et al.,
 * 2023) and its reference code; the Llama 3 model card. */
#ifndef FOLIO_MODEL_CHAT_H
#define FOLIO_MODEL_CHAT_H

#include "model/gguf.h"

typedef enum fo_chat_template {
    FO_CHAT_PHI3,
    FO_CHAT_LLAMA2,
    FO_CHAT_LLAMA3,
} fo_chat_template;

typedef enum fo_chat_role {
    FO_CHAT_SYSTEM,
    FO_CHAT_USER,
    FO_CHAT_ASSISTANT,
} fo_chat_role;

typedef struct fo_chat_message {
    fo_chat_role role;
    const char *text;
    size_t length; /* bytes of text */
} fo_chat_message;

/* Which of the templates `tokenizer.chat_template` is. FO_UNKNOWN: the file has
 * none; FO_UNSUPPORTED: none that Folio knows. */
fo_status fo_chat_recognise(const fo_gguf *gguf, fo_chat_template *out,
                            fo_error *error);

/* The whole conversation and the opening of the assistant's answer, to be
 * encoded with BOS and special tokens. `*text` is the caller's, to be freed
 * with fo_memory_free; a zero follows its *length bytes. FO_ARG: the template
 * has no place for these roles in this order; FO_NOMEM. */
fo_status fo_chat_format(fo_chat_template kind, const fo_chat_message *messages,
                         int count, char **text, size_t *length,
                         fo_error *error);

#endif
