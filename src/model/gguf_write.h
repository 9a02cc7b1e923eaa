/* GGUF files, written: metadata first, then tensors in any order and in pieces,
 * so that a file may be larger than memory. Version 3, aligned to 32 bytes.
 * Source: the GGUF specification of the ggml project. */
#ifndef FOLIO_MODEL_GGUF_WRITE_H
#define FOLIO_MODEL_GGUF_WRITE_H

#include "model/gguf.h"

typedef struct fo_gguf_writer fo_gguf_writer;

/* Declare the life of a writer. */
/* The file grows beside its place, as PATH.partial, and is moved there when it
 * is whole. FO_IO, FO_NOMEM. */
fo_status fo_gguf_writer_open(const char *path, fo_gguf_writer **out,
                              fo_error *error);

/* Write what is left and move the file to its place; on FO_IO it is removed.
 * The writer can then only be closed. */
fo_status fo_gguf_writer_finish(fo_gguf_writer *writer, fo_error *error);

/* A file that was not finished is removed. */
void fo_gguf_writer_close(fo_gguf_writer **writer);

/* Declare what goes before the data. */
/* Keys and tensors are listed in the order of these calls. If memory ran out,
 * fo_gguf_writer_begin tells. */
void fo_gguf_put_u32(fo_gguf_writer *writer, const char *key, uint32_t value);
void fo_gguf_put_f32(fo_gguf_writer *writer, const char *key, float value);
void fo_gguf_put_bool(fo_gguf_writer *writer, const char *key, bool value);
void fo_gguf_put_text(fo_gguf_writer *writer, const char *key,
                      const char *value);
void fo_gguf_put_strings(fo_gguf_writer *writer, const char *key,
                         const char *const *values /* (count) */,
                         uint64_t count);
/* `type` is that of the values: FO_GGUF_F32 or FO_GGUF_I32. */
void fo_gguf_put_numbers(fo_gguf_writer *writer, const char *key,
                         fo_gguf_type type, const void *values /* (count) */,
                         uint64_t count);

/* R rows of C values each, R = 0: a vector of C. F32, F16, BF16, Q8_0, Q4_0; C
 * is a multiple of the type's block. Tensors are numbered from 0. */
void fo_gguf_put_tensor(fo_gguf_writer *writer, const char *name,
                        fo_dtype dtype, int R, int C);

/* Declare how data is written. */
/* Write the head and give the file its size: `bytes` in all. All data is zero
 * until written. With `holes` the zeros take no room on the disk; without, the
 * disk is asked for all of it now. FO_IO, FO_NOMEM. */
fo_status fo_gguf_writer_begin(fo_gguf_writer *writer, bool holes,
                               uint64_t *bytes, fo_error *error);

/* Bytes of tensor `tensor` from byte `at` on. FO_IO. */
fo_status fo_gguf_writer_data(fo_gguf_writer *writer, int tensor, uint64_t at,
                              const void *data, size_t bytes, fo_error *error);

#endif
