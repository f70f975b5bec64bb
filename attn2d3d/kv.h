/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame cache from inside.
 *
 *     slot[0 .. held)    logical order: the sink, then the ring from old to new. Rolling permutes these
 *                        few words, never keys or values
 *     slot[i].place      which blocks: block[layer * window + place], one for each layer
 *     block              K and V of one frame in one layer, (B, H, tokens, D) each, counted references
 */
#ifndef ATTN2D3D_KV_H
#define ATTN2D3D_KV_H

#include <oriel/kv.h>

#include "core/device.h"

enum {
    KV_QUERIES = 192, /* of a tile of attention */
    KV_KEYS = 64,
    KV_ALIGN = 64,
    KV_LANES = 16 /* rows of V in scratch are padded to these */
};

/* Offsets into a block's bytes. Scales only in I8. */
typedef struct kv_layout {
    oriel_dtype dtype;
    size_t      v, k_scale, v_scale, bytes; /* K is at 0 */
} kv_layout;

typedef struct kv_block {
    int              refs;
    oriel_dtype      dtype; /* F32 or the cache's */
    unsigned char   *data;
} kv_block;

typedef struct kv_slot {
    int64_t frame;
    double  at; /* its time, and the one by which stored keys are rotated if rope is WRITE */
    int     place;
} kv_slot;

struct oriel_kv {
    oriel_device   *dev;
    oriel_kv_config c;      /* defaults filled in */
    int             tokens; /* of a frame */
    int             pairs[3];
    oriel_dtype     master; /* of the sink */
    kv_layout       stored, wide; /* of c.dtype and of F32 */

    kv_slot   *slot, *next;     /* (window): as it is; as it is about to be */
    kv_block **block, **fresh;  /* (layers, window): as they are; made ahead of a change */
    bool      *written;         /* (layers): the chunk */
    int        held, chunk;
    int64_t    end, unwritten;  /* first frame that some layer may not have written */
    int64_t    pin;             /* -1: none */
    double     jump;

    double *want;         /* (window) positions of slots */
    float  *rope_y, *rope_x; /* (rows or columns, pairs, 2): cosine and sine */
    float  *rope_q, *rope_k; /* (window, pairs of time, 2) */
    bool   *turn;         /* (window): keys of the slot are turned in time on reading */
    float  *scratch;      /* (threads, scratch_each) */
    size_t  scratch_each; /* floats */
};

/* kv.c */
oriel_status kv_check(const oriel_kv_config *in, oriel_kv_config *c); /* and fill defaults in */
oriel_status kv_count(const oriel_kv_config *c, int threads, size_t *bytes);
void         kv_positions(const oriel_kv *kv, double *want);
kv_layout    kv_lay_out(const oriel_kv_config *c, oriel_dtype t);
kv_block    *kv_block_new(const oriel_kv *kv, oriel_dtype t); /* NULL: no memory */
void         kv_block_drop(kv_block **b);                     /* NULL-safe; writes NULL */

/* kv_chunk.c: arguments at the door. t is (B, N, a multiple of heads, n) */
oriel_status kv_check_call(const oriel_kv *kv, int layer);
oriel_status kv_check_tensor(const oriel_kv *kv, const char *name, const oriel_tensor *t, int n);

static inline const kv_layout *kv_layout_of(const oriel_kv *kv, const kv_block *b)
{
    return b->dtype == kv->c.dtype ? &kv->stored : &kv->wide;
}
static inline kv_block *kv_at(const oriel_kv *kv, int layer, const kv_slot *s)
{
    return kv->block[(size_t)layer * (size_t)kv->c.window + (size_t)s->place];
}

/* Row `row` of (B, H, tokens) in K or V of a block (kv_rows.c). */
void kv_load(const oriel_kv *kv, const kv_block *b, bool v, int64_t row, float *x);
void kv_store(const oriel_kv *kv, kv_block *b, bool v, int64_t row, const float *x);
/* Cosines and sines of position t for the n pairs of an axis: out (n, 2) (kv_rows.c). */
void kv_angles(float *out, double t, int n, double theta);
/* Turn n pairs of x by cs (n, 2). */
static inline void kv_turn(float *x, const float *cs, int n)
{
    for (int i = 0; i < n; i++) {
        float a = x[2 * i], b = x[2 * i + 1], c = cs[2 * i], s = cs[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}
/* All three axes: token of a frame, time given as its row of cosines. */
void kv_turn3(const oriel_kv *kv, float *x, const float *time, int token);
/* n channels of a tensor's row as float */
void kv_read(float *x, const oriel_tensor *t, int64_t offset, int n);

/* A tile of queries against a tile of keys (kv_tile.h): what the levels differ in. */
typedef struct kv_tile {
    int          queries, keys, d, dv; /* dv: the padded width */
    const float *q;                    /* (queries, d), scaled by scale * log2(e) */
    const float *k;                    /* (d, KV_KEYS): keys run fastest; beyond `keys`: zero */
    const float *v;                    /* (keys, dv) */
    float       *s;                    /* (queries, KV_KEYS) */
    float       *acc;                  /* (queries, dv) */
    float       *top, *sum;            /* (queries), in base 2 */
} kv_tile;
typedef void kv_tile_fn(const kv_tile *t);
#if defined(__x86_64__)
extern kv_tile_fn *const kv_tile_avx2, *const kv_tile_avx512;
#endif

#endif
