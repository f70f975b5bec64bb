/* SPDX-License-Identifier: Apache-2.0 */
/* What GPUs alone have of the operations: convolutions over frames, by cuDNN. */
#include "checkops.h"

#if ORIEL_WITH_CUDA

#include "core/cuda/conv.h"

typedef struct frames { /* (N, D, H, W, C) */
    int64_t size[4];
    int     c;
    float  *v;
} frames;

static size_t count_of(const frames *f)
{
    return (size_t)(f->size[0] * f->size[1] * f->size[2] * f->size[3] * f->c);
}

typedef struct filter {
    cuda_conv_shape s;
    float          *w, *bias; /* (n, k, kernel), (n) */
} filter;

static void filter_new(problem *q, filter *f, frames *x)
{
    cuda_conv_shape *s = &f->s;
    *s = (cuda_conv_shape){.n = draw(q, 1, 40), .k = draw(q, 1, 40), .operand = q->operand};
    x->c = s->k;
    x->size[0] = draw(q, 1, 2);
    for (int i = 0; i < 3; i++) {
        bool flat = i == 0 && draw(q, 0, 2) == 0; /* pictures, too */
        s->kernel[i] = flat ? 1 : draw(q, 1, 3);
        s->stride[i] = flat ? 1 : draw(q, 1, 2);
        s->before[i] = flat ? 0 : draw(q, 0, s->kernel[i] - 1);
        s->after[i] = draw(q, 0, 1) ? s->before[i] : flat ? 0 : draw(q, 0, s->kernel[i] - 1); /* causal: none */
        x->size[i + 1] = flat ? 1 : draw(q, s->kernel[i], i ? 14 : 5);
    }
    size_t weights = (size_t)(s->n * s->k * s->kernel[0] * s->kernel[1] * s->kernel[2]);
    f->w = zone_new(weights), f->bias = zone_new((size_t)s->n);
    for (size_t i = 0; i < weights; i++)
        f->w[i] = draw_sample(q);
    for (int i = 0; i < s->n; i++)
        f->bias[i] = draw_sample(q);
    x->v = zone_new(count_of(x));
    for (size_t i = 0; i < count_of(x); i++)
        x->v[i] = draw_sample(q);
    snprintf(q->what, sizeof q->what, "%dx%dx%dx%d k %d n %d kernel %dx%dx%d stride %d,%d,%d before %d,%d,%d after %d,%d,%d",
             (int)x->size[0], (int)x->size[1], (int)x->size[2], (int)x->size[3], s->k, s->n, s->kernel[0], s->kernel[1],
             s->kernel[2], s->stride[0], s->stride[1], s->stride[2], s->before[0], s->before[1], s->before[2], s->after[0],
             s->after[1], s->after[2]);
}

/* All outputs of one place. */
static void filter_place(problem *q, const filter *f, const frames *x, const frames *y, const int64_t at[4], bool rounds)
{
    const cuda_conv_shape *s = &f->s;
    const int             *e = s->kernel;
    size_t                 place = (size_t)(((at[0] * y->size[1] + at[1]) * y->size[2] + at[2]) * y->size[3] + at[3]);
    for (int n = 0; n < s->n; n++) {
        double sum = 0, size = 0;
        for (int t = 0; t < e[0] * e[1] * e[2]; t++) {
            int64_t p[3] = {t / (e[1] * e[2]), t / e[2] % e[1], t % e[2]};
            bool    inside = true;
            for (int i = 0; i < 3; i++) {
                p[i] += at[i + 1] * s->stride[i] - s->before[i];
                inside &= p[i] >= 0 && p[i] < x->size[i + 1];
            }
            const float *from = x->v + (((at[0] * x->size[1] + p[0]) * x->size[2] + p[1]) * x->size[3] + p[2]) * x->c;
            for (int k = 0; inside && k < s->k; k++) {
                double w = (double)rounded(q, f->w[(n * s->k + k) * e[0] * e[1] * e[2] + t]);
                double term = w * (double)rounded(q, from[k]);
                sum += term;
                size += fabs(term);
            }
        }
        double bound = EPS * (2 * sqrt(s->k * e[0] * e[1] * e[2]) + 2) * size + 3 * EPS * (fabs(sum) + 1);
        if (rounds) /* to the operands' type, before the bias */
            bound += (q->operand == ORIEL_BF16 ? 0x1p-8 : 0x1p-11) * fabs(sum) + 0x1p-25;
        expect(q, (double)y->v[place * (size_t)y->c + (size_t)n], sum + (double)f->bias[n], bound, "place, output",
               (int)place, n);
    }
}

/* False if this machine has not what it takes. */
static bool filter_run(problem *q, filter *f, frames *x, frames *y, bool *rounds)
{
    cuda_conv *c;
    size_t     bytes;
    void      *scratch = NULL;
    if (cuda_conv_pack(q->gpu, &c, &f->s, f->w, f->bias)) {
        if (strstr(oriel_error(), "libcudnn.so.9") || strstr(oriel_error(), "built without"))
            return false;
        fault(q, "%s", oriel_error());
        return true;
    }
    y->c = f->s.n;
    if (cuda_conv_plan(q->gpu, c, x->size, y->size, &bytes) || oriel_memory_alloc(q->gpu, &scratch, bytes)) {
        fault(q, "%s", oriel_error());
        goto done;
    }
    y->v = zone_new(count_of(y));
    float *from = there_new(q, x->v, count_of(x)), *to = there_new(q, y->v, count_of(y)), *first = zone_new(count_of(y));
    for (int i = 0; i < 2; i++) {
        if (cuda_conv_run(q->gpu, c, to, from, scratch))
            fault(q, "%s", oriel_error());
        there_back(q, to, y->v, count_of(y));
        if (i && memcmp(first, y->v, count_of(y) * sizeof *first))
            fault(q, "other bits the second time");
        memcpy(first, y->v, count_of(y) * sizeof *first);
    }
    if (!zone_whole(y->v, count_of(y)))
        fault(q, "wrote beside its output");
    *rounds = cuda_conv_rounds(c);
    there_free(q, from);
    there_free(q, to);
    zone_free(first);
done:
    oriel_memory_free(q->gpu, &scratch);
    cuda_conv_free(q->gpu, &c);
    return true;
}

static void check_frames(problem *q)
{
    filter f;
    frames x = {0}, y = {0};
    bool   rounds = false;
    filter_new(q, &f, &x);
    if (!filter_run(q, &f, &x, &y, &rounds))
        q->skipped = true;
    else if (y.v && !q->faults)
        for (int64_t i = 0; i < (int64_t)(count_of(&y) / (size_t)y.c); i++) {
            const int64_t at[4] = {i / (y.size[1] * y.size[2] * y.size[3]), i / (y.size[2] * y.size[3]) % y.size[1],
                                   i / y.size[3] % y.size[2], i % y.size[3]};
            filter_place(q, &f, &x, &y, at, rounds);
        }
    zone_free(f.w);
    zone_free(f.bias);
    zone_free(x.v);
    if (y.v)
        zone_free(y.v);
}

const checkop checkops_cuda[] = {
    {"frames", 30, FLOATS | HALVES | DEVICE, check_frames, NULL},
    {0},
};

#else

const checkop checkops_cuda[] = {{0}};

#endif
