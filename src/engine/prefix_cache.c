#include "common/memory.h"
#include "engine/prefix_cache_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Reckon how many nodes there can be. */
/* Without a window each chain has a block of its own at its end. With one, the
 * blocks in front may be gone while their chains are still walked through. */
static int64_t most_nodes(const fo_block_config *config, int window)
{
    int64_t blocks = (config->max_length - 1) / config->block_size + 1;
    int64_t held = config->max_sequences * blocks;
    int64_t most = window == 0 && held > config->total_blocks
                       ? config->total_blocks
                       : held;
    return most < INT32_MAX ? most + 1 : INT32_MAX;
}

static uint64_t bucket_count(int64_t nodes)
{
    uint64_t count = 4;
    while (count < (uint64_t)nodes)
        count *= 2;
    return count;
}

uint64_t fo_prefix_cache_bytes(const fo_block_config *config, int window)
{
    uint64_t nodes = (uint64_t)most_nodes(config, window);
    uint64_t numbers = nodes * (uint64_t)config->block_size +
                       bucket_count((int64_t)nodes) +
                       (uint64_t)config->total_blocks;
    return sizeof(fo_prefix_cache) + nodes * sizeof(prefix_node) +
           numbers * sizeof(int32_t) +
           (uint64_t)config->max_sequences * sizeof(prefix_holder);
}

/* Open and close a cache. */
fo_status fo_prefix_cache_open(fo_block_manager *blocks, int window,
                               fo_prefix_cache **out, fo_error *error)
{
    assert(window >= 0);
    *out = NULL;
    const fo_block_config *config = fo_block_manager_config(blocks);
    fo_prefix_cache *c = fo_memory_alloc(1, sizeof *c, error);
    if (!c)
        return FO_NOMEM;
    c->blocks = blocks;
    c->table = fo_block_manager_table(blocks);
    c->B = config->block_size;
    c->window = window;
    c->max_rows = config->max_sequences;
    c->total_blocks = config->total_blocks;
    c->capacity = (int32_t)most_nodes(config, window);
    c->mask = bucket_count(c->capacity) - 1;
    c->hash_bits = UINT64_MAX;
    /* Take memory for nodes, tokens and holders. */
    size_t nodes = (size_t)c->capacity, buckets = (size_t)c->mask + 1;
    size_t numbers = nodes * (size_t)c->B + buckets + (size_t)c->total_blocks;
    c->nodes = fo_memory_alloc(nodes, sizeof *c->nodes, error);
    if (c->nodes)
        c->tokens = fo_memory_alloc(numbers, sizeof *c->tokens, error);
    if (c->tokens)
        c->holders =
            fo_memory_alloc((size_t)c->max_rows, sizeof *c->holders, error);
    if (!c->holders) {
        fo_prefix_cache_close(&c);
        return FO_NOMEM;
    }
    /* Begin with a root and nobody. */
    c->buckets = c->tokens + nodes * (size_t)c->B;
    c->marks = c->buckets + buckets;
    memset(c->buckets, -1, buckets * sizeof *c->buckets);
    c->nodes[root] = (prefix_node){.parent = no_one,
                                   .child = no_one,
                                   .after = no_one,
                                   .before = no_one,
                                   .ends = no_one};
    c->unused = no_one;
    for (int32_t at = c->capacity - 1; at > root; at--) {
        c->nodes[at].next = c->unused;
        c->unused = at;
    }
    for (int row = 0; row < c->max_rows; row++)
        c->holders[row].node = no_one;
    *out = c;
    return FO_OK;
}

void fo_prefix_cache_close(fo_prefix_cache **cache)
{
    fo_prefix_cache *c = *cache;
    if (!c)
        return;
    for (int row = 0; c->holders && row < c->max_rows; row++)
        if (c->holders[row].kept)
            fo_block_manager_free_sequence(c->blocks, c->holders[row].sequence,
                                           NULL);
    fo_memory_free(c->holders);
    fo_memory_free(c->tokens);
    fo_memory_free(c->nodes);
    fo_memory_free(c);
    *cache = NULL;
}

/* Find the row of a running sequence. */
static fo_status find_running(const fo_prefix_cache *c, int64_t sequence,
                              int32_t *row, fo_error *error)
{
    *row = fo_block_table_row(c->table, sequence);
    if (*row < 0 || c->holders[*row].kept)
        return fo_fail(error, FO_UNKNOWN, "no sequence %" PRId64 " is running",
                       sequence);
    assert(c->holders[*row].node == no_one ||
           c->holders[*row].sequence == sequence);
    return FO_OK;
}

/* Begin with a chain in the name of a sequence. */
static void hold(fo_prefix_cache *c, int32_t row, int64_t sequence,
                 int32_t node)
{
    assert(c->holders[row].node == no_one ||
           c->holders[row].sequence == sequence);
    c->holders[row].sequence = sequence;
    prefix_holder_move(c, row, node);
}

/* Note what is written. */
fo_status fo_prefix_cache_note(fo_prefix_cache *c, int64_t sequence,
                               const int32_t *tokens, int stored,
                               fo_error *error)
{
    int32_t row;
    fo_status status = find_running(c, sequence, &row, error);
    if (status != FO_OK)
        return status;
    int32_t length = fo_block_table_at(c->table, row).length;
    if (stored < 0 || stored > length)
        return fo_fail(error, FO_ARG,
                       "sequence %" PRId64 " stores %d tokens, not %d",
                       sequence, length, stored);
    int32_t was = c->holders[row].node, node = was == no_one ? root : was;
    while (c->nodes[node].depth > stored / c->B)
        node = c->nodes[node].parent;
    while (c->nodes[node].depth < stored / c->B) {
        int32_t depth = c->nodes[node].depth;
        int32_t next = prefix_node_add(c, node, tokens + (size_t)depth * c->B);
        if (next == no_one) {
            /* Take back the chain that found no room. */
            prefix_holder_move(c, row, node);
            prefix_holder_move(c, row, was);
            return fo_fail(error, FO_ARG,
                           "sequence %" PRId64
                           " notes more blocks than there are: some "
                           "were noted with other tokens than those they store",
                           sequence);
        }
        node = next;
    }
    hold(c, row, sequence, node);
    return FO_OK;
}

/* Ask whether a row serves. */
bool prefix_holder_serves(const fo_prefix_cache *c, int32_t row, int32_t depth)
{
    int64_t first = fo_block_table_at(c->table, row).first;
    int64_t seen = (int64_t)depth * c->B - c->window + 1;
    return first == 0 ||
           (c->window > 0 && first < depth && first * c->B <= seen);
}

/* Find a chain and a sequence to fork. */
/* Where a walk by tokens ended: a row that serves and how many blocks of it. */
typedef struct found {
    int32_t row, depth, node;
} found;

static found seek(const fo_prefix_cache *c, const int32_t *tokens, int count)
{
    int32_t node = root, above = no_one;
    int most = count > 0 ? (count - 1) / c->B : 0;
    for (int i = 0; i < most; i++) {
        int32_t next = prefix_node_find(c, node, tokens + (size_t)i * c->B);
        if (next == no_one)
            break;
        node = next;
    }
    for (; node != root; above = node, node = c->nodes[node].parent) {
        int32_t depth = c->nodes[node].depth;
        /* Return a holder of this chain that serves. */
        for (int32_t at = node; at != no_one;
             at = prefix_node_after(c, at, node, at != above)) {
            int32_t row = at == above ? no_one : c->nodes[at].ends;
            for (; row != no_one; row = c->holders[row].after)
                if (prefix_holder_serves(c, row, depth))
                    return (found){row, depth, node};
        }
    }
    return (found){no_one, 0, root};
}

/* Begin with what is found. */
int fo_prefix_cache_match(const fo_prefix_cache *c, const int32_t *tokens,
                          int count)
{
    return seek(c, tokens, count).depth * c->B;
}

void fo_prefix_cache_weigh(const fo_prefix_cache *c, const int32_t *tokens,
                           int count, int *held, int *loose)
{
    found best = seek(c, tokens, count);
    *held = *loose = 0;
    if (best.row == no_one)
        return;
    fo_block_row at = fo_block_table_at(c->table, best.row);
    int first = at.first, seen = best.depth * c->B + 1 - c->window;
    if (c->window > 0 && seen / c->B > first)
        first = seen / c->B;
    prefix_mark_running(c);
    *held = best.depth - first;
    for (int i = first; i < best.depth; i++)
        *loose += c->marks[at.entries[i]] == 0;
}

fo_status fo_prefix_cache_begin(fo_prefix_cache *c, int64_t sequence,
                                const int32_t *tokens, int count, int *hit,
                                fo_error *error)
{
    *hit = 0;
    if (fo_block_table_row(c->table, sequence) >= 0)
        return fo_fail(error, FO_ARG, "sequence %" PRId64 " is in use",
                       sequence);
    found best = seek(c, tokens, count);
    int shared = best.depth * c->B;
    if (best.row != no_one) {
        int64_t from = c->holders[best.row].sequence;
        fo_status status =
            fo_block_manager_fork(c->blocks, from, sequence, shared, error);
        if (status != FO_OK)
            return status;
        hold(c, fo_block_table_row(c->table, sequence), sequence, best.node);
        prefix_node_touch(c, best.node);
    }
    c->lookups++;
    c->hits += shared > 0;
    c->hit_tokens += (uint64_t)shared;
    *hit = shared;
    return FO_OK;
}

/* Ask whether a holder is covered. */
bool prefix_holder_covered(const fo_prefix_cache *c, int32_t row, int32_t top)
{
    int32_t first = fo_block_table_at(c->table, row).first;
    if (c->nodes[top].kept == c->holders[row].kept)
        return false;
    for (int32_t at = top; at != no_one;
         at = prefix_node_after(c, at, top, true))
        for (int32_t other = c->nodes[at].ends; other != no_one;
             other = c->holders[other].after)
            if (other != row && c->holders[other].kept &&
                fo_block_table_at(c->table, other).first <= first)
                return true;
    return false;
}

/* Free a sequence. */
fo_status prefix_holder_free(fo_prefix_cache *c, int32_t row, fo_error *error)
{
    fo_status status = fo_block_manager_free_sequence(
        c->blocks, c->holders[row].sequence, error);
    if (status == FO_OK)
        prefix_holder_move(c, row, no_one);
    return status;
}

fo_status fo_prefix_cache_drop(fo_prefix_cache *c, int64_t sequence,
                               fo_error *error)
{
    int32_t row;
    fo_status status = find_running(c, sequence, &row, error);
    if (status != FO_OK)
        return status;
    c->holders[row].sequence = sequence;
    return prefix_holder_free(c, row, error);
}

/* Free what a row covers. */
/* Free the kept sequences that end on a row's chain and have nothing that it
 * has not. */
static fo_status free_covered(fo_prefix_cache *c, int32_t row, fo_error *error)
{
    int32_t first = fo_block_table_at(c->table, row).first;
    fo_status status = FO_OK;
    for (int32_t node = c->holders[row].node; node != root;
         node = c->nodes[node].parent) {
        int32_t other = c->nodes[node].ends;
        while (other != no_one && status == FO_OK) {
            int32_t next = c->holders[other].after;
            if (c->holders[other].kept &&
                fo_block_table_at(c->table, other).first >= first)
                status = prefix_holder_free(c, other, error);
            other = next;
        }
    }
    return status;
}

/* Keep a sequence that has ended. */
fo_status fo_prefix_cache_retire(fo_prefix_cache *c, int64_t sequence,
                                 fo_error *error)
{
    int32_t row;
    fo_status status = find_running(c, sequence, &row, error);
    if (status != FO_OK)
        return status;
    int32_t node = c->holders[row].node;
    if (node == no_one || node == root)
        return fo_prefix_cache_drop(c, sequence, error);
    int32_t depth = c->nodes[node].depth;
    prefix_node_touch(c, node);
    if (!prefix_holder_serves(c, row, depth) ||
        prefix_holder_covered(c, row, node))
        return fo_prefix_cache_drop(c, sequence, error);
    status = free_covered(c, row, error);
    if (status == FO_OK)
        status =
            fo_block_manager_truncate(c->blocks, sequence, depth * c->B, error);
    if (status == FO_OK)
        prefix_holder_keep(c, row);
    return status;
}

/* Tell what is kept. */
fo_prefix_cache_stats fo_prefix_cache_stats_get(const fo_prefix_cache *c)
{
    fo_prefix_cache_stats stats = {
        .nodes = c->live,
        .lookups = c->lookups,
        .hits = c->hits,
        .hit_tokens = c->hit_tokens,
        .evicted_blocks = c->evicted_blocks,
        .metadata_bytes = fo_prefix_cache_bytes(
            fo_block_manager_config(c->blocks), c->window),
    };
    memset(c->marks, 0, (size_t)c->total_blocks * sizeof *c->marks);
    for (int row = 0; row < c->max_rows; row++) {
        if (!c->holders[row].kept)
            continue;
        fo_block_row kept = fo_block_table_at(c->table, row);
        stats.kept_sequences++;
        for (int32_t i = kept.first; i < kept.blocks; i++) {
            stats.kept_blocks += c->marks[kept.entries[i]] == 0;
            c->marks[kept.entries[i]] = 1;
        }
    }
    return stats;
}

bool fo_prefix_cache_keeps(const fo_prefix_cache *c, int64_t sequence)
{
    int32_t row = fo_block_table_row(c->table, sequence);
    return row >= 0 && c->holders[row].kept;
}
