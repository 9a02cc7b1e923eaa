/* Reading a GGUF file from front to back; private to the gguf files. */
#ifndef FOLIO_MODEL_GGUF_READER_H
#define FOLIO_MODEL_GGUF_READER_H

#include "common/file_map.h"
#include "model/gguf.h"
#include "model/name_table.h"

/* Hold a place in the bytes of a file. */
typedef struct fo_gguf_reader {
    const unsigned char *data;
    uint64_t size;
    uint64_t at; /* never beyond size */
} fo_gguf_reader;

/* Step over `count` bytes and point at the first. FO_FORMAT, with the bytes the
 * file would need and has, when there are fewer; `what` is named. */
fo_status fo_gguf_reader_take(fo_gguf_reader *reader, uint64_t count,
                              const char *what, const unsigned char **out,
                              fo_error *error);
fo_status fo_gguf_reader_u32(fo_gguf_reader *reader, const char *what,
                             uint32_t *out, fo_error *error);
fo_status fo_gguf_reader_u64(fo_gguf_reader *reader, const char *what,
                             uint64_t *out, fo_error *error);
fo_status fo_gguf_reader_string(fo_gguf_reader *reader, const char *what,
                                fo_gguf_string *out, fo_error *error);

/* Step over one value of `type`, however deep, checking all that it counts. */
fo_status fo_gguf_reader_skip(fo_gguf_reader *reader, fo_gguf_type type,
                              int depth, fo_error *error);

/* Hold what a parsed file is. */
struct fo_gguf {
    const unsigned char *data;
    uint64_t bytes;
    fo_file_map map; /* empty when the bytes are the caller's */
    uint32_t version;
    uint32_t alignment;
    fo_gguf_entry *entries;
    int entry_count;
    fo_name_table keys;
    fo_gguf_tensor *tensors;
    int tensor_count;
    fo_name_table names;
};

/* Bytes of one value of a fixed size; 0 for strings and arrays. */
unsigned fo_gguf_type_bytes(fo_gguf_type type);

/* Read the descriptions of all tensors, then check where their data lies. */
fo_status fo_gguf_read_tensors(fo_gguf *gguf, fo_gguf_reader *reader,
                               fo_error *error);

/* The entry of a key, null when there is none. */
const fo_gguf_entry *fo_gguf_entry_find(const fo_gguf *gguf, const char *key);

#endif
