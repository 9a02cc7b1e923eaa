/* A whole file as read-only memory. */
#ifndef FOLIO_COMMON_FILE_MAP_H
#define FOLIO_COMMON_FILE_MAP_H

#include "common/status.h"

#include <stddef.h>

typedef struct fo_file_map {
    void *data; /* page-aligned; null when nothing is mapped */
    size_t bytes;
} fo_file_map;

/* FO_IO when the system will not or it is no regular file, FO_FORMAT when it is
 * empty. The message names the path. */
fo_status fo_file_map_open(const char *path, fo_file_map *out, fo_error *error);

/* Unmap and null; nothing mapped is allowed. */
void fo_file_map_close(fo_file_map *map);

#endif
