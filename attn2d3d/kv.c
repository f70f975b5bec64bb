/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame cache: which frames are held, where, and at what time. The rules (roll, sink, EMA,
 * positions) are those of Self-Forcing, LongLive, Reward Forcing and Rolling Forcing; doc/frame-cache.md.
 */
#include <math.h>

#include "attn2d3d/kv.h"

/* ---- sizes -------------------------------------------------------------------------------- */

static oriel_status whole(const char *name, int value, int low, int high)
{
    if (value < low || value > high)
        return oriel_fail(ORIEL_E_ARG, "kv: %s %d: not %d to %d", name, value, low, high);
    return ORIEL_OK;
}

oriel_status kv_check(const oriel_kv_config *in, oriel_kv_config *c)
{
    oriel_status s;
    *c = *in;
    c->layers = c->layers ? c->layers : 1;
    c->batch = c->batch ? c->batch : 1;
    c->dim_v = c->dim_v ? c->dim_v : c->dim;
    c->theta = c->theta == 0 ? 10000 : c->theta;
    if ((s = whole("layers", c->layers, 1, 1024)) || (s = whole("batch", c->batch, 1, 65536)) ||
        (s = whole("heads", c->heads, 1, 4096)) || (s = whole("dim", c->dim, 1, 1024)) ||
        (s = whole("dim_v", c->dim_v, 1, 1024)) || (s = whole("rows", c->rows, 1, 16384)) ||
        (s = whole("columns", c->columns, 1, 16384)) ||
        (s = whole("window", c->window, 1, 65536)) || (s = whole("sink", c->sink, 0, c->window - 1)) ||
        (s = whole("position", (int)c->position, 0, ORIEL_KV_ANCHOR)) ||
        (s = whole("rope", (int)c->rope, 0, ORIEL_KV_ROPE_NONE)))
        return s;
    if (c->dtype != ORIEL_F32 && c->dtype != ORIEL_F16 && c->dtype != ORIEL_BF16 &&
        c->dtype != ORIEL_I8)
        return oriel_fail(ORIEL_E_ARG, "kv: dtype %s: not f32, f16, bf16 or i8",
                          oriel_dtype_name(c->dtype));
    if (c->dim % 2 && c->rope != ORIEL_KV_ROPE_NONE)
        return oriel_fail(ORIEL_E_ARG, "kv: dim %d: odd, so it has no pairs to rotate", c->dim);
    if (!(c->theta > 0 && isfinite(c->theta)))
        return oriel_fail(ORIEL_E_ARG, "kv: theta %g: not positive", c->theta);
    if (!(c->scale >= 0 && c->scale <= 1e30))
        return oriel_fail(ORIEL_E_ARG, "kv: scale %g: not 0 to 1e30", c->scale);
    c->scale = c->scale == 0 ? 1 / sqrt(c->dim) : c->scale;
    if (!(c->ema >= 0 && c->ema < 1))
        return oriel_fail(ORIEL_E_ARG, "kv: ema %g: not in [0, 1)", c->ema);
    if (c->ema > 0 && (c->sink == 0 || c->position == ORIEL_KV_ABSOLUTE))
        return oriel_fail(ORIEL_E_ARG, "kv: ema %g needs a sink (%d) and positions that are not absolute",
                          c->ema, c->sink);
    return ORIEL_OK;
}

/* Sums that remember an overflow. */
typedef struct sum {
    size_t n;
    bool   bad;
} sum;

static size_t times(sum *t, size_t a, size_t b)
{
    size_t r = 0;
    t->bad |= !oriel_mul_ok(a, b, &r);
    return r;
}

static size_t plus(sum *t, size_t bytes) /* returns where these begin */
{
    size_t at = t->n, up = 0;
    t->bad |= !oriel_add_ok(bytes, KV_ALIGN - 1, &up);
    t->bad |= !oriel_add_ok(at, up & ~(size_t)(KV_ALIGN - 1), &t->n);
    return at;
}

static kv_layout lay_out(const oriel_kv_config *c, oriel_dtype t, bool *bad)
{
    kv_layout l = {.dtype = t};
    sum       a = {0};
    size_t    vectors = times(&a, (size_t)c->batch * (size_t)c->heads,
                              (size_t)c->rows * (size_t)c->columns);
    size_t    size = oriel_dtype_size(t);
    plus(&a, times(&a, vectors, (size_t)c->dim * size));
    l.v = plus(&a, times(&a, vectors, (size_t)c->dim_v * size));
    if (t == ORIEL_I8) {
        l.k_scale = plus(&a, times(&a, vectors, sizeof(float)));
        l.v_scale = plus(&a, times(&a, vectors, sizeof(float)));
    }
    l.bytes = a.n;
    *bad |= a.bad || a.n > PTRDIFF_MAX;
    return l;
}

kv_layout kv_lay_out(const oriel_kv_config *c, oriel_dtype t)
{
    bool bad = false;
    return lay_out(c, t, &bad);
}

static oriel_dtype master_of(const oriel_kv_config *c)
{
    return c->ema > 0 && !c->ema_stored ? ORIEL_F32 : c->dtype;
}

static int padded(int dv)
{
    return (int)oriel_round_up(dv, KV_LANES);
}

static size_t scratch_of(const oriel_kv_config *c)
{
    size_t d = (size_t)c->dim, dv = (size_t)padded(c->dim_v);
    return (size_t)oriel_round_up((int64_t)(KV_QUERIES * (d + dv + KV_KEYS + 2) +
                                            KV_KEYS * (d + dv) + 2 * (d + dv)),
                                  KV_LANES);
}

/* Everything that is one allocation a cache: (count, size) of each, in the order of tables(). */
enum { TABLES = 11 };
static void table_sizes(const oriel_kv_config *c, int threads, size_t size[TABLES])
{
    size_t w = (size_t)c->window, blocks = (size_t)c->layers * w;
    size_t half = (size_t)c->dim / 2, side = half / 3, time = half - 2 * side;
    size_t all[TABLES] = {
        w * sizeof(kv_slot),
        w * sizeof(kv_slot),
        blocks * sizeof(kv_block *),
        blocks * sizeof(kv_block *),
        (size_t)c->layers * sizeof(bool),
        w * sizeof(double),
        (size_t)c->rows * side * 2 * sizeof(float),
        (size_t)c->columns * side * 2 * sizeof(float),
        w * time * 2 * sizeof(float),
        w * time * 2 * sizeof(float),
        w * sizeof(bool),
    };
    (void)threads;
    memcpy(size, all, sizeof all);
}

oriel_status kv_count(const oriel_kv_config *c, int threads, size_t *bytes)
{
    sum       total = {0};
    kv_layout stored = lay_out(c, c->dtype, &total.bad), master = lay_out(c, master_of(c), &total.bad);
    size_t    size[TABLES], layers = (size_t)c->layers;
    table_sizes(c, threads, size);
    total.n = sizeof(oriel_kv);
    for (int i = 0; i < TABLES; i++)
        total.n += size[i]; /* far from overflow: kv_check() */
    total.n += (size_t)threads * scratch_of(c) * sizeof(float);
    total.n += layers * (size_t)c->window * sizeof(kv_block);
    size_t ring = times(&total, layers * (size_t)(c->window - c->sink), stored.bytes);
    size_t sink = times(&total, layers * (size_t)c->sink, master.bytes);
    total.bad |= !oriel_add_ok(total.n, ring, &total.n);
    total.bad |= !oriel_add_ok(total.n, sink, &total.n);
    if (total.bad || total.n > PTRDIFF_MAX)
        return oriel_fail(ORIEL_E_ARG, "kv: larger than an address space");
    *bytes = total.n;
    return ORIEL_OK;
}

oriel_status oriel_kv_bytes(const oriel_kv_config *config, int threads, size_t *bytes)
{
    oriel_kv_config c;
    oriel_status    s;
    if (!config || !bytes)
        return oriel_fail(ORIEL_E_ARG, "kv: no configuration, or nowhere to put the bytes");
    if ((s = kv_check(config, &c)) || (s = whole("threads", threads, 1, 65536)))
        return s;
    return kv_count(&c, threads, bytes);
}

/* ---- blocks ------------------------------------------------------------------------------- */

kv_block *kv_block_new(const oriel_kv *kv, oriel_dtype t)
{
    kv_block *b = oriel_alloc(sizeof *b);
    if (!b)
        return NULL;
    *b = (kv_block){.refs = 1, .dtype = t};
    b->data = oriel_alloc_aligned(kv_layout_of(kv, b)->bytes);
    if (b->data)
        return b;
    oriel_dealloc(b);
    return NULL;
}

void kv_block_drop(kv_block **b)
{
    if (*b && --(*b)->refs == 0) {
        oriel_dealloc_aligned((*b)->data);
        oriel_dealloc(*b);
    }
    *b = NULL;
}

/* ---- a cache ------------------------------------------------------------------------------ */

static bool tables(oriel_kv *kv)
{
    size_t size[TABLES];
    table_sizes(&kv->c, 0, size);
    void **table[TABLES] = {(void **)&kv->slot,   (void **)&kv->next,   (void **)&kv->block,
                            (void **)&kv->fresh,  (void **)&kv->written, (void **)&kv->want,
                            (void **)&kv->rope_y, (void **)&kv->rope_x, (void **)&kv->rope_q,
                            (void **)&kv->rope_k, (void **)&kv->turn};
    for (int i = 0; i < TABLES; i++)
        if (!(*table[i] = oriel_alloc_zero(1, size[i])))
            return false;
    kv->scratch_each = scratch_of(&kv->c);
    kv->scratch = oriel_alloc_aligned((size_t)oriel_device_threads(kv->dev) * kv->scratch_each *
                                      sizeof(float));
    return kv->scratch;
}

/* All but the blocks. */
static oriel_kv *cache_new(oriel_device *dev, const oriel_kv_config *c)
{
    oriel_kv *kv = oriel_alloc_zero(1, sizeof *kv);
    if (!kv)
        return NULL;
    kv->dev = dev;
    kv->c = *c;
    kv->tokens = c->rows * c->columns;
    kv->master = master_of(c);
    kv->stored = kv_lay_out(c, c->dtype);
    kv->wide = kv_lay_out(c, ORIEL_F32);
    kv->pin = -1;
    int half = c->dim / 2, side = half / 3;
    kv->pairs[0] = half - 2 * side, kv->pairs[1] = kv->pairs[2] = side;
    if (!tables(kv)) {
        oriel_kv_free(&kv);
        return NULL;
    }
    for (int y = 0; y < c->rows; y++)
        kv_angles(kv->rope_y + (size_t)y * 2 * (size_t)side, y, side, c->theta);
    for (int x = 0; x < c->columns; x++)
        kv_angles(kv->rope_x + (size_t)x * 2 * (size_t)side, x, side, c->theta);
    return kv;
}

oriel_status oriel_kv_new(oriel_kv **out, oriel_device *dev, const oriel_kv_config *config)
{
    oriel_kv_config c;
    oriel_status    s;
    size_t          bytes;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "kv: nowhere to put the cache");
    *out = NULL;
    if (!dev || !config)
        return oriel_fail(ORIEL_E_ARG, "kv: no device or no configuration");
    if ((s = device_must_be_cpu(dev, "kv: caches are kept")) || (s = kv_check(config, &c)) || (s = kv_count(&c, oriel_device_threads(dev), &bytes)))
        return s;
    oriel_kv *kv = cache_new(dev, &c);
    if (!kv)
        return ORIEL_E_NOMEM;
    for (int layer = 0; layer < c.layers; layer++)
        for (int i = 0; i < c.window; i++) {
            kv_block *b = kv_block_new(kv, i < c.sink ? kv->master : c.dtype);
            if (!b) {
                oriel_kv_free(&kv);
                return ORIEL_E_NOMEM;
            }
            kv->block[(size_t)layer * (size_t)c.window + (size_t)i] = b;
        }
    *out = kv;
    return ORIEL_OK;
}

static size_t blocks_of(const oriel_kv *kv)
{
    return (size_t)kv->c.layers * (size_t)kv->c.window;
}

void oriel_kv_free(oriel_kv **pkv)
{
    oriel_kv *kv = pkv ? *pkv : NULL;
    if (!kv)
        return;
    *pkv = NULL;
    for (size_t i = 0; kv->block && i < blocks_of(kv); i++)
        kv_block_drop(&kv->block[i]);
    void *table[TABLES] = {kv->slot,   kv->next,   kv->block,  kv->fresh,  kv->written, kv->want,
                           kv->rope_y, kv->rope_x, kv->rope_q, kv->rope_k, kv->turn};
    for (int i = 0; i < TABLES; i++)
        oriel_dealloc(table[i]);
    oriel_dealloc_aligned(kv->scratch);
    oriel_dealloc(kv);
}

oriel_status oriel_kv_branch(oriel_kv **out, const oriel_kv *kv)
{
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "kv: nowhere to put the branch");
    *out = NULL;
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: nothing to branch from");
    oriel_kv *b = cache_new(kv->dev, &kv->c);
    if (!b)
        return ORIEL_E_NOMEM;
    memcpy(b->slot, kv->slot, (size_t)kv->c.window * sizeof *b->slot);
    memcpy(b->written, kv->written, (size_t)kv->c.layers * sizeof *b->written);
    for (size_t i = 0; i < blocks_of(kv); i++) {
        b->block[i] = kv->block[i];
        b->block[i]->refs++;
    }
    b->held = kv->held, b->chunk = kv->chunk, b->end = kv->end, b->unwritten = kv->unwritten;
    b->pin = kv->pin, b->jump = kv->jump;
    *out = b;
    return ORIEL_OK;
}

void oriel_kv_describe(const oriel_kv *kv, oriel_kv_info *info)
{
    size_t bytes = 0;
    *info = (oriel_kv_info){.config = kv->c, .held = kv->held, .end = kv->end,
                            .chunk = kv->chunk, .pinned = kv->pin};
    size_t size[TABLES];
    table_sizes(&kv->c, 0, size);
    bytes = sizeof *kv + blocks_of(kv) * sizeof(kv_block) +
            (size_t)oriel_device_threads(kv->dev) * kv->scratch_each * sizeof(float);
    for (int i = 0; i < TABLES; i++)
        bytes += size[i];
    for (size_t i = 0; i < blocks_of(kv); i++) {
        size_t n = kv_layout_of(kv, kv->block[i])->bytes;
        bytes += n;
        info->shared += kv->block[i]->refs > 1 ? n : 0;
    }
    info->bytes = bytes;
}

/* ---- positions ---------------------------------------------------------------------------- */

void kv_positions(const oriel_kv *kv, double *want)
{
    int sink = kv->c.sink;
    for (int i = 0; i < kv->held; i++) {
        want[i] = kv->c.position == ORIEL_KV_RELATIVE ? i : kv->slot[i].at;
        if (kv->c.position == ORIEL_KV_ANCHOR && i < sink && kv->held > sink)
            want[i] = kv->slot[sink].at - sink + i;
    }
}

int oriel_kv_frames(const oriel_kv *kv, int64_t *frame, double *position)
{
    if (position)
        kv_positions(kv, position);
    for (int i = 0; frame && i < kv->held; i++)
        frame[i] = kv->slot[i].frame;
    return kv->held;
}
