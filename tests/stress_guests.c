#include "stress_inside.h"

#include "common/rng.h"
#include "inputs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Draw what happens next in a day. */
uint32_t stress_draw(stress_day *d, uint32_t below)
{
    uint32_t words[4];
    fo_rng_block(d->options->seed, 29, d->draws++, words);
    return (uint32_t)((uint64_t)words[0] * below >> 32);
}

/* Put a number into the digest (FNV-1a, over the four bytes at once). */
static void digest(stress_day *d, int64_t value)
{
    d->result->digest ^= (uint64_t)value;
    d->result->digest *= UINT64_C(0x100000001b3);
}

static void digest_row(stress_day *d, int64_t id)
{
    fo_block_row row;
    digest(d, id);
    if (!fo_block_table_sequence(fo_block_manager_table(d->blocks), id, &row))
        return;
    digest(d, row.length);
    for (int i = row.first; i < row.blocks; i++)
        digest(d, row.entries[i]);
}

/* Let a guest leave. */
bool stress_leave(stress_day *d, int i)
{
    fo_error error;
    stress_guest *g = &d->guests[i];
    bool lose =
        d->options->plant == STRESS_LOSE_A_BLOCK && d->result->left == 9;
    if (!lose &&
        fo_block_manager_free_sequence(d->blocks, g->id, &error) != FO_OK)
        return stress_trouble(d, "leaving: %s", error.message);
    digest(d, -g->id);
    if (i != --d->live)
        d->guests[i] = d->guests[d->live];
    d->result->left++;
    return true;
}

/* Write a guest's tokens into the cache. */
bool stress_write(stress_day *d, const stress_guest *g, int from, int to)
{
    fo_error error;
    int64_t slots[STRESS_LONGEST];
    int n = to - from;
    fo_block_table_slots(fo_block_manager_table(d->blocks), g->id, from, n,
                         slots);
    if (d->options->plant == STRESS_WRONG_SLOT && n > 7 && g->id % 16 == 9)
        slots[6] = slots[7];
    int64_t start = (int64_t)(g->base + from) * d->width;
    fo_status status = d->op->upload(d->device, d->slots, slots,
                                     (size_t)n * sizeof *slots, &error);
    if (status == FO_OK)
        status = d->op->kv_write(
            d->device, fo_block_manager_layer(d->blocks, 0), d->there_k + start,
            d->there_v + start, d->width, d->slots, n, &error);
    return status == FO_OK || stress_trouble(d, "writing: %s", error.message);
}

/* Judge a refusal. */
bool stress_refused(stress_day *d, const fo_error *why, int wanted)
{
    d->result->refused++;
    if (why->status == FO_FULL && why->required == (uint64_t)wanted &&
        why->available < why->required && why->message[0] != '\0')
        return true;
    return stress_trouble(d,
                          "%d blocks refused with %s, %" PRIu64 " wanted, "
                          "%" PRIu64 " free: %s",
                          wanted, fo_status_name(why->status), why->required,
                          why->available, why->message);
}

/* Let guests arrive. */
enum { AT_ONCE = 4 };

static stress_guest newcomer(stress_day *d)
{
    const stress_options *o = d->options;
    stress_guest g = {.id = d->next_id++};
    g.length = o->shortest +
               (int)stress_draw(d, (uint32_t)(o->longest - o->shortest + 1));
    g.base = (int)stress_draw(d, STRESS_SPARE);
    for (int p = 0; p < d->room; p++)
        g.text[p] = (int16_t)(g.base + p);
    return g;
}

/* Give newcomers their blocks, and judge a refusal. */
static bool arrive(stress_day *d)
{
    fo_error error, results[AT_ONCE];
    fo_block_request requests[AT_ONCE];
    int n = d->wanted - d->live;
    if (n <= 0)
        return true;
    n = n < AT_ONCE ? n : AT_ONCE;
    stress_guest *new = &d->guests[d->live];
    for (int i = 0; i < n; i++) {
        new[i] = newcomer(d);
        requests[i] = (fo_block_request){new[i].id, new[i].length, 0};
    }
    if (fo_block_manager_extend_batch(d->blocks, requests, results, n,
                                      &error) != FO_OK)
        return stress_trouble(d, "arriving: %s", error.message);
    for (int i = 0; i < n; i++) {
        int blocks = (new[i].length + d->options->B - 1) / d->options->B;
        digest_row(d, new[i].id);
        if (results[i].status == FO_OK) {
            if (!stress_write(d, &new[i], 0, new[i].length))
                return false;
            d->result->prefilled += new[i].length;
            d->result->arrived++;
            d->guests[d->live++] = new[i];
        } else if (!stress_refused(d, &results[i], blocks)) {
            return false;
        }
    }
    return true;
}

/* Let a guest fork. */
static bool fork_one(stress_day *d)
{
    fo_error error;
    if (d->live == 0 || d->live == d->options->most)
        return true;
    const stress_guest *parent = &d->guests[stress_draw(d, (uint32_t)d->live)];
    stress_guest *child = &d->guests[d->live];
    *child = *parent;
    child->id = d->next_id++;
    child->length = 1 + (int)stress_draw(d, (uint32_t)parent->length);
    child->base = (int)stress_draw(d, STRESS_SPARE);
    child->parent = parent->id;
    for (int p = child->length; p < d->room; p++)
        child->text[p] = (int16_t)(child->base + p);
    if (fo_block_manager_fork(d->blocks, parent->id, child->id, child->length,
                              &error) != FO_OK)
        return stress_trouble(d, "forking: %s", error.message);
    digest_row(d, child->id);
    d->live++;
    d->result->forked++;
    return true;
}

/* Let all of them move. */
bool stress_guests_move(stress_day *d)
{
    const stress_options *o = d->options;
    if (d->result->steps % o->round == 0) {
        d->wanted = o->fewest +
                    (int)stress_draw(d, (uint32_t)(o->most - o->fewest + 1));
        int leaving =
            d->live > 1 ? 1 + (int)stress_draw(d, (uint32_t)d->live / 2) : 0;
        for (int i = 0; i < leaving; i++)
            if (!stress_leave(d, (int)stress_draw(d, (uint32_t)d->live)))
                return false;
    }
    for (int i = d->live - 1; i >= 0; i--)
        if (d->guests[i].length == d->room && !stress_leave(d, i))
            return false;
    if (d->options->plant == STRESS_LOSE_BYTES && d->result->steps == 9)
        d->lost = fo_memory_alloc(1, 64, NULL);
    bool forks = stress_draw(d, 4) == 0;
    return arrive(d) && (!forks || fork_one(d));
}

/* Send every guest home. */
bool stress_go_home(stress_day *d)
{
    fo_error error;
    fo_block_stats stats;
    while (d->live > 0)
        if (!stress_leave(d, d->live - 1))
            return false;
    if (fo_block_manager_stats(d->blocks, &stats, &error) != FO_OK ||
        fo_block_manager_check(d->blocks, &error) != FO_OK)
        return stress_trouble(d, "%s", error.message);
    d->result->peak = stats.pool.peak;
    d->result->reuse_rate = stats.reuse_rate;
    d->result->metadata = (double)stats.metadata_bytes / (double)stats.kv_bytes;
    if (d->result->steps)
        d->result->utilisation = d->utilisation / (double)d->result->steps;
    if (stats.pool.free != d->options->blocks || stats.table.sequences != 0)
        return stress_trouble(d, "all have left; %d of %d blocks are free",
                              stats.pool.free, d->options->blocks);
    return true;
}
