/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a run: handed out in order, taken back to a mark. */
#include <sys/mman.h>

#include "core/internal.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif

#ifdef ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
enum { RED_ZONE = 64 };
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { RED_ZONE = 0 };
#endif

oriel_status oriel_arena_reserve(oriel_arena *a, size_t bytes)
{
    a->used = 0;
    a->peak = 0;
    if (a->base && a->size >= bytes) {
        POISON(a->base, a->size);
        return ORIEL_OK;
    }
    oriel_arena_free(a);
    if (!(a->base = oriel_alloc_aligned(bytes)))
        return ORIEL_E_NOMEM;
    a->size = bytes;
    enum { HUGE_PAGE = 1 << 21 }; /* maps are large and read all over: spare the TLB; a hint only */
    uintptr_t from = ((uintptr_t)a->base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    uintptr_t to = ((uintptr_t)a->base + bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    POISON(a->base, a->size);
    return ORIEL_OK;
}

void oriel_arena_free(oriel_arena *a)
{
    if (a->base)
        UNPOISON(a->base, a->size);
    oriel_dealloc_aligned(a->base);
    *a = (oriel_arena){0};
}

void *oriel_arena_take(oriel_arena *a, size_t bytes)
{
    size_t at = a->used;
    size_t size = (bytes + RED_ZONE + 63) & ~(size_t)63;
    if (size < bytes || at + size < at)
        return NULL;
    if (a->base && at + size > a->size)
        return NULL;
    a->used = at + size;
    if (a->used > a->peak)
        a->peak = a->used;
    if (!a->base)
        return NULL;
    UNPOISON(a->base + at, bytes);
    return a->base + at;
}

size_t oriel_arena_mark(const oriel_arena *a)
{
    return a->used;
}

void oriel_arena_rewind(oriel_arena *a, size_t mark)
{
    assert(mark <= a->used);
    if (a->base)
        POISON(a->base + mark, a->used - mark);
    a->used = mark;
}
