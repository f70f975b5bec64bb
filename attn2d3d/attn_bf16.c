/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over windows with AVX512-BF16's dot products: attn_simd.h over simd_bf16.h.
 *
 * Contract: bf16 tensors with packed rows of an even D; no cosine, no pad_k.
 * Error: as of fp32, but that a weight is rounded to bf16, by at most 2^-8 of it, for its products with v: out
 *   moves by at most 2^-8 of the weighted mean of |v|. lse does not move.
 */
#if defined(__x86_64__)
#include "core/cpu/simd_bf16.h"

#define SIMD_PAIRS

#include "attn2d3d/attn_simd.h"

static bool packed(const oriel_tensor *t)
{
    return !t->data || t->stride[t->ndim - 1] == 1;
}

static const char *reject(const attn_job *j, unsigned cpu)
{
    const oriel_attn_io *io = j->io;
    if (!(cpu & ORIEL_CPU_AVX512_BF16))
        return "no AVX512-BF16";
    if (j->a.dtype != ORIEL_BF16)
        return "not bf16";
    if (j->a.dim % 2)
        return "an odd dim";
    if (!packed(&io->q) || !packed(&io->k) || !packed(&io->v) || !packed(&io->out) || !packed(&io->extra_k) ||
        !packed(&io->extra_v) || !packed(&io->text_q) || !packed(&io->text_out))
        return "rows that are not packed";
    if (io->pad_k.data)
        return "rows of its own beyond the raster";
    return j->a.cosine ? "cosine" : NULL;
}

const attn_impl attn_bf16 = {"avx512bf16", reject, run};
#else
typedef int oriel_no_attn_bf16;
#endif
