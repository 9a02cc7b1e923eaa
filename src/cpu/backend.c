#include "cpu/cpu.h"

const fo_backend fo_backend_cpu = {
    .name = "cpu",
    /* Fill the slots of the CPU backend. */
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .map = cpu_map,
    .unmap = cpu_unmap,
    .upload = cpu_upload,
    .download = cpu_download,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .sync = cpu_sync,
    .workspace_bytes = cpu_workspace_bytes,
    .pool_open = cpu_pool_open,
    .pool_close = cpu_pool_close,
    .pool_view = cpu_pool_view,
    .pool_extend = cpu_pool_extend,
    .pool_release = cpu_pool_release,
    .pool_share = cpu_pool_share,
    .pool_stats = cpu_pool_stats,
    .pool_check = cpu_pool_check,
    .sample = cpu_sample,
};
