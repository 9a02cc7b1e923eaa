#include "common/memory.h"
#include "model/tokenizer.h"
#include "model/weights.h"
#include "model_file.h"

#include <stdlib.h>
#include <string.h>

/* Free ids that are all in the vocabulary. */
static void free_ids(const fo_tokenizer *tokenizer, int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= fo_tokenizer_size(tokenizer))
            abort();
    fo_memory_free(ids);
}

/* Open whatever parses. */
static void open_the_rest(const fo_gguf *gguf)
{
    counting_device device = {.base = {&counting_backend}};
    fo_config config;
    fo_weights *weights = NULL;
    fo_tokenizer *tokenizer = NULL;
    int32_t *ids;
    size_t count;
    fo_error error;
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        const fo_gguf_tensor *tensor = fo_gguf_tensor_at(gguf, i);
        for (uint64_t byte = 0; byte < tensor->bytes; byte++)
            (void)((const volatile unsigned char *)tensor->data)[byte];
    }
    if (fo_config_read(gguf, &config, &error) == FO_OK)
        fo_weights_open(&device.base, gguf, &config, &weights, &error);
    fo_weights_close(&weights);
    if (device.mapped != 0)
        abort();
    if (fo_tokenizer_open(gguf, &tokenizer, &error) == FO_OK &&
        fo_tokenizer_encode(tokenizer, "a \xff<s>hello", 10, 3, &ids, &count,
                            &error) == FO_OK)
        free_ids(tokenizer, ids, count);
    fo_tokenizer_close(&tokenizer);
}

/* A libFuzzer target: any bytes open as a model or are refused. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *copy = NULL;
    if (posix_memalign((void **)&copy, 64, size > 0 ? size : 1) != 0)
        return 0;
    memcpy(copy, data, size);
    fo_gguf *gguf;
    fo_error error;
    if (fo_gguf_parse(copy, size, &gguf, &error) == FO_OK)
        open_the_rest(gguf);
    fo_gguf_close(&gguf);
    free(copy);
    return 0;
}

/* Begin with a good file. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned int seed)
{
    if (size < 64) {
        small_model options = {.arch =
                                   seed % 2 == 0 ? FO_ARCH_PHI3 : FO_ARCH_LLAMA,
                               .type = 8,
                               .tied = seed % 3 == 0};
        size_t whole;
        unsigned char *good =
            model_file_finish(small_model_new(&options), &whole);
        if (whole <= most) {
            memcpy(data, good, whole);
            size = whole;
        }
        free(good);
    }
    return LLVMFuzzerMutate(data, size, most);
}
