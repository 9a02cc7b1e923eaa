#include "common/memory.h"
#include "model/tokenizer.h"
#include "model_file.h"

#include <stdlib.h>
#include <string.h>

/* Open a vocabulary once. */
static const fo_tokenizer *vocabulary(void)
{
    static fo_tokenizer *tokenizer;
    static fo_gguf *gguf;
    static unsigned char *bytes;
    size_t size;
    if (tokenizer != NULL)
        return tokenizer;
    model_file *file = model_file_new();
    put_vocabulary(file, FO_ARCH_PHI3);
    bytes = model_file_finish(file, &size);
    if (fo_gguf_parse(bytes, size, &gguf, NULL) != FO_OK ||
        fo_tokenizer_open(gguf, &tokenizer, NULL) != FO_OK)
        abort();
    return tokenizer;
}

/* Decode and compare. */
static void compare(const fo_tokenizer *tokenizer, const int32_t *ids,
                    size_t count, const char *text, size_t size)
{
    char piece[64];
    size_t at = 0, length;
    for (size_t i = 0; i < count; i++) {
        if (fo_tokenizer_decode(tokenizer, ids[i], i == 0, piece, sizeof piece,
                                &length, NULL) != FO_OK)
            abort();
        for (size_t k = 0; k < length; k++) {
            bool mark =
                at + 3 <= size && memcmp(text + at, "\xe2\x96\x81", 3) == 0;
            if (at >= size || piece[k] != (mark ? ' ' : text[at]))
                abort();
            at += mark ? 3 : 1;
        }
    }
    if (at != size)
        abort();
}

/* A libFuzzer target: decoding what was encoded gives the bytes again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fo_tokenizer *tokenizer = vocabulary();
    int32_t *ids;
    size_t count;
    const char *text = (const char *)data;
    if (fo_tokenizer_encode(tokenizer, text, size, 0, &ids, &count, NULL) !=
        FO_OK)
        abort();
    compare(tokenizer, ids, count, text, size);
    fo_memory_free(ids);
    if (fo_tokenizer_encode(tokenizer, text, size,
                            FO_TOKENIZER_BOS | FO_TOKENIZER_SPECIAL, &ids,
                            &count, NULL) != FO_OK ||
        count > 2 * size + 2)
        abort();
    fo_memory_free(ids);
    return 0;
}
