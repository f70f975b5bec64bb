/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that lives as long as a checkpoint: blocks that double up to 1 MiB, freed together. */

#include "models/checkpoint/format.h"

struct ckpt_block {
    struct ckpt_block *next;
    size_t pad; /* keeps what follows 16-byte aligned */
};

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

void *ckpt_take(ckpt_mem *m, size_t bytes)
{
    size_t need = bytes ? bytes : 1;
    if (!oriel_add_ok(need, 15, &need)) {
        oriel_fail(ORIEL_E_NOMEM, "checkpoint: %zu bytes", bytes);
        return NULL;
    }
    need &= ~(size_t)15;
    if (!m->head || m->size - m->used < need) {
        size_t size = m->head ? m->size * 2 : FIRST_BLOCK;
        size = size > LARGEST_BLOCK ? LARGEST_BLOCK : size;
        size = size < need ? need : size;
        size_t total;
        struct ckpt_block *b = oriel_add_ok(size, sizeof *b, &total) ? oriel_alloc(total) : NULL;
        if (!b) {
            oriel_fail(ORIEL_E_NOMEM, "checkpoint: out of memory (%zu bytes)", size);
            return NULL;
        }
        b->next = m->head;
        m->head = b;
        m->size = size;
        m->used = 0;
    }
    void *p = (char *)(m->head + 1) + m->used;
    m->used += need;
    return p;
}

void *ckpt_take_array(ckpt_mem *m, size_t count, size_t size)
{
    size_t bytes;
    if (oriel_mul_ok(count, size, &bytes))
        return ckpt_take(m, bytes);
    oriel_fail(ORIEL_E_NOMEM, "checkpoint: %zu times %zu bytes", count, size);
    return NULL;
}

char *ckpt_take_text(ckpt_mem *m, const char *s, size_t n)
{
    char *p = ckpt_take(m, n + 1);
    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

void ckpt_mem_free(ckpt_mem *m)
{
    for (struct ckpt_block *b = m->head, *next; b; b = next) {
        next = b->next;
        oriel_dealloc(b);
    }
    *m = (ckpt_mem){0};
}

int ckpt_text_cmp(ckpt_text a, ckpt_text b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n && a.s != b.s ? memcmp(a.s, b.s, n) : 0;
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

bool ckpt_text_is(ckpt_text a, const char *b)
{
    size_t n = strlen(b);
    return a.n == n && (!n || !memcmp(a.s, b, n));
}

ckpt_shown ckpt_show(ckpt_text t)
{
    ckpt_shown r;
    size_t n = t.n < 80 ? t.n : 80;
    for (size_t i = 0; i < n; i++)
        r.s[i] = (unsigned char)t.s[i] < 32 || t.s[i] == 127 ? '?' : t.s[i];
    memcpy(r.s + n, t.n > n ? "..." : "", t.n > n ? 4 : 1);
    return r;
}
