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
 *             mask this is): ragged at both ends, never across them (SeedVR's windows); and `left`
 *             tokens before the block, `right` after it (HAT's and HaloNet's overlapping windows).
 *   SLIDE     `left` tokens before the query and `right` after it, cut at the ends.
 *   SPANS     a table of the caller's: first key and count for each place of the axis.
 *
 * and `causal` forbids later tokens of that axis. A picture is a clip with T = 1.
 *
 * Keys may have a raster of their own (`keys`), in which the queries begin at `at` and whose keys stand
 * for `pool` tokens each. Lists of blocks (`lists`) leave of a window what a table names: radial
 * attention, VSA. Many rasters may lie in one list of tokens (`segments`).
 *
 * Beside its window a query may see extra keys (text, registers, sinks: `extra`), and text queries
 * (`text`) may be answered too: they see every key of the raster and every extra key, as joint
 * attention of text and video does. A query that sees no key (lists can say so) gets zeros and a
 * log-sum-exp of -inf.
 *
 * Zero is the default of every field. Tensors have any strides, so that what a fused QKV layer
 * writes is read in place; an innermost stride of 1 is fastest. Values are finite. Sums are in fp32
 * for every dtype; with bf16, and on a GPU fp16, the weights of softmax may be rounded to the type before
 * they meet values. The same bits come out for any number of threads. Outputs overlap nothing. Tables of
 * integers and structs (axes, spans, segments, indptr, indices, k_valid) lie in the host's memory and are
 * read before the call returns; tensors of numbers lie in the device's. On a GPU a run is queued
 * (oriel_device_sync).
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum oriel_axis_kind {
    ORIEL_AXIS_FULL = 0,
    ORIEL_AXIS_NEIGHBOR,
    ORIEL_AXIS_BLOCK,
    ORIEL_AXIS_SLIDE,
    ORIEL_AXIS_SPANS
} oriel_axis_kind;

typedef struct oriel_axis { /* {0} is full attention along the axis */
    oriel_axis_kind kind;
    int             size;     /* NEIGHBOR (2 or more), BLOCK; 0: the whole axis */
    int             stride;   /* NEIGHBOR: 1 .. size; 0: 1 (NATTEN refuses 0, here it is the default) */
    int             dilation; /* NEIGHBOR: size * dilation fits the axis; 0: 1 */
    int             shift;    /* BLOCK: 0 .. size - 1 */
    int             left, right; /* SLIDE: beside the query; BLOCK: beside its block */
    bool            causal;
} oriel_axis;

typedef enum oriel_attn_bias {
    ORIEL_BIAS_NONE = 0,
    ORIEL_BIAS_DENSE, /* (H, Nq, Nk): head, query, key, tokens in raster order */
    ORIEL_BIAS_OFFSET /* (H, 2t - 1, 2y - 1, 2x - 1): by query - key along each axis, in steps of its
                         dilation; the middle is offset 0. Any odd sizes that reach far enough. Query i
                         counts as (i + at) / pool, rounded down */
} oriel_attn_bias;

typedef enum oriel_text_mode { /* what text queries see beside the extra keys */
    ORIEL_TEXT_ALL = 0,        /* every key of the raster */
    ORIEL_TEXT_WINDOWS         /* one window after the other; the mean of these answers (SeedVR2). Axes are
                                  FULL or BLOCK without left, right and causal */
} oriel_text_mode;

/* One raster of several that lie one after the other in a list of tokens, each in raster order. */
typedef struct oriel_segment {
    int extent[3]; /* T, Y, X of its queries; 0: 1 */
    int keys[3];   /* as in oriel_attn, of this raster */
    int at[3];
} oriel_segment;

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
    int             keys[3];   /* T, Y, X of k and v; 0: as the queries, divided by pool, rounded up */
    int             at[3];     /* where query 0 lies among the tokens that the keys stand for. All
                                  queries must, if the axis is not FULL or is causal */
    int             pool[3];   /* tokens along the axis that a key stands for; 0: 1. More: FULL; BLOCK in
                                  multiples of it; SPANS. Not causal */
    bool            pad_keys;  /* BLOCK (made whole at the raster's end) and SLIDE are not cut at the ends:
                                  keys beyond take part as rows of zeros, or pad_k and pad_v */
    bool            cosine;    /* q and k divided by max(their length, 1e-12) (Swin v2); scale 0: 1 */
    oriel_text_mode text_mode;
    int             segments;  /* rasters in the list of tokens, which is extent {1, 1, Nq}, keys {1, 1, Nk};
                                  their laws, keys and at are each its own. 0: one raster, none of this */
    bool            lists;     /* of its window a query sees the key blocks that its query block lists */
    int             q_block[3], k_block[3]; /* sides of the blocks, from the raster's first token on, those
                                               at its end cut; 0: the whole axis */
} oriel_attn;

/* The tensors of a run. Those that the problem does not name have no data. */
typedef struct oriel_attn_io {
    oriel_tensor q;        /* (B, T, Y, X, H, D) */
    oriel_tensor k;        /* (B, T, Y, X, Hkv, D); T, Y, X of the keys */
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
    oriel_tensor spans[3]; /* i32 (n, 2) of axes that are SPANS: first key, count (1 or more), for each of
                              the n places of queries; neither first nor first + count ever falls */
    oriel_tensor scales;   /* f32 (H), if given: in place of scale */
    oriel_tensor pad_k;    /* (Hkv, D), if given: the key beyond the raster */
    oriel_tensor pad_v;    /* (Hkv, Dv), with pad_k */
    const oriel_segment *segments; /* (segments) */
    oriel_tensor indptr;   /* i32 (1 or B, 1 or H, query blocks + 1): query block i lists indices indptr[i] to
                              indptr[i + 1] - 1; blocks in raster order, row after row of blocks */
    oriel_tensor indices;  /* i32 (n): key blocks; rising within a list */
    oriel_tensor k_valid;  /* i32 (key blocks), if given: how many keys of the block, in raster order, are
                              there at all. Not with text */
} oriel_attn_io;

/* Is this a problem, and do the tensors fit it? io NULL: the problem alone. ORIEL_E_ARG, with a
 * message that names the field and its value: what NATTEN refuses is refused, a field that the axis'
 * kind has not too. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_check(const oriel_attn *a, const oriel_attn_io *io);

/* The windows of SeedVR and SeedVR2 on a raster of `extent` latent tokens, (T, Y, X), as axes: 4 x 3 x 3
 * of an area of 45 x 80, those of odd layers shifted by half. */
ORIEL_API void oriel_seedvr_windows(oriel_axis axis[3], const int extent[3], bool shifted);

/* Check and run. The fastest implementation that takes the problem is chosen; the environment
 * variable ORIEL_ATTN (its name: near-avx512bf16, win-avx512bf16, near-avx512, avx512bf16, win-avx512,
 * avx512, near-avx2, win-avx2, avx2, c) asks for one, and for those after it where that one refuses; on a
 * GPU the names are window, boxes, near, hopper, mma, ffma, plain. ORIEL_E_ARG, ORIEL_E_NOMEM; on a GPU ORIEL_E_DEVICE,
 * ORIEL_E_UNSUPPORTED (more tiles than a grid has). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_run(oriel_device *dev, const oriel_attn *a,
                                                       const oriel_attn_io *io);

/* What a run would be. */
typedef struct oriel_attn_plan {
    const char *kernel; /* the implementation that oriel_attn_run() would choose: a name of ORIEL_ATTN */
    double      flops;  /* that the problem needs: 2 (D + Dv) for each query and key that it sees; 0 with lists or
                           segments, of which they are not counted */
} oriel_attn_plan;

/* Check as oriel_attn_run() does, and tell; nothing runs. ORIEL_E_ARG, ORIEL_E_UNSUPPORTED. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_plan_run(oriel_device *dev, const oriel_attn *a,
                                                            const oriel_attn_io *io, oriel_attn_plan *plan);

/* Attention over the keys of all parts from attention over each: out = sum of exp(lse[p] - *lse) out[p]
 * with *lse = log of the sum of exp(lse[p]), in fp32. n is 1 or more; out[p] and *merged are (..., Dv) f32,
 * f16 or bf16, of one shape; lse[p] and *merged_lse (NULL: not wanted) are f32 without the last axis.
 * A part whose lse is -inf saw no key and counts for nothing. *merged and *merged_lse may be one of the
 * parts themselves, but may not overlap them otherwise. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_attn_merge(oriel_device *dev, int n, const oriel_tensor *out,
                                                         const oriel_tensor *lse, const oriel_tensor *merged,
                                                         const oriel_tensor *merged_lse);

#ifdef __cplusplus
}
#endif
#endif
