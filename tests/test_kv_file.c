/* SPDX-License-Identifier: Apache-2.0 */
/* Saved frame caches: every byte changed, every length, hostile heads; and memory that runs out. */
#include <sys/stat.h>

#include "attn2d3d/kv.h"
#include "hash.h"
#include "kv_seal.h"
#include "test.h"

static oriel_device *dev;

enum { HEADS = 2, DIM = 6, TOKENS = 2 };

/* Write and look at `frames` from `start`: the sum of what is seen goes to *seen. */
static oriel_status chunk(oriel_kv *kv, int64_t start, int frames, double *seen)
{
    float        x[8 * TOKENS * HEADS * DIM], out[8 * TOKENS * HEADS * DIM];
    oriel_tensor t = oriel_tensor_of(x, ORIEL_F32, 4, (int64_t[]){1, frames * TOKENS, HEADS, DIM}), o = t;
    oriel_status s = oriel_kv_begin(kv, start, frames);
    o.data = out;
    for (int l = 0; l < 2 && !s; l++) {
        for (int i = 0; i < frames * TOKENS * HEADS * DIM; i++)
            x[i] = 4 * test_unit((uint64_t)start + 9, (uint64_t)(i + 1000 * l)) - 2;
        if (!(s = oriel_kv_write(kv, l, &t, &t)))
            s = oriel_kv_attend(kv, l, &t, &o, NULL);
        for (int i = 0; i < frames * TOKENS * HEADS * DIM && !s && seen; i++)
            *seen += out[i];
    }
    return s;
}

static const oriel_kv_config config = {
    .layers = 2, .heads = HEADS, .dim = DIM, .rows = 1, .columns = TOKENS, .window = 5, .sink = 1,
    .position = ORIEL_KV_ANCHOR, .ema = 0.5, .dtype = ORIEL_I8};

/* A cache that has rolled, and waits for a pin. */
static oriel_status made(oriel_kv **kv, const oriel_kv_config *c)
{
    oriel_status s = oriel_kv_new(kv, dev, c);
    for (int i = 0; i < 7 && !s; i++)
        s = chunk(*kv, i, 1, NULL);
    s = s ? s : oriel_kv_pin(*kv, 5);
    return s ? s : oriel_kv_jump(*kv, 2.5);
}

typedef struct bytes {
    unsigned char *p;
    size_t         n;
} bytes;

static bytes encoded(const oriel_kv *kv)
{
    bytes b = {NULL, oriel_kv_encoded_size(kv)};
    b.p = malloc(b.n);
    CHECK_OK(oriel_kv_encode(kv, b.p, b.n));
    return b;
}

static void test_damage(void)
{
    oriel_kv *kv = NULL, *again = NULL;
    CHECK_OK(made(&kv, &config));
    bytes  b = encoded(kv);
    size_t opened = 0, wrong = 0;
    CHECK_FAILS(oriel_kv_encode(kv, b.p, b.n - 1), ORIEL_E_ARG);
    for (size_t i = 0; i < b.n; i++)
        for (int f = 0; f < 3; f++) {
            const unsigned char flip[3] = {1, 0x80, 0xff};
            b.p[i] ^= flip[f];
            oriel_status s = oriel_kv_decode(&again, dev, b.p, b.n, NULL);
            opened += !s;
            wrong += s != ORIEL_E_FORMAT || again || !oriel_error()[0];
            oriel_kv_free(&again);
            b.p[i] ^= flip[f];
        }
    CHECK_INT(opened, ==, 0);
    CHECK_INT(wrong, ==, 0);
    unsigned char *more = malloc(b.n + 1);
    memcpy(more, b.p, b.n);
    more[b.n] = 0;
    for (size_t n = 0; n <= b.n + 1; n++) {
        unsigned char *cut = malloc(n ? n : 1); /* of this length, so that ASan sees a byte too many */
        memcpy(cut, more, n);
        wrong += oriel_kv_decode(&again, dev, cut, n, NULL) != (n == b.n ? ORIEL_OK : ORIEL_E_FORMAT);
        oriel_kv_free(&again);
        free(cut);
    }
    CHECK_INT(wrong, ==, 0);
    free(more);
    free(b.p);
    oriel_kv_free(&kv);
}

/* Heads whose checksum is right and whose numbers are not: refused, or a cache that can be used. */
static void test_hostile(void)
{
    oriel_kv *kv = NULL, *again = NULL;
    CHECK_OK(made(&kv, &config));
    bytes          b = encoded(kv);
    unsigned char *p = malloc(b.n);
    int            refused = 0, opened = 0;
    uint32_t       head;
    memcpy(&head, b.p + 12, 4);
    for (uint32_t at = 0; at < head - 8; at++)
        for (int v = 0; v < 6; v++) {
            const unsigned char to[6] = {0, 1, 2, 0x7f, 0x80, 0xff};
            memcpy(p, b.p, b.n);
            p[at] = to[v];
            kv_seal_head(p, b.n);
            if (oriel_kv_decode(&again, dev, p, b.n, &(oriel_kv_load_options){1 << 22})) {
                refused++;
                continue;
            }
            opened++;
            oriel_kv_info info;
            oriel_kv_describe(again, &info);
            if (info.config.layers == 2 && info.config.heads == HEADS && info.config.dim == DIM)
                CHECK(!chunk(again, info.end, 1, NULL) || oriel_error()[0]);
            oriel_kv_free(&again);
        }
    CHECK_INT(refused, >, 400);
    CHECK_INT(opened, >, 20); /* the bytes that were so already, scales, positions */
    memcpy(p, b.p, b.n);
    p[8] = 2;
    kv_seal_head(p, b.n);
    CHECK_FAILS(oriel_kv_decode(&again, dev, p, b.n, NULL), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "version 2"));
    CHECK_FAILS(oriel_kv_decode(&again, dev, b.p, b.n, &(oriel_kv_load_options){1000}),
                ORIEL_E_UNSUPPORTED);
    free(p);
    free(b.p);
    oriel_kv_free(&kv);
}

/* One that a few bytes ask for: an empty cache of terabytes is refused before it is made. */
static void test_large(void)
{
    oriel_kv_config c = {.heads = 1, .dim = 2, .rows = 1, .columns = 1, .window = 1};
    oriel_kv       *kv = NULL;
    CHECK_OK(oriel_kv_new(&kv, dev, &c));
    bytes         b = encoded(kv);
    const int32_t large = 16384;
    memcpy(b.p + 16 + 5 * 4, &large, 4);
    memcpy(b.p + 16 + 6 * 4, &large, 4);
    memcpy(b.p + 16 + 7 * 4, &large, 4);
    oriel_kv_free(&kv);
    kv_seal_head(b.p, b.n);
    CHECK_FAILS(oriel_kv_decode(&kv, dev, b.p, b.n, NULL), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "over the limit"));
    free(b.p);
}

static bool exists(const char *path)
{
    struct stat st;
    return !stat(path, &st);
}

static void test_paths(void)
{
    char      dir[] = "/tmp/oriel-kv-XXXXXX", path[64], none[64];
    oriel_kv *kv = NULL, *again = NULL;
    double    a = 0, b = 0;
    if (!mkdtemp(dir)) {
        SKIP("no temporary directory");
        return;
    }
    snprintf(path, sizeof path, "%s/cache", dir);
    snprintf(none, sizeof none, "%s/none/cache", dir);
    CHECK_OK(made(&kv, &config));
    CHECK_FAILS(oriel_kv_load(&again, dev, path, NULL), ORIEL_E_IO);
    CHECK_FAILS(oriel_kv_load(&again, dev, dir, NULL), ORIEL_E_IO);
    CHECK_FAILS(oriel_kv_save(kv, none), ORIEL_E_IO);
    snprintf(none, sizeof none, "%s/sub", dir);
    CHECK(!mkdir(none, 0700));
    CHECK_FAILS(oriel_kv_save(kv, none), ORIEL_E_IO); /* a directory is not replaced */
    CHECK(!rmdir(none));
    CHECK_OK(oriel_kv_save(kv, path));
    CHECK_OK(oriel_kv_save(kv, path));
    CHECK_OK(oriel_kv_load(&again, dev, path, NULL));
    CHECK_OK(chunk(kv, 7, 1, &a)); /* what comes after is the same */
    CHECK_OK(chunk(again, 7, 1, &b));
    CHECK(a == b && a != 0);
    oriel_kv_free(&again);
    CHECK_INT(truncate(path, 500), ==, 0);
    CHECK_FAILS(oriel_kv_load(&again, dev, path, NULL), ORIEL_E_FORMAT);
    CHECK(!unlink(path));
    CHECK(!exists(path));
    CHECK(!rmdir(dir)); /* nothing else was left there */
    oriel_kv_free(&kv);
}

/* Everything that takes memory after the first chunk: branches, pins, files. */
static oriel_status life(const oriel_kv_config *c, int *untouched)
{
    oriel_kv    *kv = NULL, *branch = NULL, *copy = NULL;
    oriel_status s = made(&kv, c);
    if (s)
        goto done;
    size_t         n = oriel_kv_encoded_size(kv), m = 0;
    unsigned char *before = malloc(n), *after = malloc(n);
    if (oriel_kv_encode(kv, before, n))
        abort();
    s = oriel_kv_branch(&branch, kv);
    s = s ? s : chunk(branch, 7, 1, NULL); /* takes the pin, and makes what is shared its own */
    if (!s)
        m = oriel_kv_encoded_size(branch);
    s = s ? s : chunk(branch, 8, 1, NULL);
    s = s ? s : oriel_kv_decode(&copy, dev, before, n, NULL);
    s = s ? s : oriel_kv_save(kv, "/dev/null/none") == ORIEL_E_NOMEM ? ORIEL_E_NOMEM : ORIEL_OK;
    if (oriel_kv_encode(kv, after, n) || memcmp(before, after, n) || (!s && !m))
        *untouched = 0;
    if (s && branch) { /* a call that failed changed nothing: it can be made again */
        oriel_alloc_fail_at(0);
        oriel_kv_info info;
        oriel_kv_describe(branch, &info);
        if (chunk(branch, info.end, 1, NULL))
            *untouched = 0;
    }
    free(before);
    free(after);
done:
    oriel_kv_free(&kv);
    oriel_kv_free(&branch);
    oriel_kv_free(&copy);
    return s;
}

static void test_memory(void)
{
    for (int stored = 0; stored < 2; stored++) {
        oriel_kv_config c = config;
        c.ema_stored = stored;
        int      untouched = 1;
        uint64_t n = 0;
        for (oriel_status s = ORIEL_E_NOMEM; s == ORIEL_E_NOMEM && n < 10000;) {
            oriel_alloc_fail_at(++n);
            s = life(&c, &untouched);
            oriel_alloc_fail_at(0);
            CHECK(s == ORIEL_E_NOMEM || s == ORIEL_OK);
        }
        CHECK_INT(n, >, 60);
        CHECK_INT(n, <, 10000);
        CHECK(untouched);
    }
}

/* After oriel_kv_new() a rollout takes no memory. */
static void test_no_memory_later(void)
{
    oriel_kv *kv = NULL;
    CHECK_OK(oriel_kv_new(&kv, dev, &config));
    oriel_alloc_fail_at(1);
    for (int i = 0; i < 12; i++)
        for (int pass = 0; pass < 2; pass++)
            CHECK_OK(chunk(kv, i, 1, NULL));
    CHECK_INT(oriel_alloc_count(), ==, 0);
    oriel_alloc_fail_at(0);
    oriel_kv_free(&kv);
}

int main(void)
{
    CHECK_OK(oriel_device_open(&dev, &(oriel_device_options){.threads = 1}));
    test_damage();
    test_hostile();
    test_large();
    test_paths();
    test_memory();
    test_no_memory_later();
    oriel_device_free(&dev);
    return test_end();
}
