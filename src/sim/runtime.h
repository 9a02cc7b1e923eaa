/* How work reaches the simulated GPU. */
#ifndef FOLIO_SIM_RUNTIME_H
#define FOLIO_SIM_RUNTIME_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sim_stream sim_stream;

/* Run work in a stream: at once, or, while the stream is captured, each time
 * the graph is launched. `destroy` (may be null) gives the argument back when
 * it is needed no more: after the run, or with the graph. Null is the default
 * stream. */
void sim_stream_submit(sim_stream *stream, void (*run)(void *argument),
                       void *argument, void (*destroy)(void *argument));

#ifdef __cplusplus
}
#endif

#endif
