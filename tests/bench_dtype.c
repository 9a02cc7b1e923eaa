#include "common/dtype.h"
#include "common/memory.h"

#include <stdio.h>
#include <time.h>

enum { ROW = 4096, ROUNDS = 40, SOURCE = 64 << 20 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Read `rows` rows, `step` bytes apart, into one buffer; the best of several
 * rounds, in bytes of source a second. */
static double rate(fo_dtype dtype, const char *from, size_t step, size_t rows,
                   float *to)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (size_t row = 0; row < rows; row++) {
            fo_dtype_load(dtype, from + row * step, to, ROW);
            __asm__ volatile("" ::"r"(to) : "memory");
        }
        double now =
            (double)(rows * fo_dtype_bytes(dtype, ROW)) / (seconds() - start);
        best = now > best ? now : best;
    }
    return best;
}

int main(void)
{
    const fo_dtype types[] = {FO_F32, FO_F16, FO_BF16, FO_Q8_0, FO_Q4_0};
    char *source = fo_memory_alloc(SOURCE, 1, NULL);
    float *row = fo_memory_alloc(ROW, sizeof *row, NULL);
    if (!source || !row)
        return 1;
    for (size_t i = 0; i < SOURCE; i++)
        source[i] = (char)((i * 7 + (i >> 9)) & 0x3f);
    puts("| type | from cache, GB/s | from memory, GB/s | from cache, "
         "10^9 values/s |\n|---|---|---|---|");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t bytes = fo_dtype_bytes(types[i], ROW);
        double near = rate(types[i], source, 0, 500, row);
        double far = rate(types[i], source, bytes, SOURCE / bytes, row);
        printf("| %s | %.1f | %.1f | %.1f |\n",
               fo_dtype_info_get(types[i])->name, near / 1e9, far / 1e9,
               near / (double)bytes * ROW / 1e9);
    }
    fo_memory_free(source);
    fo_memory_free(row);
    return 0;
}
