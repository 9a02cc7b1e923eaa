#include "engine/usage.h"

#include "common/log.h"
#include "common/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Ask the system for the resident set. */
static uint64_t resident(void)
{
    uint64_t size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &size, &pages) != 2)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Measure what is taken. */
fo_status fo_usage_get(fo_device *device, const fo_block_manager *blocks,
                       fo_usage *usage, fo_error *error)
{
    fo_device_info info;
    device->backend->info(device, &info);
    *usage = (fo_usage){.own = info.memory_own,
                        .host = fo_memory_usage_get(FO_MEMORY_HOST).bytes,
                        .resident = resident()};
    if (!blocks)
        return FO_OK;
    fo_block_stats stats;
    fo_status status = fo_block_manager_stats(blocks, &stats, error);
    if (status != FO_OK)
        return status;
    const fo_block_config *c = fo_block_manager_config(blocks);
    usage->committed = stats.committed_bytes;
    usage->held = fo_block_config_token_bytes(c) * (uint64_t)c->block_size *
                  (uint64_t)stats.pool.held;
    return FO_OK;
}

/* Tell the log what is taken. */
void fo_usage_log(const char *event, fo_device *device,
                  const fo_block_manager *blocks, int tokens)
{
    fo_usage u;
    if (!fo_log_wants(FO_LOG_INFO) ||
        fo_usage_get(device, blocks, &u, NULL) != FO_OK)
        return;
    const fo_log_field fields[] = {
        {"tokens", (uint64_t)tokens},
        {"own", u.own},
        {"committed", u.committed},
        {"held", u.held},
        {"host", u.host},
        {"resident", u.resident},
    };
    fo_log_write(FO_LOG_INFO, event, fields,
                 (int)(sizeof fields / sizeof *fields));
}
