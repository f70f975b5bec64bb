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

static void poison(const oriel_arena *a, size_t at, size_t bytes)
{
    if (a->base && !a->gpu)
        POISON(a->base + at, bytes);
}

static void unpoison(const oriel_arena *a, size_t at, size_t bytes)
{
    if (a->base && !a->gpu)
        UNPOISON(a->base + at, bytes);
}

oriel_status oriel_arena_reserve(oriel_arena *a, size_t bytes)
{
    void *memory = NULL;
    a->used = 0;
    a->peak = 0;
    if (a->base && a->size >= bytes) {
        poison(a, 0, a->size);
        return ORIEL_OK;
    }
    oriel_arena_free(a);
    if (a->gpu) {
        oriel_status s = oriel_memory_alloc(a->gpu, &memory, bytes);
        a->base = memory;
        a->size = s ? 0 : bytes;
        return s;
    }
    if (!(a->base = oriel_alloc_aligned(bytes)))
        return ORIEL_E_NOMEM;
    a->size = bytes;
    enum { HUGE_PAGE = 1 << 21 }; /* maps are large and read all over: spare the TLB; a hint only */
    uintptr_t from = ((uintptr_t)a->base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    uintptr_t to = ((uintptr_t)a->base + bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    poison(a, 0, a->size);
    return ORIEL_OK;
}

void oriel_arena_free(oriel_arena *a)
{
    void *memory = a->base;
    if (a->gpu) {
        oriel_memory_free(a->gpu, &memory);
    } else {
        unpoison(a, 0, a->size);
        oriel_dealloc_aligned(memory);
    }
    *a = (oriel_arena){.gpu = a->gpu};
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
    unpoison(a, at, bytes);
    return a->base + at;
}

size_t oriel_arena_mark(const oriel_arena *a)
{
    return a->used;
}

void oriel_arena_rewind(oriel_arena *a, size_t mark)
{
    assert(mark <= a->used);
    poison(a, mark, a->used - mark);
    a->used = mark;
}
