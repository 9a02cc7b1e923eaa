/* Run the op that a golden names, on its own inputs, on any device. */
#ifndef FOLIO_APP_GOLDEN_REPLAY_H
#define FOLIO_APP_GOLDEN_REPLAY_H

#include "app/golden_case.h"
#include "common/backend.h"
#include "common/safetensors.h"

enum { GOLDEN_OUTPUTS = 6 };

typedef struct golden_outputs {
    fo_safetensor tensors[GOLDEN_OUTPUTS]; /* named out...; data owned */
    int count;
} golden_outputs;

/* Fill `outputs` with what the op of `file` yields on `device`. FO_FORMAT when
 * the file lacks a tensor or a word, or when what the replay itself reads has
 * another type or size; FO_UNKNOWN for an op of another name; and whatever the
 * op itself returns. */
fo_status golden_replay(fo_device *device, const fo_safetensors *file,
                        golden_outputs *outputs, fo_error *error);

void golden_outputs_close(golden_outputs *outputs);

/* Write a case to a file, with what `device` answers. */
fo_status golden_write(fo_device *device, const golden_case *made,
                       const char *path, fo_error *error);

#endif
