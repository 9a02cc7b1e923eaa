/* When two arrays of numbers count as equal.
 *
 * got is equal to want where |got - want| <= absolute + relative |want|. An
 * array passes when every value is finite and equal, and when the comparison
 * could have failed: there is something to compare, and an array of zeros would
 * not have passed in place of a reference that is not zero. */
#ifndef FOLIO_COMMON_COMPARE_H
#define FOLIO_COMMON_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fo_tolerance {
    double absolute;
    double relative;
} fo_tolerance;

/* A comparison in progress: begin, add each pair, then ask for the verdict. */
typedef struct fo_comparison {
    fo_tolerance tolerance;
    size_t count;   /* pairs added                                         */
    size_t wrong;   /* of those, not equal                                 */
    bool got_zero;  /* every got was 0                                     */
    bool want_zero; /* every want was 0                                    */
    bool blind;     /* zeros would pass for every want                     */
    size_t worst;   /* index of the pair furthest beyond its allowance     */
    double worst_got, worst_want;
    double worst_excess; /* |got - want| / allowance there                 */
    double worst_error;  /* largest |got - want|; INFINITY if not finite   */
} fo_comparison;

fo_comparison fo_comparison_begin(fo_tolerance tolerance);
void fo_comparison_add(fo_comparison *c, double got, double want);

/* True if equal. `report` (may be null) receives one line either way. */
bool fo_comparison_verdict(const fo_comparison *c, const char *label,
                           char *report, size_t report_size);

#endif
