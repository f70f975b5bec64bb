/* SPDX-License-Identifier: Apache-2.0 */
/* The fused window block on the host: which kernel takes it, its weights on the GPU, its launch. */
#include "attn2d3d/cuda/block_fused.h"
#include "attn2d3d/cuda/block_cuda.h"

enum { STAGES_LEAST = 6 };

typedef struct weights {
    const fused_kernel *is;
    fused_shape         shape;
    float               eps;
    bool                bf16;
    int                 stages;
    void               *data; /* fused_bytes(), on the GPU */
} weights;

/* Complete a shape for a kernel; stages of its ring. False: it is too small for it, or shared memory is. */
static bool takes(const fused_kernel *k, fused_shape *s, int *stages, int shared)
{
    s->cs = k->cs, s->ks = k->ks, s->ds = k->ds, s->pitch = k->pitch, s->boxes = k->boxes;
    if (s->c > 16 * k->cs || s->c + FUSED_ONES > 16 * k->ks || s->dim > 16 * k->ds)
        return false;
    *stages = 0;
    if (!k->pitch)
        return k->bytes(fused_units(s)) <= shared;
    *stages = (int)oriel_min(FUSED_STAGES, fused_chunks(s));
    while (*stages >= STAGES_LEAST && k->bytes(*stages * k->pitch) > shared)
        --*stages;
    return *stages >= STAGES_LEAST;
}

static const char *choose(weights *w, const attn_block_data *d, oriel_dtype operand, const cuda_device *gpu)
{
    if (operand != ORIEL_F16 && operand != ORIEL_BF16)
        return "operands are not f16 or bf16";
    if (d->window * d->window > FUSED_TOKENS)
        return "a window has more than 64 tokens";
    if (d->c % 4)
        return "C is no multiple of 4";
    w->shape = (fused_shape){.c = d->c, .heads = d->heads, .dim = d->c / d->heads, .window = d->window, .hidden = d->hidden,
                             .slices = (int)oriel_ceil_div(d->hidden, FUSED_SLICE)};
    for (int hopper = gpu->arch == 90; hopper >= 0; hopper--)
        for (w->is = hopper ? fused_kernels_hopper : fused_kernels; w->is->cs; w->is++)
            if (takes(w->is, &w->shape, &w->stages, gpu->shared))
                return NULL;
    return "C is over 256, heads are over 32 wide, or a multiprocessor has too little shared memory";
}

static const char *reject(const attn_block_data *d, oriel_dtype operand, const cuda_device *gpu)
{
    weights w;
    return choose(&w, d, operand, gpu);
}

static oriel_status pack(oriel_device *dev, attn_block *b, const attn_block_data *d, oriel_dtype operand)
{
    oriel_status s;
    uint8_t     *host;
    weights     *w = b->packed = oriel_alloc_zero(1, sizeof *w);
    if (!w)
        return ORIEL_E_NOMEM;
    if (choose(w, d, operand, dev->cuda))
        return ORIEL_E_ARG; /* it was rejected */
    w->eps = d->eps;
    w->bf16 = operand == ORIEL_BF16;
    b->bytes = fused_bytes(&w->shape);
    if ((s = oriel_memory_alloc(dev, &w->data, b->bytes)))
        return s;
    if (!(host = oriel_alloc_aligned(b->bytes)))
        return ORIEL_E_NOMEM;
    fused_pack(host, &w->shape, d, operand);
    s = oriel_memory_upload(dev, w->data, host, b->bytes);
    oriel_dealloc_aligned(host);
    return s;
}

static void unpack(oriel_device *dev, attn_block *b)
{
    weights *w = b->packed;
    oriel_memory_free(dev, &w->data);
    oriel_dealloc(w);
}

static size_t scratch_bytes(const run *r, const attn_block *b, op_map x)
{
    (void)r, (void)b, (void)x;
    return 0;
}

/* Tokens of a window whose place along an axis, t / step % window, is at least window - shift. */
static uint64_t beyond(int window, int step, int shift)
{
    uint64_t bits = 0;
    for (int t = 0; t < window * window; t++)
        bits |= (uint64_t)(t / step % window >= window - shift) << t;
    return bits;
}

static oriel_status launch(oriel_device *dev, const weights *w, fused_args *a)
{
    const fused_kernel *k = w->is;
    const void  *entry = k->entry[w->bf16];
    oriel_status s = cuda_enter(dev);
    int bytes = k->bytes(k->pitch ? w->stages * k->pitch : fused_units(&w->shape));
    int blocks = (a->windows + k->windows - 1) / k->windows, rounds = (blocks + dev->cuda->sms - 1) / dev->cuda->sms;
    blocks = (blocks + rounds - 1) / rounds; /* as few as do it in as many rounds */
    if (s)
        return s;
    cudaError_t e = cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (!e)
        e = cudaLaunchKernel(entry, (dim3){(unsigned)blocks, 1, 1}, (dim3){(unsigned)k->threads, 1, 1}, (void *[]){a},
                             (size_t)bytes, dev->cuda->stream);
    return e ? cuda_fail(e, "fused window block") : cuda_launched("fused window block");
}

static void run_block(run *r, op_map y, op_map x, const attn_block *b, int shift, void *scratch)
{
    (void)scratch;
    const weights     *w = b->packed;
    const fused_shape *s = &w->shape;
    const char        *data = w->data;
    const int          ny = (int)x.t.shape[0], nx = (int)x.t.shape[1], across = nx / s->window;
    fused_args   a = {.x = x.t.data, .y = y.t.data, .stream = data, .shape = *s, .ny = ny, .nx = nx, .shift = shift,
                      .added = (const float *)(const void *)(data + (size_t)fused_units(s) * FUSED_UNIT), .across = across,
                      .windows = ny / s->window * across, .stages = w->stages,
                      .low = beyond(s->window, s->window, shift), .right = beyond(s->window, 1, shift), .eps = w->eps};
    oriel_status e = launch(r->dev, w, &a);
    if (e)
        run_fail(r, e);
}

const cuda_block_way cuda_block_fused = {"fused", reject, {pack, unpack, scratch_bytes, run_block}};
