/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention inside windows with AVX512-BF16's dot products: attn_win_simd.h over simd_bf16.h.
 *
 * Contract: bf16 tensors with packed rows of an even dim. Products of q and k are exact, weights are rounded
 *   to bf16 (2^-9) for their products with v; sums are fp32, the sum of weights is of those not rounded.
 * Layout: q and k are read as pairs of channels, as they lie; values of two keys are woven into pairs, once
 *   a window and head.
 */
#if defined(__x86_64__)
#include "attn2d3d/attn_win.h"
#include "core/cpu/simd_bf16.h"

#define WIN_PAIRS
enum { PER_STEP = 2 };

SIMD_INLINE vec v_mac(vec a, vec b, vec sum) { return v_dot(sum, (__m512i)a, (__m512i)b); }

SIMD_INLINE void put_weights(float *s, ptrdiff_t ld, int j, vec a, vec b, const bool two)
{
    (void)two; /* b is 0 then */
    v_store(s + j / 2 * ld, (vec)v_pair(a, b));
}

SIMD static void put_row(float *s, ptrdiff_t ld, const float *row, int keys)
{
    float pair[LANES / 2]; /* as they lie: 16 weights in order are 8 pairs */
    for (int j = 0; j < keys; j += LANES) {
        v_store_half(pair, v_load(row + j));
        for (int i = 0; i < LANES / 2 && j + 2 * i < keys; i++)
            s[(j / 2 + i) * ld] = pair[i];
    }
}

SIMD_INLINE void give(char *row, int at, vec a, int n)
{
    _mm256_mask_storeu_epi16(row + 2 * (ptrdiff_t)at, (__mmask16)((1u << n) - 1), (__m256i)_mm512_cvtneps_pbh(a));
}

/* Rows of values of keys 2 j and 2 j + 1 as a row of pairs; v[] are the rows then. */
SIMD static void pair_values(float *to, const char **v, int keys, int dim)
{
    for (int j = 0; j < keys; j += 2) {
        for (int c = 0; c < dim; c += LANES) {
            __mmask16 m = (__mmask16)(dim - c < LANES ? (1u << (dim - c)) - 1 : 0xffff);
            __m512i   lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, v[j] + 2 * (ptrdiff_t)c));
            __m512i   hi = _mm512_setzero_si512();
            if (j + 1 < keys)
                hi = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, v[j + 1] + 2 * (ptrdiff_t)c));
            _mm512_mask_storeu_ps(to + c, m, (vec)_mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
        }
        v[j / 2] = (const char *)to;
        to += dim;
    }
}

#include "attn2d3d/attn_win_simd.h"

static const char *reject(const attn_job *j, unsigned cpu)
{
    const oriel_attn_io *io = j->io;
    if (!(cpu & ORIEL_CPU_AVX512_BF16))
        return "no AVX512-BF16";
    if (j->a.dtype != ORIEL_BF16)
        return "not bf16";
    if (j->a.dim % 2)
        return "an odd dim";
    if (io->q.stride[5] != 1 || io->k.stride[5] != 1 || io->v.stride[5] != 1 || io->out.stride[5] != 1 ||
        (j->a.extra && (io->extra_k.stride[3] != 1 || io->extra_v.stride[3] != 1)) ||
        (io->pad_k.data && (io->pad_k.stride[1] != 1 || io->pad_v.stride[1] != 1)))
        return "rows that are not packed";
    return win_reject(j);
}

const attn_impl attn_win_bf16 = {"win-avx512bf16", reject, run};
#else
typedef int oriel_no_attn_win_bf16;
#endif
