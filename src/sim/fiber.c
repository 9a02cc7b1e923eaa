#include "sim/fiber.h"

#include "sim/simt.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef SIM_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

/* Reserve the stacks. */
#ifdef SIM_ADDRESS_SANITIZER
enum { STACK = 256 * 1024 }; /* its frames are larger */
#else
enum { STACK = 64 * 1024 };
#endif

static char *stacks; /* (SIM_MOST_THREADS, STACK), from low addresses up */
static int usable;   /* how many have their guard page                   */
static size_t guard; /* bytes of it, at the low end of each              */

bool sim_fiber_stacks(int count)
{
    if (!stacks) {
        void *all =
            mmap(NULL, (size_t)SIM_MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED)
            return false;
        stacks = all;
    }
    guard = (size_t)sysconf(_SC_PAGESIZE);
    for (; usable < count; usable++) {
        char *bottom = stacks + (size_t)usable * STACK;
        if (mprotect(bottom, guard, PROT_NONE) != 0)
            return false;
#ifdef VALGRIND_STACK_REGISTER
        VALGRIND_STACK_REGISTER(bottom, bottom + STACK);
#endif
    }
    return true;
}

bool sim_on_stack(const void *address)
{
    return (uintptr_t)address - (uintptr_t)stacks <
           (uintptr_t)SIM_MOST_THREADS * STACK;
}

/* Switch stacks on x86-64. */
#if defined __x86_64__
/* void swap(void **save, void *load): the registers that a call preserves. */
__asm__(".text\n"
        ".type sim_fiber_swap, @function\n"
        "sim_fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sim_fiber_swap, . - sim_fiber_swap\n");

enum { SAVED = 8, RESUME = 6 }; /* words: registers, return, a null frame */

#endif

/* Switch stacks on aarch64. */
#if defined __aarch64__
__asm__(".text\n"
        ".type sim_fiber_swap, %function\n"
        "sim_fiber_swap:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x2, sp\n"
        "    str x2, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size sim_fiber_swap, . - sim_fiber_swap\n");

enum { SAVED = 20, RESUME = 11 }; /* words: x19 to x30, d8 to d15 */

#endif

/* Lay out a stack that has not begun. */
#ifndef SIM_FIBER_PORTABLE
void sim_fiber_swap(void **save, void *load);

/* All stacks a power of two apart would share the same few lines of the cache:
 * each begins a little lower than the one before. */
static void lay_out(sim_fiber *fiber, int stack, void (*entry)(void))
{
    size_t lower = (size_t)(stack % SIM_LANES) * 192;
    char *end = (char *)fiber->bottom + fiber->bytes - lower;
    void **top = (void **)end - SAVED;
    memset(top, 0, SAVED * sizeof *top);
    memcpy(&top[RESUME], &entry, sizeof entry);
    fiber->top = top;
}

static void swap(sim_fiber *from, sim_fiber *to)
{
    sim_fiber_swap(&from->top, to->top);
}

#endif

/* Switch stacks anywhere else. */
#ifdef SIM_FIBER_PORTABLE
static void lay_out(sim_fiber *fiber, int stack, void (*entry)(void))
{
    (void)stack;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = (void *)fiber->bottom;
    fiber->context.uc_stack.ss_size = fiber->bytes;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, entry, 0);
}

static void swap(sim_fiber *from, sim_fiber *to)
{
    swapcontext(&from->context, &to->context);
}

#endif

/* Prepare a fiber. */
void sim_fiber_prepare(sim_fiber *fiber, int stack, void (*entry)(void))
{
    fiber->bottom = stacks + (size_t)stack * STACK + guard;
    fiber->bytes = STACK - guard;
    fiber->shadow = NULL;
#ifdef SIM_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(fiber->bottom, fiber->bytes);
#endif
    lay_out(fiber, stack, entry);
}

/* Switch fibers. */
#ifdef SIM_ADDRESS_SANITIZER
static sim_fiber *left; /* the fiber that was switched away from last */

static void arrive(void *shadow)
{
    __sanitizer_finish_switch_fiber(shadow, &left->bottom, &left->bytes);
}

void sim_fiber_switch(sim_fiber *from, sim_fiber *to)
{
    left = from;
    __sanitizer_start_switch_fiber(&from->shadow, to->bottom, to->bytes);
    swap(from, to);
    arrive(from->shadow);
}

void sim_fiber_entered(void)
{
    arrive(NULL);
}
#else
void sim_fiber_switch(sim_fiber *from, sim_fiber *to)
{
    swap(from, to);
}

void sim_fiber_entered(void)
{
}

#endif
