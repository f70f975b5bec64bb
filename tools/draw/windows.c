/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pictures of doc/attention.md: which keys some queries see, pattern by pattern.
 *
 *     draw_windows DIRECTORY        writes NAME.png for each pattern
 *
 * Nothing here knows the law. With q = 0 all keys of a window weigh the same, and with values that are 1 for
 * one key and 0 for the others, what comes out is 0 unless that key was seen; so the pictures show what
 * oriel_attn_run() does. A row of panels is the frames of a clip; rows are queries (orange), or heads.
 */
#include <oriel/attn.h>
#include <oriel/vision.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(n, ...) {.kind = ORIEL_AXIS_NEIGHBOR, .size = n, __VA_ARGS__}
#define BLOCK(n, ...) {.kind = ORIEL_AXIS_BLOCK, .size = n, __VA_ARGS__}
#define SLIDE(l, r) {.kind = ORIEL_AXIS_SLIDE, .left = l, .right = r}

enum { QUERIES = 3, GAP = 14, DIM = 256 };

typedef struct pattern {
    const char *name;
    oriel_attn  a;
    oriel_axis  axes[2][3];         /* of two heads, if heads is 2 */
    int         query[QUERIES][3];  /* T, Y, X */
    bool        seedvr, radial, cubes;
} pattern;

#define CORNER_MIDDLE_EDGE {{0, 0, 1}, {0, 9, 7}, {0, 14, 17}}

static const pattern patterns[] = {
    {"neighborhood", {.extent = {1, 20, 20}, .axis = {{0}, NEAR(7, 0), NEAR(7, 0)}}, .query = CORNER_MIDDLE_EDGE},
    {"dilated", {.extent = {1, 20, 20}, .axis = {{0}, NEAR(5, .dilation = 3), NEAR(5, .dilation = 3)}}, .query = CORNER_MIDDLE_EDGE},
    {"strided", {.extent = {1, 20, 20}, .axis = {{0}, NEAR(9, .stride = 4), NEAR(9, .stride = 4)}}, .query = {{0, 0, 1}, {0, 8, 8}, {0, 11, 11}}},
    {"causal", {.extent = {1, 20, 20}, .axis = {{0}, NEAR(7, .causal = true), NEAR(7, 0)}}, .query = CORNER_MIDDLE_EDGE},
    {"neighborhood-3d", {.extent = {6, 14, 14}, .axis = {NEAR(3, .causal = true), NEAR(5, 0), NEAR(5, 0)}}, .query = {{1, 1, 0}, {3, 6, 7}, {5, 12, 13}}},
    {"sliding-tile", {.extent = {8, 20, 20}, .axis = {NEAR(6, .stride = 2), NEAR(12, .stride = 4), NEAR(12, .stride = 4)}}, .query = {{0, 0, 1}, {4, 9, 9}, {7, 17, 18}}},
    {"swin", {.extent = {1, 20, 20}, .axis = {{0}, BLOCK(5, 0), BLOCK(5, 0)}}, .query = CORNER_MIDDLE_EDGE},
    {"swin-shifted", {.extent = {1, 20, 20}, .axis = {{0}, BLOCK(5, .shift = 2), BLOCK(5, .shift = 2)}}, .query = {{0, 0, 1}, {0, 9, 7}, {0, 14, 18}}},
    {"overlapping", {.extent = {1, 20, 20}, .axis = {{0}, BLOCK(10, .left = 3, .right = 3), BLOCK(5, .left = 2, .right = 2)}}, .query = CORNER_MIDDLE_EDGE},
    {"stripes", {.heads = 2, .extent = {1, 20, 20}}, .axes = {{{0}, BLOCK(2, 0), {0}}, {{0}, {0}, BLOCK(2, 0)}}, .query = {{0, 9, 7}, {0, 14, 18}, {0, 0, 1}}},
    {"pooled", {.extent = {1, 20, 20}, .axis = {{0}, BLOCK(10, 0), BLOCK(10, 0)}, .pool = {1, 2, 2}}, .query = CORNER_MIDDLE_EDGE},
    {"frames", {.extent = {6, 10, 10}, .axis = {SLIDE(2, 0), {0}, {0}}}, .query = {{0, 4, 4}, {3, 4, 4}, {5, 9, 0}}},
    {"seedvr", {.extent = {6, 18, 32}}, .query = {{0, 1, 1}, {2, 8, 16}, {5, 16, 30}}, .seedvr = true},
    {"radial", {.extent = {8, 8, 8}, .lists = true, .q_block = {1, 2, 8}, .k_block = {1, 2, 8}}, .query = {{0, 1, 1}, {3, 4, 4}, {7, 7, 7}}, .radial = true},
    {"cubes", {.extent = {6, 12, 12}, .lists = true, .q_block = {2, 4, 4}, .k_block = {2, 4, 4}}, .query = {{0, 1, 1}, {2, 6, 6}, {5, 11, 11}}, .cubes = true},
};

static void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        exit((perror("draw_windows"), 1));
    return p;
}

/* ---- what is seen ------------------------------------------------------------------------- */

/* Lists for the two patterns that need them: all blocks of near frames and fewer of far ones, as radial
 * attention thins them; or the block itself and some that a search might have chosen. */
static int lists(const pattern *p, int32_t *indptr, int32_t *indices)
{
    int each[3], blocks = 1, n = 0;
    for (int x = 0; x < 3; x++)
        blocks *= each[x] = p->a.extent[x] / p->a.q_block[x];
    for (int i = 0; i < blocks; i++) {
        indptr[i] = n;
        for (int k = 0; k < blocks; k++) {
            int frames = abs(i / (each[1] * each[2]) - k / (each[1] * each[2]));
            int rows = abs(i / each[2] % each[1] - k / each[2] % each[1]);
            if (p->radial ? (frames < 2 || (frames < 4 && rows < 2) || rows == 0) : (i == k || (uint32_t)(i * blocks + k) * 2654435761u >> 29 == 0))
                indices[n++] = k;
        }
    }
    indptr[blocks] = n;
    return blocks;
}

/* seen[(query, head), key] for all queries */
static int see(oriel_device *dev, const pattern *p, const oriel_attn *a, int nq, int nk, const int64_t q_shape[6],
               const int64_t k_shape[6], uint8_t *seen)
{
    int           heads = a->heads ? a->heads : 1;
    float        *q = room((size_t)nq * (size_t)heads, sizeof *q), *k = room((size_t)nk * (size_t)heads, sizeof *k);
    float        *v = room((size_t)nk * (size_t)heads * DIM, sizeof *v);
    float        *out = room((size_t)nq * (size_t)heads * DIM, sizeof *out);
    int64_t       v_shape[6], out_shape[6];
    int32_t       indptr[513], *indices = room(512 * 512, sizeof *indices);
    oriel_attn_io io = {.q = oriel_tensor_of(q, ORIEL_F32, 6, q_shape), .k = oriel_tensor_of(k, ORIEL_F32, 6, k_shape)};
    memcpy(v_shape, k_shape, sizeof v_shape);
    memcpy(out_shape, q_shape, sizeof out_shape);
    v_shape[5] = out_shape[5] = DIM;
    io.v = oriel_tensor_of(v, ORIEL_F32, 6, v_shape);
    io.out = oriel_tensor_of(out, ORIEL_F32, 6, out_shape);
    io.axes = heads > 1 ? p->axes[0] : NULL;
    if (a->lists) {
        int blocks = lists(p, indptr, indices);
        io.indptr = oriel_tensor_of(indptr, ORIEL_I32, 3, (const int64_t[]){1, 1, blocks + 1});
        io.indices = oriel_tensor_of(indices, ORIEL_I32, 1, (const int64_t[]){indptr[blocks]});
    }
    int bad = 0;
    for (int first = 0; first < nk && !bad; first += DIM) {
        memset(v, 0, (size_t)nk * (size_t)heads * DIM * sizeof *v);
        for (int i = first; i < nk && i < first + DIM; i++)
            for (int h = 0; h < heads; h++)
                v[((size_t)i * (size_t)heads + (size_t)h) * DIM + (size_t)(i - first)] = 1;
        bad = oriel_attn_run(dev, a, &io) != ORIEL_OK;
        for (int row = 0; row < nq * heads; row++)
            for (int i = first; i < nk && i < first + DIM; i++)
                seen[(size_t)row * (size_t)nk + (size_t)i] = out[(size_t)row * DIM + (size_t)(i - first)] > 0;
    }
    free(q);
    free(k);
    free(v);
    free(out);
    free(indices);
    return bad;
}

/* ---- the picture -------------------------------------------------------------------------- */

static void square(const oriel_image *img, int x0, int y0, int side, const uint8_t rgb[3])
{
    for (int y = y0; y < y0 + side - 1; y++)
        for (int x = x0; x < x0 + side - 1; x++)
            memcpy((uint8_t *)img->data + 3 * ((size_t)y * (size_t)img->width + (size_t)x), rgb, 3);
}

static int draw(oriel_device *dev, const pattern *p, const char *directory)
{
    static const uint8_t away[3] = {226, 228, 232}, blue[3] = {62, 118, 190}, orange[3] = {240, 130, 20};
    oriel_attn a = p->a;
    int        n[3], kn[3], heads = a.heads ? a.heads : 1, rows = heads > 1 ? heads : QUERIES;
    a.dim = 1;
    a.dim_v = DIM;
    if (p->seedvr)
        oriel_seedvr_windows(a.axis, a.extent, true);
    for (int x = 0; x < 3; x++) {
        n[x] = a.extent[x];
        kn[x] = a.pool[x] ? n[x] / a.pool[x] : n[x];
    }
    int            nq = n[0] * n[1] * n[2], nk = kn[0] * kn[1] * kn[2];
    int            across = n[0] > 1 ? n[0] : QUERIES, down = n[0] > 1 || heads > 1 ? rows : 1;
    const int64_t  q_shape[6] = {1, n[0], n[1], n[2], heads, 1}, k_shape[6] = {1, kn[0], kn[1], kn[2], heads, 1};
    uint8_t       *seen = room((size_t)nq * (size_t)heads, (size_t)nk);
    int            cell = n[0] > 1 ? 6 : 10, panel_x = n[2] * cell + GAP, panel_y = n[1] * cell + GAP;
    oriel_image    img = {.width = across * panel_x + GAP, .height = down * panel_y + GAP, .channels = 3, .depth = 8};
    char           path[4096];
    size_t         bytes = (size_t)img.width * (size_t)img.height * 3;
    int            bad = see(dev, p, &a, nq, nk, q_shape, k_shape, seen);
    memset(img.data = room(bytes, 1), 255, bytes);
    for (int panel = 0; panel < across * down && !bad; panel++) {
        int        column = panel % across, row = panel / across;
        int        head = heads > 1 ? row : 0, frame = n[0] > 1 ? column : 0;
        const int *at = p->query[n[0] > 1 ? row : column];
        int        i = (at[0] * n[1] + at[1]) * n[2] + at[2];
        for (int y = 0; y < n[1]; y++)
            for (int x = 0; x < n[2]; x++) {
                int  key = (frame * kn[1] + y * kn[1] / n[1]) * kn[2] + x * kn[2] / n[2];
                bool self = frame == at[0] && y == at[1] && x == at[2];
                square(&img, GAP + column * panel_x + x * cell, GAP + row * panel_y + y * cell, cell,
                       self ? orange : seen[((size_t)i * (size_t)heads + (size_t)head) * (size_t)nk + (size_t)key] ? blue : away);
            }
    }
    snprintf(path, sizeof path, "%s/%s.png", directory, p->name);
    if (!bad)
        bad = oriel_image_write(&img, path, &(oriel_image_write_options){.overwrite = true, .compression = 9}) != ORIEL_OK;
    if (bad)
        fprintf(stderr, "draw_windows: %s: %s\n", p->name, oriel_error());
    free(img.data);
    free(seen);
    return bad;
}

int main(int argc, char **argv)
{
    oriel_device *dev;
    int           bad = 0;
    if (argc != 2)
        return fprintf(stderr, "usage: draw_windows DIRECTORY\n"), 2;
    if (oriel_device_open(&dev, NULL))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        bad |= draw(dev, &patterns[i], argv[1]);
    oriel_device_free(&dev);
    return bad;
}
