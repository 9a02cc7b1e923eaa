#include "common/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Map a file into memory. */
fo_status fo_file_map_open(const char *path, fo_file_map *out, fo_error *error)
{
    *out = (fo_file_map){0};
    struct stat about = {0};
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return fo_fail(error, FO_IO, "%.150s: %s", path, strerror(errno));
    int failed = fstat(descriptor, &about);
    bool regular = S_ISREG(about.st_mode);
    out->bytes = regular ? (size_t)about.st_size : 0;
    if (!failed && out->bytes > 0)
        out->data =
            mmap(NULL, out->bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    int number = errno;
    close(descriptor);
    if (failed || out->data == MAP_FAILED) {
        *out = (fo_file_map){0};
        return fo_fail(error, FO_IO, "%.150s: %s", path, strerror(number));
    }
    if (!regular)
        return fo_fail(error, FO_IO, "%.150s: no regular file", path);
    if (!out->data)
        return fo_fail(error, FO_FORMAT, "%.150s: an empty file", path);
    return FO_OK;
}

void fo_file_map_close(fo_file_map *map)
{
    if (map->data)
        munmap(map->data, map->bytes);
    *map = (fo_file_map){0};
}
