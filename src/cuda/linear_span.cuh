/* How stored weights pass through a warp.
 *
 * A *span* is the run of columns of one row that a warp takes in one step. Each
 * lane owns a *share* of it, which is a few *quads* of four neighbouring
 * columns. A span type names
 *
 *   columns, bytes    of a row in one span;
 *   quads             in each lane's share;
 *   share             a lane's part in registers;
 *   take              reads this lane's share of a span in shared memory;
 *   unpack            turns one quad of a share into numbers;
 *   quad_of, lane_of  say whose share column c of a span belongs to. */
#ifndef FOLIO_CUDA_LINEAR_SPAN_CUH
#define FOLIO_CUDA_LINEAR_SPAN_CUH

#include "cuda/device.cuh"
#include "cuda/instructions.cuh"

namespace FO_SIDE
{

/* Read a number out of words. */
template <class T>
static __device__ inline float number(const uint32_t (&word)[8], int i);

template <>
__device__ inline float number<float>(const uint32_t (&word)[8], int i)
{
    return __uint_as_float(word[i]);
}

template <>
__device__ inline float number<__half>(const uint32_t (&word)[8], int i)
{
    unsigned short bits = (unsigned short)(word[i / 2] >> 16 * (i % 2));
    return __half2float(__ushort_as_half(bits));
}

template <>
__device__ inline float number<__nv_bfloat16>(const uint32_t (&word)[8], int i)
{
    return __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u
                                 : word[i / 2] << 16);
}

/* Share out plain numbers. */
template <class T> struct plain_span {
    static constexpr int pack = 16 / (int)sizeof(T); /* columns of 16 bytes */
    static constexpr int columns = 2 * WARP * pack;
    static constexpr int bytes = 2 * WARP * 16;
    static constexpr int quads = 2 * pack / 4;

    struct share {
        uint32_t word[8];
    };

    static __device__ int quad_of(int c)
    {
        return c / (WARP * pack) * (pack / 4) + c % pack / 4;
    }

    static __device__ int lane_of(int c)
    {
        return c / pack % WARP;
    }

    /* Take and unpack a share of plain numbers. */
    static __device__ void take(share &own, const char *span)
    {
        for (int k = 0; k < 2; k++) {
            uint4 four = load_16(span + 16 * (WARP * k + lane()));
            own.word[4 * k] = four.x;
            own.word[4 * k + 1] = four.y;
            own.word[4 * k + 2] = four.z;
            own.word[4 * k + 3] = four.w;
        }
    }

    static __device__ void unpack(float (&w)[4], const share &own, int quad)
    {
        for (int i = 0; i < 4; i++)
            w[i] = number<T>(own.word, 4 * quad + i);
    }
};

/* Turn four small whole numbers into weights. */
struct block_scale {
    float scale, shift;
};

template <fo_dtype dtype>
static __device__ inline block_scale scale_of(uint32_t half)
{
    constexpr float zero = dtype == FO_Q8_0 ? 128 : 8;
    float scale = __half2float(__ushort_as_half((unsigned short)half));
    return {scale, -(32768 + zero) * scale};
}

/* Four bytes, each a value plus its type's zero. */
static __device__ inline void scale_quad(float (&w)[4], uint32_t bytes,
                                         block_scale by)
{
    for (int i = 0; i < 4; i++) {
        uint32_t bits = __byte_perm(bytes, 0x47000000, 0x7404 | i << 4);
        w[i] = fmaf(__uint_as_float(bits), by.scale, by.shift);
    }
}

/* The word of a block that holds a quad, and its four weights. */
template <fo_dtype dtype> static __device__ inline int word_of(int quad)
{
    return dtype == FO_Q8_0 ? quad : quad % 4;
}

template <fo_dtype dtype>
static __device__ inline void unpack_word(float (&w)[4], uint32_t word,
                                          block_scale by, int quad)
{
    if (dtype == FO_Q8_0)
        scale_quad(w, word ^ 0x80808080u, by);
    else
        scale_quad(w, word >> quad / 4 * 4 & 0x0f0f0f0fu, by);
}

/* Share out blocks. */
template <fo_dtype dtype> struct block_span {
    static constexpr int block_bytes = dtype == FO_Q8_0 ? 34 : 18;
    static constexpr int words = block_bytes / 4;
    static constexpr int columns = WARP * 32;
    static constexpr int bytes = WARP * block_bytes;
    static constexpr int quads = 8;

    struct share {
        uint32_t word[words];
        block_scale by;
    };

    static __device__ int quad_of(int c)
    {
        return c % 32 / 4;
    }

    static __device__ int lane_of(int c)
    {
        return c / 32;
    }

    /* Take and unpack a block. */
    static __device__ void take(share &own, const char *span)
    {
        int at = block_bytes * lane(), odd = at & 2;
        const uint32_t *from =
            reinterpret_cast<const uint32_t *>(span + at - odd);
        uint32_t here = from[0];
        own.by = scale_of<dtype>(odd ? here >> 16 : here);
        for (int i = 0; i < words; i++) {
            uint32_t next = from[i + 1];
            own.word[i] = odd ? next : here >> 16 | next << 16;
            here = next;
        }
    }

    static __device__ void unpack(float (&w)[4], const share &own, int quad)
    {
        unpack_word<dtype>(w, own.word[word_of<dtype>(quad)], own.by, quad);
    }
};

/* Name the span of each type. */
template <fo_dtype dtype> struct span_of;
template <> struct span_of<FO_F32> {
    using type = plain_span<float>;
};
template <> struct span_of<FO_F16> {
    using type = plain_span<__half>;
};
template <> struct span_of<FO_BF16> {
    using type = plain_span<__nv_bfloat16>;
};
template <> struct span_of<FO_Q8_0> {
    using type = block_span<FO_Q8_0>;
};
template <> struct span_of<FO_Q4_0> {
    using type = block_span<FO_Q4_0>;
};

} // namespace FO_SIDE

#endif
