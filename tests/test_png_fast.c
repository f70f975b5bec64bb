/* SPDX-License-Identifier: Apache-2.0 */
/* PNG at compression 1: what zlib and libpng make of our stream of bits is the picture again. */
#include <zlib.h>

#include "core/internal.h"
#include "tests/hash.h"
#include "tests/test.h"

#include <oriel/vision.h>

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Chunks with right sums, IHDR first, IEND last, IDATs between that follow each other; their data inflates to
 * exactly the rows, and zlib's sum of them is right. */
static void check_stream(const uint8_t *png, size_t size, size_t row, size_t rows)
{
    uint8_t *data = malloc(size), *out = malloc((row + 1) * rows + 1);
    size_t   n = 0, at = 8;
    int      idat = 0, other = 0, bad = 0;
    uLongf   got = (row + 1) * rows + 1;
    while (at + 12 <= size) {
        uint32_t length = be32(png + at);
        if (length > size - at - 12)
            break;
        bad += be32(png + at + 8 + length) != (uint32_t)crc32(0, png + at + 4, length + 4);
        if (!memcmp(png + at + 4, "IDAT", 4)) {
            memcpy(data + n, png + at + 8, length);
            n += length;
            idat++;
        } else {
            other++;
        }
        at += 12 + length;
    }
    CHECK_INT(bad, ==, 0);
    CHECK_INT(at, ==, size);
    CHECK(idat > 0 && other == 2 && !memcmp(png + size - 8, "IEND", 4));
    CHECK_INT(uncompress(out, &got, data, (uLong)n), ==, Z_OK);
    CHECK_INT(got, ==, (row + 1) * rows);
    free(data);
    free(out);
}

static size_t check(const oriel_image *img, const char *what)
{
    const oriel_image_write_options opt = {.format = ORIEL_IMAGE_PNG, .compression = 1};
    uint8_t                        *png = NULL;
    size_t                          size = 0, row = (size_t)img->width * (size_t)img->channels * (size_t)img->depth / 8;
    oriel_image                     back = {0};
    int                             before = test_failed;
    CHECK_OK(oriel_image_encode(img, &png, &size, &opt));
    if (png)
        check_stream(png, size, row, (size_t)img->height);
    CHECK_OK(oriel_image_decode(&back, png, size, NULL));
    CHECK(back.width == img->width && back.height == img->height && back.channels == img->channels &&
          back.depth == img->depth && !memcmp(back.data, img->data, row * (size_t)img->height));
    if (test_failed > before)
        fprintf(stderr, "in %s, %d x %d x %d, %d bits\n", what, img->width, img->height, img->channels, img->depth);
    oriel_image_free(&back);
    oriel_bytes_free(&png);
    return size;
}

static void fill(oriel_image *img, int kind)
{
    size_t   n = (size_t)img->width * (size_t)img->height * (size_t)img->channels * (size_t)img->depth / 8;
    uint8_t *p = img->data;
    for (size_t i = 0; i < n; i++) {
        uint64_t h = test_hash((uint64_t)kind, i);
        p[i] = kind == 0   ? (uint8_t)h                                /* noise */
               : kind == 1 ? 77                                        /* one colour */
               : kind == 2 ? (uint8_t)(i / 5 + (h & 1))                /* slow */
               : kind == 3 ? (uint8_t)((i / 997) % 2 ? h : 3)          /* stripes of it */
                           : (uint8_t)(i % 61 < 30 ? 255 : i % 61);    /* a drawing */
    }
}

static void test_pictures(void)
{
    static const int sizes[][2] = {{1, 1}, {2, 1}, {1, 3}, {7, 5}, {64, 33}, {701, 600}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int channels = 1; channels <= 4; channels++)
            for (int depth = 8; depth <= 16; depth += 8)
                for (int kind = 0; kind < 5; kind++) {
                    oriel_image img;
                    CHECK_OK(oriel_image_new(&img, sizes[s][0], sizes[s][1], channels, depth));
                    fill(&img, kind);
                    check(&img, "pictures");
                    oriel_image_free(&img);
                }
}

/* One row of grey whose filtered bytes are those of `residue`: each sample is the sum of those up to it. */
static void check_row(const uint8_t *residue, int n, const char *what)
{
    oriel_image img;
    uint8_t     sum = 0;
    CHECK_OK(oriel_image_new(&img, n, 1, 1, 8));
    for (int i = 0; i < n; i++)
        ((uint8_t *)img.data)[i] = sum = (uint8_t)(sum + residue[i]);
    check(&img, what);
    oriel_image_free(&img);
}

/* Runs of every length around what a symbol of deflate can say, of every byte, and at the row's end. */
static void test_runs(void)
{
    enum { MOST = 620 };
    static uint8_t bytes[MOST * (MOST + 1)];
    int            n = 0;
    for (int run = 1; run < MOST; run++) {
        memset(bytes + n, run % 3 ? 0 : run % 251, (size_t)run);
        n += run;
        bytes[n++] = (uint8_t)(1 + run % 250);
    }
    check_row(bytes, n, "runs");
    for (int end = 1; end < 40; end++)
        check_row(bytes, end * 17, "runs cut short");
    memset(bytes, 0, sizeof bytes);
    check_row(bytes, sizeof bytes, "one run");
}

/* Bytes that are the rarer the larger, by a half each time and by the golden ratio: Huffman's codes would have 20
 * bits and more. */
static void test_rare(void)
{
    enum { N = 1 << 20 };
    uint8_t *bytes = malloc(N);
    for (int i = 0; i < N; i++) {
        uint64_t h = test_hash(9, (uint64_t)i) | 1u << 21;
        for (bytes[i] = 0; !(h >> bytes[i] & 1);)
            bytes[i]++;
    }
    check_row(bytes, N, "halves");
    int n = 0, a = 1, b = 1;
    for (int s = 0; n + a < N / 2; s++) { /* spread, so that no run begins */
        for (int i = 0; i < a; i++)
            bytes[n++] = (uint8_t)(s * 2 + 1);
        int c = a + b;
        a = b;
        b = c;
    }
    for (int i = n - 1; i > 0; i--) {
        int     j = (int)(test_hash(10, (uint64_t)i) % (uint64_t)(i + 1));
        uint8_t t = bytes[i];
        bytes[i] = bytes[j];
        bytes[j] = t;
    }
    check_row(bytes, n, "Fibonacci's numbers");
    free(bytes);
}

/* Of noise two codes in 256 have a bit more than 8, and a block of 256 KiB has 162 bytes of lengths. */
static void test_size(void)
{
    enum { BLOCKS = 8 };
    oriel_image img;
    CHECK_OK(oriel_image_new(&img, 900, 700, 3, 8));
    fill(&img, 0);
    CHECK_NUM((double)check(&img, "noise"), <, 900 * 700 * 3 * (1 + 2 / 256.0 / 8) + 200 * BLOCKS);
    fill(&img, 1);
    CHECK_NUM((double)check(&img, "one colour"), <, 0.01 * 900 * 700 * 3);
    oriel_image_free(&img);
}

static void test_no_memory(void)
{
    const oriel_image_write_options opt = {.format = ORIEL_IMAGE_PNG, .compression = 1};
    oriel_image                     img;
    uint8_t                        *png = NULL;
    size_t                          size;
    oriel_status                    s = ORIEL_E_NOMEM;
    CHECK_OK(oriel_image_new(&img, 40, 30, 3, 16));
    for (uint64_t n = 1; s && n < 100; n++) {
        oriel_alloc_fail_at(n);
        s = oriel_image_encode(&img, &png, &size, &opt);
        oriel_alloc_fail_at(0);
        CHECK(!s ? png != NULL : s == ORIEL_E_NOMEM && !png && oriel_error()[0]);
    }
    CHECK_INT(s, ==, ORIEL_OK);
    oriel_bytes_free(&png);
    oriel_image_free(&img);
}

int main(void)
{
    test_pictures();
    test_runs();
    test_rare();
    test_size();
    test_no_memory();
    return test_end();
}
