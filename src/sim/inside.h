/* What the parts of the executor know of each other. */
#ifndef FOLIO_SIM_INSIDE_H
#define FOLIO_SIM_INSIDE_H

#include "sim/fiber.h"
#include "sim/report.h"
#include "sim/simt.h"

/* Describe a lane. */
typedef struct sim_warp sim_warp;
typedef struct sim_lane sim_lane;

/* Computes what each lane of `present` receives from a warp function. */
typedef void sim_warp_function(sim_lane *lanes, uint32_t present);

struct sim_lane {
    sim_fiber fiber;
    sim_warp *warp;
    sim_index index;             /* threadIdx                                 */
    uint32_t number;             /* of the thread in the block                */
    uint32_t lane;               /* of the thread in the warp                 */
    const char *doing;           /* the function it last waited in            */
    sim_warp_function *function; /* that it waits in                   */
    const char *file;            /* its site                                  */
    const void *code;            /* instead of a line: a return address       */
    int line;                    /*                                           */
    uint32_t mask;               /* of the warp function it waits in          */
    uint32_t argument;           /* of that function, with what it            */
    uint64_t offered;            /* gives                                     */
    uint64_t received;           /* and gets                                  */
    void *operand;               /* of functions that need more than 64 bits  */
    uint32_t turns;              /* atomics since it last gave way            */
    uint32_t group;              /* of copies: the one that is being gathered */
    uint32_t copy_count;         /*                                           */
};

/* Describe a warp. */
/* Each lane of a warp is running or in one of the four sets. Lanes that the
 * block's shape leaves out count as exited. */
struct sim_warp {
    sim_lane *lanes;  /* (SIM_LANES)                          */
    uint32_t number;  /*                                     */
    uint32_t ready;   /*                                     */
    uint32_t waiting; /* in a warp function                  */
    uint32_t arrived; /* at the block's barrier              */
    uint32_t exited;  /*                                     */
    /* The first lane that waits, if all that wait called the same function with
     * the same mask as it did; else null. */
    const sim_lane *like;
};

/* Describe a block. */
typedef struct sim_block {
    const sim_launch *launch;
    sim_index index;       /* blockIdx                                  */
    int warps;             /*                                           */
    uint32_t threads;      /*                                           */
    uint32_t alive;        /* threads that have not exited              */
    uint32_t arrived;      /* threads at the barrier                    */
    uint32_t ready_warps;  /* the warps that have a ready lane          */
    int predicates;        /* summed by the barrier in progress         */
    int predicate_sum;     /* of the last barrier                       */
    const sim_lane *first; /* that arrived at the barrier              */
    uint32_t idle;         /* turns given since anyone got anywhere     */
    bool over;             /* abandoned because of a fault              */
} sim_block;

/* Share the state of the executor. */
extern sim_lane *sim_self; /* the lane that runs; null on the host */
extern sim_block sim_current;
extern sim_warp sim_warps[SIM_MOST_WARPS];
extern sim_settings sim_rules;

/* Make lanes of a warp ready. */
static inline void sim_wake(sim_warp *warp, uint32_t lanes)
{
    warp->ready |= lanes;
    if (lanes)
        sim_current.ready_warps |= 1u << warp->number;
    sim_current.idle = 0;
}

/* A number from the schedule's seed; 0 where the seed is 0. */
uint32_t sim_draw(void);

/* The order in which a launch visits its blocks. */
typedef struct sim_order {
    uint64_t blocks, first, step;
} sim_order;

sim_order sim_order_begin(uint64_t blocks);
uint64_t sim_order_block(const sim_order *order, uint64_t i);

/* Declare the steps of the executor. */
/* Let others run; returns when the caller is ready again and its turn comes. */
void sim_rest(void);

/* Let others run before an atomic at that site, if the schedule wants it. */
void sim_give_way(const void *return_address);

/* Report a fault of a lane, and of another if not null, at their sites. */
__attribute__((format(printf, 4, 5))) void
sim_complain(sim_fault fault, const sim_lane *lane, const sim_lane *other,
             const char *format, ...);

/* Wait until all lanes of the mask that have not exited have called the same
 * function with the same mask; the last to arrive runs it. */
void sim_gather(const char *name, uint32_t mask, sim_warp_function *function,
                const char *file, int line);

/* A lane of the warp, or of the block, has exited: who waited for it goes on.
 */
void sim_warp_left(sim_warp *warp);
void sim_barrier_left(void);

/* Set up shared memory for a launch, poison it for a block. */
bool sim_shared_open(size_t bytes);
void sim_shared_poison(void);

/* Where it ends, at a guard page; whether an address lies in it. */
void *sim_shared_end(void);
bool sim_in_shared(const void *address);

#endif
