/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of published image networks, by the library and as the papers' code does it (patterns.h):
 *   Swin (arXiv 2103.14030), Swin v2 (2111.09883), CSWin (2107.00652), CAT (2211.13654), Iwin, NAT and DiNAT (2204.07143,
 *   2209.15001).
 */
#include "patterns.h"

#include <math.h>

#include "test.h"

/* ---- windows: Swin, CSWin, CAT ------------------------------------------------------------ */

typedef struct cut {
    int wy, wx, sy, sx; /* windows and shifts */
} cut;

/* The slices of the papers' masks. Where there is no shift an axis has one region. */
static map regions(int y, int x, cut c)
{
    map m = map_new(y, x);
    int from_y[4] = {0, c.sy ? -c.wy : END, c.sy ? -c.sy : END, END};
    int from_x[4] = {0, c.sx ? -c.wx : END, c.sx ? -c.sx : END, END};
    for (int i = 0, value = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            map_slice(m, from_y[i], from_y[i + 1], from_x[j], from_x[j + 1], value++);
    return m;
}

/* Head h in shifted windows; table ((2 wy - 1)(2 wx - 1), H) as the papers index it, or NULL. */
static void windows(layer *l, int h, int y, int x, cut c, const float *table)
{
    int     n = c.wy * c.wx;
    map     id = map_windows(map_roll(map_ids(y, x), -c.sy, -c.sx), c.wy, c.wx);
    map     part = map_windows(regions(y, x, c), c.wy, c.wx);
    double *add = take((size_t)n * (size_t)n, sizeof *add);
    for (int g = 0; g < id.y; g++) {
        const int *in = part.at + g * n;
        for (int i = 0; i < n * n; i++) {
            int q = i / n, k = i % n, dy = q / c.wx - k / c.wx, dx = q % c.wx - k % c.wx;
            int index = (dy + c.wy - 1) * (2 * c.wx - 1) + dx + c.wx - 1;
            add[i] = (table ? (double)table[index * l->heads + h] : 0) + (in[q] != in[k] ? -100 : 0);
        }
        brute(l, h, n, id.at + g * n, n, id.at + g * n, add);
    }
}

static oriel_axis block(int size, int shift)
{
    return (oriel_axis){.kind = ORIEL_AXIS_BLOCK, .size = size, .shift = shift};
}

/* Swin, SwinIR: the table is read where the checkpoint has it, (offsets, H). */
static void test_swin(const char *name, int y, int x, int heads, int dim, int w, int shift)
{
    int           across = 2 * w - 1;
    layer         l = layer_new(name, heads, dim, y * x, 10);
    float        *table = numbers(11, across * across * heads, 2);
    oriel_attn    a = {.heads = heads, .dim = dim, .extent = {1, y, x}, .bias = ORIEL_BIAS_OFFSET,
                       .axis = {{0}, block(w, shift), block(w, shift)}};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    for (int h = 0; h < heads; h++)
        windows(&l, h, y, x, (cut){w, w, shift, shift}, table);
    io.bias = oriel_tensor_of(table, ORIEL_F32, 4, (int64_t[]){heads, 1, across, across});
    io.bias.stride[0] = 1, io.bias.stride[2] = across * heads, io.bias.stride[3] = heads;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* The continuous position bias of Swin v2: 16 sigmoid(MLP(log-spaced offsets)), (offsets, H). */
static void log_bias(float *table, int w, int trained, int heads)
{
    enum { HIDDEN = 64 };
    int    across = 2 * w - 1;
    float *in = numbers(14, HIDDEN * 3, 1), *out = numbers(15, heads * HIDDEN, 0.5);
    for (int i = 0; i < across * across * heads; i++) {
        int    offset = i / heads, h = i % heads, d[2] = {offset / across - w + 1, offset % across - w + 1};
        double c[2], sum = 0;
        for (int k = 0; k < 2; k++) {
            double x = 8.0 * d[k] / (trained - 1);
            c[k] = copysign(log2(fabs(x) + 1) / log2(8), x);
        }
        for (int k = 0; k < HIDDEN; k++)
            sum += (double)out[h * HIDDEN + k] *
                   fmax((double)in[k * 3] * c[0] + (double)in[k * 3 + 1] * c[1] + (double)in[k * 3 + 2], 0);
        table[i] = (float)(16 / (1 + exp(-sum)));
    }
}

/* Rows of q and k divided by their lengths, a temperature for each head that is at most 100. */
static void test_swin2(const char *name, int y, int x, int heads, int dim, int w, int shift, int trained)
{
    int           across = 2 * w - 1;
    layer         l = layer_new(name, heads, dim, y * x, 12);
    float        *table = take((size_t)(across * across * heads), sizeof *table), *scales = take((size_t)heads, sizeof *scales);
    oriel_attn    a = {.heads = heads, .dim = dim, .extent = {1, y, x}, .bias = ORIEL_BIAS_OFFSET, .cosine = true,
                       .axis = {{0}, block(w, shift), block(w, shift)}};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    log_bias(table, w, trained, heads);
    l.cosine = true;
    for (int h = 0; h < heads; h++) {
        double logit_scale = h == 0 ? 7 : log(10) + h; /* the first one is clamped */
        l.scale[h] = exp(fmin(logit_scale, log(1 / 0.01)));
        scales[h] = (float)l.scale[h];
        windows(&l, h, y, x, (cut){w, w, shift, shift}, table);
    }
    io.scales = oriel_tensor_of(scales, ORIEL_F32, 1, (int64_t[]){heads});
    io.bias = oriel_tensor_of(table, ORIEL_F32, 4, (int64_t[]){heads, 1, across, across});
    io.bias.stride[0] = 1, io.bias.stride[2] = across * heads, io.bias.stride[3] = heads;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* Half of the heads in windows a, half in windows b, each with a table of its own if there is one: CSWin's
 * stripes, CAT's rectangles and axial stripes. */
static void test_halves(const char *name, int y, int x, cut first, cut second, bool bias)
{
    enum { HEADS = 4, DIM = 24 };
    int        ty = 2 * (first.wy > second.wy ? first.wy : second.wy) - 1;
    int        tx = 2 * (first.wx > second.wx ? first.wx : second.wx) - 1;
    layer      l = layer_new(name, HEADS, DIM, y * x, 20);
    float     *all = numbers(23, HEADS * ty * tx, 500); /* what is not of the window must not be read */
    oriel_axis axes[HEADS][3] = {{{0}}};
    oriel_attn a = {.heads = HEADS, .dim = DIM, .extent = {1, y, x}, .bias = bias ? ORIEL_BIAS_OFFSET : ORIEL_BIAS_NONE};
    for (int h = 0; h < HEADS; h++) {
        cut    c = h < HEADS / 2 ? first : second;
        int    by = 2 * c.wy - 1, bx = 2 * c.wx - 1;
        float *table = numbers(21 + (h >= HEADS / 2), by * bx * HEADS, 2);
        windows(&l, h, y, x, c, bias ? table : NULL);
        axes[h][1] = block(c.wy, c.sy);
        axes[h][2] = block(c.wx, c.sx);
        for (int i = 0; i < by * bx; i++) /* in the middle of the common size */
            all[(h * ty + (ty - by) / 2 + i / bx) * tx + (tx - bx) / 2 + i % bx] = table[i * HEADS + h];
    }
    oriel_attn_io io = layer_io(&l, 1, y, x);
    io.axes = axes[0];
    if (bias)
        io.bias = oriel_tensor_of(all, ORIEL_F32, 4, (int64_t[]){HEADS, 1, ty, tx});
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- Iwin: windows of tokens that lie n / w apart ----------------------------------------- */

static void test_iwin(int y, int x, int w)
{
    enum { HEADS = 2, DIM = 16 };
    int   n = w * w;
    layer l = layer_new("iwin", HEADS, DIM, y * x, 30);
    map   id = map_windows(map_interleave(map_ids(y, x), w, w), w, w);
    for (int g = 0; g < id.y * HEADS; g++)
        brute(&l, g % HEADS, n, id.at + g / HEADS * n, n, id.at + g / HEADS * n, NULL);
    oriel_attn a = {.heads = HEADS, .dim = DIM, .extent = {1, y, x}};
    for (int i = 1; i < 3; i++)
        a.axis[i] = (oriel_axis){.kind = ORIEL_AXIS_NEIGHBOR, .size = w, .stride = w, .dilation = (i == 1 ? y : x) / w};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

/* ---- NAT, DiNAT --------------------------------------------------------------------------- */

/* The k keys of a dilated neighbourhood, clamped inside the tokens of i's phase. */
static int first_key(int i, int n, int k, int d)
{
    int phase = i % d, len = (n - phase + d - 1) / d, first = i / d - k / 2;
    first = first < 0 ? 0 : first > len - k ? len - k : first;
    return phase + first * d;
}

/* rpb (H, 2k - 1, 2k - 1) is indexed by key - query: the library reads it backwards. */
static void test_nat(const char *name, int y, int x, int k, int dy, int dx)
{
    enum { HEADS = 3, DIM = 32 };
    int     across = 2 * k - 1;
    layer   l = layer_new(name, HEADS, DIM, y * x, 40);
    float  *rpb = numbers(41, HEADS * across * across, 2);
    double *add = take((size_t)(k * k), sizeof *add);
    int    *keys = take((size_t)(k * k), sizeof *keys);
    for (int n = 0; n < y * x * HEADS; n++) {
        int q = n / HEADS, h = n % HEADS, fy = first_key(q / x, y, k, dy), fx = first_key(q % x, x, k, dx);
        for (int i = 0; i < k * k; i++) {
            int ky = fy + i / k * dy, kx = fx + i % k * dx;
            keys[i] = ky * x + kx;
            add[i] = rpb[(h * across + (ky - q / x) / dy + k - 1) * across + (kx - q % x) / dx + k - 1];
        }
        brute(&l, h, 1, &q, k * k, keys, add);
    }
    oriel_attn    a = {.heads = HEADS, .dim = DIM, .extent = {1, y, x}, .bias = ORIEL_BIAS_OFFSET,
                       .axis = {{0}, {.kind = ORIEL_AXIS_NEIGHBOR, .size = k, .dilation = dy},
                                {.kind = ORIEL_AXIS_NEIGHBOR, .size = k, .dilation = dx}}};
    oriel_attn_io io = layer_io(&l, 1, y, x);
    io.bias = oriel_tensor_of(rpb + across * across - 1, ORIEL_F32, 4, (int64_t[]){HEADS, 1, across, across});
    io.bias.stride[2] = -across, io.bias.stride[3] = -1;
    CHECK(layer_check(&l, &a, &io, 0));
    drop();
}

int main(void)
{
    CHECK(levels_open());
    test_swin("swin 7", 14, 21, 3, 32, 7, 0);
    test_swin("swin 7, shifted", 14, 21, 3, 32, 7, 3);
    test_swin("swin 12, shifted", 24, 36, 2, 32, 12, 6);
    test_swin("swinir 8", 16, 24, 2, 30, 8, 0);
    test_swin("swinir 8, shifted", 24, 16, 6, 10, 8, 4);
    test_swin("hat 16, shifted", 32, 48, 1, 30, 16, 8);
    test_swin("drct 16, dim 122", 32, 32, 2, 122, 16, 8);
    test_swin2("swin v2 8", 16, 24, 3, 32, 8, 0, 8);
    test_swin2("swin v2 8, shifted", 24, 16, 2, 32, 8, 4, 8);
    test_swin2("swin v2 24 of 12, shifted", 48, 24, 1, 32, 24, 12, 12);
    test_swin2("swin2sr 8, shifted", 24, 16, 6, 10, 8, 4, 8);
    test_halves("cswin 2", 14, 12, (cut){14, 2, 0, 0}, (cut){2, 12, 0, 0}, false);
    test_halves("cswin 7", 14, 28, (cut){14, 7, 0, 0}, (cut){7, 28, 0, 0}, false);
    test_halves("cat 4x16", 32, 48, (cut){4, 16, 0, 0}, (cut){16, 4, 0, 0}, true);
    test_halves("cat 4x16, shifted", 32, 48, (cut){4, 16, 2, 8}, (cut){16, 4, 8, 2}, true);
    test_halves("cat axial 4", 16, 24, (cut){16, 4, 0, 0}, (cut){4, 24, 0, 0}, true);
    test_halves("cat axial 4, shifted", 16, 24, (cut){16, 4, 0, 2}, (cut){4, 24, 2, 0}, true);
    test_iwin(28, 21, 7);
    test_iwin(16, 24, 4);
    test_iwin(7, 14, 7);
    test_nat("nat 7", 19, 23, 7, 1, 1);
    test_nat("dinat 7, dilation 2, 3", 19, 23, 7, 2, 3);
    test_nat("nat 11", 11, 14, 11, 1, 1);
    levels_close();
    return test_end();
}
