/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of video networks, by the library and as published (patterns.h): sliding tiles with text
 * (arXiv 2502.04507), SeedVR's windows (2501.01320), FreeSwim, radial attention (2506.19852), VSA
 * (2505.13389), 3-D rotary positions. The published side is held to golden/patterns.{txt,bin}, which the
 * project's oracle in Python wrote.
 */
#include "patterns.h"

#include <math.h>
#include <oriel/kv.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "test.h"

/* ---- the rules ---------------------------------------------------------------------------- */

/* Does tile q of a row of n see tile t through a window of k? The window slides inward at the ends. */
static bool sta_sees(int q, int n, int k, int t)
{
    int r = k / 2, c = q < r ? r : q > n - 1 - r ? n - 1 - r : q;
    return k >= n || abs(c - t) <= r;
}

/* d to either side, what is missing at one end is added at the other. */
static bool freeswim_sees(int q, int n, int d, int t)
{
    int low = q - d - (d + q - n + 1 > 0 ? d + q - n + 1 : 0), high = q + d + (d - q > 0 ? d - q : 0);
    return t >= low && t <= high;
}

/* The size of windows at 4, 3, 3 on 45 x 80; round is half to even. */
static void seedvr_size(const int n[3], int size[3])
{
    double s = sqrt(45 * 80 / ((double)n[1] * n[2]));
    size[0] = ((n[0] < 30 ? n[0] : 30) + 3) / 4;
    size[1] = (int)ceil(rint(n[1] * s) / 3);
    size[2] = (int)ceil(rint(n[2] * s) / 3);
}

/* Ends of the windows along an axis; how many. Shifted by half a window, where there are several. */
static int seedvr_ends(int n, int size, bool shifted, int *end)
{
    double half = shifted && size < n ? 0.5 : 0;
    int    count = 0, most = half > 0 ? (int)ceil((n - half) / size) + 1 : shifted ? 1 : (n + size - 1) / size;
    for (int i = 0; i < most; i++) {
        int low = (int)fmax(trunc((i - half) * size), 0), high = (int)fmin(trunc((i - half + 1) * size), n);
        if (high > low)
            end[count++] = high;
    }
    return count;
}

enum { ROW = 128 };

/* The numbers of a line after its word; how many. */
static int read_line(const char *line, double *x)
{
    int n = 0, used;
    for (line += strcspn(line, " "); n < ROW && sscanf(line, "%lf%n", &x[n], &used) == 1; line += used)
        n++;
    return n;
}

/* Ends of the library's blocks; how many. */
static int ends_of(oriel_axis a, int n, int *end)
{
    int count = 0, size = a.kind == ORIEL_AXIS_FULL || !a.size ? n : a.size;
    for (int e = a.shift ? a.shift : size; ; e += size) {
        end[count++] = e < n ? e : n;
        if (e >= n)
            return count;
    }
}

static bool same_row(const char *line, const double *x, int n)
{
    int        v[ROW] = {0}, at = 10, size[3], end[3][64], own[64];
    oriel_axis axes[3];
    for (int i = 0; i < n; i++)
        v[i] = (int)x[i];
    if (!strncmp(line, "radial", 6))
        return n == 7 && v[6] == radial_width(v[0], v[1], v[2], v[3], x[4], v[5]);
    if (strncmp(line, "seedvr", 6) != 0) {
        bool good = n == 5, tile = line[0] == 's'; /* n k q low high, or n d q low high */
        for (int t = 0; t < v[0]; t++)
            good &= (tile ? sta_sees(v[2], v[0], v[1], t) : freeswim_sees(v[2], v[0], v[1], t)) == (t >= v[3] && t < v[4]);
        return good;
    }
    seedvr_size(v, size);
    oriel_seedvr_windows(axes, v, v[3]);
    bool good = !memcmp(size, v + 4, sizeof size);
    for (int axis = 0; axis < 3; axis++) {
        int count = seedvr_ends(v[axis], size[axis], v[3], end[axis]);
        good &= count == v[7 + axis];
        for (int i = 0; i < count; i++)
            good &= at < n && end[axis][i] == v[at++];
        good &= ends_of(axes[axis], v[axis], own) == count && !memcmp(own, end[axis], (size_t)count * sizeof *own);
    }
    return good && at == n;
}

static void test_rules(void)
{
    FILE  *f = fopen("tests/golden/patterns.txt", "r");
    char   line[512];
    int    lines = 0;
    double x[ROW];
    while (f && fgets(line, sizeof line, f)) {
        bool same = same_row(line, x, read_line(line, x));
        lines++;
        CHECK(same);
        if (!same)
            fprintf(stderr, "%s", line);
    }
    CHECK_INT(lines, ==, 702);
    if (f)
        fclose(f);
}

/* ---- sliding tiles ------------------------------------------------------------------------ */

enum { TEXT = 11, VALID = 7 };

/* Image queries see the tiles of their window and the valid text, text queries all images and the same. */
static void sta_render(layer *l, const int grid[3], const int tile[3], int window[][3])
{
    int n = l->tokens - TEXT, *keys = take((size_t)l->tokens, sizeof *keys);
    for (int i = 0; i < l->tokens * l->heads; i++) {
        int q = i / l->heads, h = i % l->heads, count = 0;
        int at[3] = {q / grid[2] / grid[1], q / grid[2] % grid[1], q % grid[2]};
        for (int k = 0; k < n; k++) {
            int  to[3] = {k / grid[2] / grid[1], k / grid[2] % grid[1], k % grid[2]};
            bool sees = true;
            for (int x = 0; x < 3 && q < n; x++)
                sees &= sta_sees(at[x] / tile[x], grid[x] / tile[x], window[h][x], to[x] / tile[x]);
            if (sees)
                keys[count++] = k;
        }
        for (int k = n; k < n + VALID; k++)
            keys[count++] = k;
        brute(l, h, 1, &q, count, keys, NULL);
    }
}

static void test_sta(void)
{
    enum { HEADS = 3, N = 6 * 8 * 9 };
    const int  grid[3] = {6, 8, 9}, tile[3] = {2, 2, 3};
    int        window[HEADS][3] = {{3, 1, 3}, {1, 3, 3}, {3, 4, 1}}; /* in tiles; 4 is the whole axis */
    oriel_axis axes[HEADS][3];
    layer      l = layer_new("sta, text", HEADS, 24, N + TEXT, 50);
    sta_render(&l, grid, tile, window);
    CHECK(golden_same(&l, l.want, 50, l.tokens));
    for (int i = 0; i < HEADS * 3; i++)
        axes[i / 3][i % 3] = (oriel_axis){.kind = ORIEL_AXIS_NEIGHBOR, .stride = tile[i % 3],
                                          .size = window[i / 3][i % 3] * tile[i % 3]};
    oriel_attn    a = {.heads = HEADS, .dim = 24, .extent = {6, 8, 9}, .extra = VALID, .text = TEXT};
    oriel_attn_io io = layer_io(&l, 6, 8, 9);
    io.axes = axes[0];
    io.extra_k = layer_list(&l, l.k, l.k_step, N, VALID);
    io.extra_v = layer_list(&l, l.v, l.k_step, N, VALID);
    io.text_q = layer_list(&l, l.q, l.q_step, N, TEXT);
    io.text_out = layer_list(&l, l.out, l.heads * l.dim, N, TEXT);
    io.text_lse = layer_lse(&l, N, TEXT);
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- SeedVR ------------------------------------------------------------------------------- */

/* Tokens of the window that ends at e in rows of ends; how many. */
static int box_tokens(const int n[3], int end[3][64], const int e[3], int *ids)
{
    int count = 0, low[3];
    for (int x = 0; x < 3; x++)
        low[x] = e[x] ? end[x][e[x] - 1] : 0;
    for (int t = low[0]; t < end[0][e[0]]; t++)
        for (int y = low[1]; y < end[1][e[1]]; y++)
            for (int x = low[2]; x < end[2][e[2]]; x++)
                ids[count++] = (t * n[1] + y) * n[2] + x;
    return count;
}

/* Each window attends to itself and the text, the text to each window and itself, of which the mean counts. */
static void seedvr_render(layer *l, const int n[3], const int size[3], bool shifted, int text)
{
    int end[3][64], many[3], *ids = take((size_t)l->tokens, sizeof *ids), first = l->tokens - text;
    for (int x = 0; x < 3; x++)
        many[x] = seedvr_ends(n[x], size[x], shifted, end[x]);
    int all = many[0] * many[1] * many[2];
    for (int w = 0; w < all; w++) {
        int e[3] = {w / many[2] / many[1], w / many[2] % many[1], w % many[2]};
        int count = box_tokens(n, end, e, ids);
        for (int i = 0; i < text; i++)
            ids[count + i] = first + i;
        for (int h = 0; h < l->heads; h++)
            brute(l, h, count + text, ids, count + text, ids, NULL);
    }
    for (int i = first * l->heads; i < l->tokens * l->heads; i++) {
        l->times[i] -= all - 1;
        l->want_lse[i] = 0; /* a mean has none */
        for (int d = 0; d < l->dim; d++)
            l->want[i * l->dim + d] /= all;
    }
}

static void test_seedvr(bool shifted)
{
    enum { HEADS = 1, DIM = 8, S = 6, N = 5 * 30 * 53 };
    const int n[3] = {5, 30, 53};
    int       size[3];
    layer     l = layer_new(shifted ? "seedvr, shifted" : "seedvr", HEADS, DIM, N + S, 51 + shifted);
    seedvr_size(n, size);
    seedvr_render(&l, n, size, shifted, S);
    CHECK(golden_same(&l, l.want, 51 + shifted, N));
    oriel_attn a = {.heads = HEADS, .dim = DIM, .extent = {5, 30, 53}, .extra = S, .text = S,
                    .text_mode = ORIEL_TEXT_WINDOWS};
    oriel_seedvr_windows(a.axis, n, shifted);
    oriel_attn_io io = layer_io(&l, 5, 30, 53);
    io.extra_k = layer_list(&l, l.k, l.k_step, N, S);
    io.extra_v = layer_list(&l, l.v, l.k_step, N, S);
    io.text_q = layer_list(&l, l.q, l.q_step, N, S);
    io.text_out = layer_list(&l, l.out, HEADS * DIM, N, S);
    l.no_lse = N;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- FreeSwim ----------------------------------------------------------------------------- */

static void test_freeswim(void)
{
    enum { HEADS = 2, DIM = 16, T = 3, Y = 9, X = 13, DY = 2, DX = 4 };
    layer l = layer_new("freeswim", HEADS, DIM, T * Y * X, 53);
    int   keys[T * Y * X];
    for (int h = 0; h < HEADS; h++)
        l.scale[h] = sqrt(log(3120) / log(1560) / DIM);
    for (int i = 0; i < T * Y * X * HEADS; i++) {
        int q = i / HEADS, count = 0;
        for (int k = 0; k < T * Y * X; k++)
            if (freeswim_sees(q / X % Y, Y, DY, k / X % Y) && freeswim_sees(q % X, X, DX, k % X))
                keys[count++] = k;
        brute(&l, i % HEADS, 1, &q, count, keys, NULL);
    }
    CHECK(golden_same(&l, l.want, 53, l.tokens));
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {T, Y, X}, .scale = (float)l.scale[0],
                       .axis = {{0}, {.kind = ORIEL_AXIS_NEIGHBOR, .size = 2 * DY + 1},
                                {.kind = ORIEL_AXIS_NEIGHBOR, .size = 2 * DX + 1}}};
    oriel_attn_io io = layer_io(&l, T, Y, X);
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- rotary positions in three axes (the frame cache turns keys and queries) --------------- */

enum { ROPE_ROWS = 4, ROPE_COLUMNS = 5, ROPE_FRAME = 1000 };

/* Pairs (x[2i], x[2i + 1]) as complex numbers times exp(i position / theta^(j / n)). */
static void rope(double *x, int dim, int token)
{
    int    third = dim / 2 / 3, many[3] = {dim / 2 - 2 * third, third, third};
    int    frame = token / (ROPE_ROWS * ROPE_COLUMNS);
    double at[3] = {ROPE_FRAME + frame, token / ROPE_COLUMNS % ROPE_ROWS, token % ROPE_COLUMNS};
    for (int axis = 0; axis < 3; axis++)
        for (int j = 0; j < many[axis]; j++, x += 2) {
            double angle = at[axis] / pow(10000, (double)j / many[axis]), re = x[0];
            x[0] = re * cos(angle) - x[1] * sin(angle);
            x[1] = re * sin(angle) + x[1] * cos(angle);
        }
}

/* Three frames far from the first, of Wan's head: 22, 21 and 21 pairs. */
static void test_rope(void)
{
    enum { HEADS = 2, DIM = 128, FRAME = ROPE_ROWS * ROPE_COLUMNS, N = 3 * FRAME };
    layer l = layer_new("rope", HEADS, DIM, N, 56);
    map   all = map_ids(1, N);
    l.turn = rope;
    for (int h = 0; h < HEADS; h++)
        brute(&l, h, N, all.at, N, all.at, NULL);
    CHECK(golden_same(&l, l.want, 56, N));
    oriel_tensor q = layer_list(&l, l.q, l.q_step, 0, N), k = layer_list(&l, l.k, l.k_step, 0, N);
    oriel_tensor v = layer_list(&l, l.v, l.k_step, 0, N), lse = layer_lse(&l, 0, N);
    oriel_tensor out = layer_list(&l, l.out, HEADS * DIM, 0, N);
    for (int i = 0; i < LEVELS * 2; i++) {
        const char     *who;
        oriel_device   *dev = level(i / 2, &who);
        oriel_kv       *kv = NULL;
        oriel_kv_config c = {.heads = HEADS, .dim = DIM, .rows = ROPE_ROWS, .columns = ROPE_COLUMNS, .window = 3,
                             .rope = i % 2 ? ORIEL_KV_ROPE_READ : ORIEL_KV_ROPE_WRITE};
        if (!dev)
            continue;
        CHECK_OK(oriel_kv_new(&kv, dev, &c));
        CHECK_OK(oriel_kv_begin(kv, ROPE_FRAME, 3));
        CHECK_OK(oriel_kv_write(kv, 0, &k, &v));
        memset(l.out, 0xff, sizeof *l.out * N * HEADS * DIM);
        CHECK_OK(oriel_kv_attend(kv, 0, &q, &out, &lse));
        CHECK(layer_compare(&l, who, 0));
        oriel_kv_free(&kv);
    }
    printf("%-28s worst %.3f of its bound\n", l.name, l.worst);
    drop();
}

int main(void)
{
    CHECK(levels_open() && golden_open());
    test_rules();
    test_sta();
    test_seedvr(false);
    test_seedvr(true);
    test_freeswim();
    test_rope();
    levels_close();
    return test_end();
}
