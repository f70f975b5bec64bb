/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to tensors of RGB and back, a row at a time.
 *
 * Chroma is interpolated along one axis after the other, by halves: a co-sited sample lies on every other
 * luma sample, and what is between is the mean; a centred one lies between two luma samples, 1/4 and 3/4.
 * Beyond the border the last sample holds. Where four luma samples share one, this is done twice. Codes up
 * to 16 bits and these weights are exact in f32.
 *
 * The way back is the filter of each step that gives back what it was made of, and of other data the
 * smooth part: [-1 2 6 2 -1] / 8, mirrored at the outermost sample, for co-sited (the 5/3 wavelet's low
 * pass), and [-1 3 3 -1] / 4, mirrored behind the outermost sample, for centred. Both mirrors are what
 * keeps it exact at the border, at odd sizes too.
 *
 * Bound by memory: 12 bytes a pixel written or read, beside which a frame is small. Rows are worked on in
 * stretches that stay in the first cache. The loops are plain C that compilers vectorise, compiled once a
 * level; no level contracts products and sums, so the bits are the same on all.
 */
#include "video/convert.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    STRETCH = 512, /* pixels, a multiple of 4 */
    MARGIN = 16,   /* floats before and behind a row or stretch, 4 of them used */
    RING = 8       /* rows that wait for those below them; 5 are looked at */
};

typedef float stretch[MARGIN + STRETCH + MARGIN];

/* Rows of one chroma plane on their way to half as many. */
typedef struct halving {
    int    rows, in, out; /* of the input; taken; given */
    float *row[RING];     /* input row y lies in row[y % RING] */
} halving;

typedef struct conversion {
    const oriel_frame *f;
    oriel_tensor       t; /* (Y, X, 1, 3 or 4) */
    video_matrix       m;
    int                shift_x, shift_y, width[3]; /* of rows: luma, halved once, halved twice */
    bool               cosited_x, cosited_y, wide; /* wide: samples of two bytes */
    float             *line[2][3];                 /* Cb and Cr at these widths, with margins */
    halving            step[2][2];
    float             *even, *odd; /* of a row, half as wide, with margins */
} conversion;

/* ---- samples ------------------------------------------------------------------------------ */

INLINE void widen(float *restrict dst, const uint8_t *restrict src, int n, bool wide)
{
    if (wide)
        for (int i = 0; i < n; i++)
            dst[i] = (float)((const uint16_t *)(const void *)src)[i];
    else
        for (int i = 0; i < n; i++)
            dst[i] = (float)src[i];
}

/* Rounded to nearest, clamped to 0 .. most. */
INLINE void narrow(uint8_t *restrict dst, const float *restrict src, int n, bool wide, float most)
{
    for (int i = 0; i < n; i++) {
        float v = src[i] < most ? src[i] : most;
        v = v > 0 ? v : 0;
        int code = (int)(v + 0.5f);
        if (wide)
            ((uint16_t *)(void *)dst)[i] = (uint16_t)code;
        else
            dst[i] = (uint8_t)code;
    }
}

static inline uint8_t *sample(const conversion *c, int plane, int x, int y)
{
    return c->f->plane[plane] + y * c->f->stride[plane] + (c->wide ? 2 * (ptrdiff_t)x : x);
}

/* ---- chroma ------------------------------------------------------------------------------- */

/* Index i of a row of n that goes on as in a mirror: on its last sample, or behind it. */
static int mirrored(int i, int n, bool behind)
{
    while (n > 1 && (i < 0 || i >= n))
        i = i < 0 ? -i - behind : 2 * (n - 1) - i + behind;
    return n > 1 ? i : 0;
}

/* n samples from n / 2, of which one before and one behind are there too. Writes n + 1 if n is odd. */
INLINE void up(float *restrict dst, const float *restrict src, int n, bool cosited)
{
    if (cosited)
        for (int i = 0; i < (n + 1) / 2; i++) {
            dst[2 * i] = src[i];
            dst[2 * i + 1] = 0.5f * (src[i] + src[i + 1]);
        }
    else
        for (int i = 0; i < (n + 1) / 2; i++) {
            dst[2 * i] = 0.25f * src[i - 1] + 0.75f * src[i];
            dst[2 * i + 1] = 0.75f * src[i] + 0.25f * src[i + 1];
        }
}

INLINE void hold_ends(float *row, int n)
{
    row[-1] = row[0];
    row[n] = row[n - 1];
}

/* What lies before and behind a row of n, of which `row` begins at `x` and has `part`. */
INLINE void mirror_ends(float *row, int x, int part, int n, bool behind)
{
    for (int i = 1; i <= 3; i++) {
        if (x == 0)
            row[-i] = row[mirrored(-i, n, behind)];
        if (x + part == n)
            row[part - 1 + i] = row[mirrored(n - 1 + i, n, behind) - x];
    }
}

/* (n + 1) / 2 samples from n and three on either side. Even and odd ones part first: the sums then are of
 * neighbours. */
INLINE void down(float *restrict dst, const float *restrict src, int n, bool cosited, float *restrict even,
                 float *restrict odd)
{
    int half = (n + 1) / 2;
    for (int i = -1; i <= half; i++) {
        even[i] = src[2 * i];
        odd[i] = src[2 * i + 1];
    }
    if (cosited)
        for (int i = 0; i < half; i++)
            dst[i] = 0.75f * even[i] + 0.25f * (odd[i - 1] + odd[i]) - 0.125f * (even[i - 1] + even[i + 1]);
    else
        for (int i = 0; i < half; i++)
            dst[i] = 0.75f * (even[i] + odd[i]) - 0.25f * (odd[i - 1] + even[i + 1]);
}

/* One input row has been put in its place. Writes an output row of n to dst if one is due. */
INLINE bool halve(halving *h, float *restrict dst, int n, bool cosited)
{
    const float *r[5]; /* rows 2 out - 2 .. 2 out + 2 */
    int last = 2 * h->out + 2 < h->rows ? 2 * h->out + 2 : h->rows - 1;
    if (h->out == (h->rows + 1) / 2 || h->in <= last)
        return false;
    for (int k = 0; k < 5; k++)
        r[k] = h->row[mirrored(2 * h->out - 2 + k, h->rows, !cosited) % RING];
    if (cosited)
        for (int x = 0; x < n; x++)
            dst[x] = 0.75f * r[2][x] + 0.25f * (r[1][x] + r[3][x]) - 0.125f * (r[0][x] + r[4][x]);
    else
        for (int x = 0; x < n; x++)
            dst[x] = 0.75f * (r[2][x] + r[3][x]) - 0.25f * (r[1][x] + r[4][x]);
    h->out++;
    return true;
}

/* The rows of half as many, and their weights, that make row y of n. */
static int row_taps(int y, int n, bool cosited, int row[2], float weight[2])
{
    int m = (n + 1) / 2, i = y / 2, other = cosited ? i + (y & 1) : y & 1 ? i + 1 : i - 1;
    row[0] = i;
    row[1] = other < 0 ? 0 : other >= m ? m - 1 : other;
    weight[1] = cosited ? 0.5f * (float)(y & 1) : 0.25f;
    weight[0] = 1 - weight[1];
    return row[0] == row[1] ? (weight[0] = 1, 1) : 2;
}

/* Row y of luma's height, at chroma's own width. */
INLINE void chroma_row(const conversion *c, float *restrict dst, int plane, int y)
{
    int row[4] = {y}, mid[2], count = 1, width = c->width[c->shift_x], height = c->f->height;
    float weight[4] = {1}, w[2];
    if (c->shift_y == 1)
        count = row_taps(y, height, c->cosited_y, row, weight);
    if (c->shift_y == 2) {
        int mids = row_taps(y, height, c->cosited_y, mid, w);
        count = 0;
        for (int k = 0; k < mids; k++) {
            int more = row_taps(mid[k], (height + 1) / 2, c->cosited_y, row + count, weight + count);
            for (int i = 0; i < more; i++)
                weight[count + i] *= w[k];
            count += more;
        }
    }
    widen(dst, sample(c, plane, 0, row[0]), width, c->wide);
    if (count == 1)
        return;
    for (int x = 0; x < width; x++)
        dst[x] *= weight[0];
    for (int k = 1; k < count; k++) {
        const uint8_t *from = sample(c, plane, 0, row[k]);
        if (c->wide)
            for (int x = 0; x < width; x++)
                dst[x] += weight[k] * (float)((const uint16_t *)(const void *)from)[x];
        else
            for (int x = 0; x < width; x++)
                dst[x] += weight[k] * (float)from[x];
    }
}

/* ---- pixels ------------------------------------------------------------------------------- */

INLINE void multiply(float *restrict a, float *restrict b, float *restrict c, int n, const float m[3][3],
                     const float before[3], const float after[3])
{
    for (int i = 0; i < n; i++) {
        float x = a[i] - before[0], y = b[i] - before[1], z = c[i] - before[2];
        a[i] = m[0][0] * x + m[0][1] * y + m[0][2] * z + after[0];
        b[i] = m[1][0] * x + m[1][1] * y + m[1][2] * z + after[1];
        c[i] = m[2][0] * x + m[2][1] * y + m[2][2] * z + after[2];
    }
}

INLINE float *pixel(const conversion *c, int x, int y)
{
    return (float *)c->t.data + x * c->t.stride[1] + y * c->t.stride[0];
}

/* v[0] .. v[channels - 1] to pixels from (x, y). */
INLINE void put_pixels(const conversion *c, stretch v[4], int x, int y, int n)
{
    float *restrict to = pixel(c, x, y);
    int channels = (int)c->t.shape[2];
    bool packed = c->t.stride[1] == channels && c->t.stride[2] == 1;
    if (packed && channels == 3)
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 3; k++)
                to[3 * i + k] = v[k][i];
    else if (packed && channels == 4)
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 4; k++)
                to[4 * i + k] = v[k][i];
    else if (c->t.stride[1] == 1) /* planes */
        for (int k = 0; k < channels; k++)
            memcpy(to + k * c->t.stride[2], v[k], (size_t)n * sizeof(float));
    else
        for (int k = 0; k < channels; k++)
            for (int i = 0; i < n; i++)
                to[i * c->t.stride[1] + k * c->t.stride[2]] = v[k][i];
}

/* What is no number is 0; the infinite is cut to what sums can bear. */
INLINE float tame(float v)
{
    const float most = 1e6f;
    v = v == v ? v : 0;
    v = v < most ? v : most;
    return v > -most ? v : -most;
}

/* n pixels from (x, y) to v[0 .. 3][at ...]. */
INLINE void get_pixels(const conversion *c, stretch v[4], int at, int x, int y, int n)
{
    const float *restrict from = pixel(c, x, y);
    int channels = (int)c->t.shape[2];
    int64_t sx = c->t.stride[1], sc = c->t.stride[2];
    if (channels == 3 && sx == 3 && sc == 1)
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 3; k++)
                v[k][at + i] = tame(from[3 * i + k]);
    else
        for (int k = 0; k < channels; k++)
            for (int i = 0; i < n; i++)
                v[k][at + i] = tame(from[i * sx + k * sc]);
    if (channels == 1) {
        memcpy(v[1], v[0], sizeof *v);
        memcpy(v[2], v[0], sizeof *v);
    }
    if (channels < 4)
        for (int i = 0; i < n; i++)
            v[3][at + i] = 1;
}

/* ---- rows --------------------------------------------------------------------------------- */

/* Both chroma rows of luma row y: line[p][0] where chroma is as wide as luma, else line[p][1], half as wide. */
INLINE void prepare_chroma(const conversion *c, int y)
{
    for (int p = 0; p < 2; p++) {
        float *row = c->line[p][c->shift_x];
        chroma_row(c, row, 1 + p, y);
        if (c->shift_x)
            hold_ends(row, c->width[c->shift_x]);
        if (c->shift_x == 2) {
            up(c->line[p][1], row, c->width[1], c->cosited_x);
            hold_ends(c->line[p][1], c->width[1]);
        }
    }
}

INLINE void to_stretch(const conversion *c, int x, int y, int n)
{
    static const float none[3] = {0};
    stretch v[4]; /* R, G, B, alpha */
    const oriel_frame *f = c->f;
    int planes = oriel_pixels_planes(f->pixels), channels = (int)c->t.shape[2];
    oriel_pixel_model model = f->pixels.model;
    widen(v[0], sample(c, 0, x, y), n, c->wide);
    if (model == ORIEL_PIXELS_GREY || (model == ORIEL_PIXELS_YUV && channels == 1)) {
        for (int i = 0; i < n; i++)
            v[0][i] = (v[0][i] - c->m.zero[0]) * c->m.to[0][0];
        memcpy(v[1], v[0], sizeof *v);
        memcpy(v[2], v[0], sizeof *v);
    } else {
        for (int p = 0; p < 2; p++)
            if (!c->shift_x && !c->shift_y)
                widen(v[1 + p], sample(c, 1 + p, x, y), n, c->wide);
            else if (c->shift_x)
                up(v[1 + p], c->line[p][1] + x / 2, n, c->cosited_x);
            else
                memcpy(v[1 + p], c->line[p][0] + x, (size_t)n * sizeof(float));
        multiply(v[0], v[1], v[2], n, c->m.to, c->m.zero, none);
    }
    if (model == ORIEL_PIXELS_RGB && channels == 1) /* BT.709's luma */
        for (int i = 0; i < n; i++)
            v[0][i] = 0.2126f * v[0][i] + 0.7152f * v[1][i] + 0.0722f * v[2][i];
    if (channels == 4 && f->pixels.alpha) {
        float most = (float)((1 << f->pixels.depth) - 1);
        widen(v[3], sample(c, planes - 1, x, y), n, c->wide);
        for (int i = 0; i < n; i++)
            v[3][i] /= most;
    } else if (channels == 4) {
        for (int i = 0; i < n; i++)
            v[3][i] = 1;
    }
    put_pixels(c, v, x, y, n);
}

INLINE void to_rows(const conversion *c)
{
    bool chroma = (c->shift_x || c->shift_y) && c->t.shape[2] > 1;
    for (int y = 0; y < c->f->height; y++) {
        if (chroma)
            prepare_chroma(c, y);
        for (int x = 0; x < c->f->width; x += STRETCH)
            to_stretch(c, x, y, c->f->width - x < STRETCH ? c->f->width - x : STRETCH);
    }
}

/* Chroma is left in line[p], halved once across if it is halved at all. Some pixels on either side are
 * computed again, for the filter. */
INLINE void from_stretch(const conversion *c, int x, int y, int n)
{
    static const float none[3] = {0};
    stretch v[4], even, odd;
    oriel_pixels p = c->f->pixels;
    float most = (float)((1 << p.depth) - 1);
    int width = c->f->width, planes = oriel_pixels_planes(p), behind = width - x - n;
    int before = c->shift_x && x ? 4 : 0, all = before + n + (c->shift_x ? (behind < 4 ? behind : 4) : 0);
    int at = MARGIN - before;
    get_pixels(c, v, at, x - before, y, all);
    multiply(v[0] + at, v[1] + at, v[2] + at, all, c->m.from, none, c->m.zero);
    narrow(sample(c, 0, x, y), v[0] + MARGIN, n, c->wide, most);
    for (int k = 0; k < 2 && p.model != ORIEL_PIXELS_GREY; k++) {
        float *row = v[1 + k] + MARGIN;
        if (c->shift_x) {
            mirror_ends(row, x, n, width, !c->cosited_x);
            down(c->line[k][1] + x / 2, row, n, c->cosited_x, even + MARGIN, odd + MARGIN);
        } else if (c->shift_y) {
            memcpy(c->line[k][0] + x, row, (size_t)n * sizeof(float));
        } else {
            narrow(sample(c, 1 + k, x, y), row, n, c->wide, most);
        }
    }
    if (p.alpha) {
        for (int i = 0; i < n; i++)
            v[3][MARGIN + i] *= most;
        narrow(sample(c, planes - 1, x, y), v[3] + MARGIN, n, c->wide, most);
    }
}

/* line[p] on its way to the plane: halved across once more, then downwards. */
INLINE void from_chroma(conversion *c, int p, int y)
{
    float most = (float)((1 << c->f->pixels.depth) - 1), *row = c->line[p][c->shift_x];
    int n = c->width[c->shift_x];
    if (c->shift_x == 2) {
        mirror_ends(c->line[p][1], 0, c->width[1], c->width[1], !c->cosited_x);
        down(row, c->line[p][1], c->width[1], c->cosited_x, c->even, c->odd);
    }
    if (!c->shift_y) {
        narrow(sample(c, 1 + p, 0, y), row, n, c->wide, most);
        return;
    }
    halving *a = &c->step[p][0], *b = &c->step[p][1];
    memcpy(a->row[a->in++ % RING], row, (size_t)n * sizeof(float));
    while (halve(a, row, n, c->cosited_y)) {
        if (c->shift_y == 1) {
            narrow(sample(c, 1 + p, 0, a->out - 1), row, n, c->wide, most);
            continue;
        }
        memcpy(b->row[b->in++ % RING], row, (size_t)n * sizeof(float));
        while (halve(b, row, n, c->cosited_y))
            narrow(sample(c, 1 + p, 0, b->out - 1), row, n, c->wide, most);
    }
}

INLINE void from_rows(conversion *c)
{
    for (int y = 0; y < c->f->height; y++) {
        for (int x = 0; x < c->f->width; x += STRETCH)
            from_stretch(c, x, y, c->f->width - x < STRETCH ? c->f->width - x : STRETCH);
        for (int p = 0; p < 2 && (c->shift_x || c->shift_y); p++)
            from_chroma(c, p, y);
    }
}

/* ---- levels ------------------------------------------------------------------------------- */

static void both_ways(conversion *c, bool to)
{
    if (to)
        to_rows(c);
    else
        from_rows(c);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void both_ways_avx2(conversion *c, bool to)
{
    if (to)
        to_rows(c);
    else
        from_rows(c);
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static void both_ways_avx512(conversion *c, bool to)
{
    if (to)
        to_rows(c);
    else
        from_rows(c);
}
#endif

static void run(conversion *c, bool to)
{
#if defined(__x86_64__)
    unsigned cpu = oriel_cpu_flags();
    if (cpu & ORIEL_CPU_AVX512)
        both_ways_avx512(c, to);
    else if (cpu & ORIEL_CPU_AVX2)
        both_ways_avx2(c, to);
    else
#endif
        both_ways(c, to);
}

/* ---- doors -------------------------------------------------------------------------------- */

static oriel_status checked(const oriel_frame *f, const oriel_tensor *t, const char *who)
{
    oriel_status s = oriel_frame_check(f->width, f->height, f->pixels);
    if (s)
        return s;
    for (int i = 0; i < oriel_pixels_planes(f->pixels); i++)
        if (!f->plane[i] || (f->pixels.depth > 8 && (((uintptr_t)f->plane[i] | (size_t)f->stride[i]) & 1)))
            return oriel_fail(ORIEL_E_ARG, "%s: plane %d is %s", who, i, f->plane[i] ? "not aligned" : "NULL");
    if (!t->data || t->dtype != ORIEL_F32 || t->ndim != 3 || t->shape[0] != f->height || t->shape[1] != f->width ||
        (t->shape[2] != 1 && t->shape[2] != 3 && t->shape[2] != 4))
        return oriel_fail(ORIEL_E_ARG, "%s: the tensor is to be f32 (%d, %d, 1, 3 or 4)", who, f->height, f->width);
    return ORIEL_OK;
}

/* Sizes, sites and rows of chroma, in one piece of memory, which is to be freed. NULL: out of memory */
static float *prepare(conversion *c, const oriel_colour *colour)
{
    oriel_pixels p = c->f->pixels;
    c->shift_x = p.shift_x;
    c->shift_y = p.shift_y;
    c->wide = p.depth > 8;
    c->cosited_x = colour->site != ORIEL_CHROMA_CENTER;
    c->cosited_y = colour->site == ORIEL_CHROMA_TOPLEFT;
    c->width[0] = c->f->width;
    c->width[1] = (c->width[0] + 1) / 2;
    c->width[2] = (c->width[1] + 1) / 2;
    size_t row = (size_t)oriel_round_up(c->width[0] + 1, 16) + 2 * MARGIN, rows = 2 * 3 + 2 * 2 * RING + 2;
    float *memory = oriel_alloc_aligned(rows * row * sizeof(float)), *at = memory ? memory + MARGIN : NULL;
    for (int k = 0; memory && k < 2; k++) {
        for (int i = 0; i < 3; i++, at += row)
            c->line[k][i] = at;
        for (int i = 0; i < 2; i++) {
            c->step[k][i].rows = i ? (c->f->height + 1) / 2 : c->f->height;
            for (int r = 0; r < RING; r++, at += row)
                c->step[k][i].row[r] = at;
        }
    }
    c->even = at;
    c->odd = memory ? at + row : NULL;
    return memory;
}

static oriel_status convert(const oriel_frame *f, oriel_tensor t, bool to)
{
    conversion c = {.f = f, .t = t};
    oriel_colour colour = oriel_frame_colour(f);
    oriel_status s = checked(f, &t, to ? "oriel_frame_to_tensor" : "oriel_frame_from_tensor");
    if (s || (s = video_matrix_of(&c.m, f->pixels, &colour)))
        return s;
    float *memory = prepare(&c, &colour);
    if (!memory)
        return ORIEL_E_NOMEM;
    run(&c, to);
    oriel_dealloc_aligned(memory);
    return ORIEL_OK;
}

oriel_status oriel_frame_to_tensor(const oriel_frame *f, oriel_tensor dst)
{
    return convert(f, dst, true);
}

oriel_status oriel_frame_from_tensor(oriel_frame *f, oriel_tensor src)
{
    return convert(f, src, false);
}
