#include "app/golden_case.h"

#include "app/app.h"
#include "common/memory.h"
#include "common/rng.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Take memory or end the program. */
static void *owned(size_t bytes)
{
    fo_error error;
    void *memory = fo_memory_alloc(bytes, 1, &error);
    if (!memory)
        exit(app_fail(&error));
    return memory;
}

/* Add a tensor to a case. */
void *golden_case_tensor(golden_case *made, const char *name, fo_dtype dtype,
                         int rank, const int64_t *shape)
{
    assert(made->count < GOLDEN_TENSORS && rank <= FO_SAFETENSORS_MAX_RANK);
    fo_safetensor *tensor = &made->tensors[made->count++];
    *tensor = (fo_safetensor){.name = name, .dtype = dtype, .rank = rank};
    int64_t values = 1;
    for (int i = 0; i < rank; i++) {
        tensor->shape[i] = shape[i];
        values *= shape[i];
    }
    tensor->bytes = fo_dtype_bytes(dtype, values);
    tensor->data = owned(tensor->bytes);
    return (void *)tensor->data;
}

/* Add a word to a case. */
void golden_case_word(golden_case *made, const char *key, const char *format,
                      ...)
{
    enum { LONGEST = 256 };
    assert(made->word_count < GOLDEN_WORDS);
    char *text = owned(LONGEST);
    va_list values;
    va_start(values, format);
    vsnprintf(text, LONGEST, format, values);
    va_end(values);
    made->words[made->word_count++] = (fo_metadata){key, text};
}

/* Draw a case's numbers by counter. */
float golden_case_draw(golden_case *made)
{
    return 2 * fo_rng_uniform(made->seed, 0, made->drawn++) - 1;
}

int golden_case_choose(golden_case *made, int below)
{
    return (int)(fo_rng_uniform(made->seed, 0, made->drawn++) * below);
}

/* Free what a case owns. */
void golden_case_close(golden_case *made)
{
    for (int i = 0; i < made->count; i++)
        fo_memory_free((void *)made->tensors[i].data);
    for (int i = 0; i < made->word_count; i++)
        fo_memory_free((void *)made->words[i].value);
    *made = (golden_case){0};
}
