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
    .sample = cpu_sample,
};
