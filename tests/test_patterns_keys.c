/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows whose keys are not their queries, by the library and as the papers' code does it (patterns.h):
 * HAT's overlapping cross-attention (arXiv 2205.04437), SRFormer's permuted attention (2303.09735).
 */
#include "patterns.h"

#include "test.h"

/* ---- HAT: keys of a window and `pad` about it, zeros beyond the picture ------------------- */

/* The index into the table of ((w + ext - 1)^2): made negative by the paper's code, read from the end by
 * Python. */
static int oca_index(int w, int ext, int qy, int qx, int ky, int kx)
{
    int across = w + ext - 1, first = w - ext + 1;
    int index = (ky - qy + first) * across + kx - qx + first;
    return index < 0 ? index + across * across : index;
}

static void hat_render(layer *l, int y, int x, int w, int pad, const float *table)
{
    int     ext = w + 2 * pad, nq = w * w, nk = ext * ext;
    map     q = map_windows(map_ids(y, x), w, w), k = map_unfold(map_ids(y, x), ext, w, pad);
    double *add = take((size_t)nq * (size_t)nk, sizeof *add);
    for (int h = 0; h < l->heads; h++) {
        for (int i = 0; i < nq * nk; i++)
            add[i] = table[oca_index(w, ext, i / nk / w, i / nk % w, i % nk / ext, i % nk % ext) * l->heads + h];
        for (int g = 0; g < q.y; g++)
            brute(l, h, nq, q.at + g * nq, nk, k.at + g * nk, add);
    }
}

static void test_hat(const char *name, int y, int x, int heads, int dim, int w, int pad)
{
    int    ext = w + 2 * pad, across = w + ext - 1;
    layer  l = layer_new(name, heads, dim, y * x, 60);
    float *table = numbers(61, across * across * heads, 2), *bias = take((size_t)(heads * across * across), sizeof *bias);
    hat_render(&l, y, x, w, pad, table);
    for (int i = 0; i < across * across; i++) { /* by query - key: the key's place counts from its window's corner */
        int dy = i / across - across / 2, dx = i % across - across / 2;
        int index = oca_index(w, ext, 0, 0, pad - dy, pad - dx);
        for (int h = 0; h < heads; h++)
            bias[h * across * across + i] = table[index * heads + h];
    }
    oriel_axis    axis = {.kind = ORIEL_AXIS_BLOCK, .size = w, .left = pad, .right = pad};
    oriel_attn    a = {.heads = heads, .dim = dim, .extent = {1, y, x}, .axis = {{0}, axis, axis}, .pad_keys = true,
                       .bias = ORIEL_BIAS_OFFSET};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    io.bias = oriel_tensor_of(bias, ORIEL_F32, 4, (int64_t[]){heads, 1, across, across});
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- SRFormer: a key for each 2 x 2 tokens of a window ------------------------------------ */

enum { HEADS = 4, DIM = 6, WIDE = HEADS * DIM, FOURTH = WIDE / 4 };

/* A fused layer of k and v, (Y, X, 2, WIDE / 4), as keys and values (tokens, 2, WIDE): within each window
 * view(w / 2, 2, w / 2, 2, 2, WIDE / 4), permute(0, 2, 4, 1, 3, 5). Windows one after the other. */
static void permute(float *to, const float *from, map window, int w)
{
    for (int g = 0; g < window.y; g++)
        for (int t = 0; t < w * w / 4; t++)
            for (int c = 0; c < 2 * WIDE; c++) {
                int which = c / WIDE, row = c / FOURTH / 2 % 2, column = c / FOURTH % 2;
                int in = (t / (w / 2) * 2 + row) * w + t % (w / 2) * 2 + column;
                *to++ = from[(window.at[g * w * w + in] * 2 + which) * FOURTH + c % FOURTH];
            }
}

/* Python's division. */
static int floor_half(int i)
{
    return (i - (i & 1)) / 2;
}

static map shifted_regions(int y, int x, int w, int from)
{
    map m = map_new(y, x);
    int cut[4] = {0, -w, from, END};
    for (int i = 0, value = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            map_slice(m, cut[i], cut[i + 1], cut[j], cut[j + 1], value++);
    return m;
}

/* Windows of the rolled map q.at; keys of window g are g * nk and after. */
static void srformer_render(layer *l, map q, int y, int x, int w, int shift, const float *table)
{
    int     p = w / 2, nq = w * w, nk = p * p;
    map     in_q = map_windows(shifted_regions(y, x, w, -shift), w, w);
    map     in_k = map_windows(shifted_regions(y / 2, x / 2, p, floor_half(-shift)), p, p);
    double *add = take((size_t)nq * (size_t)nk, sizeof *add);
    int    *keys = take((size_t)nk, sizeof *keys);
    for (int g = 0; g < q.y * HEADS; g++) {
        int window = g / HEADS, h = g % HEADS;
        for (int i = 0; i < nq * nk; i++) {
            int dy = i / nk / w / 2 - i % nk / p, dx = i / nk % w / 2 - i % p;
            bool apart = shift && in_q.at[window * nq + i / nk] != in_k.at[window * nk + i % nk];
            add[i] = (double)table[((dy + p - 1) * (w - 1) + dx + p - 1) * HEADS + h] + (apart ? -100 : 0);
        }
        for (int i = 0; i < nk; i++)
            keys[i] = window * nk + i;
        brute(l, h, nq, q.at + window * nq, nk, keys, add);
    }
}

/* What place i of a rolled axis of n sees of its n / 2 keys: first, count. */
static void spans(int32_t *to, int n, int w, int shift)
{
    int half = -floor_half(-shift); /* keys of the last region */
    for (int i = 0; i < n; i++) {
        bool last = i >= n - w;
        to[2 * i] = last && i >= n - shift ? n / 2 - half : i / w * (w / 2);
        to[2 * i + 1] = (last && i < n - shift ? n / 2 - half : last ? n / 2 : (i / w + 1) * (w / 2)) - to[2 * i];
    }
}

/* rolled: the library sees the rolled map, as the paper's code does, and the shift as a table of spans; else
 * the map where it lies, which an odd shift does not allow, as its keys straddle the pairs of rows. */
static void test_srformer(const char *name, int y, int x, int w, int shift, bool rolled)
{
    int    p = w / 2;
    layer  l = layer_new2(name, HEADS, DIM, y * x, y * x / 4, 70);
    float *lin = numbers(72, y * x * 2 * FOURTH, 2), *table = numbers(73, (w - 1) * (w - 1) * HEADS, 2);
    float *raster = take((size_t)(y * x / 4) * 2 * WIDE, sizeof *raster);
    map    q = map_ids(y, x), k = map_windows(map_ids(y / 2, x / 2), p, p);
    if (!rolled)
        q = map_roll(q, -shift, -shift), k = map_windows(map_roll(map_ids(y / 2, x / 2), -shift / 2, -shift / 2), p, p);
    q = map_windows(q, w, w);
    permute(l.k, lin, q, w);
    srformer_render(&l, q, y, x, w, shift, table);
    for (int i = 0; i < y * x / 4; i++) /* keys in the order of windows to their places in the raster */
        memcpy(raster + k.at[i] * 2 * WIDE, l.k + i * 2 * WIDE, 2 * WIDE * sizeof *raster);
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {1, y, x}, .pool = {1, 2, 2}, .bias = ORIEL_BIAS_OFFSET};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    io.k = layer_raster(&l, raster, l.k_step, 0, 1, y / 2, x / 2);
    io.v = layer_raster(&l, raster + WIDE, l.k_step, 0, 1, y / 2, x / 2);
    io.bias = oriel_tensor_of(table, ORIEL_F32, 4, (int64_t[]){HEADS, 1, w - 1, w - 1});
    io.bias.stride[0] = 1, io.bias.stride[2] = (w - 1) * HEADS, io.bias.stride[3] = HEADS;
    for (int i = 1; i < 3; i++) {
        int      n = i == 1 ? y : x;
        int32_t *to = take((size_t)n * 2, sizeof *to);
        spans(to, n, w, shift);
        a.axis[i] = (oriel_axis){.kind = ORIEL_AXIS_BLOCK, .size = w, .shift = shift};
        if (rolled) {
            a.axis[i] = (oriel_axis){.kind = ORIEL_AXIS_SPANS};
            io.spans[i] = oriel_tensor_of(to, ORIEL_I32, 2, (int64_t[]){n, 2});
        }
    }
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

int main(void)
{
    CHECK(levels_open());
    test_hat("hat oca 16, 24", 32, 48, 2, 30, 16, 4);
    test_hat("hat oca 4, 6", 12, 20, 3, 10, 4, 1);
    test_hat("hat oca 8, 16", 24, 16, 1, 16, 8, 4);
    test_srformer("srformer 16", 32, 48, 16, 0, false);
    test_srformer("srformer 16, shifted", 32, 48, 16, 8, false);
    test_srformer("srformer 16, rolled", 32, 48, 16, 8, true);
    test_srformer("srformer 22", 44, 22, 22, 0, true);
    test_srformer("srformer 22, rolled", 44, 66, 22, 11, true);
    test_srformer("srformer 24, shifted", 48, 24, 24, 12, false);
    levels_close();
    return test_end();
}
