#include "model_file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Grow a buffer. */
static void append(bytes *to, const void *data, size_t size)
{
    while (to->size + size > to->room) {
        to->room = to->room == 0 ? 256 : 2 * to->room;
        to->data = realloc(to->data, to->room);
        assert(to->data != NULL);
    }
    if (size > 0)
        memcpy(to->data + to->size, data, size);
    to->size += size;
}

static void append_u32(bytes *to, uint32_t value)
{
    append(to, &value, sizeof value);
}

static void append_u64(bytes *to, uint64_t value)
{
    append(to, &value, sizeof value);
}

static void append_string(bytes *to, const char *text)
{
    append_u64(to, strlen(text));
    append(to, text, strlen(text));
}

static void pad(bytes *to, size_t alignment)
{
    while (to->size % alignment != 0)
        append(to, "", 1);
}

/* Write metadata. */
model_file *model_file_new(void)
{
    model_file *file = calloc(1, sizeof *file);
    assert(file != NULL);
    file->version = 3;
    return file;
}

void put_raw(model_file *file, const char *key, uint32_t type,
             const void *value, size_t size)
{
    append_string(&file->metadata, key);
    append_u32(&file->metadata, type);
    append(&file->metadata, value, size);
    file->entries++;
}

void put_u32(model_file *file, const char *key, uint32_t value)
{
    put_raw(file, key, FO_GGUF_U32, &value, sizeof value);
}

void put_f32(model_file *file, const char *key, float value)
{
    put_raw(file, key, FO_GGUF_F32, &value, sizeof value);
}

void put_bool(model_file *file, const char *key, bool value)
{
    put_raw(file, key, FO_GGUF_BOOL, &(char){value}, 1);
}

void put_text(model_file *file, const char *key, const char *value)
{
    put_raw(file, key, FO_GGUF_STRING, NULL, 0);
    append_string(&file->metadata, value);
}

/* Write arrays. */
static void put_array(model_file *file, const char *key, fo_gguf_type type,
                      uint64_t count)
{
    put_raw(file, key, FO_GGUF_ARRAY, NULL, 0);
    append_u32(&file->metadata, type);
    append_u64(&file->metadata, count);
}

void put_strings(model_file *file, const char *key, const char *const *values,
                 uint64_t count)
{
    put_array(file, key, FO_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        append_string(&file->metadata, values[i]);
}

void put_numbers(model_file *file, const char *key, fo_gguf_type type,
                 const void *values, uint64_t count)
{
    static const size_t sizes[FO_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4,
                                                     1, 0, 0, 8, 8, 8};
    put_array(file, key, type, count);
    append(&file->metadata, values, count * sizes[type]);
}

/* Write tensors. */
void describe_tensor(model_file *file, const char *name, uint32_t type,
                     uint32_t rank, const uint64_t *dims, uint64_t offset)
{
    append_string(&file->descriptions, name);
    append_u32(&file->descriptions, rank);
    for (uint32_t d = 0; d < rank; d++)
        append_u64(&file->descriptions, dims[d]);
    append_u32(&file->descriptions, type);
    append_u64(&file->descriptions, offset);
    file->tensors++;
}

void put_tensor(model_file *file, const char *name, uint32_t type, int rank,
                const uint64_t *dims, const void *data, size_t size)
{
    pad(&file->data, 32);
    describe_tensor(file, name, type, (uint32_t)rank, dims, file->data.size);
    append(&file->data, data, size);
}

/* Join the parts of a file. */
unsigned char *model_file_finish(model_file *file, size_t *size)
{
    bytes all = {0};
    append(&all, "GGUF", 4);
    append_u32(&all, file->version);
    append_u64(&all, file->tensors);
    append_u64(&all, file->entries);
    append(&all, file->metadata.data, file->metadata.size);
    append(&all, file->descriptions.data, file->descriptions.size);
    pad(&all, 32);
    append(&all, file->data.data, file->data.size);
    unsigned char *aligned = aligned_alloc(64, (all.size + 63) / 64 * 64);
    assert(aligned != NULL);
    memcpy(aligned, all.data, all.size);
    *size = all.size;
    free(all.data);
    free(file->metadata.data);
    free(file->descriptions.data);
    free(file->data.data);
    free(file);
    return aligned;
}

/* Write a small vocabulary. */
#define SPACE "\xe2\x96\x81"

static const char *const words[] = {
    SPACE,     "a",           "b",         "c",        "d",         "e",
    "h",       "k",           "l",         "o",        "t",         "w",
    "ab",      "bc",          "he",        "ll",       "bl",        "th",
    SPACE "a", "ock",         "lo",        SPACE "bl", "the",       SPACE "the",
    "ck",      SPACE "block", "block",     "aa",       SPACE SPACE, "hell",
    "hello",   SPACE "hello", "<unused0>", "bb",       "bbb"};

static const char *const turns[] = {"<|endoftext|>", "<|assistant|>",
                                    "<|system|>",    "<|end|>",
                                    "<|user|>",      "<user>"};

enum { WORDS = sizeof words / sizeof *words };

void put_vocabulary(model_file *file, fo_arch arch)
{
    static char names[256][8];
    const char *pieces[SMALL_VOCABULARY] = {"<unk>", "<s>", "</s>"};
    float scores[SMALL_VOCABULARY] = {0};
    int32_t types[SMALL_VOCABULARY] = {FO_TOKEN_UNKNOWN, FO_TOKEN_CONTROL,
                                       FO_TOKEN_CONTROL};
    for (int i = 3; i < SMALL_VOCABULARY; i++) {
        int word = i - 259, turn = word - WORDS;
        types[i] = FO_TOKEN_NORMAL;
        scores[i] = (float)-i;
        if (word < 0) {
            snprintf(names[i - 3], sizeof *names, "<0x%02X>", i - 3U);
            pieces[i] = names[i - 3];
            types[i] = FO_TOKEN_BYTE;
        } else if (turn < 0) {
            pieces[i] = words[word];
            if (strcmp(words[word], "bb") == 0)
                types[i] = FO_TOKEN_UNUSED;
        } else {
            pieces[i] = turns[turn];
            types[i] = turn < 5 ? FO_TOKEN_CONTROL : FO_TOKEN_USER_DEFINED;
        }
    }
    /* Write the keys of the tokenizer. */
    put_text(file, "tokenizer.ggml.model", "llama");
    put_strings(file, "tokenizer.ggml.tokens", pieces, SMALL_VOCABULARY);
    put_numbers(file, "tokenizer.ggml.scores", FO_GGUF_F32, scores,
                SMALL_VOCABULARY);
    put_numbers(file, "tokenizer.ggml.token_type", FO_GGUF_I32, types,
                SMALL_VOCABULARY);
    put_u32(file, "tokenizer.ggml.bos_token_id", 1);
    put_u32(file, "tokenizer.ggml.eos_token_id",
            arch == FO_ARCH_PHI3 ? 259 + WORDS : 2);
    put_u32(file, "tokenizer.ggml.unknown_token_id", 0);
    put_text(file, "tokenizer.chat_template",
             arch == FO_ARCH_PHI3
                 ? "{{'<|user|>\n' + m + '<|end|>\n<|assistant|>'}}"
                 : "{{'[INST] <<SYS>>' + m + '[/INST]'}}");
}

/* Write a small model. */
typedef struct writer {
    model_file *file;
    const small_model *options;
} writer;

static void matrix(writer *to, const char *name, uint64_t R, uint64_t C,
                   bool norm)
{
    static const unsigned char zeros[SMALL_VOCABULARY * 32 * 4];
    uint32_t type = norm ? 0 : to->options->type;
    size_t bytes = type == 0   ? R * C * 4
                   : type == 2 ? R * C / 32 * 18
                   : type == 8 ? R * C / 32 * 34
                               : R * C * 2;
    if (to->options->drop == NULL || strcmp(to->options->drop, name) != 0)
        put_tensor(to->file, name, type, norm ? 1 : 2, (uint64_t[]){C, R},
                   zeros, bytes);
}

/* Write one layer of a small model. */
static void write_layer(writer *to, int l)
{
    static const struct {
        const char *part;
        uint64_t R, C; /* R 1: a norm */
        bool in[2];    /* Phi-3, Llama */
    } parts[] = {{"attn_norm", 1, 32, {true, true}},
                 {"attn_qkv", 64, 32, {true, false}},
                 {"attn_q", 32, 32, {false, true}},
                 {"attn_k", 16, 32, {false, true}},
                 {"attn_v", 16, 32, {false, true}},
                 {"attn_output", 32, 32, {true, true}},
                 {"ffn_norm", 1, 32, {true, true}},
                 {"ffn_gate", 96, 32, {false, true}},
                 {"ffn_down", 32, 96, {true, true}}};
    char name[64];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, parts[i].part);
        if (parts[i].in[to->options->arch])
            matrix(to, name, parts[i].R, parts[i].C, parts[i].R == 1);
    }
    snprintf(name, sizeof name, "blk.%d.ffn_up.weight", l);
    matrix(to, name, to->options->arch == FO_ARCH_PHI3 ? 192 : 96, 32, false);
}

/* Write the numbers of a small model. */
static void write_numbers(writer *to)
{
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"context_length", 64},      {"embedding_length", 32},
                   {"feed_forward_length", 96}, {"block_count", 2},
                   {"attention.head_count", 4}, {"attention.head_count_kv", 2},
                   {"rope.dimension_count", 8}};
    const char *arch = fo_arch_name(to->options->arch);
    const char *drop = to->options->drop == NULL ? "" : to->options->drop;
    char key[96];
    put_text(to->file, "general.architecture", arch);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, numbers[i].key);
        if (strcmp(drop, numbers[i].key) != 0)
            put_u32(to->file, key, numbers[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    put_f32(to->file, key, 1e-5F);
}

model_file *small_model_new(const small_model *options)
{
    writer to = {model_file_new(), options};
    write_numbers(&to);
    put_vocabulary(to.file, options->arch);
    matrix(&to, "token_embd.weight", SMALL_VOCABULARY, 32, false);
    for (int l = 0; l < 2; l++)
        write_layer(&to, l);
    matrix(&to, "output_norm.weight", 1, 32, true);
    if (!options->tied)
        matrix(&to, "output.weight", SMALL_VOCABULARY, 32, false);
    if (options->extra != NULL)
        matrix(&to, options->extra, 1, 32, true);
    return to.file;
}

/* Count what is mapped. */
static fo_status count_map(fo_device *device, const void *host, size_t size,
                           const void **out, fo_error *error)
{
    counting_device *counter = (counting_device *)device;
    if (counter->fail_at > 0 && --counter->fail_at == 0)
        return fo_fail_short(error, FO_NOMEM, size, 0,
                             "the counting device is full");
    counter->mapped++;
    *out = host;
    return FO_OK;
}

static void count_unmap(fo_device *device, const void *data)
{
    assert(data != NULL);
    ((counting_device *)device)->mapped--;
}

const fo_backend counting_backend = {
    .name = "counting",
    .map = count_map,
    .unmap = count_unmap,
};
