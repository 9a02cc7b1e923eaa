#include "common/file_map.h"

#include <errno.h>
#include <fcntl.h>
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
    size_t bytes = (size_t)about.st_size;
    if (!failed && S_ISREG(about.st_mode) && bytes > 0) {
        out->data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
        failed = out->data == MAP_FAILED;
    }
    int number = errno;
    close(descriptor);
    if (failed)
        out->data = NULL;
    if (failed)
        return fo_fail(error, FO_IO, "%.150s: %s", path, strerror(number));
    if (!out->data)
        return fo_fail(error, FO_FORMAT, "%.150s: no file with contents", path);
    out->bytes = bytes;
    return FO_OK;
}

void fo_file_map_close(fo_file_map *map)
{
    if (map->data)
        munmap(map->data, map->bytes);
    *map = (fo_file_map){0};
}
