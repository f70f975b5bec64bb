/* SPDX-License-Identifier: Apache-2.0 */
/* Status, tensors, arena, pool, conversions. */
#include <math.h>
#include <stdatomic.h>

#include "core/device.h"
#include "tests/test.h"

static void status(void)
{
    CHECK(oriel_fail(ORIEL_E_FORMAT, "png: bit depth %d", 3) == ORIEL_E_FORMAT);
    CHECK(!strcmp(oriel_error(), "png: bit depth 3"));
    CHECK(!strcmp(oriel_status_name(ORIEL_E_DEVICE), "device"));
    CHECK(!strcmp(oriel_status_name((oriel_status)99), "unknown status"));
    CHECK(oriel_version()[0] == '0');
}

static void tensors(void)
{
    float        data[2 * 3 * 5];
    int64_t      shape[3] = {2, 3, 5};
    oriel_tensor t = oriel_tensor_of(data, ORIEL_F32, 3, shape);
    char         buf[128];
    CHECK(oriel_tensor_packed(&t));
    CHECK_INT(oriel_tensor_count(&t), ==, 30);
    CHECK(!strcmp(oriel_tensor_str(&t, buf, sizeof buf), "f32 (2, 3, 5)"));
    oriel_tensor s = oriel_tensor_slice(t, 1, 1, 3);
    CHECK(s.data == data + 5 && s.shape[1] == 2 && !oriel_tensor_packed(&s));
    s = oriel_tensor_slice(t, 0, 1, 99);
    CHECK(s.shape[0] == 1 && oriel_tensor_packed(&s));
    char tiny[6];
    oriel_tensor_str(&t, tiny, sizeof tiny);
    CHECK(!strcmp(tiny, "f32 ("));
    for (int i = 0; i < ORIEL_DTYPE_COUNT; i++)
        CHECK(oriel_dtype_size((oriel_dtype)i) && strcmp(oriel_dtype_name((oriel_dtype)i), "?"));
}

static void conversions(void)
{
    for (uint32_t h = 0; h < 65536; h++) { /* every fp16 and bf16 that is a number comes back */
        float f = oriel_f16_to_f32((uint16_t)h), b = oriel_bf16_to_f32((uint16_t)h);
        if (!isnan(f) && oriel_f32_to_f16(f) != h)
            CHECK_INT(oriel_f32_to_f16(f), ==, h);
        if (!isnan(b) && oriel_f32_to_bf16(b) != h)
            CHECK_INT(oriel_f32_to_bf16(b), ==, h);
    }
    CHECK_INT(oriel_f32_to_f16(65519.9f), ==, 0x7bff);
    CHECK_INT(oriel_f32_to_f16(65520.f), ==, 0x7c00);
    CHECK_INT(oriel_f32_to_f16(1.f + 1.f / 2048), ==, 0x3c00); /* ties to even */
    CHECK_INT(oriel_f32_to_f16(1.f + 3.f / 2048), ==, 0x3c02);
    CHECK_INT(oriel_f32_to_f16(ldexpf(1, -25)), ==, 0);
    CHECK_INT(oriel_f32_to_f16(ldexpf(3, -26)), ==, 1);
    CHECK_INT(oriel_f32_to_f16(-NAN) & 0x7e00, ==, 0x7e00);
    CHECK_INT(oriel_f32_to_bf16(1.f + 1.f / 256), ==, 0x3f80);
    CHECK(isnan(oriel_bf16_to_f32(oriel_f32_to_bf16(NAN))));
    uint8_t e4[] = {0x7e, 0x7f, 0x01, 0xb8}, e5[] = {0x7b, 0x7c, 0xc0};
    CHECK_NUM(oriel_to_f32(e4, ORIEL_F8_E4M3, 0), ==, 448);
    CHECK(isnan(oriel_to_f32(e4, ORIEL_F8_E4M3, 1)));
    CHECK_NUM(oriel_to_f32(e4, ORIEL_F8_E4M3, 2), ==, 1 / 512.0);
    CHECK_NUM(oriel_to_f32(e4, ORIEL_F8_E4M3, 3), ==, -1);
    CHECK_NUM(oriel_to_f32(e5, ORIEL_F8_E5M2, 0), ==, 57344);
    CHECK(isinf(oriel_to_f32(e5, ORIEL_F8_E5M2, 1)));
    CHECK_NUM(oriel_to_f32(e5, ORIEL_F8_E5M2, 2), ==, -2);
    int64_t big = -7;
    CHECK_NUM(oriel_to_f32(&big, ORIEL_I64, 0), ==, -7);
}

static void arena(void)
{
    oriel_arena plan = {0}, a = {0};
    CHECK(!oriel_arena_take(&plan, 100));
    size_t mark = oriel_arena_mark(&plan);
    oriel_arena_take(&plan, 1000);
    oriel_arena_rewind(&plan, mark);
    oriel_arena_take(&plan, 10);
    CHECK_INT(plan.peak, >=, 1100);
    CHECK_OK(oriel_arena_reserve(&a, plan.peak));
    char *p = oriel_arena_take(&a, 100);
    CHECK(p && (uintptr_t)p % 64 == 0);
    char *q = oriel_arena_take(&a, 1000);
    CHECK(q && q >= p + 100);
    memset(p, 1, 100);
    memset(q, 2, 1000);
    CHECK(!oriel_arena_take(&a, 1 << 20));
    CHECK(!oriel_arena_take(&a, SIZE_MAX - 8));
    oriel_arena_free(&a);
}

enum { N = 1000 };
typedef struct loop {
    atomic_int seen[N];
    int        threads;
    atomic_int bad;
} loop;

static void visit(void *arg, int64_t begin, int64_t end, int worker)
{
    loop *l = arg;
    if (worker < 0 || worker >= l->threads)
        atomic_fetch_add(&l->bad, 1);
    for (int64_t i = begin; i < end; i++)
        atomic_fetch_add(&l->seen[i], 1);
}

static void pool(void)
{
    static loop l;
    for (int threads = 1; threads <= 5; threads++) {
        oriel_pool *p = NULL;
        CHECK_OK(oriel_pool_new(&p, threads));
        CHECK_INT(oriel_pool_threads(p), ==, threads);
        for (int round = 0; round < 300; round++) {
            int n = round * 7 % N, wrong = 0;
            memset(&l, 0, sizeof l);
            l.threads = threads;
            oriel_parallel_for(p, n, 1 + round % 9, visit, &l);
            for (int i = 0; i < N; i++)
                wrong += l.seen[i] != (i < n);
            if (wrong || l.bad)
                CHECK_INT(wrong + l.bad, ==, 0);
        }
        oriel_pool_free(&p);
        CHECK(!p);
    }
    oriel_pool *p = NULL;
    CHECK_FAILS(oriel_pool_new(&p, -1), ORIEL_E_ARG);
}

static void devices(void)
{
    oriel_device *d = NULL;
    CHECK_OK(oriel_device_open(&d, &(oriel_device_options){.threads = 2}));
    CHECK_INT(oriel_device_threads(d), ==, 2);
    CHECK(!strncmp(oriel_device_name(d), "cpu ", 4));
    oriel_device_free(&d);
    oriel_device_free(&d);
    CHECK_FAILS(oriel_device_open(&d, &(oriel_device_options){.kind = (oriel_device_kind)9}), ORIEL_E_ARG);
    for (uint64_t n = 1;; n++) { /* the n-th allocation fails */
        oriel_alloc_fail_at(n);
        oriel_status s = oriel_device_open(&d, NULL);
        oriel_alloc_fail_at(0);
        if (!s)
            break;
        CHECK_INT(s, ==, ORIEL_E_NOMEM);
        CHECK(!d);
    }
    oriel_device_free(&d);
}

int main(void)
{
    status();
    tensors();
    conversions();
    arena();
    pool();
    devices();
    return test_end();
}
