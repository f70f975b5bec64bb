/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention that is packed or taken apart, by the library and in double (patterns.h): sequences of other
 * lengths one after the other (cu_seqlens, as variable-length attention is called), pictures of other sizes
 * in one batch (arXiv 2307.06304), keys in parts that are merged by their log-sum-exp (a sink, a window and
 * a memory; arXiv 2309.17453, 2310.01889).
 */
#include "patterns.h"

#include <string.h>

#include "test.h"

enum { HEADS = 2, DIM = 20, MOST = 400 };

static oriel_attn_io list_io(layer *l)
{
    oriel_attn_io io = layer_io(l, 1, 1, l->tokens);
    io.k = layer_raster(l, l->k, l->k_step, 0, 1, 1, l->keys);
    io.v = layer_raster(l, l->v, l->k_step, 0, 1, 1, l->keys);
    return io;
}

/* ---- sequences, pictures ------------------------------------------------------------------ */

/* Sequences of queries and keys between the entries of cu_q and cu_k. */
static void test_lengths(const char *name, int n, const int *cu_q, const int *cu_k, bool causal)
{
    layer         l = layer_new2(name, HEADS, DIM, cu_q[n], cu_k[n], 80);
    oriel_segment segments[8] = {{{0}, {0}, {0}}};
    for (int s = 0; s < n; s++) {
        int q0 = cu_q[s], k0 = cu_k[s], nq = cu_q[s + 1] - q0, nk = cu_k[s + 1] - k0;
        segments[s] = (oriel_segment){.extent = {1, 1, nq}, .keys = {1, 1, nk}, .at = {0, 0, causal ? nk - nq : 0}};
        for (int i = 0; i < nq * HEADS; i++) {
            int q = q0 + i / HEADS, keys[MOST], count = 0;
            for (int k = 0; k < nk; k++) /* the last query sees the last key */
                if (!causal || k - (nk - nq) <= i / HEADS)
                    keys[count++] = k0 + k;
            brute(&l, i % HEADS, 1, &q, count, keys, NULL);
        }
    }
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {1, 1, cu_q[n]}, .keys = {1, 1, cu_k[n]}, .segments = n};
    oriel_attn_io io = list_io(&l);
    a.axis[2].causal = causal;
    io.segments = segments;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* Pictures of three sizes, each in windows of 4 x 4 that begin at 2, ragged at its own ends. */
static void test_pictures(void)
{
    static const int size[3][2] = {{7, 9}, {12, 4}, {5, 10}};
    oriel_segment    segments[3] = {{{0}, {0}, {0}}};
    int              all = 7 * 9 + 12 * 4 + 5 * 10, first = 0;
    layer            l = layer_new("packed pictures", HEADS, DIM, all, 82);
    for (int s = 0; s < 3; s++) {
        int ny = size[s][0], nx = size[s][1];
        segments[s] = (oriel_segment){.extent = {1, ny, nx}};
        for (int i = 0; i < ny * nx * HEADS; i++) {
            int at = i / HEADS, q = first + at, keys[MOST], count = 0;
            for (int k = 0; k < ny * nx; k++) /* windows -2 .. 1, 2 .. 5, ...: in the same one? */
                if ((at / nx + 2) / 4 == (k / nx + 2) / 4 && (at % nx + 2) / 4 == (k % nx + 2) / 4)
                    keys[count++] = first + k;
            brute(&l, i % HEADS, 1, &q, count, keys, NULL);
        }
        first += ny * nx;
    }
    oriel_axis    axis = {.kind = ORIEL_AXIS_BLOCK, .size = 4, .shift = 2};
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {1, 1, all}, .axis = {{0}, axis, axis}, .segments = 3};
    oriel_attn_io io = list_io(&l);
    io.segments = segments;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- parts that are merged ---------------------------------------------------------------- */

enum { N = 90, SINK = 7, LEFT = 8, MEMORY = 20, BLOCK = 10 }; /* keys: sink, one for each query, memory */

/* Query i sees the sink, itself and LEFT keys before, and the memory if its block is even. */
static void merge_render(layer *l)
{
    for (int i = 0; i < N * HEADS; i++) {
        int q = i / HEADS, keys[MOST], count = 0;
        for (int k = 0; k < l->keys; k++)
            if (k < SINK || (k < SINK + N ? k - SINK <= q && k - SINK >= q - LEFT : q / BLOCK % 2 == 0))
                keys[count++] = k;
        brute(l, i % HEADS, 1, &q, count, keys, NULL);
    }
    for (int i = 0; i < N * HEADS; i++) /* each part errs, and then its weight by as much */
        l->bound[i] *= 2;
}

static void test_merge(void)
{
    layer   l = layer_new2("sink, window, memory", HEADS, DIM, N, SINK + N + MEMORY, 84);
    float  *parts = take((size_t)(3 * N * HEADS * (DIM + 1)), sizeof *parts);
    int32_t indptr[N / BLOCK + 1] = {0}, indices[N / BLOCK] = {0};
    const int  first[3] = {0, SINK, SINK + N}, keys[3] = {SINK, N, MEMORY};
    oriel_attn a[3];
    merge_render(&l);
    for (int p = 0; p < 3; p++)
        a[p] = (oriel_attn){.heads = HEADS, .dim = DIM, .extent = {1, 1, N}, .keys = {1, 1, keys[p]}};
    a[1].axis[2] = (oriel_axis){.kind = ORIEL_AXIS_SLIDE, .left = LEFT};
    a[2].lists = true, a[2].q_block[2] = BLOCK;
    for (int i = 0; i < N / BLOCK; i++)
        indptr[i + 1] = indptr[i] + (i % 2 == 0);
    for (int i = 0; i < LEVELS; i++) {
        const char   *who;
        oriel_device *dev = level(i, &who);
        oriel_tensor  out[3], lse[3];
        oriel_attn_io io = list_io(&l), whole = io;
        for (int p = 0; p < 3 && dev; p++) {
            float *at = parts + p * N * HEADS * (DIM + 1);
            io.k = layer_raster(&l, l.k, l.k_step, first[p], 1, 1, keys[p]);
            io.v = layer_raster(&l, l.v, l.k_step, first[p], 1, 1, keys[p]);
            io.out = out[p] = layer_raster(&l, at, HEADS * DIM, 0, 1, 1, N);
            io.lse = lse[p] = oriel_tensor_of(at + N * HEADS * DIM, ORIEL_F32, 5, (int64_t[]){1, 1, 1, N, HEADS});
            if (p == 2) {
                io.indptr = oriel_tensor_of(indptr, ORIEL_I32, 3, (int64_t[]){1, 1, N / BLOCK + 1});
                io.indices = oriel_tensor_of(indices, ORIEL_I32, 1, (int64_t[]){indptr[N / BLOCK]});
            }
            CHECK_OK(oriel_attn_run(dev, &a[p], &io));
        }
        if (!dev)
            continue;
        CHECK_OK(oriel_attn_merge(dev, 3, out, lse, &whole.out, &whole.lse));
        CHECK(layer_compare(&l, who, 0));
        CHECK_OK(oriel_attn_merge(dev, 3, out, lse, &out[1], &lse[1])); /* in place */
        CHECK(!memcmp(out[1].data, l.out, N * HEADS * DIM * sizeof *l.out) && !memcmp(lse[1].data, l.lse, N * HEADS * sizeof *l.lse));
    }
    printf("%-28s worst %.3f of its bound\n", l.name, l.worst);
    drop();
}

int main(void)
{
    static const int q[] = {0, 5, 6, 47, 80, 91}, k[] = {0, 9, 10, 110, 143, 155};
    CHECK(levels_open());
    test_lengths("lengths", 5, q, q, false);
    test_lengths("lengths, causal", 5, q, q, true);
    test_lengths("lengths, cross", 5, q, k, false);
    test_lengths("lengths, cross, causal", 5, q, k, true);
    test_pictures();
    test_merge();
    levels_close();
    return test_end();
}
