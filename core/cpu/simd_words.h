/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lane of an operand holds, in 4 bytes: PER numbers. A float, or with SIMD_PAIRS (over simd_bf16.h)
 * two bf16 whose products are summed in the lane's fp32.
 */
#ifndef CORE_CPU_SIMD_WORDS_H
#define CORE_CPU_SIMD_WORDS_H

#ifdef SIMD_PAIRS
enum { PER = 2 };
typedef uint32_t word;
typedef __m512i  words;
SIMD_INLINE words w_load(const word *p) { return _mm512_loadu_si512(p); }
SIMD_INLINE words w_set(word w) { return _mm512_set1_epi32((int)w); }
SIMD_INLINE void w_store(word *p, words a) { _mm512_storeu_si512(p, a); }
#else
enum { PER = 1 };
typedef float word;
typedef vec   words;
SIMD_INLINE words w_load(const word *p) { return v_load(p); }
SIMD_INLINE words w_set(word w) { return v_set(w); }
SIMD_INLINE void w_store(word *p, words a) { v_store(p, a); }
SIMD_INLINE vec v_dot(vec acc, words a, words b) { return v_fma(a, b, acc); }
#endif

#endif
