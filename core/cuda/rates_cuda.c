/* SPDX-License-Identifier: Apache-2.0 */
/* What a GPU reaches: a large product by cuBLASLt and a large copy, on random numbers (zeros are faster). */
#include <stdlib.h>

#include "core/cuda/linear.h"

enum { SIDE = 8192, TIMES = 7, NOISE = 1 << 20 }; /* NOISE: numbers of the host's, again and again */

typedef struct bench {
    oriel_device *d;
    void         *x, *w, *y; /* (SIDE, SIDE) bf16 */
} bench;

static oriel_status product(const bench *b)
{
    cuda_linear l = {.n = SIDE, .k = SIDE, .operand = ORIEL_BF16, .out = ORIEL_BF16, .w = b->w};
    return cuda_linear_run(b->d, &l, SIDE, b->y, b->x, NULL);
}

static oriel_status copy(const bench *b)
{
    cudaError_t e = cudaMemcpyAsync(b->y, b->x, (size_t)SIDE * SIDE * 2, cudaMemcpyDeviceToDevice, b->d->cuda->stream);
    return e ? cuda_fail(e, "%s: copy", b->d->name) : ORIEL_OK;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Seconds of one call, the median of TIMES after two to warm up. */
static oriel_status median(const bench *b, oriel_status (*call)(const bench *), double *seconds)
{
    cudaEvent_t  at[2] = {NULL, NULL};
    cudaStream_t stream = b->d->cuda->stream;
    float        ms[TIMES];
    cudaError_t  e = cudaEventCreate(&at[0]);
    oriel_status s = ORIEL_OK;
    if (!e)
        e = cudaEventCreate(&at[1]);
    for (int i = -2; i < TIMES && !e && !s; i++) {
        if ((e = cudaEventRecord(at[0], stream)) || (s = call(b)) || (e = cudaEventRecord(at[1], stream)) ||
            (e = cudaEventSynchronize(at[1])))
            break;
        e = cudaEventElapsedTime(&ms[i < 0 ? 0 : i], at[0], at[1]);
    }
    for (int i = 0; i < 2; i++)
        if (at[i])
            cudaEventDestroy(at[i]);
    if (e || s)
        return s ? s : cuda_fail(e, "%s: timing", b->d->name);
    qsort(ms, TIMES, sizeof *ms, ascending);
    *seconds = (double)ms[TIMES / 2] / 1e3;
    return ORIEL_OK;
}

static oriel_status fill(oriel_device *d, void *matrix)
{
    uint16_t    *noise = oriel_alloc((size_t)NOISE * 2);
    uint32_t     r = 1;
    oriel_status s = noise ? ORIEL_OK : ORIEL_E_NOMEM;
    for (int i = 0; noise && i < NOISE; i++) {
        r = r * 1664525u + 1013904223u;
        noise[i] = oriel_f32_to_bf16((float)(r >> 8) * 0x1p-23f - 1);
    }
    for (size_t at = 0; !s && at < (size_t)SIDE * SIDE; at += NOISE)
        s = oriel_memory_upload(d, (uint16_t *)matrix + at, noise, (size_t)NOISE * 2);
    oriel_dealloc(noise);
    return s;
}

oriel_status cuda_rates(oriel_device *d, double *flops, double *bytes)
{
    const size_t matrix = (size_t)SIDE * SIDE * 2;
    bench        b = {.d = d};
    double       seconds = 0;
    oriel_status s = oriel_memory_alloc(d, &b.x, 3 * matrix);
    if (s)
        return s;
    b.w = (char *)b.x + matrix;
    b.y = (char *)b.w + matrix;
    if ((s = fill(d, b.x)) || (s = fill(d, b.w)) || (s = median(&b, product, &seconds)))
        goto done;
    *flops = 2.0 * SIDE * SIDE * SIDE / seconds;
    if (!(s = median(&b, copy, &seconds)))
        *bytes = 2 * (double)matrix / seconds;
done:
    oriel_memory_free(d, &b.x);
    return s;
}
