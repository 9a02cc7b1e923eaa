/* The verso that a test runs on, and the watch that the simulator keeps. */
#ifndef FOLIO_TESTS_VERSO_H
#define FOLIO_TESTS_VERSO_H

#include "common/backend.h"

#include <stdbool.h>
#include <stdint.h>

/* FOLIO_DEVICE=sim (the default) or cuda, where it was built in; null where the
 * build has neither. Any other name ends the program. */
const fo_backend *verso_backend(void);

/* Whether kernels run in the simulator. */
bool verso_is_simulated(void);

/* Open a device of that backend; fails the cmocka test if it cannot. */
fo_device *verso_open(void);

/* Choose the order in which the simulator runs threads: 0 is the lowest first,
 * each other seed an order of its own. A GPU has its own mind. */
void verso_schedule(uint64_t seed);

/* Fail the cmocka test if the simulator has anything to report. */
void verso_assert_clean(void);

#endif
