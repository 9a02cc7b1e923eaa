#include "common/log.h"
#include "engine/prefix_cache_inside.h"

#include <assert.h>
#include <string.h>

/* Mark what running sequences have. */
static void mark_row(const fo_prefix_cache *c, int32_t row)
{
    fo_block_row at = fo_block_table_at(c->table, row);
    for (int32_t i = at.first; i < at.blocks; i++)
        c->marks[at.entries[i]] = 1;
}

void prefix_mark_running(const fo_prefix_cache *c)
{
    memset(c->marks, 0, (size_t)c->total_blocks * sizeof *c->marks);
    for (int32_t row = 0; row < c->max_rows; row++)
        if (!c->holders[row].kept)
            mark_row(c, row);
}

/* Count what could come free. */
int fo_prefix_cache_evictable(const fo_prefix_cache *c)
{
    int blocks = 0;
    prefix_mark_running(c);
    for (int32_t row = 0; row < c->max_rows; row++) {
        if (!c->holders[row].kept)
            continue;
        fo_block_row kept = fo_block_table_at(c->table, row);
        for (int32_t i = kept.first; i < kept.blocks; i++)
            blocks += c->marks[kept.entries[i]] == 0;
        mark_row(c, row);
    }
    return blocks;
}

/* Choose whose turn it is. */
/* Whether the end of row a's chain goes before that of row b's. */
static bool sooner(const fo_prefix_cache *c, int32_t a, int32_t b)
{
    const prefix_node *left = &c->nodes[c->holders[a].node];
    const prefix_node *right = &c->nodes[c->holders[b].node];
    return left->used != right->used ? left->used < right->used
                                     : left->depth > right->depth;
}

/* The kept row that goes first, and the one after it; no_one where there is
 * none. `loose`: only those with a block that no running sequence has. */
static void choose(const fo_prefix_cache *c, bool loose, int32_t turn[2])
{
    turn[0] = turn[1] = no_one;
    for (int32_t row = 0; row < c->max_rows; row++) {
        const prefix_holder *holder = &c->holders[row];
        if (!holder->kept || (loose && holder->loose == 0))
            continue;
        if (turn[0] == no_one || sooner(c, row, turn[0])) {
            turn[1] = turn[0];
            turn[0] = row;
        } else if (turn[1] == no_one || sooner(c, row, turn[1])) {
            turn[1] = row;
        }
    }
}

/* Give back the tail of a kept sequence. */
/* At least one block; more while it is still the first in turn, until `wanted`
 * blocks that no running sequence has are among them. */
static fo_status cut(fo_prefix_cache *c, const int32_t turn[2], int wanted,
                     fo_error *error)
{
    int32_t row = turn[0], node = c->holders[row].node;
    prefix_holder *holder = &c->holders[row];
    fo_block_row at = fo_block_table_at(c->table, row);
    bool goes = false;
    do {
        int32_t depth = c->nodes[node].depth;
        bool loose = c->marks[at.entries[depth - 1]] == 0;
        wanted -= loose;
        holder->loose -= loose;
        node = c->nodes[node].parent;
        prefix_holder_move(c, row, node);
        goes = depth - 1 <= at.first ||
               !prefix_holder_serves(c, row, depth - 1) ||
               prefix_holder_covered(c, row);
    } while (!goes && wanted > 0 && holder->loose > 0 &&
             (turn[1] == no_one || sooner(c, row, turn[1])));
    if (goes)
        return prefix_holder_free(c, row, error);
    return fo_block_manager_truncate(c->blocks, holder->sequence,
                                     c->nodes[node].depth * c->B, error);
}

/* Know how much is free. */
static fo_status count_free(const fo_prefix_cache *c, int *blocks, int *rows,
                            fo_error *error)
{
    fo_block_stats stats;
    fo_status status = fo_block_manager_stats(c->blocks, &stats, error);
    *blocks = stats.pool.free;
    *rows = c->max_rows - stats.table.sequences;
    return status;
}

/* Count of each kept row the blocks that no running sequence has. */
static void count_loose(fo_prefix_cache *c)
{
    prefix_mark_running(c);
    for (int32_t row = 0; row < c->max_rows; row++) {
        fo_block_row at = fo_block_table_at(c->table, row);
        c->holders[row].loose = 0;
        for (int32_t i = at.first; c->holders[row].kept && i < at.blocks; i++)
            c->holders[row].loose += c->marks[at.entries[i]] == 0;
    }
}

/* Evict. */
fo_status fo_prefix_cache_evict(fo_prefix_cache *c, int free, int rows,
                                int *evicted, fo_error *error)
{
    int before, had, blocks, left;
    int32_t turn[2];
    *evicted = 0;
    fo_status status = count_free(c, &before, &had, error);
    if (status != FO_OK || (before >= free && had >= rows))
        return status;
    blocks = before;
    left = had;
    count_loose(c);
    /* Give back tails until there are blocks. */
    while (status == FO_OK && blocks < free) {
        choose(c, true, turn);
        if (turn[0] == no_one)
            break;
        status = cut(c, turn, free - blocks, error);
        if (status == FO_OK)
            status = count_free(c, &blocks, &left, error);
    }
    /* Give back sequences until there are rows. */
    while (status == FO_OK && left < rows) {
        choose(c, false, turn);
        if (turn[0] == no_one)
            break;
        status = prefix_holder_free(c, turn[0], error);
        if (status == FO_OK)
            status = count_free(c, &blocks, &left, error);
    }
    *evicted = blocks - before;
    c->evicted_blocks += (uint64_t)*evicted;
    if (status == FO_OK && (blocks > before || left > had))
        fo_log_write(FO_LOG_INFO, "evicted",
                     (fo_log_field[]){{"blocks", (uint64_t)*evicted},
                                      {"sequences", (uint64_t)(left - had)},
                                      {"free_blocks", (uint64_t)blocks},
                                      {"free_sequences", (uint64_t)left}},
                     4);
    return status;
}
