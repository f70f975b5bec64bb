/* SPDX-License-Identifier: Apache-2.0 */
/* What the mutants of core showed test_core.c not to see: exact peaks, alignment, who works where. */
#include <stdatomic.h>

#include "core/internal.h"
#include "tests/test.h"

static void arena(void)
{
    oriel_arena plan = {0}, a = {0};
    oriel_arena_take(&plan, 1);
    size_t mark = oriel_arena_mark(&plan), step = mark;
    CHECK_INT(step, >=, 1);
    CHECK_INT(step % 64, ==, 0);
    for (int i = 0; i < 5; i++) { /* what was rewound is handed out again */
        oriel_arena_take(&plan, 1);
        oriel_arena_rewind(&plan, mark);
        CHECK_INT(oriel_arena_mark(&plan), ==, mark);
    }
    CHECK_INT(plan.peak, ==, 2 * step);
    CHECK_OK(oriel_arena_reserve(&a, plan.peak)); /* a run takes just what its plan said */
    char *p = oriel_arena_take(&a, 1), *q = oriel_arena_take(&a, 1);
    CHECK(p && q && !oriel_arena_take(&a, 1));
    CHECK_INT((uintptr_t)q % 64, ==, 0);
    CHECK_INT(q - p, ==, step);
    oriel_arena_rewind(&a, mark);
    CHECK(oriel_arena_take(&a, 1) == q);
    CHECK_OK(oriel_arena_reserve(&a, 1)); /* large enough: kept, emptied */
    CHECK(oriel_arena_take(&a, 1) == p);
    oriel_arena_free(&a);
    CHECK(!a.base && !a.size);
}

static void requests(void)
{
    for (int which = 0; which < 4; which++)
        for (uint64_t n = 1; n <= 3; n++) { /* the n-th request fails, and not one before it */
            void *p[4] = {0};
            oriel_alloc_fail_at(n);
            for (uint64_t i = 0; i < 4; i++)
                p[i] = which == 0   ? oriel_alloc(10)
                       : which == 1 ? oriel_alloc_zero(2, 5)
                       : which == 2 ? oriel_realloc(NULL, 10)
                                    : oriel_alloc_aligned(10);
            CHECK_INT(oriel_alloc_count(), ==, 4);
            oriel_alloc_fail_at(0);
            for (uint64_t i = 0; i < 4; i++) {
                CHECK_INT(p[i] != NULL, ==, i + 1 < n);
                CHECK_INT(which == 3 && p[i] ? (uintptr_t)p[i] % 64 : 0, ==, 0);
                oriel_dealloc(p[i]);
            }
        }
    CHECK(!oriel_alloc_zero(SIZE_MAX / 2, 3));
    CHECK(!oriel_alloc_aligned(SIZE_MAX - 7));
    unsigned char *z = oriel_alloc_zero(100, 3), sum = 0;
    for (int i = 0; z && i < 300; i++)
        sum |= z[i];
    CHECK(z && !sum);
    oriel_dealloc(z);
}

static void packed(void)
{
    float        data[6];
    int64_t      shape[3] = {2, 1, 3};
    oriel_tensor t = oriel_tensor_of(data, ORIEL_F32, 3, shape);
    t.stride[1] = 77; /* of an axis with one element: never walked */
    CHECK(oriel_tensor_packed(&t));
    t.stride[0] = 4;
    CHECK(!oriel_tensor_packed(&t));
    oriel_tensor s = oriel_tensor_slice(oriel_tensor_of(data, ORIEL_F32, 3, shape), 0, 1, 2);
    CHECK(s.data == data + 3);
    s = oriel_tensor_slice(t, 0, 5, 9); /* clamped to nothing */
    CHECK_INT(s.shape[0], ==, 0);
    CHECK_INT(oriel_tensor_count(&s), ==, 0);
}

enum { THREADS = 4, ITEMS = 400 };
typedef struct crew {
    atomic_int inside[THREADS]; /* calls of this worker that are running */
    atomic_int taken[ITEMS], clashes, outside;
} crew;

static void join_in(void *arg, int64_t begin, int64_t end, int worker)
{
    crew *c = arg;
    if (worker < 0 || worker >= THREADS) {
        atomic_fetch_add(&c->outside, 1);
        return;
    }
    if (atomic_fetch_add(&c->inside[worker], 1))
        atomic_fetch_add(&c->clashes, 1);
    for (int64_t i = begin; i < end; i++) {
        atomic_fetch_add(&c->taken[i], 1);
        usleep(20);
    }
    atomic_fetch_sub(&c->inside[worker], 1);
}

static void workers(void)
{
    oriel_pool *p = NULL;
    static crew c;
    int         wrong = 0;
    CHECK_OK(oriel_pool_new(&p, THREADS));
    if (p)
        oriel_parallel_for(p, ITEMS, 1, join_in, &c);
    for (int i = 0; i < ITEMS; i++)
        wrong += c.taken[i] != 1;
    CHECK_INT(wrong, ==, 0);
    CHECK_INT(c.clashes, ==, 0); /* a worker's scratch memory is its own */
    CHECK_INT(c.outside, ==, 0);
    oriel_pool_free(&p);
}

int main(void)
{
    arena();
    requests();
    packed();
    workers();
    return test_end();
}
