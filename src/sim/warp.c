#include "sim/inside.h"
#include "sim/site.h"
#include "sim/watch.h"

#include <stdarg.h>
#include <string.h>

/* Report a fault where it happened. */
static sim_witness witness(const sim_lane *lane)
{
    sim_index b = sim_current.index, t = lane->index;
    return (sim_witness){.site = lane->line ? 0 : sim_site_of(lane->code),
                         .file = lane->file,
                         .line = lane->line,
                         .block = {(int)b.x, (int)b.y, (int)b.z},
                         .thread = {(int)t.x, (int)t.y, (int)t.z}};
}

void sim_complain(sim_fault fault, const sim_lane *lane, const sim_lane *other,
                  const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sim_report report = {.fault = fault, .at = witness(lane)};
    snprintf(report.kernel, sizeof report.kernel, "%s",
             sim_current.launch->name);
    if (other) {
        report.has_other = true;
        report.other = witness(other);
    }
    sim_report_add(&report, "%s", text);
}

/* Check that the lanes of a group agree. */
/* Two lanes that wait for each other with different masks, or in different
 * functions, would wait for ever. */
static void insist_on_agreement(const sim_warp *warp, const sim_lane *self)
{
    uint32_t others = warp->waiting & self->mask;
    for (; others; others &= others - 1) {
        const sim_lane *other = &warp->lanes[__builtin_ctz(others)];
        if (!(other->mask >> self->lane & 1))
            continue;
        if (other->mask != self->mask)
            sim_complain(SIM_WARP_MISUSE, self, other,
                         "%s with mask 0x%08x meets %s with mask 0x%08x",
                         self->doing, self->mask, other->doing, other->mask);
        else if (strcmp(other->doing, self->doing) != 0)
            sim_complain(SIM_WARP_MISUSE, self, other, "%s meets %s",
                         self->doing, other->doing);
        else
            continue;
        sim_abandon();
    }
}

/* Whether every lane of a group waits in it. */
static bool complete(const sim_warp *warp, uint32_t mask)
{
    uint32_t present = mask & ~warp->exited;
    if ((warp->waiting & present) != present)
        return false;
    if (warp->like)
        return true;
    for (uint32_t rest = present; rest; rest &= rest - 1)
        if (warp->lanes[__builtin_ctz(rest)].mask != mask)
            return false;
    return true;
}

/* Run a warp function for its lanes. */
static void carry_out(sim_warp *warp, const sim_lane *one, uint32_t present)
{
    sim_warp_function *function = one->function;
    function(warp->lanes, present);
    if (present == ~0u)
        sim_watch_meeting(warp->number);
    warp->waiting &= ~present;
}

/* Gather the lanes of a mask. */
void sim_gather(const char *name, uint32_t mask, sim_warp_function *function,
                const char *file, int line)
{
    sim_lane *self = sim_self;
    sim_warp *warp = self->warp;
    uint32_t bit = 1u << self->lane;
    self->doing = name;
    self->function = function;
    self->mask = mask;
    self->file = file;
    self->line = line;
    if (!(mask & bit)) {
        sim_complain(SIM_WARP_MISUSE, self, NULL,
                     "%s with mask 0x%08x by lane %u, which is not in it", name,
                     mask, self->lane);
        sim_abandon();
    }
    if (!warp->waiting)
        warp->like = self;
    else if (warp->like &&
             (warp->like->mask != mask || warp->like->function != function))
        warp->like = NULL;
    if (!warp->like)
        insist_on_agreement(warp, self);
    warp->waiting |= bit;
    uint32_t present = mask & ~warp->exited;
    if (!complete(warp, mask)) {
        sim_rest();
        return;
    }
    carry_out(warp, self, present);
    sim_wake(warp, present & ~bit);
}

/* Go on when a lane has exited. */
void sim_warp_left(sim_warp *warp)
{
    uint32_t rest = warp->waiting;
    while (rest) {
        const sim_lane *lane = &warp->lanes[__builtin_ctz(rest)];
        uint32_t present = lane->mask & ~warp->exited;
        rest &= ~present & (rest - 1);
        if (complete(warp, lane->mask)) {
            carry_out(warp, lane, present);
            sim_wake(warp, present);
        }
    }
}

/* Choose the lane to read from. */
/* As PTX has it, `up` stops at the start of the segment,
 * the others at its end. */
static uint32_t source(sim_shuffle_kind kind, uint32_t self, uint32_t argument,
                       uint32_t width)
{
    uint32_t first = self & ~(width - 1), last = first + width - 1;
    switch (kind) {
    case SIM_SHUFFLE_UP:
        return self - first >= argument ? self - argument : self;
    case SIM_SHUFFLE_DOWN:
        return last - self >= argument ? self + argument : self;
    case SIM_SHUFFLE_XOR:
        argument = self ^ (argument & (SIM_LANES - 1));
        return argument <= last ? argument : self;
    case SIM_SHUFFLE_INDEX:
        break;
    }
    return first | (argument & (width - 1));
}

/* Shuffle. */
static void shuffle(sim_lane *lanes, uint32_t present)
{
    for (uint32_t rest = present; rest; rest &= rest - 1) {
        sim_lane *lane = &lanes[__builtin_ctz(rest)];
        uint32_t from = lane->argument;
        if (present >> from & 1) {
            lane->received = lanes[from].offered;
            continue;
        }
        lane->received = ~UINT64_C(0); /* NaN, or -1 */
        sim_complain(SIM_WARP_MISUSE, lane, NULL,
                     "%s: lane %u reads lane %u, which takes no part",
                     lane->doing, lane->lane, from);
    }
}

uint64_t sim_shuffle(sim_shuffle_kind kind, uint32_t mask, uint64_t bits,
                     uint32_t argument, uint32_t width, const char *file,
                     int line)
{
    static const char *const names[] = {"__shfl_sync", "__shfl_up_sync",
                                        "__shfl_down_sync", "__shfl_xor_sync"};
    sim_lane *self = sim_self;
    self->offered = bits;
    self->argument = source(kind, self->lane, argument, width);
    sim_gather(names[kind], mask, shuffle, file, line);
    return self->received;
}

/* Vote and meet. */
static void ballot(sim_lane *lanes, uint32_t present)
{
    uint32_t votes = 0;
    for (uint32_t rest = present; rest; rest &= rest - 1)
        votes |= (uint32_t)lanes[__builtin_ctz(rest)].offered
                 << __builtin_ctz(rest);
    for (uint32_t rest = present; rest; rest &= rest - 1)
        lanes[__builtin_ctz(rest)].received = votes;
}

uint32_t sim_ballot(uint32_t mask, int predicate, const char *file, int line)
{
    sim_self->offered = predicate != 0;
    sim_gather("a vote", mask, ballot, file, line);
    return (uint32_t)sim_self->received;
}

static void meet(sim_lane *lanes, uint32_t present)
{
    const sim_warp *warp = lanes->warp;
    if (present == ~warp->exited)
        sim_watch_warp_barrier(warp->number);
}

void sim_warp_barrier(uint32_t mask, const char *file, int line)
{
    sim_gather("__syncwarp", mask, meet, file, line);
}
