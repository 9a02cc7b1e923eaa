/* The words of CUDA's device language, for a host compiler.
 *
 * Nothing here touches memory on a kernel's behalf except where CUDA would, so
 * that a compiler that reports loads and stores reports the kernel's own. Where
 * a function takes a site, its default argument is the line that called it. */
#ifndef FOLIO_SIM_SIMULATED_KERNEL_H
#define FOLIO_SIM_SIMULATED_KERNEL_H

#include "simulated_arithmetic.h"
#include "simulated_atomics.h"
#include "simulated_language.h"

#include "sim/runtime.h"
#include "sim/simt.h"

extern "C" {
#include "common/memory.h"
}

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Say which thread this is. */
namespace sim
{
SIM_INLINE uint3 unsigned3(sim_index i)
{
    return {i.x, i.y, i.z};
}

SIM_INLINE dim3 shape3(sim_index i)
{
    return {i.x, i.y, i.z};
}

/* The block's shared memory: the bytes its launch asked for. */
SIM_INLINE void *shared_base()
{
    return sim_shared_base();
}
} // namespace sim

/* Values, not variables: reading one is no load. */
#define threadIdx (sim::unsigned3(sim_thread_index()))
#define blockIdx  (sim::unsigned3(sim_block_index()))
#define blockDim  (sim::shape3(sim_block_shape()))
#define gridDim   (sim::shape3(sim_grid_shape()))
#define warpSize  32

/* Meet at barriers. */
SIM_INLINE void __syncthreads(SIM_SITE)
{
    sim_barrier(file, line);
}

SIM_INLINE int __syncthreads_count(int predicate, SIM_SITE)
{
    return sim_barrier_count(predicate, file, line);
}

SIM_INLINE void __syncwarp(uint32_t mask = 0xffffffffu, SIM_SITE)
{
    sim_warp_barrier(mask, file, line);
}

SIM_INLINE void __threadfence()
{
    sim_yield();
}

SIM_INLINE void __threadfence_block()
{
    sim_yield();
}

SIM_INLINE void __nanosleep(unsigned)
{
    sim_yield();
}

SIM_INLINE void __trap(SIM_SITE)
{
    sim_trap(file, line);
}

/* Pass values between lanes. */
template <class T>
SIM_INLINE T __shfl_sync(uint32_t mask, T value, int lane, int width = 32,
                         SIM_SITE)
{
    return sim::from_bits<T>(sim_shuffle(SIM_SHUFFLE_INDEX, mask,
                                         sim::to_bits(value), (uint32_t)lane,
                                         (uint32_t)width, file, line));
}

template <class T>
SIM_INLINE T __shfl_up_sync(uint32_t mask, T value, unsigned delta,
                            int width = 32, SIM_SITE)
{
    return sim::from_bits<T>(sim_shuffle(SIM_SHUFFLE_UP, mask,
                                         sim::to_bits(value), delta,
                                         (uint32_t)width, file, line));
}

template <class T>
SIM_INLINE T __shfl_down_sync(uint32_t mask, T value, unsigned delta,
                              int width = 32, SIM_SITE)
{
    return sim::from_bits<T>(sim_shuffle(SIM_SHUFFLE_DOWN, mask,
                                         sim::to_bits(value), delta,
                                         (uint32_t)width, file, line));
}

template <class T>
SIM_INLINE T __shfl_xor_sync(uint32_t mask, T value, int lane_mask,
                             int width = 32, SIM_SITE)
{
    return sim::from_bits<T>(
        sim_shuffle(SIM_SHUFFLE_XOR, mask, sim::to_bits(value),
                    (uint32_t)lane_mask, (uint32_t)width, file, line));
}

/* Vote. */
SIM_INLINE unsigned __ballot_sync(uint32_t mask, int predicate, SIM_SITE)
{
    return sim_ballot(mask, predicate, file, line);
}

SIM_INLINE int __any_sync(uint32_t mask, int predicate, SIM_SITE)
{
    return sim_ballot(mask, predicate, file, line) != 0;
}

SIM_INLINE int __all_sync(uint32_t mask, int predicate, SIM_SITE)
{
    return sim_ballot(mask, !predicate, file, line) == 0;
}

/* Load through the read-only path. */
template <class T> SIM_INLINE T __ldg(const T *from)
{
    return *from;
}

/* Keep a launch and its arguments. */
/* A kernel's arguments are copied when it is launched, and live as long as the
 * stream or a graph may run it. */
namespace sim
{
template <class Call> struct work {
    sim_launch launch;
    Call call;

    static SIM_UNOBSERVED void thread(void *self)
    {
        ((work *)self)->call();
    }

    static SIM_UNOBSERVED void grid(void *self)
    {
        sim_execute(&((work *)self)->launch);
    }
};

struct placed {
    void *at;
};
} // namespace sim

inline void *operator new(size_t, sim::placed place) noexcept
{
    return place.at;
}

/* Launch a kernel. */
namespace sim
{
template <class Call>
SIM_UNOBSERVED void submit(const sim_launch &launch, sim_stream *stream,
                           Call call)
{
    work<Call> now = {launch, call};
    now.launch.run = work<Call>::thread;
    now.launch.arguments = &now;
    if (!sim_stream_captures(stream)) {
        sim_stream_submit(stream, work<Call>::grid, &now, nullptr);
        return;
    }
    void *memory = fo_memory_alloc(1, sizeof(work<Call>), nullptr);
    if (!memory) {
        sim_refuse(&launch, "no memory for its arguments");
        return;
    }
    auto *w = new (placed{memory}) work<Call>(now);
    w->launch.arguments = w;
    sim_stream_submit(stream, work<Call>::grid, w, fo_memory_free);
}

template <class... P, class... A>
SIM_UNOBSERVED void launch(const char *name, void (*kernel)(P...), dim3 grid,
                           dim3 block, size_t shared_bytes, sim_stream *stream,
                           A... arguments)
{
    sim_launch l = {name,
                    {grid.x, grid.y, grid.z},
                    {block.x, block.y, block.z},
                    shared_bytes,
                    nullptr,
                    nullptr};
    submit(l, stream,
           [kernel, ... values = static_cast<P>(arguments)]()
               SIM_UNOBSERVED { kernel(values...); });
}
} // namespace sim

#endif
