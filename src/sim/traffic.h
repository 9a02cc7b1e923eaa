/* A model of the traffic of kernels: sectors of device memory, wavefronts of
 * shared memory. It ranks by traffic and predicts no time.
 *
 * It counts while sim_settings.traffic is set. */
#ifndef FOLIO_SIM_TRAFFIC_H
#define FOLIO_SIM_TRAFFIC_H

#include "sim/watch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Say what a line of the traffic table holds. */
/* One request: what the lanes of a warp asked for together. */
typedef struct sim_traffic_sample {
    uint32_t lanes; /* a bit for each that took part              */
    uint32_t bytes; /* of each lane                               */
    uint64_t moved, needed;
    uint64_t address[32]; /* offsets in shared or device memory   */
} sim_traffic_sample;

/* All requests of one line of source: to device memory in bytes, to shared
 * memory in wavefronts. */
typedef struct sim_traffic_line {
    int kernel; /* its number                    */
    bool shared;
    enum sim_access_kind kind;
    uint32_t site;
    uint64_t requests;
    uint64_t needed;           /* distinct bytes, or the fewest wavefronts */
    uint64_t moved;            /* 32 a sector, or wavefronts               */
    sim_traffic_sample sample; /* the worst request */
} sim_traffic_line;

typedef struct sim_traffic_kernel {
    char name[64];
    uint64_t launches, blocks;
    uint64_t unique[2]; /* bytes of the sectors read, and written, by launch */
} sim_traffic_kernel;

/* Forget all that was counted. */
void sim_traffic_clear(void);

int sim_traffic_kernel_count(void);
const sim_traffic_kernel *sim_traffic_kernel_get(int i);
int sim_traffic_line_count(void);
const sim_traffic_line *sim_traffic_line_get(int i);

/* Declare what the hooks tell the traffic model. */
/* For watch.c and hooks.c: a launch begins (false: no address space), a block
 * begins, the launch ends; the running thread accesses memory. */
bool sim_traffic_launch(const char *name);
void sim_traffic_block(void);
void sim_traffic_launch_end(void);
void sim_traffic_note(bool shared, uint64_t offset, size_t bytes,
                      enum sim_access_kind kind, uint32_t site);

#ifdef __cplusplus
}
#endif

#endif
