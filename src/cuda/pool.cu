/* The life of a pool, and the layout of its books. */
#include "cuda/pool.cuh"

namespace FO_SIDE
{

/* Begin with every row empty and every block free. */
__global__ void begin_books(pool_books pool)
{
    int32_t blocks = pool.shape.num_blocks, rows = pool.shape.max_rows;
    int64_t entries = (int64_t)rows * pool.shape.max_blocks;
    int64_t all = (int64_t)gridDim.x * blockDim.x;
    int64_t me = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t e = me; e < entries; e += all)
        pool.table[e] = -1;
    for (int64_t r = me; r < rows; r += all) {
        pool.length[r] = pool.first[r] = pool.blocks[r] = 0;
        pool.row_claim[r] = NOBODY;
    }
    for (int64_t b = me; b < blocks; b += all) {
        pool.count[b] = 0;
        pool.block_claim[b] = NOBODY;
        pool.stack[b] = blocks - 1 - (int32_t)b;
    }
    if (me == 0) {
        pool.numbers->total = pool.numbers->free = blocks;
        pool.numbers->peak = pool.numbers->highest = 0;
        pool.numbers->allocations = pool.numbers->illegal = 0;
        pool.numbers->tokens = pool.numbers->shared = 0;
    }
}

/* Lay out the books in one piece of memory. */
size_t lay_out(pool_books *books, const fo_pool_shape *shape, void *memory)
{
    size_t rows = (size_t)shape->max_rows, total = (size_t)shape->num_blocks;
    size_t entries = rows * (size_t)shape->max_blocks;
    size_t numbers = entries + 4 * rows + 3 * total;
    size_t bytes = sizeof(pool_numbers) + numbers * sizeof(int32_t);
    if (!memory)
        return bytes;
    books->shape = *shape;
    books->numbers = (pool_numbers *)memory;
    books->table = (int32_t *)(books->numbers + 1);
    books->length = books->table + entries;
    books->first = books->length + rows;
    books->blocks = books->first + rows;
    books->row_claim = books->blocks + rows;
    books->count = books->row_claim + rows;
    books->stack = books->count + total;
    books->block_claim = books->stack + total;
    return bytes;
}

/* Judge a shape. */
static fo_status judge(const fo_pool_shape *shape, fo_error *error)
{
    if (shape->num_blocks < 1 || shape->B < 1 || shape->max_rows < 1 ||
        shape->max_blocks < 1)
        return fo_fail(error, FO_ARG,
                       "a pool of %d blocks of %d tokens, %d rows of %d blocks",
                       shape->num_blocks, shape->B, shape->max_rows,
                       shape->max_blocks);
    int64_t entries = (int64_t)shape->max_rows * shape->max_blocks;
    if (shape->num_blocks > 1 << 30 || entries > INT32_MAX)
        return fo_fail(error, FO_UNSUPPORTED,
                       "a pool of %d blocks and %lld entries; the device's "
                       "has at most 2^30 and 2^31",
                       shape->num_blocks, (long long)entries);
    return FO_OK;
}

/* Measure the pool of the device. */
size_t cuda_pool_bytes(fo_device *device, const fo_pool_shape *shape)
{
    (void)device;
    return lay_out(nullptr, shape, nullptr);
}

/* Open and close the pool of the device. */
fo_status cuda_pool_open(fo_device *device, const fo_pool_shape *shape,
                         fo_pool **out, fo_error *error)
{
    *out = NULL;
    fo_status status = judge(shape, error);
    if (status != FO_OK)
        return status;
    fo_pool *pool = (fo_pool *)fo_memory_alloc(1, sizeof *pool, error);
    if (!pool)
        return FO_NOMEM;
    void *memory = NULL;
    pool->bytes = cuda_pool_bytes(device, shape);
    status = cuda_alloc(device, pool->bytes, &memory, error);
    if (status == FO_OK) {
        lay_out(&pool->books, shape, memory);
        FO_LAUNCH(begin_books, dim3(64), dim3(POOL_THREADS), 0,
                  of(device)->stream, pool->books);
        status = check_launch("begin_books", error);
    }
    if (status != FO_OK)
        cuda_pool_close(device, &pool);
    *out = pool;
    return status;
}

void cuda_pool_close(fo_device *device, fo_pool **pool)
{
    if (!*pool)
        return;
    cuda_free(device, (*pool)->books.numbers);
    fo_memory_free(*pool);
    *pool = NULL;
}

/* Lend the arrays. */
fo_pool_view cuda_pool_view(fo_device *, const fo_pool *pool)
{
    const pool_books *books = &pool->books;
    return {books->table, books->length, books->first, books->blocks};
}

} // namespace FO_SIDE
