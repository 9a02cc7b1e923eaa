/* What is taken of the memory now, measured where it is counted. */
#ifndef FOLIO_ENGINE_USAGE_H
#define FOLIO_ENGINE_USAGE_H

#include "engine/block_manager.h"

/* All in bytes. */
typedef struct fo_usage {
    uint64_t own;       /* handed out by the device                         */
    uint64_t committed; /* of these, K and V of `blocks`                    */
    uint64_t held;      /* of these, in blocks that sequences hold          */
    uint64_t host;      /* handed out by common/memory.h on the host        */
    uint64_t resident;  /* pages of this process that are in memory, as the */
                        /* system counts them; 0 where it does not tell     */
} fo_usage;

/* `blocks` may be null: nothing is committed then. FO_DEVICE. */
fo_status fo_usage_get(fo_device *device, const fo_block_manager *blocks,
                       fo_usage *usage, fo_error *error);

/* Write the usage to the log as `event`, at the level FO_LOG_INFO, with the
 * tokens that are stored. Measures only if the log wants it. */
void fo_usage_log(const char *event, fo_device *device,
                  const fo_block_manager *blocks, int tokens);

#endif
