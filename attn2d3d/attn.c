/* SPDX-License-Identifier: Apache-2.0 */
/* Attention: which implementation runs. */
#include "attn2d3d/attn.h"

#include <math.h>
#include <stdlib.h>

#include "core/device.h"
#if ORIEL_WITH_CUDA
#include "attn2d3d/cuda/attn_cuda.h"
#endif

const attn_impl *const attn_impls[] = {
#if defined(__x86_64__)
    &attn_near_bf16, &attn_win_bf16, &attn_near_avx512, &attn_bf16, &attn_win_avx512, &attn_avx512,
    &attn_near_avx2, &attn_win_avx2, &attn_avx2,
#endif
    &attn_c,
    NULL,
};

const attn_impl *attn_choose(const attn_job *j, unsigned cpu)
{
    const char *wish = getenv("ORIEL_ATTN");
    int         i = 0;
    if (wish && *wish) {
        while (attn_impls[i] && strcmp(attn_impls[i]->name, wish) != 0)
            i++;
        if (!attn_impls[i]) {
            oriel_fail(ORIEL_E_ARG, "attn: ORIEL_ATTN=%s is no implementation of this build", wish);
            return NULL;
        }
    }
    for (;; i++) {
        const char *why = attn_impls[i]->reject(j, cpu);
        if (!why)
            return attn_impls[i];
        oriel_logf(ORIEL_LOG_DEBUG, "attn: not %s: %s", attn_impls[i]->name, why);
    }
}

/* Checked at the door. */
static oriel_status enter(attn_job *j, oriel_device *dev, const oriel_attn *a, const oriel_attn_io *io)
{
    if (!dev)
        return oriel_fail(ORIEL_E_ARG, "attn: no device");
    if (!io)
        return oriel_fail(ORIEL_E_ARG, "attn: no tensors");
    return attn_prepare(j, a, io);
}

oriel_status oriel_attn_run(oriel_device *dev, const oriel_attn *a, const oriel_attn_io *io)
{
    attn_job         j;
    const attn_impl *impl;
    oriel_status     s = enter(&j, dev, a, io);
    if (s)
        return s;
#if ORIEL_WITH_CUDA
    if (dev->kind == ORIEL_CUDA)
        return attn_cuda_run(&j, dev);
#endif
    if (!(impl = attn_choose(&j, dev->cpu)))
        return ORIEL_E_ARG;
    return impl->run(&j, dev->pool);
}

static double needed(const attn_job *j)
{
    double all = 0;
    for (int h = 0; h < j->a.heads; h++) {
        double pairs = 1;
        for (int x = 0; x < 3; x++) {
            double sum = 0;
            for (int i = 0; i < j->a.extent[x]; i++)
                sum += attn_span(j, h, x, i).count;
            pairs *= sum;
        }
        all += pairs + (double)j->a.extra * (double)j->tokens +
               (double)j->a.text * (double)(j->key_tokens + j->a.extra);
    }
    return all * j->a.batch * 2 * (j->a.dim + j->a.dim_v);
}

oriel_status oriel_attn_plan_run(oriel_device *dev, const oriel_attn *a, const oriel_attn_io *io, oriel_attn_plan *plan)
{
    attn_job         j;
    const attn_impl *impl;
    oriel_status     s = plan ? enter(&j, dev, a, io) : oriel_fail(ORIEL_E_ARG, "attn: no place for the plan");
    if (s)
        return s;
    *plan = (oriel_attn_plan){.flops = j.a.lists || j.a.segments ? 0 : needed(&j)};
#if ORIEL_WITH_CUDA
    if (dev->kind == ORIEL_CUDA)
        return attn_cuda_name(&plan->kernel, &j, dev);
#endif
    if (!(impl = attn_choose(&j, dev->cpu)))
        return ORIEL_E_ARG;
    plan->kernel = impl->name;
    return ORIEL_OK;
}

void attn_load(float *dst, const oriel_tensor *t, int64_t at, int n)
{
    int64_t step = t->stride[t->ndim - 1];
    if (t->dtype == ORIEL_F32) {
        const float *p = (const float *)t->data + at;
        for (int i = 0; i < n; i++)
            dst[i] = p[i * step];
    } else {
        const uint16_t *p = (const uint16_t *)t->data + at;
        for (int i = 0; i < n; i++)
            dst[i] = t->dtype == ORIEL_F16 ? oriel_f16_to_f32(p[i * step])
                                           : oriel_bf16_to_f32(p[i * step]);
    }
}

void attn_store(const oriel_tensor *t, int64_t at, const float *src, int n)
{
    int64_t step = t->stride[t->ndim - 1];
    if (t->dtype == ORIEL_F32) {
        float *p = (float *)t->data + at;
        for (int i = 0; i < n; i++)
            p[i * step] = src[i];
    } else {
        uint16_t *p = (uint16_t *)t->data + at;
        for (int i = 0; i < n; i++)
            p[i * step] = t->dtype == ORIEL_F16 ? oriel_f32_to_f16(src[i]) : oriel_f32_to_bf16(src[i]);
    }
}

void attn_normalize(float *x, int n)
{
    enum { PARTS = 8 };
    float part[PARTS] = {0}, sum = 0;
    int   i = 0;
    for (; i + PARTS <= n; i += PARTS)
        for (int p = 0; p < PARTS; p++)
            part[p] += x[i + p] * x[i + p];
    for (; i < n; i++)
        sum += x[i] * x[i];
    for (int p = 0; p < PARTS; p++)
        sum += part[p];
    float inv = 1 / fmaxf(sqrtf(sum), 1e-12f);
    for (i = 0; i < n; i++)
        x[i] *= inv;
}
