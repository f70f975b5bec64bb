/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame cache as one would write it on a blackboard: a list of frames in double, never rotated when
 * stored. It shares no code with the library.
 */
#ifndef TESTS_KV_MODEL_H
#define TESTS_KV_MODEL_H

#include <math.h>
#include <oriel/kv.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_FRAMES = 12, MODEL_LAYERS = 2, MODEL_FLOATS = 600 };

typedef struct model_frame {
    int64_t number;
    double  at;
    int     mixed; /* how often others were mixed into it */
    double  k[MODEL_LAYERS][MODEL_FLOATS], v[MODEL_LAYERS][MODEL_FLOATS]; /* (B, H, tokens, D) */
} model_frame;

typedef struct model {
    oriel_kv_config c;
    int             held, chunk;
    int64_t         end, pin;
    double          jump;
    model_frame     f[2 * MODEL_FRAMES];
} model;

static inline void model_remove(model *m, int i, model_frame *to)
{
    if (to)
        *to = m->f[i];
    memmove(m->f + i, m->f + i + 1, (size_t)(m->held - i - 1) * sizeof *m->f);
    m->held--;
}

static inline void model_cut(model *m)
{
    static model_frame pinned[MODEL_FRAMES];
    for (int k = 0; k < m->c.sink; k++)
        for (int i = m->c.sink; i < m->held; i++)
            if (m->f[i].number == m->pin + k) {
                model_remove(m, i, &pinned[k]);
                break;
            }
    memcpy(m->f, pinned, (size_t)m->c.sink * sizeof *pinned);
    m->pin = -1;
}

static inline void model_begin(model *m, int64_t start, int n)
{
    static model_frame gone[MODEL_FRAMES];
    int grow = (int)(start + n - (m->held ? m->end : start)), left = 0;
    if (m->held + grow > m->c.window && m->pin >= 0)
        model_cut(m);
    while (m->held + grow > m->c.window)
        model_remove(m, m->c.sink, &gone[left++]);
    for (int i = 0; i < m->c.sink && left && m->c.ema > 0; i++) {
        m->f[i].mixed++;
        for (int l = 0; l < MODEL_LAYERS; l++)
            for (int j = 0; j < MODEL_FLOATS; j++) {
                double a = m->c.ema, *k = &m->f[i].k[l][j], *v = &m->f[i].v[l][j];
                *k = a * *k + (1 - a) * gone[i].k[l][j];
                *v = a * *v + (1 - a) * gone[i].v[l][j];
            }
    }
    for (int i = grow; i > 0; i--) {
        int64_t number = start + n - i;
        m->f[m->held++] = (model_frame){.number = number, .at = (double)number + m->jump};
    }
    m->chunk = n;
    m->end = start + n;
}

/* x (B, N, heads, d) in double; from the chunk into the newest frames */
static inline void model_write(model *m, int layer, const double *k, const double *v)
{
    int tokens = m->c.rows * m->c.columns, n = m->chunk * tokens;
    for (int b = 0; b < m->c.batch; b++)
        for (int i = 0; i < n; i++)
            for (int h = 0; h < m->c.heads; h++) {
                model_frame *f = &m->f[m->held - m->chunk + i / tokens];
                int from = (b * n + i) * m->c.heads + h;
                int to = (b * m->c.heads + h) * tokens + i % tokens;
                memcpy(f->k[layer] + to * m->c.dim, k + from * m->c.dim, sizeof *k * (size_t)m->c.dim);
                memcpy(f->v[layer] + to * m->c.dim_v, v + from * m->c.dim_v,
                       sizeof *v * (size_t)m->c.dim_v);
            }
}

static inline double model_time(const model *m, int i)
{
    if (m->c.position == ORIEL_KV_RELATIVE)
        return i;
    if (m->c.position == ORIEL_KV_ANCHOR && i < m->c.sink && m->held > m->c.sink)
        return m->f[m->c.sink].at - (m->c.sink - i);
    return m->f[i].at;
}

static inline void model_turn(const model *m, double *x, double t, int token)
{
    int    pairs = m->c.dim / 2, side = pairs / 3, count[3] = {pairs - 2 * side, side, side};
    double pos[3] = {t, token / m->c.columns, token % m->c.columns};
    if (m->c.rope == ORIEL_KV_ROPE_NONE)
        return;
    for (int axis = 0; axis < 3; axis++)
        for (int j = 0; j < count[axis]; j++, x += 2) {
            double w = pos[axis] * pow(m->c.theta, -(double)j / count[axis]);
            double re = x[0] * cos(w) - x[1] * sin(w), im = x[0] * sin(w) + x[1] * cos(w);
            x[0] = re, x[1] = im;
        }
}

/* One row: q (D) of query token i of the chunk, batch b, head h of the keys; out (Dv). Returns lse. */
static inline double model_attend(const model *m, int layer, int b, int i, int h, const double *q,
                                  double *out)
{
    int    tokens = m->c.rows * m->c.columns, d = m->c.dim, dv = m->c.dim_v;
    double turned[1024], key[1024], sum = 0, top = -INFINITY;
    static double logit[MODEL_FRAMES * 64];
    memcpy(turned, q, sizeof *q * (size_t)d);
    model_turn(m, turned, model_time(m, m->held - m->chunk + i / tokens), i % tokens);
    for (int j = 0; j < m->held * tokens; j++) {
        int at = (b * m->c.heads + h) * tokens + j % tokens;
        memcpy(key, m->f[j / tokens].k[layer] + at * d, sizeof *key * (size_t)d);
        model_turn(m, key, model_time(m, j / tokens), j % tokens);
        logit[j] = 0;
        for (int c = 0; c < d; c++)
            logit[j] += turned[c] * key[c] * m->c.scale;
        top = fmax(top, logit[j]);
    }
    memset(out, 0, sizeof *out * (size_t)dv);
    for (int j = 0; j < m->held * tokens; j++)
        sum += exp(logit[j] - top);
    for (int j = 0; j < m->held * tokens; j++) {
        int at = (b * m->c.heads + h) * tokens + j % tokens;
        for (int c = 0; c < dv; c++)
            out[c] += exp(logit[j] - top) / sum * m->f[j / tokens].v[layer][at * dv + c];
    }
    return top + log(sum);
}

#endif
