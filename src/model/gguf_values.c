#include "model/gguf_reader.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Know the types of metadata. */
static const struct {
    const char *name;
    unsigned bytes;
} kinds[FO_GGUF_TYPE_COUNT] = {
    [FO_GGUF_U8] = {"u8", 1},         [FO_GGUF_I8] = {"i8", 1},
    [FO_GGUF_U16] = {"u16", 2},       [FO_GGUF_I16] = {"i16", 2},
    [FO_GGUF_U32] = {"u32", 4},       [FO_GGUF_I32] = {"i32", 4},
    [FO_GGUF_F32] = {"f32", 4},       [FO_GGUF_BOOL] = {"bool", 1},
    [FO_GGUF_STRING] = {"string", 0}, [FO_GGUF_ARRAY] = {"array", 0},
    [FO_GGUF_U64] = {"u64", 8},       [FO_GGUF_I64] = {"i64", 8},
    [FO_GGUF_F64] = {"f64", 8},
};

const char *fo_gguf_type_name(fo_gguf_type type)
{
    return type < FO_GGUF_TYPE_COUNT ? kinds[type].name : "?";
}

unsigned fo_gguf_type_bytes(fo_gguf_type type)
{
    return type < FO_GGUF_TYPE_COUNT ? kinds[type].bytes : 0;
}

/* Show a string of the file. */
bool fo_gguf_string_is(fo_gguf_string string, const char *text)
{
    return string.length == strlen(text) &&
           memcmp(string.data, text, string.length) == 0;
}

const char *fo_gguf_string_show(fo_gguf_string string, char *buffer,
                                size_t size)
{
    size_t n = string.length < size ? string.length : size - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)string.data[i];
        buffer[i] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    buffer[n] = '\0';
    return buffer;
}

/* Read a number where it lies. */
double fo_gguf_array_number(const fo_gguf_array *array, uint64_t i)
{
    const unsigned char *at = array->data + i * fo_gguf_type_bytes(array->type);
#define CASE(kind, type)                                                       \
    case kind: {                                                               \
        type value;                                                            \
        memcpy(&value, at, sizeof value);                                      \
        return (double)value;                                                  \
    }
    switch (array->type) {
        CASE(FO_GGUF_U8, uint8_t)
        CASE(FO_GGUF_I8, int8_t)
        CASE(FO_GGUF_U16, uint16_t)
        CASE(FO_GGUF_I16, int16_t)
        CASE(FO_GGUF_U32, uint32_t)
        CASE(FO_GGUF_I32, int32_t)
        CASE(FO_GGUF_U64, uint64_t)
        CASE(FO_GGUF_I64, int64_t)
        CASE(FO_GGUF_F32, float)
        CASE(FO_GGUF_F64, double)
        CASE(FO_GGUF_BOOL, uint8_t)
    default:
        return 0;
    }
#undef CASE
}

/* Take strings off an array. */
fo_gguf_string fo_gguf_array_take(fo_gguf_array *array)
{
    uint64_t length;
    memcpy(&length, array->data, sizeof length);
    fo_gguf_string string = {(const char *)array->data + 8, length};
    array->data += 8 + length;
    array->count--;
    return string;
}

/* Find the entry of a key. */
const fo_gguf_entry *fo_gguf_entry_find(const fo_gguf *gguf, const char *key)
{
    int32_t i = fo_name_table_find(&gguf->keys, key, strlen(key));
    return i < 0 ? NULL : &gguf->entries[i];
}

bool fo_gguf_has(const fo_gguf *gguf, const char *key)
{
    return fo_gguf_entry_find(gguf, key) != NULL;
}

/* The entry of a key that must be there, as an array or as one value. */
static fo_status expect(const fo_gguf *gguf, const char *key, bool array,
                        const fo_gguf_entry **out, fo_error *error)
{
    *out = fo_gguf_entry_find(gguf, key);
    if (*out == NULL)
        return fo_fail(error, FO_UNKNOWN, "the file has no %s", key);
    if ((*out)->is_array != array)
        return fo_fail(error, FO_FORMAT,
                       "%s, at byte %" PRIu64 ", is %san array", key,
                       (*out)->offset, array ? "not " : "");
    return FO_OK;
}

static fo_status mistyped(const fo_gguf_entry *entry, const char *key,
                          const char *wanted, fo_error *error)
{
    return fo_fail(error, FO_FORMAT, "%s, at byte %" PRIu64 ", is a %s, not %s",
                   key, entry->offset, fo_gguf_type_name(entry->value.type),
                   wanted);
}

/* Get a number. */
static bool is_integer(fo_gguf_type type)
{
    return type <= FO_GGUF_I32 || type == FO_GGUF_U64 || type == FO_GGUF_I64;
}

static bool is_float(fo_gguf_type type)
{
    return type == FO_GGUF_F32 || type == FO_GGUF_F64;
}

fo_status fo_gguf_u32(const fo_gguf *gguf, const char *key, uint32_t *out,
                      fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, false, &entry, error);
    if (status != FO_OK)
        return status;
    if (!is_integer(entry->value.type))
        return mistyped(entry, key, "an integer", error);
    double value = fo_gguf_array_number(&entry->value, 0);
    if (!(value >= 0 && value <= UINT32_MAX))
        return fo_fail(error, FO_FORMAT,
                       "%s, at byte %" PRIu64 ", is %.0f, beyond 32 bits", key,
                       entry->offset, value);
    *out = (uint32_t)value;
    return FO_OK;
}

fo_status fo_gguf_f32(const fo_gguf *gguf, const char *key, float *out,
                      fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, false, &entry, error);
    if (status != FO_OK)
        return status;
    if (!is_float(entry->value.type))
        return mistyped(entry, key, "a float", error);
    *out = (float)fo_gguf_array_number(&entry->value, 0);
    return FO_OK;
}

/* Get a bool or a string. */
fo_status fo_gguf_bool(const fo_gguf *gguf, const char *key, bool *out,
                       fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, false, &entry, error);
    if (status != FO_OK)
        return status;
    if (entry->value.type != FO_GGUF_BOOL)
        return mistyped(entry, key, "a bool", error);
    *out = entry->value.data[0] != 0;
    return FO_OK;
}

fo_status fo_gguf_text(const fo_gguf *gguf, const char *key,
                       fo_gguf_string *out, fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, false, &entry, error);
    if (status != FO_OK)
        return status;
    if (entry->value.type != FO_GGUF_STRING)
        return mistyped(entry, key, "a string", error);
    fo_gguf_array value = entry->value;
    *out = fo_gguf_array_take(&value);
    return FO_OK;
}

/* Get an array. */
fo_status fo_gguf_strings(const fo_gguf *gguf, const char *key,
                          fo_gguf_array *out, fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, true, &entry, error);
    if (status != FO_OK)
        return status;
    if (entry->value.type != FO_GGUF_STRING)
        return mistyped(entry, key, "strings", error);
    *out = entry->value;
    return FO_OK;
}

fo_status fo_gguf_numbers(const fo_gguf *gguf, const char *key,
                          fo_gguf_array *out, fo_error *error)
{
    const fo_gguf_entry *entry;
    fo_status status = expect(gguf, key, true, &entry, error);
    if (status != FO_OK)
        return status;
    if (!is_integer(entry->value.type) && !is_float(entry->value.type))
        return mistyped(entry, key, "numbers", error);
    *out = entry->value;
    return FO_OK;
}
