/* A model at work on a sequence of tokens, in a paged cache.
 *
 *     load -> encode -> prefill -> decode, decode, ... -> unload
 *                               -> fork -> decode, ... -> unload
 *
 * A call that fails leaves the sequence as it was before. One thread at a time
 * may use the sessions of one load. */
#ifndef FOLIO_ENGINE_SESSION_H
#define FOLIO_ENGINE_SESSION_H

#include "engine/block_manager.h"
#include "model/model.h"

typedef struct fo_session fo_session;

/* Say how a session is to be set up. */
/* 0 stands for the default. */
typedef struct fo_session_options {
    int context;       /* most tokens of the sequence; default: the model's */
    int chunk;         /* tokens of one pass over a prompt; default: 512    */
    int block_size;    /* tokens of a block; default: 16                    */
    int sequences;     /* most sessions of one load at once; default: 1     */
    int slab_blocks;   /* blocks whose memory is taken together, when they  */
                       /* are first needed; default: some 64 MiB of them;   */
                       /* negative: all memory at once                      */
    fo_dtype kv_dtype; /* of the cache: F32, F16 or BF16                    */
} fo_session_options;

/* Name the six verbs. */
/* Load the model at `path`. `device` must outlive the session. Errors: those of
 * fo_model_open, FO_ARG for settings out of range, FO_NOMEM. A load that fails
 * gives back all it has taken. */
fo_status fo_session_load(fo_device *device, const char *path,
                          const fo_session_options *options, fo_session **out,
                          fo_error *error);

/* End one session and give its blocks back. With the last one of a load its
 * model goes too. Null is allowed. */
void fo_session_unload(fo_session **session);

/* Ids of a text; as fo_tokenizer_encode. */
fo_status fo_session_encode(const fo_session *session, const char *text,
                            size_t bytes, unsigned flags, int32_t **ids,
                            size_t *count, fo_error *error);

/* Append `count` tokens. `logits`, host memory, receives those of each token;
 * it may be null. FO_LIMIT: the context is too short, with the length asked for
 * and the context in `error`; FO_ARG: an id outside the vocabulary; FO_FULL;
 * FO_DEVICE. */
fo_status fo_session_prefill(fo_session *session,
                             const int32_t *tokens /* (count) */, size_t count,
                             float *logits /* (count, V) */, fo_error *error);

/* Draw the next token and append it; the `position` of `sampling` is set by the
 * session. FO_LIMIT as above; FO_ARG: an empty sequence, or settings out of
 * range; FO_FULL; FO_DEVICE. */
fo_status fo_session_decode(fo_session *session, const fo_sampling *sampling,
                            int32_t *token, fo_error *error);
/* Decode many tokens at once. */

/* Draw `most` tokens and append them, or fewer `until_stop`: then a token at
 * which the tokenizer stops is the last. They are those of as many calls of
 * fo_session_decode, but the host waits for all of them together. *count tells
 * how many were appended, also by a call that fails. Errors: FO_LIMIT before
 * any work; else those of fo_session_decode. */
fo_status fo_session_generate(fo_session *session, const fo_sampling *sampling,
                              int most, bool until_stop,
                              int32_t *tokens /* (most) */, int *count,
                              fo_error *error);

/* Let a sequence go on in two ways. */
/* Let a second session begin with the tokens of the first. The two share the
 * model and all blocks that neither has written since; what one appends the
 * other does not see. Each draws what a session of its own would draw; where a
 * pass of the other came between, its last token is run again, alone.
 * FO_FULL: options.sequences are in use, with required and available;
 * FO_NOMEM. */
fo_status fo_session_fork(fo_session *session, fo_session **out,
                          fo_error *error);

/* Look into a session. */
/* Both borrowed, and the same for all sessions of one load; valid until the
 * last of them is unloaded. */
const fo_model *fo_session_model(const fo_session *session);
const fo_block_manager *fo_session_blocks(const fo_session *session);

/* The manager's name for the sequence. It knows none that is empty. */
int64_t fo_session_sequence(const fo_session *session);

/* Tokens of the sequence, and how many it may have. */
int fo_session_length(const fo_session *session);
int fo_session_context(const fo_session *session);

#endif
