/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of checkattn share. */
#ifndef TESTS_CHECKATTN_H
#define TESTS_CHECKATTN_H

#include "attn2d3d/attn.h"
#include "oracle.h"

enum { HEADS_MAX = 8, SEGMENTS_MAX = 40, THREADS = 3 };

/* One problem with its data, everything drawn from a seed. */
typedef struct problem {
    char       name[64]; /* --case NAME */
    unsigned   seed;     /* --seed N */
    oriel_attn a;
    bool       per_head, lse, wide; /* wide: the innermost stride may be other than 1 */
    oriel_axis axes[HEADS_MAX][3];
    int        offsets[3];
    double     amp;                   /* of q and k */
    uint64_t   data;                  /* seed of q; of k + 1, v + 2, and so on to pad_v + 9 */
    bool       scales, pad_rows;
    oriel_segment segments[SEGMENTS_MAX];
    int        listed;                /* of 16 key blocks a query block lists so many */
    bool       list_batches, list_heads, k_valid;
    int        align; /* rows begin at multiples of so many elements; 0: anywhere */
    uint64_t   drawn;
} problem;

int draw(problem *p, int low, int high);

/* Fill in the problem; false if there is no such one. */
bool problem_na(problem *p, int i);              /* the conformance cases */
bool problem_named(problem *p, int i);           /* patterns of the field */
void problem_random(problem *p, unsigned seed);  /* any legal parameters */

/* ---- a problem with its tensors (checkattn_setting.c) -------------------------------------- */

typedef struct view { /* a tensor among poison */
    oriel_tensor   t;
    unsigned char *memory;
    size_t         bytes;
    float         *values; /* packed, what was put there */
    int           *ints;   /* the same, of i32 */
} view;

enum {
    Q, K, V, EXTRA_K, EXTRA_V, TEXT_Q, BIAS, SCALES, PAD_K, PAD_V, SPANS, INDPTR = SPANS + 3, INDICES, K_VALID, INPUTS,
    OUT = INPUTS, LSE, TEXT_OUT, TEXT_LSE, VIEWS
};

typedef struct setting {
    problem      *p;
    attn_job      job; /* of the tensors in io */
    oriel_attn_io io;
    view          v[VIEWS];
    oracle        o;
    oriel_segment segments[SEGMENTS_MAX]; /* without zeros */
    int64_t       tokens;
    double        work; /* multiply-adds by the oracle's count of keys, lists not counted off */
    int           faults;
    const char   *impl;
    double        worst; /* error over bound */
} setting;

extern oriel_device *checkattn_device[THREADS]; /* of 1, 2, ... threads */

void         setting_new(setting *s, problem *p);
void         setting_free(setting *s);
double       view_get(const view *v, int64_t e); /* element e of the packed order */
bool         view_gaps_whole(const view *v);     /* only poison beside the elements? */
oriel_status run_on(setting *s, const attn_impl *impl, int threads);
uint64_t     bits(const setting *s); /* of the outputs */
void         poison_outputs(setting *s);

/* ---- the same on a GPU (checkattn_cuda.c) -------------------------------------------------- */

/* 0; 77 and words where this build or machine has no CUDA device. */
int  cuda_begin(void);
void cuda_end(void);
/* Implementation i of those for CUDA: its name, NULL after the last; are its weights rounded to the
 * tensors' type? Why it does not take the problem; it on copies of the tensors with all that is round
 * about them, which come back, inputs too. */
const char  *cuda_name(int i);
bool         cuda_rounds(int i);
const char  *cuda_reject(const setting *s, int i);
oriel_status cuda_run_on(setting *s, int i);
/* Ways in, and strides that pass 2^31 elements. */
void cuda_doors(int *passed, int *failed, int *skipped);

/* What is refused, the ways in, and `structs` random structs (checkattn_doors.c). */
void check_doors(int structs, int *passed, int *failed);
/* The same of the fields after `bias` (checkattn_tables.c). */
void check_tables(int structs, int *passed, int *failed);

#endif
