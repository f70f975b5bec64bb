/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention layers of published networks, twice: by the library's public functions, and as the papers'
 * code does it: maps are rolled, padded and cut into windows, masks are added to logits, everything in
 * double. The second way shares no code with the library and does not know its window law.
 */
#ifndef TESTS_PATTERNS_H
#define TESTS_PATTERNS_H

#include <oriel/attn.h>
#include <stdlib.h>

/* ---- maps: pictures of whole numbers, as a rule of token numbers -------------------------- */

typedef struct map {
    int  y, x;
    int *at;
} map;

enum { END = 1 << 30 }; /* None as the end of a slice */

void *take(size_t count, size_t size); /* zeros, until drop() */
void  drop(void);
map   map_new(int y, int x);                   /* zeros */
map   map_ids(int y, int x);                   /* 0, 1, 2, ... */
map   map_roll(map m, int dy, int dx);         /* torch.roll */
map   map_windows(map m, int wy, int wx);      /* (windows, wy * wx), both in raster order */
map   map_interleave(map m, int wy, int wx);   /* each axis (w, n / w) transposed to (n / w, w) */
map   map_unfold(map m, int k, int step, int pad); /* (windows, k * k), -1 in the padding */
void  map_slice(map m, int y0, int y1, int x0, int x1, int value); /* m[y0:y1, x0:x1] = value */

/* ---- a layer ------------------------------------------------------------------------------ */

typedef struct layer {
    const char *name;
    int         heads, dim, tokens, keys; /* tokens: of queries, text included; keys: of keys and values */
    float      *q, *k, *v;                /* of token 0; a head's channels are contiguous */
    int64_t     q_step, k_step;           /* between tokens */
    float      *out, *lse;                /* (tokens, H, D), (tokens, H) */
    double     *want, *want_lse, *bound;  /* the same; bound (tokens, H) is for lse */
    int        *times;                    /* how often brute() answered this query and head */
    double     *scale;                    /* (H) */
    bool        cosine;                   /* rows are divided by their length */
    void (*turn)(double *row, int dim, int token); /* of q and k, by their position; or NULL */
    int         no_lse;                   /* tokens from this one on have none; 0: all have */
    double      worst;                    /* error over bound */
} layer;

/* q, k, v as one fused linear layer writes them, (tokens, 3, H, D), numbers in [-2, 2) from stream `seed`:
 * number ((which * H + h) * tokens + n) * D + d. */
layer layer_new(const char *name, int heads, int dim, int tokens, uint64_t seed);
/* q (tokens, H, D) of stream seed and k, v (keys, 2, H, D) of stream seed + 1 */
layer layer_new2(const char *name, int heads, int dim, int tokens, int keys, uint64_t seed);
float *numbers(uint64_t seed, int n, double amplitude); /* in [-amplitude, amplitude) */

/* Queries q[nq] see keys k[nk] (-1: a zero that was padded) in head h, with add[nq][nk] on the logits or
 * NULL. -100 and less is a mask: what weight it leaves is allowed as an error. */
void brute(layer *l, int h, int nq, const int *q, int nk, const int *k, const double *add);

/* The tensors of a run without text on a raster t, y, x that holds all queries, and the same keys. */
oriel_attn_io layer_io(layer *l, int t, int y, int x);
/* Views (1, t, y, x, H, D) and (1, n, H, D) of tokens `first` and after. */
oriel_tensor layer_raster(const layer *l, float *p, int64_t step, int first, int t, int y, int x);
oriel_tensor layer_list(const layer *l, float *p, int64_t step, int first, int n);
oriel_tensor layer_lse(const layer *l, int first, int n); /* (1, n, H) */

/* Run on every level of this CPU and compare all of (tokens, H) that brute() answered: all but `untold`.
 * False, and words on stderr, if one is off by more than its bound. */
bool layer_check(layer *l, const oriel_attn *a, const oriel_attn_io *io, int untold);
/* The same for what is in out and lse now; `who` wrote it. */
bool layer_compare(layer *l, const char *who, int untold);

bool          levels_open(void);
oriel_device *level(int i, const char **name); /* NULL: this CPU has it not; at most LEVELS */
void          levels_close(void);
enum { LEVELS = 3 };

/* ---- what the project's oracle in Python wrote -------------------------------------------- */

enum { GOLDEN_NUMBERS = 34, GOLDEN_LAYERS = 7, GOLDEN_SEED = 50 };

bool golden_open(void); /* tests/golden/patterns.bin */
/* Is want (tokens, H, D) and, of the first lse_tokens, l->want_lse what the oracle has for this seed? */
bool golden_same(const layer *l, const double *want, uint64_t seed, int lse_tokens);

/* Radial attention (arXiv 2506.19852): how far apart tokens of frames i and j, s each, may lie in their
 * frames; -1: the pair is dropped. */
int radial_width(int i, int j, int s, int block, double decay, bool sink);

#endif
