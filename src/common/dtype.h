/* How numbers are stored. Arithmetic is float32 throughout; these are the types
 * in which weights and KV caches lie in memory and in files.
 *
 * Source of the block formats: the GGUF specification (ggml). */
#ifndef FOLIO_COMMON_DTYPE_H
#define FOLIO_COMMON_DTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum fo_dtype {
    FO_F32,
    FO_F16,  /* IEEE binary16                                               */
    FO_BF16, /* the upper half of a float32                                 */
    FO_Q8_0, /* 32 values in 34 bytes: f16 scale, 32 int8                   */
    FO_Q4_0, /* 32 values in 18 bytes: f16 scale, 16 bytes; low nibbles are */
             /* values 0..15, high nibbles 16..31; (nibble - 8) * scale     */
    FO_I32,
    FO_I64,
    FO_U8,
    FO_DTYPE_COUNT,
} fo_dtype;

typedef struct fo_dtype_info {
    const char *name; /* "f32", "q8_0": as flags and reports spell it */
    int block_values; /* values in the smallest unit of storage       */
    int block_bytes;  /* bytes of that unit                           */
} fo_dtype_info;

const fo_dtype_info *fo_dtype_info_get(fo_dtype dtype);

/* Parse "f16" and the like; returns FO_DTYPE_COUNT for any other word. */
fo_dtype fo_dtype_parse(const char *name);

/* Bytes of n values in a row; n must be a multiple of block_values. */
size_t fo_dtype_bytes(fo_dtype dtype, int64_t n);

/* Single values; round to nearest, ties to even; NaN stays NaN. */
float fo_f32_from_f16(uint16_t half);
uint16_t fo_f16_from_f32(float value);
float fo_f32_from_bf16(uint16_t half);
uint16_t fo_bf16_from_f32(float value);

/* n stored values to float32. F32, F16, BF16, Q8_0, Q4_0. */
void fo_dtype_load(fo_dtype dtype, const void *from, float *to, int64_t n);

/* n float32 values to storage. F32, F16, BF16, Q8_0, Q4_0. */
void fo_dtype_store(fo_dtype dtype, const float *from, void *to, int64_t n);

#endif
