/* GGUF files in memory, honest or not, and a device that counts what it maps.
 */
#ifndef FOLIO_TESTS_MODEL_FILE_H
#define FOLIO_TESTS_MODEL_FILE_H

#include "common/backend.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

/* Describe a file in the making. */
typedef struct bytes {
    unsigned char *data;
    size_t size, room;
} bytes;

typedef struct model_file {
    uint32_t version;
    uint64_t entries, tensors; /* counts as the head will state them */
    bytes metadata, descriptions, data;
} model_file;

model_file *model_file_new(void);

void put_u32(model_file *file, const char *key, uint32_t value);
void put_f32(model_file *file, const char *key, float value);
void put_bool(model_file *file, const char *key, bool value);
void put_text(model_file *file, const char *key, const char *value);
void put_strings(model_file *file, const char *key, const char *const *values,
                 uint64_t count);
void put_numbers(model_file *file, const char *key, fo_gguf_type type,
                 const void *values, uint64_t count);
/* A value of which the test states every byte. */
void put_raw(model_file *file, const char *key, uint32_t type,
             const void *value, size_t size);

/* Data at the next multiple of 32, or a description alone. */
void put_tensor(model_file *file, const char *name, uint32_t type, int rank,
                const uint64_t *dims, const void *data, size_t size);
void describe_tensor(model_file *file, const char *name, uint32_t type,
                     uint32_t rank, const uint64_t *dims, uint64_t offset);

/* The bytes of the file, aligned to 64, to be freed; `file` is gone. */
unsigned char *model_file_finish(model_file *file, size_t *size);

/* Describe a small model. */
typedef struct small_model {
    fo_arch arch;
    uint32_t type; /* of matrices: 0 f32, 1 f16, 2 q4_0, 8 q8_0, 30 bf16 */
    bool tied;
    const char *drop;  /* a key or tensor to leave out                   */
    const char *extra; /* a tensor of 32 floats to add                   */
} small_model;

/* Two layers, C 32, H 4, K 2, D 8, F 96 and a whole vocabulary; the weights
 * are zeros. */
model_file *small_model_new(const small_model *options);

/* The vocabulary alone: three specials, 256 bytes, some words, Phi-3's turns.
 */
void put_vocabulary(model_file *file, fo_arch arch);
enum { SMALL_VOCABULARY = 300 };

/* Declare the counting device. */
typedef struct counting_device {
    fo_device base;
    int mapped;  /* maps not yet unmapped           */
    int fail_at; /* the n-th map fails; 0: none does */
} counting_device;

extern const fo_backend counting_backend;

#endif
