#include "model/gguf_write.h"

#include "common/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 3, ALIGNMENT = 32 };

/* Hold a file in the making. */
/* Bytes that grow at their end. */
typedef struct text {
    char *data;
    size_t length, room;
} text;

typedef struct place {
    uint64_t offset, bytes; /* in the data section */
} place;

struct fo_gguf_writer {
    char *path, *beside; /* where it shall be, and where it grows      */
    int file;            /* -1: closed                                  */
    text metadata, descriptions;
    uint64_t entries;
    place *tensors;
    int count, room; /* tensors, and places for them                */
    uint64_t head;   /* bytes before the data section               */
    uint64_t data;   /* bytes of the data section                   */
    fo_status status;
    fo_error error; /* the first failure of a put                  */
};

/* Append to what goes before the data. */
static void append(fo_gguf_writer *w, text *to, const void *data, size_t bytes)
{
    if (w->status != FO_OK || bytes == 0)
        return;
    if (to->room - to->length < bytes) {
        size_t room = 2 * to->room + bytes + 256;
        char *grown = fo_memory_resize(to->data, room, 1, &w->error);
        if (!grown) {
            w->status = FO_NOMEM;
            return;
        }
        to->data = grown;
        to->room = room;
    }
    memcpy(to->data + to->length, data, bytes);
    to->length += bytes;
}

static void append_u32(fo_gguf_writer *w, text *to, uint32_t value)
{
    append(w, to, &value, sizeof value);
}

static void append_u64(fo_gguf_writer *w, text *to, uint64_t value)
{
    append(w, to, &value, sizeof value);
}

static void append_string(fo_gguf_writer *w, text *to, const char *string)
{
    append_u64(w, to, strlen(string));
    append(w, to, string, strlen(string));
}

/* Put one value. */
static void begin_entry(fo_gguf_writer *w, const char *key, fo_gguf_type type)
{
    append_string(w, &w->metadata, key);
    append_u32(w, &w->metadata, type);
    w->entries++;
}

void fo_gguf_put_u32(fo_gguf_writer *w, const char *key, uint32_t value)
{
    begin_entry(w, key, FO_GGUF_U32);
    append_u32(w, &w->metadata, value);
}

void fo_gguf_put_f32(fo_gguf_writer *w, const char *key, float value)
{
    begin_entry(w, key, FO_GGUF_F32);
    append(w, &w->metadata, &value, sizeof value);
}

void fo_gguf_put_bool(fo_gguf_writer *w, const char *key, bool value)
{
    begin_entry(w, key, FO_GGUF_BOOL);
    append(w, &w->metadata, value ? "\1" : "\0", 1);
}

void fo_gguf_put_text(fo_gguf_writer *w, const char *key, const char *value)
{
    begin_entry(w, key, FO_GGUF_STRING);
    append_string(w, &w->metadata, value);
}

/* Put many values. */
void fo_gguf_put_strings(fo_gguf_writer *w, const char *key,
                         const char *const *values /* (count) */,
                         uint64_t count)
{
    begin_entry(w, key, FO_GGUF_ARRAY);
    append_u32(w, &w->metadata, FO_GGUF_STRING);
    append_u64(w, &w->metadata, count);
    for (uint64_t i = 0; i < count; i++)
        append_string(w, &w->metadata, values[i]);
}

void fo_gguf_put_numbers(fo_gguf_writer *w, const char *key, fo_gguf_type type,
                         const void *values /* (count) */, uint64_t count)
{
    assert(type == FO_GGUF_F32 || type == FO_GGUF_I32);
    begin_entry(w, key, FO_GGUF_ARRAY);
    append_u32(w, &w->metadata, type);
    append_u64(w, &w->metadata, count);
    append(w, &w->metadata, values, (size_t)count * 4);
}

/* Describe a tensor to the file. */
static uint64_t aligned(uint64_t offset)
{
    return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint32_t number_of(fo_dtype dtype)
{
    static const uint32_t numbers[] = {[FO_F32] = 0,
                                       [FO_F16] = 1,
                                       [FO_BF16] = 30,
                                       [FO_Q8_0] = 8,
                                       [FO_Q4_0] = 2};
    assert(dtype <= FO_Q4_0);
    return numbers[dtype];
}

/* Room for one tensor more. */
static bool make_room(fo_gguf_writer *w)
{
    if (w->status == FO_OK && w->count == w->room) {
        int room = 2 * w->room + 64;
        place *grown = fo_memory_resize(w->tensors, (size_t)room,
                                        sizeof *w->tensors, &w->error);
        if (!grown)
            w->status = FO_NOMEM;
        else {
            w->tensors = grown;
            w->room = room;
        }
    }
    return w->status == FO_OK;
}

/* Give a tensor its place. */
void fo_gguf_put_tensor(fo_gguf_writer *w, const char *name, fo_dtype dtype,
                        int R, int C)
{
    uint64_t bytes = fo_dtype_bytes(dtype, C) * (uint64_t)(R > 0 ? R : 1);
    if (!make_room(w))
        return;
    append_string(w, &w->descriptions, name);
    append_u32(w, &w->descriptions, R > 0 ? 2 : 1);
    append_u64(w, &w->descriptions, (uint64_t)C);
    if (R > 0)
        append_u64(w, &w->descriptions, (uint64_t)R);
    append_u32(w, &w->descriptions, number_of(dtype));
    append_u64(w, &w->descriptions, w->data);
    w->tensors[w->count++] = (place){w->data, bytes};
    w->data = aligned(w->data + bytes);
}

/* Write bytes where they belong. */
static fo_status fail_with(const fo_gguf_writer *w, const char *deed,
                           fo_error *error)
{
    return fo_fail(error, FO_IO, "cannot %s %.150s: %s", deed, w->path,
                   strerror(errno));
}

static fo_status write_at(const fo_gguf_writer *w, uint64_t at,
                          const void *data, size_t bytes, fo_error *error)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t wrote = pwrite(w->file, (const char *)data + done, bytes - done,
                               (off_t)(at + done));
        if (wrote < 0 && errno != EINTR)
            return fail_with(w, "write", error);
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return FO_OK;
}

fo_status fo_gguf_writer_data(fo_gguf_writer *w, int tensor, uint64_t at,
                              const void *data, size_t bytes, fo_error *error)
{
    assert(tensor >= 0 && tensor < w->count);
    const place *to = &w->tensors[tensor];
    assert(at <= to->bytes && bytes <= to->bytes - at);
    return write_at(w, w->head + to->offset + at, data, bytes, error);
}

/* Write the head of a file. */
static fo_status write_head(fo_gguf_writer *w, fo_error *error)
{
    text head = {0};
    append(w, &head, "GGUF", 4);
    append_u32(w, &head, VERSION);
    append_u64(w, &head, (uint64_t)w->count);
    append_u64(w, &head, w->entries);
    append(w, &head, w->metadata.data, w->metadata.length);
    append(w, &head, w->descriptions.data, w->descriptions.length);
    w->head = aligned(head.length);
    fo_status status = w->status;
    if (status == FO_OK)
        status = write_at(w, 0, head.data, head.length, error);
    else if (error)
        *error = w->error;
    fo_memory_free(head.data);
    return status;
}

/* Give the file its size. */
/* A file system that cannot promise room is asked for it as the data comes. */
static bool reserve(int file, uint64_t bytes)
{
    return fallocate(file, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP ||
           errno == ENOSYS;
}

fo_status fo_gguf_writer_begin(fo_gguf_writer *w, bool holes, uint64_t *bytes,
                               fo_error *error)
{
    fo_status status = write_head(w, error);
    if (status != FO_OK)
        return status;
    *bytes = w->head + w->data;
    if (ftruncate(w->file, (off_t)*bytes) != 0 ||
        (!holes && !reserve(w->file, *bytes)))
        return fail_with(w, "make room for", error);
    return FO_OK;
}

/* Open, finish and close a writer. */
static fo_status open_beside(fo_gguf_writer *w, const char *path,
                             fo_error *error)
{
    size_t size = strlen(path) + sizeof ".partial";
    w->path = fo_memory_alloc(size, 1, error);
    if (w->path)
        w->beside = fo_memory_alloc(size, 1, error);
    if (!w->beside)
        return FO_NOMEM;
    strcpy(w->path, path);
    snprintf(w->beside, size, "%s.partial", path);
    w->file = open(w->beside, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    return w->file >= 0 ? FO_OK : fail_with(w, "write", error);
}

fo_status fo_gguf_writer_open(const char *path, fo_gguf_writer **out,
                              fo_error *error)
{
    *out = NULL;
    fo_gguf_writer *w = fo_memory_alloc(1, sizeof *w, error);
    if (!w)
        return FO_NOMEM;
    w->file = -1;
    fo_status status = open_beside(w, path, error);
    if (status != FO_OK)
        fo_gguf_writer_close(&w);
    *out = w;
    return status;
}

/* Finish or remove the file. */
fo_status fo_gguf_writer_finish(fo_gguf_writer *w, fo_error *error)
{
    int closed = close(w->file);
    w->file = -1;
    if (closed != 0 || rename(w->beside, w->path) != 0) {
        fo_status status = fail_with(w, "finish", error);
        unlink(w->beside);
        return status;
    }
    return FO_OK;
}

void fo_gguf_writer_close(fo_gguf_writer **writer)
{
    fo_gguf_writer *w = *writer;
    if (!w)
        return;
    if (w->file >= 0) {
        close(w->file);
        unlink(w->beside);
    }
    fo_memory_free(w->path);
    fo_memory_free(w->beside);
    fo_memory_free(w->metadata.data);
    fo_memory_free(w->descriptions.data);
    fo_memory_free(w->tensors);
    fo_memory_free(w);
    *writer = NULL;
}
