#include "cuda/device.cuh"
#include "cuda/kernel.cuh"

namespace FO_SIDE
{

enum { THREADS = 256 };

/* Read one value of a stored row. */
/* A type of storage is a struct with the function at(row, c). */
template <class T> struct plain {
    static __device__ float at(const unsigned char *row, int c)
    {
        return to_float(reinterpret_cast<const T *>(row)[c]);
    }
};

static __device__ inline float scale_of(const unsigned char *unit)
{
    return to_float(*reinterpret_cast<const __half *>(unit));
}

struct q8_0 {
    static __device__ float at(const unsigned char *row, int c)
    {
        const unsigned char *unit = row + (int64_t)(c / 32) * 34;
        return (float)(signed char)unit[2 + c % 32] * scale_of(unit);
    }
};

struct q4_0 {
    static __device__ float at(const unsigned char *row, int c)
    {
        const unsigned char *unit = row + (int64_t)(c / 32) * 18;
        int pair = unit[2 + c % 16];
        int nibble = c % 32 < 16 ? pair & 15 : pair >> 4;
        return (float)(nibble - 8) * scale_of(unit);
    }
};

/* Unpack the row of each token. */
/* A block is one token. A token outside the table gets NaN: the host, which
 * could refuse it, does not know it. */
template <class stored>
static __global__ void embed_tokens(float *out /* (T, C) */,
                                    const int32_t *tokens /* (T) */,
                                    const unsigned char *table /* (V, C) */,
                                    int64_t row_bytes, int V, int C)
{
    int token = tokens[blockIdx.x];
    float *to = out + (int64_t)blockIdx.x * C;
    const unsigned char *row = table + token * row_bytes;
    bool known = token >= 0 && token < V;
    for (int c = (int)threadIdx.x; c < C; c += THREADS)
        to[c] = known ? stored::at(row, c) : __int_as_float(0x7fffffff);
}

/* Choose the kernel by the type of storage. */
template <class stored>
static fo_status embed_by(fo_device *device, float *out, const int32_t *tokens,
                          const fo_weight *table, int T, fo_error *error)
{
    int64_t row_bytes = (int64_t)fo_dtype_bytes(table->dtype, table->C);
    FO_LAUNCH((embed_tokens<stored>), (unsigned)T, THREADS, 0,
              of(device)->stream, out, tokens,
              static_cast<const unsigned char *>(table->data), row_bytes,
              table->R, table->C);
    return check_launch("embed_tokens", error);
}

fo_status cuda_embed(fo_device *device, float *out, const int32_t *tokens,
                     const fo_weight *table, int T, fo_error *error)
{
    const fo_dtype_info *info = fo_dtype_info_get(table->dtype);
    if (table->dtype > FO_Q4_0 || table->C % info->block_values != 0)
        return fo_fail(error, FO_ARG, "embed: %d columns of type %s", table->C,
                       info->name);
    if (T == 0 || table->C == 0)
        return FO_OK;
    switch (table->dtype) {
    case FO_F16:
        return embed_by<plain<__half>>(device, out, tokens, table, T, error);
    case FO_BF16:
        return embed_by<plain<__nv_bfloat16>>(device, out, tokens, table, T,
                                              error);
    case FO_Q8_0:
        return embed_by<q8_0>(device, out, tokens, table, T, error);
    case FO_Q4_0:
        return embed_by<q4_0>(device, out, tokens, table, T, error);
    default:
        return embed_by<plain<float>>(device, out, tokens, table, T, error);
    }
}

} // namespace FO_SIDE
