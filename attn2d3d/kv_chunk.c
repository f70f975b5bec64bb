/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks: what beginning one does to the frames held, and writing its keys and values.
 *
 * A change is made ready on the side (next, fresh) and put into force when nothing can fail any more.
 */
#include <math.h>

#include "attn2d3d/kv.h"

/* ---- what a chunk would change ------------------------------------------------------------ */

typedef struct change {
    int  held, frames, grow; /* afterwards; of the chunk; of these, new */
    int  leave;              /* frames that leave the ring */
    bool cut;                /* the pinned frames become the sink */
    bool fold;               /* what leaves is mixed into the sink */
} change;

/* The longest run of newest frames without a gap. */
static int unbroken(const oriel_kv *kv)
{
    int n = 0;
    while (n < kv->held && kv->slot[kv->held - 1 - n].frame == kv->end - 1 - n)
        n++;
    return n;
}

static oriel_status plan(const oriel_kv *kv, int64_t start, int frames, change *ch)
{
    const oriel_kv_config *c = &kv->c;
    int64_t                end = kv->held ? kv->end : start;
    if (frames < 1 || frames > c->window)
        return oriel_fail(ORIEL_E_ARG, "kv: a chunk of %d frames in a window of %d", frames, c->window);
    if (start < 0 || start > (int64_t)1 << 52)
        return oriel_fail(ORIEL_E_ARG, "kv: frame %lld: not 0 to 2^52", (long long)start);
    if (start > end || start + frames < end || start < end - unbroken(kv))
        return oriel_fail(ORIEL_E_ARG,
                          "kv: frames %lld to %lld: new ones begin at %lld, and the newest %d can be "
                          "written again",
                          (long long)start, (long long)(start + frames), (long long)end, unbroken(kv));
    for (int l = 0; l < c->layers && kv->chunk; l++)
        if (!kv->written[l] && start > kv->unwritten)
            return oriel_fail(ORIEL_E_ARG, "kv: layer %d has not written frame %lld", l,
                              (long long)kv->unwritten);
    *ch = (change){.frames = frames, .grow = (int)(start + frames - end)};
    ch->cut = kv->pin >= 0 && kv->held + ch->grow > c->window;
    if (ch->cut && ch->grow < frames && kv->pin + c->sink > start)
        return oriel_fail(ORIEL_E_ARG, "kv: frame %lld is written again and pinned", (long long)start);
    int held = kv->held - (ch->cut ? c->sink : 0);
    ch->leave = (int)oriel_max(0, held + ch->grow - c->window);
    ch->held = held + ch->grow - ch->leave;
    if (ch->leave && frames > c->window - c->sink)
        return oriel_fail(ORIEL_E_ARG, "kv: a chunk of %d frames does not fit beside a sink of %d in %d",
                          frames, c->sink, c->window);
    ch->fold = c->ema > 0 && ch->leave;
    if (ch->fold && ch->leave != c->sink)
        return oriel_fail(ORIEL_E_ARG, "kv: %d frames leave; an EMA sink of %d takes as many",
                          ch->leave, c->sink);
    return ORIEL_OK;
}

/* The first place that none of the slots uses. */
static int free_place(const kv_slot *s, int n, int window)
{
    for (int p = 0; p < window; p++) {
        int i = 0;
        while (i < n && s[i].place != p)
            i++;
        if (i == n)
            return p;
    }
    assert(0);
    return -1;
}

static void next_slots(oriel_kv *kv, int64_t start, const change *ch)
{
    int sink = kv->c.sink, n = 0, first = sink + ch->leave; /* that stays in the ring */
    if (ch->cut) {
        for (int i = sink; i < kv->held; i++)
            if (kv->slot[i].frame >= kv->pin && kv->slot[i].frame < kv->pin + sink)
                kv->next[n++] = kv->slot[i];
        int left = ch->leave;
        for (int i = sink; i < kv->held; i++)
            if ((kv->slot[i].frame < kv->pin || kv->slot[i].frame >= kv->pin + sink) && left-- <= 0)
                kv->next[n++] = kv->slot[i];
    } else {
        for (int i = 0; i < kv->held; i++)
            if (i < sink || i >= first)
                kv->next[n++] = kv->slot[i];
    }
    for (int i = ch->grow; i > 0; i--) {
        int64_t frame = start + ch->frames - i;
        kv->next[n] = (kv_slot){.frame = frame, .at = (double)frame + kv->jump};
        kv->next[n].place = free_place(kv->next, n, kv->c.window);
        n++;
    }
    assert(n == ch->held);
}

/* ---- blocks for it ------------------------------------------------------------------------ */

static size_t index_of(const oriel_kv *kv, int layer, const kv_slot *s)
{
    return (size_t)layer * (size_t)kv->c.window + (size_t)s->place;
}

/* Is slot i of next written to by this chunk, or mixed into? */
static bool changes(const oriel_kv *kv, const change *ch, int i)
{
    return i >= ch->held - ch->frames || (ch->fold && i < kv->c.sink);
}

/* Make a block wherever one is needed that is shared, or of another type. */
static bool prepare(oriel_kv *kv, const change *ch)
{
    for (int layer = 0; layer < kv->c.layers; layer++)
        for (int i = 0; i < ch->held; i++) {
            size_t      at = index_of(kv, layer, &kv->next[i]);
            oriel_dtype t = i < kv->c.sink ? kv->master : kv->c.dtype;
            kv_block   *b = kv->block[at];
            if (b->dtype == t && (b->refs == 1 || !changes(kv, ch, i)))
                continue;
            if (!(kv->fresh[at] = kv_block_new(kv, t)))
                return false;
        }
    return true;
}

static void unprepare(oriel_kv *kv)
{
    size_t n = (size_t)kv->c.layers * (size_t)kv->c.window;
    for (size_t i = 0; i < n; i++)
        kv_block_drop(&kv->fresh[i]);
}

static int64_t vectors(const oriel_kv *kv)
{
    return (int64_t)kv->c.batch * kv->c.heads * kv->tokens;
}

/* Everything that `from` holds, in the type of `to`. */
static void copy_block(const oriel_kv *kv, kv_block *to, const kv_block *from, float *row)
{
    if (to->dtype == from->dtype) {
        memcpy(to->data, from->data, kv_layout_of(kv, to)->bytes);
        return;
    }
    for (int v = 0; v < 2; v++)
        for (int64_t i = 0; i < vectors(kv); i++) {
            kv_load(kv, from, v, i, row);
            kv_store(kv, to, v, i, row);
        }
}

/* Put the blocks of slots [begin, end) of next into force; with their content if `keep`. */
static void enforce(oriel_kv *kv, int begin, int end, bool keep)
{
    for (int layer = 0; layer < kv->c.layers; layer++)
        for (int i = begin; i < end; i++) {
            size_t at = index_of(kv, layer, &kv->next[i]);
            if (!kv->fresh[at])
                continue;
            if (keep)
                copy_block(kv, kv->fresh[at], kv->block[at], kv->scratch);
            kv_block_drop(&kv->block[at]);
            kv->block[at] = kv->fresh[at];
            kv->fresh[at] = NULL;
        }
}

/* ---- the EMA sink ------------------------------------------------------------------------- */

static const kv_slot *leaving(const oriel_kv *kv, const change *ch, int i)
{
    int sink = kv->c.sink;
    if (!ch->cut)
        return &kv->slot[sink + i];
    for (int j = sink; j < kv->held; j++)
        if ((kv->slot[j].frame < kv->pin || kv->slot[j].frame >= kv->pin + sink) && i-- == 0)
            return &kv->slot[j];
    assert(0);
    return NULL;
}

typedef struct fold_job {
    oriel_kv     *kv;
    const change *ch;
} fold_job;

/* Mix vector `row` of e into s; time (pairs, 2) turns e's keys to where s stands, NULL: as they are. */
static void fold_row(const oriel_kv *kv, kv_block *s, const kv_block *e, bool v, int64_t row,
                     const float *time, float *x, float *y)
{
    int n = v ? kv->c.dim_v : kv->c.dim;
    kv_load(kv, s, v, row, x);
    kv_load(kv, e, v, row, y);
    if (time)
        kv_turn(y, time, kv->pairs[0]);
    for (int i = 0; i < n; i++)
        x[i] = (float)(kv->c.ema * (double)x[i] + (1 - kv->c.ema) * (double)y[i]);
    kv_store(kv, s, v, row, x);
}

static void fold_some(void *arg, int64_t begin, int64_t end, int worker)
{
    const fold_job *j = arg;
    oriel_kv       *kv = j->kv;
    int             sink = kv->c.sink;
    float *x = kv->scratch + (size_t)worker * kv->scratch_each, *y = x + kv->c.dim + kv->c.dim_v;
    for (int64_t item = begin; item < end; item++) {
        int            layer = (int)(item / sink), i = (int)(item % sink);
        const kv_slot *from = leaving(kv, j->ch, i), *to = &kv->next[i];
        kv_block      *s = kv->block[index_of(kv, layer, to)];
        const kv_block *e = kv_at(kv, layer, from);
        const float   *time =
            kv->c.rope == ORIEL_KV_ROPE_WRITE ? kv->rope_k + (size_t)i * 2 * (size_t)kv->pairs[0] : NULL;
        for (int64_t row = 0; row < vectors(kv); row++) {
            fold_row(kv, s, e, false, row, time, x, y);
            fold_row(kv, s, e, true, row, NULL, x, y);
        }
    }
}

static void fold(oriel_kv *kv, const change *ch)
{
    for (int i = 0; i < kv->c.sink; i++)
        kv_angles(kv->rope_k + (size_t)i * 2 * (size_t)kv->pairs[0],
                  kv->next[i].at - leaving(kv, ch, i)->at, kv->pairs[0], kv->c.theta);
    fold_job j = {kv, ch};
    oriel_parallel_for(kv->dev->pool, (int64_t)kv->c.layers * kv->c.sink, 1, fold_some, &j);
}

/* ---- begin -------------------------------------------------------------------------------- */

oriel_status oriel_kv_begin(oriel_kv *kv, int64_t start, int frames)
{
    change       ch;
    oriel_status s;
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    if ((s = plan(kv, start, frames, &ch)))
        return s;
    next_slots(kv, start, &ch);
    if (!prepare(kv, &ch)) {
        unprepare(kv);
        return ORIEL_E_NOMEM;
    }
    enforce(kv, 0, ch.held - ch.grow, true);
    if (ch.fold)
        fold(kv, &ch);
    enforce(kv, ch.held - ch.grow, ch.held, false);
    memcpy(kv->slot, kv->next, (size_t)ch.held * sizeof *kv->slot);
    kv->held = ch.held;
    kv->chunk = frames;
    kv->end = start + frames;
    if (ch.cut)
        kv->pin = -1;
    if (ch.grow) {
        memset(kv->written, 0, (size_t)kv->c.layers * sizeof *kv->written);
        kv->unwritten = start;
    }
    return ORIEL_OK;
}

/* ---- write -------------------------------------------------------------------------------- */

/* q, k, v or out: (B, N, heads, n), channels contiguous */
oriel_status kv_check_tensor(const oriel_kv *kv, const char *name, const oriel_tensor *t, int n)
{
    int64_t tokens = (int64_t)kv->chunk * kv->tokens;
    char    text[128];
    if (!t || !t->data)
        return oriel_fail(ORIEL_E_ARG, "kv: no %s", name);
    if (t->dtype != ORIEL_F32 && t->dtype != ORIEL_F16 && t->dtype != ORIEL_BF16)
        return oriel_fail(ORIEL_E_ARG, "kv: %s is %s: not f32, f16 or bf16", name,
                          oriel_dtype_name(t->dtype));
    if (t->ndim != 4 || t->shape[0] != kv->c.batch || t->shape[1] != tokens || t->shape[2] < 1 ||
        t->shape[2] > 65536 || t->shape[2] % kv->c.heads || t->shape[3] != n ||
        (n > 1 && t->stride[3] != 1))
        return oriel_fail(ORIEL_E_ARG,
                          "kv: %s is %s: not (%d, %lld, a multiple of %d, %d), channels contiguous",
                          name, oriel_tensor_str(t, text, sizeof text), kv->c.batch,
                          (long long)tokens, kv->c.heads, n);
    return ORIEL_OK;
}

oriel_status kv_check_call(const oriel_kv *kv, int layer)
{
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    if (layer < 0 || layer >= kv->c.layers)
        return oriel_fail(ORIEL_E_ARG, "kv: layer %d: not 0 to %d", layer, kv->c.layers - 1);
    if (!kv->chunk)
        return oriel_fail(ORIEL_E_ARG, "kv: no chunk was begun");
    return ORIEL_OK;
}

typedef struct write_job {
    oriel_kv           *kv;
    int                 layer;
    const oriel_tensor *k, *v;
} write_job;

/* Item: a frame of the chunk, one batch entry and one head of it. */
static void write_some(void *arg, int64_t begin, int64_t end, int worker)
{
    const write_job *j = arg;
    oriel_kv        *kv = j->kv;
    float           *x = kv->scratch + (size_t)worker * kv->scratch_each;
    int64_t          each = (int64_t)kv->c.batch * kv->c.heads;
    for (int64_t item = begin; item < end; item++) {
        int      f = (int)(item / each), bh = (int)(item % each);
        int      b = bh / kv->c.heads, h = bh % kv->c.heads;
        kv_block *block = kv_at(kv, j->layer, &kv->slot[kv->held - kv->chunk + f]);
        for (int i = 0; i < kv->tokens; i++) {
            int64_t n = (int64_t)f * kv->tokens + i, row = (int64_t)bh * kv->tokens + i;
            const oriel_tensor *k = j->k, *v = j->v;
            kv_read(x, k, b * k->stride[0] + n * k->stride[1] + h * k->stride[2], kv->c.dim);
            if (kv->c.rope == ORIEL_KV_ROPE_WRITE)
                kv_turn3(kv, x, kv->rope_k + (size_t)f * 2 * (size_t)kv->pairs[0], i);
            kv_store(kv, block, false, row, x);
            kv_read(x, v, b * v->stride[0] + n * v->stride[1] + h * v->stride[2], kv->c.dim_v);
            kv_store(kv, block, true, row, x);
        }
    }
}

oriel_status oriel_kv_write(oriel_kv *kv, int layer, const oriel_tensor *k, const oriel_tensor *v)
{
    oriel_status s;
    if ((s = kv_check_call(kv, layer)) || (s = kv_check_tensor(kv, "k", k, kv->c.dim)) ||
        (s = kv_check_tensor(kv, "v", v, kv->c.dim_v)))
        return s;
    if (k->shape[2] != kv->c.heads || v->shape[2] != kv->c.heads)
        return oriel_fail(ORIEL_E_ARG, "kv: k has %lld heads and v %lld: not %d",
                          (long long)k->shape[2], (long long)v->shape[2], kv->c.heads);
    for (int f = 0; f < kv->chunk; f++)
        kv_angles(kv->rope_k + (size_t)f * 2 * (size_t)kv->pairs[0],
                  kv->slot[kv->held - kv->chunk + f].at, kv->pairs[0], kv->c.theta);
    write_job j = {kv, layer, k, v};
    oriel_parallel_for(kv->dev->pool, (int64_t)kv->chunk * kv->c.batch * kv->c.heads, 1, write_some, &j);
    kv->written[layer] = true;
    return ORIEL_OK;
}

/* ---- the rest ----------------------------------------------------------------------------- */

void oriel_kv_reset(oriel_kv *kv)
{
    kv->held = kv->chunk = 0;
    kv->pin = -1;
}

/* Where in the ring frames [first, first + n) begin, as slots without a gap; -1: they are not there. */
static int find(const oriel_kv *kv, int64_t first, int n)
{
    for (int i = kv->c.sink; i + n <= kv->held; i++)
        if (kv->slot[i].frame == first && kv->slot[i + n - 1].frame - first == n - 1)
            return i;
    return -1;
}

oriel_status oriel_kv_evict(oriel_kv *kv, int frames)
{
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    int sink = kv->c.sink, most = (int)oriel_max(0, kv->held - sink - kv->chunk);
    if (kv->pin >= 0)
        most = (int)oriel_min(most, find(kv, kv->pin, sink) - sink);
    if (frames < 0 || frames > most)
        return oriel_fail(ORIEL_E_ARG, "kv: %d frames to evict: not 0 to %d", frames, most);
    memmove(kv->slot + sink, kv->slot + sink + frames,
            (size_t)oriel_max(0, kv->held - sink - frames) * sizeof *kv->slot);
    kv->held -= frames;
    return ORIEL_OK;
}

oriel_status oriel_kv_pin(oriel_kv *kv, int64_t first)
{
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    if (first != -1 && (kv->c.sink == 0 || first < 0 || find(kv, first, kv->c.sink) < 0))
        return oriel_fail(ORIEL_E_ARG, "kv: frames %lld to %lld are not in the ring, or there is no sink",
                          (long long)first, (long long)first + kv->c.sink);
    kv->pin = first;
    return ORIEL_OK;
}

oriel_status oriel_kv_jump(oriel_kv *kv, double frames)
{
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    if (!isfinite(frames) || fabs(kv->jump + frames) > 0x1p52)
        return oriel_fail(ORIEL_E_ARG, "kv: a jump of %g frames", frames);
    kv->jump += frames;
    return ORIEL_OK;
}
