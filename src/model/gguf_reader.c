#include "model/gguf_reader.h"

#include <inttypes.h>
#include <string.h>

enum { DEEPEST_ARRAY = 8 };

fo_status fo_gguf_reader_take(fo_gguf_reader *reader, uint64_t count,
                              const char *what, const unsigned char **out,
                              fo_error *error)
{
    uint64_t left = reader->size - reader->at;
    if (count > left)
        return fo_fail_short(error, FO_FORMAT, count, left,
                             "the file ends inside %s: at byte %" PRIu64
                             " it needs %" PRIu64 " more and has %" PRIu64,
                             what, reader->at, count, left);
    *out = reader->data + reader->at;
    reader->at += count;
    return FO_OK;
}

/* Read numbers and strings. */
static fo_status copy_out(fo_gguf_reader *reader, const char *what, void *out,
                          size_t size, fo_error *error)
{
    const unsigned char *bytes = NULL;
    fo_status status = fo_gguf_reader_take(reader, size, what, &bytes, error);
    if (status == FO_OK)
        memcpy(out, bytes, size);
    return status;
}

fo_status fo_gguf_reader_u32(fo_gguf_reader *reader, const char *what,
                             uint32_t *out, fo_error *error)
{
    return copy_out(reader, what, out, sizeof *out, error);
}

fo_status fo_gguf_reader_u64(fo_gguf_reader *reader, const char *what,
                             uint64_t *out, fo_error *error)
{
    return copy_out(reader, what, out, sizeof *out, error);
}

fo_status fo_gguf_reader_string(fo_gguf_reader *reader, const char *what,
                                fo_gguf_string *out, fo_error *error)
{
    uint64_t length = 0;
    const unsigned char *bytes = NULL;
    fo_status status = fo_gguf_reader_u64(reader, what, &length, error);
    if (status == FO_OK)
        status = fo_gguf_reader_take(reader, length, what, &bytes, error);
    if (status == FO_OK)
        *out = (fo_gguf_string){(const char *)bytes, length};
    return status;
}

/* Step over a value, however deep. */
fo_status fo_gguf_reader_skip(fo_gguf_reader *reader, fo_gguf_type type,
                              int depth, fo_error *error)
{
    const unsigned char *bytes = NULL;
    fo_gguf_string string;
    unsigned size = fo_gguf_type_bytes(type);
    if (size != 0)
        return fo_gguf_reader_take(reader, size, "a value", &bytes, error);
    if (type == FO_GGUF_STRING)
        return fo_gguf_reader_string(reader, "a string value", &string, error);
    if (depth == DEEPEST_ARRAY)
        return fo_fail(error, FO_UNSUPPORTED,
                       "arrays nested deeper than %d at byte %" PRIu64,
                       DEEPEST_ARRAY, reader->at);

    uint32_t inner = 0;
    uint64_t count = 0;
    fo_status status =
        fo_gguf_reader_u32(reader, "an array's type", &inner, error);
    if (status == FO_OK)
        status = fo_gguf_reader_u64(reader, "an array's count", &count, error);
    if (status != FO_OK)
        return status;
    /* Refuse an array that cannot fit. */
    if (inner >= FO_GGUF_TYPE_COUNT)
        return fo_fail(error, FO_FORMAT,
                       "no such value type, %" PRIu32 ", before byte %" PRIu64,
                       inner, reader->at);
    uint64_t least = fo_gguf_type_bytes(inner);
    if (least == 0)
        least = inner == FO_GGUF_STRING ? 8 : 12;
    uint64_t left = reader->size - reader->at;
    if (count > left / least)
        return fo_fail_short(error, FO_FORMAT, count, left / least,
                             "an array of %" PRIu64
                             " values of type %s at byte %" PRIu64
                             " cannot fit into the %" PRIu64 " bytes left",
                             count, fo_gguf_type_name(inner), reader->at, left);
    if (fo_gguf_type_bytes(inner) != 0)
        return fo_gguf_reader_take(reader, count * fo_gguf_type_bytes(inner),
                                   "an array", &bytes, error);
    for (uint64_t i = 0; i < count && status == FO_OK; i++)
        status = fo_gguf_reader_skip(reader, inner, depth + 1, error);
    return status;
}
