/* Kernels on the executor alone, without a runtime and its streams. */
#ifndef FOLIO_TESTS_SIMT_RUN_CUH
#define FOLIO_TESTS_SIMT_RUN_CUH

#include <simulated_instructions.h>

#define ALL 0xffffffffu

/* Run a kernel on the executor alone. */
/* Without streams: what a launch would put in one is executed here and now. */
template <class Call>
SIM_UNOBSERVED static bool run(const char *name, dim3 grid, dim3 block,
                               size_t shared_bytes, Call call)
{
    auto thread = [](void *self) SIM_UNOBSERVED { (*(Call *)self)(); };
    sim_launch launch = {name,
                         {grid.x, grid.y, grid.z},
                         {block.x, block.y, block.z},
                         shared_bytes,
                         thread,
                         &call};
    return sim_execute(&launch);
}

#define RUN(grid, block, shared_bytes, kernel, ...)                            \
    run(#kernel, grid, block, shared_bytes,                                    \
        [=]() SIM_UNOBSERVED { kernel(__VA_ARGS__); })

template <class T> static T &shared()
{
    return *(T *)sim::shared_base();
}

#endif
