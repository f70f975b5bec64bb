/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows in double, written from the papers: shares no code with the library. */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include <oriel/attn.h>

/* Packed data of one problem, whose fields are all set (no zero that means something else). N counts
 * queries, M keys of the raster, or of the list of tokens with segments. */
typedef struct oracle {
    oriel_attn        a;
    const oriel_axis *axes;             /* (H, 3) or NULL */
    const float      *q, *k, *v;        /* (B, N, H, D), (B, M, Hkv, D), (B, M, Hkv, Dv) */
    const float      *extra_k, *extra_v; /* (B, E, Hkv, D), (B, E, Hkv, Dv) */
    const float      *text_q;           /* (B, S, H, D) */
    const float      *bias;             /* as in oriel_attn_io, packed */
    int               offsets[3];       /* of a bias by offset: 2t - 1, 2y - 1, 2x - 1 */
    const float      *scales, *pad_k, *pad_v; /* (H), (Hkv, D), (Hkv, Dv), or NULL */
    const int        *spans[3];         /* (n, 2) or NULL */
    const oriel_segment *segments;      /* all set */
    const int        *indptr, *indices, *k_valid; /* k_valid may be NULL */
    int               list_batches, list_heads;   /* 1 or B, 1 or H */
    int              *keys[3];          /* scratch of oracle_query: oracle_room(keys) each */
} oracle;

/* Coordinates of keys that an axis of n keys may name, those beyond its ends too. */
size_t oracle_room(int n);
/* May query i see key j, for all j: row[j]. */
void oracle_axis(unsigned char *row, oriel_axis a, int n, int i);
/* Query i of batch b, head h (from N on: text). out[Dv]; *lse; *top: the largest sum of the absolute
 * parts of a logit; *size: the largest mean of |v| of a channel, by weight. Returns how many keys it saw. */
long oracle_query(const oracle *o, int b, int h, long i, double *out, double *lse, double *top, double *size);
/* Pairs of query and key of head h in a batch item, text apart; lists are not counted off. */
double oracle_pairs(const oracle *o, int h);

#endif
