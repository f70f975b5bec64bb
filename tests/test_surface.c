/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces to tensors and back, on a CPU or with --device cuda on a GPU: pictures with the bits of
 * oriel_image_to_tensor() and from_tensor(), NV12 and P010 beside the same frame as planes in liboriel_video.
 */
#include <math.h>
#include <oriel/video.h>
#include <oriel/vision.h>

#include "hash.h"
#include "test.h"

enum { WALL = 64, POISON = 0xa5 };

static oriel_device *dev;
static uint64_t      drawn;

static int draw(int low, int high)
{
    return low + (int)(test_hash(7, drawn++) % (uint64_t)(high - low + 1));
}

/* Memory of the device and what it held at first, with a wall of poison on either side. */
typedef struct block {
    unsigned char *host, *gpu; /* host: walls and bytes */
    size_t         bytes;
} block;

static block block_new(const void *data, size_t bytes)
{
    block b = {.host = malloc(bytes + 2 * WALL), .bytes = bytes};
    void *p = NULL;
    if (!b.host)
        abort();
    memset(b.host, POISON, bytes + 2 * WALL);
    if (data)
        memcpy(b.host + WALL, data, bytes);
    CHECK_OK(oriel_memory_alloc(dev, &p, bytes + 2 * WALL));
    CHECK_OK(oriel_memory_upload(dev, p, b.host, bytes + 2 * WALL));
    b.gpu = p;
    return b;
}

static void *block_data(const block *b) /* the device's */
{
    return b->gpu + WALL;
}

/* The host's copy as the device has it now. */
static void *block_take(block *b)
{
    CHECK_OK(oriel_memory_download(dev, b->host, b->gpu, b->bytes + 2 * WALL));
    for (size_t i = 0; i < WALL; i++)
        if (b->host[i] != POISON || b->host[WALL + b->bytes + i] != POISON) {
            CHECK(!"a wall was written to");
            break;
        }
    return b->host + WALL;
}

static void block_free(block *b)
{
    void *p = b->gpu;
    oriel_memory_free(dev, &p);
    free(b->host);
}

static void fill(void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)data)[i] = (unsigned char)test_hash(9, drawn++);
}

/* ---- pictures ----------------------------------------------------------------------------- */

static float awkward(bool numbers)
{
    static const float odd[] = {-0.f, 1.f, 0.5f / 255, 1.5f / 255, 2.5f / 65535, -1.f, 2.f, 1e-30f, 3e38f, -3e38f};
    int k = draw(0, 60);
    if (k < 10)
        return odd[k];
    return !numbers && k == 10 ? NAN : !numbers && k == 11 ? INFINITY : 3 * test_unit(3, drawn++) - 1;
}

static void check_image(int depth)
{
    oriel_image  img = {0}, want = {0};
    int          channels = draw(1, 4), width = draw(1, 90), height = draw(1, 20), c0 = draw(0, channels - 1);
    int          n = draw(1, channels - c0);
    int64_t      shape[3] = {height, width, n};
    size_t       count = (size_t)(height * width * n), bytes = (size_t)(height * width * channels * depth / 8);
    float       *have = malloc(count * 4), *due = malloc(count * 4);
    bool         numbers = draw(0, 1), finite = false, all = true;
    CHECK_OK(oriel_image_new(&img, width, height, channels, depth));
    CHECK_OK(oriel_image_new(&want, width, height, channels, depth));
    fill(img.data, bytes);
    block        b = block_new(NULL, count * 4);
    oriel_tensor t = oriel_tensor_of(block_data(&b), ORIEL_F32, 3, shape), h = oriel_tensor_of(due, ORIEL_F32, 3, shape);
    CHECK_OK(oriel_image_to_device(dev, &img, c0, t));
    CHECK_OK(oriel_image_to_tensor(&img, c0, h));
    CHECK(!memcmp(block_take(&b), due, count * 4));
    for (size_t i = 0; i < count; i++) {
        due[i] = awkward(numbers);
        all = all && isfinite(due[i]);
    }
    CHECK_OK(oriel_memory_upload(dev, t.data, due, count * 4));
    memcpy(want.data, img.data, bytes); /* samples that are not the tensor's stay */
    CHECK_OK(oriel_image_from_device(dev, &img, c0, t, draw(0, 3) ? &finite : NULL));
    CHECK_OK(oriel_image_from_tensor(&want, c0, h));
    CHECK(!memcmp(img.data, want.data, bytes));
    CHECK_OK(oriel_image_from_device(dev, &img, c0, t, &finite));
    CHECK(finite == all);
    block_free(&b);
    oriel_image_free(&img);
    oriel_image_free(&want);
    free(have);
    free(due);
}

/* ---- NV12 and P010 ------------------------------------------------------------------------ */

typedef struct clip { /* one frame twice: as planes, and as a surface */
    oriel_frame   f;
    oriel_surface s;
    block         plane[2];
} clip;

static unsigned code(const oriel_frame *f, int plane, int x, int y)
{
    const uint8_t *row = f->plane[plane] + y * f->stride[plane];
    return f->pixels.depth > 8 ? ((const uint16_t *)(const void *)row)[x] : row[x];
}

static void code_set(oriel_frame *f, int plane, int x, int y, unsigned v)
{
    uint8_t *row = f->plane[plane] + y * f->stride[plane];
    if (f->pixels.depth > 8)
        ((uint16_t *)(void *)row)[x] = (uint16_t)v;
    else
        row[x] = (uint8_t)v;
}

static void clip_new(clip *c)
{
    static const struct { int matrix; double kr, kb; } known[] = {{1, 0, 0}, {1, 0.2126, 0.0722}, {6, 0.299, 0.114}, {9, 0.2627, 0.0593}};
    bool         wide = draw(0, 1);
    int          width = draw(1, 70), height = draw(1, 24), k = draw(0, 3), site = draw(0, 2), bytes = wide ? 2 : 1;
    oriel_pixels p;
    CHECK(oriel_pixels_named(&p, wide ? "yuv420p10" : "yuv420p"));
    CHECK_OK(oriel_frame_new(&c->f, width, height, p));
    c->f.colour = (oriel_colour){.matrix = known[k].matrix, .range = draw(0, 1) ? ORIEL_RANGE_FULL : ORIEL_RANGE_LIMITED,
                                 .site = site == 0 ? ORIEL_CHROMA_LEFT : site == 1 ? ORIEL_CHROMA_CENTER : ORIEL_CHROMA_TOPLEFT};
    c->s = (oriel_surface){.layout = wide ? ORIEL_SURFACE_P010 : ORIEL_SURFACE_NV12, .width = width, .height = height,
                           .kr = known[k].kr, .kb = known[k].kb, .full_range = c->f.colour.range == ORIEL_RANGE_FULL,
                           .cosited_x = site != 1, .cosited_y = site == 2};
    bool padded = draw(0, 1);
    for (int i = 0; i < 2; i++) {
        int w = i ? (width + 1) / 2 * 2 : width, h = i ? (height + 1) / 2 : height;
        c->s.pitch[i] = padded ? (w + draw(0, 5)) * bytes : 0;
        c->plane[i] = block_new(NULL, (size_t)((padded ? c->s.pitch[i] : w * bytes) * h));
        c->s.plane[i] = block_data(&c->plane[i]);
    }
}

/* Where the host's copy has sample c of place (x, y). */
static unsigned char *spot(clip *c, int plane, int x, int y, int k)
{
    int       bytes = c->s.layout == ORIEL_SURFACE_P010 ? 2 : 1, w = plane ? (c->s.width + 1) / 2 * 2 : c->s.width;
    ptrdiff_t pitch = c->s.pitch[plane] ? c->s.pitch[plane] : w * bytes;
    return c->plane[plane].host + WALL + y * pitch + (plane ? 2 * x + k : x) * bytes;
}

/* Same planes in the surface, or their largest difference in codes. */
static int clip_planes(clip *c, bool put, int64_t *differ)
{
    int most = 0, wide = c->s.layout == ORIEL_SURFACE_P010;
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < (i ? (c->s.height + 1) / 2 : c->s.height); y++)
            for (int x = 0; x < (i ? (c->s.width + 1) / 2 : c->s.width); x++) {
                unsigned char *at = spot(c, i > 0, x, y, i == 2);
                uint16_t       v = (uint16_t)(code(&c->f, i, x, y) << (wide ? 6 : 0)), have = 0;
                if (put) {
                    memcpy(at, &v, wide ? 2 : 1);
                    continue;
                }
                memcpy(&have, at, wide ? 2 : 1);
                CHECK(!wide || !(have & 63));
                int off = abs((int)(have >> (wide ? 6 : 0)) - (int)code(&c->f, i, x, y));
                most = off > most ? off : most;
                *differ += off > 0;
            }
    return most;
}

static void clip_free(clip *c)
{
    block_free(&c->plane[0]);
    block_free(&c->plane[1]);
    oriel_frame_free(&c->f);
}

static int64_t samples, tied; /* codes compared; those one apart */

static void check_420(void)
{
    clip c;
    clip_new(&c);
    int            w = c.s.width, h = c.s.height;
    int64_t        shape[3] = {h, w, 3};
    size_t         count = (size_t)(w * h * 3);
    float         *due = malloc(count * 4);
    oriel_normal   n = {{.485f, .456f, .406f}, {1 / .229f, 1 / .224f, 1 / .225f}}, *normal = draw(0, 1) ? &n : NULL;
    bool           finite = false;
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < (i ? (h + 1) / 2 : h); y++)
            for (int x = 0; x < (i ? (w + 1) / 2 : w); x++)
                code_set(&c.f, i, x, y, (unsigned)draw(0, (1 << c.f.pixels.depth) - 1));
    clip_planes(&c, true, NULL);
    for (int i = 0; i < 2; i++)
        CHECK_OK(oriel_memory_upload(dev, c.s.plane[i], c.plane[i].host + WALL, c.plane[i].bytes));
    block        b = block_new(NULL, count * 4);
    oriel_tensor t = oriel_tensor_of(block_data(&b), ORIEL_F32, 3, shape), want = oriel_tensor_of(due, ORIEL_F32, 3, shape);
    CHECK_OK(oriel_surface_to_tensor(dev, &c.s, t, normal));
    CHECK_OK(oriel_frame_to_tensor(&c.f, want));
    const float *have = block_take(&b);
    double       worst = 0;
    for (size_t i = 0; i < count; i++) {
        double v = normal ? ((double)due[i] - (double)n.mean[i % 3]) * (double)n.scale[i % 3] : (double)due[i];
        worst = fmax(worst, fabs((double)have[i] - v));
    }
    CHECK_NUM(worst, <, 1e-5); /* values to 5 of some twenty roundings of 6e-8 */
    /* There and back: the codes it was made of. */
    CHECK_OK(oriel_surface_from_tensor(dev, &c.s, t, normal, &finite));
    CHECK(finite);
    block_take(&c.plane[0]);
    block_take(&c.plane[1]);
    int64_t none = 0;
    CHECK_INT(clip_planes(&c, false, &none), ==, 0);
    /* Of any numbers, those of liboriel_video; where the sum lies between two codes either may come. */
    for (size_t i = 0; i < count; i++)
        due[i] = 1.4f * test_unit(5, drawn++) - 0.2f;
    CHECK_OK(oriel_memory_upload(dev, t.data, due, count * 4));
    CHECK_OK(oriel_surface_from_tensor(dev, &c.s, t, NULL, NULL));
    CHECK_OK(oriel_frame_from_tensor(&c.f, want));
    block_take(&c.plane[0]);
    block_take(&c.plane[1]);
    CHECK_INT(clip_planes(&c, false, &tied), <=, 1);
    samples += w * h * 3 / 2;
    due[draw(0, (int)count - 1)] = NAN;
    CHECK_OK(oriel_memory_upload(dev, t.data, due, count * 4));
    CHECK_OK(oriel_surface_from_tensor(dev, &c.s, t, NULL, &finite));
    CHECK(!finite);
    block_free(&b);
    clip_free(&c);
    free(due);
}

/* ---- errors ------------------------------------------------------------------------------- */

static void check_errors(void)
{
    unsigned char bytes[48] = {0};
    float         data[48] = {0};
    oriel_surface s = {.width = 4, .height = 4, .channels = 3, .plane = {bytes}}, bad;
    oriel_tensor  t = oriel_tensor_of(data, ORIEL_F32, 3, (int64_t[3]){4, 4, 3}), u;
#define FAILS(change)                                                                              \
    do {                                                                                           \
        bad = s, u = t;                                                                            \
        change;                                                                                    \
        CHECK_FAILS(oriel_surface_to_tensor(dev, &bad, u, NULL), ORIEL_E_ARG);                     \
        CHECK_FAILS(oriel_surface_from_tensor(dev, &bad, u, NULL, NULL), ORIEL_E_ARG);             \
    } while (0)
    FAILS(bad.width = 0);
    FAILS(bad.height = 5);
    FAILS(bad.channels = 5);
    FAILS(bad.first = 1);
    FAILS(bad.first = -1);
    FAILS(bad.plane[0] = NULL);
    FAILS(bad.pitch[0] = 11);
    FAILS(bad.layout = (oriel_surface_layout)9);
    FAILS(bad.layout = ORIEL_SURFACE_NV12);
    FAILS((bad.layout = ORIEL_SURFACE_NV12, bad.channels = 0));
    FAILS(bad.kr = 1);
    FAILS(bad.kb = NAN);
    FAILS(u.dtype = ORIEL_F16);
    FAILS(u.shape[2] = 4);
    FAILS(u.data = NULL);
    CHECK_FAILS(oriel_surface_to_tensor(NULL, &s, t, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_surface_to_tensor(dev, NULL, t, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_to_device(dev, NULL, 0, t), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_from_device(dev, &(oriel_image){0}, 0, t, NULL), ORIEL_E_ARG);
}

int main(int argc, char **argv)
{
    bool cuda = argc == 3 && !strcmp(argv[1], "--device") && !strcmp(argv[2], "cuda");
    if (argc > 1 && !cuda)
        return fprintf(stderr, "usage: test_surface [--device cuda]\n"), 2;
    if (oriel_device_open(&dev, &(oriel_device_options){.kind = cuda ? ORIEL_CUDA : ORIEL_CPU, .threads = cuda ? 0 : 3})) {
        printf("skipped: %s\n", oriel_error());
        return 77;
    }
    for (int i = 0; i < 60; i++)
        check_image(i % 2 ? 16 : 8);
    for (int i = 0; i < 80; i++)
        check_420();
    CHECK_INT(tied * 1000, <, samples);
    check_errors();
    oriel_device_free(&dev);
    return test_end();
}
