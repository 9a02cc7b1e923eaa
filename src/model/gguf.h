/* The GGUF file format, versions 2 and 3, little endian: metadata by key, then
 * tensors by name. Source: the GGUF specification of the ggml project.
 *
 * Every count, length, offset and type in the file is hostile until checked
 * against the bytes that are there; what these functions hand out has been
 * checked. Strings and data are borrowed from the map and live as long as the
 * fo_gguf. Errors name the key or tensor, and the offset in the file. */
#ifndef FOLIO_MODEL_GGUF_H
#define FOLIO_MODEL_GGUF_H

#include "common/dtype.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FO_GGUF_MAX_RANK 4

typedef struct fo_gguf fo_gguf;

/* Say how a string of the file is seen. */
/* Bytes, not characters, and no zero at the end. */
typedef struct fo_gguf_string {
    const char *data;
    size_t length;
} fo_gguf_string;

bool fo_gguf_string_is(fo_gguf_string string, const char *text);

/* Copied for a message: cut to size - 1 bytes, `?` for what is no printable
 * ASCII, with a zero at the end. Returns `buffer`. */
const char *fo_gguf_string_show(fo_gguf_string string, char *buffer,
                                size_t size);
/* Number the types of metadata. */

typedef enum fo_gguf_type {
    FO_GGUF_U8,
    FO_GGUF_I8,
    FO_GGUF_U16,
    FO_GGUF_I16,
    FO_GGUF_U32,
    FO_GGUF_I32,
    FO_GGUF_F32,
    FO_GGUF_BOOL,
    FO_GGUF_STRING,
    FO_GGUF_ARRAY,
    FO_GGUF_U64,
    FO_GGUF_I64,
    FO_GGUF_F64,
    FO_GGUF_TYPE_COUNT,
} fo_gguf_type;

/* "u32", "string" and so on. */
const char *fo_gguf_type_name(fo_gguf_type type);
/* Describe one entry of the metadata. */

/* A value of `type`, or `count` of them in a row when it came as an array.
 * Numbers are read with fo_gguf_number; the strings of an array lie one after
 * the other and are taken in turn. */
typedef struct fo_gguf_array {
    fo_gguf_type type;
    uint64_t count;
    const unsigned char *data; /* as in the file, not aligned */
} fo_gguf_array;

typedef struct fo_gguf_entry {
    fo_gguf_string key;
    bool is_array;
    fo_gguf_array value; /* count 1 when no array */
    uint64_t offset;     /* of the value in the file */
} fo_gguf_entry;

/* Number i of an array of numbers or bools, as a double: exact for all but
 * integers beyond 2^53. */
double fo_gguf_array_number(const fo_gguf_array *array, uint64_t i);

/* The first string of an array of strings, which is then taken off it. */
fo_gguf_string fo_gguf_array_take(fo_gguf_array *array);
/* Describe one tensor of the file. */

typedef struct fo_gguf_tensor {
    fo_gguf_string name;
    const char *type_name; /* "q4_K" and so on, "?" when unheard of    */
    uint32_t type;         /* its number in the file                   */
    fo_dtype dtype;        /* FO_DTYPE_COUNT: not a type Folio computes */
    int rank;
    int64_t dims[FO_GGUF_MAX_RANK]; /* fastest first; 1 past the rank  */
    uint64_t offset;                /* in the file                     */
    const void *data;
    uint64_t bytes; /* 0 when the type is unheard of            */
} fo_gguf_tensor;
/* Open a file, or bytes in memory. */

/* FO_IO, FO_FORMAT, FO_UNSUPPORTED (version 1, big endian), FO_NOMEM. The file
 * is mapped, not read. */
fo_status fo_gguf_open(const char *path, fo_gguf **out, fo_error *error);

/* The same from memory, which must outlive the fo_gguf. Tensor data is aligned
 * as far as `data` is. */
fo_status fo_gguf_parse(const void *data, size_t bytes, fo_gguf **out,
                        fo_error *error);

void fo_gguf_close(fo_gguf **gguf);
/* Ask for metadata by key. */

bool fo_gguf_has(const fo_gguf *gguf, const char *key);

/* FO_UNKNOWN when there is no such key, FO_FORMAT when its value has another
 * type or does not fit. Integers of any width, and of either sign, are taken
 * where the value fits; floats of either width. `out` is then untouched. */
fo_status fo_gguf_u32(const fo_gguf *gguf, const char *key, uint32_t *out,
                      fo_error *error);
fo_status fo_gguf_f32(const fo_gguf *gguf, const char *key, float *out,
                      fo_error *error);
fo_status fo_gguf_bool(const fo_gguf *gguf, const char *key, bool *out,
                       fo_error *error);
fo_status fo_gguf_text(const fo_gguf *gguf, const char *key,
                       fo_gguf_string *out, fo_error *error);

/* The same for arrays, whatever the width of their numbers. */
fo_status fo_gguf_strings(const fo_gguf *gguf, const char *key,
                          fo_gguf_array *out, fo_error *error);
fo_status fo_gguf_numbers(const fo_gguf *gguf, const char *key,
                          fo_gguf_array *out, fo_error *error);
/* List what the file holds. */

/* Null when there is none of that name. */
const fo_gguf_tensor *fo_gguf_tensor_find(const fo_gguf *gguf,
                                          const char *name);

/* In the order of the file. */
int fo_gguf_tensor_count(const fo_gguf *gguf);
const fo_gguf_tensor *fo_gguf_tensor_at(const fo_gguf *gguf, int index);
int fo_gguf_entry_count(const fo_gguf *gguf);
const fo_gguf_entry *fo_gguf_entry_at(const fo_gguf *gguf, int index);

uint32_t fo_gguf_version(const fo_gguf *gguf);
uint32_t fo_gguf_alignment(const fo_gguf *gguf);
uint64_t fo_gguf_bytes(const fo_gguf *gguf); /* of the whole file */

#endif
