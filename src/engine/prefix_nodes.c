#include "engine/prefix_cache_inside.h"

#include <assert.h>
#include <string.h>

/* Hash a block after a chain. */
uint64_t prefix_hash(const fo_prefix_cache *c, uint64_t chain,
                     const int32_t *tokens)
{
    uint64_t hash = chain ^ UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < c->B; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * UINT64_C(0x100000001b3);
    hash = (hash ^ (hash >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (hash ^ (hash >> 31)) & c->hash_bits;
}

/* Find a child by its tokens. */
static int32_t find(const fo_prefix_cache *c, int32_t parent, uint64_t hash,
                    const int32_t *tokens)
{
    size_t B = (size_t)c->B;
    int32_t at = c->buckets[hash & c->mask];
    for (; at != no_one; at = c->nodes[at].next) {
        const prefix_node *node = &c->nodes[at];
        if (node->hash == hash && node->parent == parent &&
            memcmp(c->tokens + (size_t)at * B, tokens, B * sizeof *tokens) == 0)
            return at;
    }
    return no_one;
}

int32_t prefix_node_find(const fo_prefix_cache *c, int32_t parent,
                         const int32_t *tokens)
{
    return find(c, parent, prefix_hash(c, c->nodes[parent].hash, tokens),
                tokens);
}

/* Add a child. */
int32_t prefix_node_add(fo_prefix_cache *c, int32_t parent,
                        const int32_t *tokens)
{
    uint64_t hash = prefix_hash(c, c->nodes[parent].hash, tokens);
    int32_t at = find(c, parent, hash, tokens);
    if (at != no_one || c->unused == no_one)
        return at;
    at = c->unused;
    prefix_node *node = &c->nodes[at], *above = &c->nodes[parent];
    int32_t *bucket = &c->buckets[hash & c->mask];
    c->unused = node->next;
    c->live++;
    *node = (prefix_node){.hash = hash,
                          .parent = parent,
                          .depth = above->depth + 1,
                          .child = no_one,
                          .after = above->child,
                          .before = no_one,
                          .ends = no_one,
                          .next = *bucket};
    memcpy(c->tokens + (size_t)at * (size_t)c->B, tokens,
           (size_t)c->B * sizeof *tokens);
    if (above->child != no_one)
        c->nodes[above->child].before = at;
    above->child = *bucket = at;
    return at;
}

/* Remove a node that nobody holds. */
static void remove_node(fo_prefix_cache *c, int32_t at)
{
    prefix_node *node = &c->nodes[at];
    assert(at != root && node->child == no_one && node->ends == no_one);
    if (node->before != no_one)
        c->nodes[node->before].after = node->after;
    else
        c->nodes[node->parent].child = node->after;
    if (node->after != no_one)
        c->nodes[node->after].before = node->before;
    int32_t *link = &c->buckets[node->hash & c->mask];
    while (*link != at)
        link = &c->nodes[*link].next;
    *link = node->next;
    node->next = c->unused;
    c->unused = at;
    c->live--;
}

/* Walk over a part of the tree. */
int32_t prefix_node_after(const fo_prefix_cache *c, int32_t at, int32_t top,
                          bool below)
{
    if (below && c->nodes[at].child != no_one)
        return c->nodes[at].child;
    while (at != top && c->nodes[at].after == no_one)
        at = c->nodes[at].parent;
    return at == top ? no_one : c->nodes[at].after;
}

/* Walk towards the root. */
void prefix_node_touch(fo_prefix_cache *c, int32_t node)
{
    c->clock++;
    for (; node != no_one; node = c->nodes[node].parent)
        c->nodes[node].used = c->clock;
}

static void count_kept(fo_prefix_cache *c, int32_t node, int32_t change)
{
    for (; node != no_one; node = c->nodes[node].parent)
        c->nodes[node].kept += change;
}

/* Let a holder end elsewhere. */
static void detach(fo_prefix_cache *c, int32_t row)
{
    prefix_holder *holder = &c->holders[row];
    if (holder->before != no_one)
        c->holders[holder->before].after = holder->after;
    else
        c->nodes[holder->node].ends = holder->after;
    if (holder->after != no_one)
        c->holders[holder->after].before = holder->before;
}

static void attach(fo_prefix_cache *c, int32_t row, int32_t at)
{
    prefix_holder *holder = &c->holders[row];
    prefix_node *node = &c->nodes[at];
    holder->node = at;
    holder->before = no_one;
    holder->after = node->ends;
    if (node->ends != no_one)
        c->holders[node->ends].before = row;
    node->ends = row;
}

void prefix_holder_move(fo_prefix_cache *c, int32_t row, int32_t node)
{
    prefix_holder *holder = &c->holders[row];
    int32_t from = holder->node;
    if (from != no_one) {
        detach(c, row);
        if (holder->kept)
            count_kept(c, from, -1);
    }
    holder->node = no_one;
    if (node != no_one)
        attach(c, row, node);
    else
        holder->kept = false;
    if (holder->kept)
        count_kept(c, node, 1);
    while (from != no_one && from != root && c->nodes[from].child == no_one &&
           c->nodes[from].ends == no_one) {
        int32_t parent = c->nodes[from].parent;
        remove_node(c, from);
        from = parent;
    }
}

void prefix_holder_keep(fo_prefix_cache *c, int32_t row)
{
    assert(!c->holders[row].kept);
    c->holders[row].kept = true;
    count_kept(c, c->holders[row].node, 1);
}
