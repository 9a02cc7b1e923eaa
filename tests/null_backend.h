/* The smallest legal backend: what every backend must have, and no more. */
#ifndef FOLIO_TESTS_NULL_BACKEND_H
#define FOLIO_TESTS_NULL_BACKEND_H

#include "common/backend.h"

/* A device of host memory whose ops yield zeros and whose pools hold no
 * blocks. */
extern const fo_backend null_backend;

/* The name of the first required slot that is null in `backend`, or null. */
const char *backend_missing_slot(const fo_backend *backend);

#endif
