/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_ATTN_H
#define ORIEL_ATTN_H

/*
 * oriel/attn.h - attention inside local windows, in 1-D, 2-D and 3-D.
 *
 *     oriel_attn    a = {.heads = 4, .dim = 32, .extent = {1, 56, 56},
 *                        .axis = {[1] = {.kind = ORIEL_AXIS_NEIGHBOR, .size = 7},
 *                                 [2] = {.kind = ORIEL_AXIS_NEIGHBOR, .size = 7}}};
 *     oriel_attn_io io = {.q = q, .k = k, .v = v, .out = out};    // views (B, T, Y, X, H, D)
 *     if (oriel_attn_run(dev, &a, &io))
 *         return fprintf(stderr, "%s\n", oriel_error()), 1;
 *
 * Each query of a raster of tokens (T, Y, X) sees a box of keys, the product of one span an axis, and
 * gets out = softmax(scale q k + bias) v over it. The spans follow from oriel_axis by one law:
 *
 *   FULL      every token of the axis.
 *   NEIGHBOR  neighbourhood attention with stride, dilation and causality (NATTEN's GNA, arXiv
 *             2504.16922): `size` tokens of the query's residue class modulo `dilation`, about the
 *             leader of its group of `stride`, moved inside at the borders, never shortened; causal:
 *             up to the query itself. Sliding-tile attention (arXiv 2502.04507) is stride = tile,
 *             size = an odd multiple of it, or the whole axis.
 *   BLOCK     blocks of `size` that begin at `shift` (Swin's shifted windows, arXiv 2103.14030, whose
 *             mask this is): ragged at both ends, never across them (SeedVR's windows).
 *   SLIDE     `left` tokens before the query and `right` after it, cut at the ends.
 *
 * and `causal` forbids later tokens of that axis. A picture is a clip with T = 1.
 *
 * Beside its window a query may see extra keys (text, registers, sinks: `extra`), and text queries
 * (`text`) may be answered too: they see every key of the raster and every extra key, as joint
 * attention of text and video does.
 *
 * Zero is the default of every field. Tensors have any strides, so that what a fused QKV layer
 * writes is read in place; an innermost stride of 1 is fastest. Values are finite. Sums are in fp32
 * for every dtype. The same bits come out for any number of threads. Outputs overlap nothing.
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum oriel_axis_kind {
    ORIEL_AXIS_FULL = 0,
    ORIEL_AXIS_NEIGHBOR,
    ORIEL_AXIS_BLOCK,
    ORIEL_AXIS_SLIDE
} oriel_axis_kind;

typedef struct oriel_axis { /* {0} is full attention along the axis */
    oriel_axis_kind kind;
    int             size;     /* NEIGHBOR (2 or more), BLOCK; 0: the whole axis */
    int             stride;   /* NEIGHBOR: 1 .. size; 0: 1 */
    int             dilation; /* NEIGHBOR: size * dilation fits the axis; 0: 1 */
    int             shift;    /* BLOCK: 0 .. size - 1 */
    int             left, right; /* SLIDE */
    bool            causal;
} oriel_axis;

typedef enum oriel_attn_bias {
    ORIEL_BIAS_NONE = 0,
    ORIEL_BIAS_DENSE, /* (H, N, N): head, query, key, tokens in raster order */
    ORIEL_BIAS_OFFSET /* (H, 2t - 1, 2y - 1, 2x - 1): by query - key along each axis, in steps of its
                         dilation; the middle is offset 0. Any odd sizes that reach far enough */
} oriel_attn_bias;

/* A problem: no pointers, so it can be printed, planned, put in a table. */
typedef struct oriel_attn {
    oriel_dtype     dtype;     /* of q, k, v, out: ORIEL_F32, ORIEL_F16, ORIEL_BF16 */
    int             batch;     /* B; 0: 1 */
    int             heads;     /* H; 0: 1 */
    int             kv_heads;  /* Hkv, a divisor of H: query head h uses h / (H / Hkv); 0: H */
    int             dim;       /* D of q and k, 1 to 256 */
    int             dim_v;     /* Dv of v and out, 1 to 256; 0: D */
    int             extent[3]; /* T, Y, X; 0: 1 */
    oriel_axis      axis[3];
    float           scale;     /* of q k; 0: 1 / sqrt(D) */
    int             extra;     /* E, keys beside the raster that every query sees */
    int             text;      /* S, queries beside the raster, which see every key */
    oriel_attn_bias bias;      /* added to scaled logits of raster queries and keys */
} oriel_attn;

/* The tensors of a run. Those that the problem does not name have no data. */
typedef struct oriel_attn_io {
    oriel_tensor q;        /* (B, T, Y, X, H, D) */
    oriel_tensor k;        /* (B, T, Y, X, Hkv, D) */
    oriel_tensor v;        /* (B, T, Y, X, Hkv, Dv) */
    oriel_tensor out;      /* (B, T, Y, X, H, Dv) */
    oriel_tensor lse;      /* (B, T, Y, X, H) f32, if wanted: log of the sum of exp(logit) */
    oriel_tensor bias;     /* f32, see oriel_attn_bias */
    oriel_tensor extra_k;  /* (B, E, Hkv, D) */
    oriel_tensor extra_v;  /* (B, E, Hkv, Dv) */
    oriel_tensor text_q;   /* (B, S, H, D) */
    oriel_tensor text_out; /* (B, S, H, Dv) */
    oriel_tensor text_lse; /* (B, S, H) f32, if wanted */
    const oriel_axis *axes; /* (H, 3): a window of its own for each head, in place of axis; or NULL */
} oriel_attn_io;

/* Is this a problem, and do the tensors fit it? io NULL: the problem alone. ORIEL_E_ARG, with a
 * message that names the field and its value: what NATTEN refuses is refused, a field that the axis'
 * kind has not too. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_check(const oriel_attn *a, const oriel_attn_io *io);

/* Check and run. The fastest implementation that takes the problem is chosen; the environment
 * variable ORIEL_ATTN (its name: avx512, avx2, c) asks for one, and for those after it where that one
 * refuses. ORIEL_E_ARG, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_run(oriel_device *dev, const oriel_attn *a,
                                                       const oriel_attn_io *io);

#ifdef __cplusplus
}
#endif
#endif
