#include "engine/prefix_cache_inside.h"

#include <inttypes.h>

/* Check one holder. */
static fo_status check_holder(const fo_prefix_cache *c, int32_t row,
                              fo_error *error)
{
    const prefix_holder *holder = &c->holders[row];
    int64_t id = holder->sequence;
    if (fo_block_table_row(c->table, id) != row)
        return fo_fail(error, FO_DEVICE,
                       "sequence %" PRId64 " was noted in row %d and left "
                       "without a word",
                       id, row);
    fo_block_row at = fo_block_table_at(c->table, row);
    int32_t depth = c->nodes[holder->node].depth;
    if (at.length / c->B < depth)
        return fo_fail(error, FO_DEVICE,
                       "sequence %" PRId64 " noted %d blocks and stores %d "
                       "tokens",
                       id, depth, at.length);
    if (!holder->kept)
        return FO_OK;
    if (at.length != depth * c->B || at.blocks != depth || at.first >= depth)
        return fo_fail(error, FO_DEVICE,
                       "kept sequence %" PRId64 " noted %d blocks and has %d "
                       "to %d",
                       id, depth, at.first, at.blocks);
    if (!prefix_holder_serves(c, row, depth) ||
        prefix_holder_covered(c, row, holder->node))
        return fo_fail(error, FO_DEVICE,
                       "sequence %" PRId64 " is kept for nothing", id);
    return FO_OK;
}

/* Check that a block is of one chain. */
/* Blocks that two sequences share must stand for the same tokens in both. */
static fo_status check_blocks(const fo_prefix_cache *c, fo_error *error)
{
    for (int32_t block = 0; block < c->total_blocks; block++)
        c->marks[block] = no_one;
    for (int32_t row = 0; row < c->max_rows; row++) {
        fo_block_row at = fo_block_table_at(c->table, row);
        int32_t node = c->holders[row].node;
        while (node > root && c->nodes[node].depth > at.first) {
            int32_t block = at.entries[c->nodes[node].depth - 1];
            if (c->marks[block] != no_one && c->marks[block] != node)
                return fo_fail(error, FO_DEVICE,
                               "block %d was noted with two contents", block);
            c->marks[block] = node;
            node = c->nodes[node].parent;
        }
    }
    return FO_OK;
}

/* Check one node. */
static fo_status check_node(const fo_prefix_cache *c, int32_t at,
                            fo_error *error)
{
    const prefix_node *node = &c->nodes[at];
    const prefix_node *above = &c->nodes[node->parent];
    if (node->depth != above->depth + 1 || node->used > above->used ||
        (node->before == no_one) != (above->child == at))
        return fo_fail(error, FO_DEVICE, "node %d does not fit its parent", at);
    if (prefix_node_find(c, node->parent, c->tokens + (size_t)at * c->B) != at)
        return fo_fail(error, FO_DEVICE, "node %d is not found", at);
    if (node->child == no_one && node->ends == no_one)
        return fo_fail(error, FO_DEVICE, "nobody holds node %d", at);
    return FO_OK;
}

/* Check the books of a node. */
static fo_status check_links(const fo_prefix_cache *c, int32_t at,
                             fo_error *error)
{
    const prefix_node *node = &c->nodes[at];
    int32_t kept = 0, before = no_one;
    for (int32_t row = node->ends; row != no_one; row = c->holders[row].after) {
        if (c->holders[row].node != at || c->holders[row].before != before)
            return fo_fail(error, FO_DEVICE, "row %d does not end at node %d",
                           row, at);
        kept += c->holders[row].kept;
        before = row;
    }
    before = no_one;
    for (int32_t child = node->child; child != no_one;
         child = c->nodes[child].after) {
        if (c->nodes[child].parent != at || c->nodes[child].before != before)
            return fo_fail(error, FO_DEVICE, "node %d is no child of node %d",
                           child, at);
        kept += c->nodes[child].kept;
        before = child;
    }
    if (kept != node->kept)
        return fo_fail(error, FO_DEVICE, "node %d counts %d kept, not %d", at,
                       node->kept, kept);
    return FO_OK;
}

/* Check everything. */
fo_status fo_prefix_cache_check(const fo_prefix_cache *c, fo_error *error)
{
    fo_status status = FO_OK;
    int32_t nodes = 0, unused = 0, holders = 0, ending = 0;
    for (int32_t at = root; at != no_one && status == FO_OK;
         at = prefix_node_after(c, at, root, true)) {
        status = check_links(c, at, error);
        if (status == FO_OK && at != root)
            status = check_node(c, at, error);
        for (int32_t row = c->nodes[at].ends; row != no_one && status == FO_OK;
             row = c->holders[row].after)
            ending++;
        nodes++;
    }
    for (int32_t row = 0; row < c->max_rows && status == FO_OK; row++)
        if (c->holders[row].node != no_one) {
            status = check_holder(c, row, error);
            holders++;
        }
    for (int32_t at = c->unused; at != no_one; at = c->nodes[at].next)
        unused++;
    if (status == FO_OK && (nodes + unused != c->capacity ||
                            nodes != c->live + 1 || holders != ending))
        status = fo_fail(error, FO_DEVICE,
                         "%d nodes are in the tree and %d unused, of %d; %d of "
                         "%d sequences hold one",
                         nodes, unused, c->capacity, ending, holders);
    return status == FO_OK ? check_blocks(c, error) : status;
}
