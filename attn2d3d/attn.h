/* SPDX-License-Identifier: Apache-2.0 */
/* Attention from inside: a checked problem, and the implementations that may run it. */
#ifndef ATTN2D3D_ATTN_H
#define ATTN2D3D_ATTN_H

#include "attn2d3d/window.h"
#include "core/internal.h"

enum { ATTN_DIM_MAX = 256 };

typedef struct attn_job {
    oriel_attn           a; /* as given, but no field is zero that means something else */
    const oriel_attn_io *io;
    int64_t              tokens; /* T Y X */
} attn_job;

/* One way to run problems. */
typedef struct attn_impl {
    const char *name;
    /* NULL: it takes the problem on a CPU with these flags; else why not */
    const char *(*reject)(const attn_job *j, unsigned cpu);
    oriel_status (*run)(const attn_job *j, oriel_pool *pool);
} attn_impl;

extern const attn_impl attn_c;
#if defined(__x86_64__)
extern const attn_impl attn_avx2, attn_avx512;
#endif
extern const attn_impl *const attn_impls[]; /* fastest first; attn_c takes all; then NULL */

/* The problem with its defaults filled in, or ORIEL_E_ARG (attn_check.c). */
oriel_status attn_prepare(attn_job *j, const oriel_attn *a, const oriel_attn_io *io);
/* The one that oriel_attn_run() would use; NULL and a message if ORIEL_ATTN names none. */
const attn_impl *attn_choose(const attn_job *j, unsigned cpu);

static inline oriel_axis attn_axis(const attn_job *j, int head, int axis)
{
    return j->io->axes ? j->io->axes[head * 3 + axis] : j->a.axis[axis];
}

/* Offset in elements of (b, t, y, x, h) of a raster tensor; of (b, i, h) of a list. */
static inline int64_t attn_at(const oriel_tensor *t, int b, const int at[3], int h)
{
    return b * t->stride[0] + at[0] * t->stride[1] + at[1] * t->stride[2] + at[2] * t->stride[3] +
           h * t->stride[4];
}
static inline int64_t attn_list_at(const oriel_tensor *t, int b, int i, int h)
{
    return b * t->stride[0] + i * t->stride[1] + h * t->stride[2];
}

/* n values of the innermost axis from offset `at` on, as float, and back (attn.c). */
void attn_load(float *dst, const oriel_tensor *t, int64_t at, int n);
void attn_store(const oriel_tensor *t, int64_t at, const float *src, int n);

#endif
