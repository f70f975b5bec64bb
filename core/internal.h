/* SPDX-License-Identifier: Apache-2.0 */
/* What the folders of the library may use of core. */
#ifndef CORE_INTERNAL_H
#define CORE_INTERNAL_H

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- memory (memory.c) -------------------------------------------------------------------- */

/* Fail the n-th request from now on (1 is the next) and all after it; 0: none. Tests only. */
void     oriel_alloc_fail_at(uint64_t n);
uint64_t oriel_alloc_count(void); /* requests since oriel_alloc_fail_at() */

/* a * b or a + b into *r; false on overflow */
static inline bool oriel_mul_ok(size_t a, size_t b, size_t *r)
{
    return !__builtin_mul_overflow(a, b, r);
}
static inline bool oriel_add_ok(size_t a, size_t b, size_t *r)
{
    return !__builtin_add_overflow(a, b, r);
}

/* ---- threads (pool.c) --------------------------------------------------------------------- */

typedef struct oriel_pool oriel_pool;

/* Work on items [begin, end); worker is 0 .. threads - 1, one call at a time for each worker. */
typedef void oriel_range_fn(void *arg, int64_t begin, int64_t end, int worker);

/* threads 0: the cores this process may use. 1: no thread is made. */
oriel_status oriel_pool_new(oriel_pool **out, int threads);
void         oriel_pool_free(oriel_pool **p);
int          oriel_pool_threads(const oriel_pool *p);
/* A grain of at most `most` that leaves each thread pieces enough to even out. */
int64_t oriel_pool_grain(const oriel_pool *p, int64_t n, int64_t most);
/* Call fn on [0, n) in pieces of at most `grain`, each item once, and return when all are done. Which
 * worker takes which piece, and how long it is, is not fixed, so fn must not depend on it. */
void    oriel_parallel_for(oriel_pool *p, int64_t n, int64_t grain, oriel_range_fn *fn, void *arg);

/* ---- the arena of a run (arena.c) --------------------------------------------------------- */

/* Bump allocation with marks: the activations of one run. A planning arena hands out offsets of no
 * memory and records its high-water mark. Under AddressSanitizer what is not handed out is poisoned.
 * Bytes are 64-byte aligned. */
typedef struct oriel_arena {
    unsigned char *base; /* NULL: planning */
    size_t         size, used, peak;
    oriel_device  *gpu; /* whose memory it is; NULL: the host's */
} oriel_arena;

oriel_status oriel_arena_reserve(oriel_arena *a, size_t bytes); /* grows; empties; ORIEL_E_NOMEM */
void         oriel_arena_free(oriel_arena *a);
/* NULL when planning, and when the arena is full (which planning rules out). */
void  *oriel_arena_take(oriel_arena *a, size_t bytes);
size_t oriel_arena_mark(const oriel_arena *a);
void   oriel_arena_rewind(oriel_arena *a, size_t mark);

/* ---- small things ------------------------------------------------------------------------- */

static inline int64_t oriel_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static inline int64_t oriel_round_up(int64_t a, int64_t b)
{
    return oriel_ceil_div(a, b) * b;
}
static inline int64_t oriel_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t oriel_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* fp16 and bf16 bits from float, and bf16 to float, round to nearest even (convert.c); core.h has oriel_f16_to_f32() */
uint16_t oriel_f32_to_f16(float f);
static inline float oriel_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float    f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint16_t oriel_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40); /* NaN stays NaN */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
/* Element i of packed data of any floating or integer dtype as float. */
float oriel_to_f32(const void *data, oriel_dtype t, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
