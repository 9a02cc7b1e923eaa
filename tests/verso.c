#include "verso.h"
#include "cuda/cuda.h"

#ifndef FO_NO_SIM
#include "sim/report.h"
#include "sim/simt.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const fo_backend *verso_backend(void)
{
    const char *name = getenv("FOLIO_DEVICE");
    if (!name || !*name || strcmp(name, "sim") == 0) {
#ifndef FO_NO_SIM
        return &fo_backend_sim;
#else
        return NULL;
#endif
    }
#ifdef FO_HAVE_CUDA
    if (strcmp(name, "cuda") == 0)
        return &fo_backend_cuda;
#endif
    fprintf(stderr, "FOLIO_DEVICE=%s: this build has no such device\n", name);
    exit(2);
}

bool verso_is_simulated(void)
{
    const fo_backend *backend = verso_backend();
    return backend && strcmp(backend->name, "sim") == 0;
}

fo_device *verso_open(void)
{
    fo_error error = {0};
    fo_device *device;
    if (verso_backend()->open(NULL, &device, &error) != FO_OK)
        fail_msg("no device: %s", error.message);
    return device;
}

void verso_schedule(uint64_t seed)
{
#ifndef FO_NO_SIM
    sim_settings settings = sim_settings_get();
    settings.seed = seed;
    sim_settings_set(settings);
#else
    (void)seed;
#endif
}

void verso_assert_clean(void)
{
#ifndef FO_NO_SIM
    if (!verso_is_simulated())
        return;
    int count = sim_report_count();
    const char *first = count > 0 ? sim_report_get(0)->text : "";
    sim_reports_clear();
    if (count > 0)
        fail_msg("the simulator has %d reports; the first: %s", count, first);
#endif
}
