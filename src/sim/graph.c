#include "sim/graph.h"

#include "common/memory.h"
#include "sim/include/cuda_runtime.h"

#include <string.h>

/* Hold recorded work. */
typedef struct work {
    void (*run)(void *argument);
    void *argument;
    void (*destroy)(void *argument);
} work;

/* One list serves a graph and all that were instantiated from it: it is given
 * back with the last of them. */
struct sim_graph {
    int holders;
    size_t count, room;
    work *list; /* (room), count of them recorded */
};

static sim_graph *graph_of(cudaGraphExec_t exec)
{
    return (sim_graph *)(void *)exec;
}

/* Grow, run and release a graph. */
static bool append(sim_graph *graph, work w)
{
    if (graph->count == graph->room) {
        size_t room = graph->room ? 2 * graph->room : 64;
        work *list = fo_memory_resize(graph->list, room, sizeof *list, NULL);
        if (!list)
            return false;
        graph->list = list;
        graph->room = room;
    }
    graph->list[graph->count++] = w;
    return true;
}

static void release(sim_graph *graph)
{
    if (--graph->holders > 0)
        return;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->list[i].destroy)
            graph->list[i].destroy(graph->list[i].argument);
    fo_memory_free(graph->list);
    fo_memory_free(graph);
}

/* Submit work or record it. */
bool sim_stream_captures(const sim_stream *stream)
{
    return stream && stream->capture;
}

void sim_stream_submit(sim_stream *stream, void (*run)(void *argument),
                       void *argument, void (*destroy)(void *argument))
{
    if (sim_stream_captures(stream)) {
        if (append(stream->capture, (work){run, argument, destroy}))
            return;
        stream->spoiled = true;
    } else {
        run(argument);
    }
    if (destroy)
        destroy(argument);
}

bool sim_stream_copy_submit(sim_stream *stream, void (*run)(void *argument),
                            void *argument, size_t bytes)
{
    if (!sim_stream_captures(stream)) {
        run(argument);
        return true;
    }
    void *copy = fo_memory_alloc(1, bytes, NULL);
    if (!copy) {
        stream->spoiled = true;
        return false;
    }
    memcpy(copy, argument, bytes);
    sim_stream_submit(stream, run, copy, fo_memory_free);
    return true;
}

/* Begin and end a capture. */
void sim_capture_drop(sim_stream *stream)
{
    if (stream->capture)
        release(stream->capture);
    stream->capture = NULL;
    stream->spoiled = false;
}

void sim_capture_spoil(sim_stream *stream)
{
    stream->spoiled = true;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream,
                                   enum cudaStreamCaptureMode mode)
{
    (void)mode;
    if (sim_fails(__func__))
        return cudaErrorStreamCaptureInvalidated;
    if (!stream || stream->capture)
        return cudaErrorIllegalState;
    stream->capture = fo_memory_alloc(1, sizeof *stream->capture, NULL);
    if (!stream->capture)
        return cudaErrorMemoryAllocation;
    stream->capture->holders = 1;
    return cudaSuccess;
}

/* End a capture. */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    if (!stream || !stream->capture)
        return cudaErrorIllegalState;
    if (sim_fails(__func__) || stream->spoiled) {
        sim_capture_drop(stream);
        return cudaErrorStreamCaptureInvalidated;
    }
    *graph = stream->capture;
    stream->capture = NULL;
    return cudaSuccess;
}

/* Instantiate, launch and destroy graphs. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags)
{
    (void)flags;
    *exec = NULL;
    if (sim_fails(__func__))
        return cudaErrorMemoryAllocation;
    graph->holders++;
    *exec = (cudaGraphExec_t)(void *)graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (sim_fails(__func__))
        return cudaErrorInvalidValue;
    if (sim_stream_captures(stream)) {
        sim_capture_spoil(stream);
        return cudaErrorStreamCaptureUnsupported;
    }
    const sim_graph *graph = graph_of(exec);
    for (size_t i = 0; i < graph->count; i++)
        graph->list[i].run(graph->list[i].argument);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    release(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    release(graph_of(exec));
    return cudaSuccess;
}
