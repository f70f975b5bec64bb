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
 *             arXiv 2103.14030): ragged at the ends, never across them.
 *   SLIDE     `left` keys before i, `right` after it, cut at the ends.
 *
 * Zero means: size 0 the whole axis, stride and dilation 1, shift 0. A caller checks the fields;
 * here 1 <= size, stride <= size, size * dilation <= n, 0 <= shift < size hold.
 * Both ends of a span grow with i (within a residue class), so a tile of queries needs the law only
 * at its corners.
 */
#ifndef ATTN2D3D_WINDOW_H
#define ATTN2D3D_WINDOW_H

#include <oriel/attn.h>

typedef struct oriel_span {
    int first, step, count;
} oriel_span;

static inline int oriel_axis_low(int a, int b)
{
    return a < b ? a : b;
}
static inline int oriel_axis_high(int a, int b)
{
    return a > b ? a : b;
}

static inline oriel_span oriel_axis_span(oriel_axis a, int n, int i)
{
    int size = a.size ? a.size : n, first = 0, end = n;
    if (a.kind == ORIEL_AXIS_BLOCK) {
        first = i < a.shift ? 0 : a.shift + (i - a.shift) / size * size;
        end = i < a.shift ? a.shift : oriel_axis_low(first + size, n);
    } else if (a.kind == ORIEL_AXIS_SLIDE) {
        first = oriel_axis_high(i - a.left, 0);
        end = oriel_axis_low(i + a.right + 1, n);
    } else if (a.kind == ORIEL_AXIS_NEIGHBOR) {
        int d = a.dilation ? a.dilation : 1, s = a.stride ? a.stride : 1;
        int group = i % d, p = i / d, len = (n - group + d - 1) / d, head = p / s * s;
        if (a.causal) {
            int lead = oriel_axis_low(head + s - 1, len - 1);
            first = oriel_axis_high(lead - size + 1, 0);
            end = p + 1;
        } else {
            int lead = oriel_axis_low(head + s / 2, len - 1);
            first = oriel_axis_low(oriel_axis_high(lead - size / 2, 0), len - size);
            end = first + size;
        }
        return (oriel_span){group + first * d, d, end - first};
    }
    if (a.causal)
        end = oriel_axis_low(end, i + 1);
    return (oriel_span){first, 1, end - first};
}

#endif
