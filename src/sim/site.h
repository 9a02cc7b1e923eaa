/* From an address of code to the line of source it was compiled from. */
#ifndef FOLIO_SIM_SITE_H
#define FOLIO_SIM_SITE_H

#include <stddef.h>
#include <stdint.h>

/* Where the program was loaded; 0 before the first launch, and in a program
 * that is linked at a fixed address. */
extern uintptr_t sim_code_start;
void sim_sites_open(void);

/* An address of code as a distance from there. */
static inline uint32_t sim_site_of(const void *return_address)
{
    return (uint32_t)((uintptr_t)return_address - sim_code_start - 1);
}

typedef struct sim_site {
    uint32_t site;
    int line;         /* 0: not known */
    const char *file; /* kept to the end of the program, "" if not known */
} sim_site;

/* The line of a site: of the innermost inlined function that lies in a kernel
 * file and in no wrapper. */
sim_site sim_site_find(uint32_t site);

/* Find many in one go, which costs hardly more than one. */
void sim_sites_find(const uint32_t *sites, size_t n, sim_site *found);

#endif
