/* Many tokens of many sequences without a word between the host and the device.
 *
 * The loop decides on the device what the host decides in fo_session_decode:
 * which slot a token gets, which token comes next, and when a sequence ends.
 * The host sends what it takes to begin, launches the steps, and fetches all
 * tokens at the end. They are the tokens that step-by-step decoding draws. */
#ifndef FOLIO_ENGINE_DECODE_LOOP_H
#define FOLIO_ENGINE_DECODE_LOOP_H

#include "engine/block_manager.h"
#include "model/model.h"

typedef struct fo_decode_loop fo_decode_loop;

/* Say what a loop is told and what it tells. */
/* One sequence. Its last token is the only one that is not stored yet. */
typedef struct fo_decoding {
    int64_t sequence;
    int32_t last;
    fo_sampling sampling; /* its position: of the first token drawn */

    int count;      /* told: tokens appended                                */
    bool stopped;   /* the last of them was one to stop at                  */
    fo_error error; /* FO_OK, or why it ended early: FO_FULL, the pool gave */
                    /* no block; FO_DEVICE, no token could be drawn         */
} fo_decoding;

/* Take the memory of up to `most_tokens` tokens, those of all sequences of one
 * run together. Sequences that are told to stop do so at the tokens at which
 * the model's tokenizer does. Model and manager lie on `device` and must
 * outlive the loop. FO_NOMEM. */
fo_status fo_decode_loop_open(fo_device *device, fo_model *model,
                              fo_block_manager *blocks, int most_tokens,
                              fo_decode_loop **out, fo_error *error);
void fo_decode_loop_close(fo_decode_loop **loop);

/* Declare what a loop takes. */
/* What a loop takes of the device's memory, for the most sequences of a model
 * with this tokenizer. */
uint64_t fo_decode_loop_bytes(const fo_tokenizer *tokenizer, int max_sequences,
                              int most_tokens);
/* Draw `steps` tokens for each of N different sequences, or fewer `until_stop`;
 * the k-th token of sequence n goes to tokens[n * steps + k]. A sequence that
 * ends early says why, and keeps what it has; where no token could be drawn it
 * also stores the last one it was given. Before anything is done:
 * FO_UNKNOWN, a sequence the manager does not know; FO_ARG, settings out of
 * range or a token outside the vocabulary; FO_LIMIT, a sequence that would
 * become too long. FO_DEVICE: every sequence stores what its count says, if the
 * device can still tell. */
fo_status fo_decode_loop_run(fo_decode_loop *loop,
                             fo_decoding *decodings /* (N) */, int N, int steps,
                             bool until_stop, int32_t *tokens /* (N, steps) */,
                             fo_error *error);

#endif
