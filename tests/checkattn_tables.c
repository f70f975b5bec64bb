/* SPDX-License-Identifier: Apache-2.0 */
/* checkattn: the fields after `bias` and their tables: what is refused, and legal problems broken in one
 * place, which are refused or run without touching anything beside their tensors. */
#include <math.h>
#include <stdlib.h>

#include "checkattn.h"
#include "test.h"

static void refused(oriel_status s, const char *says)
{
    CHECK(s == ORIEL_E_ARG);
    if (!strstr(oriel_error(), says)) {
        fprintf(stderr, "refused with \"%s\", which does not say \"%s\"\n", oriel_error(), says);
        test_failed++;
    } else
        test_passed++;
}

#define LINE(...) (&(oriel_attn){.dim = 8, .extent = {1, 1, 8}, __VA_ARGS__})
#define AXIS(...) .axis = {{0}, {0}, {__VA_ARGS__}}
#define BLOCK .kind = ORIEL_AXIS_BLOCK

static void test_numbers(void)
{
    CHECK_OK(oriel_attn_check(LINE(AXIS(BLOCK, .size = 4, .left = 8, .right = 1)), NULL));
    CHECK_OK(oriel_attn_check(LINE(AXIS(.causal = true), .keys = {1, 1, 20}, .at = {0, 0, 12}), NULL));
    CHECK_OK(oriel_attn_check(LINE(.keys = {3, 4, 5}, .at = {0, 0, 12}), NULL));
    const struct {
        const oriel_attn *a;
        const char       *says;
    } no[] = {
        {LINE(AXIS(BLOCK, .size = 4, .left = 9)), "axis X: left 9 is not in 0 .. 8"},
        {LINE(AXIS(.left = 1)), "full has no left"},
        {LINE(AXIS(.kind = ORIEL_AXIS_NEIGHBOR, .size = 3, .right = 1)), "neighbor has no right"},
        {LINE(AXIS(.kind = ORIEL_AXIS_SLIDE, .left = 9), .pad_keys = true), "left 9 is not in 0 .. 8"},
        {LINE(.keys = {1, 1, -2}), "keys[2] (X) -2"},
        {LINE(.keys = {4096, 4096, 4096}), "keys 4096 x 4096 x 4096 is too large"},
        {LINE(.at = {0, -1, 0}), "at[1] (Y) -1"},
        {LINE(.pool = {0, 0, -1}), "pool[2] (X) -1"},
        {LINE(.pool = {0, 0, 16}, .keys = {1, 1, 1 << 21}), "keys[2] (X) 2097152"},
        {LINE(AXIS(.causal = true), .at = {0, 0, 1}), "axis X: 8 queries at 1 are not among the 8 tokens"},
        {LINE(AXIS(BLOCK, .size = 2), .keys = {1, 1, 7}), "axis X: 8 queries at 0 are not among the 7 tokens"},
        {LINE(AXIS(.kind = ORIEL_AXIS_NEIGHBOR, .size = 5), .keys = {1, 1, 4}), "size 5 is not in 0 .. 4"},
        {LINE(AXIS(.kind = ORIEL_AXIS_NEIGHBOR, .size = 2), .pool = {0, 0, 2}), "neighbor has no pool, which is 2"},
        {LINE(AXIS(.kind = ORIEL_AXIS_SLIDE, .left = 2), .pool = {0, 0, 2}), "slide has no pool, which is 2"},
        {LINE(AXIS(.causal = true), .pool = {0, 0, 2}), "causal, but pool is 2"},
        {LINE(AXIS(BLOCK, .size = 4, .shift = 1), .pool = {0, 0, 2}), "shift 1 is no multiple of pool 2"},
        {LINE(AXIS(BLOCK, .size = 3), .pool = {0, 0, 2}), "size 3 is no multiple of pool 2"},
        {LINE(AXIS(.kind = ORIEL_AXIS_SPANS, .causal = true)), "spans has no causal"},
        {LINE(AXIS(.kind = ORIEL_AXIS_SPANS, .size = 3)), "spans has no size"},
        {LINE(AXIS(.kind = ORIEL_AXIS_SPANS), .segments = 2), "spans has no segments"},
        {LINE(.pad_keys = true, .bias = ORIEL_BIAS_DENSE), "pad_keys, but a dense bias"},
        {LINE(.pad_keys = true, .lists = true), "pad_keys, but lists"},
        {LINE(.text_mode = (oriel_text_mode)5), "text_mode 5"},
        {LINE(.text_mode = ORIEL_TEXT_WINDOWS), "text_mode windows, but text is 0"},
        {LINE(.text_mode = ORIEL_TEXT_WINDOWS, .text = 1, .lists = true), "text_mode windows, but lists"},
        {LINE(.text_mode = ORIEL_TEXT_WINDOWS, .text = 1, AXIS(BLOCK, .left = 1)), "axis X: block has no windows for text"},
        {LINE(.segments = -1), "segments -1"},
        {LINE(.segments = 1, .text = 2), "segments 1, but segments have no text"},
        {LINE(.segments = 1, .lists = true), "segments have no lists"},
        {LINE(.segments = 1, .at = {0, 0, 1}), "at 1, but segments are lists"},
        {&(oriel_attn){.dim = 8, .extent = {1, 2, 8}, .segments = 1}, "axis Y: extent 2"},
        {LINE(.q_block = {0, 0, 4}), "q_block[2] 4 is not in 0 .. 0"},
        {LINE(.k_block = {1, 0, 0}), "k_block[0] 1 is not in 0 .. 0"},
        {LINE(.lists = true, .q_block = {0, 0, 9}), "q_block[2] 9 is not in 0 .. 8"},
        {LINE(.lists = true, .k_block = {0, -1, 0}), "k_block[1] -1 is not in 0 .. 1"},
    };
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        refused(oriel_attn_check(no[i].a, NULL), no[i].says);
}

static void named(problem *p, setting *s, const char *name)
{
    int i = 0;
    while (problem_named(p, i) && strcmp(p->name, name) != 0)
        i++;
    setting_new(s, p);
    CHECK_OK(attn_prepare(&s->job, &p->a, &s->io));
}

/* Number e of a table is v for once. */
static void refused_with(setting *s, int table, int64_t e, int v, const char *says)
{
    int32_t *at = (int32_t *)s->v[table].t.data + e * s->v[table].t.stride[s->v[table].t.ndim - 1], keep = *at;
    *at = v;
    refused(oriel_attn_check(&s->p->a, &s->io), says);
    *at = keep;
    CHECK_OK(oriel_attn_check(&s->p->a, &s->io));
}

static void test_spans(void)
{
    problem p;
    setting s;
    named(&p, &s, "srformer shifted by spans");
    oriel_attn_io io = s.io;
    refused_with(&s, SPANS + 1, 0, -1, "spans[1][0]: ");
    refused_with(&s, SPANS + 1, 1, 0, "spans[1][0]: 0 keys");
    refused_with(&s, SPANS + 2, 1, 23, "are not in 0 .. 21");
    refused_with(&s, SPANS + 2, 1, INT_MAX, "are not in 0 .. 21");
    refused_with(&s, SPANS + 2, 0, 9, "fall behind 9");
    io.spans[1] = (oriel_tensor){0};
    refused(oriel_attn_check(&p.a, &io), "spans[1] has no data");
    io = s.io, io.spans[1].shape[0]++;
    refused(oriel_attn_check(&p.a, &io), "spans[1] is i32 (23, 2)");
    io = s.io, io.spans[0] = io.spans[1];
    refused(oriel_attn_check(&p.a, &io), "spans[0] is given, but axis T is not by spans");
    setting_free(&s);
}

static void test_lists(void)
{
    problem p;
    setting s;
    named(&p, &s, "vsa padded cubes f16");
    oriel_attn_io io = s.io;
    int           n = (int)s.v[INDICES].t.shape[0];
    refused_with(&s, INDPTR, 0, -1, "indptr[0] -1 is not in 0 .. ");
    refused_with(&s, INDPTR, 3, n + 1, "indptr[0][0][3]");
    refused_with(&s, INDPTR, 10, 0, "indptr[0][0][10] 0 is not in");
    refused_with(&s, INDICES, 0, -1, "indices[0] -1 is not in 0 .. 9");
    refused_with(&s, INDICES, n - 1, 10, "10 is not in");
    refused_with(&s, K_VALID, 9, 65, "k_valid[9] 65 is not in 0 .. 64");
    refused_with(&s, K_VALID, 0, -1, "k_valid[0] -1");
    const int *first = s.v[INDPTR].ints;
    while (first[1] - first[0] < 2)
        first++;
    refused_with(&s, INDICES, first[0] + 1, s.v[INDICES].ints[first[0]], ": lists rise");
    io.indptr.shape[1] = 3;
    refused(oriel_attn_check(&p.a, &io), "indptr is i32");
    io = s.io, io.indices.ndim = 2;
    refused(oriel_attn_check(&p.a, &io), "indices has no data, or is not i32 (n)");
    io = s.io, io.k_valid.shape[0]--;
    refused(oriel_attn_check(&p.a, &io), "k_valid is i32 (9)");
    p.a.lists = false, p.a.q_block[2] = p.a.k_block[2] = 0;
    refused(oriel_attn_check(&p.a, &s.io), "indptr is given, but lists is 0");
    setting_free(&s);
    named(&p, &s, "radial lists");
    io = s.io;
    int valid[8] = {128, 128, 128, 128, 128, 128, 128, 104};
    io.k_valid = oriel_tensor_of(valid, ORIEL_I32, 1, (const int64_t[]){8});
    refused(oriel_attn_check(&p.a, &io), "k_valid is given, but text is 5");
    setting_free(&s);
}

static void test_segments(void)
{
    problem p;
    setting s;
    named(&p, &s, "segments of clips");
    oriel_attn_io io = s.io;
    p.segments[1].extent[1] = 6;
    refused(oriel_attn_check(&p.a, &io), "segments hold 265 queries and 265 keys, but extent[2] is 244");
    p.segments[1].extent[1] = 5, p.segments[3].at[2] = 1;
    refused(oriel_attn_check(&p.a, &io), "segment 3: attn: axis X: 1 queries at 1 are not among the 1 tokens");
    p.segments[3].at[2] = 0, p.segments[4].keys[0] = -7;
    refused(oriel_attn_check(&p.a, &io), "segment 4: attn: keys[0] (T) -7");
    p.segments[4].keys[0] = 0;
    CHECK_OK(oriel_attn_check(&p.a, &io));
    io.segments = NULL;
    refused(oriel_attn_check(&p.a, &io), "segments is 5, but their list is NULL");
    io = s.io;
    oriel_attn a = p.a;
    a.segments = 0;
    refused(oriel_attn_check(&a, &io), "segments are given, but segments is 0");
    setting_free(&s);
}

static void test_rows(void)
{
    problem p;
    setting s;
    named(&p, &s, "halo pad rows ragged shifted");
    oriel_attn_io io = s.io;
    oriel_attn    a = p.a;
    io.pad_k = (oriel_tensor){0};
    refused(oriel_attn_check(&a, &io), "pad_k has no data");
    io = s.io, io.pad_v = (oriel_tensor){0};
    refused(oriel_attn_check(&a, &io), "pad_v has no data");
    io = s.io, io.pad_v.shape[1]++;
    refused(oriel_attn_check(&a, &io), "pad_v is f32 (1, 25)");
    a.pad_keys = false;
    refused(oriel_attn_check(&a, &s.io), "pad_k is given, but pad_keys is 0");
    setting_free(&s);
    named(&p, &s, "swin v2 cosine");
    io = s.io, io.scales.shape[0]--;
    refused(oriel_attn_check(&p.a, &io), "scales is f32 (2) where f32 (3) is due");
    io = s.io, io.k.shape[2]++;
    refused(oriel_attn_check(&p.a, &io), "k is f32");
    setting_free(&s);
    named(&p, &s, "seedvr2 text in windows");
    float lse[26];
    io = s.io, io.text_lse = oriel_tensor_of(lse, ORIEL_F32, 3, (const int64_t[]){1, 13, 2});
    refused(oriel_attn_check(&p.a, &io), "text_lse is given, but text_mode windows");
    setting_free(&s);
}

/* Every field that is not plain is said to be so, and no plain one. */
static void test_plain(void)
{
    static const struct {
        const char *name, *says;
    } some[] = {{"hat ocab", "left or right"}, {"slide unfold zeros", "pad_keys"}, {"pooled cross", "another raster"},
                {"srformer shifted by spans", "another raster"}, {"swin v2 cosine", "cosine"},
                {"seedvr2 text in windows", "text in windows"}, {"radial lists", "lists"},
                {"segments of clips", "segments"}, {"dense", NULL}, {"sta text f16", NULL}, {"sta per head", NULL}};
    problem p;
    setting s;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        named(&p, &s, some[i].name);
        const char *why = attn_plain_fields(&s.job);
        CHECK(some[i].says ? why && strstr(why, some[i].says) : !why);
        s.job.a.cosine = false;
        if (!strcmp(some[i].name, "swin v2 cosine"))
            CHECK(strstr(attn_plain_fields(&s.job), "scale") != NULL);
        setting_free(&s);
    }
    named(&p, &s, "dense");
    oriel_axis axes[3] = {{0}, {0}, {.kind = ORIEL_AXIS_SPANS}};
    s.io.axes = axes;
    CHECK(strstr(attn_plain_fields(&s.job), "spans") != NULL);
    setting_free(&s);
}

/* Pairs of bf16 are read as they lie: a tensor whose rows are not packed is refused, whichever it is. */
static void test_packed(void)
{
    static const struct {
        const char *impl, *name;
    } some[] = {{"avx512bf16", "dim 256 bf16"}, {"avx512bf16", "windows 7 x 7 bf16 extra"},
                {"win-avx512bf16", "windows 7 x 7 bf16 extra"}, {"near-avx512bf16", "neighbours bf16"}};
    problem p;
    setting s;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        int k = 0;
        while (attn_impls[k] && strcmp(attn_impls[k]->name, some[i].impl) != 0)
            k++;
        if (!attn_impls[k])
            continue; /* of another CPU */
        named(&p, &s, some[i].name);
        oriel_tensor *t[] = {&s.io.q, &s.io.k, &s.io.v, &s.io.out, &s.io.extra_k, &s.io.extra_v};
        CHECK(!attn_impls[k]->reject(&s.job, ~0u));
        for (size_t n = 0; n < sizeof t / sizeof *t; n++)
            if (t[n]->data) {
                t[n]->stride[t[n]->ndim - 1] = 2;
                CHECK(attn_impls[k]->reject(&s.job, ~0u) != NULL);
                t[n]->stride[t[n]->ndim - 1] = 1;
            }
        setting_free(&s);
    }
}

/* Merging: a part that saw nothing may hold anything; parts that all did give zeros; in place. */
static void test_merge(void)
{
    float        a[4] = {1, 2, 3, 4}, b[4] = {NAN, NAN, 5, 6}, la[2] = {0.5f, 0}, lb[2] = {-INFINITY, 0};
    int64_t      rows[2] = {2, 2};
    oriel_tensor out[2] = {oriel_tensor_of(a, ORIEL_F32, 2, rows), oriel_tensor_of(b, ORIEL_F32, 2, rows)};
    oriel_tensor lse[2] = {oriel_tensor_of(la, ORIEL_F32, 1, rows), oriel_tensor_of(lb, ORIEL_F32, 1, rows)};
    CHECK_OK(oriel_attn_merge(checkattn_device[0], 2, out, lse, &out[0], &lse[0]));
    CHECK(a[0] == 1 && a[1] == 2 && a[2] == 4 && a[3] == 5);
    CHECK(la[0] == 0.5f && fabsf(la[1] - logf(2)) < 1e-6f);
    la[0] = -INFINITY, b[0] = 7;
    CHECK_OK(oriel_attn_merge(checkattn_device[0], 2, out, lse, &out[1], &lse[1]));
    CHECK(b[0] == 0 && b[1] == 0 && isinf(lb[0]) && lb[0] < 0);
    refused(oriel_attn_merge(checkattn_device[0], 0, out, lse, &out[0], NULL), "0 parts");
    refused(oriel_attn_merge(NULL, 2, out, lse, &out[0], NULL), "no device");
    lse[1].shape[0] = 1;
    refused(oriel_attn_merge(checkattn_device[0], 2, out, lse, &out[0], NULL), "lse of part 1");
    out[1].dtype = ORIEL_I32;
    refused(oriel_attn_merge(checkattn_device[0], 2, out, lse, &out[0], NULL), "out of part 1");
    out[0].stride[0] = 0;
    refused(oriel_attn_merge(checkattn_device[0], 1, out, lse, &out[0], NULL), "out of part -1");
}

/* Some number of the problem or of a table becomes another one. */
static void break_it(problem *p, setting *s)
{
    static const int odd[] = {0, 1, 2, 3, 5, 9, -1, -3, 17, 100, INT_MAX, INT_MIN, 1 << 24};
    oriel_attn      *a = &p->a;
    int             *f[] = {&a->keys[0], &a->keys[2], &a->at[1], &a->at[2], &a->pool[1], &a->pool[2], &a->axis[1].left,
                            &a->axis[2].right, &a->axis[2].size, &a->axis[1].shift, &a->q_block[1], &a->q_block[2],
                            &a->k_block[2], &a->k_block[0], &a->segments, &a->extra, &a->extent[1], &a->extent[2]};
    bool            *on[] = {&a->pad_keys, &a->cosine, &a->lists, &a->axis[2].causal};
    int              v = odd[draw(p, 0, (int)(sizeof odd / sizeof *odd) - 1)], way = draw(p, 0, 9);
    int              table = SPANS + draw(p, 0, K_VALID - SPANS);
    if (way < 5 && s->v[table].memory && oriel_tensor_count(&s->v[table].t)) {
        const oriel_tensor *t = &s->v[table].t;
        int64_t             at = 0;
        for (int x = 0; x < t->ndim; x++)
            at += draw(p, 0, (int)t->shape[x] - 1) * t->stride[x];
        ((int32_t *)t->data)[at] = draw(p, 0, 1) ? v : ((int32_t *)t->data)[at] + draw(p, -1, 1);
    } else if (way < 6 && a->segments) {
        int *g = (int *)&p->segments[draw(p, 0, a->segments - 1)] + draw(p, 0, 8);
        *g = v;
    } else if (way < 7)
        *on[draw(p, 0, 3)] ^= true;
    else if (way < 8)
        a->axis[draw(p, 0, 2)].kind = (oriel_axis_kind)draw(p, 0, 5);
    else {
        int *g = f[draw(p, 0, (int)(sizeof f / sizeof *f) - 1)];
        *g = draw(p, 0, 1) ? v : *g + draw(p, -1, 1);
        if (g == &a->segments && s->io.segments && a->segments > SEGMENTS_MAX)
            a->segments = SEGMENTS_MAX; /* their list has no more */
    }
}

static void test_broken(int times)
{
    int right = 0, wrong = 0;
    for (int n = 0; n < times; n++) {
        problem p;
        setting s;
        problem_random(&p, (unsigned)(1000000 + 2 * (n / 16))); /* fields after bias */
        setting_new(&s, &p);
        if (s.work > 3e6) { /* and the 15 after it */
            setting_free(&s);
            n += 15 - n % 16;
            continue;
        }
        p.drawn += (uint64_t)n * 1000;
        for (int i = draw(&p, 1, 2); i > 0; i--)
            break_it(&p, &s);
        if (attn_prepare(&s.job, &p.a, &s.io))
            wrong++;
        else {
            right++;
            for (int i = 0; attn_impls[i]; i++)
                if (!attn_impls[i]->reject(&s.job, oriel_cpu_flags()))
                    CHECK_OK(run_on(&s, attn_impls[i], 2));
            for (int i = OUT; i < VIEWS; i++)
                CHECK(!s.v[i].memory || view_gaps_whole(&s.v[i]));
        }
        setting_free(&s);
    }
    CHECK_INT(right, >=, times / 50);
    CHECK_INT(wrong, >=, times / 50);
}

void check_tables(int structs, int *passed, int *failed)
{
    test_numbers();
    test_spans();
    test_lists();
    test_segments();
    test_rows();
    test_plain();
    test_packed();
    test_merge();
    test_broken(structs / 40);
    *passed += test_passed;
    *failed += test_failed;
}
