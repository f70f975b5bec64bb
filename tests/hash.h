/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers from a counter, the same in C and in golden/hash.py: so golden files need no inputs. */
#ifndef TESTS_HASH_H
#define TESTS_HASH_H

#include <stdint.h>

/* Number i of stream `seed`: splitmix64's. */
static inline uint64_t test_hash(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed << 32) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* In [0, 1): 24 bits, exact in float. */
static inline float test_unit(uint64_t seed, uint64_t i)
{
    return (float)(test_hash(seed, i) >> 40) * 0x1p-24f;
}

#endif
