/* SPDX-License-Identifier: Apache-2.0 */
/* checkattn: what is refused, and the ways in. */
#include <math.h>

#include "checkattn.h"
#include "test.h"

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
    /* in bounds one by one, together more than 64 bits can count */
    CHECK_FAILS(oriel_attn_check(&(oriel_attn){.batch = 1 << 24, .heads = 64, .dim = 64, .extent = {1 << 24, 64, 1}}, &s.io),
                ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_run(NULL, &p.a, &s.io), ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_run(checkattn_device[0], &p.a, NULL), ORIEL_E_ARG);
    oriel_attn_plan plan = {0};
    CHECK_FAILS(oriel_attn_plan_run(NULL, &p.a, &s.io, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_plan_run(checkattn_device[0], &p.a, NULL, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_plan_run(checkattn_device[0], &p.a, &s.io, NULL), ORIEL_E_ARG);
    CHECK_OK(oriel_attn_plan_run(checkattn_device[0], &p.a, &s.io, &plan));
    CHECK_OK(attn_prepare(&s.job, &p.a, &s.io));
    CHECK(plan.kernel && !strcmp(plan.kernel, attn_choose(&s.job, oriel_cpu_flags())->name));
    setenv("ORIEL_ATTN", "nobody", 1);
    CHECK_FAILS(oriel_attn_plan_run(checkattn_device[0], &p.a, &s.io, &plan), ORIEL_E_ARG);
    CHECK_FAILS(oriel_attn_run(checkattn_device[0], &p.a, &s.io), ORIEL_E_ARG);
    CHECK(strstr(oriel_error(), "nobody") != NULL);
    setenv("ORIEL_ATTN", "c", 1);
    CHECK_OK(attn_prepare(&s.job, &p.a, &s.io));
    CHECK(attn_choose(&s.job, ~0u) == &attn_c);
    CHECK_OK(oriel_attn_run(checkattn_device[1], &p.a, &s.io));
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
    static int32_t nowhere[8]; /* strides are 0 */
    int        legal = 0;
    for (int n = 0; n < times; n++) {
        oriel_attn    a;
        oriel_attn_io io = {0};
        oriel_axis    axes[6] = {{0}};
        oriel_tensor *t = &io.q;
        int          *f[] = {&a.batch, &a.heads, &a.kv_heads, &a.dim_v, &a.extra, &a.text, &a.extent[0], &a.extent[1],
                             &a.extent[2], &axes[0].size, &axes[1].stride, &axes[2].dilation, &axes[0].shift,
                             &axes[1].left, &axes[2].right, &a.axis[0].size, &a.axis[1].size, &a.axis[2].size,
                             &a.axis[2].dilation, &a.axis[1].stride, &a.axis[0].left, &a.dim, &a.keys[0], &a.keys[2],
                             &a.at[1], &a.at[2], &a.pool[0], &a.pool[2], &a.segments, &a.q_block[0], &a.q_block[2],
                             &a.k_block[1], &a.k_block[2]};
        oriel_tensor *after[] = {&io.spans[0], &io.spans[1], &io.spans[2], &io.scales, &io.pad_k, &io.pad_v,
                                 &io.indptr, &io.indices, &io.k_valid};
        oriel_segment list[3];
        a = (oriel_attn){.dim = 8, .dtype = (oriel_dtype)draw(&p, 0, 3), .bias = (oriel_attn_bias)draw(&p, 0, 3),
                         .pad_keys = draw(&p, 0, 9) == 0, .cosine = draw(&p, 0, 9) == 0, .lists = draw(&p, 0, 9) == 0,
                         .text_mode = (oriel_text_mode)(draw(&p, 0, 19) ? 0 : draw(&p, -1, 2))};
        for (int i = 0; i < 3; i++)
            a.axis[i].kind = axes[i].kind = (oriel_axis_kind)draw(&p, -1, 5);
        for (int i = draw(&p, 0, 5); i > 0; i--)
            *f[draw(&p, 0, (int)(sizeof f / sizeof *f) - 1)] = odd[draw(&p, 0, 11)];
        io.axes = draw(&p, 0, 1) && a.heads >= 0 && a.heads < 3 ? axes : NULL;
        for (int i = 0; i < 11; i++) {
            t[i].data = draw(&p, 0, 3) ? nowhere : NULL;
            t[i].ndim = draw(&p, 0, 20) ? i < 4 ? 6 : 4 : odd[draw(&p, 0, 11)];
            t[i].dtype = draw(&p, 0, 20) ? a.dtype : (oriel_dtype)draw(&p, -2, 20);
            for (int x = 0; x < ORIEL_MAX_DIMS; x++)
                t[i].shape[x] = draw(&p, 0, 9) ? x == 5 || (i > 3 && x == 3) ? 8 : 1 : odd[draw(&p, 0, 11)];
        }
        for (int i = 0; i < 9; i++) {
            *after[i] = (oriel_tensor){draw(&p, 0, 4) ? NULL : nowhere, i == 3 ? ORIEL_F32 : ORIEL_I32,
                                       i < 3 ? 2 : i == 6 ? 3 : 1, {1, 2, draw(&p, 0, 2)}, {0}};
            if (draw(&p, 0, 9) == 0)
                after[i]->shape[draw(&p, 0, 2)] = odd[draw(&p, 0, 11)];
        }
        memset(list, 0, sizeof list);
        io.segments = a.segments < 4 && draw(&p, 0, 1) ? list : NULL;
        legal += oriel_attn_check(&a, NULL) == ORIEL_OK;
        if (oriel_attn_check(&a, &io) && !oriel_error()[0])
            test_failed++;
    }
    CHECK_INT(legal, >, times / 50);
    CHECK_INT(legal, <, times);
}

void check_doors(int structs, int *passed, int *failed)
{
    test_refusals();
    test_doors();
    test_random_structs(structs);
    *passed += test_passed;
    *failed += test_failed;
}
