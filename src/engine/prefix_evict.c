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
/* Whether node a goes before node b. */
static bool sooner(const fo_prefix_cache *c, int32_t a, int32_t b)
{
    const prefix_node *left = &c->nodes[a], *right = &c->nodes[b];
    return left->used != right->used ? left->used < right->used
                                     : left->depth > right->depth;
}

static bool goes_before(const fo_prefix_cache *c, int32_t row, int32_t other)
{
    return other == no_one ||
           sooner(c, c->holders[row].node, c->holders[other].node);
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
        if (goes_before(c, row, turn[0])) {
            turn[1] = turn[0];
            turn[0] = row;
        } else if (goes_before(c, row, turn[1])) {
            turn[1] = row;
        }
    }
}

/* Give back the tail of a kept sequence. */
/* Whether a kept row is of use when it ends at a node. */
static bool worth_keeping(const fo_prefix_cache *c, int32_t row, int32_t node)
{
    return prefix_holder_serves(c, row, c->nodes[node].depth) && node != root &&
           !prefix_holder_covered(c, row, node);
}

/* At least one block; more while its end would still be the first in turn,
 * until `wanted` blocks that no running sequence has are among them. */
static fo_status cut(fo_prefix_cache *c, const int32_t turn[2], int wanted,
                     fo_error *error)
{
    int32_t row = turn[0], node = c->holders[row].node;
    int32_t next = turn[1] == no_one ? no_one : c->holders[turn[1]].node;
    fo_block_row at = fo_block_table_at(c->table, row);
    int loose = 0;
    do {
        loose += c->marks[at.entries[c->nodes[node].depth - 1]] == 0;
        node = c->nodes[node].parent;
    } while (loose < wanted && loose < c->holders[row].loose &&
             worth_keeping(c, row, node) &&
             (next == no_one || sooner(c, node, next)));
    if (!worth_keeping(c, row, node))
        return prefix_holder_free(c, row, error);
    fo_status status =
        fo_block_manager_truncate(c->blocks, c->holders[row].sequence,
                                  c->nodes[node].depth * c->B, error);
    if (status == FO_OK) {
        c->holders[row].loose -= loose;
        prefix_holder_move(c, row, node);
    }
    return status;
}

/* Know how much is free. */
/* Neither is written when the device fails. */
static fo_status count_free(const fo_prefix_cache *c, int *blocks, int *rows,
                            fo_error *error)
{
    fo_block_stats stats;
    fo_status status = fo_block_manager_stats(c->blocks, &stats, error);
    if (status != FO_OK)
        return status;
    *blocks = stats.pool.free;
    *rows = c->max_rows - stats.table.sequences;
    return FO_OK;
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
