#include "common/memory.h"
#include "model/gguf_reader.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Know the types tensors come in. */
typedef struct tensor_type {
    const char *name;       /* null: no such type, or no longer */
    uint16_t values, bytes; /* of one block */
    fo_dtype dtype;
} tensor_type;

#define NOT_OURS FO_DTYPE_COUNT

static const tensor_type types[] = {
    [0] = {"f32", 1, 4, FO_F32},
    [1] = {"f16", 1, 2, FO_F16},
    [2] = {"q4_0", 32, 18, FO_Q4_0},
    [3] = {"q4_1", 32, 20, NOT_OURS},
    [6] = {"q5_0", 32, 22, NOT_OURS},
    [7] = {"q5_1", 32, 24, NOT_OURS},
    [8] = {"q8_0", 32, 34, FO_Q8_0},
    [9] = {"q8_1", 32, 36, NOT_OURS},
    [10] = {"q2_K", 256, 84, NOT_OURS},
    [11] = {"q3_K", 256, 110, NOT_OURS},
    [12] = {"q4_K", 256, 144, NOT_OURS},
    [13] = {"q5_K", 256, 176, NOT_OURS},
    [14] = {"q6_K", 256, 210, NOT_OURS},
    [15] = {"q8_K", 256, 292, NOT_OURS},
    [16] = {"iq2_xxs", 256, 66, NOT_OURS},
    [17] = {"iq2_xs", 256, 74, NOT_OURS},
    [18] = {"iq3_xxs", 256, 98, NOT_OURS},
    [19] = {"iq1_s", 256, 50, NOT_OURS},
    [20] = {"iq4_nl", 32, 18, NOT_OURS},
    [21] = {"iq3_s", 256, 110, NOT_OURS},
    [22] = {"iq2_s", 256, 82, NOT_OURS},
    [23] = {"iq4_xs", 256, 136, NOT_OURS},
    [24] = {"i8", 1, 1, NOT_OURS},
    [25] = {"i16", 1, 2, NOT_OURS},
    [26] = {"i32", 1, 4, FO_I32},
    [27] = {"i64", 1, 8, FO_I64},
    [28] = {"f64", 1, 8, NOT_OURS},
    [29] = {"iq1_m", 256, 56, NOT_OURS},
    [30] = {"bf16", 1, 2, FO_BF16},
    [34] = {"tq1_0", 256, 54, NOT_OURS},
    [35] = {"tq2_0", 256, 66, NOT_OURS},
    [39] = {"mxfp4", 32, 17, NOT_OURS},
};

static const tensor_type *type_of(uint32_t number)
{
    static const tensor_type unheard = {"?", 0, 0, NOT_OURS};
    if (number >= sizeof types / sizeof *types || types[number].name == NULL)
        return &unheard;
    return &types[number];
}

/* Read one tensor's description. */
static fo_status read_tensor(fo_gguf *gguf, int i, fo_gguf_reader *reader,
                             fo_error *error)
{
    fo_gguf_tensor *tensor = &gguf->tensors[i];
    char shown[64];
    fo_status status =
        fo_gguf_reader_string(reader, "a tensor's name", &tensor->name, error);
    if (status != FO_OK)
        return status;
    fo_gguf_string_show(tensor->name, shown, sizeof shown);
    if (tensor->name.length > 64)
        return fo_fail(error, FO_FORMAT,
                       "the tensor name %s is longer than 64 bytes", shown);
    if (fo_name_table_add(&gguf->names, tensor->name.data,
                          (uint32_t)tensor->name.length, i) != i)
        return fo_fail(error, FO_FORMAT,
                       "the tensor %s comes twice, again before byte %" PRIu64,
                       shown, reader->at);
    /* Read its rank and dimensions. */
    uint32_t rank = 0;
    status = fo_gguf_reader_u32(reader, "a tensor's rank", &rank, error);
    if (status == FO_OK && (rank < 1 || rank > FO_GGUF_MAX_RANK))
        status = fo_fail(error, FO_FORMAT,
                         "tensor %s has rank %" PRIu32
                         ", not 1 to %d, before byte %" PRIu64,
                         shown, rank, FO_GGUF_MAX_RANK, reader->at);
    for (int d = 0; d < FO_GGUF_MAX_RANK && status == FO_OK; d++) {
        uint64_t size = 1;
        if (d < (int)rank)
            status = fo_gguf_reader_u64(reader, "a tensor's dimension", &size,
                                        error);
        if (status == FO_OK && (size < 1 || size > INT64_MAX))
            status = fo_fail(error, FO_FORMAT,
                             "tensor %s has a dimension of %" PRIu64
                             " before byte %" PRIu64,
                             shown, size, reader->at);
        tensor->dims[d] = (int64_t)size;
    }
    if (status != FO_OK)
        return status;
    tensor->rank = (int)rank;
    status =
        fo_gguf_reader_u32(reader, "a tensor's type", &tensor->type, error);
    if (status == FO_OK)
        status = fo_gguf_reader_u64(reader, "a tensor's offset",
                                    &tensor->offset, error);
    tensor->type_name = type_of(tensor->type)->name;
    tensor->dtype = type_of(tensor->type)->dtype;
    return status;
}

/* Count a tensor's bytes. */
static fo_status count_bytes(fo_gguf_tensor *tensor, const char *shown,
                             fo_error *error)
{
    const tensor_type *type = type_of(tensor->type);
    if (type->values == 0)
        return FO_OK;
    if (tensor->dims[0] % type->values != 0)
        return fo_fail(error, FO_FORMAT,
                       "tensor %s: rows of %" PRId64
                       " values are not whole blocks of %s",
                       shown, tensor->dims[0], type->name);
    uint64_t blocks = (uint64_t)tensor->dims[0] / type->values;
    for (int d = 1; d < tensor->rank; d++)
        if (__builtin_mul_overflow(blocks, (uint64_t)tensor->dims[d], &blocks))
            return fo_fail(error, FO_FORMAT,
                           "tensor %s: its dimensions overflow", shown);
    if (__builtin_mul_overflow(blocks, (uint64_t)type->bytes, &tensor->bytes))
        return fo_fail(error, FO_FORMAT, "tensor %s: its bytes overflow",
                       shown);
    return FO_OK;
}

/* Check where a tensor's data lies. */
static fo_status check_place(const fo_gguf *gguf, fo_gguf_tensor *tensor,
                             uint64_t start, fo_error *error)
{
    char shown[64];
    fo_gguf_string_show(tensor->name, shown, sizeof shown);
    fo_status status = count_bytes(tensor, shown, error);
    if (status != FO_OK)
        return status;
    uint64_t section = gguf->bytes - start;
    if (tensor->offset % gguf->alignment != 0)
        return fo_fail(error, FO_FORMAT,
                       "tensor %s: its offset %" PRIu64
                       " is no multiple of the alignment %" PRIu32,
                       shown, tensor->offset, gguf->alignment);
    if (tensor->offset > section || tensor->bytes > section - tensor->offset)
        return fo_fail_short(error, FO_FORMAT, tensor->bytes, section,
                             "tensor %s: %" PRIu64 " bytes at offset %" PRIu64
                             " reach beyond the %" PRIu64 " bytes of data",
                             shown, tensor->bytes, tensor->offset, section);
    tensor->offset += start;
    tensor->data = gguf->data + tensor->offset;
    return FO_OK;
}

/* Check that no two tensors overlap. */
static int by_offset(const void *a, const void *b)
{
    const fo_gguf_tensor *x = *(const fo_gguf_tensor *const *)a;
    const fo_gguf_tensor *y = *(const fo_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static fo_status check_overlap(const fo_gguf *gguf, fo_error *error)
{
    size_t count = (size_t)gguf->tensor_count;
    const fo_gguf_tensor **order = fo_memory_alloc(count, sizeof *order, error);
    if (order == NULL)
        return FO_NOMEM;
    for (size_t i = 0; i < count; i++)
        order[i] = &gguf->tensors[i];
    qsort(order, count, sizeof *order, by_offset);
    fo_status status = FO_OK;
    for (size_t i = 1; i < count && status == FO_OK; i++) {
        char first[64], second[64];
        if (order[i - 1]->bytes > order[i]->offset - order[i - 1]->offset)
            status = fo_fail(
                error, FO_FORMAT, "tensors %s and %s overlap at byte %" PRIu64,
                fo_gguf_string_show(order[i - 1]->name, first, sizeof first),
                fo_gguf_string_show(order[i]->name, second, sizeof second),
                order[i]->offset);
    }
    fo_memory_free(order);
    return status;
}

fo_status fo_gguf_read_tensors(fo_gguf *gguf, fo_gguf_reader *reader,
                               fo_error *error)
{
    size_t count = (size_t)gguf->tensor_count;
    gguf->tensors = fo_memory_alloc(count, sizeof *gguf->tensors, error);
    if (gguf->tensors == NULL)
        return FO_NOMEM;
    fo_status status = fo_name_table_open(&gguf->names, count, error);
    for (int i = 0; i < gguf->tensor_count && status == FO_OK; i++)
        status = read_tensor(gguf, i, reader, error);
    if (status != FO_OK || count == 0)
        return status;
    /* Find where the data section starts. */
    uint64_t start =
        (reader->at + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    if (start > gguf->bytes)
        return fo_fail_short(
            error, FO_FORMAT, start, gguf->bytes,
            "the file ends before its tensor data, at byte %" PRIu64,
            gguf->bytes);
    for (size_t i = 0; i < count && status == FO_OK; i++)
        status = check_place(gguf, &gguf->tensors[i], start, error);
    if (status == FO_OK)
        status = check_overlap(gguf, error);
    return status;
}

/* Find a tensor by name. */
const fo_gguf_tensor *fo_gguf_tensor_find(const fo_gguf *gguf, const char *name)
{
    int32_t i = fo_name_table_find(&gguf->names, name, strlen(name));
    return i < 0 ? NULL : &gguf->tensors[i];
}
