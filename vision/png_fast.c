/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG's picture data at compression 1, for photographs: every row by Paeth's filter, then deflate
 * (RFC 1951) with runs and Huffman codes alone. The filtered bytes of a photograph hardly ever
 * repeat but in runs, so that the search for matches, where zlib spends its time, gains little.
 *
 *     some rows --> filtered --> counted --> codes of at most 12 bits --> bits; a block each
 *
 * Where nothing repeats for 8 bytes, four literals are taken at once: 48 bits fit beside the 7 that
 * may wait. Bound by the load, shift and store of each literal's code.
 */
#include <string.h>

#include <zlib.h> /* adler32() */

#include "vision/png_fast.h"

enum {
    BLOCK = 1 << 18,
    LITERALS = 4,
    MOST_BITS = 12,
    END = 256,
    SYMBOLS = 286,
    LEAST_RUN = 8,
    MOST_RUN = 258
};

typedef struct code {
    uint32_t bits, count;
} code;

/* Bits on their way into bytes. */
typedef struct stream {
    uint8_t *at;
    uint64_t bits;
    unsigned waiting; /* of them */
} stream;

struct png_fast {
    const oriel_image *img;
    size_t row, pixel; /* bytes */
    int y, block_rows;
    uint8_t *swapped[2]; /* of 16 bits: the row before and this one as PNG stores them */
    uint8_t *filtered, *out;
    stream to; /* in out */
    uLong adler;
    uint32_t times[SYMBOLS];
    uint8_t length[SYMBOLS];
    code symbol[SYMBOLS];
    code run[MOST_RUN + 1]; /* with its extra bits and the distance 1 */
};

/* ---- rows --------------------------------------------------------------------------------- */

/* What is left of a row when each byte is foretold by those to the left, above, and left above. */
static void filter_paeth(uint8_t *restrict to, const uint8_t *restrict row,
                         const uint8_t *restrict above, size_t n, size_t pixel)
{
    for (size_t i = 0; i < pixel; i++)
        to[i] = (uint8_t)(row[i] - above[i]);
    for (size_t i = pixel; i < n; i++) {
        int16_t a = row[i - pixel], b = above[i], c = above[i - pixel];
        int16_t to_a = (int16_t)(b > c ? b - c : c - b), to_b = (int16_t)(a > c ? a - c : c - a);
        int16_t sum = (int16_t)(a + b - 2 * c), to_c = (int16_t)(sum < 0 ? -sum : sum);
        int16_t p = to_b <= to_c ? b : c;
        p = to_a <= to_b && to_a <= to_c ? a : p;
        to[i] = (uint8_t)(row[i] - p);
    }
}

static void filter_sub(uint8_t *restrict to, const uint8_t *restrict row, size_t n, size_t pixel)
{
    memcpy(to, row, pixel);
    for (size_t i = pixel; i < n; i++)
        to[i] = (uint8_t)(row[i] - row[i - pixel]);
}

/* The picture's row as bytes of PNG; it stays until the one after the next. */
static const uint8_t *row_of(png_fast *f, int y)
{
    const uint8_t *row = (const uint8_t *)f->img->data + (size_t)y * f->row;
    if (f->img->depth == 8)
        return row;
    uint8_t *to = f->swapped[y % 2];
    const uint16_t *from = (const uint16_t *)(const void *)row;
    for (size_t i = 0; i < f->row / 2; i++) {
        to[2 * i] = (uint8_t)(from[i] >> 8);
        to[2 * i + 1] = (uint8_t)from[i];
    }
    return to;
}

/* Rows from f->y on; returns bytes. */
static size_t filter_rows(png_fast *f, int rows)
{
    enum { SUB = 1, PAETH = 4 };
    uint8_t *to = f->filtered;
    const uint8_t *above = f->y ? row_of(f, f->y - 1) : NULL;
    for (int i = 0; i < rows; i++, f->y++, to += f->row) {
        const uint8_t *row = row_of(f, f->y);
        *to++ = above ? PAETH : SUB; /* of a row of zeros above, Paeth's is Sub */
        if (above)
            filter_paeth(to, row, above, f->row, f->pixel);
        else
            filter_sub(to, row, f->row, f->pixel);
        above = row;
    }
    return (size_t)(to - f->filtered);
}

/* ---- codes -------------------------------------------------------------------------------- */

/* Bytes at p, of `left`, that are the same as the one before it; 0 where these are fewer than 8. */
static inline size_t run_at(const uint8_t *p, size_t left)
{
    uint64_t next;
    size_t n = LEAST_RUN;
    if (left < LEAST_RUN)
        return 0;
    memcpy(&next, p, sizeof next);
    if (next != p[-1] * 0x0101010101010101u)
        return 0;
    while (n < left && n < MOST_RUN && p[n] == p[-1])
        n++;
    return n;
}

/* The symbol of a run, how many extra bits follow, and which. */
static int symbol_of_run(size_t run, unsigned *extra, uint32_t *bits)
{
    static const uint16_t base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    int s = 28;
    while (base[s] > run)
        s--;
    *extra = s < 8 || s == 28 ? 0 : (unsigned)(s - 4) / 4;
    *bits = (uint32_t)(run - base[s]);
    return END + 1 + s;
}

static void count_symbols(png_fast *f, const uint8_t *p, size_t n)
{
    uint32_t times[LITERALS][256] = {{0}}; /* apart: no increment waits for the one before */
    uint32_t runs[MOST_RUN + 1] = {0};
    for (size_t i = 0, run; i < n;) {
        if (i && (run = run_at(p + i, n - i))) {
            runs[run]++;
            i += run;
        } else if (n - i >= LITERALS) {
            for (int k = 0; k < LITERALS; k++)
                times[k][p[i + (size_t)k]]++;
            i += LITERALS;
        } else {
            times[0][p[i++]]++;
        }
    }
    memset(f->times, 0, sizeof f->times);
    f->times[END] = 1;
    for (int s = 0; s < 256; s++)
        for (int k = 0; k < LITERALS; k++)
            f->times[s] += times[k][s];
    for (size_t run = LEAST_RUN; run <= MOST_RUN; run++) {
        unsigned extra;
        uint32_t bits;
        f->times[symbol_of_run(run, &extra, &bits)] += runs[run];
    }
}

/* Huffman's lengths for symbols in the order of their times; the longest is returned. The sums of
 * pairs come in order, too: so the two least ones are always at the heads of the two lists. */
static int huffman(const uint32_t *times, const int16_t *order, int n, uint8_t *length)
{
    uint64_t sum[SYMBOLS];
    int16_t parent_leaf[SYMBOLS], parent[SYMBOLS], depth[SYMBOLS];
    int leaf = 0, pair = 0, longest = 0;
    for (int made = 0; made < n - 1; made++) {
        sum[made] = 0;
        for (int k = 0; k < 2; k++) {
            if (leaf < n && (pair >= made || times[order[leaf]] <= sum[pair])) {
                sum[made] += times[order[leaf]];
                parent_leaf[leaf++] = (int16_t)made;
            } else {
                sum[made] += sum[pair];
                parent[pair++] = (int16_t)made;
            }
        }
    }
    depth[n - 2] = 0;
    for (int i = n - 3; i >= 0; i--)
        depth[i] = (int16_t)(depth[parent[i]] + 1);
    for (int i = 0; i < n; i++) {
        length[order[i]] = (uint8_t)(depth[parent_leaf[i]] + 1);
        longest = length[order[i]] > longest ? length[order[i]] : longest;
    }
    return longest;
}

/* Lengths of at most MOST_BITS: where Huffman's are longer, rare symbols are taken to be less rare.
 */
static void choose_lengths(png_fast *f)
{
    int16_t order[SYMBOLS];
    int n = 0;
    memset(f->length, 0, sizeof f->length);
    for (int s = 0; s < SYMBOLS; s++) {
        int i = n;
        if (!f->times[s])
            continue;
        for (; i > 0 && f->times[order[i - 1]] > f->times[s]; i--)
            order[i] = order[i - 1];
        order[i] = (int16_t)s;
        n++;
    }
    while (huffman(f->times, order, n, f->length) > MOST_BITS)
        for (int s = 0; s < SYMBOLS; s++)
            f->times[s] = (f->times[s] + 1) / 2; /* keeps the order */
}

/* The codes that belong to lengths, first bit lowest; and those of whole runs. */
static void make_codes(png_fast *f)
{
    uint32_t next[MOST_BITS + 2] = {0};
    for (int s = 0; s < SYMBOLS; s++)
        next[f->length[s] + 1] += f->length[s] > 0;
    for (int b = 1; b <= MOST_BITS; b++) /* next[b]: the first code of b bits */
        next[b] = (next[b - 1] + (b > 1 ? next[b] : 0)) << 1;
    for (int s = 0; s < SYMBOLS; s++) {
        uint32_t n = f->length[s], forward = n ? next[n]++ : 0, back = 0;
        for (uint32_t b = 0; b < n; b++)
            back |= (forward >> b & 1) << (n - 1 - b);
        f->symbol[s] = (code){back, n};
    }
    for (size_t run = LEAST_RUN; run <= MOST_RUN; run++) {
        unsigned extra;
        uint32_t bits;
        code c = f->symbol[symbol_of_run(run, &extra, &bits)];
        f->run[run] =
            (code){c.bits | bits << c.count, c.count + extra + 1}; /* distance 1 is one bit, 0 */
    }
}

/* ---- bits --------------------------------------------------------------------------------- */

static inline void put(stream *s, code c)
{
    s->bits |= (uint64_t)c.bits << s->waiting;
    s->waiting += c.count;
}

/* All whole bytes go out; at most 7 bits stay. */
static inline void flush(stream *s)
{
    for (int i = 0; i < 8; i++) /* compilers make one store of it */
        s->at[i] = (uint8_t)(s->bits >> 8 * i);
    s->at += s->waiting / 8;
    s->bits >>= s->waiting / 8 * 8;
    s->waiting %= 8;
}

/* The lengths as they are, each in 4 bits: a few bytes more than deflate's way of shortening them.
 */
static void put_header(png_fast *f, bool last)
{
    stream *to = &f->to;
    put(to, (code){last, 1});
    put(to, (code){2, 2});             /* codes of its own */
    put(to, (code){SYMBOLS - 257, 5}); /* all lengths of literals and runs, */
    put(to, (code){0, 5});             /* one distance, */
    put(to, (code){15, 4}); /* and all lengths of lengths, in RFC 1951's order: 16, 17, 18, ... */
    for (int i = 0; i < 19; i++) {
        put(to, (code){i < 3 ? 0 : 4, 3});
        flush(to);
    }
    for (int s = 0; s <= SYMBOLS;
         s++) { /* the code of length l is l in 4 bits, first bit highest */
        uint32_t l = s < SYMBOLS ? f->length[s] : 1;
        put(to, (code){(l & 1) << 3 | (l & 2) << 1 | (l & 4) >> 1 | l >> 3, 4});
        flush(to);
    }
}

static void put_symbols(png_fast *f, const uint8_t *p, size_t n)
{
    stream to = f->to; /* apart from *f, which a byte's store could have changed */
    for (size_t i = 0, run; i < n; flush(&to)) {
        if (i && (run = run_at(p + i, n - i))) {
            put(&to, f->run[run]);
            i += run;
        } else if (n - i >= LITERALS) {
            for (int k = 0; k < LITERALS; k++)
                put(&to, f->symbol[p[i + (size_t)k]]);
            i += LITERALS;
        } else {
            put(&to, f->symbol[p[i++]]);
        }
    }
    put(&to, f->symbol[END]);
    flush(&to);
    f->to = to;
}

/* ---- the whole ---------------------------------------------------------------------------- */

png_fast *png_fast_new(const oriel_image *img)
{
    png_fast *f = oriel_alloc_zero(1, sizeof *f);
    if (!f)
        return NULL;
    f->img = img;
    f->pixel = (size_t)img->channels * (size_t)(img->depth / 8);
    f->row = (size_t)img->width * f->pixel;
    size_t rows = BLOCK / (f->row + 1) + 1;
    f->block_rows = (int)(rows < (size_t)img->height ? rows : (size_t)img->height);
    size_t bytes = (f->row + 1) * (size_t)f->block_rows; /* at most 2^23 + BLOCK + 2 */
    f->adler = adler32(0, NULL, 0);
    bool ok =
        (f->filtered = oriel_alloc(bytes)) && (f->out = oriel_alloc(bytes * MOST_BITS / 8 + 1024));
    for (int i = 0; ok && i < 2 && img->depth == 16; i++)
        ok = (f->swapped[i] = oriel_alloc(f->row));
    if (!ok)
        png_fast_free(&f);
    return f;
}

const uint8_t *png_fast_next(png_fast *f, size_t *size)
{
    int left = f->img->height - f->y, rows = left < f->block_rows ? left : f->block_rows;
    if (!left)
        return NULL;
    f->to.at = f->out;
    if (!f->y) { /* zlib's header: a window of 32 KiB, fast */
        *f->to.at++ = 0x78;
        *f->to.at++ = 0x01;
    }
    size_t n = filter_rows(f, rows);
    f->adler = adler32(f->adler, f->filtered, (uInt)n);
    count_symbols(f, f->filtered, n);
    choose_lengths(f);
    make_codes(f);
    put_header(f, rows == left);
    put_symbols(f, f->filtered, n);
    if (rows == left) {
        f->to.waiting = (f->to.waiting + 7) / 8 * 8;
        flush(&f->to);
        for (int i = 24; i >= 0; i -= 8)
            *f->to.at++ = (uint8_t)(f->adler >> i);
    }
    *size = (size_t)(f->to.at - f->out);
    return f->out;
}

void png_fast_free(png_fast **fp)
{
    png_fast *f = *fp;
    if (!f)
        return;
    oriel_dealloc(f->filtered);
    oriel_dealloc(f->out);
    oriel_dealloc(f->swapped[0]);
    oriel_dealloc(f->swapped[1]);
    oriel_dealloc(f);
    *fp = NULL;
}
