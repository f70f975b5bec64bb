/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of the conformance cases: n / 64 times amp, n whole and at most 128 from 0, by a counter
 * hash that the project's oracle in Python repeats. Exact in f32, f16 and bf16 (amp a power of two). */
#ifndef TESTS_NA_HASH_H
#define TESTS_NA_HASH_H

#include <stdint.h>

static inline float na_value(uint64_t seed, uint64_t i, double amp)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15u + (i + 1) * 0xd1b54a32d192ed03u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(((double)((z >> 40) % 257) - 128) / 64 * amp);
}

#endif
