#include "sim/inside.h"
#include "sim/watch.h"

#include <string.h>

enum { COPY = 16, MOST_COPIES = 128 };

/* Describe a copy that is under way. */
typedef struct copy {
    void *to;
    const void *from; /* null: zeros                                */
    const void *site; /* return address of its issue                */
    uint32_t group;   /* counts the commits of its lane             */
    bool done;        /* early; nobody may rely on it               */
} copy;

static copy copies[SIM_MOST_THREADS][MOST_COPIES]; /* first issued first */

/* Carry out a copy. */
static void perform(copy *c)
{
    if (c->from)
        memcpy(c->to, c->from, COPY);
    else
        memset(c->to, 0, COPY);
    c->done = true;
}

/* Insist that a copy is well formed. */
static void insist_on_room(const sim_lane *self, const void *shared,
                           const void *global)
{
    const char *why = NULL;
    if (!sim_in_shared(shared) || (uintptr_t)shared % COPY != 0)
        why = "its destination is no 16 aligned bytes of shared memory";
    else if ((uintptr_t)global % COPY != 0)
        why = "its source is not aligned to 16 bytes";
    else if (self->copy_count == MOST_COPIES)
        why = "too many copies that nobody waits for";
    if (!why)
        return;
    sim_complain(SIM_MISALIGNED, self, NULL, "cp.async: %s", why);
    sim_abandon();
}

/* Issue a copy. */
void sim_copy_async(void *shared, const void *global, bool wanted,
                    const char *file, int line)
{
    sim_lane *self = sim_self;
    const void *site = __builtin_return_address(0);
    const void *from = wanted ? global : NULL;
    self->doing = "cp.async";
    self->file = file;
    self->line = line;
    insist_on_room(self, shared, global);
    sim_watch_copy(shared, from, COPY, site);
    copy *c = &copies[self->number][self->copy_count++];
    *c = (copy){shared, from, site, self->group, false};
    if (sim_rules.seed && sim_draw() % 2)
        perform(c);
}

/* Wait for all but the last groups. */
void sim_copy_commit(void)
{
    sim_self->group++;
}

void sim_copy_wait(uint32_t groups)
{
    sim_lane *self = sim_self;
    copy *mine = copies[self->number];
    uint32_t landed = 0;
    while (landed < self->copy_count &&
           mine[landed].group + groups < self->group) {
        copy *c = &mine[landed++];
        if (!c->done)
            perform(c);
        sim_watch_copy_landed(c->to, c->from, COPY, c->site);
    }
    self->copy_count -= landed;
    memmove(mine, mine + landed, self->copy_count * sizeof *mine);
}
