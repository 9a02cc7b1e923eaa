#include "naive_prefix.h"

#include <stddef.h>
#include <string.h>

/* Judge: compare by tokens alone. */
naive_sequence *naive_prefix_find(naive_prefix *judge, int64_t id)
{
    for (int i = 0; i < naive_rows; i++)
        if (judge->at[i].id == id)
            return &judge->at[i];
    return NULL;
}

/* Whether s has noted the first `blocks` blocks of a text. */
static bool has_noted(const naive_prefix *judge, const naive_sequence *s,
                      const int32_t *tokens, int blocks)
{
    size_t bytes = (size_t)(blocks * judge->B) * sizeof *tokens;
    return s->id && s->noted >= blocks && memcmp(s->tokens, tokens, bytes) == 0;
}

/* Whether a text of so many blocks can go on from s: their last is there, and
 * all that the next token sees. */
static bool serves(const naive_prefix *judge, const naive_sequence *s,
                   int blocks)
{
    if (s->first >= blocks)
        return false;
    for (int p = 0; p < blocks * judge->B; p++) {
        bool seen = judge->window == 0 || blocks * judge->B - p < judge->window;
        if (seen && p / judge->B < s->first)
            return false;
    }
    return true;
}

/* Judge: find the longest beginning. */
int naive_prefix_match(const naive_prefix *judge, const int32_t *tokens,
                       int count)
{
    for (int blocks = (count - 1) / judge->B; blocks > 0; blocks--)
        for (int i = 0; i < naive_rows; i++)
            if (has_noted(judge, &judge->at[i], tokens, blocks) &&
                serves(judge, &judge->at[i], blocks))
                return blocks * judge->B;
    return 0;
}

bool naive_prefix_could_fork(const naive_prefix *judge, const int32_t *tokens,
                             int hit, const fo_block_row *row)
{
    int blocks = hit / judge->B;
    for (int i = 0; i < naive_rows; i++) {
        const naive_sequence *s = &judge->at[i];
        if (has_noted(judge, s, tokens, blocks) && serves(judge, s, blocks) &&
            s->first == row->first && row->blocks == blocks &&
            row->length == hit &&
            memcmp(s->block + s->first, row->entries + s->first,
                   (size_t)(blocks - s->first) * sizeof(int32_t)) == 0)
            return true;
    }
    return false;
}

/* Judge: remember when a chain was used. */
static void touch(naive_prefix *judge, const int32_t *tokens, int blocks)
{
    judge->clock++;
    for (int i = 0; i < naive_rows; i++)
        for (int b = 0; b < blocks; b++)
            if (has_noted(judge, &judge->at[i], tokens, b + 1))
                judge->at[i].used[b] = judge->clock;
}

void naive_prefix_note(naive_prefix *judge, int64_t id, int stored)
{
    naive_sequence *s = naive_prefix_find(judge, id);
    for (int b = s->noted; b < stored / judge->B; b++) {
        s->used[b] = 0;
        for (int i = 0; i < naive_rows; i++)
            if (has_noted(judge, &judge->at[i], s->tokens, b + 1))
                s->used[b] = judge->at[i].used[b];
    }
    s->noted = stored / judge->B;
}

void naive_prefix_begin(naive_prefix *judge, int64_t id, const int32_t *tokens,
                        int hit, const fo_block_row *row)
{
    naive_sequence *s = naive_prefix_find(judge, 0);
    int blocks = hit / judge->B;
    memset(s, 0, sizeof *s);
    memcpy(s->tokens, tokens, (size_t)hit * sizeof *tokens);
    memcpy(s->block, row->entries, (size_t)blocks * sizeof(int32_t));
    s->id = id;
    s->length = hit;
    s->first = row->first;
    s->end = blocks;
    naive_prefix_note(judge, id, hit);
    touch(judge, tokens, blocks);
}

/* Judge: keep a sequence. */
/* Whether some other kept sequence has everything that s has. */
static bool covered(const naive_prefix *judge, const naive_sequence *s)
{
    for (int i = 0; i < naive_rows; i++) {
        const naive_sequence *other = &judge->at[i];
        if (other != s && other->kept && other->first <= s->first &&
            has_noted(judge, other, s->tokens, s->noted))
            return true;
    }
    return false;
}

void naive_prefix_retire(naive_prefix *judge, int64_t id)
{
    naive_sequence *s = naive_prefix_find(judge, id);
    touch(judge, s->tokens, s->noted);
    if (s->noted == 0 || !serves(judge, s, s->noted) || covered(judge, s)) {
        memset(s, 0, sizeof *s);
        return;
    }
    s->kept = true;
    s->end = s->noted;
    s->length = s->noted * judge->B;
    for (int i = 0; i < naive_rows; i++)
        if (judge->at[i].kept && covered(judge, &judge->at[i]))
            memset(&judge->at[i], 0, sizeof judge->at[i]);
}

/* Judge: count blocks by looking. */
/* Whether a sequence has a block; `running`: and has not ended. */
static bool held(const naive_prefix *judge, int32_t block, bool running)
{
    for (int i = 0; i < naive_rows; i++) {
        const naive_sequence *s = &judge->at[i];
        for (int b = s->first; s->id && b < s->end; b++)
            if (s->block[b] == block && !(running && s->kept))
                return true;
    }
    return false;
}

int naive_prefix_free(const naive_prefix *judge)
{
    int free = 0;
    for (int block = 0; block < judge->blocks; block++)
        free += !held(judge, block, false);
    return free;
}

int naive_prefix_evictable(const naive_prefix *judge)
{
    int count = 0;
    for (int block = 0; block < judge->blocks; block++)
        count += held(judge, block, false) && !held(judge, block, true);
    return count;
}

/* Judge: count chains by looking. */
int naive_prefix_chains(const naive_prefix *judge)
{
    int chains = 0;
    for (int i = 0; i < naive_rows; i++)
        for (int b = 0; judge->at[i].id && b < judge->at[i].noted; b++) {
            bool seen = false;
            for (int j = 0; j < i; j++)
                seen |=
                    has_noted(judge, &judge->at[j], judge->at[i].tokens, b + 1);
            chains += !seen;
        }
    return chains;
}

/* Judge: say whose turn it is. */
/* The kept sequence whose last chain was used longest ago, the longer one of
 * two; `gains`: of those with a block that no running sequence has. */
static naive_sequence *oldest(naive_prefix *judge, bool gains)
{
    naive_sequence *turn = NULL;
    for (int i = 0; i < naive_rows; i++) {
        naive_sequence *s = &judge->at[i];
        bool helps = !gains;
        for (int b = s->first; b < s->end; b++)
            helps |= !held(judge, s->block[b], true);
        if (!s->id || !s->kept || !helps)
            continue;
        uint64_t used = s->used[s->noted - 1];
        uint64_t least = turn ? turn->used[turn->noted - 1] : 0;
        if (!turn || used < least || (used == least && s->noted > turn->noted))
            turn = s;
    }
    return turn;
}

/* Judge: evict one block at a time. */
int naive_prefix_rows_free(const naive_prefix *judge)
{
    int rows = 0;
    for (int i = 0; i < naive_rows; i++)
        rows += judge->at[i].id == 0;
    return rows;
}

void naive_prefix_evict(naive_prefix *judge, int free, int rows)
{
    naive_sequence *s;
    int before = naive_prefix_free(judge);
    while (naive_prefix_free(judge) < free && (s = oldest(judge, true))) {
        s->noted = s->end = s->noted - 1;
        s->length = s->noted * judge->B;
        if (s->noted <= s->first || !serves(judge, s, s->noted) ||
            covered(judge, s))
            memset(s, 0, sizeof *s);
    }
    while (naive_prefix_rows_free(judge) < rows && (s = oldest(judge, false)))
        memset(s, 0, sizeof *s);
    judge->evicted += (uint64_t)(naive_prefix_free(judge) - before);
}
