/* Small models with random weights, as files. */
#ifndef FOLIO_TESTS_TOY_MODEL_H
#define FOLIO_TESTS_TOY_MODEL_H

#include "model/config.h"

/* Two layers, C 32, H 4, D 8, F 48, V 300, context 256. */
typedef struct toy_model {
    fo_arch arch;
    int K;
    int window;   /* 0: none                                      */
    int original; /* context before longrope; 0: no long factors  */
    bool tied;
    bool broken; /* the final norm holds a NaN                   */
} toy_model;

enum { TOY_CONTEXT = 256 };

/* Write the model to a new file, whose name is put into `path`. */
void toy_model_write(const toy_model *toy, char path[32]);

#endif
