#include "common/memory.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LONGEST = 1 << 22 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Time the encoding of one text. */
/* Nanoseconds a byte, the best of several rounds; *tokens counts the ids. */
static double cost(const fo_tokenizer *tokenizer, const char *text, size_t size,
                   size_t *tokens)
{
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        int32_t *ids;
        double start = seconds();
        if (fo_tokenizer_encode(tokenizer, text, size, 0, &ids, tokens, NULL) !=
            FO_OK)
            return 0;
        double now = (seconds() - start) / (double)size * 1e9;
        best = now < best ? now : best;
        fo_memory_free(ids);
    }
    return best;
}

/* Time texts of growing length. */
int main(void)
{
    static const char prose[] =
        "A block table maps the positions of a sequence to the blocks that "
        "hold its keys and values. ";
    fo_gguf *gguf;
    fo_tokenizer *tokenizer;
    fo_error error;
    if (fo_gguf_open("golden/folio-tiny.gguf", &gguf, &error) != FO_OK ||
        fo_tokenizer_open(gguf, &tokenizer, &error) != FO_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    char *english = fo_memory_alloc(LONGEST, 1, NULL);
    char *same = fo_memory_alloc(LONGEST, 1, NULL);
    if (english == NULL || same == NULL)
        return 1;
    for (size_t i = 0; i < LONGEST; i++)
        english[i] = prose[i % (sizeof prose - 1)];
    memset(same, 'e', LONGEST);
    puts("| bytes | tokens of English | English, ns/byte | one letter, "
         "ns/byte |\n|---|---|---|---|");
    for (size_t size = 1 << 10; size <= LONGEST; size *= 16) {
        size_t tokens, unused;
        double prose_cost = cost(tokenizer, english, size, &tokens);
        printf("| %zu | %zu | %.0f | %.0f |\n", size, tokens, prose_cost,
               cost(tokenizer, same, size, &unused));
    }
    fo_memory_free(english);
    fo_memory_free(same);
    fo_tokenizer_close(&tokenizer);
    fo_gguf_close(&gguf);
    return 0;
}
