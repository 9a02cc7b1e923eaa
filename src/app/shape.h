/* Models by name: the sizes of known ones, and files of those sizes whose
 * weights are drawn at random. */
#ifndef FOLIO_APP_SHAPE_H
#define FOLIO_APP_SHAPE_H

#include "common/dtype.h"
#include "common/status.h"
#include "model/config.h"
#include "model/gguf_write.h"

#include <stdbool.h>
#include <stdint.h>

/* Describe a model by name. */
/* A head has C / H dimensions, and all of them rotate. */
typedef struct app_shape {
    const char *name;
    fo_arch arch;
    int C, F, L, H, K, V;
    int context;
    int window; /* 0: none */
    float rope_base;
} app_shape;

/* Null for a name that is unknown. `app_shape_names` lists those that are. */
const app_shape *app_shape_find(const char *name);
extern const char app_shape_names[];

/* Say what a made model holds. */
/* Put the vocabulary of a made model: 256 bytes, made-up syllables and letters,
 * and, for Phi-3, the special tokens at their true distance from the end. */
fo_status app_vocabulary_put(fo_gguf_writer *writer, const app_shape *shape,
                             fo_error *error);

typedef struct app_make {
    app_shape shape;
    fo_dtype type; /* of the matrices */
    uint64_t seed;
    bool zeros; /* the weights are zeros, a hole in the file */
    bool quiet;
} app_make;

/* Write the file; one that is not whole is removed. FO_IO, FO_NOMEM. */
fo_status app_model_make(const app_make *make, const char *path,
                         uint64_t *bytes, fo_error *error);

#endif
