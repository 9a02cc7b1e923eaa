#include "cuda/device.cuh"

using namespace FO_SIDE;

/* A slot that is not named is null. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

const fo_backend FO_BACKEND = {
    .name = FO_BACKEND_NAME,
    /* Fill the life and memory slots of the CUDA backend. */
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .map = cuda_map,
    .unmap = cuda_unmap,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .reserve = cuda_reserve,
    .commit = cuda_commit,
    .unreserve = cuda_unreserve,
    .sync = cuda_sync,
    .graph_begin = cuda_graph_begin,
    .graph_end = cuda_graph_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .workspace_bytes = cuda_workspace_bytes,
    /* Fill the first layer slots of the CUDA backend. */
    .embed = cuda_embed,
    .rmsnorm = cuda_rmsnorm,
    /* Fill the linear slot of the CUDA backend. */
    .linear = cuda_linear,
    /* Fill the other layer slots of the CUDA backend. */
    .add = cuda_add,
    .rope = cuda_rope,
    .silu_mul = cuda_silu_mul,
    .gather_rows = cuda_gather_rows,
    /* Fill the cache slots of the CUDA backend. */
    .kv_write = cuda_kv_write,
    .kv_copy = cuda_kv_copy,
    /* Fill the prefill slot of the CUDA backend. */
    .attention_prefill = cuda_attention_prefill,
    /* Fill the decode slot of the CUDA backend. */
    .attention_decode = cuda_attention_decode,
    /* Fill the contiguous slot of the CUDA backend. */
    .attention_contiguous = cuda_attention_contiguous,
    /* Fill the sample slot of the CUDA backend. */
    .sample = cuda_sample,
    /* Fill the pool slots of the CUDA backend. */
    .pool_bytes = cuda_pool_bytes,
    .pool_open = cuda_pool_open,
    .pool_close = cuda_pool_close,
    .pool_view = cuda_pool_view,
    .pool_extend = cuda_pool_extend,
    .pool_release = cuda_pool_release,
    .pool_share = cuda_pool_share,
    .pool_resize = cuda_pool_resize,
    .pool_stats = cuda_pool_stats,
    .pool_check = cuda_pool_check,
    .step_request = cuda_step_request,
    .step_place = cuda_step_place,
    .step_append = cuda_step_append,
};
