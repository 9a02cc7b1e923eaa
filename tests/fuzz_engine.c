#include "cpu/cpu.h"
#include "engine_trace.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Let bytes be a trace. */
enum { MOST_OPS = 400 };

/* A libFuzzer target: four bytes of setup, then four for each operation. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static trace_world *world;
    static trace_op ops[MOST_OPS];
    char trouble[256], text[8192];
    trace t = {.ops = ops};
    omp_set_num_threads(1);
    if (!world)
        world = trace_world_open(&fo_backend_cpu);
    if (!world || size < TRACE_SETUP)
        return 0;
    memcpy(t.setup, data, TRACE_SETUP);
    for (size_t i = TRACE_SETUP; i + 4 <= size && t.count < MOST_OPS; i += 4)
        ops[t.count++] = trace_op_of(data + i);
    if (trace_run(world, &t, trouble, NULL))
        return 0;
    trace_shrink(world, &t, 20000);
    trace_print(&t, text, sizeof text);
    fprintf(stderr, "%s\nFOLIO_TRACE=\"%s\"\n", trouble, text);
    abort();
}
