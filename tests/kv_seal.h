/* SPDX-License-Identifier: Apache-2.0 */
/* The checksums of a saved frame cache, set right again after its bytes were changed. */
#ifndef TESTS_KV_SEAL_H
#define TESTS_KV_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The hash runs anew over each piece: all are multiples of 4 bytes, so what a piece is matters. */
static inline uint64_t kv_seal_mix(uint64_t h, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = 0;
        memcpy(&w, p + i, n - i < 8 ? n - i : 8);
        h ^= w;
        h *= 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* Seal the head of a file of n bytes, as far as its sizes make sense. */
static inline void kv_seal_head(uint8_t *b, size_t n)
{
    uint32_t size;
    uint64_t h = 0;
    if (n < 140)
        return;
    memcpy(&size, b + 12, 4);
    if (size < 140 || size > n || (size - 140) % 16)
        return;
    h = kv_seal_mix(h, b, 8);
    h = kv_seal_mix(h, b + 8, 4);
    h = kv_seal_mix(h, b + 12, 4);
    for (int i = 0; i < 15; i++)
        h = kv_seal_mix(h, b + 16 + 4 * i, 4);
    for (size_t at = 76; at < size - 8; at += 8)
        h = kv_seal_mix(h, b + at, 8);
    memcpy(b + size - 8, &h, 8);
}

#endif
