/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of checkattn share. */
#ifndef TESTS_CHECKATTN_H
#define TESTS_CHECKATTN_H

#include "attn2d3d/attn.h"
#include "oracle.h"

enum { HEADS_MAX = 8 };

/* One problem with its data, everything drawn from a seed. */
typedef struct problem {
    char       name[64]; /* --case NAME */
    unsigned   seed;     /* --seed N */
    oriel_attn a;
    bool       per_head, lse, wide; /* wide: the innermost stride may be other than 1 */
    oriel_axis axes[HEADS_MAX][3];
    int        offsets[3];
    double     amp;                   /* of q and k */
    uint64_t   data;                  /* seed of q; of k + 1, v + 2, extra_k + 3, extra_v + 4 */
    uint64_t   drawn;
} problem;

int draw(problem *p, int low, int high);

/* Fill in the problem; false if there is no such one. */
bool problem_na(problem *p, int i);              /* the conformance cases */
bool problem_named(problem *p, int i);           /* patterns of the field */
void problem_random(problem *p, unsigned seed);  /* any legal parameters */

#endif
