#include "common/safetensors.h"

#include "common/file_map.h"
#include "common/json.h"
#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 8,                /* bytes of the header's length            */
    LONGEST_HEADER = 100000000 /* by the specification                    */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are little endian and are read in place");

/* Hold an open file. */
struct fo_safetensors {
    fo_file_map map; /* empty when the caller holds the bytes */
    json_t *header;  /* owns names and metadata */
    int count;
    fo_safetensor *tensors;
};

/* Name the types of the format. */
const char *fo_safetensors_type(fo_dtype dtype)
{
    static const char *const names[FO_DTYPE_COUNT] = {
        [FO_F32] = "F32", [FO_F16] = "F16", [FO_BF16] = "BF16",
        [FO_I32] = "I32", [FO_I64] = "I64", [FO_U8] = "U8",
    };
    return names[dtype];
}

/* Read the type of a tensor. */
static fo_status read_type(const char *name, const json_t *entry,
                           fo_safetensor *tensor, fo_error *error)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!type)
        return fo_fail(error, FO_FORMAT, "tensor %.60s has no dtype", name);
    for (int d = 0; d < FO_DTYPE_COUNT; d++) {
        const char *known = fo_safetensors_type((fo_dtype)d);
        if (known && strcmp(type, known) == 0) {
            tensor->dtype = (fo_dtype)d;
            return FO_OK;
        }
    }
    return fo_fail(error, FO_UNSUPPORTED, "tensor %.60s is of type %.20s", name,
                   type);
}

/* Read a count. */
static bool read_count(const json_t *number, uint64_t *out)
{
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        return false;
    *out = (uint64_t)json_integer_value(number);
    return true;
}

/* Read the shape of a tensor. */
static fo_status read_shape(const char *name, const json_t *entry,
                            fo_safetensor *tensor, fo_error *error)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return fo_fail(error, FO_FORMAT, "tensor %.60s has no shape", name);
    size_t rank = json_array_size(shape);
    if (rank > FO_SAFETENSORS_MAX_RANK)
        return fo_fail(error, FO_UNSUPPORTED, "tensor %.60s has rank %zu", name,
                       rank);
    tensor->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        uint64_t extent;
        if (!read_count(json_array_get(shape, i), &extent))
            return fo_fail(error, FO_FORMAT,
                           "dimension %zu of tensor %.60s is no count", i,
                           name);
        tensor->shape[i] = (int64_t)extent;
    }
    return FO_OK;
}

/* Count the bytes of a shape. */
bool fo_safetensor_bytes(const fo_safetensor *tensor, uint64_t *out)
{
    int64_t bytes = fo_dtype_info_get(tensor->dtype)->block_bytes;
    bool fits = true, empty = false;
    for (int i = 0; i < tensor->rank; i++) {
        empty = empty || tensor->shape[i] == 0;
        fits = fits && !__builtin_mul_overflow(bytes, tensor->shape[i], &bytes);
    }
    *out = empty ? 0 : (uint64_t)bytes;
    return fits || empty;
}

/* Read the place of a tensor. */
static fo_status read_offsets(const char *name, const json_t *entry,
                              const char *data, uint64_t data_bytes,
                              fo_safetensor *tensor, fo_error *error)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin, end, wanted;
    if (json_array_size(offsets) != 2 ||
        !read_count(json_array_get(offsets, 0), &begin) ||
        !read_count(json_array_get(offsets, 1), &end) || begin > end)
        return fo_fail(error, FO_FORMAT,
                       "tensor %.60s has no pair of data_offsets", name);
    if (end > data_bytes)
        return fo_fail_short(error, FO_FORMAT, end, data_bytes,
                             "tensor %.60s ends at byte %llu of %llu", name,
                             (unsigned long long)end,
                             (unsigned long long)data_bytes);
    if (!fo_safetensor_bytes(tensor, &wanted) || wanted != end - begin)
        return fo_fail(error, FO_FORMAT,
                       "tensor %.60s has %llu bytes, not those of its shape",
                       name, (unsigned long long)(end - begin));
    tensor->data = data + begin;
    tensor->bytes = end - begin;
    int unit = fo_dtype_info_get(tensor->dtype)->block_bytes;
    if ((uintptr_t)tensor->data % (uintptr_t)unit != 0)
        return fo_fail(error, FO_UNSUPPORTED,
                       "tensor %.60s is not aligned to its type", name);
    return FO_OK;
}

/* Read one tensor. */
static fo_status read_tensor(const char *name, const json_t *entry,
                             const char *data, uint64_t data_bytes,
                             fo_safetensor *tensor, fo_error *error)
{
    if (!json_is_object(entry))
        return fo_fail(error, FO_FORMAT, "tensor %.60s is no object", name);
    tensor->name = name;
    fo_status status = read_type(name, entry, tensor, error);
    if (status == FO_OK)
        status = read_shape(name, entry, tensor, error);
    if (status == FO_OK)
        status = read_offsets(name, entry, data, data_bytes, tensor, error);
    return status;
}

/* Sort tensors by their place. */
static int by_address(const void *left, const void *right)
{
    const fo_safetensor *a = *(const fo_safetensor *const *)left;
    const fo_safetensor *b = *(const fo_safetensor *const *)right;
    const char *a_data = a->data, *b_data = b->data;
    if (a_data != b_data)
        return a_data < b_data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Check that tensors cover the data. */
static fo_status check_tiling(const fo_safetensors *file, const char *data,
                              uint64_t data_bytes, fo_error *error)
{
    const fo_safetensor **order =
        fo_memory_alloc((size_t)file->count, sizeof *order, error);
    if (!order)
        return FO_NOMEM;
    for (int i = 0; i < file->count; i++)
        order[i] = &file->tensors[i];
    if (file->count > 0)
        qsort(order, (size_t)file->count, sizeof *order, by_address);
    const char *end = data;
    fo_status status = FO_OK;
    for (int i = 0; i < file->count && status == FO_OK; i++) {
        if (order[i]->data != end)
            status = fo_fail(error, FO_FORMAT,
                             "tensor %.60s overlaps another or follows a hole",
                             order[i]->name);
        end = (const char *)order[i]->data + order[i]->bytes;
    }
    if (status == FO_OK && end != data + data_bytes)
        status = fo_fail(error, FO_FORMAT, "the last tensor ends early");
    fo_memory_free(order);
    return status;
}

/* Check that metadata are strings. */
static fo_status check_metadata(const json_t *header, fo_error *error)
{
    json_t *metadata = json_object_get(header, FO_SAFETENSORS_METADATA);
    if (metadata && !json_is_object(metadata))
        return fo_fail(error, FO_FORMAT, "the metadata is no object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return fo_fail(error, FO_FORMAT, "metadata %.60s is no string",
                           key);
    }
    return FO_OK;
}

/* Parse the header as JSON. */
static fo_status read_header(const char *text, size_t bytes, json_t **out,
                             fo_error *error)
{
    if (text[0] != '{')
        return fo_fail(error, FO_FORMAT, "the header is no JSON object");
    json_error_t fault;
    fo_json_starved();
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &fault);
    if (fo_json_starved()) {
        json_decref(*out);
        *out = NULL;
        return fo_fail(error, FO_NOMEM, "no memory to parse %zu bytes of JSON",
                       bytes);
    }
    if (!*out)
        return fo_fail(error, FO_FORMAT, "header, byte %d: %.120s",
                       fault.position, fault.text);
    return FO_OK;
}

/* Read every tensor of the header. */
static fo_status read_tensors(fo_safetensors *file, const char *data,
                              uint64_t data_bytes, fo_error *error)
{
    size_t entries = json_object_size(file->header);
    file->tensors = fo_memory_alloc(entries, sizeof *file->tensors, error);
    if (!file->tensors)
        return FO_NOMEM;
    const char *name;
    json_t *entry;
    fo_status status = check_metadata(file->header, error);
    json_object_foreach(file->header, name, entry)
    {
        if (status != FO_OK)
            return status;
        if (strcmp(name, FO_SAFETENSORS_METADATA) != 0)
            status = read_tensor(name, entry, data, data_bytes,
                                 &file->tensors[file->count++], error);
    }
    return status == FO_OK ? check_tiling(file, data, data_bytes, error)
                           : status;
}

/* Parse a file from memory. */
fo_status fo_safetensors_parse(const void *data, size_t bytes,
                               fo_safetensors **out, fo_error *error)
{
    *out = NULL;
    uint64_t length;
    if (bytes < PREFIX + 2)
        return fo_fail_short(error, FO_FORMAT, PREFIX + 2, bytes,
                             "%zu bytes are too few for a header", bytes);
    assert((uintptr_t)data % 8 == 0);
    memcpy(&length, data, sizeof length);
    if (length < 2 || length > LONGEST_HEADER || length > bytes - PREFIX)
        return fo_fail_short(error, FO_FORMAT, length, bytes - PREFIX,
                             "a header of %llu bytes in a file of %zu",
                             (unsigned long long)length, bytes);
    fo_safetensors *file = fo_memory_alloc(1, sizeof *file, error);
    if (!file)
        return FO_NOMEM;
    const char *text = (const char *)data + PREFIX;
    fo_status status = read_header(text, length, &file->header, error);
    if (status == FO_OK)
        status =
            read_tensors(file, text + length, bytes - PREFIX - length, error);
    if (status != FO_OK)
        fo_safetensors_close(&file);
    *out = file;
    return status;
}

/* Open a file and close it. */
fo_status fo_safetensors_open(const char *path, fo_safetensors **out,
                              fo_error *error)
{
    *out = NULL;
    fo_file_map map;
    fo_status status = fo_file_map_open(path, &map, error);
    if (status != FO_OK)
        return status;
    status = fo_safetensors_parse(map.data, map.bytes, out, error);
    if (status == FO_OK) {
        (*out)->map = map;
    } else {
        fo_error_in_file(error, path);
        fo_file_map_close(&map);
    }
    return status;
}

void fo_safetensors_close(fo_safetensors **file)
{
    if (!*file)
        return;
    json_decref((*file)->header);
    fo_memory_free((*file)->tensors);
    fo_file_map_close(&(*file)->map);
    fo_memory_free(*file);
    *file = NULL;
}

/* Look up tensors and metadata. */
int fo_safetensors_count(const fo_safetensors *file)
{
    return file->count;
}

const fo_safetensor *fo_safetensors_at(const fo_safetensors *file, int index)
{
    assert(index >= 0 && index < file->count);
    return &file->tensors[index];
}

const fo_safetensor *fo_safetensors_find(const fo_safetensors *file,
                                         const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *fo_safetensors_metadata(const fo_safetensors *file, const char *key)
{
    const json_t *metadata =
        json_object_get(file->header, FO_SAFETENSORS_METADATA);
    return json_string_value(json_object_get(metadata, key));
}

/* Go through the metadata in order. */
bool fo_safetensors_metadata_at(const fo_safetensors *file, int index,
                                fo_metadata *out)
{
    json_t *metadata = json_object_get(file->header, FO_SAFETENSORS_METADATA);
    void *entry = json_object_iter(metadata);
    for (int i = 0; entry != NULL && i < index; i++)
        entry = json_object_iter_next(metadata, entry);
    if (entry == NULL)
        return false;
    out->key = json_object_iter_key(entry);
    out->value = json_string_value(json_object_iter_value(entry));
    return true;
}
