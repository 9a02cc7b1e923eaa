#include "cuda/linear.cuh"
#include "cuda/linear_span.cuh"

namespace FO_SIDE
{

/* Shape the streaming kernel. */
static constexpr int STREAM_WARPS = 8;
static constexpr int STREAM_THREADS = WARP * STREAM_WARPS;

/* Columns of x that a panel holds, over all of its tokens. */
static constexpr int PANEL_COLUMNS = 8192;

template <fo_dtype dtype, int TOKENS> struct stream_shape {
    using span = typename span_of<dtype>::type;
    static constexpr int ROWS = TOKENS <= 2 ? 2 : 4; /* of a warp       */
    static constexpr int STAGES = ROWS == 2 ? 3 : 2; /* places of a ring */
    static constexpr int SPANS =                     /* of a panel of x */
        PANEL_COLUMNS / TOKENS / span::columns;

    /* One span of x, four floats a quad and lane, and four to spare. */
    struct panel {
        float x[TOKENS][span::quads][4 * (WARP + 1)];
    };

    struct alignas(16) memory {
        char ring[STREAM_WARPS][STAGES][ROWS][span::bytes];
        panel panels[SPANS];
    };
};

/* Fetch a span of each row of a warp. */
template <class shape>
static __device__ void fetch(char (&slot)[shape::ROWS][shape::span::bytes],
                             const linear_product &p, int row, int step)
{
    constexpr int bytes = shape::span::bytes;
    bool aligned = ((uintptr_t)p.data | (uintptr_t)p.row_bytes) % 16 == 0;
    int64_t first = (int64_t)step * bytes;
    int64_t left = p.row_bytes - first;
    for (int i = 0; i < shape::ROWS && left > 0; i++) {
        int r = row + i < p.R ? row + i : p.R - 1;
        const char *from = p.data + r * p.row_bytes;
        if (aligned) {
            for (int at = 16 * lane(); at < bytes; at += 16 * WARP)
                copy_async_16_or_zero(slot[i] + at,
                                      from + (at < left ? first + at : 0),
                                      at < left);
            continue;
        }
        /* Copy a row by twos. */
        uint16_t *to = reinterpret_cast<uint16_t *>(slot[i]);
        const uint16_t *twos = reinterpret_cast<const uint16_t *>(from + first);
        for (int at = lane(); at < bytes / 2; at += WARP)
            to[at] = 2 * at < left ? twos[at] : (uint16_t)0;
    }
    copy_async_commit();
}

/* Stage a panel of x. */
template <class shape, int TOKENS>
static __device__ void stage(typename shape::panel *panels,
                             const linear_product &p, int token, int first)
{
    using span = typename shape::span;
    int columns = (p.C - first + span::columns - 1) / span::columns;
    columns = min(columns, shape::SPANS) * span::columns;
    for (int t = 0; t < TOKENS; t++) {
        const float *x = p.x + (int64_t)(token + t) * p.C + first;
        for (int c = (int)threadIdx.x; c < columns; c += STREAM_THREADS) {
            int in = c % span::columns;
            float value = token + t < p.T && first + c < p.C ? x[c] : 0.0f;
            panels[c / span::columns]
                .x[t][span::quad_of(in)][4 * span::lane_of(in) + c % 4] = value;
        }
    }
}

/* Multiply a span of rows with a span of x. */
template <class shape, int TOKENS>
static __device__ void
multiply(float (&sum)[TOKENS][shape::ROWS],
         const char (&slot)[shape::ROWS][shape::span::bytes],
         const typename shape::panel &panel)
{
    using span = typename shape::span;
    typename span::share own[shape::ROWS];
    for (int i = 0; i < shape::ROWS; i++)
        span::take(own[i], slot[i]);
#pragma unroll
    for (int quad = 0; quad < span::quads; quad++) {
        float w[shape::ROWS][4];
        for (int i = 0; i < shape::ROWS; i++)
            span::unpack(w[i], own[i], quad);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            uint4 bits = load_16(&panel.x[t][quad][4 * lane()]);
            float x[4] = {__uint_as_float(bits.x), __uint_as_float(bits.y),
                          __uint_as_float(bits.z), __uint_as_float(bits.w)};
            for (int i = 0; i < shape::ROWS; i++)
                for (int k = 0; k < 4; k++)
                    sum[t][i] = fmaf(x[k], w[i][k], sum[t][i]);
        }
    }
}

/* Stream rows of weights past a few tokens. */
template <fo_dtype dtype, int TOKENS>
__global__ void __launch_bounds__(STREAM_THREADS, 2)
    linear_stream(linear_product p)
{
    using shape = stream_shape<dtype, TOKENS>;
    auto &shared = shared_memory<typename shape::memory>();
    int groups = (p.T + TOKENS - 1) / TOKENS;
    int token = (int)blockIdx.x % groups * TOKENS;
    int row = ((int)blockIdx.x / groups * STREAM_WARPS + warp()) * shape::ROWS;
    int steps = (p.C + shape::span::columns - 1) / shape::span::columns;
    auto &ring = shared.ring[warp()];
    float sum[TOKENS][shape::ROWS] = {};
    for (int step = 0; step < shape::STAGES - 1; step++)
        fetch<shape>(ring[step], p, row, step);
    for (int step = 0; step < steps; step++) {
        if (step % shape::SPANS == 0) {
            __syncthreads();
            stage<shape, TOKENS>(shared.panels, p, token,
                                 step * shape::span::columns);
            __syncthreads();
        }
        copy_async_wait<shape::STAGES - 2>();
        __syncwarp();
        int ahead = step + shape::STAGES - 1;
        fetch<shape>(ring[ahead % shape::STAGES], p, row, ahead);
        multiply<shape, TOKENS>(sum, ring[step % shape::STAGES],
                                shared.panels[step % shape::SPANS]);
    }
    /* Add up the lanes and store the outputs. */
    float own = 0;
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
#pragma unroll
        for (int i = 0; i < shape::ROWS; i++) {
            float total = warp_sum(sum[t][i]);
            own = lane() == t * shape::ROWS + i ? total : own;
        }
    int t = token + lane() / shape::ROWS, r = row + lane() % shape::ROWS;
    if (lane() < TOKENS * shape::ROWS && t < p.T && r < p.R)
        p.out[(int64_t)t * p.R + r] = own;
}

/* Launch the kernel for a type and a number of tokens. */
/* False, and nothing done, if a block may not have that much shared memory. */
template <fo_dtype dtype, int TOKENS>
static bool stream(cuda_device *cuda, const linear_product &p)
{
    using shape = stream_shape<dtype, TOKENS>;
    constexpr int rows = shape::ROWS * STREAM_WARPS;
    int spans = (p.C + shape::span::columns - 1) / shape::span::columns;
    int unused = shape::SPANS - (spans < shape::SPANS ? spans : shape::SPANS);
    size_t bytes = sizeof(typename shape::memory) -
                   (size_t)unused * sizeof(typename shape::panel);
    if (bytes > cuda->shared_limit)
        return false;
    int groups = (p.T + TOKENS - 1) / TOKENS;
    unsigned blocks = (unsigned)((p.R + rows - 1) / rows * groups);
    FO_LAUNCH((linear_stream<dtype, TOKENS>), dim3(blocks),
              dim3(STREAM_THREADS), bytes, cuda->stream, p);
    return true;
}

template <fo_dtype dtype>
static bool stream_tokens(cuda_device *cuda, const linear_product &p)
{
    return (p.T > 4 && stream<dtype, 8>(cuda, p)) ||
           (p.T > 2 && stream<dtype, 4>(cuda, p)) ||
           (p.T > 1 && stream<dtype, 2>(cuda, p)) || stream<dtype, 1>(cuda, p);
}

static bool stream_type(cuda_device *cuda, const linear_product &p)
{
    switch (p.dtype) {
    case FO_F16:
        return stream_tokens<FO_F16>(cuda, p);
    case FO_BF16:
        return stream_tokens<FO_BF16>(cuda, p);
    case FO_Q8_0:
        return stream_tokens<FO_Q8_0>(cuda, p);
    case FO_Q4_0:
        return stream_tokens<FO_Q4_0>(cuda, p);
    default:
        return stream_tokens<FO_F32>(cuda, p);
    }
}

fo_status linear_by_streaming(cuda_device *cuda, const linear_product &p,
                              fo_error *error)
{
    if (!stream_type(cuda, p))
        return fo_fail(error, FO_UNSUPPORTED,
                       "linear: %zu bytes of shared memory are too few",
                       cuda->shared_limit);
    return check_launch("linear_stream", error);
}

/* Choose between streaming and cuBLASLt. */
fo_status cuda_linear(fo_device *device, float *out, const float *x,
                      const fo_weight *weight, int T, fo_workspace workspace,
                      fo_error *error)
{
    int R = weight->R, C = weight->C;
    const fo_dtype_info *info = fo_dtype_info_get(weight->dtype);
    if (weight->dtype > FO_Q4_0 || C < 1 || C % info->block_values != 0)
        return fo_fail(error, FO_ARG, "linear: %d columns of type %s", C,
                       info->name);
    if (T == 0 || R == 0)
        return FO_OK;
    int64_t row_bytes = (int64_t)fo_dtype_bytes(weight->dtype, C);
    linear_product p = {
        out, x, (const char *)weight->data, weight->dtype, row_bytes, T, R, C};
    if (T <= LINEAR_STREAMED)
        return linear_by_streaming(of(device), p, error);
    fo_status status = linear_by_blas(of(device), p, workspace, error);
    return status == FO_UNSUPPORTED ? linear_by_streaming(of(device), p, error)
                                    : status;
}

size_t cuda_linear_workspace(const fo_workload *workload)
{
    return workload->max_tokens > LINEAR_STREAMED ? linear_blas_bytes(workload)
                                                  : 0;
}

} // namespace FO_SIDE
