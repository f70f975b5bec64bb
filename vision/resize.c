/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resizing floats, one row of the output at a time.
 *
 * Source rows are filtered along x into a ring of rows, and rows of the ring are summed into the
 * output: so the two passes meet in cache, and memory is a few rows whatever the picture. All rules
 * go columns first here; MATLAB goes rows first when it enlarges evenly, which in float is a matter
 * of the last bit (where it rounds between passes, in 8 bits, resize_image.c keeps its order).
 */
#include "core/internal.h"
#include "vision/resize.h"

/* ---- along x ------------------------------------------------------------------------------ */

/* dst (dst, C) from src (src, C). Inlined with C known, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void columns_of(float *restrict dst,
                                                             const float *restrict src,
                                                             const oriel_taps *t, int C)
{
    for (int i = 0; i < t->dst; i++) {
        const float *w = t->weight_f32 + (size_t)i * t->max;
        const float *p = src + (size_t)t->range[i].first * C;
        float        sum[4] = {0};
        for (int k = 0; k < t->range[i].count; k++)
            for (int c = 0; c < C; c++)
                sum[c] += w[k] * p[k * C + c];
        for (int c = 0; c < C; c++)
            dst[(size_t)i * C + c] = sum[c];
    }
}

static void columns_any(float *restrict dst, const float *restrict src, const oriel_taps *t,
                        int64_t C)
{
    for (int i = 0; i < t->dst; i++) {
        const float *w = t->weight_f32 + (size_t)i * t->max;
        const float *p = src + t->range[i].first * C;
        float       *out = dst + i * C;
        for (int64_t c = 0; c < C; c++)
            out[c] = w[0] * p[c];
        for (int k = 1; k < t->range[i].count; k++)
            for (int64_t c = 0; c < C; c++)
                out[c] += w[k] * p[k * C + c];
    }
}

static void columns(float *dst, const float *src, const oriel_taps *t, int C)
{
    switch (C) {
    case 1:
        columns_of(dst, src, t, 1);
        break;
    case 2:
        columns_of(dst, src, t, 2);
        break;
    case 3:
        columns_of(dst, src, t, 3);
        break;
    case 4:
        columns_of(dst, src, t, 4);
        break;
    default:
        columns_any(dst, src, t, C);
    }
}

/* ---- along y ------------------------------------------------------------------------------ */

static void sum4(float *restrict dst, const float *const row[4], const float w[4], bool add,
                 size_t n)
{
    const float *restrict a = row[0], *restrict b = row[1];
    const float *restrict c = row[2], *restrict d = row[3];
    const float wa = w[0], wb = w[1], wc = w[2], wd = w[3];
    if (add)
        for (size_t i = 0; i < n; i++)
            dst[i] += wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
    else
        for (size_t i = 0; i < n; i++)
            dst[i] = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
}

/* dst = the sum of w[k] * row[k]; count >= 1 */
static void sum_rows(float *restrict dst, const float *const *row, const float *w, int count,
                     size_t n)
{
    int k = 0;
    for (; k + 4 <= count; k += 4)
        sum4(dst, row + k, w + k, k > 0, n);
    for (; k < count; k++) {
        const float *restrict p = row[k];
        const float wk = w[k];
        if (k)
            for (size_t i = 0; i < n; i++)
                dst[i] += wk * p[i];
        else
            for (size_t i = 0; i < n; i++)
                dst[i] = wk * p[i];
    }
}

/* How many rows must be at hand: those from the first that an output needs to the last loaded. */
static int ring_size(const oriel_taps *y)
{
    int size = 1, loaded = 0;
    for (int i = 0; i < y->dst; i++) {
        loaded = (int)oriel_max(loaded, y->range[i].first + y->range[i].count);
        size = (int)oriel_max(size, loaded - y->range[i].first);
    }
    return size;
}

oriel_status oriel_resize_rows(const oriel_row_io *io, const oriel_taps *y, const oriel_taps *x,
                               int channels)
{
    int    size = ring_size(y), loaded = 0;
    size_t width = (size_t)x->dst * (size_t)channels, bytes = width * sizeof(float), ring_bytes;
    if (!oriel_mul_ok(bytes, (size_t)size, &ring_bytes))
        return oriel_fail(ORIEL_E_NOMEM, "resize: %d rows of %zu bytes are too much", size, bytes);
    float        *ring = oriel_alloc_aligned(ring_bytes);
    float        *row_in =
        ring ? oriel_alloc_aligned((size_t)x->src * (size_t)channels * sizeof(float)) : NULL;
    float        *row_out = row_in ? oriel_alloc_aligned(bytes) : NULL;
    const float **row = row_out ? oriel_alloc_zero((size_t)y->max, sizeof *row) : NULL;
    oriel_status  s = row ? ORIEL_OK : ORIEL_E_NOMEM;

    for (int i = 0; !s && i < y->dst; i++) {
        oriel_tap_range r = y->range[i];
        for (; loaded < r.first + r.count; loaded++)
            columns(ring + (size_t)(loaded % size) * width, io->load(io->ctx, loaded, row_in), x,
                    channels);
        for (int k = 0; k < r.count; k++)
            row[k] = ring + (size_t)((r.first + k) % size) * width;
        float *out = io->target(io->ctx, i, row_out);
        sum_rows(out, row, y->weight_f32 + (size_t)i * y->max, r.count, width);
        io->store(io->ctx, i, out);
    }
    oriel_dealloc(row);
    oriel_dealloc_aligned(row_out);
    oriel_dealloc_aligned(row_in);
    oriel_dealloc_aligned(ring);
    return s;
}

/* ---- tensors ------------------------------------------------------------------------------ */

typedef struct tensor_io {
    oriel_tensor src, dst;           /* (Y, X, C) */
    bool         src_rows, dst_rows; /* rows are packed: no copy */
} tensor_io;

static bool rows_packed(const oriel_tensor *t)
{
    return (t->shape[2] == 1 || t->stride[2] == 1) &&
           (t->shape[1] == 1 || t->stride[1] == t->shape[2]);
}

static float *row_of(const oriel_tensor *t, int y)
{
    return (float *)t->data + y * t->stride[0];
}

static const float *load_tensor(void *ctx, int y, float *row)
{
    const tensor_io *io = ctx;
    const float     *p = row_of(&io->src, y);
    if (io->src_rows)
        return p;
    for (int64_t x = 0, i = 0; x < io->src.shape[1]; x++)
        for (int64_t c = 0; c < io->src.shape[2]; c++)
            row[i++] = p[x * io->src.stride[1] + c * io->src.stride[2]];
    return row;
}

static float *target_tensor(void *ctx, int y, float *row)
{
    const tensor_io *io = ctx;
    return io->dst_rows ? row_of(&io->dst, y) : row;
}

static void store_tensor(void *ctx, int y, const float *row)
{
    const tensor_io *io = ctx;
    float           *p = row_of(&io->dst, y);
    if (io->dst_rows)
        return;
    for (int64_t x = 0, i = 0; x < io->dst.shape[1]; x++)
        for (int64_t c = 0; c < io->dst.shape[2]; c++)
            p[x * io->dst.stride[1] + c * io->dst.stride[2]] = row[i++];
}

static oriel_status check_tensor(const char *name, const oriel_tensor *t)
{
    char text[128];
    if (!t->data)
        return oriel_fail(ORIEL_E_ARG, "resize: %s has no data", name);
    if (t->dtype != ORIEL_F32 || t->ndim != 3)
        return oriel_fail(ORIEL_E_ARG, "resize: %s is %s, not f32 (Y, X, C)", name,
                          oriel_tensor_str(t, text, sizeof text));
    if (t->shape[0] < 1 || t->shape[0] > ORIEL_IMAGE_MAX_SIDE || t->shape[1] < 1 ||
        t->shape[1] > ORIEL_IMAGE_MAX_SIDE || t->shape[2] < 1 || t->shape[2] > INT_MAX)
        return oriel_fail(ORIEL_E_ARG, "resize: %s is %s; sides go from 1 to %d", name,
                          oriel_tensor_str(t, text, sizeof text), ORIEL_IMAGE_MAX_SIDE);
    return ORIEL_OK;
}

static oriel_status check_tensors(const oriel_tensor *dst, const oriel_tensor *src)
{
    oriel_status s;
    if ((s = check_tensor("dst", dst)) || (s = check_tensor("src", src)))
        return s;
    if (dst->shape[2] != src->shape[2])
        return oriel_fail(ORIEL_E_ARG, "resize: dst has %lld channels, src %lld",
                          (long long)dst->shape[2], (long long)src->shape[2]);
    for (int i = 0; i < 3; i++)
        if (dst->shape[i] > 1 && dst->stride[i] == 0)
            return oriel_fail(ORIEL_E_ARG, "resize: dst repeats itself along axis %d", i);
    if (dst->data == src->data)
        return oriel_fail(ORIEL_E_ARG, "resize: dst is src");
    return ORIEL_OK;
}

oriel_status oriel_resize(oriel_tensor dst, oriel_tensor src, const oriel_resize_options *opt)
{
    oriel_resize_options o = opt ? *opt : (oriel_resize_options){0};
    oriel_taps           x = {0}, y = {0};
    oriel_status         s;
    if ((s = check_tensors(&dst, &src)) || (s = oriel_resize_check(&o)))
        return s;
    tensor_io    tensors = {src, dst, rows_packed(&src), rows_packed(&dst)};
    oriel_row_io io = {&tensors, load_tensor, target_tensor, store_tensor};
    if (!(s = oriel_taps_new(&x, (int)src.shape[1], (int)dst.shape[1], &o)) &&
        !(s = oriel_taps_new(&y, (int)src.shape[0], (int)dst.shape[0], &o)))
        s = oriel_resize_rows(&io, &y, &x, (int)src.shape[2]);
    oriel_taps_free(&x);
    oriel_taps_free(&y);
    return s;
}
