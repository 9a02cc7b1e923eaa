#include "sim/inside.h"
#include "sim/watch.h"

#include <assert.h>
#include <string.h>

sim_lane *sim_self;
sim_block sim_current;
sim_warp sim_warps[SIM_MOST_WARPS];

static sim_lane lanes[SIM_MOST_THREADS];
static sim_fiber host;

/* Answer for the built-in variables of the running lane. */
sim_index sim_thread_index(void)
{
    return sim_self->index;
}

sim_index sim_block_index(void)
{
    return sim_current.index;
}

sim_index sim_block_shape(void)
{
    return sim_current.launch->block;
}

sim_index sim_grid_shape(void)
{
    return sim_current.launch->grid;
}

/* Choose who runs next. */
/* The first of a set from a start on, round the end; anyone if there is a seed.
 */
static uint32_t pick(uint32_t set, uint32_t start)
{
    if (sim_rules.seed)
        start = sim_draw() % SIM_LANES;
    uint32_t turned = set >> start | set << (-start % SIM_LANES);
    return ((uint32_t)__builtin_ctz(turned) + start) % SIM_LANES;
}

/* Null: nobody is ready. In order, a warp runs until none of its lanes can. */
static sim_lane *choose(sim_warp *warp, uint32_t start)
{
    if (!warp->ready || sim_rules.seed) {
        if (!sim_current.ready_warps)
            return NULL;
        warp = &sim_warps[pick(sim_current.ready_warps, warp->number)];
        start = 0;
    }
    sim_lane *lane = &warp->lanes[pick(warp->ready, start)];
    warp->ready &= ~(1u << lane->lane);
    if (!warp->ready)
        sim_current.ready_warps &= ~(1u << warp->number);
    return lane;
}

/* In order, whoever gives way waits until all others have had their turn. */
static sim_lane *choose_after(const sim_lane *self)
{
    sim_warp *warp = self->warp;
    if (warp->ready >> self->lane >> 1)
        return choose(warp, self->lane + 1);
    uint32_t next = (warp->number + 1) % SIM_MOST_WARPS;
    return choose(&sim_warps[pick(sim_current.ready_warps, next)], 0);
}

/* Give way to the next lane. */
static void go(sim_lane *next)
{
    sim_fiber *from = sim_self ? &sim_self->fiber : &host;
    sim_self = next;
    if (next)
        sim_watch_thread(next->number);
    sim_fiber_switch(from, next ? &next->fiber : &host);
}

void sim_rest(void)
{
    sim_self->turns = 0;
    sim_lane *next = choose(sim_self->warp, 0);
    if (next != sim_self)
        go(next); /* to the host if nobody is ready: it sees why */
}

void sim_abandon(void)
{
    sim_current.over = true;
    go(NULL);
    __builtin_unreachable();
}

/* Trap. */
void sim_trap(const char *file, int line)
{
    sim_self->file = file;
    sim_self->line = line;
    sim_complain(SIM_WARP_MISUSE, sim_self, NULL, "the kernel trapped");
    sim_abandon();
}

/* Let a lane give way of its own accord. */
/* Turns that the lanes may give each other while nobody gets anywhere. */
enum { MOST_IDLE = 1 << 16, TURNS = 32 };

static void insist_on_progress(sim_lane *self, const void *return_address)
{
    if (++sim_current.idle <= MOST_IDLE)
        return;
    self->line = 0;
    self->code = return_address;
    sim_complain(SIM_DEADLOCK, self, NULL,
                 "all threads that can run spin on atomics");
    sim_abandon();
}

void sim_give_way(const void *return_address)
{
    sim_lane *self = sim_self;
    bool now = sim_rules.seed ? sim_draw() % 4 == 0 : ++self->turns >= TURNS;
    if (!now)
        return;
    insist_on_progress(self, return_address);
    uint32_t idle = sim_current.idle;
    sim_wake(self->warp, 1u << self->lane);
    sim_current.idle = idle;
    self->turns = 0;
    sim_lane *next = choose_after(self);
    if (next != self)
        go(next);
}

void sim_yield(void)
{
    sim_give_way(__builtin_return_address(0));
}

/* Begin and end a lane. */
static void live(void)
{
    sim_fiber_entered();
    const sim_launch *launch = sim_current.launch;
    launch->run(launch->arguments);
    sim_lane *self = sim_self;
    self->warp->exited |= 1u << self->lane;
    sim_current.alive--;
    sim_current.idle = 0;
    sim_warp_left(self->warp);
    sim_barrier_left();
    go(choose(self->warp, 0));
    __builtin_unreachable();
}

/* Set up a block. */
static void set_up(const sim_launch *launch, sim_index index)
{
    sim_index shape = launch->block;
    uint32_t threads = shape.x * shape.y * shape.z;
    sim_current = (sim_block){
        .launch = launch,
        .index = index,
        .warps = (int)((threads + SIM_LANES - 1) / SIM_LANES),
        .threads = threads,
        .alive = threads,
    };
    for (uint32_t i = 0; i < threads; i++) {
        sim_lane *lane = &lanes[i];
        lane->warp = &sim_warps[i / SIM_LANES];
        lane->number = i;
        lane->lane = i % SIM_LANES;
        lane->index = (sim_index){i % shape.x, i / shape.x % shape.y,
                                  i / shape.x / shape.y};
        lane->turns = lane->group = lane->copy_count = 0;
        sim_fiber_prepare(&lane->fiber, (int)i, live);
    }
    for (int w = 0; w < sim_current.warps; w++) {
        uint32_t left = threads - (uint32_t)w * SIM_LANES;
        uint32_t there = left >= SIM_LANES ? ~0u : (1u << left) - 1;
        sim_warps[w] = (sim_warp){.lanes = &lanes[w * SIM_LANES],
                                  .number = (uint32_t)w,
                                  .exited = ~there};
        sim_wake(&sim_warps[w], there);
    }
}

/* List who waits where. */
static bool waits(const sim_lane *lane)
{
    return (lane->warp->waiting | lane->warp->arrived) >> lane->lane & 1;
}

/* Lanes that wait in the same place are named together. */
static void list_waiting(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < sim_current.threads; i++) {
        const sim_lane *a = &lanes[i];
        bool new = waits(a);
        uint32_t same = 0, last = i;
        for (uint32_t j = 0; j < sim_current.threads && new; j++) {
            const sim_lane *b = &lanes[j];
            if (waits(b) && a->line == b->line &&
                strcmp(a->doing, b->doing) == 0 &&
                strcmp(a->file, b->file) == 0) {
                new = j >= i;
                same++;
                last = j;
            }
        }
        if (!new || used >= size)
            continue;
        used += (size_t)snprintf(text + used, size - used,
                                 "%s%u thread%s (%u to %u) in %s at %s:%d",
                                 used ? "; " : "", same, same > 1 ? "s" : "", i,
                                 last, a->doing, a->file, a->line);
    }
}

/* Report a deadlock. */
static void report_deadlock(void)
{
    char text[200];
    const sim_lane *first = NULL;
    for (uint32_t i = 0; i < sim_current.threads && !first; i++)
        if (waits(&lanes[i]))
            first = &lanes[i];
    list_waiting(text, sizeof text);
    sim_complain(SIM_DEADLOCK, first, NULL, "no thread can go on: %s", text);
}

/* Run a block. */
static bool run_block(const sim_launch *launch, sim_index index)
{
    uint32_t block[3] = {index.x, index.y, index.z};
    sim_shared_poison();
    set_up(launch, index);
    sim_watch_block(block, sim_shared_base(), launch->shared_bytes);
    go(choose(&sim_warps[0], 0));
    if (!sim_current.over && sim_current.alive > 0) {
        report_deadlock();
        sim_current.over = true;
    }
    return !sim_current.over;
}

/* Refuse a launch that no GPU would take. */
void sim_refuse(const sim_launch *launch, const char *why)
{
    sim_report report = {.fault = SIM_CALL};
    snprintf(report.kernel, sizeof report.kernel, "%s", launch->name);
    sim_report_add(&report, "%s refused: %s", launch->name, why);
}

static const char *objection(const sim_launch *l)
{
    sim_index g = l->grid, b = l->block;
    if (!g.x || !g.y || !g.z || !b.x || !b.y || !b.z)
        return "an extent of its shape is 0";
    if (g.x > INT32_MAX || g.y > 65535 || g.z > 65535)
        return "its grid is too large";
    if (b.x > 1024 || b.y > 1024 || b.z > 64 ||
        (uint64_t)b.x * b.y * b.z > SIM_MOST_THREADS)
        return "a block has at most 1024 threads";
    if (l->shared_bytes > SIM_MOST_SHARED)
        return "a block has at most 227 KiB of shared memory";
    if (!sim_fiber_stacks((int)(b.x * b.y * b.z)) ||
        !sim_shared_open(l->shared_bytes))
        return "no memory for its stacks";
    return NULL;
}

/* Run a grid. */
static sim_index block_of(const sim_launch *l, uint64_t i)
{
    return (sim_index){(uint32_t)(i % l->grid.x),
                       (uint32_t)(i / l->grid.x % l->grid.y),
                       (uint32_t)(i / l->grid.x / l->grid.y)};
}

bool sim_execute(const sim_launch *launch)
{
    assert(!sim_self && "a kernel cannot launch a kernel");
    sim_settings_get();
    const char *why = objection(launch);
    if (why) {
        sim_refuse(launch, why);
        return false;
    }
    uint32_t grid[3] = {launch->grid.x, launch->grid.y, launch->grid.z};
    uint32_t block[3] = {launch->block.x, launch->block.y, launch->block.z};
    uint64_t count = (uint64_t)grid[0] * grid[1] * grid[2];
    sim_order order = sim_order_begin(count);
    sim_watch_launch(launch->name, block);
    bool well = true;
    for (uint64_t i = 0; i < count && well; i++)
        well = run_block(launch, block_of(launch, sim_order_block(&order, i)));
    sim_watch_launch_end();
    return well;
}
