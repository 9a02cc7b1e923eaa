/* Fibers: stacks that the program switches between by itself. */
#ifndef FOLIO_SIM_FIBER_H
#define FOLIO_SIM_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#if !defined __x86_64__ && !defined __aarch64__
#define SIM_FIBER_PORTABLE
#endif
#ifdef SIM_FIBER_PORTABLE
#include <ucontext.h>
#endif

/* Recognise the sanitizer. */
#if defined __SANITIZE_ADDRESS__
#define SIM_ADDRESS_SANITIZER
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SIM_ADDRESS_SANITIZER
#endif
#endif

/* Name the parts of a fiber. */
/* A fiber is where it stopped and the stack it stopped on. The host's own stack
 * is one, too, with `bottom` filled when it is first left. */
typedef struct sim_fiber {
#ifdef SIM_FIBER_PORTABLE
    ucontext_t context;
#else
    void *top; /* of the stack, where its registers lie */
#endif
    const void *bottom;
    size_t bytes;
    void *shadow; /* AddressSanitizer's, while it does not run */
} sim_fiber;

/* Declare what fibers do. */
/* Have `count` stacks ready; false when the system has no memory. They are kept
 * for the next time. */
bool sim_fiber_stacks(int count);

/* Let the fiber begin with `entry`, on stack number `stack`, when it is next
 * switched to. `entry` never returns. What was on the stack is forgotten. */
void sim_fiber_prepare(sim_fiber *fiber, int stack, void (*entry)(void));

/* Stop `from`, which runs, and go on with `to`. */
void sim_fiber_switch(sim_fiber *from, sim_fiber *to);

/* The first thing that an entry calls. */
void sim_fiber_entered(void);

#endif
