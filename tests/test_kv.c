/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame cache: the configurations of the project's oracle (golden/kv.bin), random operations
 * against the list of kv_model.h, and what the arguments may be.
 *
 *     test_kv [SEED]     one seed of the random operations alone
 */
#include "attn2d3d/kv.h"
#include "hash.h"
#include "kv_model.h"
#include "test.h"

static oriel_device *dev;

/* ---- bounds ------------------------------------------------------------------------------- */

/* Relative error of storage, of numbers up to 2 in magnitude; i8 has a step of amax / 127. */
static double storage_error(oriel_dtype t)
{
    return t == ORIEL_F32 ? 0x1p-24 : t == ORIEL_F16 ? 0x1p-11 : t == ORIEL_BF16 ? 0x1p-8 : 0.5 / 127;
}

/*
 * How far attention may be from the truth where |q|, |k|, |v| <= 2: each product of the logits has
 * the error of a stored key and some roundings of fp32 (rotations, sum), and sum |q||k| <= 4 D; pairs
 * mix, which is at most a factor sqrt 2. If no logit is wrong by more than e, no weight is by more
 * than exp(2e) - 1, relatively. e is also the bound of lse, but for its own rounding.
 */
static double logit_bound(const oriel_kv_config *c, double stored)
{
    return 4 * c->dim * c->scale * (1.5 * stored + (c->dim + 16) * 0x1p-24);
}
static double out_bound(const oriel_kv_config *c, int keys, double stored)
{
    return 2 * (expm1(2 * logit_bound(c, stored)) + stored + (keys + 16) * 0x1p-24);
}

/* ---- the oracle's configurations ---------------------------------------------------------- */

enum { H = 2, D = 12, ROWS = 2, COLUMNS = 3, MOST = 21 * ROWS * COLUMNS * D * H };

static const struct {
    int window, sink, n;
} sizes[] = {{9, 3, 3}, {12, 3, 3}, {6, 1, 1}, {7, 0, 2}, {8, 2, 2}, {5, 1, 2}, {21, 3, 3}, {7, 3, 2}};

/* One configuration: 14 chunks of 5 passes; want: 9 numbers a pass. Returns the largest error. */
static double run_golden(const oriel_kv_config *c, int n, int run, const float *want, double *bound)
{
    static float x[3 * MOST], out[MOST];
    int          tokens = n * ROWS * COLUMNS, count = H * tokens * D;
    oriel_kv    *kv = NULL;
    double       worst = 0;
    CHECK_OK(oriel_kv_new(&kv, dev, c));
    /* the oracle's (H, N, D) read as (1, N, H, D) */
    oriel_tensor t = oriel_tensor_of(x, ORIEL_F32, 4, (int64_t[]){1, tokens, H, D});
    t.stride[1] = D, t.stride[2] = (int64_t)tokens * D;
    for (int step = 0; step < 70 && kv; step++, want += 9) {
        uint64_t seed = (uint64_t)(run * 100 + step + 1);
        double   sum = 0, weights = 0;
        for (int i = 0; i < 3 * count; i++)
            x[i] = (2 * test_unit(seed, (uint64_t)i) - 1) * 2;
        oriel_tensor q = t, k = t, v = t, o = t;
        k.data = x + count, v.data = x + 2 * count, o.data = out;
        if (oriel_kv_begin(kv, step / 5 * n, n) || oriel_kv_write(kv, 0, &k, &v) ||
            oriel_kv_attend(kv, 0, &q, &o, NULL)) {
            CHECK(!"a call failed");
            break;
        }
        *bound = out_bound(&kv->c, kv->held * ROWS * COLUMNS, 0x1p-24);
        for (int i = 0; i < 8; i++) {
            uint64_t pick = test_hash(seed + 100000, (uint64_t)i) % (uint64_t)count;
            worst = fmax(worst, fabs((double)out[pick] - want[i]));
        }
        for (int i = 0; i < count; i++) {
            double w = 2 * (double)test_unit(seed + 200000, (uint64_t)i) - 1;
            sum += w * out[i], weights += fabs(w);
        }
        CHECK_NUM(fabs(sum - want[8]), <=, weights * *bound + fabs(want[8]) * 0x1p-24);
    }
    oriel_kv_free(&kv);
    return worst;
}

static void test_golden(const char *level)
{
    static float want[34 * 70 * 9 + 1];
    FILE *f = fopen("tests/golden/kv.bin", "rb");
    size_t read = f ? fread(want, sizeof *want, 34 * 70 * 9 + 1, f) : 0;
    CHECK_INT(read, ==, 34 * 70 * 9);
    if (f)
        fclose(f);
    if (read != 34 * 70 * 9)
        return;
    int    run = 0;
    double worst = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int pos = 0; pos < 3; pos++)
            for (int ema = 0; ema < 2; ema++) {
                int window = sizes[i].window, sink = sizes[i].sink, n = sizes[i].n;
                if (ema && (pos == 0 || sink != n || (window - sink) % n))
                    continue;
                for (int rope = 0; rope < 2; rope++) {
                    oriel_kv_config c = {.heads = H, .dim = D, .rows = ROWS, .columns = COLUMNS,
                                         .window = window, .sink = sink, .ema = ema * 0.9,
                                         .position = (oriel_kv_position)pos, .rope = (oriel_kv_rope)rope};
                    double bound = 0, e = run_golden(&c, n, run, want + run * 70 * 9, &bound);
                    CHECK_NUM(e, <=, bound);
                    worst = fmax(worst, e);
                }
                run++;
            }
    CHECK_INT(run, ==, 34);
    printf("%s: 34 configurations, rotated when written and when read: error %.2g\n", level, worst);
}

/* ---- random operations -------------------------------------------------------------------- */

typedef struct dice {
    uint64_t seed, n;
} dice;

static int roll(dice *d, int low, int high)
{
    return high < low ? low : low + (int)(test_hash(d->seed, d->n++) % (uint64_t)(high - low + 1));
}

enum { PAIRS = 3 };
static model     models[PAIRS];
static oriel_kv *caches[PAIRS];
static double    worst_of[ORIEL_DTYPE_COUNT];

static oriel_kv_config random_config(dice *d)
{
    static const oriel_dtype types[] = {ORIEL_F32, ORIEL_F16, ORIEL_BF16, ORIEL_I8};
    oriel_kv_config c = {.layers = roll(d, 1, 2), .batch = roll(d, 1, 2), .heads = roll(d, 1, 2),
                         .dim = 2 * roll(d, 1, 9), .dim_v = roll(d, 1, 19), .rows = roll(d, 1, 2),
                         .columns = roll(d, 1, 3)};
    c.window = roll(d, 2, 9);
    c.sink = roll(d, 0, c.window - 1);
    c.dtype = types[roll(d, 0, 3)];
    c.position = (oriel_kv_position)roll(d, 0, 2);
    c.rope = (oriel_kv_rope)roll(d, 0, 2);
    c.theta = roll(d, 0, 1) ? 0 : 50;
    if (c.position != ORIEL_KV_ABSOLUTE && c.sink && c.sink <= c.window - c.sink && roll(d, 0, 1)) {
        c.ema = 0.7;
        c.ema_stored = roll(d, 0, 1);
    }
    return c;
}

/* Storage error after what was mixed into the sink. */
static double stored_error(const model *m)
{
    double e = storage_error(m->c.dtype), most = e;
    for (int i = 0; i < m->held; i++) /* each mixing rounds again; what was there counts less */
        if (m->f[i].mixed && m->c.ema_stored)
            most = fmax(most, e * (1 + fmin(m->f[i].mixed, 1 / (1 - m->c.ema))));
    return most;
}

static oriel_tensor tensor(void *x, oriel_dtype t, int64_t b, int64_t n, int64_t h, int64_t d)
{
    return oriel_tensor_of(x, t, 4, (int64_t[]){b, n, h, d});
}

static void compare(dice *d, oriel_kv *kv, model *m, int layer)
{
    static float  q[MODEL_FRAMES * MODEL_FLOATS * 2], out[MODEL_FRAMES * MODEL_FLOATS * 2 * 19];
    static float  lse[MODEL_FRAMES * MODEL_FLOATS];
    const oriel_kv_config *c = &m->c;
    int    n = m->chunk * c->rows * c->columns, group = roll(d, 1, 2), heads = c->heads * group;
    double qd[64], want[64], stored = stored_error(m), wrong = 0, wrong_lse = 0;
    for (int i = 0; i < c->batch * n * heads * c->dim; i++)
        q[i] = (2 * test_unit(d->seed, d->n++) - 1) * 2;
    oriel_tensor tq = tensor(q, ORIEL_F32, c->batch, n, heads, c->dim);
    oriel_tensor to = tensor(out, ORIEL_F32, c->batch, n, heads, c->dim_v);
    oriel_tensor tl = oriel_tensor_of(lse, ORIEL_F32, 3, to.shape);
    memset(out, 0xff, sizeof out); /* NaN */
    CHECK_OK(oriel_kv_attend(kv, layer, &tq, &to, &tl));
    for (int i = 0; i < c->batch * n * heads; i++) {
        int b = i / heads / n, h = i % heads / group;
        for (int j = 0; j < c->dim; j++)
            qd[j] = q[i * c->dim + j];
        double l = model_attend(m, layer, b, i / heads % n, h, qd, want);
        wrong_lse = fmax(wrong_lse, isnan(lse[i]) ? INFINITY : fabs(l - lse[i]));
        for (int j = 0; j < c->dim_v; j++) {
            float o = out[i * c->dim_v + j];
            wrong = fmax(wrong, isnan(o) ? INFINITY : fabs(want[j] - o));
        }
    }
    int keys = m->held * c->rows * c->columns;
    CHECK_NUM(wrong, <=, out_bound(c, keys, stored));
    CHECK_NUM(wrong_lse, <=, logit_bound(c, stored) + (keys + 100) * 0x1p-24);
    CHECK(isnan(out[c->batch * n * heads * c->dim_v]));
    worst_of[c->dtype] = fmax(worst_of[c->dtype], wrong);
}

/* Every layer writes the chunk in a type of its own, and looks. */
static void write_chunk(dice *d, oriel_kv *kv, model *m)
{
    static float    k[MODEL_FRAMES * MODEL_FLOATS], v[MODEL_FRAMES * MODEL_FLOATS];
    static uint16_t half[2][MODEL_FRAMES * MODEL_FLOATS];
    static double   kd[MODEL_FRAMES * MODEL_FLOATS], vd[MODEL_FRAMES * MODEL_FLOATS];
    const oriel_kv_config *c = &m->c;
    int n = m->chunk * c->rows * c->columns, nk = c->batch * n * c->heads * c->dim;
    int nv = c->batch * n * c->heads * c->dim_v;
    for (int layer = 0; layer < c->layers; layer++) {
        oriel_dtype t = (oriel_dtype)roll(d, 0, 2); /* F32, F16, BF16 */
        for (int i = 0; i < nk + nv; i++) {
            float x = (2 * test_unit(d->seed, d->n++) - 1) * 2, y = x;
            int   at = i < nk ? i : i - nk;
            half[i >= nk][at] = t == ORIEL_F16 ? oriel_f32_to_f16(x) : oriel_f32_to_bf16(x);
            if (t != ORIEL_F32)
                y = t == ORIEL_F16 ? oriel_f16_to_f32(half[i >= nk][at])
                                   : oriel_bf16_to_f32(half[i >= nk][at]);
            (i < nk ? k : v)[at] = y;
            (i < nk ? kd : vd)[at] = y;
        }
        oriel_tensor tk = tensor(t ? (void *)half[0] : k, t, c->batch, n, c->heads, c->dim);
        oriel_tensor tv = tensor(t ? (void *)half[1] : v, t, c->batch, n, c->heads, c->dim_v);
        CHECK_OK(oriel_kv_write(kv, layer, &tk, &tv));
        model_write(m, layer, kd, vd);
        if (roll(d, 0, 2))
            compare(d, kv, m, layer);
    }
}

static void same_state(const oriel_kv *kv, const model *m)
{
    int64_t       frame[MODEL_FRAMES];
    double        at[MODEL_FRAMES];
    oriel_kv_info info;
    oriel_kv_describe(kv, &info);
    bool same = oriel_kv_frames(kv, frame, at) == m->held && info.held == m->held && info.pinned == m->pin;
    for (int i = 0; i < m->held && same; i++)
        same = frame[i] == m->f[i].number && fabs(at[i] - model_time(m, i)) < 1e-6;
    CHECK(same && (!m->held || info.end == m->end));
}

/* The longest run of newest frames. */
static int newest(const model *m)
{
    int n = 0;
    while (n < m->held && m->f[m->held - 1 - n].number == m->end - 1 - n)
        n++;
    return n;
}

/* Is this a chunk that may begin? By the words of kv.h. */
static bool legal(const model *m, int64_t start, int n)
{
    int64_t end = m->held ? m->end : start;
    if (n < 1 || n > m->c.window || start < 0 || start > end || start + n < end || end - start > newest(m))
        return false;
    int grow = (int)(start + n - end), held = m->held + grow;
    if (held > m->c.window && m->pin >= 0) {
        if (grow < n && m->pin + m->c.sink > start)
            return false;
        held -= m->c.sink;
    }
    int leave = held - m->c.window;
    return leave <= 0 || (n <= m->c.window - m->c.sink && (m->c.ema <= 0 || leave == m->c.sink));
}

static void do_chunk(dice *d, oriel_kv *kv, model *m)
{
    int     n = roll(d, 0, 3) && m->c.ema > 0 ? m->c.sink : roll(d, 1, m->c.window);
    int64_t start = m->held ? m->end : roll(d, 0, 1) ? 0 : roll(d, 1, 1 << 30);
    int     kind = roll(d, 0, 9);
    if (m->held && kind < 4) /* a pass again, or a longer run of the newest */
        n = kind < 3 ? m->chunk : roll(d, 1, newest(m)), start = m->end - n;
    else if (m->held && kind == 4) /* an overlap */
        start -= roll(d, 0, n);
    else if (kind == 5) /* nonsense, most of the time */
        start += roll(d, -5, 5);
    if (legal(m, start, n)) {
        CHECK_OK(oriel_kv_begin(kv, start, n));
        model_begin(m, start, n);
        write_chunk(d, kv, m);
    } else {
        CHECK_FAILS(oriel_kv_begin(kv, start, n), ORIEL_E_ARG);
    }
    same_state(kv, m);
}

static void do_evict(dice *d, oriel_kv *kv, model *m)
{
    int most = m->held - m->c.sink - m->chunk;
    for (int i = 0; i < most && m->pin >= 0; i++)
        if (m->f[m->c.sink + i].number == m->pin)
            most = i;
    most = most > 0 ? most : 0;
    CHECK_FAILS(oriel_kv_evict(kv, most + 1), ORIEL_E_ARG);
    int n = roll(d, 0, most);
    CHECK_OK(oriel_kv_evict(kv, n));
    while (n--)
        model_remove(m, m->c.sink, NULL);
}

static void do_pin(dice *d, oriel_kv *kv, model *m)
{
    int     at = roll(d, 0, m->held), last = at + m->c.sink - 1;
    int64_t first = at < m->held ? m->f[at].number : 77777;
    bool    ok = m->c.sink && at >= m->c.sink && last < m->held &&
              m->f[last].number == first + m->c.sink - 1;
    if (ok) {
        CHECK_OK(oriel_kv_pin(kv, first));
        m->pin = first;
    } else {
        CHECK_FAILS(oriel_kv_pin(kv, first), ORIEL_E_ARG);
    }
}

/* Written and read again: the same bits from the next query, and in the next file. */
static void do_file(oriel_kv **kv)
{
    size_t         n = oriel_kv_encoded_size(*kv);
    unsigned char *bytes = malloc(n), *again = malloc(n);
    oriel_kv      *copy = NULL;
    CHECK_OK(oriel_kv_encode(*kv, bytes, n));
    CHECK_OK(oriel_kv_decode(&copy, dev, bytes, n, NULL));
    if (copy) {
        CHECK_INT(oriel_kv_encoded_size(copy), ==, n);
        CHECK_OK(oriel_kv_encode(copy, again, n));
        CHECK(!memcmp(bytes, again, n));
        oriel_kv_free(kv);
        *kv = copy;
    }
    free(bytes);
    free(again);
}

static void one_step(dice *d, int *live)
{
    int       i = roll(d, 0, *live - 1), what = roll(d, 0, 19);
    model    *m = &models[i];
    oriel_kv *kv = caches[i];
    if (what < 12) {
        do_chunk(d, kv, m);
    } else if (what == 12) {
        do_evict(d, kv, m);
    } else if (what < 15) {
        do_pin(d, kv, m);
    } else if (what == 15) {
        double by = roll(d, -4, 16) * 0.5;
        CHECK_OK(oriel_kv_jump(kv, by));
        m->jump += by;
    } else if (what == 16) {
        do_file(&caches[i]);
    } else if (what == 17 && *live < PAIRS) {
        CHECK_OK(oriel_kv_branch(&caches[*live], kv));
        models[(*live)++] = *m;
    } else if (what == 18 && *live > 1) {
        oriel_kv_free(&caches[i]);
        caches[i] = caches[--*live];
        models[i] = models[*live];
    } else if (what == 19 && roll(d, 0, 3) == 0) {
        oriel_kv_reset(kv);
        m->held = m->chunk = 0, m->pin = -1;
    }
    for (int j = 0; j < *live; j++)
        same_state(caches[j], &models[j]);
}

static void test_random(uint64_t seed)
{
    dice            d = {.seed = seed};
    oriel_kv_config c = random_config(&d);
    int             live = 1, before = test_failed;
    if (oriel_kv_new(&caches[0], dev, &c)) {
        CHECK(!"a cache");
        return;
    }
    memset(&models[0], 0, sizeof models[0]);
    models[0].c = caches[0]->c;
    models[0].pin = -1;
    for (int step = 0; step < 40; step++)
        one_step(&d, &live);
    for (int i = 0; i < live; i++) { /* branches are what they were, whatever the others wrote */
        for (int l = 0; l < models[i].c.layers && models[i].chunk; l++)
            compare(&d, caches[i], &models[i], l);
        oriel_kv_free(&caches[i]);
    }
    if (test_failed > before)
        fprintf(stderr, "repeat with: test_kv %llu\n", (unsigned long long)seed);
}

/* More queries than a tile takes, and keys of several tiles. */
static void test_wide(void)
{
    oriel_kv_config c = {.heads = 1, .dim = 2, .rows = 17, .columns = 17, .window = 2, .sink = 1,
                         .position = ORIEL_KV_RELATIVE};
    dice            d = {.seed = 5};
    CHECK_OK(oriel_kv_new(&caches[0], dev, &c));
    memset(&models[0], 0, sizeof models[0]);
    models[0].c = caches[0]->c;
    models[0].pin = -1;
    for (int f = 0; f < 3; f++) {
        CHECK_OK(oriel_kv_begin(caches[0], f, 1));
        model_begin(&models[0], f, 1);
        write_chunk(&d, caches[0], &models[0]);
    }
    compare(&d, caches[0], &models[0], 0);
    oriel_kv_free(&caches[0]);
}

/* ---- figures of doc/frame-cache.md -------------------------------------------------------- */

/* A rollout at D 128 with numbers of variance 1: what storage does to the output, against f32. */
static void test_storage(void)
{
    enum { N = 3 * 48, HEADS = 2, WIDE = 128, COUNT = N * HEADS * WIDE };
    static const oriel_dtype types[] = {ORIEL_F32, ORIEL_F16, ORIEL_BF16, ORIEL_I8};
    static float x[3 * COUNT], out[4][COUNT];
    oriel_kv    *kv[4] = {0};
    for (int i = 0; i < 4; i++)
        CHECK_OK(oriel_kv_new(&kv[i], dev, &(oriel_kv_config){.heads = HEADS, .dim = WIDE, .rows = 6,
                                           .columns = 8, .window = 12, .sink = 3, .dtype = types[i],
                                           .position = ORIEL_KV_ANCHOR}));
    for (int chunk = 0; chunk < 6; chunk++) {
        for (int i = 0; i < 3 * COUNT; i++)
            x[i] = (2 * test_unit(777 + (uint64_t)chunk, (uint64_t)i) - 1) * 1.7320508f;
        oriel_tensor q = tensor(x, ORIEL_F32, 1, N, HEADS, WIDE), k = q, v = q, o = q;
        k.data = x + COUNT, v.data = x + 2 * COUNT;
        for (int i = 0; i < 4; i++) {
            o.data = out[i];
            CHECK_OK(oriel_kv_begin(kv[i], chunk * 3, 3));
            CHECK_OK(oriel_kv_write(kv[i], 0, &k, &v));
            CHECK_OK(oriel_kv_attend(kv[i], 0, &q, &o, NULL));
        }
    }
    double all = 0;
    for (int j = 0; j < COUNT; j++)
        all += (double)out[0][j] * out[0][j] / COUNT;
    for (int i = 1; i < 4; i++) {
        double rms = 0, worst = 0;
        for (int j = 0; j < COUNT; j++) {
            double e = (double)out[i][j] - out[0][j];
            rms += e * e / COUNT, worst = fmax(worst, fabs(e));
        }
        printf("storage %-4s error of the output: rms %.1e, largest %.1e of its rms\n",
               oriel_dtype_name(types[i]), sqrt(rms / all), worst / sqrt(all));
        CHECK_NUM(worst, <=, out_bound(&kv[i]->c, 12 * 48, storage_error(types[i])));
        CHECK_NUM(sqrt(rms / all), >, 1e-6); /* it is stored in this type indeed */
        oriel_kv_free(&kv[i]);
    }
    oriel_kv_free(&kv[0]);
}

/* A sink of bf16 that takes a thousandth of what leaves, 200 times: the mean of what arrives. */
static double ema_drift(bool stored)
{
    enum { WIDE = 512, N = 64 };
    static float    x[N * WIDE], row[WIDE];
    oriel_kv_config c = {.heads = 1, .dim = WIDE, .rows = 8, .columns = 8, .window = 2, .sink = 1,
                         .dtype = ORIEL_BF16, .position = ORIEL_KV_RELATIVE, .ema = 0.999,
                         .ema_stored = stored, .rope = ORIEL_KV_ROPE_READ};
    oriel_tensor    t = tensor(x, ORIEL_F32, 1, N, 1, WIDE);
    oriel_kv       *kv = NULL;
    double          mean = 0, began = 0;
    CHECK_OK(oriel_kv_new(&kv, dev, &c));
    for (int f = 0; f < 202; f++) { /* frames 1 to 200 leave, one each time */
        for (int i = 0; i < N * WIDE; i++) {
            x[i] = (2 * test_unit(5000 + (uint64_t)f, (uint64_t)i) - 1) * 1.7320508f + (f > 0);
            began += f == 0 ? x[i] : 0;
        }
        CHECK_OK(oriel_kv_begin(kv, f, 1));
        CHECK_OK(oriel_kv_write(kv, 0, &t, &t));
    }
    for (int i = 0; i < N; i++) {
        kv_load(kv, kv_at(kv, 0, &kv->slot[0]), true, i, row);
        for (int j = 0; j < WIDE; j++)
            mean += row[j];
    }
    oriel_kv_free(&kv);
    return (mean - began * pow(0.999, 200)) / (N * WIDE) / (1 - pow(0.999, 200));
}

static void test_ema_master(void)
{
    double wide = ema_drift(false), narrow = ema_drift(true);
    printf("EMA sink, bf16, 200 mixings at 0.999: %.3f of the drift arrives with an fp32 master, %.3f "
           "with a stored one\n", wide, narrow);
    CHECK_NUM(fabs(wide - 1), <, 0.01);
    CHECK_NUM(narrow, <, 0.9); /* steps below half a unit of bf16 are lost */
}

/* ---- threads, arguments, memory ----------------------------------------------------------- */

/* A rollout whose outputs and file go into `hash`. */
static oriel_status rollout(oriel_device *on, uint64_t *hash)
{
    enum { N = 2 * 35, Q = 2, HEADS = 2, DIM = 24 };
    static float    x[N * HEADS * DIM], out[N * HEADS * DIM];
    static unsigned char file[200000];
    oriel_kv_config c = {.heads = HEADS, .dim = DIM, .rows = 5, .columns = 7, .window = 6, .sink = 2,
                         .position = ORIEL_KV_RELATIVE, .ema = 0.5, .dtype = ORIEL_BF16, .layers = 2};
    oriel_kv       *kv = NULL;
    oriel_status    s = oriel_kv_new(&kv, on, &c);
    for (int chunk = 0; chunk < 5 && !s; chunk++) {
        for (int i = 0; i < N * HEADS * DIM; i++)
            x[i] = 2 * test_unit((uint64_t)chunk, (uint64_t)i) - 1;
        oriel_tensor t = tensor(x, ORIEL_F32, 1, N, HEADS, DIM), o = tensor(out, ORIEL_F32, 1, N, HEADS, DIM);
        s = oriel_kv_begin(kv, 2 * chunk, 2);
        for (int l = 0; l < 2 && !s; l++)
            if (!(s = oriel_kv_write(kv, l, &t, &t)))
                s = oriel_kv_attend(kv, l, &t, &o, NULL);
        for (int i = 0; i < N * HEADS * DIM && !s; i++) {
            uint32_t u;
            memcpy(&u, &out[i], 4);
            *hash = test_hash(*hash >> 32, u);
        }
    }
    if (!s && !(s = oriel_kv_encode(kv, file, sizeof file)))
        for (size_t i = 0; i < oriel_kv_encoded_size(kv); i++)
            *hash = test_hash(*hash >> 32, file[i]);
    oriel_kv_free(&kv);
    return s;
}

static void test_threads(void)
{
    uint64_t first = 0;
    for (int threads = 1; threads <= 5; threads += 2) {
        oriel_device *d = NULL;
        uint64_t      hash = 1;
        CHECK_OK(oriel_device_open(&d, &(oriel_device_options){.threads = threads}));
        CHECK_OK(rollout(d, &hash));
        first = threads == 1 ? hash : first;
        CHECK(hash == first);
        oriel_device_free(&d);
    }
}

static void test_sizes(void)
{
    static const oriel_dtype types[] = {ORIEL_F32, ORIEL_F16, ORIEL_BF16, ORIEL_I8};
    oriel_kv_config c = {.heads = 3, .dim = 10, .dim_v = 7, .rows = 3, .columns = 5, .window = 6,
                         .sink = 2, .layers = 3, .position = ORIEL_KV_ANCHOR, .ema = 0.9};
    for (int i = 0; i < 8; i++) {
        oriel_kv     *kv = NULL;
        oriel_kv_info info;
        size_t        bytes = 0;
        c.dtype = types[i / 2], c.ema_stored = i % 2;
        CHECK_OK(oriel_kv_bytes(&c, oriel_device_threads(dev), &bytes));
        CHECK_OK(oriel_kv_new(&kv, dev, &c));
        oriel_kv_describe(kv, &info);
        CHECK_INT(info.bytes, ==, bytes);
        CHECK_INT(info.shared, ==, 0);
        oriel_kv_free(&kv);
    }
    /* Wan 1.3B, LongLive's window: K and V of bf16 in 30 layers are 3.45 GB */
    size_t bytes = 0, frames = (size_t)30 * 12 * 1560 * 12 * 128 * 2 * 2;
    c = (oriel_kv_config){.layers = 30, .heads = 12, .dim = 128, .rows = 30, .columns = 52,
                          .window = 12, .sink = 3, .dtype = ORIEL_BF16};
    CHECK_OK(oriel_kv_bytes(&c, 1, &bytes));
    CHECK(frames == 3450470400u && bytes >= frames && bytes < frames + 1000000);
    c.window = 65536, c.rows = c.columns = 16384, c.heads = 4096, c.dim = 1024, c.layers = 1024;
    CHECK_FAILS(oriel_kv_bytes(&c, 1, &bytes), ORIEL_E_ARG);
}

static void test_configs(void)
{
    const oriel_kv_config good = {.heads = 1, .dim = 2, .rows = 1, .columns = 1, .window = 2, .sink = 1};
    oriel_kv *kv = NULL;
    CHECK_FAILS(oriel_kv_new(NULL, dev, &good), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_new(&kv, NULL, &good), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_new(&kv, dev, NULL), ORIEL_E_ARG);
#define BAD(field, value, word)                                                                    \
    do {                                                                                           \
        oriel_kv_config c = good;                                                                  \
        c.field = value;                                                                           \
        CHECK_FAILS(oriel_kv_new(&kv, dev, &c), ORIEL_E_ARG);                                      \
        CHECK(strstr(oriel_error(), word) && !kv);                                                 \
    } while (0)
    BAD(layers, -1, "layers -1");
    BAD(batch, 65537, "batch 65537");
    BAD(heads, 0, "heads 0");
    BAD(dim, 3, "dim 3: odd");
    BAD(dim, 1026, "dim 1026");
    BAD(dim_v, -2, "dim_v -2");
    BAD(rows, 0, "rows 0");
    BAD(columns, 16385, "columns 16385");
    BAD(window, 1, "sink 1: not 0 to 0");
    BAD(sink, 2, "sink 2: not 0 to 1");
    BAD(dtype, ORIEL_F64, "dtype f64");
    BAD(position, (oriel_kv_position)3, "position 3");
    BAD(rope, (oriel_kv_rope)-1, "rope -1");
    BAD(theta, -1, "theta -1");
    BAD(scale, NAN, "scale");
    BAD(ema, 1, "ema 1");
    BAD(ema, 0.5, "ema 0.5 needs"); /* absolute */
    oriel_kv_free(&kv);
    oriel_kv_free(NULL);
    CHECK_FAILS(oriel_kv_begin(NULL, 0, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_branch(&kv, NULL), ORIEL_E_ARG);
}

static void test_arguments(void)
{
    float           x[64] = {0}, far[64] = {0};
    oriel_kv_config c = {.heads = 2, .dim = 2, .rows = 1, .columns = 2, .window = 3, .sink = 1, .layers = 2};
    oriel_kv       *kv = NULL;
    CHECK_OK(oriel_kv_new(&kv, dev, &c));
    oriel_tensor t = tensor(x, ORIEL_F32, 1, 2, 2, 2), o = t, bad;
    o.data = far;
    CHECK_FAILS(oriel_kv_write(kv, 0, &t, &t), ORIEL_E_ARG); /* nothing begun */
    CHECK_FAILS(oriel_kv_jump(kv, INFINITY), ORIEL_E_ARG);
    CHECK_OK(oriel_kv_begin(kv, 0, 1));
    CHECK_FAILS(oriel_kv_attend(kv, 0, &t, &o, NULL), ORIEL_E_ARG); /* nothing written */
    CHECK_OK(oriel_kv_write(kv, 0, &t, &t));
    CHECK_OK(oriel_kv_attend(kv, 0, &t, &o, NULL));
    CHECK_FAILS(oriel_kv_begin(kv, 1, 1), ORIEL_E_ARG); /* layer 1 has not */
    CHECK(strstr(oriel_error(), "layer 1"));
    CHECK_FAILS(oriel_kv_encode(kv, x, sizeof x), ORIEL_E_ARG);
    CHECK_OK(oriel_kv_begin(kv, 0, 2)); /* both anew, and one more */
    CHECK_FAILS(oriel_kv_write(kv, 0, &t, &t), ORIEL_E_ARG); /* one frame's tokens */
    CHECK_OK(oriel_kv_begin(kv, 0, 2));
    bad = tensor(x, ORIEL_F32, 1, 4, 2, 2);
    for (int l = 0; l < 2; l++)
        CHECK_OK(oriel_kv_write(kv, l, &bad, &bad));
    CHECK_OK(oriel_kv_begin(kv, 2, 1));
    for (int l = 0; l < 2; l++)
        CHECK_OK(oriel_kv_write(kv, l, &t, &t));
    CHECK_FAILS(oriel_kv_write(kv, 2, &t, &t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_write(kv, -1, &t, &t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_write(kv, 0, NULL, &t), ORIEL_E_ARG);
    bad = tensor(x, ORIEL_F32, 1, 2, 4, 2); /* queries may have more heads, keys not */
    CHECK_FAILS(oriel_kv_write(kv, 0, &bad, &bad), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_attend(kv, 0, &bad, &o, NULL), ORIEL_E_ARG);
    bad = t, bad.dtype = ORIEL_I8;
    CHECK_FAILS(oriel_kv_write(kv, 0, &t, &bad), ORIEL_E_ARG);
    bad = t, bad.stride[3] = 2;
    CHECK_FAILS(oriel_kv_attend(kv, 0, &bad, &o, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_attend(kv, 0, &t, &o, &t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_begin(kv, -1, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_kv_begin(kv, 4, 1), ORIEL_E_ARG); /* a gap */
    CHECK_FAILS(oriel_kv_begin(kv, 3, 3), ORIEL_E_ARG); /* no room beside the sink */
    CHECK_FAILS(oriel_kv_begin(kv, 0, 1), ORIEL_E_ARG); /* not the newest */
    CHECK_OK(oriel_kv_begin(kv, 0, 3));                 /* nothing has left: all of them */
    CHECK_FAILS(oriel_kv_pin(kv, 0), ORIEL_E_ARG);      /* it is the sink */
    CHECK_OK(oriel_kv_pin(kv, 1));
    CHECK_OK(oriel_kv_pin(kv, -1));
    oriel_kv_free(&kv);
}

/* An I8 vector that is not finite reads as NaN; the largest value of each is exact. */
static void test_i8(void)
{
    float           x[4] = {0.3f, -127, 5, INFINITY}, q[2] = {0, 0}, out[2];
    oriel_kv_config c = {.heads = 1, .dim = 2, .rows = 1, .columns = 1, .window = 1, .dtype = ORIEL_I8,
                         .rope = ORIEL_KV_ROPE_NONE};
    oriel_kv       *kv = NULL;
    oriel_tensor    k = tensor(x, ORIEL_F32, 1, 1, 1, 2), v = tensor(x + 2, ORIEL_F32, 1, 1, 1, 2);
    oriel_tensor    tq = tensor(q, ORIEL_F32, 1, 1, 1, 2), o = tensor(out, ORIEL_F32, 1, 1, 1, 2);
    CHECK_OK(oriel_kv_new(&kv, dev, &c));
    CHECK_OK(oriel_kv_begin(kv, 0, 1));
    CHECK_OK(oriel_kv_write(kv, 0, &k, &k));
    CHECK_OK(oriel_kv_attend(kv, 0, &tq, &o, NULL));
    CHECK_NUM(out[0], ==, 0);
    CHECK_NUM(out[1], ==, -127);
    CHECK_OK(oriel_kv_write(kv, 0, &k, &v));
    CHECK_OK(oriel_kv_attend(kv, 0, &tq, &o, NULL));
    CHECK(isnan(out[0]) && isnan(out[1]));
    x[3] = NAN;
    CHECK_OK(oriel_kv_write(kv, 0, &k, &v));
    CHECK_OK(oriel_kv_attend(kv, 0, &tq, &o, NULL));
    CHECK(isnan(out[0]) && isnan(out[1]));
    oriel_kv_free(&kv);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned    mask, needs;
    } levels[] = {{"c", 0, 0}, {"avx2", ORIEL_CPU_AVX2, ORIEL_CPU_AVX2}, {"best", ~0u, ORIEL_CPU_AVX512}};
    unsigned all = oriel_cpu_flags();
    if (argc > 1 && !strcmp(argv[1], "threads")) { /* for ThreadSanitizer */
        test_threads();
        return test_end();
    }
    if (argc > 1) {
        CHECK_OK(oriel_device_open(&dev, NULL));
        test_random(strtoull(argv[1], NULL, 0));
        oriel_device_free(&dev);
        return test_end();
    }
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if ((all & levels[i].needs) != levels[i].needs)
            continue;
        oriel_cpu_mask(levels[i].mask);
        CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 2}));
        test_golden(levels[i].name);
        test_wide();
        for (uint64_t seed = 0; seed < 100; seed++)
            test_random(1000 * i + seed);
        oriel_device_free(&dev);
        oriel_cpu_mask(~0u);
    }
    printf("random operations: error f32 %.2g, f16 %.2g, bf16 %.2g, i8 %.2g\n", worst_of[ORIEL_F32],
           worst_of[ORIEL_F16], worst_of[ORIEL_BF16], worst_of[ORIEL_I8]);
    test_threads();
    CHECK_OK(oriel_device_open(&dev, NULL));
    test_storage();
    test_ema_master();
    test_sizes();
    test_configs();
    test_arguments();
    test_i8();
    oriel_device_free(&dev);
    return test_end();
}
