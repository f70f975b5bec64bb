/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of checkops share. */
#ifndef TESTS_CHECKOPS_H
#define TESTS_CHECKOPS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cpu/panel.h"
#include "core/device.h"
#include "hash.h"

/* One problem: an operation at a level with everything else drawn from a seed. A level is a CPU's panel kernels, or a GPU
 * with the type of its operands. */
typedef struct problem {
    const char      *op, *level;
    const panel_ops *p;    /* GPU: NULL */
    unsigned         mask; /* oriel_cpu_mask() that makes devices choose p */
    oriel_dtype      operand;
    oriel_device    *gpu; /* CPU: NULL */
    bool             aligned; /* maps there begin at multiples of 16 bytes, as those of a run do */
    unsigned         seed;
    uint64_t         drawn;  /* numbers drawn so far */
    int              faults; /* of this problem */
    bool             skipped; /* oriel_error() says what is missing */
    double           worst;  /* error over bound */
    char             what[160];
} problem;

/* Draw: a whole number in [low, high], a sample in [-1, 1), one of a list. */
int   draw(problem *q, int low, int high);
float draw_sample(problem *q);
#define DRAW_OF(q, ...)                                                                            \
    ((const int[]){__VA_ARGS__}[draw(q, 0, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)) - 1)])

/* Buffers between red zones, all NaN of one kind to begin with. */
float *zone_new(size_t count);
bool   zone_whole(const float *p, size_t count); /* are the red zones as they were? */
bool   poisoned(float v);                        /* never written */
void   zone_free(float *p);

/* The device of the problem, and the end of its use. */
oriel_device *device_of(problem *q);
void          device_done(problem *q, oriel_device *dev);
/* A zone where the device reads it, red zones and all: on a CPU it is the host's. there_back() writes what is there now
 * into the host's, there_free() frees what there_new() made. On a GPU some begin at odd addresses. */
float *there_new(problem *q, float *zone, size_t count);
void   there_back(problem *q, const float *there, float *zone, size_t count);
void   there_free(problem *q, float *there);

void fault(problem *q, const char *format, ...) ORIEL_PRINTF(2, 3);
/* |have - want| <= bound, else a fault that names `where`; NaN is one. */
void expect(problem *q, double have, double want, double bound, const char *where, int a, int b);
float bf16(float v); /* rounded to nearest even, by arithmetic */
float rounded(const problem *q, float v); /* to the operands' type */

#define EPS 0x1p-24 /* half a step at 1: what one float operation adds */

enum { FLOATS = 1, HALVES = 2, DEVICE = 4, GPU = 8 };

typedef struct checkop {
    const char *name;
    int         seeds; /* problems that a run of everything takes */
    int         kinds; /* levels that have it: FLOATS, HALVES or both; DEVICE: only those that a
                          device chooses, and GPUs; with GPU these alone */
    void (*check)(problem *q);
    double (*bench)(const problem *q, double *seconds); /* flops of a call; or NULL */
} checkop;

extern const checkop checkops_panel[], checkops_core[], checkops_block[], checkops_cuda[]; /* end with name NULL */

/* Time a call: the best of several, each long enough for the clock. */
double best_of(void (*call)(void *), void *arg);

#endif
