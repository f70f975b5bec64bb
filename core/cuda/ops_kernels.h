/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels behind the table of operations (ops_cuda.c). Each is queued on a stream and waits for nothing. */
#ifndef CORE_CUDA_OPS_KERNELS_H
#define CORE_CUDA_OPS_KERNELS_H

#include <cuda_runtime_api.h>

#include "core/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A convolution of a map with zeros round about. Rows and columns are x's; outputs come in channels of r x r pixels. */
typedef struct conv_args {
    const float *x;                   /* rows x_y0 .. of (height, width, k) */
    const void  *w;                   /* in the kernel's own order */
    const float *bias;                /* (n rounded up to 64) */
    const float *add;                 /* as y, may be y; or NULL */
    float       *y;                   /* (y_rows, y_cols, c), the map's rows from y_y0 on */
    int          k, n, r, c;          /* n = r r c, in the order (i, j, c) */
    int          operand;             /* oriel_dtype */
    int          height, width, x_y0;
    int          row, rows, cols;     /* what is computed: rows from `row` on, columns from 0 on */
    int          y_y0, y_rows, y_cols;
    float        leaky;               /* 0: none */
    bool         read4, write4;       /* inputs and outputs lie so that four are read or written at once */
} conv_args;

/* Weights in a kernel's order: where w[n][k][tap] lies, how many elements there are. */
enum { CONV_F32_N = 64, CONV_F32_K = 8, CONV_MMA_K = 16, CONV_BIAS = 64 };

static inline size_t conv_f32_count(int n, int k, int taps)
{
    return (size_t)oriel_round_up(n, CONV_F32_N) * (size_t)oriel_round_up(k, CONV_F32_K) * (size_t)taps;
}
/* [tile of outputs][step of inputs][tap][input][output] */
static inline size_t conv_f32_at(int n, int k, int taps, int all_k, int tap)
{
    size_t step = (size_t)oriel_ceil_div(all_k, CONV_F32_K) * (size_t)(n / CONV_F32_N) + (size_t)(k / CONV_F32_K);
    step = step * (size_t)taps + (size_t)tap;
    return (step * CONV_F32_K + (size_t)(k % CONV_F32_K)) * CONV_F32_N + (size_t)(n % CONV_F32_N);
}

/* Outputs of one block of the tensor core kernel, for n of them. */
static inline int conv_mma_tile(int n)
{
    return n <= 16 ? 16 : n <= 32 ? 32 : 64;
}
static inline size_t conv_mma_count(int n, int k, int taps)
{
    return (size_t)oriel_round_up(n, conv_mma_tile(n)) * (size_t)oriel_round_up(k, CONV_MMA_K) * (size_t)taps;
}
/* [tile of outputs][step of inputs][tap][eight inputs][output][input]: 16 bytes are eight inputs of an output */
static inline size_t conv_mma_at(int n, int k, int taps, int all_n, int all_k, int tap)
{
    int    tile = conv_mma_tile(all_n), pieces = CONV_MMA_K / 8;
    size_t step = (size_t)oriel_ceil_div(all_k, CONV_MMA_K) * (size_t)(n / tile) + (size_t)(k / CONV_MMA_K);
    size_t piece = (step * (size_t)taps + (size_t)tap) * (size_t)pieces + (size_t)(k % CONV_MMA_K / 8);
    return (piece * (size_t)tile + (size_t)(n % tile)) * 8 + (size_t)(k % 8);
}

/* side: 1 or 3 */
oriel_status conv_f32(const conv_args *a, int side, cudaStream_t stream);
oriel_status conv_mma(const conv_args *a, int side, cudaStream_t stream);

/* y = (x - mean) / sqrt(variance + eps) * gamma + beta over the c channels of each pixel; y may be x. c <= NORM_MOST */
enum { NORM_MOST = 1024 };
oriel_status norm_kernel(float *y, const float *x, const op_norm *w, int64_t pixels, cudaStream_t stream);
oriel_status nearest2_kernel(op_map y, op_map x, cudaStream_t stream);
oriel_status input_kernel(const op_input_call *c, cudaStream_t stream);

/* (pixels, c) to (pixels, channels) of a type, zeros behind the last; and the way back, plus a bias. */
oriel_status cast_kernel(void *to, int channels, oriel_dtype type, const float *from, int c, int64_t pixels,
                         cudaStream_t stream);
oriel_status bias_kernel(float *to, int c, const void *from, int channels, oriel_dtype type, const float *bias,
                         int64_t pixels, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
