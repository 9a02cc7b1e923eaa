/* The safetensors file format: an 8-byte little-endian header length, a JSON
 * header, then raw tensor data. Source: the safetensors specification
 * (github.com/huggingface/safetensors).
 *
 * Reading maps the file; every number in the header is hostile until checked
 * against the file's size. Writing is byte-stable: tensors in the order given,
 * metadata in the order given. */
#ifndef FOLIO_COMMON_SAFETENSORS_H
#define FOLIO_COMMON_SAFETENSORS_H

#include "common/dtype.h"
#include "common/status.h"

#include <stdbool.h>

#define FO_SAFETENSORS_MAX_RANK 8

/* The one name that is no tensor's: strings about the file. */
#define FO_SAFETENSORS_METADATA "__metadata__"

typedef struct fo_safetensor {
    const char *name; /* owned by the file when read                   */
    fo_dtype dtype;   /* F32, F16, BF16, I32, I64, U8                  */
    int rank;
    int64_t shape[FO_SAFETENSORS_MAX_RANK]; /* slowest dimension first */
    const void *data; /* borrowed from the map when read               */
    uint64_t bytes;
} fo_safetensor;

typedef struct fo_safetensors fo_safetensors;

/* A type's name in these files, such as "F32"; null where it has none. */
const char *fo_safetensors_type(fo_dtype dtype);

/* Bytes of a tensor's shape and type; false if 63 bits cannot count them. */
bool fo_safetensor_bytes(const fo_safetensor *tensor, uint64_t *out);

/* FO_IO, FO_FORMAT, FO_NOMEM, and FO_UNSUPPORTED for what the format allows but
 * Folio does not read: a type not listed above, a rank above the maximum, data
 * not aligned to its type. */
fo_status fo_safetensors_open(const char *path, fo_safetensors **out,
                              fo_error *error);

/* The same for a file's bytes in memory, aligned to 8, which must outlive
 * `out`. All errors but FO_IO. */
fo_status fo_safetensors_parse(const void *data, size_t bytes,
                               fo_safetensors **out, fo_error *error);

void fo_safetensors_close(fo_safetensors **file);

/* Tensors in the order of the header. */
int fo_safetensors_count(const fo_safetensors *file);
const fo_safetensor *fo_safetensors_at(const fo_safetensors *file, int index);

/* Null when there is none of that name. */
const fo_safetensor *fo_safetensors_find(const fo_safetensors *file,
                                         const char *name);

/* A string of __metadata__, null when absent; owned by the file. */
const char *fo_safetensors_metadata(const fo_safetensors *file,
                                    const char *key);

typedef struct fo_metadata {
    const char *key;
    const char *value;
} fo_metadata;

/* Entry `index` of __metadata__ in the file's order, owned by the file; false
 * past the last one. */
bool fo_safetensors_metadata_at(const fo_safetensors *file, int index,
                                fo_metadata *out);

/* Write a whole file, beside `path` first and then in its place: on failure
 * `path` is as it was. FO_IO, FO_NOMEM, and FO_ARG for a name used twice or not
 * UTF-8, bytes that are not shape x type, or an order that would leave a tensor
 * not aligned to its type (put the widest types first). */
fo_status fo_safetensors_write(const char *path, const fo_safetensor *tensors,
                               int count, const fo_metadata *metadata,
                               int metadata_count, fo_error *error);

#endif
