/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Panels: how the CPU kernels hold activations.
 *
 * A panel is X[c][t]: one row a channel, tokens side by side in vector lanes. All that a window
 * block does then runs down the rows with no sum across lanes and no padding of channels or heads:
 * a linear layer broadcasts one weight and multiplies a vector of tokens, LayerNorm adds rows,
 * softmax works on S[key][query], and a head of 10 channels is 10 rows. A 3 x 3 convolution is the
 * same product over a strip of pixels with nine taps, each tap an offset along the strip.
 * Only reading from and writing to channels-last maps transposes, 16 x 16 (or 8 x 8) at a time.
 *
 * Lanes come in multiples of `lanes`; ld is the distance of rows in 4-byte units. A bf16 panel holds
 * two channels a row, X[c / 2][t][2], so it too has 4 bytes a lane; rows are padded with zeros to
 * `pairs` of channels.
 */
#ifndef CORE_CPU_PANEL_H
#define CORE_CPU_PANEL_H

#include "core/internal.h"

enum {
    PANEL_LANES_MAX = 16, /* round token counts up to this and any level is content */
    PANEL_ROWS = 6,       /* outputs of a step of the f32 and bf16 products */
    PANEL_STRIP = 64,     /* tokens that the kernels like best */
    PANEL_AMX_ROWS = 16,  /* outputs of an AMX tile */
    PANEL_AMX_K = 32      /* channels of an AMX tile */
};

typedef enum panel_act { PANEL_LINEAR = 0, PANEL_GELU, PANEL_LEAKY } panel_act;

/* Weights (n, taps, k) packed for one kind of product. */
typedef struct panel_weights {
    int    n, k, taps;
    void  *data;  /* f32: [n / 6][taps][k][6]; bf16: [n / 6][taps][k / 2][6][2];
                     AMX: [n / 16][taps][k / 32][16][32] */
    float *bias;  /* (n) padded to a step, or NULL */
    size_t bytes; /* of data and bias */
} panel_weights;

typedef struct panel_gemm {
    const panel_weights *w;
    const void          *x; /* (k, t) panel, f32 or bf16 pairs as the product wants */
    ptrdiff_t            ldx;
    const ptrdiff_t     *tap; /* (taps) offsets into x in lanes; NULL: one tap at 0 */
    float               *y;   /* (n, t) f32 panel */
    ptrdiff_t            ldy;
    int                  t; /* lanes, a multiple of `lanes` */
    panel_act            act; /* PANEL_GELU and add exclude one another */
    float                slope; /* of PANEL_LEAKY */
    bool                 add;   /* y += in place of y = */
} panel_gemm;

/* One head of one window: o = softmax(q' k + bias + mask) v, logits in units of log 2 (scale and
 * log2(e) are folded into q's weights, the bias and the mask). */
typedef struct panel_attend {
    const float *q, *k, *v;  /* (d, t) panels: t queries, keys in lanes 0 .. nk - 1 */
    float       *o;          /* (d, t) */
    ptrdiff_t    ld;         /* of q, k, v, o */
    int          d, t, nk;
    const float *bias;       /* (nk, t), key by row; NULL for none */
    const float *region;     /* (t) or NULL: pairs of other regions get `masked` added */
    float        masked;
    float       *s;          /* scratch, panel_attend_floats() */
} panel_attend;

/* Room for the logits of a strip and, for bf16 levels, the three operands in their own layouts. */
static inline size_t panel_attend_floats(int d, int t, int nk)
{
    size_t d32 = (size_t)oriel_round_up(d, 32), nk32 = (size_t)oriel_round_up(nk, 32);
    size_t lanes = (size_t)oriel_round_up(t, PANEL_LANES_MAX);
    return nk32 * PANEL_STRIP + d32 / 2 * (4 * lanes + 2 * nk32);
}

typedef struct panel_ops {
    const char *name;
    int         lanes;
    bool        bf16;   /* products take bf16 pairs */
    int         k_step; /* channels of a packed step: 1, 2 or 32; panels have zero rows up to it */
    int         n_step;

    /* Around the work of a thread, where the level needs it (AMX: tile configuration); or NULL. */
    void (*enter)(void);
    void (*leave)(void);
    void (*gemm)(const panel_gemm *g);
    /* dst[p][t] = (bf16 src[2p][t], bf16 src[2p + 1][t]), zero rows up to k_step (bf16 levels) */
    void (*pair)(void *dst, const float *src, ptrdiff_t ld, int c, int t);
    /* panel[c][i] = token[i][c] for i < t, c < channels; t any number, lanes beyond are zero up to
     * the next multiple of `lanes` */
    void (*gather)(float *panel, ptrdiff_t ld, const float *const *token, int t, int channels);
    /* token[i][c] = panel[c][i] */
    void (*scatter)(float *const *token, const float *panel, ptrdiff_t ld, int t, int channels);
    /* dst = LayerNorm over the channels of each lane; dst may be src */
    void (*norm)(float *dst, const float *src, ptrdiff_t ld, int c, int t, const float *gamma,
                 const float *beta, float eps);
    void (*attend)(const panel_attend *a);
} panel_ops;

static inline void panel_enter(const panel_ops *p)
{
    if (p->enter)
        p->enter();
}
static inline void panel_leave(const panel_ops *p)
{
    if (p->leave)
        p->leave();
}

extern const panel_ops panel_c;
#if defined(__x86_64__)
extern const panel_ops panel_avx2, panel_avx512, panel_bf16, panel_amx;
#endif

/* The best level for these CPU flags; NULL if bf16 is wanted and the CPU has none. */
const panel_ops *panel_choose(unsigned cpu, bool bf16);

/* Pack w[n][k][taps] (PyTorch's order: out, in, kernel) and bias for p, rows in the order given by
 * `row` (NULL: as they are). ORIEL_E_NOMEM. */
oriel_status panel_pack(panel_weights *out, const panel_ops *p, const float *w, const float *bias,
                        int n, int k, int taps, const int *row);
void         panel_unpack(panel_weights *w); /* frees */
/* Rows first .. first + n of w, first a multiple of p's n_step: a view. */
panel_weights panel_rows(const panel_weights *w, const panel_ops *p, int first, int n);

/* Coefficients shared by all levels, so that they agree to rounding.
 * exp2(f), |f| <= 1/2: relative error 7.5e-8. */
#define PANEL_EXP2                                                                                 \
    {                                                                                              \
        1.0000000717f, 0.6931469671f, 0.2402211971f, 0.05550713294f, 0.009675542060f,              \
            0.001327646761f                                                                        \
    }
/* log2 of erfc(t / sqrt 2) / 2 for 0 <= t <= 5.5: GELU(x) = max(x, 0) - t 2^p(t), t = min(|x|, 5.5),
 * absolute error 6.4e-8. Both fitted for the smallest largest error on Chebyshev points. */
#define PANEL_GELU_TAIL                                                                            \
    {                                                                                              \
        -0.9999963287f, -1.151177111f, -0.4588343209f, -0.05333741840f, 0.008036985610f,           \
            -7.569196954e-4f, 3.177536031e-5f                                                      \
    }
/* exp2(f), 0 <= f <= 1, to the precision of bf16 operands: relative 7.5e-5. */
#define PANEL_EXP2_HALF {0.9999252186f, 0.6958335405f, 0.2260671554f, 0.07802452264f}
/* Sums of softmax weights that were made without the largest logit: outside, it is found. */
#define PANEL_SUM_LEAST 0x1p-40f
#define PANEL_SUM_MOST 0x1p40f
/* GELU(x) = max(x, 0) - c(t), t = min(|x|, 4.84): c cubic in each sixteenth of 0 .. 5, coefficient by row, by
 * t 16 / 5 rounded; absolute error 4.0e-6, for products of bf16. */
#define PANEL_GELU_PIECES                                                                          \
    {                                                                                              \
        {-3.04952579e-07f, -0.000406615814f, -0.00469629699f, -0.00377640245f, 0.0409497991f,      \
        0.165844932f, 0.352285117f, 0.522533119f, 0.596664548f, 0.550477028f, 0.422519207f,        \
        0.274906427f, 0.153621644f, 0.0744387209f, 0.0315030254f, 0.011776112f},                   \
        {0.500062585f, 0.506112337f, 0.533961356f, 0.532911301f, 0.413013041f, 0.147731453f,       \
        -0.178646266f, -0.432209581f, -0.52905637f, -0.477965951f, -0.348872393f,                  \
        -0.213654071f, -0.112050936f, -0.0509668291f, -0.0202794597f, -0.00714530936f},            \
        {-0.4009507f, -0.431919187f, -0.493316382f, -0.495180666f, -0.387752384f, -0.19955653f,    \
        -0.00884864666f, 0.117151894f, 0.159342602f, 0.140503854f, 0.0970715359f,                  \
        0.0557680205f, 0.0273875538f, 0.0116761895f, 0.00436358713f, 0.00144817145f},              \
        {0.0206408612f, 0.0766090602f, 0.122518189f, 0.124701113f, 0.0925244093f, 0.047932066f,    \
        0.0107376017f, -0.010152041f, -0.0162810106f, -0.0139653999f, -0.00909244083f,             \
        -0.00488539226f, -0.00224211742f, -0.000894746103f, -0.000313775497f, -9.8024102e-05f}     \
    }
#define PANEL_PIECES_END 4.84f
#define PANEL_PIECES_A_UNIT 3.2f
#define PANEL_GELU_END 5.5f

#endif
