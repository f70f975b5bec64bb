/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_KV_H
#define ORIEL_KV_H

/*
 * oriel/kv.h - the frame cache: keys and values of a video that is generated as a stream.
 *
 *     oriel_kv_config c = {.layers = 30, .heads = 12, .dim = 128, .rows = 30, .columns = 52,
 *                          .window = 12, .sink = 3, .dtype = ORIEL_BF16};
 *     oriel_kv *kv = NULL;
 *     s = oriel_kv_new(&kv, dev, &c);
 *     for (int64_t start = 0; !s && start < 300; start += 3)        // chunks of three frames
 *         for (int pass = 0; !s && pass < 5; pass++) {              // four to denoise, one clean
 *             if ((s = oriel_kv_begin(kv, start, 3)))
 *                 break;
 *             for (int layer = 0; layer < 30 && !s; layer++)        // k, v, q: (1, 3 * 1560, 12, 128)
 *                 if (!(s = oriel_kv_write(kv, layer, &k, &v)))
 *                     s = oriel_kv_attend(kv, layer, &q, &out, NULL);
 *         }
 *     oriel_kv_free(&kv);
 *
 * A cache holds `window` frames: the first `sink` of them stay, the others are a ring from which the
 * oldest frames leave when new ones need room. Queries of a chunk see every frame held, the chunk's
 * own included, without a mask. Nothing is moved in memory when frames come and go, and attention
 * reads the frames where they lie.
 *
 * Rotary positions are the cache's business: keys and queries are given unrotated. A head's
 * channels are pairs (x[2i], x[2i + 1]); of D / 2 pairs, D / 2 - 2 (D / 6) turn with time, D / 6 with
 * the row and D / 6 with the column (22, 21, 21 at D = 128); pair j of the n of an axis turns by
 * position / theta^(j / n). Angles are computed in double.
 *
 * A function that fails leaves the cache as it was. Memory is taken by oriel_kv_new(); after that
 * oriel_kv_begin() alone may need more, and only after a branch, or a pin beside an fp32 EMA sink.
 * A cache belongs to its device: one thread at a time. Results do not depend on the number of threads.
 * Branches share memory, so caches that came from one another count as one for this rule.
 */

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the frames held stand in time when a chunk looks at them. */
typedef enum oriel_kv_position {
    ORIEL_KV_ABSOLUTE = 0, /* each at its own frame, so the sink recedes (Self-Forcing, LongLive) */
    ORIEL_KV_RELATIVE,     /* at 0, 1, 2...: the sink first, the newest last (Infinity-RoPE) */
    ORIEL_KV_ANCHOR        /* the sink just before the oldest of the ring (Rolling Forcing) */
} oriel_kv_position;

/* Where keys are rotated. The results are the same to the rounding of the stored type. */
typedef enum oriel_kv_rope {
    ORIEL_KV_ROPE_WRITE = 0, /* when stored; if the sink has to move, it alone is turned on reading */
    ORIEL_KV_ROPE_READ,      /* stored as given, every key is turned on reading */
    ORIEL_KV_ROPE_NONE       /* never: the caller does it, or the model has none */
} oriel_kv_rope;

typedef struct oriel_kv_config {
    int               layers;        /* 0 means 1 */
    int               batch;         /* 0 means 1 */
    int               heads;         /* of keys and values */
    int               dim;           /* of keys and queries, D: at most 1024, even unless rope is NONE */
    int               dim_v;         /* of values; 0 means dim */
    int               rows, columns; /* tokens of a frame, in raster order */
    int               window;        /* frames held, the sink included */
    int               sink;          /* of these, frames that stay; less than window */
    oriel_dtype       dtype;         /* F32, F16, BF16, or I8 with a scale for each token and head */
    oriel_kv_position position;
    oriel_kv_rope     rope;
    double            theta;      /* 0 means 10000 */
    double            scale;      /* of logits; 0 means 1 / sqrt(dim) */
    double            ema;        /* in (0, 1): frames that leave the ring are mixed into the sink,
                                     sink = ema * sink + (1 - ema) * leaving, unrotated; they must
                                     leave `sink` at a time. 0: off. Not with ABSOLUTE */
    bool              ema_stored; /* the sink that is mixed is kept in dtype, else in fp32 */
} oriel_kv_config;

typedef struct oriel_kv oriel_kv;

/* An empty cache with its own copy of *config; the device must outlive it.
 * ORIEL_E_ARG, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_new(oriel_kv **out, oriel_device *dev,
                                                     const oriel_kv_config *config);
ORIEL_API void oriel_kv_free(oriel_kv **kv);
/* The bytes that oriel_kv_new() takes on a device of so many threads. ORIEL_E_ARG (too large to
 * count is one). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_bytes(const oriel_kv_config *config, int threads,
                                                       size_t *bytes);

/* ---- a chunk ------------------------------------------------------------------------------ */

/* Frames [start, start + frames) are next to be written and to look. They may be
 * - new: start is the end of what was written so far (any frame if the cache is empty). If they do
 *   not fit, the oldest of the ring leave; then frames is at most window - sink;
 * - the newest frames again, ending where these end: a denoising pass, the clean pass, or a longer
 *   run of them to cache them anew for another prompt. Nothing leaves;
 * - an overlap: some of the newest again, and new ones after them.
 * Of an unbroken run of newest frames, all may be written again. Every layer must have written a
 * chunk before frames after it begin. ORIEL_E_ARG, ORIEL_E_NOMEM (never without branches and pins). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_begin(oriel_kv *kv, int64_t start, int frames);
/* The chunk's keys (B, N, H, D) and values (B, N, H, Dv) of one layer, unrotated: F32, F16 or BF16,
 * channels contiguous, other strides free; N = frames * rows * columns. They replace what the chunk
 * held. An I8 vector with a value that is not finite reads as NaN. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_write(oriel_kv *kv, int layer,
                                                       const oriel_tensor *k, const oriel_tensor *v);
/* Attention of the chunk's queries (B, N, Hq, D), unrotated, over every frame held, which this layer
 * must have written: out (B, N, Hq, Dv) and, if not NULL, the natural log of the sum of exponentials
 * lse (B, N, Hq), F32. Hq is a multiple of heads; query head h reads head h / (Hq / heads). q and out
 * as in oriel_kv_write(); out may not overlap q. Sums in fp32. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_attend(oriel_kv *kv, int layer,
                                                        const oriel_tensor *q,
                                                        const oriel_tensor *out,
                                                        const oriel_tensor *lse);

/* ---- what is held ------------------------------------------------------------------------- */

typedef struct oriel_kv_info {
    oriel_kv_config config; /* with every default filled in */
    int             held;   /* frames */
    int64_t         end;    /* the newest frame, plus one */
    int             chunk;  /* frames of the chunk begun last; 0: none */
    int64_t         pinned; /* the first frame to be pinned at the next roll; -1: none */
    size_t          bytes;  /* that this cache refers to */
    size_t          shared; /* of these, shared with branches */
} oriel_kv_info;

ORIEL_API void oriel_kv_describe(const oriel_kv *kv, oriel_kv_info *info);
/* The frames held, sink first, then from old to new, and the time positions at which a query sees
 * them: arrays of `window`, or NULL. Returns how many. */
ORIEL_API int oriel_kv_frames(const oriel_kv *kv, int64_t *frame, double *position);

/* Forget every frame, a pin too. Numbering may go on anywhere. */
ORIEL_API void oriel_kv_reset(oriel_kv *kv);
/* Forget the oldest `frames` of the ring, which an EMA sink does not see. The chunk itself and
 * pinned frames cannot be evicted. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_evict(oriel_kv *kv, int frames);
/* A scene cut: when next a frame would have to leave, frames [first, first + sink), which are in the
 * ring now, become the sink and the old sink is forgotten; what more has to leave then leaves. Until
 * then nothing changes, and the last call counts; first -1 unpins. ORIEL_E_ARG. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_pin(oriel_kv *kv, int64_t first);
/* Frames that are new from now on stand this much later in time (earlier if negative) than their
 * numbers and earlier jumps say: multi-shot video sets scenes apart so. RELATIVE does not see it.
 * ORIEL_E_ARG (not finite). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_jump(oriel_kv *kv, double frames);
/* A second cache with the same content, on the same device. Memory is shared until one of them
 * writes: undo, or two continuations of one scene. ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_branch(oriel_kv **out, const oriel_kv *kv);

/* ---- files -------------------------------------------------------------------------------- */

typedef struct oriel_kv_load_options {
    uint64_t max_bytes; /* a cache that needs more is ORIEL_E_UNSUPPORTED; 0 means 64 GiB */
} oriel_kv_load_options;

/* Write the cache to a file, which appears (or replaces another) only when complete. Versioned, with
 * checksums, little-endian; loading it gives the same bits. Every layer must have written the chunk.
 * ORIEL_E_ARG, ORIEL_E_IO, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_save(const oriel_kv *kv, const char *path);
/* Read it again; the configuration is the file's. A file that was changed, cut or lengthened by as
 * much as a byte is ORIEL_E_FORMAT. ORIEL_E_IO, ORIEL_E_FORMAT, ORIEL_E_UNSUPPORTED, ORIEL_E_NOMEM. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_load(oriel_kv **out, oriel_device *dev,
                                                      const char                  *path,
                                                      const oriel_kv_load_options *opt);
/* The same in memory. Encoding takes oriel_kv_encoded_size() bytes. */
ORIEL_API size_t oriel_kv_encoded_size(const oriel_kv *kv);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_encode(const oriel_kv *kv, void *bytes, size_t size);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_kv_decode(oriel_kv **out, oriel_device *dev,
                                                        const void *bytes, size_t size,
                                                        const oriel_kv_load_options *opt);

#ifdef __cplusplus
}
#endif
#endif
