/* Who did it: the words in which the checkers report on the running kernel. */
#ifndef FOLIO_SIM_WITNESS_H
#define FOLIO_SIM_WITNESS_H

#include "sim/report.h"

/* The thread of this number, and the block to which an era of this launch
 * belongs. */
void sim_witness_thread(uint32_t number, int thread[3]);
void sim_witness_block(uint32_t era, int block[3]);

/* Report a mistake of the running thread at `site`; `other` may be null. */
__attribute__((format(printf, 4, 5))) void sim_tell(sim_fault fault,
                                                    uint32_t site,
                                                    const sim_witness *other,
                                                    const char *format, ...);

#endif
