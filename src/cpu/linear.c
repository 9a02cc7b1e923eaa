#include "cpu/cpu.h"

#include <omp.h>

enum { tile_rows = 32 };

size_t cpu_linear_workspace(const fo_workload *workload)
{
    return (size_t)omp_get_max_threads() * tile_rows *
           (size_t)workload->max_columns * sizeof(float);
}
