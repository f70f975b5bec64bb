/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over windows in double, written from the papers: shares no code with the library. */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include <oriel/attn.h>

/* Packed data of one problem, whose fields are all set (no zero that means something else). */
typedef struct oracle {
    oriel_attn        a;
    const oriel_axis *axes;             /* (H, 3) or NULL */
    const float      *q, *k, *v;        /* (B, N, H, D), (B, N, Hkv, D), (B, N, Hkv, Dv) */
    const float      *extra_k, *extra_v; /* (B, E, Hkv, D), (B, E, Hkv, Dv) */
    const float      *text_q;           /* (B, S, H, D) */
    const float      *bias;             /* as in oriel_attn_io, packed */
    int               offsets[3];       /* of a bias by offset: 2t - 1, 2y - 1, 2x - 1 */
    int              *keys[3];          /* scratch of oracle_query */
} oracle;

/* May query i see key j, for all j: row[j]. */
void oracle_axis(unsigned char *row, oriel_axis a, int n, int i);
/* Query i of batch b, head h (from N on: text). out[Dv]; *lse; *top: the largest sum of the absolute
 * parts of a logit. Returns how many keys it saw. */
long oracle_query(const oracle *o, int b, int h, long i, double *out, double *lse, double *top);

#endif
