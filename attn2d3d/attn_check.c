/* SPDX-License-Identifier: Apache-2.0 */
/* Attention: is it a problem? Every message names the field and its value. */
#include "attn2d3d/attn_check.h"

#include <math.h>

static const char *const kinds[] = {"full", "neighbor", "block", "slide", "spans"};
const char               attn_letters[] = "TYX";

oriel_status attn_in_range(const char *name, int64_t v, int64_t low, int64_t high)
{
    if (v >= low && v <= high)
        return ORIEL_OK;
    return oriel_fail(ORIEL_E_ARG, "attn: %s %lld is not in %lld .. %lld", name, (long long)v,
                      (long long)low, (long long)high);
}

/* A field of an axis, between low and high; one that its kind has not, is 0. */
static oriel_status field(const oriel_axis *a, int x, const char *name, int v, bool has, int low, int high)
{
    if (!has && v)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s has no %s, which is %d", attn_letters[x],
                          kinds[a->kind], name, v);
    if (has && (v < low || v > high))
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s %d is not in %d .. %d", attn_letters[x], name, v,
                          low, high);
    return ORIEL_OK;
}

/* Keys that stand for several tokens: only where no window parts these. */
static oriel_status check_pool(const oriel_axis *a, int x, int pool)
{
    const struct {
        const char *name;
        int         v;
    } f[] = {{"size", a->size}, {"shift", a->shift}, {"left", a->left}, {"right", a->right}};
    if (a->kind == ORIEL_AXIS_NEIGHBOR || a->kind == ORIEL_AXIS_SLIDE)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s has no pool, which is %d", attn_letters[x],
                          kinds[a->kind], pool);
    if (a->causal)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: causal, but pool is %d", attn_letters[x], pool);
    for (int i = 0; i < 4; i++)
        if (f[i].v % pool)
            return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s %d is no multiple of pool %d", attn_letters[x],
                              f[i].name, f[i].v, pool);
    return ORIEL_OK;
}

static oriel_status check_kind(const attn_job *j, const oriel_axis *a, int x)
{
    const char *no = NULL;
    if ((unsigned)a->kind > ORIEL_AXIS_SPANS)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: kind %d is not known", attn_letters[x], (int)a->kind);
    if (a->kind == ORIEL_AXIS_SPANS && a->causal)
        no = "causal";
    if (a->kind == ORIEL_AXIS_SPANS && j->a.segments)
        no = "segments";
    if (j->a.text_mode == ORIEL_TEXT_WINDOWS &&
        ((a->kind != ORIEL_AXIS_FULL && a->kind != ORIEL_AXIS_BLOCK) || a->left || a->right || a->causal))
        no = "windows for text: these are full or block without left, right and causal";
    return no ? oriel_fail(ORIEL_E_ARG, "attn: axis %c: %s has no %s", attn_letters[x], kinds[a->kind], no)
              : ORIEL_OK;
}

oriel_status attn_check_axis(const attn_job *j, const oriel_axis *a, int x, attn_line l)
{
    oriel_status s = check_kind(j, a, x);
    if (s)
        return s;
    bool near = a->kind == ORIEL_AXIS_NEIGHBOR, block = a->kind == ORIEL_AXIS_BLOCK;
    bool slide = a->kind == ORIEL_AXIS_SLIDE;
    int  n = l.keys * l.pool, side = slide && !j->a.pad_keys ? ATTN_EXTENT_MAX : n;
    int  size = a->size ? a->size : n, dilation = a->dilation ? a->dilation : 1;
    if ((s = field(a, x, "size", a->size, near || block, 0, n)) ||
        (s = field(a, x, "stride", a->stride, near, 0, size)) ||
        (s = field(a, x, "dilation", a->dilation, near, 0, n)) ||
        (s = field(a, x, "shift", a->shift, block, 0, size - 1)) ||
        (s = field(a, x, "left", a->left, slide || block, 0, side)) ||
        (s = field(a, x, "right", a->right, slide || block, 0, side)) ||
        (l.pool > 1 && (s = check_pool(a, x, l.pool))))
        return s;
    if (near && size < 2)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: size %d is less than 2", attn_letters[x], size);
    if (near && (int64_t)size * dilation > n)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: size %d times dilation %d is more than its %d tokens",
                          attn_letters[x], size, dilation, n);
    if ((near || block || slide || a->causal) && l.at + l.queries > n)
        return oriel_fail(ORIEL_E_ARG, "attn: axis %c: %d queries at %d are not among the %d tokens of the keys",
                          attn_letters[x], l.queries, l.at, n);
    return ORIEL_OK;
}

oriel_status attn_check_raster(const int extent[3], const int keys[3], const int at[3], const int pool[3])
{
    static const char *const names[4][3] = {
        {"extent[0] (T)", "extent[1] (Y)", "extent[2] (X)"}, {"keys[0] (T)", "keys[1] (Y)", "keys[2] (X)"},
        {"at[0] (T)", "at[1] (Y)", "at[2] (X)"}, {"pool[0] (T)", "pool[1] (Y)", "pool[2] (X)"}};
    int64_t tokens = 1, key_tokens = 1;
    for (int x = 0; x < 3; x++) {
        oriel_status s;
        if ((s = attn_in_range(names[0][x], extent[x], 0, ATTN_EXTENT_MAX)) ||
            (s = attn_in_range(names[3][x], pool[x], 0, ATTN_EXTENT_MAX)) ||
            (s = attn_in_range(names[1][x], keys[x], 0, ATTN_EXTENT_MAX / (pool[x] ? pool[x] : 1))) ||
            (s = attn_in_range(names[2][x], at[x], 0, ATTN_EXTENT_MAX - extent[x])))
            return s;
        tokens *= extent[x] ? extent[x] : 1;
        key_tokens *= keys[x] ? keys[x] : 1;
        if (tokens > INT_MAX)
            return oriel_fail(ORIEL_E_ARG, "attn: extent %d x %d x %d is too large", extent[0], extent[1], extent[2]);
        if (key_tokens > INT_MAX)
            return oriel_fail(ORIEL_E_ARG, "attn: keys %d x %d x %d is too large", keys[0], keys[1], keys[2]);
    }
    return ORIEL_OK;
}

static oriel_status check_segments(const oriel_attn *a)
{
    for (int x = 0; x < 3; x++)
        if (a->at[x] || (x < 2 && (a->extent[x] > 1 || a->keys[x] > 1)))
            return oriel_fail(ORIEL_E_ARG, "attn: axis %c: extent %d, keys %d, at %d, but segments are lists {1, 1, n} at 0",
                              attn_letters[x], a->extent[x], a->keys[x], a->at[x]);
    const char *no = a->text ? "text" : a->lists ? "lists" : NULL;
    return no ? oriel_fail(ORIEL_E_ARG, "attn: segments %d, but segments have no %s", a->segments, no) : ORIEL_OK;
}

static oriel_status check_blocks(attn_job *j)
{
    oriel_attn *a = &j->a;
    for (int x = 0; x < 3; x++) {
        oriel_status s;
        char         q[] = "q_block[.]", k[] = "k_block[.]";
        q[8] = k[8] = (char)('0' + x);
        if ((s = attn_in_range(q, a->q_block[x], 0, a->lists ? a->extent[x] : 0)) ||
            (s = attn_in_range(k, a->k_block[x], 0, a->lists ? a->keys[x] : 0)))
            return s;
        a->q_block[x] = a->q_block[x] ? a->q_block[x] : a->extent[x];
        a->k_block[x] = a->k_block[x] ? a->k_block[x] : a->keys[x];
        j->q_blocks[x] = (int)oriel_ceil_div(a->extent[x], a->q_block[x]);
        j->k_blocks[x] = (int)oriel_ceil_div(a->keys[x], a->k_block[x]);
    }
    return ORIEL_OK;
}

/* Fields that exclude each other. */
static oriel_status check_pairs(const oriel_attn *a)
{
    if (a->pad_keys && a->bias == ORIEL_BIAS_DENSE)
        return oriel_fail(ORIEL_E_ARG, "attn: pad_keys, but a dense bias has no column for keys beyond the raster");
    if (a->pad_keys && a->lists)
        return oriel_fail(ORIEL_E_ARG, "attn: pad_keys, but lists name no keys beyond the raster");
    if (a->text_mode == ORIEL_TEXT_WINDOWS && (!a->text || a->lists))
        return oriel_fail(ORIEL_E_ARG, "attn: text_mode windows, but %s", a->lists ? "lists is on" : "text is 0");
    return a->segments ? check_segments(a) : ORIEL_OK;
}

static oriel_status check_heads(oriel_attn *a)
{
    oriel_status s;
    if (a->dtype != ORIEL_F32 && a->dtype != ORIEL_F16 && a->dtype != ORIEL_BF16)
        return oriel_fail(ORIEL_E_ARG, "attn: dtype %d is not f32, f16 or bf16", (int)a->dtype);
    if ((unsigned)a->bias > ORIEL_BIAS_OFFSET)
        return oriel_fail(ORIEL_E_ARG, "attn: bias %d is not known", (int)a->bias);
    if ((unsigned)a->text_mode > ORIEL_TEXT_WINDOWS)
        return oriel_fail(ORIEL_E_ARG, "attn: text_mode %d is not known", (int)a->text_mode);
    if ((s = attn_in_range("batch", a->batch, 0, ATTN_EXTENT_MAX)) || (s = attn_in_range("heads", a->heads, 0, 1 << 16)) ||
        (s = attn_in_range("dim", a->dim, 1, ATTN_DIM_MAX)) || (s = attn_in_range("dim_v", a->dim_v, 0, ATTN_DIM_MAX)) ||
        (s = attn_in_range("extra", a->extra, 0, ATTN_EXTENT_MAX)) || (s = attn_in_range("text", a->text, 0, ATTN_EXTENT_MAX)) ||
        (s = attn_in_range("segments", a->segments, 0, ATTN_EXTENT_MAX)))
        return s;
    a->batch += !a->batch;
    a->heads += !a->heads;
    if ((s = attn_in_range("kv_heads", a->kv_heads, 0, a->heads)))
        return s;
    a->kv_heads = a->kv_heads ? a->kv_heads : a->heads;
    if (a->heads % a->kv_heads)
        return oriel_fail(ORIEL_E_ARG, "attn: kv_heads %d does not divide heads %d", a->kv_heads, a->heads);
    a->dim_v = a->dim_v ? a->dim_v : a->dim;
    if (!isfinite(a->scale))
        return oriel_fail(ORIEL_E_ARG, "attn: scale %g is not finite", (double)a->scale);
    if (a->scale == 0)
        a->scale = a->cosine ? 1 : 1.f / sqrtf((float)a->dim);
    return ORIEL_OK;
}

static oriel_status check_numbers(attn_job *j)
{
    oriel_attn  *a = &j->a;
    oriel_status s;
    if ((s = check_heads(a)) || (s = attn_check_raster(a->extent, a->keys, a->at, a->pool)))
        return s;
    j->tokens = j->key_tokens = 1;
    for (int x = 0; x < 3; x++) {
        a->extent[x] += !a->extent[x];
        a->pool[x] += !a->pool[x];
        a->keys[x] = a->keys[x] ? a->keys[x] : (int)oriel_ceil_div(a->extent[x], a->pool[x]);
        j->tokens *= a->extent[x];
        j->key_tokens *= a->keys[x];
        if (a->keys[x] > ATTN_EXTENT_MAX / a->pool[x])
            return oriel_fail(ORIEL_E_ARG, "attn: axis %c: pool %d is too large", attn_letters[x], a->pool[x]);
    }
    return (s = check_pairs(a)) ? s : check_blocks(j);
}

oriel_status attn_prepare(attn_job *j, const oriel_attn *a, const oriel_attn_io *io)
{
    oriel_status s;
    if (!a)
        return oriel_fail(ORIEL_E_ARG, "attn: no problem");
    *j = (attn_job){.a = *a, .io = io};
    if ((s = check_numbers(j)))
        return s;
    for (int x = 0; x < 3; x++) {
        attn_line l = {j->a.extent[x], j->a.at[x], j->a.keys[x], j->a.pool[x]};
        if (a->segments) /* what lengths they have, only their list knows */
            l = (attn_line){1, 0, ATTN_EXTENT_MAX / l.pool, l.pool};
        if ((s = attn_check_axis(j, &a->axis[x], x, l)))
            return s;
    }
    return io ? attn_check_io(j) : ORIEL_OK;
}

oriel_status oriel_attn_check(const oriel_attn *a, const oriel_attn_io *io)
{
    attn_job j;
    return attn_prepare(&j, a, io);
}

const char *attn_plain_fields(const attn_job *j)
{
    const oriel_attn *a = &j->a;
    for (int x = 0; x < 3; x++)
        if (a->keys[x] != a->extent[x] || a->at[x] || a->pool[x] > 1)
            return "keys of another raster (keys, at, pool)";
    for (int h = 0; h < (j->io->axes ? a->heads : 1); h++)
        for (int x = 0; x < 3; x++) {
            oriel_axis axis = attn_axis(j, h, x);
            if (axis.kind == ORIEL_AXIS_SPANS)
                return "an axis by spans";
            if (axis.kind == ORIEL_AXIS_BLOCK && (axis.left || axis.right))
                return "blocks with left or right";
        }
    return a->pad_keys                ? "pad_keys"
           : a->cosine                ? "cosine"
           : j->io->scales.data       ? "a scale for each head"
           : a->text_mode             ? "text in windows"
           : a->segments              ? "segments"
           : a->lists                 ? "lists"
                                      : NULL;
}
