/* Streams, and the graphs that record what is submitted to them. */
#ifndef FOLIO_SIM_GRAPH_H
#define FOLIO_SIM_GRAPH_H

#include "sim/runtime.h"

/* A stream is captured while `capture` holds the graph that grows. */
struct sim_stream {
    sim_graph *capture;
    bool spoiled; /* a call that cannot be captured was made meanwhile */
};

/* Let a capture end without a graph: `spoil` leaves that to EndCapture. */
void sim_capture_drop(sim_stream *stream);
void sim_capture_spoil(sim_stream *stream);

#endif
