/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of the frame cache: into and out of storage, and the rotation by position. */
#include <math.h>

#include "attn2d3d/kv.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* The first n of h as float, n rounded down to 8: how many. The bits are those of plain C. */
__attribute__((target("avx2,f16c"))) static int read_f16(float *x, const uint16_t *h, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(h + i))));
    return i;
}
#endif

static void from_f16(const oriel_kv *kv, float *x, const uint16_t *h, int n)
{
    int i = 0;
#if defined(__x86_64__)
    if (kv->dev->cpu & ORIEL_CPU_AVX2)
        i = read_f16(x, h, n);
#endif
    (void)kv;
    for (; i < n; i++)
        x[i] = oriel_f16_to_f32(h[i]);
}

/* ---- storage ------------------------------------------------------------------------------ */

/* The largest magnitude over 127, so that it is stored exactly; NaN if a value is not finite. */
static float scale_of(const float *x, int n)
{
    float top = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        top = fmaxf(top, fabsf(x[i]));
        sum += x[i] * 0; /* NaN if x is NaN or infinite */
    }
    return top / 127 + sum;
}

static void store_i8(int8_t *q, float *scale, const float *x, int n)
{
    *scale = scale_of(x, n);
    float inverse = *scale > 0 ? 1 / *scale : 0;
    if (!isfinite(inverse)) /* a scale that is subnormal */
        *scale = inverse = 0;
    for (int i = 0; i < n; i++)
        q[i] = inverse > 0 ? (int8_t)fmaxf(-127, fminf(127, rintf(x[i] * inverse))) : 0;
}

void kv_store(const oriel_kv *kv, kv_block *b, bool v, int64_t row, const float *x)
{
    const kv_layout *l = kv_layout_of(kv, b);
    int              n = v ? kv->c.dim_v : kv->c.dim;
    unsigned char   *p = b->data + (v ? l->v : 0);
    uint16_t        *h = (uint16_t *)(void *)p + row * n;
    switch (l->dtype) {
    case ORIEL_F32:
        memcpy((float *)(void *)p + row * n, x, (size_t)n * sizeof *x);
        break;
    case ORIEL_BF16:
        for (int i = 0; i < n; i++)
            h[i] = oriel_f32_to_bf16(x[i]);
        break;
    case ORIEL_F16:
        for (int i = 0; i < n; i++)
            h[i] = oriel_f32_to_f16(x[i]);
        break;
    default:
        store_i8((int8_t *)p + row * n,
                 (float *)(void *)(b->data + (v ? l->v_scale : l->k_scale)) + row, x, n);
    }
}

void kv_load(const oriel_kv *kv, const kv_block *b, bool v, int64_t row, float *x)
{
    const kv_layout     *l = kv_layout_of(kv, b);
    int                  n = v ? kv->c.dim_v : kv->c.dim;
    const unsigned char *p = b->data + (v ? l->v : 0);
    const uint16_t      *h = (const uint16_t *)(const void *)p + row * n;
    switch (l->dtype) {
    case ORIEL_F32:
        memcpy(x, (const float *)(const void *)p + row * n, (size_t)n * sizeof *x);
        break;
    case ORIEL_BF16:
        for (int i = 0; i < n; i++)
            x[i] = oriel_bf16_to_f32(h[i]);
        break;
    case ORIEL_F16:
        from_f16(kv, x, h, n);
        break;
    default: {
        const int8_t *q = (const int8_t *)p + row * n;
        float s = ((const float *)(const void *)(b->data + (v ? l->v_scale : l->k_scale)))[row];
        for (int i = 0; i < n; i++)
            x[i] = (float)q[i] * s;
    }
    }
}

void kv_read(float *x, const oriel_tensor *t, int64_t offset, int n)
{
    if (t->dtype == ORIEL_F32) {
        memcpy(x, (const float *)t->data + offset, (size_t)n * sizeof *x);
        return;
    }
    const uint16_t *h = (const uint16_t *)t->data + offset;
    for (int i = 0; i < n; i++)
        x[i] = t->dtype == ORIEL_BF16 ? oriel_bf16_to_f32(h[i]) : oriel_f16_to_f32(h[i]);
}

/* ---- position ----------------------------------------------------------------------------- */

void kv_angles(float *out, double t, int n, double theta)
{
    for (int j = 0; j < n; j++) {
        double angle = t / pow(theta, (double)j / n);
        out[2 * j] = (float)cos(angle);
        out[2 * j + 1] = (float)sin(angle);
    }
}

void kv_turn3(const oriel_kv *kv, float *x, const float *time, int token)
{
    int        y = token / kv->c.columns, c = token % kv->c.columns;
    const int *n = kv->pairs;
    kv_turn(x, time, n[0]);
    kv_turn(x + 2 * n[0], kv->rope_y + (size_t)y * 2 * (size_t)n[1], n[1]);
    kv_turn(x + 2 * (n[0] + n[1]), kv->rope_x + (size_t)c * 2 * (size_t)n[2], n[2]);
}
