/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of checkpoints share: files in memory, safetensors made of a text and zeros, and
 * the values that tests/golden/make_checkpoints.py wrote. */
#ifndef TESTS_CHECKPOINT_SAMPLES_H
#define TESTS_CHECKPOINT_SAMPLES_H

#include <stdint.h>

#include "core/internal.h"
#include "models/checkpoint/checkpoint.h"
#include "tests/test.h"

typedef struct bytes {
    unsigned char *p;
    size_t n;
} bytes;

/* A file of tests/golden/checkpoints; the test ends if it is not there. */
static inline bytes golden(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/golden/checkpoints/%s", name);
    FILE *f = fopen(path, "rb");
    bytes b = {malloc(1 << 16), 0};
    if (!f || !b.p) {
        perror(path);
        exit(1);
    }
    b.n = fread(b.p, 1, 1 << 16, f);
    fclose(f);
    return b;
}

/* safetensors with this header, then data bytes 0, 1, 2, ... */
static inline bytes safetensors(const char *header, size_t data)
{
    uint64_t n = strlen(header);
    bytes b = {malloc(8 + n + data), 8 + n + data};
    if (!b.p)
        exit(1);
    memcpy(b.p, &n, 8);
    memcpy(b.p + 8, header, n);
    for (size_t i = 0; i < data; i++)
        b.p[8 + n + i] = (unsigned char)i;
    return b;
}

/* Element i of tensor t of make_checkpoints.py */
static inline double made(int t, int64_t i, oriel_dtype type)
{
    int v = (int)((31 * t + 7 * i) % 64) - 32;
    switch (type) {
    case ORIEL_BOOL:
        return v & 1;
    case ORIEL_U8:
    case ORIEL_U16:
        return v + 32;
    case ORIEL_I64:
    case ORIEL_I32:
    case ORIEL_I16:
    case ORIEL_I8:
        return v;
    default:
        return v / 8.0;
    }
}

static inline oriel_checkpoint_info info_of(const oriel_checkpoint *c)
{
    oriel_checkpoint_info info;
    oriel_checkpoint_describe(c, &info);
    return info;
}

#endif
