#include "model/weights.h"
#include "model_file.h"

#include <stdio.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Read every byte of the tensors. */
static uint64_t read_all(const fo_gguf *gguf)
{
    uint64_t sum = 0;
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        const fo_gguf_tensor *tensor = fo_gguf_tensor_at(gguf, i);
        const unsigned char *data = tensor->data;
        for (uint64_t at = 0; at < tensor->bytes; at++)
            sum += data[at];
    }
    return sum;
}

/* Time the opening of a file. */
static void measure(const char *path)
{
    double open_best = 1e9, read_best = 1e9;
    fo_error error;
    fo_gguf *gguf = NULL;
    uint64_t bytes = 0, sum = 0;
    int tensors = 0;
    for (int round = 0; round < 5; round++) {
        counting_device device = {.base = {&counting_backend}};
        fo_config config;
        fo_weights *weights = NULL;
        double start = seconds();
        if (fo_gguf_open(path, &gguf, &error) != FO_OK ||
            fo_config_read(gguf, &config, &error) != FO_OK ||
            fo_weights_open(&device.base, gguf, &config, &weights, &error) !=
                FO_OK) {
            fprintf(stderr, "%s: %s\n", path, error.message);
            fo_gguf_close(&gguf);
            return;
        }
        double opened = seconds();
        sum += read_all(gguf);
        double done = seconds();
        open_best = opened - start < open_best ? opened - start : open_best;
        read_best = done - opened < read_best ? done - opened : read_best;
        bytes = fo_gguf_bytes(gguf);
        tensors = fo_gguf_tensor_count(gguf);
        fo_weights_close(&weights);
        fo_gguf_close(&gguf);
    }
    printf("| %llu | %d | %.2f | %.1f |\n", (unsigned long long)bytes, tensors,
           open_best * 1e3, read_best * 1e3);
    fprintf(stderr, "%s: sum of bytes %llu\n", path, (unsigned long long)sum);
}

/* Usage: bench_gguf FILE... */
int main(int count, char **paths)
{
    puts("| file, bytes | tensors | open, ms | read all once, ms |\n"
         "|---|---|---|---|");
    for (int i = 1; i < count; i++)
        measure(paths[i]);
    return 0;
}
