#include "engine/block_table.h"
#include "common/memory.h"

#include <assert.h>
#include <string.h>

/* Define the table. */
enum { none = -1 };

struct fo_block_table {
    fo_device *device;
    fo_pool_view there; /* the truth, in device memory */
    fo_pool_shape shape;
    int32_t *entries;   /* (max_rows, max_blocks), where the memory begins */
    int32_t *length;    /* (max_rows)                                      */
    int32_t *first;     /* (max_rows)                                      */
    int32_t *blocks;    /* (max_rows)                                      */
    int32_t *before;    /* (max_rows), scratch of refresh                  */
    int32_t *unused;    /* (max_rows), a stack                             */
    int32_t *buckets;   /* (mask + 1) rows, `none` where empty             */
    int64_t *sequences; /* (max_rows) the id that has the row              */
    int32_t unused_count;
    uint64_t mask; /* buckets are a power of two, at least twice the rows */
    uint64_t multiplier; /* position / B = position * multiplier >> shift */
    int shift;
    uint64_t bytes;
};

/* Find the row of a sequence. */
/* Where the search for an id begins: the upper bits of a product with
 * 2^64 / golden ratio (Knuth, The Art of Computer Programming, 6.4). */
static uint64_t home(const fo_block_table *table, int64_t sequence)
{
    return ((uint64_t)sequence * UINT64_C(0x9E3779B97F4A7C15) >> 32) &
           table->mask;
}

/* The bucket of an id, or the empty one where it would go. */
static uint64_t bucket_of(const fo_block_table *table, int64_t sequence)
{
    uint64_t bucket = home(table, sequence);
    while (table->buckets[bucket] != none &&
           table->sequences[table->buckets[bucket]] != sequence)
        bucket = (bucket + 1) & table->mask;
    return bucket;
}

int32_t fo_block_table_row(const fo_block_table *table, int64_t sequence)
{
    return table->buckets[bucket_of(table, sequence)];
}

/* Answer from the row. */
static int32_t *entries_of(const fo_block_table *table, int32_t row)
{
    return table->entries + (size_t)row * (size_t)table->shape.max_blocks;
}

static int32_t entry_of(const fo_block_table *table, int32_t position)
{
    return (int32_t)((uint64_t)position * table->multiplier >> table->shift);
}

static int32_t block_at(const fo_block_table *table, int32_t row,
                        int32_t position)
{
    if (row == none || position < 0)
        return none;
    int32_t entry = entry_of(table, position);
    return entry < table->blocks[row] ? entries_of(table, row)[entry] : none;
}

static int64_t slot_at(const fo_block_table *table, int32_t row,
                       int32_t position)
{
    int32_t block = block_at(table, row, position), B = table->shape.B;
    if (block == none)
        return none;
    return (int64_t)block * B + (position - entry_of(table, position) * B);
}

int32_t fo_block_table_block(const fo_block_table *table, int64_t sequence,
                             int32_t position)
{
    return block_at(table, fo_block_table_row(table, sequence), position);
}

int64_t fo_block_table_slot(const fo_block_table *table, int64_t sequence,
                            int32_t position)
{
    return slot_at(table, fo_block_table_row(table, sequence), position);
}

void fo_block_table_slots(const fo_block_table *table, int64_t sequence,
                          int32_t position, int n, int64_t *slots)
{
    int32_t row = fo_block_table_row(table, sequence);
    for (int i = 0; i < n; i++)
        slots[i] = slot_at(table, row, position + i);
}

int32_t fo_block_table_length(const fo_block_table *table, int64_t sequence)
{
    int32_t row = fo_block_table_row(table, sequence);
    return row == none ? none : table->length[row];
}

fo_block_row fo_block_table_at(const fo_block_table *table, int32_t row)
{
    assert(row >= 0 && row < table->shape.max_rows);
    return (fo_block_row){row, table->length[row], table->first[row],
                          table->blocks[row], entries_of(table, row)};
}

bool fo_block_table_sequence(const fo_block_table *table, int64_t sequence,
                             fo_block_row *out)
{
    int32_t row = fo_block_table_row(table, sequence);
    if (row == none)
        return false;
    *out = fo_block_table_at(table, row);
    return true;
}

fo_block_table_stats fo_block_table_stats_get(const fo_block_table *table)
{
    int32_t rows = table->shape.max_rows;
    fo_block_table_stats stats = {.sequences = rows - table->unused_count,
                                  .bytes = table->bytes};
    for (int32_t row = 0; row < rows; row++) {
        stats.entries += table->blocks[row] - table->first[row];
        stats.tokens += table->length[row];
        if (stats.longest < table->length[row])
            stats.longest = table->length[row];
    }
    return stats;
}

/* Give rows to sequences. */
int32_t fo_block_table_add(fo_block_table *table, int64_t sequence)
{
    uint64_t bucket = bucket_of(table, sequence);
    assert(table->buckets[bucket] == none);
    if (table->unused_count == 0)
        return none;
    int32_t row = table->unused[--table->unused_count];
    table->buckets[bucket] = row;
    table->sequences[row] = sequence;
    return row;
}

void fo_block_table_remove(fo_block_table *table, int64_t sequence)
{
    uint64_t gap = bucket_of(table, sequence), next = gap;
    int32_t row = table->buckets[gap];
    assert(row != none && table->blocks[row] == 0);
    table->unused[table->unused_count++] = row;
    /* Close the gap with later ids of the same run. */
    for (;;) {
        next = (next + 1) & table->mask;
        int32_t other = table->buckets[next];
        if (other == none)
            break;
        uint64_t start = home(table, table->sequences[other]);
        if (((next - start) & table->mask) >= ((next - gap) & table->mask)) {
            table->buckets[gap] = other;
            gap = next;
        }
    }
    table->buckets[gap] = none;
}

/* Copy rows from the device. */
static fo_status download(const fo_block_table *table, int32_t *to,
                          const int32_t *from, int32_t at, int32_t n,
                          fo_error *error)
{
    if (n <= 0)
        return FO_OK;
    return table->device->backend->download(table->device, to + at, from + at,
                                            (size_t)n * sizeof *to, error);
}

fo_status fo_block_table_refresh(fo_block_table *table, const int32_t *rows,
                                 const int32_t *from, int n, fo_error *error)
{
    if (n == 0)
        return FO_OK;
    const fo_pool_view *there = &table->there;
    int32_t low = rows[0], high = rows[0];
    for (int i = 0; i < n; i++) {
        low = rows[i] < low ? rows[i] : low;
        high = rows[i] > high ? rows[i] : high;
        table->before[i] = table->blocks[rows[i]];
    }
    int32_t span = high - low + 1;
    fo_status status =
        download(table, table->length, there->length, low, span, error);
    if (status == FO_OK)
        status = download(table, table->first, there->first, low, span, error);
    if (status == FO_OK)
        status =
            download(table, table->blocks, there->blocks, low, span, error);
    for (int i = 0; i < n && status == FO_OK; i++) {
        /* Copy the entries that may have changed. */
        int32_t now = table->blocks[rows[i]], was = table->before[i];
        int32_t start = from[i], end = now > was ? now : was;
        size_t row = (size_t)rows[i] * (size_t)table->shape.max_blocks;
        status = download(table, table->entries + row, there->table + row,
                          start, end - start, error);
    }
    for (int i = 0; i < n && status != FO_OK; i++)
        if (table->blocks[rows[i]] < table->before[i])
            table->blocks[rows[i]] = table->before[i];
    return status;
}

/* Compare every row with the device. */
static fo_status compare(const fo_block_table *table, const int32_t *here,
                         const int32_t *there, int32_t n, const char *what,
                         fo_error *error)
{
    int32_t piece[256];
    for (int32_t i = 0; i < n; i += 256) {
        int32_t size = n - i < 256 ? n - i : 256;
        size_t bytes = (size_t)size * sizeof *piece;
        fo_status status = table->device->backend->download(
            table->device, piece, there + i, bytes, error);
        if (status != FO_OK)
            return status;
        if (memcmp(piece, here + i, bytes) != 0)
            return fo_fail(error, FO_DEVICE,
                           "the table's %s differ from the pool's", what);
    }
    return FO_OK;
}

fo_status fo_block_table_check(const fo_block_table *table, fo_error *error)
{
    const fo_pool_view *there = &table->there;
    int32_t rows = table->shape.max_rows, max_blocks = table->shape.max_blocks;
    fo_status status =
        compare(table, table->length, there->length, rows, "lengths", error);
    if (status == FO_OK)
        status = compare(table, table->first, there->first, rows,
                         "first entries", error);
    if (status == FO_OK)
        status = compare(table, table->blocks, there->blocks, rows,
                         "numbers of blocks", error);
    for (int32_t row = 0; row < rows && status == FO_OK; row++)
        status = compare(table, entries_of(table, row),
                         there->table + (size_t)row * (size_t)max_blocks,
                         max_blocks, "entries", error);
    return status;
}

/* Open and close the table. */
fo_status fo_block_table_open(fo_device *device, const fo_pool *pool,
                              const fo_pool_shape *shape, fo_block_table **out,
                              fo_error *error)
{
    *out = NULL;
    fo_block_table *table = fo_memory_alloc(1, sizeof *table, error);
    if (!table)
        return FO_NOMEM;
    table->device = device;
    table->there = device->backend->pool_view(device, pool);
    table->shape = *shape;
    size_t rows = (size_t)shape->max_rows, buckets = 4;
    while (buckets < 2 * rows)
        buckets *= 2;
    size_t entries = rows * (size_t)shape->max_blocks;
    size_t numbers = entries + 5 * rows + buckets;
    table->entries = fo_memory_alloc(numbers, sizeof(int32_t), error);
    table->sequences = fo_memory_alloc(rows, sizeof(int64_t), error);
    if (!table->entries || !table->sequences) {
        fo_block_table_close(&table);
        return FO_NOMEM;
    }
    /* Lay out the table with all rows unused. */
    table->length = table->entries + entries;
    table->first = table->length + rows;
    table->blocks = table->first + rows;
    table->before = table->blocks + rows;
    table->unused = table->before + rows;
    table->buckets = table->unused + rows;
    table->mask = buckets - 1;
    memset(table->entries, -1, entries * sizeof(int32_t));
    memset(table->buckets, -1, buckets * sizeof(int32_t));
    for (int32_t row = shape->max_rows - 1; row >= 0; row--)
        table->unused[table->unused_count++] = row;
    /* Turn division by the block size into a product. */
    table->shift = 31;
    while (UINT64_C(1) << (table->shift - 31) < (uint64_t)shape->B)
        table->shift++;
    table->multiplier =
        ((UINT64_C(1) << table->shift) + (uint64_t)shape->B - 1) /
        (uint64_t)shape->B;
    table->bytes =
        sizeof *table + numbers * sizeof(int32_t) + rows * sizeof(int64_t);
    *out = table;
    return FO_OK;
}

void fo_block_table_close(fo_block_table **table)
{
    if (!*table)
        return;
    fo_memory_free((*table)->entries);
    fo_memory_free((*table)->sequences);
    fo_memory_free(*table);
    *table = NULL;
}
