/* SPDX-License-Identifier: Apache-2.0 */
/* Bands through a chain of convolutions. */
#include "models/chain.h"

enum { MAX_STEPS = 8, MIN_BAND = 8 };

typedef struct rows {
    int begin, end;
} rows;

static int factor(const chain_step *s)
{
    return !s->conv ? 2 : s->conv->shuffle > 1 ? s->conv->shuffle : 1;
}

/* Rows of a step's input (of `height`) that its output rows need. */
static rows needed(const chain_step *s, rows out, int height)
{
    int  f = factor(s), edge = s->conv && s->conv->taps == 9;
    rows in = {out.begin / f - edge, (out.end + f - 1) / f + edge};
    return (rows){(int)oriel_max(in.begin, 0), (int)oriel_min(in.end, height)};
}

static int channels(const chain_step *s, int in)
{
    int f = factor(s);
    return s->conv ? s->conv->n / (f * f) : in;
}

/* Rows of the final output a band: what lies between shall take no more than two maps like x. */
static int band_rows(op_map x, const chain_step *steps, int n, int scale)
{
    double per_row = 0, f = 1;
    int    c = (int)x.t.shape[2];
    for (int i = 0; i + 1 < n; i++) {
        f *= factor(&steps[i]);
        c = channels(&steps[i], c);
        per_row += f * f * c;
    }
    double budget = 2.0 * x.height * (double)x.t.shape[2];
    double fit = per_row > 0 ? budget / per_row : x.height;
    return (int)oriel_max(MIN_BAND, (int64_t)(fit < x.height ? fit : x.height)) * scale;
}

static void band(run *r, op_map out, op_map x, const op_map *add, const chain_step *steps, int n)
{
    rows need[MAX_STEPS + 1];
    int  height[MAX_STEPS + 1] = {x.height}, width = (int)x.t.shape[1], c = (int)x.t.shape[2];
    for (int i = 0; i < n; i++)
        height[i + 1] = height[i] * factor(&steps[i]);
    need[n] = (rows){out.y0, out.y0 + (int)out.t.shape[0]};
    for (int i = n; i-- > 0;)
        need[i] = needed(&steps[i], need[i + 1], height[i]);
    size_t mark = oriel_arena_mark(&r->arena);
    for (int i = 0; i < n; i++) {
        c = channels(&steps[i], c);
        width *= factor(&steps[i]);
        rows   k = need[i + 1];
        op_map y = i + 1 == n ? out : op_band_new(r, k.begin, k.end, height[i + 1], width, c);
        if (steps[i].conv)
            op_conv_run(r, &(op_conv_call){.w = steps[i].conv,
                                           .x = x,
                                           .y = y,
                                           .add = i + 1 == n ? add : NULL,
                                           .leaky = steps[i].leaky});
        else
            op_nearest2(r, y, x);
        x = y;
    }
    oriel_arena_rewind(&r->arena, mark);
}

void chain_run(run *r, op_map out, op_map x, const op_map *add, const chain_step *steps, int n)
{
    assert(n >= 1 && n <= MAX_STEPS);
    int scale = 1, end = out.y0 + (int)out.t.shape[0];
    for (int i = 0; i < n; i++)
        scale *= factor(&steps[i]);
    int step = n == 1 ? end - out.y0 : band_rows(x, steps, n, scale);
    for (int y = out.y0; y < end && !run_dead(r); y += step) {
        op_map part = out;
        int    y1 = (int)oriel_min(y + step, end);
        part.t = oriel_tensor_slice(out.t, 0, y - out.y0, y1 - out.y0);
        part.y0 = y;
        band(r, part, x, add, steps, n);
    }
}
