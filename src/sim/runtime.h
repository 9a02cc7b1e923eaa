/* How work reaches the simulated GPU, and what its runtime shares. */
#ifndef FOLIO_SIM_RUNTIME_H
#define FOLIO_SIM_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sim_stream sim_stream;
typedef struct sim_graph sim_graph;

/* Submit work to a stream. */
/* Run work in a stream: at once, or, while the stream is captured, each time
 * the graph is launched. `destroy` (may be null) gives the argument back when
 * it is needed no more: after the run, or with the graph. Null is the default
 * stream. */
void sim_stream_submit(sim_stream *stream, void (*run)(void *argument),
                       void *argument, void (*destroy)(void *argument));

/* Whether submitted work is kept: its argument must then outlive the call. */
bool sim_stream_captures(const sim_stream *stream);

/* The same for an argument that is copied: at once from where it lies, or from
 * a copy kept with the graph. False if there is no memory for the copy. */
bool sim_stream_copy_submit(sim_stream *stream, void (*run)(void *argument),
                            void *argument, size_t bytes);

/* Limit the device's memory. */
/* Bytes of physical memory: set here, or FOLIO_SIM_MEMORY (suffix K, M or G),
 * or 4 GiB. Zero goes back to the environment's choice. */
void sim_memory_limit(uint64_t bytes);
uint64_t sim_memory_total(void);
uint64_t sim_memory_taken(void);

/* Take physical bytes; false if fewer are left. Give them back. */
bool sim_memory_take(uint64_t bytes);
void sim_memory_give(uint64_t bytes);

/* Make the n-th call from now of the runtime, the driver or the BLAS fail once,
 * with its own unknown error; 0 disarms. The name of the call that failed last
 * is kept, null if none has since. */
void sim_fail_at(uint64_t n);
const char *sim_failed_call(void);

/* Whether the call of this name is the one to fail. */
bool sim_fails(const char *call);

#ifdef __cplusplus
}
#endif

#endif
