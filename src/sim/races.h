/* Accesses without order. */
#ifndef FOLIO_SIM_RACES_H
#define FOLIO_SIM_RACES_H

#include "sim/report.h"
#include "sim/watch.h"

/* Shared or device memory, with a cell for each four bytes. */
typedef struct sim_cell sim_cell;
typedef struct sim_space {
    const char *name;
    sim_cell *cells;
    sim_cell *splits;    /* (most, 4)                          */
    uint32_t used, most; /*                                    */
    uint32_t floor;      /* marks of earlier eras mean nothing */
} sim_space;

extern sim_space sim_shared_space, sim_device_space;

/* Open the cells at the first launch; false when there is no address space for
 * them. Then: a launch begins, an era begins. */
bool sim_races_launch(void);
void sim_races_era(void);

/* Compare an access with what is known of its bytes, report what races, and
 * remember it. */
void sim_race_check(sim_space *space, size_t offset, size_t bytes,
                    enum sim_access_kind kind, uint32_t site);

/* For hooks.c: a block begins, with so many bytes of shared memory. */
void sim_hooks_block(size_t bytes);

/* Zeroed address space that takes memory only where it is written; null when
 * there is none. It is never given back. */
void *sim_reserve_lazily(size_t count, size_t size);

/* Who last wrote the byte. */
void sim_race_writer(sim_space *space, size_t offset, sim_witness *writer);

#endif
