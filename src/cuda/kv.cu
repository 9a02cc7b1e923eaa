#include "cuda/device.cuh"
#include "cuda/instructions.cuh"

namespace FO_SIDE
{

enum { THREADS = 128 };

/* Check the shape of a cache on the device. */
static fo_status check(const fo_kv *kv, fo_error *error)
{
    bool float_type =
        kv->dtype == FO_F32 || kv->dtype == FO_F16 || kv->dtype == FO_BF16;
    if (kv->K <= 0 || kv->B <= 0 || kv->D <= 0 || !float_type)
        return fo_fail(error, FO_ARG,
                       "a cache of %d kv heads, blocks of %d, heads of %d, %s",
                       kv->K, kv->B, kv->D, fo_dtype_info_get(kv->dtype)->name);
    return FO_OK;
}

/* Round four values to storage. */
static __device__ inline void store_four(float *to, const float (&x)[4])
{
    store_floats(to, x);
}

/* Halves of either type, stored as the eight bytes that they are. */
template <class T>
static __device__ inline void store_four(T *to, const float (&x)[4])
{
    T values[4] = {from_float<T>(x[0]), from_float<T>(x[1]),
                   from_float<T>(x[2]), from_float<T>(x[3])};
    uint64_t bits;
    memcpy(&bits, values, sizeof bits);
    *reinterpret_cast<uint64_t *>(to) = bits;
}

/* Write each token's row to its slot. */
/* A block is one token: blockIdx.y 0 writes its key, 1 its value. A slot of -1
 * writes nothing; nor does one outside the cache, which the host cannot see. */
template <class T>
static __global__ void write_rows(T *k_pool, T *v_pool,
                                  const float *k /* (T, K, D), stride */,
                                  const float *v /* (T, K, D), stride */,
                                  int stride, const int64_t *slots /* (T) */,
                                  int64_t all, int K, int B, int D, bool wide)
{
    int64_t slot = slots[blockIdx.x];
    if (slot < 0 || slot >= all)
        return;
    const float *row = (blockIdx.y ? v : k) + (int64_t)blockIdx.x * stride;
    T *pool = blockIdx.y ? v_pool : k_pool;
    int64_t block = slot / B, within = slot % B;
    int step = wide ? 4 : 1;
    for (int i = (int)threadIdx.x * step; i < K * D; i += THREADS * step) {
        int h = i / D, d = i % D;
        T *to = pool + ((block * K + h) * B + within) * D + d;
        if (wide) {
            float x[4];
            load_floats(x, row + i);
            store_four(to, x);
        } else {
            *to = from_float<T>(row[i]);
        }
    }
}

/* Launch a write by the type of storage. */
template <class T>
static fo_status write_by(fo_device *device, const fo_kv *kv, const float *k,
                          const float *v, int stride, const int64_t *slots,
                          int tokens, fo_error *error)
{
    bool wide = aligned_16(k) && aligned_16(v) && aligned_16(kv->k) &&
                aligned_16(kv->v) && stride % 4 == 0 && kv->D % 4 == 0;
    FO_LAUNCH((write_rows<T>), dim3((unsigned)tokens, 2), THREADS, 0,
              of(device)->stream, static_cast<T *>(kv->k),
              static_cast<T *>(kv->v), k, v, stride, slots,
              (int64_t)kv->num_blocks * kv->B, kv->K, kv->B, kv->D, wide);
    return check_launch("write_rows", error);
}

fo_status cuda_kv_write(fo_device *device, const fo_kv *kv, const float *k,
                        const float *v, int stride, const int64_t *slots, int T,
                        fo_error *error)
{
    fo_status status = check(kv, error);
    if (status != FO_OK || T == 0)
        return status;
    switch (kv->dtype) {
    case FO_F16:
        return write_by<__half>(device, kv, k, v, stride, slots, T, error);
    case FO_BF16:
        return write_by<__nv_bfloat16>(device, kv, k, v, stride, slots, T,
                                       error);
    default:
        return write_by<float>(device, kv, k, v, stride, slots, T, error);
    }
}

/* Copy a piece of each pair of blocks. */
/* blockIdx.x is the pair, y a piece of its block, z 0 the keys and 1 the
 * values. `unit` is uint4 where 16 bytes divide a block, else uint16_t. */
template <class unit>
__device__ inline void copy_unit(unit *to, const unit *from)
{
    *to = *from;
}

template <>
__device__ inline void copy_unit<uint4>(uint4 *to, const uint4 *from)
{
    copy_16(to, from);
}

template <class unit>
static __global__ void copy_blocks(unit *k, unit *v,
                                   const int32_t *from /* (n) */,
                                   const int32_t *to /* (n) */, int num_blocks,
                                   int64_t block_units, int piece)
{
    int source = from[blockIdx.x], target = to[blockIdx.x];
    if (source < 0 || target < 0 || source >= num_blocks ||
        target >= num_blocks)
        return;
    unit *pool = blockIdx.z ? v : k;
    int64_t first = (int64_t)blockIdx.y * piece;
    int64_t end = min(first + piece, block_units);
    for (int64_t i = first + threadIdx.x; i < end; i += THREADS)
        copy_unit(pool + target * block_units + i,
                  pool + source * block_units + i);
}

/* Launch the copies. */
template <class unit>
static fo_status copy_by(fo_device *device, const fo_kv *kv,
                         const int32_t *from, const int32_t *to, int n,
                         int64_t block_bytes, fo_error *error)
{
    int64_t units = block_bytes / (int64_t)sizeof(unit);
    int piece = 8 * THREADS;
    while (units / piece >= 65535)
        piece *= 2;
    dim3 grid((unsigned)n, blocks_of(units, piece), 2);
    FO_LAUNCH((copy_blocks<unit>), grid, THREADS, 0, of(device)->stream,
              static_cast<unit *>(kv->k), static_cast<unit *>(kv->v), from, to,
              kv->num_blocks, units, piece);
    return check_launch("copy_blocks", error);
}

fo_status cuda_kv_copy(fo_device *device, const fo_kv *kv, const int32_t *from,
                       const int32_t *to, int n, fo_error *error)
{
    fo_status status = check(kv, error);
    if (status != FO_OK || n == 0)
        return status;
    int64_t bytes =
        (int64_t)fo_dtype_bytes(kv->dtype, (int64_t)kv->K * kv->B * kv->D);
    if (bytes % 16 == 0 && aligned_16(kv->k) && aligned_16(kv->v))
        return copy_by<uint4>(device, kv, from, to, n, bytes, error);
    return copy_by<uint16_t>(device, kv, from, to, n, bytes, error);
}

} // namespace FO_SIDE
