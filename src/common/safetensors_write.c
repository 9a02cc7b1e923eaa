#include "common/json.h"
#include "common/memory.h"
#include "common/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Check a tensor before writing it. */
static fo_status check_for_writing(const fo_safetensor *tensor, uint64_t offset,
                                   fo_error *error)
{
    uint64_t wanted;
    if (!fo_safetensors_type(tensor->dtype))
        return fo_fail(error, FO_ARG, "tensor %.60s: no type for %s",
                       tensor->name, fo_dtype_info_get(tensor->dtype)->name);
    if (!fo_safetensor_bytes(tensor, &wanted) || wanted != tensor->bytes)
        return fo_fail(error, FO_ARG,
                       "tensor %.60s: %llu bytes are not those of its shape",
                       tensor->name, (unsigned long long)tensor->bytes);
    int unit = fo_dtype_info_get(tensor->dtype)->block_bytes;
    if (offset % (uint64_t)unit != 0)
        return fo_fail(error, FO_ARG,
                       "tensor %.60s would not be aligned to its type",
                       tensor->name);
    return FO_OK;
}

/* Describe a tensor in JSON. */
static json_t *describe(const fo_safetensor *tensor, uint64_t offset)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->rank; i++)
        json_array_append_new(shape, json_integer(tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                     fo_safetensors_type(tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)offset,
                     (json_int_t)(offset + tensor->bytes));
}

/* Add an entry to the header. */
static fo_status add_entry(json_t *object, const char *name, json_t *value,
                           fo_error *error)
{
    bool twice = json_object_get(object, name) != NULL;
    bool added = !twice && json_object_set_new(object, name, value) == 0;
    if (twice)
        json_decref(value);
    if (fo_json_starved())
        return fo_fail(error, FO_NOMEM, "no memory for the header");
    if (added)
        return FO_OK;
    return fo_fail(error, FO_ARG, "%.60s %s", name,
                   twice ? "is named twice" : "or its value is not UTF-8");
}

/* Build the header of a file. */
static fo_status build_header(const fo_safetensor *tensors, int count,
                              const fo_metadata *metadata, int metadata_count,
                              json_t *header, fo_error *error)
{
    json_t *strings = json_object();
    fo_status status =
        add_entry(header, FO_SAFETENSORS_METADATA, strings, error);
    for (int i = 0; i < metadata_count && status == FO_OK; i++)
        status = add_entry(strings, metadata[i].key,
                           json_string(metadata[i].value), error);
    uint64_t offset = 0;
    for (int i = 0; i < count && status == FO_OK; i++) {
        status = check_for_writing(&tensors[i], offset, error);
        if (status == FO_OK)
            status = add_entry(header, tensors[i].name,
                               describe(&tensors[i], offset), error);
        offset += tensors[i].bytes;
    }
    return status;
}

/* Write prefix, header and data. */
static bool write_all(FILE *stream, const char *text, uint64_t length,
                      const fo_safetensor *tensors, int count)
{
    uint64_t padded = (length + 7) / 8 * 8;
    bool good = fwrite(&padded, sizeof padded, 1, stream) == 1 &&
                fwrite(text, 1, length, stream) == length;
    for (uint64_t i = length; i < padded && good; i++)
        good = fputc(' ', stream) != EOF;
    for (int i = 0; i < count && good; i++)
        good = tensors[i].bytes == 0 ||
               fwrite(tensors[i].data, tensors[i].bytes, 1, stream) == 1;
    return good;
}

/* Write beside a path and move into place. */
static fo_status write_file(const char *path, const char *text,
                            const fo_safetensor *tensors, int count,
                            fo_error *error)
{
    size_t size = strlen(path) + sizeof ".partial";
    char *beside = fo_memory_alloc(size, 1, error);
    if (!beside)
        return FO_NOMEM;
    snprintf(beside, size, "%s.partial", path);
    FILE *stream = fopen(beside, "wb");
    bool good = stream && write_all(stream, text, strlen(text), tensors, count);
    good = stream && fclose(stream) == 0 && good;
    good = good && rename(beside, path) == 0;
    fo_status status = FO_OK;
    if (!good)
        status = fo_fail(error, FO_IO, "%.150s: %s", path, strerror(errno));
    if (stream && !good)
        unlink(beside);
    fo_memory_free(beside);
    return status;
}

/* Write a whole file. */
fo_status fo_safetensors_write(const char *path, const fo_safetensor *tensors,
                               int count, const fo_metadata *metadata,
                               int metadata_count, fo_error *error)
{
    fo_json_starved();
    json_t *header = json_object();
    if (!header)
        return fo_fail(error, FO_NOMEM, "no memory for the header");
    fo_status status =
        build_header(tensors, count, metadata, metadata_count, header, error);
    char *text = NULL;
    if (status == FO_OK) {
        text = json_dumps(header, JSON_COMPACT);
        if (fo_json_starved() || !text)
            status = fo_fail(error, FO_NOMEM, "no memory for the header");
    }
    if (status == FO_OK)
        status = write_file(path, text, tensors, count, error);
    fo_memory_free(text);
    json_decref(header);
    return status;
}
