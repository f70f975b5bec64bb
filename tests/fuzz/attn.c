/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention problems with their tensors and tables, made of bytes: as the header says they belong together,
 * and then some bent. Each tensor's memory ends where its elements do. What is refused says why; what is not
 * runs in every implementation: all outputs are written, and implementations agree.
 */
#include <math.h>
#include <stdlib.h>

#include "attn2d3d/attn.h"
#include "core/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENTS = 4, HEADS = 4, ELEMENTS = 1 << 14, BLOCKS = 64 };

typedef struct bytes {
    const uint8_t *p, *end;
} bytes;

static int byte(bytes *b)
{
    return b->p < b->end ? *b->p++ : 0;
}

/* 0 .. most nearly always, else any number. */
static int number(bytes *b, int most)
{
    int v = byte(b);
    if (v < 252)
        return v % (most < 250 ? most + 1 : 251);
    unsigned any = (unsigned)byte(b) << 24;
    return v == 252 ? -1 : v == 253 ? most + 1 : v == 254 ? INT32_MAX - byte(b) : (int)(any | (unsigned)byte(b));
}

typedef struct fuzz {
    bytes         b;
    oriel_attn    a;
    oriel_attn_io io;
    oriel_axis    axes[HEADS][3];
    oriel_segment segments[SEGMENTS];
    void         *memory[32];
    int           memories;
} fuzz;

static void *take(fuzz *f, size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        abort();
    return f->memory[f->memories++] = p;
}

/* ---- the problem -------------------------------------------------------------------------- */

/* Fields that its kind has; sometimes any. */
static oriel_axis some_axis(bytes *b, int n)
{
    static const int has[] = {64, 1 | 2 | 4 | 64, 1 | 8 | 16 | 32 | 64, 16 | 32 | 64, 0};
    oriel_axis       a = {.kind = (oriel_axis_kind)number(b, 4)};
    int              which = byte(b);
    if (which < 240 && (unsigned)a.kind <= ORIEL_AXIS_SPANS)
        which &= has[a.kind];
    a.size = which & 1 ? number(b, n) : 0;
    a.stride = which & 2 ? number(b, a.size > 0 ? a.size : n) : 0;
    a.dilation = which & 4 ? number(b, a.size > 0 && a.size <= n ? n / a.size : 1) : 0;
    a.shift = which & 8 ? number(b, a.size > 0 ? a.size - 1 : n - 1) : 0;
    a.left = which & 16 ? number(b, n) : 0;
    a.right = which & 32 ? number(b, n) : 0;
    a.causal = which & 64;
    return a;
}

static void some_segments(fuzz *f)
{
    int *q = &f->a.extent[2], *k = &f->a.keys[2];
    *q = *k = 0;
    f->a.segments = 1 + byte(&f->b) % SEGMENTS;
    for (int i = 0; i < f->a.segments; i++) {
        oriel_segment *s = &f->segments[i];
        int            nq = 1, nk = 1;
        for (int x = 0; x < 3; x++) {
            s->extent[x] = number(&f->b, x == 2 ? 20 : 3);
            s->keys[x] = byte(&f->b) % 4 ? 0 : number(&f->b, x == 2 ? 24 : 4);
            s->at[x] = byte(&f->b) % 4 ? 0 : number(&f->b, 3);
            nq *= s->extent[x] > 0 && s->extent[x] < 99 ? s->extent[x] : 1;
            int n = s->keys[x] ? s->keys[x] : s->extent[x];
            nk *= n > 0 && n < 99 ? n : 1;
        }
        *q += nq, *k += nk;
    }
    f->a.extent[0] = f->a.extent[1] = f->a.keys[0] = f->a.keys[1] = 0;
    f->io.segments = f->segments;
}

static void some_problem(fuzz *f)
{
    static const float scales[] = {0, 0.125f, 1, -2, 1e30f, INFINITY};
    bytes      *b = &f->b;
    oriel_attn *a = &f->a;
    int         has = byte(b), more = byte(b);
    a->dtype = (oriel_dtype)number(b, 2);
    a->batch = number(b, 2), a->heads = number(b, 3), a->dim = number(b, 40);
    a->dim += !a->dim;
    a->kv_heads = has & 1 ? byte(b) % 4 ? 1 : number(b, 3) : 0;
    a->dim_v = has & 2 ? number(b, 40) : 0;
    a->scale = has & 4 ? scales[byte(b) % 6] : 0;
    a->extra = has & 8 ? number(b, 9) : 0;
    a->text = has & 16 ? number(b, 9) : 0;
    a->bias = (oriel_attn_bias)(has & 32 ? number(b, 2) : 0);
    a->cosine = has & 64, a->pad_keys = has & 128;
    a->lists = more & 1;
    a->text_mode = (oriel_text_mode)(more & 2 ? number(b, 1) : 0);
    for (int x = 0; x < 3; x++) {
        a->extent[x] = number(b, x == 2 ? 40 : x == 1 ? 12 : 4);
        a->pool[x] = more & 4 ? number(b, 3) : 0;
        a->keys[x] = more & 8 ? number(b, x == 2 ? 48 : 12) : 0;
        a->at[x] = more & 16 ? number(b, 5) : 0;
        int n = a->extent[x] > 0 && a->extent[x] < 60 ? a->extent[x] : 1;
        a->axis[x] = some_axis(b, more & 64 ? 3 : n);
        for (int h = 0; h < HEADS && more & 32; h++)
            f->axes[h][x] = some_axis(b, n);
        a->q_block[x] = more & 1 ? number(b, n) : 0;
        a->k_block[x] = more & 1 ? number(b, n) : 0;
    }
    if (more & 64)
        some_segments(f);
    if (more & 32 && a->heads <= HEADS)
        f->io.axes = f->axes[0];
}

/* ---- tensors ------------------------------------------------------------------------------ */

/* Every place from the lowest element to the highest; NULL where there are too many. */
static void memory(fuzz *f, oriel_tensor *t)
{
    int64_t low = 0, high = 0, count = 1;
    size_t  size = oriel_dtype_size(t->dtype);
    t->data = NULL;
    for (int x = 0; x < t->ndim && x < ORIEL_MAX_DIMS; x++) {
        if (t->shape[x] < 1 || t->shape[x] > ELEMENTS || count * t->shape[x] > ELEMENTS || llabs(t->stride[x]) > ELEMENTS)
            return;
        count *= t->shape[x];
        int64_t last = (t->shape[x] - 1) * t->stride[x];
        *(last < 0 ? &low : &high) += last;
    }
    if (high - low < 16 * ELEMENTS)
        t->data = (char *)take(f, (size_t)(high - low + 1) * size) - low * (int64_t)size;
}

/* Packed, or with gaps and axes that run backwards; sometimes of a shape that is off by something. */
static oriel_tensor view(fuzz *f, oriel_dtype dtype, int ndim, const int64_t *shape, bool input)
{
    bytes       *b = &f->b;
    oriel_tensor t = oriel_tensor_of(NULL, (unsigned)dtype < ORIEL_DTYPE_COUNT ? dtype : ORIEL_F32, ndim, shape);
    int          how = byte(b);
    int64_t      step = 1;
    for (int x = ndim - 1; x >= 0 && how & 1; x--) {
        int gap = byte(b);
        step += x < ndim - 1 || gap & 4 ? gap & 3 : 0;
        t.stride[x] = gap & 8 ? -step : step;
        step = step < ELEMENTS && shape[x] > 0 && shape[x] < ELEMENTS ? step * shape[x] : step; /* or too large to have */
    }
    if (input && (how & 6) == 6)
        t.stride[byte(b) % ndim] = 0;
    if (how >= 248)
        t.shape[byte(b) % ndim] = number(b, 9);
    if (how == 251)
        t.ndim = number(b, 6);
    if (how == 252)
        t.dtype = (oriel_dtype)(byte(b) % ORIEL_DTYPE_COUNT);
    memory(f, &t);
    return how == 253 ? (oriel_tensor){0} : t;
}

/* n / 8 in [-2, 2), exact in every type; NaN in outputs. */
static void fill(const oriel_tensor *t, bool input, unsigned seed)
{
    bool    good = t->data && t->ndim >= 0 && t->ndim <= ORIEL_MAX_DIMS;
    int64_t at[ORIEL_MAX_DIMS] = {0}, count = good ? oriel_tensor_count(t) : 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t e = 0, rest = i;
        for (int x = t->ndim - 1; x >= 0; x--) {
            at[x] = rest % t->shape[x], rest /= t->shape[x];
            e += at[x] * t->stride[x];
        }
        seed = seed * 1664525u + 1013904223u;
        float v = input ? (float)((int)(seed >> 27) - 16) / 8 : NAN;
        if (t->dtype == ORIEL_F32)
            ((float *)t->data)[e] = v;
        else if (t->dtype == ORIEL_F16 || t->dtype == ORIEL_BF16)
            ((uint16_t *)t->data)[e] = t->dtype == ORIEL_F16 ? oriel_f32_to_f16(v) : oriel_f32_to_bf16(v);
    }
}

static double element(const oriel_tensor *t, int64_t i)
{
    int64_t e = 0;
    for (int x = t->ndim - 1; x >= 0; x--) {
        e += i % t->shape[x] * t->stride[x];
        i /= t->shape[x];
    }
    float v;
    attn_load(&v, &(oriel_tensor){.data = t->data, .dtype = t->dtype, .ndim = 1, .stride = {1}}, e, 1);
    return (double)v;
}

static int at_least(int v, int least)
{
    return v < least ? least : v > ELEMENTS ? ELEMENTS : v;
}

static int plus(int a, int b) /* wraps: bytes may ask for any number */
{
    return (int)((unsigned)a + (unsigned)b);
}

/* Tables of whole numbers that are nearly right. */
static void some_tables(fuzz *f, const int n[3], const int m[3])
{
    bytes      *b = &f->b;
    oriel_attn *a = &f->a;
    int64_t     nq = 1, nk = 1;
    int         end = 0, lists = a->lists && byte(b) % 2 ? a->heads : 1;
    for (int x = 0; x < 3; x++) {
        int qb = a->q_block[x] > 0 ? a->q_block[x] : n[x], kb = a->k_block[x] > 0 ? a->k_block[x] : m[x];
        nq *= (n[x] + (int64_t)qb - 1) / qb, nk *= (m[x] + (int64_t)kb - 1) / kb;
        bool spans = a->axis[x].kind == ORIEL_AXIS_SPANS;
        for (int h = 0; f->io.axes && h < HEADS; h++)
            spans |= f->axes[h][x].kind == ORIEL_AXIS_SPANS;
        if (!spans)
            continue;
        f->io.spans[x] = view(f, ORIEL_I32, 2, (int64_t[]){n[x], 2}, false);
        oriel_tensor *t = &f->io.spans[x];
        for (int i = 0, first = 0; i < n[x] && t->data && t->ndim == 2 && t->dtype == ORIEL_I32 && t->shape[0] == n[x] && t->shape[1] == 2; i++) {
            first = plus(first, number(b, 2));
            end = plus(at_least(end, plus(first, 1)), number(b, 2));
            end = end > m[x] && byte(b) % 16 ? m[x] : end;
            ((int32_t *)t->data)[i * t->stride[0]] = first;
            ((int32_t *)t->data)[i * t->stride[0] + t->stride[1]] = (int)((unsigned)end - (unsigned)first);
        }
    }
    nq = nq > BLOCKS ? BLOCKS : nq; /* what has more is refused */
    if (!a->lists || nk > BLOCKS || lists < 1 || lists > HEADS)
        return;
    int32_t *indptr = take(f, (size_t)(lists * (nq + 1)) * sizeof *indptr), *indices = take(f, 1024 * sizeof *indices), count = 0;
    for (int i = 0; i < lists * (nq + 1); i++) {
        indptr[i] = byte(b) < 254 ? count : number(b, 99);
        for (int k = 0, many = i % (nq + 1) < nq ? byte(b) % 4 : 0; k < many && count < 1024; k++, count++)
            indices[count] = k && indices[count - 1] < 999 ? indices[count - 1] + 1 + byte(b) % 3 : number(b, (int)nk - 1);
        while (count && indices[count - 1] >= nk && byte(b) % 32) /* most lists stay inside */
            count--;
    }
    int32_t *exact = take(f, (size_t)count * sizeof *exact); /* reading one more is seen */
    for (int i = 0; i < count; i++)
        exact[i] = indices[i];
    f->io.indptr = oriel_tensor_of(indptr, ORIEL_I32, 3, (int64_t[]){1, lists, nq + 1});
    f->io.indices = oriel_tensor_of(exact, ORIEL_I32, 1, (int64_t[]){count});
    if (byte(b) % 2) {
        int32_t *valid = take(f, (size_t)nk * sizeof *valid);
        for (int i = 0; i < nk; i++)
            valid[i] = number(b, 20);
        f->io.k_valid = oriel_tensor_of(valid, ORIEL_I32, 1, (int64_t[]){nk});
    }
}

/* The tensors that the header asks for. */
static void some_tensors(fuzz *f)
{
    oriel_attn    *a = &f->a;
    oriel_attn_io *io = &f->io;
    int64_t B = at_least(a->batch, 1), H = at_least(a->heads, 1), K = a->kv_heads ? at_least(a->kv_heads, 1) : H;
    int64_t D = at_least(a->dim, 1), V = a->dim_v ? at_least(a->dim_v, 1) : D, E = a->extra, S = a->text, N = 1, M = 1;
    int     n[3], m[3];
    int64_t far[3];
    for (int x = 0; x < 3; x++) {
        int pool = at_least(a->pool[x], 1);
        n[x] = at_least(a->extent[x], 1);
        m[x] = a->keys[x] ? at_least(a->keys[x], 1) : (n[x] + pool - 1) / pool;
        far[x] = 2 * ((int64_t)m[x] * pool > n[x] ? (int64_t)m[x] * pool : n[x]) + 63;
        N *= n[x], M *= m[x];
        N = N > ELEMENTS ? ELEMENTS : N, M = M > ELEMENTS ? ELEMENTS : M;
    }
    io->q = view(f, a->dtype, 6, (int64_t[]){B, n[0], n[1], n[2], H, D}, true);
    io->k = view(f, a->dtype, 6, (int64_t[]){B, m[0], m[1], m[2], K, D}, true);
    io->v = view(f, a->dtype, 6, (int64_t[]){B, m[0], m[1], m[2], K, V}, true);
    io->out = view(f, a->dtype, 6, (int64_t[]){B, n[0], n[1], n[2], H, V}, false);
    int has = byte(&f->b);
    if (has & 1)
        io->lse = view(f, ORIEL_F32, 5, (int64_t[]){B, n[0], n[1], n[2], H}, false);
    if (E)
        io->extra_k = view(f, a->dtype, 4, (int64_t[]){B, E, K, D}, true), io->extra_v = view(f, a->dtype, 4, (int64_t[]){B, E, K, V}, true);
    if (S)
        io->text_q = view(f, a->dtype, 4, (int64_t[]){B, S, H, D}, true), io->text_out = view(f, a->dtype, 4, (int64_t[]){B, S, H, V}, false);
    if (S && has & 2)
        io->text_lse = view(f, ORIEL_F32, 3, (int64_t[]){B, S, H}, false);
    if (a->bias == ORIEL_BIAS_DENSE)
        io->bias = view(f, ORIEL_F32, 3, (int64_t[]){H, N, M}, true);
    else if (a->bias == ORIEL_BIAS_OFFSET)
        io->bias = view(f, ORIEL_F32, 4, (int64_t[]){H, far[0] - 62, far[1] - (has & 4 ? 62 : 0), far[2] - (has & 8 ? 62 : 0)}, true);
    if (has & 16)
        io->scales = view(f, ORIEL_F32, 1, (int64_t[]){H}, true);
    if (has & 32)
        io->pad_k = view(f, a->dtype, 2, (int64_t[]){K, D}, true), io->pad_v = view(f, a->dtype, 2, (int64_t[]){K, V}, true);
    some_tables(f, n, m);
    oriel_tensor *in[] = {&io->q, &io->k, &io->v, &io->extra_k, &io->extra_v, &io->text_q, &io->bias, &io->scales, &io->pad_k, &io->pad_v};
    for (unsigned i = 0; i < sizeof in / sizeof *in; i++)
        fill(in[i], true, i);
}

/* ---- the run ------------------------------------------------------------------------------ */

/* Multiply-adds of all keys, windows or not. */
static double work(const attn_job *j)
{
    const oriel_attn *a = &j->a;
    double n = (double)j->tokens + a->text, m = (double)j->key_tokens + a->extra;
    for (int x = 0; x < 3; x++)
        m += a->pad_keys ? 40 : 0;
    return n * m * a->batch * a->heads * (a->dim + a->dim_v);
}

/* The outputs of the first implementation in `kept`; those of others may differ by their roundings. */
static void same(const fuzz *f, const attn_job *j, double **kept, bool first)
{
    const oriel_tensor *out[] = {&f->io.out, &f->io.lse, &f->io.text_out, &f->io.text_lse};
    double              scale = j->a.scale, step = j->a.dtype == ORIEL_F32 ? 0 : j->a.dtype == ORIEL_F16 ? 0x1p-11 : 0x1p-8;
    scale = f->io.scales.data ? 2 : fabs(scale);
    double top = scale * (j->a.cosine ? 2 : 4.0 * j->a.dim) + 2, bound = 2 * 4 * 0x1p-23 * (4 + top);
    for (int t = 0; t < 4; t++) {
        int64_t count = out[t]->data ? oriel_tensor_count(out[t]) : 0;
        if (first)
            kept[t] = malloc((size_t)(count + 1) * sizeof **kept);
        for (int64_t i = 0; i < count; i++) {
            double v = element(out[t], i), allowed = bound; /* |v| <= 2; outputs are rounded, some round weights */
            if (t % 2 == 0)
                allowed = 2 * bound + 2 * step + 2 * 1.01 * step * fabs(v) + (step > 0 ? 0x1p-24 : 0);
            if (isnan(v) || (t % 2 == 0 && isinf(v)))
                abort(); /* not written, or not a mean of finite values */
            if (first)
                kept[t][i] = v;
            else if (top < 1e3 && v != kept[t][i] && !(fabs(v - kept[t][i]) <= allowed))
                abort();
        }
    }
}

static void run(fuzz *f, attn_job *j)
{
    static oriel_device *dev;
    double              *kept[4];
    bool                 first = true;
    if (!dev && oriel_device_open(&dev, &(oriel_device_options){.threads = 1}))
        abort();
    for (int i = 0; attn_impls[i]; i++) {
        if (attn_impls[i]->reject(j, oriel_cpu_flags()))
            continue;
        fill(&f->io.out, false, 0), fill(&f->io.lse, false, 0), fill(&f->io.text_out, false, 0), fill(&f->io.text_lse, false, 0);
        if (attn_impls[i]->run(j, dev->pool))
            abort();
        same(f, j, kept, first);
        first = false;
    }
    for (int t = 0; t < 4; t++)
        free(kept[t]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz     f = {.b = {data, data + size}};
    attn_job j;
    some_problem(&f);
    some_tensors(&f);
    if (attn_prepare(&j, &f.a, &f.io)) {
        if (!oriel_error()[0])
            abort();
    } else if (work(&j) < 2e5)
        run(&f, &j);
    while (f.memories)
        free(f.memory[--f.memories]);
    return 0;
}
