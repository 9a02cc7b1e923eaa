/* The safetensors file format: an 8-byte little-endian header length, a JSON
 * header, then raw tensor data. Source: the safetensors specification.
 *
 * Reading maps the file; every number in the header is hostile until checked
 * against the file's size. Writing is byte-stable: tensors in the order given,
 * metadata in the order given. */
#ifndef FOLIO_COMMON_SAFETENSORS_H
#define FOLIO_COMMON_SAFETENSORS_H

#include "common/dtype.h"
#include "common/status.h"

#define FO_SAFETENSORS_MAX_RANK 8

typedef struct fo_safetensor {
    const char *name; /* owned by the file when read                   */
    fo_dtype dtype;   /* F32, F16, BF16, I32, I64, U8                  */
    int rank;
    int64_t shape[FO_SAFETENSORS_MAX_RANK]; /* slowest dimension first */
    const void *data; /* borrowed from the map when read               */
    uint64_t bytes;
} fo_safetensor;

typedef struct fo_safetensors fo_safetensors;

/* FO_IO, FO_FORMAT, FO_UNSUPPORTED (a type not listed above), FO_NOMEM. */
fo_status fo_safetensors_open(const char *path, fo_safetensors **out,
                              fo_error *error);
void fo_safetensors_close(fo_safetensors **file);

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

/* Write a whole file; on failure nothing is left at `path`. */
fo_status fo_safetensors_write(const char *path, const fo_safetensor *tensors,
                               int count, const fo_metadata *metadata,
                               int metadata_count, fo_error *error);

#endif
