/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pictures for shell tests, through the public API:
 *
 *     picture_tool make OUT WIDTH HEIGHT CHANNELS DEPTH [constant-alpha|hard-alpha|equal]
 * [metadata] picture_tool show FILE     "WIDTH x HEIGHT x CHANNELS, DEPTH bits, icc N HASH, exif N
 * HASH" picture_tool alpha FILE    the smallest and the largest alpha picture_tool mean FILE     of
 * the colours, 0 to 255 picture_tool split FILE OUT    alpha, as a grey picture picture_tool run
 * COMMAND   with SIGINT as it is at a terminal: shells ignore it behind '&'
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <oriel/vision.h>

static int fail(void)
{
    fprintf(stderr, "picture_tool: %s\n", oriel_error());
    return 1;
}

static unsigned hash(const uint8_t *bytes, size_t size)
{
    unsigned h = 2166136261u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return h;
}

static unsigned sample(const oriel_image *img, size_t i)
{
    return img->depth == 16 ? ((const uint16_t *)img->data)[i] : ((const uint8_t *)img->data)[i];
}

static void put(oriel_image *img, size_t i, double value)
{
    double v = value < 0 ? 0 : value > 1 ? 1 : value;
    if (img->depth == 16)
        ((uint16_t *)img->data)[i] = (uint16_t)(v * 65535 + 0.5);
    else
        ((uint8_t *)img->data)[i] = (uint8_t)(v * 255 + 0.5);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The smallest profile whose header holds (a matrix profile of RGB, or one of grey, without tags),
 * and the smallest EXIF: a big-endian TIFF with an empty directory. */
static int add_metadata(oriel_image *img)
{
    static const uint8_t tiff[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0};
    img->icc_size = 208;
    img->icc = calloc(1, img->icc_size);
    img->exif_size = sizeof tiff;
    img->exif = malloc(sizeof tiff);
    if (!img->icc || !img->exif)
        return 1;
    memcpy(img->exif, tiff, sizeof tiff);
    put32(img->icc, (uint32_t)img->icc_size);
    put32(img->icc + 8, 0x02100000);
    memcpy(img->icc + 12, "mntr", 4);
    memcpy(img->icc + 16, img->channels > 2 ? "RGB " : "GRAY", 4);
    memcpy(img->icc + 20, "XYZ ", 4);
    memcpy(img->icc + 36, "acsp", 4);
    put32(img->icc + 68, 0xf6d6);
    put32(img->icc + 72, 0x10000);
    put32(img->icc + 76, 0xd32d);
    put32(img->icc + 128, 1); /* one tag, a text */
    memcpy(img->icc + 132, "cprt", 4);
    put32(img->icc + 136, 144);
    put32(img->icc + 140, 64);
    memcpy(img->icc + 144, "text", 4);
    for (int i = 152; i < 207;
         i++) /* libpng reads no profile that deflates to less than 80 bytes */
        img->icc[i] = (uint8_t)('0' + (i * i * 7 >> 2) % 75);
    return 0;
}

/* Gradients with a bright square; alpha is a ramp, 0.5, or 0 over the right half, where red is
 * full. */
static void draw(oriel_image *img, bool constant, bool hard, bool equal)
{
    int c = img->channels, w = img->width, h = img->height, alpha = c % 2 ? -1 : c - 1;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            bool square = x > w / 4 && x < w / 2 && y > h / 4 && y < h / 2;
            bool hidden = hard && alpha >= 0 && x >= w / 2;
            for (int k = 0; k < c; k++) {
                double v = square ? 0.9 : 0.2 + 0.5 * x / w + 0.1 * (equal ? 0 : k) * y / h;
                if (k == alpha)
                    v = constant ? 0.5 : hard ? !hidden : (double)y / h;
                else if (hard)
                    v = hidden ? (k == 0) : 0.25;
                put(img, ((size_t)y * (size_t)w + (size_t)x) * (size_t)c + (size_t)k, v);
            }
        }
    }
}

static int make(int argc, char **argv)
{
    oriel_image img = {0};
    bool constant = false, hard = false, equal = false, metadata = false;
    if (argc < 7)
        return 2;
    for (int i = 7; i < argc; i++) {
        constant = constant || !strcmp(argv[i], "constant-alpha");
        hard = hard || !strcmp(argv[i], "hard-alpha");
        equal = equal || !strcmp(argv[i], "equal");
        metadata = metadata || !strcmp(argv[i], "metadata");
    }
    if (oriel_image_new(&img, atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6])))
        return fail();
    draw(&img, constant, hard, equal);
    if (metadata && add_metadata(&img))
        return 1;
    oriel_image_write_options opt = {.overwrite = true};
    int code = oriel_image_write(&img, argv[2], &opt) ? fail() : 0;
    if (metadata) { /* this program's memory, which the library did not allocate */
        free(img.icc);
        free(img.exif);
        img.icc = img.exif = NULL;
    }
    oriel_image_free(&img);
    return code;
}

static void show(const oriel_image *img)
{
    printf("%d x %d x %d, %d bits, icc %zu %08x, exif %zu %08x\n", img->width, img->height,
           img->channels, img->depth, img->icc_size, hash(img->icc, img->icc_size), img->exif_size,
           hash(img->exif, img->exif_size));
}

static void show_alpha(const oriel_image *img)
{
    size_t n = (size_t)img->width * (size_t)img->height, c = (size_t)img->channels;
    unsigned least = 65535, most = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned v = sample(img, i * c + c - 1);
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    printf("%u %u\n", least, most);
}

static void show_mean(const oriel_image *img)
{
    size_t n = (size_t)img->width * (size_t)img->height, c = (size_t)img->channels;
    size_t colours = c - (c % 2 == 0);
    double sum = 0;
    for (size_t i = 0; i < n * c; i++)
        sum += i % c < colours ? sample(img, i) : 0;
    printf("%.3f\n", sum / (double)(n * colours) * 255 / (img->depth == 16 ? 65535 : 255));
}

static int split(const oriel_image *img, const char *path)
{
    oriel_image alpha = {0};
    size_t c = (size_t)img->channels, n = (size_t)img->width * (size_t)img->height;
    if (oriel_image_new(&alpha, img->width, img->height, 1, img->depth))
        return fail();
    for (size_t i = 0; i < n; i++)
        put(&alpha, i, sample(img, i * c + c - 1) / (img->depth == 16 ? 65535.0 : 255.0));
    int code = oriel_image_write(&alpha, path, NULL) ? fail() : 0;
    oriel_image_free(&alpha);
    return code;
}

int main(int argc, char **argv)
{
    oriel_image img = {0};
    if (argc > 2 && !strcmp(argv[1], "make"))
        return make(argc, argv);
    if (argc > 2 && !strcmp(argv[1], "run")) {
        signal(SIGINT, SIG_DFL);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        return 1;
    }
    bool splits = argc == 4 && !strcmp(argv[1], "split");
    if (argc != 3 && !splits) {
        fprintf(stderr, "usage: picture_tool make|show|alpha|mean|split|run FILE ...\n");
        return 2;
    }
    if (oriel_image_read(&img, argv[2], NULL))
        return fail();
    int code = 0;
    if (splits)
        code = split(&img, argv[3]);
    else if (!strcmp(argv[1], "show"))
        show(&img);
    else if (!strcmp(argv[1], "mean"))
        show_mean(&img);
    else
        show_alpha(&img);
    oriel_image_free(&img);
    return code;
}
