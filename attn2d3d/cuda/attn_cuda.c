/* SPDX-License-Identifier: Apache-2.0 */
/* Attention on CUDA devices: which implementation runs. */
#include "attn2d3d/cuda/attn_cuda.h"

#include <stdlib.h>

const attn_cuda_impl *const attn_cuda_impls[] = {
    &attn_cuda_window, &attn_cuda_boxes, &attn_cuda_near, &attn_cuda_hopper,
    &attn_cuda_mma, &attn_cuda_ffma,
    &attn_cuda_plain,
    NULL,
};

oriel_status attn_cuda_choose(const attn_cuda_impl **out, const attn_job *j, const cuda_device *gpu)
{
    const char *wish = getenv("ORIEL_ATTN"), *why = NULL;
    int         i = 0;
    if (wish && *wish) {
        while (attn_cuda_impls[i] && strcmp(attn_cuda_impls[i]->name, wish) != 0)
            i++;
        if (!attn_cuda_impls[i])
            return oriel_fail(ORIEL_E_ARG, "attn: ORIEL_ATTN=%s is no implementation for CUDA of this build", wish);
    }
    for (; attn_cuda_impls[i]; i++) {
        if (!(why = attn_cuda_impls[i]->reject(j, gpu))) {
            *out = attn_cuda_impls[i];
            return ORIEL_OK;
        }
        oriel_logf(ORIEL_LOG_DEBUG, "attn: not %s: %s", attn_cuda_impls[i]->name, why);
    }
    return oriel_fail(ORIEL_E_UNSUPPORTED, "attn: not on CUDA: %s", why);
}

oriel_status attn_cuda_run(const attn_job *j, oriel_device *dev)
{
    const attn_cuda_impl *impl = NULL;
    oriel_status          s;
    if ((s = cuda_enter(dev)) || (s = attn_cuda_choose(&impl, j, dev->cuda)))
        return s;
    return impl->run(j, dev);
}

oriel_status attn_cuda_name(const char **name, const attn_job *j, oriel_device *dev)
{
    const attn_cuda_impl *impl = NULL;
    oriel_status          s;
    if ((s = cuda_enter(dev)) || (s = attn_cuda_choose(&impl, j, dev->cuda)))
        return s;
    *name = impl->name;
    return ORIEL_OK;
}

/* ---- a job's tables on the GPU ------------------------------------------------------------ */

/* Bytes on the host and where they will lie on the GPU; first counted, then filled. */
typedef struct pile {
    unsigned char *host, *gpu; /* NULL: counting */
    size_t         used;
} pile;

enum { ALIGN = 256 };

static void *pile_take(pile *p, size_t bytes, void **on_gpu) /* the host's; NULL when counting */
{
    size_t at = p->used;
    p->used += (size_t)oriel_round_up((int64_t)bytes, ALIGN);
    *on_gpu = p->host ? p->gpu + at : NULL;
    return p->host ? p->host + at : NULL;
}

/* A tensor of integers, packed. */
static void pile_table(pile *p, oriel_tensor *t)
{
    if (!t->data)
        return;
    const oriel_tensor from = *t;
    void              *on_gpu;
    int32_t           *to = pile_take(p, (size_t)oriel_tensor_count(t) * sizeof *to, &on_gpu);
    *t = oriel_tensor_of(on_gpu, from.dtype, from.ndim, from.shape);
    const int64_t n0 = from.shape[0], n1 = from.ndim > 1 ? from.shape[1] : 1, n2 = from.ndim > 2 ? from.shape[2] : 1;
    for (int64_t i = 0; to && i < n0 * n1 * n2; i++)
        to[i] = attn_int(&from, i / n2 / n1 * from.stride[0] + (from.ndim > 1 ? i / n2 % n1 * from.stride[1] : 0) +
                                    (from.ndim > 2 ? i % n2 * from.stride[2] : 0));
}

static void pile_parts(pile *p, attn_cuda_copy *c, const attn_job *j, const attn_starts *starts)
{
    attn_job       job = *j;
    oriel_attn_io  io = c->io;
    int            n = j->a.segments ? j->a.segments : 1;
    void          *on_gpu;
    attn_part     *part = pile_take(p, (size_t)n * sizeof *part, &on_gpu);
    unsigned char *gpu = on_gpu;
    c->parts = on_gpu;
    job.io = &io;
    io.segments = j->io->segments; /* on the host, for attn_part_make() */
    for (int i = 0; part && i < n; i++) {
        if (j->a.segments)
            attn_part_make(&part[i], &job, i, starts->q[i], starts->k[i]);
        else
            part[i] = (attn_part){.job = job, .io = io};
        part[i].io.segments = NULL;
        part[i].job.io = (const oriel_attn_io *)(gpu + (size_t)i * sizeof *part + offsetof(attn_part, io));
    }
    c->starts = NULL;
    if (!j->a.segments)
        return;
    int64_t *q = pile_take(p, ((size_t)n + 1) * sizeof *q, &on_gpu);
    c->starts = on_gpu;
    if (q)
        memcpy(q, starts->q, ((size_t)n + 1) * sizeof *q);
}

static void pile_job(pile *p, attn_cuda_copy *c, const attn_job *j, const attn_starts *starts, size_t more)
{
    void *on_gpu;
    c->io = *j->io;
    c->io.segments = NULL;
    if (j->io->axes) {
        size_t bytes = sizeof(oriel_axis) * 3 * (size_t)j->a.heads;
        void  *to = pile_take(p, bytes, &on_gpu);
        c->io.axes = on_gpu;
        if (to)
            memcpy(to, j->io->axes, bytes);
    }
    for (int x = 0; x < 3; x++)
        pile_table(p, &c->io.spans[x]);
    pile_table(p, &c->io.indptr);
    pile_table(p, &c->io.indices);
    pile_table(p, &c->io.k_valid);
    pile_parts(p, c, j, starts);
    c->more = p->gpu ? p->gpu + p->used : NULL;
    p->used += more;
}

oriel_status attn_cuda_copy_job(attn_cuda_copy *c, const attn_job *j, oriel_device *dev, size_t more)
{
    pile         p = {0};
    attn_starts  starts;
    void        *gpu = NULL;
    oriel_status s = attn_starts_new(&starts, j);
    if (s)
        return s;
    pile_job(&p, c, j, &starts, more);
    if ((s = cuda_scratch(dev, &gpu, p.used)))
        goto done;
    p = (pile){.host = oriel_alloc_aligned(p.used - more), .gpu = gpu};
    if (!p.host) {
        s = ORIEL_E_NOMEM;
        goto done;
    }
    pile_job(&p, c, j, &starts, 0);
    s = cuda_put(dev, gpu, p.host, p.used);
done:
    oriel_dealloc_aligned(p.host);
    attn_starts_free(&starts);
    return s;
}
