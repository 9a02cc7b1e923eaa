#include "stress_inside.h"

#include <inttypes.h>
#include <string.h>

/* Count blocks and tokens from the guests alone. */
typedef struct count {
    int64_t entries; /* the sum of ceil(length / B) */
    int64_t tokens;  /* in blocks, each counted once */
    int32_t held;
} count;

/* False if a guest does not hold exactly its blocks. */
static bool count_guests(stress_day *d, count *c)
{
    int B = d->options->B;
    *c = (count){0};
    memset(d->seen, 0, (size_t)d->options->blocks * sizeof *d->seen);
    for (int i = 0; i < d->live; i++) {
        const stress_guest *g = &d->guests[i];
        fo_block_row row;
        int blocks = (g->length + B - 1) / B;
        if (!fo_block_table_sequence(fo_block_manager_table(d->blocks), g->id,
                                     &row) ||
            row.length != g->length || row.first != 0 || row.blocks != blocks)
            return stress_trouble(
                d, "sequence %" PRId64 " of %d tokens has not its %d blocks",
                g->id, g->length, blocks);
        c->entries += blocks;
        for (int e = 0; e < blocks; e++) {
            int tokens = g->length - e * B < B ? g->length - e * B : B;
            int32_t *fullest = &d->seen[row.entries[e]];
            c->held += *fullest == 0;
            c->tokens += tokens > *fullest ? tokens - *fullest : 0;
            *fullest = tokens > *fullest ? tokens : *fullest;
        }
    }
    return true;
}

/* Audit the books. */
bool stress_audit(stress_day *d)
{
    fo_error error;
    fo_block_stats s;
    count c;
    if (!count_guests(d, &c))
        return false;
    if (fo_block_manager_stats(d->blocks, &s, &error) != FO_OK)
        return stress_trouble(d, "%s", error.message);
    uint64_t host = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    uint64_t there = fo_memory_usage_get(FO_MEMORY_DEVICE).bytes;
    const struct {
        const char *what;
        int64_t got, want;
    } books[] = {
        {"blocks held", s.pool.held, c.held},
        {"blocks free", s.pool.free, d->options->blocks - c.held},
        {"tokens stored", (int64_t)s.pool.tokens, c.tokens},
        {"sequences", s.table.sequences, d->live},
        {"table entries", s.table.entries, c.entries},
        {"calls that broke a rule", (int64_t)s.pool.illegal, 0},
        {"bytes of the host", (int64_t)host, (int64_t)d->host_bytes},
        {"bytes of the device", (int64_t)there, (int64_t)d->device_bytes},
    };
    for (size_t i = 0; i < sizeof books / sizeof *books; i++)
        if (books[i].got != books[i].want)
            return stress_trouble(d, "%s: %" PRId64 ", and should be %" PRId64,
                                  books[i].what, books[i].got, books[i].want);
    if (d->result->steps % 16 == 0 &&
        fo_block_manager_check(d->blocks, &error) != FO_OK)
        return stress_trouble(d, "%s", error.message);
    d->held = c.held;
    d->utilisation += s.utilisation;
    return true;
}
