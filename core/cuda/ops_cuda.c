/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on CUDA devices, in the order of the device's stream; none waits, copies or asks for memory, so that a
 * graph can be made of them. */
#include "core/cuda/cuda.h"
#include "core/cuda/ops_kernels.h"

/* ---- weights ------------------------------------------------------------------------------ */

typedef struct cuda_weights {
    oriel_dtype operand;
    void       *w; /* as the kernel of the operand wants them; then the bias */
    float      *bias;
} cuda_weights;

/* Elements in the kernel's order, zeros where there are none. data: (n, k, taps); row: which row of it is output i. */
static void order_weights(void *to, const op_conv *w, const float *data, const int *row, oriel_dtype operand)
{
    float    *f = to;
    uint16_t *h = to;
    for (int n = 0; n < w->n; n++)
        for (int k = 0; k < w->k; k++)
            for (int t = 0; t < w->taps; t++) {
                float v = data[((size_t)(row ? row[n] : n) * (size_t)w->k + (size_t)k) * (size_t)w->taps + (size_t)t];
                if (operand == ORIEL_F32)
                    f[conv_f32_at(n, k, w->taps, w->k, t)] = v;
                else
                    h[conv_mma_at(n, k, w->taps, w->n, w->k, t)] =
                        operand == ORIEL_BF16 ? oriel_f32_to_bf16(v) : oriel_f32_to_f16(v);
            }
}

static void unpack(oriel_device *dev, op_conv *w)
{
    cuda_weights *c = w->packed;
    oriel_memory_free(dev, &c->w);
    oriel_dealloc(c);
}

static oriel_status pack(oriel_device *dev, op_conv *w, const float *data, const float *bias, const int *row,
                         oriel_dtype operand)
{
    if (operand != ORIEL_F32 && operand != ORIEL_BF16 && operand != ORIEL_F16)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: a GPU has f32, bf16 and f16", oriel_dtype_name(operand));
    size_t weights = operand == ORIEL_F32 ? 4 * conv_f32_count(w->n, w->k, w->taps)
                                          : 2 * conv_mma_count(w->n, w->k, w->taps);
    size_t bytes = weights + sizeof(float) * (size_t)oriel_round_up(w->n, CONV_BIAS);
    cuda_weights *c = oriel_alloc_zero(1, sizeof *c);
    char         *host = oriel_alloc_zero(1, bytes);
    oriel_status  s = c && host ? oriel_memory_alloc(dev, &c->w, bytes) : ORIEL_E_NOMEM;
    if (s)
        goto done;
    order_weights(host, w, data, row, operand);
    for (int n = 0; bias && n < w->n; n++)
        memcpy(host + weights + sizeof(float) * (size_t)n, &bias[row ? row[n] : n], sizeof *bias);
    if ((s = oriel_memory_upload(dev, c->w, host, bytes)))
        goto done;
    c->operand = operand;
    c->bias = (float *)(void *)((char *)c->w + weights);
    w->packed = c;
    w->bytes = bytes;
done:
    oriel_dealloc(host);
    if (s && c) {
        oriel_memory_free(dev, &c->w);
        oriel_dealloc(c);
    }
    return s;
}

/* ---- convolution -------------------------------------------------------------------------- */

static bool by16(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

static conv_args args_of(const op_conv_call *c)
{
    const cuda_weights *w = c->w->packed;
    conv_args           a = {.x = c->x.t.data, .w = w->w, .bias = w->bias, .add = c->add ? c->add->t.data : NULL,
                             .y = c->y.t.data, .k = c->w->k, .n = c->w->n, .r = c->w->shuffle > 1 ? c->w->shuffle : 1,
                             .c = (int)c->y.t.shape[2], .operand = (int)w->operand, .height = c->x.height,
                             .width = (int)c->x.t.shape[1], .x_y0 = c->x.y0, .y_y0 = c->y.y0, .leaky = c->leaky,
                             .y_rows = (int)c->y.t.shape[0], .y_cols = (int)c->y.t.shape[1]};
    a.row = a.y_y0 / a.r;
    a.rows = (int)oriel_ceil_div(a.y_y0 + a.y_rows, a.r) - a.row;
    a.cols = (int)oriel_ceil_div(a.y_cols, a.r);
    a.read4 = a.k % 4 == 0 && by16(a.x);
    a.write4 = a.r * a.c % 4 == 0 && a.y_cols * a.c % 4 == 0 && a.y_cols % a.r == 0 && by16(a.y) && by16(a.add);
    return a;
}

static size_t conv_scratch(const run *r, const op_conv_call *c)
{
    (void)r;
    (void)c;
    return 0; /* pixels are rounded as the kernels read them */
}

static void conv(run *r, const op_conv_call *c, void *scratch)
{
    conv_args    a = args_of(c);
    cudaStream_t stream = r->dev->cuda->stream;
    int          side = c->w->taps == 9 ? 3 : 1;
    (void)scratch;
    oriel_status s = a.operand == ORIEL_F32 ? conv_f32(&a, side, stream) : conv_mma(&a, side, stream);
    if (s)
        run_fail(r, s);
}

/* ---- the others --------------------------------------------------------------------------- */

static size_t norm_scratch(const run *r, int c)
{
    (void)r;
    (void)c;
    return 0;
}

static void norm(run *r, op_map y, op_map x, const op_norm *w, void *scratch)
{
    (void)scratch;
    oriel_status s = w->c > NORM_MOST
                         ? oriel_fail(ORIEL_E_UNSUPPORTED, "norm: %d channels, where a GPU takes %d", w->c, NORM_MOST)
                         : norm_kernel(y.t.data, x.t.data, w, x.t.shape[0] * x.t.shape[1], r->dev->cuda->stream);
    if (s)
        run_fail(r, s);
}

static void nearest2(run *r, op_map y, op_map x)
{
    oriel_status s = nearest2_kernel(y, x, r->dev->cuda->stream);
    if (s)
        run_fail(r, s);
}

static void input(run *r, const op_input_call *c)
{
    oriel_status s = input_kernel(c, r->dev->cuda->stream);
    if (s)
        run_fail(r, s);
}

const ops ops_cuda = {
    .pack = pack,
    .unpack = unpack,
    .conv = conv,
    .conv_scratch = conv_scratch,
    .norm = norm,
    .norm_scratch = norm_scratch,
    .nearest2 = nearest2,
    .input = input,
};
