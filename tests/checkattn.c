/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every implementation of attention on every problem that it takes, against the double oracle
 * (oracle.c), which shares no code with the library.
 *
 *     checkattn [--impl NAME] [--case NAME] [--seed N] [--sweep N] [--from N] [--structs N] [--full] [--list]
 *               [--bench]
 *
 * Bounds come from the rounding of the type. All tensors have other strides, their gaps and walls are
 * NaN; nothing beside the outputs is written, all of them is; a second run and any number of threads
 * give the same bits. A failure prints the command that repeats it. Of large problems the oracle does
 * some thousands of queries (--full: all).
 */
#include "checkattn.h"

#include <math.h>

#include "bench/peak.h"
#include "core/device.h"
#include "na_hash.h"
#include "test.h"

enum { THREADS = 3, FAULTS_TOLD = 3, FAILURES = 8 /* and no more problems after them */ };

static oriel_device *device[THREADS];

/* ---- tensors among poison ----------------------------------------------------------------- */

typedef struct view {
    oriel_tensor   t;
    unsigned char *memory;
    size_t         bytes;
    float         *values; /* packed, what was put there */
} view;

static const uint32_t poison32 = 0x7fc0dead;
static const uint16_t poison16 = 0x7fad; /* NaN in f16 and bf16 */

static void poison(void *p, size_t bytes, oriel_dtype t)
{
    size_t size = oriel_dtype_size(t);
    for (size_t i = 0; i < bytes; i += size)
        memcpy((char *)p + i, size == 4 ? (const void *)&poison32 : &poison16, size);
}

/* Element e of the packed order as an offset into t. */
static int64_t place(const oriel_tensor *t, int64_t e)
{
    int64_t at = 0;
    for (int i = t->ndim - 1; i >= 0; i--) {
        at += e % t->shape[i] * t->stride[i];
        e /= t->shape[i];
    }
    return at;
}

/* Strides that differ everywhere: gaps between rows of every axis, some axes backwards. */
static view view_new(problem *p, oriel_dtype dtype, int ndim, const int64_t *shape)
{
    view    v = {.t = oriel_tensor_of(NULL, dtype, ndim, shape)};
    int64_t all = p->wide ? draw(p, 1, 3) : 1, first = 0;
    for (int i = ndim - 1; i >= 0; i--) {
        bool back = (i < ndim - 1 || p->wide) && draw(p, 0, 5) == 0;
        v.t.stride[i] = back ? -all : all;
        first += back ? (shape[i] - 1) * all : 0;
        all = all * shape[i] + draw(p, 1, 6);
    }
    first += 17;
    size_t size = oriel_dtype_size(dtype);
    v.bytes = (size_t)(all + 40) * size;
    v.memory = malloc(v.bytes);
    if (!v.memory)
        abort();
    poison(v.memory, v.bytes, dtype);
    v.t.data = v.memory + (size_t)first * size;
    return v;
}

static void put(const view *v, int64_t e, float x)
{
    int64_t at = place(&v->t, e);
    if (v->t.dtype == ORIEL_F32)
        ((float *)v->t.data)[at] = x;
    else /* exact: the test's numbers have 8 bits at most */
        ((uint16_t *)v->t.data)[at] = v->t.dtype == ORIEL_F16 ? oriel_f32_to_f16(x) : oriel_f32_to_bf16(x);
}

static double get(const view *v, int64_t e)
{
    int64_t at = place(&v->t, e);
    if (v->t.dtype == ORIEL_F32)
        return (double)((float *)v->t.data)[at];
    uint16_t u = ((uint16_t *)v->t.data)[at];
    return (double)(v->t.dtype == ORIEL_F16 ? oriel_f16_to_f32(u) : oriel_bf16_to_f32(u));
}

static view view_input(problem *p, oriel_dtype dtype, int ndim, const int64_t *shape, uint64_t seed, double amp)
{
    view    v = view_new(p, dtype, ndim, shape);
    int64_t n = oriel_tensor_count(&v.t);
    v.values = malloc((size_t)n * sizeof *v.values);
    if (!v.values)
        abort();
    for (int64_t e = 0; e < n; e++) {
        v.values[e] = na_value(seed, (uint64_t)e, amp);
        put(&v, e, v.values[e]);
    }
    return v;
}

/* Only poison beside the elements? */
static bool gaps_whole(const view *v)
{
    size_t         size = oriel_dtype_size(v->t.dtype);
    unsigned char *copy = malloc(v->bytes);
    bool           whole = true;
    memcpy(copy, v->memory, v->bytes);
    for (int64_t e = 0, n = oriel_tensor_count(&v->t); e < n; e++)
        poison(copy + ((unsigned char *)v->t.data - v->memory) + place(&v->t, e) * (int64_t)size, size, v->t.dtype);
    for (size_t i = 0; i < v->bytes; i += size)
        whole &= !memcmp(copy + i, size == 4 ? (const void *)&poison32 : &poison16, size);
    free(copy);
    return whole;
}

/* ---- a problem with its tensors ----------------------------------------------------------- */

enum { Q, K, V, EXTRA_K, EXTRA_V, TEXT_Q, BIAS, INPUTS, OUT = INPUTS, LSE, TEXT_OUT, TEXT_LSE, VIEWS };

typedef struct setting {
    problem      *p;
    attn_job      job; /* of the tensors in io */
    oriel_attn_io io;
    view          v[VIEWS];
    oracle        o;
    int64_t       tokens;
    double        work; /* multiply-adds by the oracle's count of keys */
    int           faults;
    const char   *impl;
    double        worst; /* error over bound */
} setting;

static void fault(setting *s, const char *format, ...) ORIEL_PRINTF(2, 3);
static void fault(setting *s, const char *format, ...)
{
    va_list ap;
    if (++s->faults > FAULTS_TOLD)
        return;
    if (strcmp(s->p->name, "random") != 0)
        fprintf(stderr, "checkattn --impl %s --case '%s': ", s->impl, s->p->name);
    else
        fprintf(stderr, "checkattn --impl %s --seed %u: ", s->impl, s->p->seed);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static oriel_attn filled(oriel_attn a) /* the header's defaults, by another hand */
{
    a.batch = a.batch ? a.batch : 1;
    a.heads = a.heads ? a.heads : 1;
    a.kv_heads = a.kv_heads ? a.kv_heads : a.heads;
    a.dim_v = a.dim_v ? a.dim_v : a.dim;
    for (int x = 0; x < 3; x++)
        a.extent[x] = a.extent[x] ? a.extent[x] : 1;
    return a;
}

static double count_work(const setting *s)
{
    const oriel_attn *a = &s->o.a;
    unsigned char    *row = malloc((size_t)s->tokens + 1);
    double            all = 0;
    for (int h = 0; h < a->heads; h++) {
        double keys = 1;
        for (int x = 0; x < 3; x++) {
            double sum = 0;
            for (int i = 0; i < a->extent[x]; i++) {
                oracle_axis(row, s->o.axes ? s->o.axes[h * 3 + x] : a->axis[x], a->extent[x], i);
                for (int j = 0; j < a->extent[x]; j++)
                    sum += row[j];
            }
            keys *= sum;
        }
        all += keys + (double)a->extra * (double)s->tokens + (double)a->text * (double)(s->tokens + a->extra);
    }
    free(row);
    return all * a->batch * (a->dim + a->dim_v);
}

static void setting_new(setting *s, problem *p)
{
    *s = (setting){.p = p, .impl = ""};
    oriel_attn a = filled(p->a);
    int64_t    b = a.batch, h = a.heads, hk = a.kv_heads, d = a.dim, dv = a.dim_v, e = a.extra, x = a.text;
    int64_t    t = a.extent[0], y = a.extent[1], z = a.extent[2], n = t * y * z;
    s->tokens = n;
    uint64_t seed = p->data;
    s->v[Q] = view_input(p, a.dtype, 6, (int64_t[]){b, t, y, z, h, d}, seed, p->amp);
    s->v[K] = view_input(p, a.dtype, 6, (int64_t[]){b, t, y, z, hk, d}, seed + 1, p->amp);
    s->v[V] = view_input(p, a.dtype, 6, (int64_t[]){b, t, y, z, hk, dv}, seed + 2, 1);
    s->v[OUT] = view_new(p, a.dtype, 6, (int64_t[]){b, t, y, z, h, dv});
    if (e) {
        s->v[EXTRA_K] = view_input(p, a.dtype, 4, (int64_t[]){b, e, hk, d}, seed + 3, p->amp);
        s->v[EXTRA_V] = view_input(p, a.dtype, 4, (int64_t[]){b, e, hk, dv}, seed + 4, 1);
    }
    if (x) {
        s->v[TEXT_Q] = view_input(p, a.dtype, 4, (int64_t[]){b, x, h, d}, seed + 5, p->amp);
        s->v[TEXT_OUT] = view_new(p, a.dtype, 4, (int64_t[]){b, x, h, dv});
    }
    if (p->lse)
        s->v[LSE] = view_new(p, ORIEL_F32, 5, (int64_t[]){b, t, y, z, h});
    if (p->lse && x)
        s->v[TEXT_LSE] = view_new(p, ORIEL_F32, 3, (int64_t[]){b, x, h});
    if (a.bias == ORIEL_BIAS_DENSE)
        s->v[BIAS] = view_input(p, ORIEL_F32, 3, (int64_t[]){h, n, n}, seed + 6, 1);
    else if (a.bias == ORIEL_BIAS_OFFSET)
        s->v[BIAS] = view_input(p, ORIEL_F32, 4, (int64_t[]){h, p->offsets[0], p->offsets[1], p->offsets[2]}, seed + 6, 1);
    view *v = s->v;
    s->io = (oriel_attn_io){.q = v[Q].t, .k = v[K].t, .v = v[V].t, .out = v[OUT].t, .lse = v[LSE].t, .bias = v[BIAS].t,
                            .extra_k = v[EXTRA_K].t, .extra_v = v[EXTRA_V].t, .text_q = v[TEXT_Q].t,
                            .text_out = v[TEXT_OUT].t, .text_lse = v[TEXT_LSE].t,
                            .axes = p->per_head ? p->axes[0] : NULL};
    s->o = (oracle){.a = a, .axes = s->io.axes, .q = v[Q].values, .k = v[K].values, .v = v[V].values,
                    .extra_k = v[EXTRA_K].values, .extra_v = v[EXTRA_V].values, .text_q = v[TEXT_Q].values,
                    .bias = v[BIAS].values, .offsets = {p->offsets[0], p->offsets[1], p->offsets[2]}};
    for (int i = 0; i < 3; i++)
        s->o.keys[i] = malloc((size_t)a.extent[i] * sizeof(int));
    s->work = count_work(s);
}

static void setting_free(setting *s)
{
    for (int i = 0; i < VIEWS; i++) {
        free(s->v[i].memory);
        free(s->v[i].values);
    }
    for (int i = 0; i < 3; i++)
        free(s->o.keys[i]);
}

/* ---- a check ------------------------------------------------------------------------------ */

static void expect(setting *s, double have, double want, double bound, const char *what, int64_t e, int d)
{
    double off = fabs(have - want) / bound;
    if (!(off <= 1))
        fault(s, "%s of query %lld[%d] is %.9g where %.9g is due, allowed %.3g", what, (long long)e, d, have, want, bound);
    else
        s->worst = fmax(s->worst, off);
}

/* Query i of all (raster, then text) of batch b, head h. */
static void compare(setting *s, int b, int h, int64_t i)
{
    const oriel_attn *a = &s->o.a;
    bool              text = i >= s->tokens;
    double out[ATTN_DIM_MAX], lse, top, step = a->dtype == ORIEL_F32 ? 0 : a->dtype == ORIEL_F16 ? 0x1p-11 : 0x1p-8;
    int64_t e = text ? ((int64_t)b * a->text + i - s->tokens) * a->heads + h : (b * s->tokens + i) * a->heads + h;
    oracle_query(&s->o, b, h, (long)i, out, &lse, &top);
    /* |v| <= 2. A logit is a sum whose parts come to top; a weight is off by as much as its logit. */
    double bound = 4 * 0x1p-23 * (4 + top);
    for (int d = 0; d < a->dim_v; d++)
        expect(s, get(&s->v[text ? TEXT_OUT : OUT], e * a->dim_v + d), out[d], 2 * bound + step * fabs(out[d]) * 1.01 + (step > 0 ? 0x1p-25 : 0),
               text ? "text out" : "out", e, d);
    if (s->p->lse)
        expect(s, get(&s->v[text ? TEXT_LSE : LSE], e), lse, bound, "lse", e, 0);
}

static oriel_status run_on(setting *s, const attn_impl *impl, int threads)
{
    for (int i = OUT; i < VIEWS; i++)
        if (s->v[i].memory)
            poison(s->v[i].memory, s->v[i].bytes, s->v[i].t.dtype);
    return impl->run(&s->job, device[threads - 1]->pool);
}

static uint64_t bits(const setting *s)
{
    uint64_t sum = 0xcbf29ce484222325u;
    for (int i = OUT; i < VIEWS; i++)
        for (size_t b = 0; b < s->v[i].bytes; b++)
            sum = (sum ^ s->v[i].memory[b]) * 0x100000001b3u;
    return sum;
}

static void check_impl(setting *s, const attn_impl *impl, bool full)
{
    const oriel_attn *a = &s->o.a;
    s->impl = impl->name;
    if (run_on(s, impl, 2)) {
        fault(s, "failed: %s", oriel_error());
        return;
    }
    uint64_t first = bits(s);
    for (int i = 0; i < VIEWS; i++)
        if (s->v[i].memory && !gaps_whole(&s->v[i]))
            fault(s, "tensor %d was written beside its elements", i);
    for (int i = 0; i < INPUTS; i++)
        for (int64_t e = 0, n = s->v[i].memory ? oriel_tensor_count(&s->v[i].t) : 0; e < n; e++)
            if (get(&s->v[i], e) != (double)s->v[i].values[e]) {
                fault(s, "input %d was changed", i);
                break;
            }
    int64_t each = s->tokens + a->text, all = each * a->batch * a->heads;
    int64_t most = full || s->work < 2e6 ? all : (int64_t)((double)all * 2e6 / s->work) + 64;
    int64_t step = most >= all ? 1 : all / most + (all / most) % 2; /* and both ends */
    for (int64_t n = 0; n < all; n += n < 24 || n >= all - 24 ? 1 : step)
        compare(s, (int)(n / each / a->heads), (int)(n / each % a->heads), n % each);
    for (int64_t e = 0, n = oriel_tensor_count(&s->v[OUT].t); e < n; e++)
        if (isnan(get(&s->v[OUT], e))) {
            fault(s, "element %lld of out was not written", (long long)e);
            break;
        }
    if (s->work < 5e6)
        for (int threads = 1; threads <= THREADS; threads++)
            if (run_on(s, impl, threads) || bits(s) != first)
                fault(s, "other bits with %d threads", threads);
}

typedef struct wanted {
    const char *impl, *name;
    unsigned    seed, sweep, from; /* sweep: seeds from + 1 and after */
    int         structs;
    bool        full, list;
} wanted;

static void check_problem(problem *p, const wanted *w)
{
    setting s;
    if (w->name && strcmp(w->name, p->name) != 0)
        return;
    setting_new(&s, p);
    if (attn_prepare(&s.job, &p->a, &s.io)) {
        fault(&s, "refused: %s", oriel_error());
        test_failed++;
    } else
        for (int i = 0; attn_impls[i]; i++) {
            const char *why = attn_impls[i]->reject(&s.job, oriel_cpu_flags());
            if (w->impl && strcmp(w->impl, attn_impls[i]->name) != 0)
                continue;
            if (w->list)
                printf("%-8s %-24s %s%s\n", attn_impls[i]->name, p->name, why ? "refuses: " : "takes it", why ? why : "");
            else if (why)
                test_skipped++;
            else {
                s.faults = 0;
                check_impl(&s, attn_impls[i], w->full);
                *(s.faults ? &test_failed : &test_passed) += 1;
            }
        }
    if (w->name && !w->list)
        printf("%s: worst %.3f of its bound, %.3g multiply-adds\n", p->name, s.worst, s.work);
    setting_free(&s);
}

/* ---- what is refused, and the doors ------------------------------------------------------- */

static void check_refused(oriel_attn a, const char *says)
{
    CHECK_FAILS(oriel_attn_check(&a, NULL), ORIEL_E_ARG);
    if (!strstr(oriel_error(), says)) {
        fprintf(stderr, "refused with \"%s\", which does not say \"%s\"\n", oriel_error(), says);
        test_failed++;
    } else
        test_passed++;
}

#define NA(n, s, d) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, .stride = s, .dilation = d}
#define LINE(n, ...) (oriel_attn){.dim = 8, .extent = {1, 1, n}, .axis = {{0}, {0}, __VA_ARGS__}}

/* NATTEN's eight, as far as the struct can say them (a stride or dilation of 0 is 1 here, and there is
 * no list of another rank: its axis of one token stands for it), then ours. */
static void test_refusals(void)
{
    oriel_attn a = LINE(8, NA(8, 8, 1));
    CHECK_OK(oriel_attn_check(&a, NULL));
    check_refused(LINE(8, NA(1, 1, 1)), "axis X: size 1 is less than 2");
    check_refused(LINE(8, NA(9, 1, 1)), "axis X: size 9 is not in 0 .. 8");
    check_refused(LINE(8, NA(4, 5, 1)), "axis X: stride 5 is not in 0 .. 4");
    check_refused(LINE(8, NA(4, 1, 3)), "axis X: size 4 times dilation 3 is more than its 8 tokens");
    check_refused(LINE(8, NA(4, -1, 1)), "axis X: stride -1");
    check_refused(LINE(8, NA(4, 1, -1)), "axis X: dilation -1");
    a = LINE(8, NA(3, 1, 1));
    a.axis[1] = (oriel_axis)NA(2, 1, 1);
    check_refused(a, "axis Y: size 2 is not in 0 .. 1");
    a.axis[1] = (oriel_axis)NA(0, 0, 0);
    check_refused(a, "axis Y: size 1 is less than 2");
    check_refused(LINE(8, {.size = 3}), "axis X: full has no size, which is 3");
    check_refused(LINE(8, {.kind = ORIEL_AXIS_BLOCK, .size = 4, .shift = 4}), "axis X: shift 4 is not in 0 .. 3");
    check_refused(LINE(8, {.kind = ORIEL_AXIS_BLOCK, .size = 4, .dilation = 2}), "block has no dilation, which is 2");
    check_refused(LINE(8, {.kind = ORIEL_AXIS_SLIDE, .left = -1}), "axis X: left -1");
    check_refused(LINE(8, {.kind = (oriel_axis_kind)9}), "kind 9");
    check_refused((oriel_attn){.dim = 0, .extent = {1, 1, 8}}, "dim 0 is not in 1 .. 256");
    check_refused((oriel_attn){.dim = 257}, "dim 257");
    check_refused((oriel_attn){.dim = 8, .dim_v = 999}, "dim_v 999");
    check_refused((oriel_attn){.dim = 8, .heads = 6, .kv_heads = 4}, "kv_heads 4 does not divide heads 6");
    check_refused((oriel_attn){.dim = 8, .dtype = ORIEL_I8}, "dtype");
    check_refused((oriel_attn){.dim = 8, .scale = INFINITY}, "scale inf");
    check_refused((oriel_attn){.dim = 8, .extent = {4096, 4096, 4096}}, "extent 4096 x 4096 x 4096 is too large");
    check_refused((oriel_attn){.dim = 8, .extent = {1, -3, 1}}, "extent[1] (Y) -3");
    check_refused((oriel_attn){.dim = 8, .extra = -1}, "extra -1");
    check_refused((oriel_attn){.dim = 8, .bias = (oriel_attn_bias)7}, "bias 7");
    CHECK_FAILS(oriel_attn_check(NULL, NULL), ORIEL_E_ARG);
}

/* Tensors that do not fit, one fault at a time; and the ways in. */
static void test_doors(void)
{
    problem p;
    setting s;
    problem_named(&p, 6); /* extra keys and text */
    setting_new(&s, &p);
    oriel_attn_io io = s.io;
    CHECK_OK(oriel_attn_check(&p.a, &io));
    oriel_tensor *all[] = {&io.q, &io.k, &io.v, &io.out, &io.extra_k, &io.extra_v, &io.text_q, &io.text_out};
    for (int i = 0; i < 8; i++) {
        oriel_tensor keep = *all[i];
        for (int x = 0; x < keep.ndim; x++) {
            all[i]->shape[x]++;
            CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
            *all[i] = keep;
        }
        all[i]->dtype = ORIEL_F64;
        CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
        *all[i] = keep;
        all[i]->ndim--;
        CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
        *all[i] = (oriel_tensor){0};
        CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
        *all[i] = keep;
    }
    io.out.stride[2] = 0;
    CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
    io = s.io, io.bias = io.q;
    CHECK_FAILS(oriel_attn_check(&p.a, &io), ORIEL_E_ARG);
    oriel_attn    a = p.a;
    const int64_t enough[4] = {a.heads, 3, 7, 9}, even[4] = {a.heads, 4, 7, 9}, small[4] = {a.heads, 3, 7, 7};
    float         table[1];
    a.bias = ORIEL_BIAS_OFFSET; /* blocks of 2, 4, 5 */
    io = s.io, io.bias = oriel_tensor_of(table, ORIEL_F32, 4, enough);
    CHECK_OK(oriel_attn_check(&a, &io));
    io.bias = oriel_tensor_of(table, ORIEL_F32, 4, even);
    CHECK_FAILS(oriel_attn_check(&a, &io), ORIEL_E_ARG);
    io.bias = oriel_tensor_of(table, ORIEL_F32, 4, small);
    CHECK_FAILS(oriel_attn_check(&a, &io), ORIEL_E_ARG);
    a.axis[2] = (oriel_axis){.kind = ORIEL_AXIS_SLIDE, .left = 1, .right = 4};
    CHECK_FAILS(oriel_attn_check(&a, &io), ORIEL_E_ARG);
    a.axis[2].right = 3;
    CHECK_OK(oriel_attn_check(&a, &io));
    CHECK_FAILS(oriel_attn_run(NULL, &p.a, &s.io), ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_run(device[0], &p.a, NULL), ORIEL_E_ARG);
    setenv("ORIEL_ATTN", "nobody", 1);
    CHECK_FAILS(oriel_attn_run(device[0], &p.a, &s.io), ORIEL_E_ARG);
    CHECK(strstr(oriel_error(), "nobody") != NULL);
    setenv("ORIEL_ATTN", "c", 1);
    CHECK_OK(attn_prepare(&s.job, &p.a, &s.io));
    CHECK(attn_choose(&s.job, ~0u) == &attn_c);
    CHECK_OK(oriel_attn_run(device[1], &p.a, &s.io));
    uint64_t by_wish = bits(&s);
    CHECK_OK(run_on(&s, &attn_c, 1));
    CHECK(bits(&s) == by_wish);
    unsetenv("ORIEL_ATTN");
    CHECK(attn_choose(&s.job, 0) == &attn_c);
    setting_free(&s);
}

/* Structs of random fields, most of them absurd: refused or right, never worse. Tensors have no memory
 * behind them, so the checks may not look inside. */
static void test_random_structs(int times)
{
    problem    p = {.seed = 77};
    int        odd[] = {0, 0, 1, 2, 3, 7, 8, -1, INT_MAX, INT_MIN, 1 << 24, 64};
    static char nowhere;
    int        legal = 0;
    for (int n = 0; n < times; n++) {
        oriel_attn    a;
        oriel_attn_io io = {0};
        oriel_axis    axes[6] = {{0}};
        oriel_tensor *t = &io.q;
        int          *f[] = {&a.batch, &a.heads, &a.kv_heads, &a.dim_v, &a.extra, &a.text, &a.extent[0], &a.extent[1],
                             &a.extent[2], &axes[0].size, &axes[1].stride, &axes[2].dilation, &axes[0].shift,
                             &axes[1].left, &axes[2].right, &a.axis[0].size, &a.axis[1].size, &a.axis[2].size,
                             &a.axis[2].dilation, &a.axis[1].stride, &a.axis[0].left, &a.dim};
        a = (oriel_attn){.dim = 8, .dtype = (oriel_dtype)draw(&p, 0, 3), .bias = (oriel_attn_bias)draw(&p, 0, 3)};
        for (int i = 0; i < 3; i++)
            a.axis[i].kind = axes[i].kind = (oriel_axis_kind)draw(&p, -1, 4);
        for (int i = draw(&p, 0, 5); i > 0; i--)
            *f[draw(&p, 0, (int)(sizeof f / sizeof *f) - 1)] = odd[draw(&p, 0, 11)];
        io.axes = draw(&p, 0, 1) && a.heads >= 0 && a.heads < 3 ? axes : NULL;
        for (int i = 0; i < 11; i++) {
            t[i].data = draw(&p, 0, 3) ? &nowhere : NULL;
            t[i].ndim = draw(&p, 0, 20) ? i < 4 ? 6 : 4 : odd[draw(&p, 0, 11)];
            t[i].dtype = draw(&p, 0, 20) ? a.dtype : (oriel_dtype)draw(&p, -2, 20);
            for (int x = 0; x < ORIEL_MAX_DIMS; x++)
                t[i].shape[x] = draw(&p, 0, 9) ? x == 5 || (i > 3 && x == 3) ? 8 : 1 : odd[draw(&p, 0, 11)];
        }
        legal += oriel_attn_check(&a, NULL) == ORIEL_OK;
        if (oriel_attn_check(&a, &io) && !oriel_error()[0])
            test_failed++;
    }
    CHECK_INT(legal, >, times / 50);
    CHECK_INT(legal, <, times);
}

static void bench(const wanted *w)
{
    double  peak = 1e9 * bench_peak(1);
    problem p;
    setting s;
    for (int i = 0; problem_na(&p, i) || problem_named(&p, i - 71); i++) {
        if (w->name && strcmp(w->name, p.name) != 0)
            continue;
        setting_new(&s, &p);
        for (int k = 0; attn_impls[k] && !attn_prepare(&s.job, &p.a, &s.io); k++) {
            double best = 1e9;
            if (attn_impls[k]->reject(&s.job, oriel_cpu_flags()) || (w->impl && strcmp(w->impl, attn_impls[k]->name) != 0))
                continue;
            for (int n = 0; n < 5; n++) {
                double began = bench_now();
                if (attn_impls[k]->run(&s.job, device[0]->pool))
                    break;
                best = fmin(best, bench_now() - began);
            }
            printf("%-24s %-8s %10.1f us %8.2f GFLOP/s %5.1f %% of the FMA peak\n", p.name, attn_impls[k]->name, 1e6 * best,
                   2e-9 * s.work / best, 200 * s.work / best / peak);
        }
        setting_free(&s);
    }
}

int main(int argc, char **argv)
{
    wanted  w = {.sweep = 200, .structs = 20000};
    problem p;
    bool    timing = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--list"))
            w.list = true;
        else if (!strcmp(argv[i], "--full"))
            w.full = true;
        else if (!strcmp(argv[i], "--bench"))
            timing = true;
        else if (!strcmp(argv[i], "--impl"))
            w.impl = value, i++;
        else if (!strcmp(argv[i], "--case"))
            w.name = value, i++;
        else if (!strcmp(argv[i], "--seed"))
            w.seed = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--sweep"))
            w.sweep = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--from"))
            w.from = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--structs"))
            w.structs = atoi(value), i++;
        else
            return fprintf(stderr, "usage: checkattn [--impl NAME] [--case NAME] [--seed N] [--sweep N] [--from N] [--structs N] [--full]"
                                   " [--list] [--bench]\n"), 2;
    }
    for (int i = 0; i < THREADS; i++)
        if (oriel_device_open(&device[i], &(oriel_device_options){.threads = i + 1}))
            return fprintf(stderr, "%s\n", oriel_error()), 1;
    if (timing)
        bench(&w);
    else if (w.seed) {
        problem_random(&p, w.seed);
        check_problem(&p, &w);
    } else {
        if (!w.name && !w.list) {
            test_refusals();
            test_doors();
            test_random_structs(w.structs);
        }
        for (int i = 0; test_failed < FAILURES && problem_named(&p, i); i++)
            check_problem(&p, &w);
        for (int i = 0; test_failed < FAILURES && problem_na(&p, i); i++)
            check_problem(&p, &w);
        for (unsigned i = 1; test_failed < FAILURES && i <= w.sweep && !w.name && !w.list; i++) {
            problem_random(&p, w.from + i);
            check_problem(&p, &w);
        }
    }
    for (int i = 0; i < THREADS; i++)
        oriel_device_free(&device[i]);
    return w.list || timing ? 0 : test_end();
}
