/* SPDX-License-Identifier: Apache-2.0 */
/* A device from inside: its threads and the table of functions that do the work. */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/internal.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Work that was recorded once, to be run again without its calls. */
typedef struct device_graph device_graph;
typedef struct device_graphs {
    oriel_status (*begin)(oriel_device *d); /* what is queued from here on is recorded and does not run */
    oriel_status (*end)(oriel_device *d, device_graph **graph); /* up to here; NULL: thrown away */
    oriel_status (*play)(oriel_device *d, device_graph *g); /* queue it all */
    bool (*stale)(const oriel_device *d, const device_graph *g); /* memory that it uses has moved */
    void (*free)(oriel_device *d, device_graph *g);
} device_graphs;

/* What a kind of device can do. Arguments are checked before. */
typedef struct device_kind {
    oriel_status (*open)(oriel_device *d, const oriel_device_options *opt); /* failed: close() follows */
    void (*close)(oriel_device *d);
    oriel_status (*alloc)(oriel_device *d, void **p, size_t bytes); /* bytes > 0 */
    void (*dealloc)(oriel_device *d, void *p);
    oriel_status (*upload)(oriel_device *d, void *dst, const void *src, size_t bytes);
    oriel_status (*download)(oriel_device *d, void *dst, const void *src, size_t bytes);
    oriel_status (*sync)(oriel_device *d);
    oriel_status (*enter)(oriel_device *d); /* before work is queued, at each public door */
    oriel_status (*memory)(oriel_device *d, size_t *free, size_t *all); /* bytes */
    oriel_status (*rates)(oriel_device *d, double *flops, double *bytes);
    bool (*reaches)(oriel_device *d, const void *p); /* may its kernels touch p? true where none can tell */
    const device_graphs *graphs; /* NULL: none */
} device_kind;

extern const device_kind device_cuda; /* core/cuda; only with ORIEL_WITH_CUDA */

struct oriel_device {
    oriel_device_kind  kind;
    const device_kind *is;
    unsigned           cpu; /* ORIEL_CPU_* that this device uses */
    oriel_pool        *pool;
    const struct ops  *ops; /* core/ops.h */
    struct cuda_device *cuda; /* core/cuda/cuda.h; CPU: NULL */
    char               name[96];
};

/* ORIEL_E_UNSUPPORTED with words, where `what` runs on CPUs alone and this is another device. */
oriel_status device_must_be_cpu(const oriel_device *d, const char *what);

#ifdef __cplusplus
}
#endif
#endif
