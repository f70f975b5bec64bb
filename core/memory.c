/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of the library, with a door for tests that make them fail. */
#include <stdatomic.h>
#include <stdlib.h>

#include "core/internal.h"

static atomic_uint_fast64_t requests, fail_at;

void oriel_alloc_fail_at(uint64_t n)
{
    atomic_store(&requests, 0);
    atomic_store(&fail_at, n);
}

uint64_t oriel_alloc_count(void)
{
    return atomic_load(&requests);
}

static void *made(void *p, size_t bytes)
{
    if (!p)
        oriel_fail(ORIEL_E_NOMEM, "out of memory: %zu bytes", bytes);
    return p;
}

static bool refused(void)
{
    uint64_t n = atomic_fetch_add_explicit(&requests, 1, memory_order_relaxed) + 1;
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return at && n >= at;
}

void *oriel_alloc(size_t bytes)
{
    return made(refused() ? NULL : malloc(bytes ? bytes : 1), bytes);
}

void *oriel_alloc_zero(size_t count, size_t size)
{
    size_t bytes;
    if (!oriel_mul_ok(count, size, &bytes))
        return made(NULL, SIZE_MAX);
    return made(refused() ? NULL : calloc(bytes ? bytes : 1, 1), bytes);
}

void *oriel_realloc(void *p, size_t bytes)
{
    return made(refused() ? NULL : realloc(p, bytes ? bytes : 1), bytes);
}

void *oriel_alloc_aligned(size_t bytes)
{
    void  *p = NULL;
    size_t size;
    if (!refused() && oriel_add_ok(bytes, 63, &size))
        p = aligned_alloc(64, size < 64 ? 64 : size & ~(size_t)63);
    return made(p, bytes);
}

void oriel_dealloc(void *p)
{
    free(p);
}

void oriel_dealloc_aligned(void *p)
{
    free(p);
}

char *oriel_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char  *p = oriel_alloc(n);
    return p ? memcpy(p, text, n) : NULL;
}
