/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window law: which keys a query sees.
 *
 * A local window is a product of spans, one an axis. Along an axis of n tokens query i sees the keys
 * first, first + step, ... , count of them. This function says which; no kernel says it again.
 *
 *   FULL      every key.
 *   NEIGHBOR  neighbourhood attention with stride, dilation and causality (NATTEN's GNA,
 *             arXiv 2504.16922): `size` keys of i's residue class modulo `dilation`, centred on the
 *             leader of i's stride group, moved inside at the borders; causal: ending at i itself.
 *             Sliding-tile attention is stride = tile, size = an odd multiple of it.
 *   BLOCK     blocks of `size` that begin at `shift` (Swin's shifted windows and their mask,
 *             arXiv 2103.14030): ragged at the ends, never across them; and `left` keys before the
 *             block, `right` after it.
 *   SLIDE     `left` keys before i, `right` after it, cut at the ends.
 *   SPANS     the caller's table, which attn_span() in attn.h reads: not here.
 *
 * Zero means: size 0 the whole axis, stride and dilation 1, shift 0. A caller checks the fields;
 * here 1 <= size, stride <= size, size * dilation <= n, 0 <= shift < size, 0 <= i < n hold.
 * Both ends of a span grow with i (within a residue class), so a tile of queries needs the law only
 * at its corners. C17, C++17 and CUDA.
 */
#ifndef ATTN2D3D_WINDOW_H
#define ATTN2D3D_WINDOW_H

#include <oriel/attn.h>

#ifdef __CUDACC__
#define ORIEL_LAW static inline __host__ __device__
#else
#define ORIEL_LAW static inline
#endif

typedef struct oriel_span {
    int first, step, count;
} oriel_span;

ORIEL_LAW int oriel_axis_low(int a, int b)
{
    return a < b ? a : b;
}
ORIEL_LAW int oriel_axis_high(int a, int b)
{
    return a > b ? a : b;
}

/* Not cut at the ends: BLOCK and SLIDE may begin below 0 and end past n. The blocks are those of an
 * axis padded at its end to whole blocks. */
ORIEL_LAW oriel_span oriel_axis_span_padded(oriel_axis a, int n, int i)
{
    int        size = a.size ? a.size : n, first = 0, end = n;
    oriel_span s;
    if (a.kind == ORIEL_AXIS_BLOCK) {
        first = i < a.shift ? 0 : a.shift + (i - a.shift) / size * size;
        end = i < a.shift ? a.shift : first + size;
        if (end > n)
            end = oriel_axis_low(end, (n + size - 1) / size * size);
        first -= a.left;
        end += a.right;
    } else if (a.kind == ORIEL_AXIS_SLIDE) {
        first = i - a.left;
        end = i + a.right + 1;
    } else if (a.kind == ORIEL_AXIS_NEIGHBOR) {
        int d = a.dilation ? a.dilation : 1, t = a.stride ? a.stride : 1;
        int group = i % d, p = i / d, len = (n - group + d - 1) / d, head = p / t * t;
        if (a.causal) {
            int lead = oriel_axis_low(head + t - 1, len - 1);
            first = oriel_axis_high(lead - size + 1, 0);
            end = p + 1;
        } else {
            int lead = oriel_axis_low(head + t / 2, len - 1);
            first = oriel_axis_low(oriel_axis_high(lead - size / 2, 0), len - size);
            end = first + size;
        }
        s.first = group + first * d, s.step = d, s.count = end - first;
        return s;
    }
    if (a.causal)
        end = oriel_axis_low(end, i + 1);
    s.first = first, s.step = 1, s.count = end - first;
    return s;
}

ORIEL_LAW oriel_span oriel_axis_span(oriel_axis a, int n, int i)
{
    oriel_span s = oriel_axis_span_padded(a, n, i);
    if (a.kind == ORIEL_AXIS_BLOCK || a.kind == ORIEL_AXIS_SLIDE) {
        int end = oriel_axis_low(s.first + s.count, n);
        s.first = oriel_axis_high(s.first, 0);
        s.count = end - s.first;
    }
    return s;
}

/* The same where each of n keys stands for `pool` tokens and i counts tokens. What a caller checks
 * makes every division exact: pooled axes are FULL or BLOCK in multiples of `pool`. */
ORIEL_LAW oriel_span oriel_axis_keys(oriel_axis a, int n, int pool, bool padded, int i)
{
    oriel_span s = padded ? oriel_axis_span_padded(a, n * pool, i) : oriel_axis_span(a, n * pool, i);
    if (pool > 1) {
        s.first /= pool;
        s.count /= pool;
    }
    return s;
}

#endif
