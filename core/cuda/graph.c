/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs recorded as CUDA graphs: what a device's stream is given between begin() and end() becomes one thing to
 * launch. Shapes and addresses are baked in; so is the device's scratch memory, and a graph is stale once that has
 * moved. Copies from the host, and growing memory, cannot be recorded: they fail where cuda_capturing() says so.
 */
#include "core/cuda/cuda.h"

struct device_graph {
    cudaGraphExec_t exec;
    void           *scratch; /* the device's when it was recorded */
};

static oriel_status begin(oriel_device *d)
{
    cudaError_t e = cudaStreamBeginCapture(d->cuda->stream, cudaStreamCaptureModeThreadLocal);
    return e ? cuda_fail(e, "%s: a run cannot be recorded", d->name) : ORIEL_OK;
}

static oriel_status instantiate(oriel_device *d, cudaGraph_t recorded, device_graph **out)
{
    device_graph *g = oriel_alloc_zero(1, sizeof *g);
    if (!g)
        return ORIEL_E_NOMEM;
    cudaError_t e = cudaGraphInstantiate(&g->exec, recorded, 0);
    if (e) {
        oriel_dealloc(g);
        return cuda_fail(e, "%s: a recorded run cannot be made ready", d->name);
    }
    g->scratch = d->cuda->scratch;
    *out = g;
    return ORIEL_OK;
}

static oriel_status end(oriel_device *d, device_graph **graph)
{
    cudaGraph_t  recorded = NULL;
    oriel_status s = ORIEL_OK;
    cudaError_t  e = cudaStreamEndCapture(d->cuda->stream, &recorded);
    if (graph) {
        *graph = NULL;
        s = e ? cuda_fail(e, "%s: recording a run", d->name) : instantiate(d, recorded, graph);
    }
    if (recorded)
        cudaGraphDestroy(recorded);
    (void)cudaGetLastError(); /* what ended the recording too early is no error of the device */
    return s;
}

static oriel_status play(oriel_device *d, device_graph *g)
{
    cudaError_t e = cudaGraphLaunch(g->exec, d->cuda->stream);
    return e ? cuda_fail(e, "%s: a recorded run", d->name) : ORIEL_OK;
}

static bool stale(const oriel_device *d, const device_graph *g)
{
    return g->scratch != d->cuda->scratch;
}

static void free_graph(oriel_device *d, device_graph *g)
{
    if (!cuda_enter(d)) {
        cudaStreamSynchronize(d->cuda->stream); /* it may be running */
        cudaGraphExecDestroy(g->exec);
    }
    (void)cudaGetLastError();
    oriel_dealloc(g);
}

const device_graphs graphs_cuda = {.begin = begin, .end = end, .play = play, .stale = stale, .free = free_graph};
