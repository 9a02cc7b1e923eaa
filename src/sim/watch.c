#include "sim/watch.h"

#include "sim/races.h"
#include "sim/simt.h"
#include "sim/site.h"
#include "sim/traffic.h"
#include "sim/witness.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

sim_watch sim_watch_now;

/* Remember which block began when. */
typedef struct block_note {
    uint32_t era;
    uint32_t block[3];
} block_note;

enum { MOST_NOTES = 1 << 22 };

static const char *kernel;
static uint32_t block_shape[3] = {1, 1, 1};
static block_note *notes; /* (MOST_NOTES), of this launch */
static size_t note_count;

static bool open_notes(void)
{
    if (notes)
        return true;
    notes = sim_reserve_lazily(MOST_NOTES, sizeof *notes);
    return notes;
}

void sim_witness_block(uint32_t era, int block[3])
{
    size_t low = 0, high = note_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (notes[middle].era <= era)
            low = middle;
        else
            high = middle;
    }
    bool found = note_count > 0 && low + 1 < MOST_NOTES;
    for (int i = 0; i < 3; i++)
        block[i] = found ? (int)notes[low].block[i] : -1;
}

/* Number a thread by its indices. */
void sim_witness_thread(uint32_t number, int thread[3])
{
    uint32_t x = block_shape[0], y = block_shape[1];
    thread[0] = (int)(number % x);
    thread[1] = (int)(number / x % y);
    thread[2] = (int)(number / x / y);
}

/* Tell of a mistake. */
void sim_tell(sim_fault fault, uint32_t site, const sim_witness *other,
              const char *format, ...)
{
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sim_report report = {.fault = fault, .at.site = site};
    sim_witness_thread(sim_watch_now.thread, report.at.thread);
    sim_witness_block(sim_watch_now.era, report.at.block);
    snprintf(report.kernel, sizeof report.kernel, "%s", kernel);
    if (other) {
        report.has_other = true;
        report.other = *other;
    }
    sim_report_add(&report, "%s", text);
}

/* Keep the count of eras. */
static void next_era(void)
{
    sim_watch_now.era++;
    memset(sim_watch_now.warp_era, 0, sizeof sim_watch_now.warp_era);
    for (uint32_t w = 0; w < SIM_WATCH_WARPS; w++)
        sim_watch_meeting(w);
    sim_races_era();
}

void sim_watch_launch(const char *name, const uint32_t block[3])
{
    sim_settings wanted = sim_settings_get();
    sim_watch *w = &sim_watch_now;
    kernel = name;
    memcpy(block_shape, block, sizeof block_shape);
    note_count = 0;
    w->launch_era = w->era + 1;
    w->shared_bytes = 0;
    sim_sites_open();
    w->checks = wanted.checks && sim_races_launch() && open_notes();
    w->traffic = wanted.traffic && sim_traffic_launch(name);
    w->on = w->checks || w->traffic;
}

void sim_watch_launch_end(void)
{
    if (sim_watch_now.traffic)
        sim_traffic_launch_end();
    sim_watch_now.on = false;
}

/* Begin a block. */
void sim_watch_block(const uint32_t block[3], void *shared, size_t bytes)
{
    if (!sim_watch_now.on)
        return;
    next_era();
    sim_watch_now.block_era = sim_watch_now.era;
    sim_watch_now.shared = (uintptr_t)shared;
    sim_watch_now.shared_bytes = bytes;
    sim_hooks_block(bytes);
    if (sim_watch_now.traffic)
        sim_traffic_block();
    if (sim_watch_now.checks && note_count < MOST_NOTES)
        notes[note_count++] =
            (block_note){sim_watch_now.era, {block[0], block[1], block[2]}};
}

/* Pass a barrier. */
void sim_watch_barrier(void)
{
    if (sim_watch_now.on)
        next_era();
}

void sim_watch_warp_barrier(uint32_t warp)
{
    sim_watch_now.warp_era[warp]++;
}
