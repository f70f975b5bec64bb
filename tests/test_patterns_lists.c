/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of blocks, by the library and as published (patterns.h): radial attention (arXiv 2506.19852) and
 * VSA (2505.13389), held to golden/patterns.bin, which the project's oracle in Python wrote.
 */
#include "patterns.h"

#include <math.h>
#include <string.h>

#include "test.h"

/* A square table of who lists whom as CSR. */
typedef struct csr {
    int32_t *indptr, *indices;
    int      n, count;
} csr;

static csr csr_new(int lists)
{
    return (csr){take((size_t)lists + 1, sizeof(int32_t)), take((size_t)(lists * lists), sizeof(int32_t)), 0, 0};
}

/* The next list: those of n that are set. */
static void csr_add(csr *c, const bool *row, int n)
{
    for (int i = 0; i < n; i++)
        if (row[i])
            c->indices[c->count++] = i;
    c->indptr[++c->n] = c->count;
}

/* ---- radial ------------------------------------------------------------------------------- */

enum { FRAMES = 9, S = 60, BLOCK = 12, RADIAL = FRAMES * S, BLOCKS = RADIAL / BLOCK };

/* Kept: more than 0.6 of the columns that are not empty are more than a third full. */
static bool radial_block(int bq, int bk)
{
    int some = 0, many = 0;
    for (int c = bk * BLOCK; c < (bk + 1) * BLOCK; c++) {
        int full = 0;
        for (int r = bq * BLOCK; r < (bq + 1) * BLOCK; r++)
            full += abs(r % S - c % S) <= radial_width(r / S, c / S, S, BLOCK, 1, true);
        some += full > 0, many += 3 * full > BLOCK;
    }
    return many > 0.6 * some;
}

static void test_radial(void)
{
    enum { HEADS = 2, DIM = 16 };
    layer l = layer_new("radial", HEADS, DIM, RADIAL, 54);
    map   all = map_ids(1, RADIAL);
    csr   lists = csr_new(BLOCKS);
    for (int b = 0; b < BLOCKS; b++) {
        bool row[BLOCKS];
        int  keys[RADIAL], n = 0;
        for (int k = 0; k < BLOCKS; k++) {
            row[k] = radial_block(b, k);
            for (int i = 0; i < BLOCK && row[k]; i++)
                keys[n++] = k * BLOCK + i;
        }
        csr_add(&lists, row, BLOCKS);
        for (int h = 0; h < HEADS; h++)
            brute(&l, h, BLOCK, all.at + b * BLOCK, n, keys, NULL);
    }
    CHECK_INT(lists.count, <, BLOCKS * BLOCKS * 3 / 4); /* it is sparse */
    CHECK(golden_same(&l, l.want, 54, RADIAL));
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {FRAMES, 1, S}, .lists = true,
                       .q_block = {1, 1, BLOCK}, .k_block = {1, 1, BLOCK}};
    oriel_attn_io io = layer_io(&l, FRAMES, 1, S);
    io.indptr = oriel_tensor_of(lists.indptr, ORIEL_I32, 3, (int64_t[]){1, 1, BLOCKS + 1});
    io.indices = oriel_tensor_of(lists.indices, ORIEL_I32, 1, (int64_t[]){lists.count});
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- VSA ---------------------------------------------------------------------------------- */

/* Cubes of 4 x 4 x 4 of a raster that they do not fit. */
enum { VT = 4, VY = 11, VX = 10, CY = 3, CX = 3, CUBES = CY * CX, CUBE = 64, VHEADS = 2, VDIM = 32, VSA = VT * VY * VX, TOP = 3 };

/* Cube by cube: raster[i] is token i's place in the raster, first[c] where cube c begins. */
static void cube_order(int *raster, int *first)
{
    int n = 0;
    for (int c = 0; c < CUBES; c++) {
        int y0 = c / CX * 4, x0 = c % CX * 4;
        first[c] = n;
        for (int t = 0; t < VT; t++)
            for (int y = y0; y < y0 + 4 && y < VY; y++)
                for (int x = x0; x < x0 + 4 && x < VX; x++)
                    raster[n++] = (t * VY + y) * VX + x;
    }
    first[CUBES] = n;
}

typedef double means[CUBES][3][VHEADS][VDIM]; /* of q, k and v over a cube */

static void pool(means m, const layer *l, const int *first)
{
    for (int c = 0; c < CUBES; c++)
        for (int i = 0; i < 3 * VHEADS * VDIM; i++) {
            double sum = 0;
            for (int n = first[c]; n < first[c + 1]; n++)
                sum += (double)l->q[n * l->q_step + i];
            (&m[c][0][0][0])[i] = sum / (first[c + 1] - first[c]);
        }
}

/* Attention of cube q over cubes: out, and the TOP cubes that it scores highest. */
static void coarse(means m, int h, int q, double *out, bool *row)
{
    double score[CUBES] = {0}, sum = 0;
    for (int k = 0; k < CUBES; k++) {
        for (int d = 0; d < VDIM; d++)
            score[k] += m[q][0][h][d] * m[k][1][h][d] / sqrt(VDIM);
        sum += exp(score[k]);
    }
    for (int d = 0; d < VDIM; d++)
        out[d] = 0;
    for (int k = 0; k < CUBES; k++)
        for (int d = 0; d < VDIM; d++)
            out[d] += exp(score[k]) / sum * m[k][2][h][d];
    memset(row, 0, CUBES * sizeof *row);
    for (int n = 0; n < TOP; n++) {
        int best = -1;
        for (int k = 0; k < CUBES; k++)
            if (!row[k] && (best < 0 || score[k] > score[best]))
                best = k;
        row[best] = true;
    }
}

/* The library's attention over means that are rounded to f32. */
static void check_coarse(means m)
{
    layer l = layer_new("vsa, coarse", VHEADS, VDIM, CUBES, 1);
    map   all = map_ids(1, CUBES);
    for (int i = 0; i < CUBES * 3 * VHEADS * VDIM; i++)
        l.q[i] = (float)(&m[0][0][0][0])[i];
    for (int h = 0; h < VHEADS; h++)
        brute(&l, h, CUBES, all.at, CUBES, all.at, NULL);
    oriel_attn    a = {.heads = VHEADS, .dim = VDIM, .extent = {1, CY, CX}};
    oriel_attn_io io = layer_io(&l, 1, CY, CX);
    CHECK(layer_check(&l, &a, &io, 0));
}

/* Rows of the raster in place of those of the cubes, in every array of the layer. */
static void to_raster(layer *l, const int *raster)
{
    layer r = layer_new(l->name, VHEADS, VDIM, VSA, 1);
    for (int i = 0; i < VSA; i++) {
        memcpy(r.q + raster[i] * r.q_step, l->q + i * l->q_step, 3 * VHEADS * VDIM * sizeof *r.q);
        memcpy(r.want + raster[i] * VHEADS * VDIM, l->want + i * VHEADS * VDIM, VHEADS * VDIM * sizeof *r.want);
        for (int h = 0; h < VHEADS; h++) {
            int from = i * VHEADS + h, to = raster[i] * VHEADS + h;
            r.want_lse[to] = l->want_lse[from], r.bound[to] = l->bound[from], r.times[to] = l->times[from];
        }
    }
    *l = r;
}

/* Cubes as blocks of a list, each filled up to 64 tokens. */
static layer to_padded(const layer *l, const int *first, int32_t *valid)
{
    layer r = layer_new("vsa, padded", VHEADS, VDIM, CUBES * CUBE, 1);
    for (int c = 0; c < CUBES; c++) {
        int n = valid[c] = first[c + 1] - first[c];
        memcpy(r.q + c * CUBE * r.q_step, l->q + first[c] * l->q_step, (size_t)(n * 3 * VHEADS * VDIM) * sizeof *r.q);
        memcpy(r.want + c * CUBE * VHEADS * VDIM, l->want + first[c] * VHEADS * VDIM, (size_t)(n * VHEADS * VDIM) * sizeof *r.want);
        memcpy(r.want_lse + c * CUBE * VHEADS, l->want_lse + first[c] * VHEADS, (size_t)(n * VHEADS) * sizeof *r.want_lse);
        memcpy(r.bound + c * CUBE * VHEADS, l->bound + first[c] * VHEADS, (size_t)(n * VHEADS) * sizeof *r.bound);
        memcpy(r.times + c * CUBE * VHEADS, l->times + first[c] * VHEADS, (size_t)(n * VHEADS) * sizeof *r.times);
    }
    return r;
}

/* Coarse attention, whose scores list cubes for the fine one: rendered into l, in cube order, and held to
 * the oracle's coarse * gate + fine. */
static void vsa_render(layer *l, const int *first, csr *lists)
{
    static means m;
    map     all = map_ids(1, VSA);
    float  *gate = numbers(55 + 300000, VHEADS * VSA * VDIM, 2); /* (H, tokens, D) */
    double *want = take(VSA * VHEADS * VDIM, sizeof *want), out[VDIM];
    pool(m, l, first);
    for (int i = 0; i < VHEADS * CUBES; i++) {
        int  h = i / CUBES, q = i % CUBES, keys[VSA], n = 0;
        bool row[CUBES];
        coarse(m, h, q, out, row);
        csr_add(lists, row, CUBES);
        for (int k = 0; k < CUBES; k++)
            for (int j = first[k]; j < first[k + 1] && row[k]; j++)
                keys[n++] = j;
        brute(l, h, first[q + 1] - first[q], all.at + first[q], n, keys, NULL);
        for (int j = first[q]; j < first[q + 1]; j++)
            for (int d = 0; d < VDIM; d++) {
                int at = (j * VHEADS + h) * VDIM + d;
                want[at] = out[d] * (double)gate[(h * VSA + j) * VDIM + d] + l->want[at];
            }
    }
    CHECK(golden_same(l, want, 55, 0));
    check_coarse(m);
}

static void test_vsa(void)
{
    int     raster[VSA], first[CUBES + 1];
    int32_t valid[CUBES], indptr[VHEADS][CUBES + 1];
    layer   fine = layer_new("vsa", VHEADS, VDIM, VSA, 55);
    csr     lists = csr_new(VHEADS * CUBES);
    cube_order(raster, first);
    vsa_render(&fine, first, &lists);
    for (int h = 0; h < VHEADS; h++) /* a head's lists begin where the last one's end */
        memcpy(indptr[h], lists.indptr + h * CUBES, sizeof indptr[h]);
    oriel_tensor starts = oriel_tensor_of(indptr, ORIEL_I32, 3, (int64_t[]){1, VHEADS, CUBES + 1});
    oriel_tensor cubes = oriel_tensor_of(lists.indices, ORIEL_I32, 1, (int64_t[]){lists.count});
    layer        padded = to_padded(&fine, first, valid);

    to_raster(&fine, raster); /* cubes of the raster, those at its ends cut */
    oriel_attn    a = {.heads = VHEADS, .dim = VDIM, .extent = {VT, VY, VX}, .lists = true,
                       .q_block = {4, 4, 4}, .k_block = {4, 4, 4}};
    oriel_attn_io io = layer_io(&fine, VT, VY, VX);
    io.indptr = starts, io.indices = cubes;
    CHECK(layer_check(&fine, &a, &io, 0));

    /* the tiled buffer of the paper: cubes of 64, of which some are not all there */
    a = (oriel_attn){.heads = VHEADS, .dim = VDIM, .extent = {1, 1, CUBES * CUBE}, .lists = true,
                     .q_block = {1, 1, CUBE}, .k_block = {1, 1, CUBE}};
    io = layer_io(&padded, 1, 1, CUBES * CUBE);
    io.indptr = starts, io.indices = cubes;
    io.k_valid = oriel_tensor_of(valid, ORIEL_I32, 1, (int64_t[]){CUBES});
    CHECK(layer_check(&padded, &a, &io, (CUBES * CUBE - VSA) * VHEADS));
    drop();
}

int main(void)
{
    CHECK(levels_open() && golden_open());
    test_radial();
    test_vsa();
    levels_close();
    return test_end();
}
