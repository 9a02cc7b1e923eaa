/* Tests that must fail, to show that a check can. */
#ifndef FOLIO_TESTS_PLANTED_H
#define FOLIO_TESTS_PLANTED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Run the tests in a silent process of their own; how many of them failed, or
 * -1 if the process itself came to grief. */
#define planted_failures(tests)                                                \
    planted_failures_of(tests, sizeof(tests) / sizeof(tests)[0])

int planted_failures_of(const struct CMUnitTest *tests, size_t count);

#endif
