/* Folio as a library: all that a program needs, in one header. Each header that
 * it gathers says what its part does, and who owns what.
 *
 *     cc program.c $(pkg-config --cflags --libs folio) */
#ifndef FOLIO_FOLIO_H
#define FOLIO_FOLIO_H

#ifdef __cplusplus
extern "C" {
#endif

#include "common/log.h"
#include "common/memory.h"
#include "engine/engine.h"
#include "engine/session.h"

/* The devices. fo_backend_cuda is there in a library built WITH_CUDA=1. */
extern const fo_backend fo_backend_cpu;
extern const fo_backend fo_backend_cuda;

#ifdef __cplusplus
}
#endif

#endif
