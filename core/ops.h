/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations that networks are made of, one table of functions a device, and the run that
 * carries them.
 *
 * A forward is written once, over the op_* functions. In a planning run they only count: memory in
 * the arena, flops. In a real run they call the device's table. After a failure they do nothing, so
 * a forward is straight lines and its status is read at the end.
 *
 * Feature maps are f32, (Y, X, C) packed, in the device's memory. A map may be a band: rows y0 .. y0 + Y of a map of
 * `height` rows, which lets a chain of convolutions at high resolution run a band at a time.
 */
#ifndef CORE_OPS_H
#define CORE_OPS_H

#include "core/device.h"

typedef void op_tap_fn(void *user, const char *name, int index, oriel_tensor t);

typedef struct run {
    oriel_device *dev;
    oriel_arena   arena;
    bool          planning;
    oriel_status  status; /* sticky */
    double        flops, flops_total;
    double        map_bytes; /* of maps that operations read and write, each once */
    bool (*progress)(void *user, double done);
    void      *user;
    op_tap_fn *tap; /* tests look at what is between the layers */
    void      *tap_user;
    void (*stage)(void *user, const char *name); /* what has been queued since the one before */
} run;

typedef struct op_map {
    oriel_tensor t; /* (Y, X, C) */
    int          y0, height;
} op_map;

/* Weights of a convolution (kernel 1 or 3, stride 1, zero padding) or a linear layer, as the device
 * wants them. */
typedef struct op_conv {
    int    n, k, taps; /* outputs, inputs, kernel^2 */
    int    shuffle;    /* the outputs are r x r pixels of n / r^2 channels: PixelShuffle(r) */
    size_t bytes;
    void  *packed; /* the device's own */
} op_conv;

typedef struct op_norm {
    int    c;
    float  eps;
    float *gamma, *beta; /* (c), in the device's memory */
} op_norm;

typedef struct op_conv_call {
    const op_conv *w;
    op_map         x;       /* must hold the rows that y's need, or lie at the border */
    op_map         y;       /* (Y r, X r, n / r^2); may be smaller than x's map: then it is cropped */
    const op_map  *add;     /* y = add + conv(x), same rows as y; may be y itself. NULL: none */
    float          leaky;   /* LeakyReLU with this slope after the bias; 0: none */
} op_conv_call;

typedef struct op_input_call {
    oriel_tensor x;                /* (Y, X, C) of any strides but C's: the caller's picture */
    op_map       y;                /* at least as large; beyond x: reflected, bouncing if need be */
    int          first_y, first_x; /* before that, extended to this size with the edge pixel
                                      repeated (numpy's symmetric); 0: no such step */
    float        scale, mean[4];   /* y = (x - mean) * scale */
} op_input_call;

typedef struct ops {
    /* operand: what weights and inputs are rounded to before products: F32, BF16, F16; sums are f32 */
    oriel_status (*pack)(oriel_device *dev, op_conv *w, const float *data, const float *bias,
                         const int *row, oriel_dtype operand);
    void (*unpack)(oriel_device *dev, op_conv *w);
    void (*conv)(run *r, const op_conv_call *c, void *scratch);
    size_t (*conv_scratch)(const run *r, const op_conv_call *c); /* its maps without data when planning */
    void (*norm)(run *r, op_map y, op_map x, const op_norm *w, void *scratch);
    size_t (*norm_scratch)(const run *r, int c);
    void (*nearest2)(run *r, op_map y, op_map x);
    void (*input)(run *r, const op_input_call *c);
} ops;

extern const ops ops_cpu;
extern const ops ops_cuda; /* core/cuda; only with ORIEL_WITH_CUDA */

/* ---- for forwards ------------------------------------------------------------------------- */

op_map op_map_new(run *r, int height, int width, int channels);
op_map op_band_new(run *r, int y0, int y1, int height, int width, int channels);
void   op_conv_run(run *r, const op_conv_call *c);
void   op_norm_run(run *r, op_map y, op_map x, const op_norm *w);
void   op_nearest2(run *r, op_map y, op_map x); /* y's rows of the map twice as large */
void   op_input(run *r, const op_input_call *c);

/* Memory of the run; NULL when planning or failed. */
void *run_take(run *r, size_t bytes);
void  run_fail(run *r, oriel_status s); /* the first failure stays */
bool  run_dead(const run *r);
/* Count work done, tell the caller; false when the run is planning, dead or cancelled. Ops begin
 * with `if (!run_step(r, flops)) return`. */
bool run_step(run *r, double flops);
void run_moves(run *r, const oriel_tensor *map); /* an operation reads or writes it: counted */
void run_stage(run *r, const char *name);
void run_tap(run *r, const char *name, int index, op_map m);

/* Pack (n, k, kernel, kernel) weights for a device; ORIEL_E_NOMEM, ORIEL_E_UNSUPPORTED (the operand). */
oriel_status op_conv_pack(oriel_device *dev, op_conv *w, int n, int k, int taps, int shuffle,
                          const float *data, const float *bias, oriel_dtype operand);
void         op_conv_unpack(oriel_device *dev, op_conv *w);
/* gamma and beta (c) into the device's memory; ORIEL_E_NOMEM, ORIEL_E_DEVICE. */
oriel_status op_norm_pack(oriel_device *dev, op_norm *w, int c, float eps, const float *gamma, const float *beta);
void         op_norm_unpack(oriel_device *dev, op_norm *w);

#endif
