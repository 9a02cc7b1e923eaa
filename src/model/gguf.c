#include "model/gguf.h"

#include "common/memory.h"
#include "model/gguf_reader.h"

#include <inttypes.h>
#include <string.h>

/* Read the head of the file. */
/* The least an entry or a tensor takes: key length, type, value; name length,
 * rank, one dimension, type, offset. */
enum { LEAST_ENTRY = 8 + 4 + 1, LEAST_TENSOR = 8 + 4 + 8 + 4 + 8 };

static fo_status read_head(fo_gguf *gguf, fo_gguf_reader *reader,
                           fo_error *error)
{
    const unsigned char *magic = NULL;
    fo_status status =
        fo_gguf_reader_take(reader, 4, "the magic word", &magic, error);
    if (status == FO_OK && memcmp(magic, "GGUF", 4) != 0)
        status = fo_fail(error, FO_FORMAT,
                         "no GGUF file: it does not begin with \"GGUF\"");
    if (status == FO_OK)
        status =
            fo_gguf_reader_u32(reader, "the version", &gguf->version, error);
    if (status != FO_OK)
        return status;
    if ((gguf->version & 0xffff) == 0 && gguf->version != 0)
        return fo_fail(error, FO_UNSUPPORTED, "a big-endian GGUF file");
    if (gguf->version != 2 && gguf->version != 3)
        return fo_fail(error, FO_UNSUPPORTED,
                       "GGUF version %" PRIu32 "; Folio reads 2 and 3",
                       gguf->version);
    /* Read the two counts. */
    uint64_t tensors = 0, entries = 0;
    status = fo_gguf_reader_u64(reader, "the tensor count", &tensors, error);
    if (status == FO_OK)
        status =
            fo_gguf_reader_u64(reader, "the metadata count", &entries, error);
    if (status != FO_OK)
        return status;
    uint64_t left = reader->size - reader->at;
    if (tensors > left / LEAST_TENSOR || tensors > INT32_MAX)
        return fo_fail_short(error, FO_FORMAT, tensors, left / LEAST_TENSOR,
                             "%" PRIu64 " tensors cannot fit into the file",
                             tensors);
    if (entries > left / LEAST_ENTRY || entries > INT32_MAX)
        return fo_fail_short(
            error, FO_FORMAT, entries, left / LEAST_ENTRY,
            "%" PRIu64 " metadata entries cannot fit into the file", entries);
    gguf->tensor_count = (int)tensors;
    gguf->entry_count = (int)entries;
    return FO_OK;
}

/* Read one entry of the metadata. */
static fo_status read_entry(fo_gguf_reader *reader, fo_gguf_entry *entry,
                            fo_error *error)
{
    uint32_t type = 0;
    fo_status status =
        fo_gguf_reader_string(reader, "a key", &entry->key, error);
    if (status == FO_OK && entry->key.length > UINT16_MAX)
        status =
            fo_fail(error, FO_FORMAT, "a key of %zu bytes before byte %" PRIu64,
                    entry->key.length, reader->at);
    if (status == FO_OK)
        status = fo_gguf_reader_u32(reader, "a value's type", &type, error);
    if (status == FO_OK && type >= FO_GGUF_TYPE_COUNT)
        status =
            fo_fail(error, FO_FORMAT,
                    "no such value type, %" PRIu32 ", before byte %" PRIu64,
                    type, reader->at);
    if (status != FO_OK)
        return status;
    entry->offset = reader->at;
    entry->is_array = type == FO_GGUF_ARRAY;
    entry->value = (fo_gguf_array){type, 1, reader->data + reader->at};
    status = fo_gguf_reader_skip(reader, type, 0, error);
    if (status == FO_OK && entry->is_array) {
        uint32_t inner;
        memcpy(&inner, entry->value.data, sizeof inner);
        memcpy(&entry->value.count, entry->value.data + 4, 8);
        entry->value.type = inner;
        entry->value.data += 12;
    }
    return status;
}

/* Read all metadata. */
static fo_status read_entries(fo_gguf *gguf, fo_gguf_reader *reader,
                              fo_error *error)
{
    size_t count = (size_t)gguf->entry_count;
    gguf->entries = fo_memory_alloc(count, sizeof *gguf->entries, error);
    if (gguf->entries == NULL)
        return FO_NOMEM;
    fo_status status = fo_name_table_open(&gguf->keys, count, error);
    for (int i = 0; i < gguf->entry_count && status == FO_OK; i++) {
        fo_gguf_entry *entry = &gguf->entries[i];
        status = read_entry(reader, entry, error);
        if (status != FO_OK)
            break;
        char shown[64];
        if (fo_name_table_add(&gguf->keys, entry->key.data,
                              (uint32_t)entry->key.length, i) != i)
            status =
                fo_fail(error, FO_FORMAT,
                        "the key %s comes twice, again at byte %" PRIu64,
                        fo_gguf_string_show(entry->key, shown, sizeof shown),
                        entry->offset);
    }
    return status;
}

/* Find the alignment. */
static fo_status find_alignment(fo_gguf *gguf, fo_error *error)
{
    gguf->alignment = 32;
    if (!fo_gguf_has(gguf, "general.alignment"))
        return FO_OK;
    fo_status status =
        fo_gguf_u32(gguf, "general.alignment", &gguf->alignment, error);
    uint32_t alignment = gguf->alignment;
    if (status == FO_OK &&
        (alignment < 8 || (alignment & (alignment - 1)) != 0))
        status = fo_fail(error, FO_FORMAT,
                         "general.alignment is %" PRIu32
                         ", not a power of two of at least 8",
                         alignment);
    return status;
}

/* Parse from memory. */
fo_status fo_gguf_parse(const void *data, size_t bytes, fo_gguf **out,
                        fo_error *error)
{
    *out = NULL;
    fo_gguf *gguf = fo_memory_alloc(1, sizeof *gguf, error);
    if (gguf == NULL)
        return FO_NOMEM;
    gguf->data = data;
    gguf->bytes = bytes;
    fo_gguf_reader reader = {data, bytes, 0};
    fo_status status = read_head(gguf, &reader, error);
    if (status == FO_OK)
        status = read_entries(gguf, &reader, error);
    if (status == FO_OK)
        status = find_alignment(gguf, error);
    if (status == FO_OK)
        status = fo_gguf_read_tensors(gguf, &reader, error);
    if (status == FO_OK)
        *out = gguf;
    else
        fo_gguf_close(&gguf);
    return status;
}

/* Open a file. */
fo_status fo_gguf_open(const char *path, fo_gguf **out, fo_error *error)
{
    *out = NULL;
    fo_file_map map;
    fo_status status = fo_file_map_open(path, &map, error);
    if (status != FO_OK)
        return status;
    status = fo_gguf_parse(map.data, map.bytes, out, error);
    if (status == FO_OK) {
        (*out)->map = map;
    } else {
        fo_error_in_file(error, path);
        fo_file_map_close(&map);
    }
    return status;
}

/* Close a file. */
void fo_gguf_close(fo_gguf **gguf)
{
    if (*gguf == NULL)
        return;
    fo_name_table_close(&(*gguf)->keys);
    fo_name_table_close(&(*gguf)->names);
    fo_memory_free((*gguf)->entries);
    fo_memory_free((*gguf)->tensors);
    fo_file_map_close(&(*gguf)->map);
    fo_memory_free(*gguf);
    *gguf = NULL;
}

/* List entries and tensors. */
int fo_gguf_entry_count(const fo_gguf *gguf)
{
    return gguf->entry_count;
}

const fo_gguf_entry *fo_gguf_entry_at(const fo_gguf *gguf, int index)
{
    return &gguf->entries[index];
}

int fo_gguf_tensor_count(const fo_gguf *gguf)
{
    return gguf->tensor_count;
}

const fo_gguf_tensor *fo_gguf_tensor_at(const fo_gguf *gguf, int index)
{
    return &gguf->tensors[index];
}

uint32_t fo_gguf_version(const fo_gguf *gguf)
{
    return gguf->version;
}

uint32_t fo_gguf_alignment(const fo_gguf *gguf)
{
    return gguf->alignment;
}

uint64_t fo_gguf_bytes(const fo_gguf *gguf)
{
    return gguf->bytes;
}
