/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame cache in a file, little-endian:
 *
 *     "ORIELKV\0"  u32 version  u32 bytes of the head  (16 bytes)
 *     15 x i32, 3 x i64, 4 x f64 (numbers()), then i64 frame and f64 time of each frame held
 *     u64 hash of all that
 *     for each layer, each frame held, sink first: K, V, and in i8 the scales of K and of V
 *     u64 hash of these
 *
 * Nothing is believed before its hash is right, and nothing is allocated before the sizes are.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attn2d3d/kv.h"

enum { VERSION = 1, FIXED = 16, NUMBERS = 15 * 4 + 3 * 8 + 4 * 8, SLOT = 16, HASH = 8 };
static const char magic[8] = "ORIELKV";

/* Bytes to or from a file or memory, and their hash; after a failure the rest does nothing. */
typedef struct stream {
    FILE          *f;
    unsigned char *p; /* instead of f */
    bool           writes;
    uint64_t       hash;
    oriel_status   s;
} stream;

/* Each step is a bijection of the hash, so that a single word that differs is always seen. */
static uint64_t mix(uint64_t h, const unsigned char *p, size_t n)
{
    for (; n; p += n < 8 ? n : 8, n -= n < 8 ? n : 8) {
        uint64_t w = 0;
        memcpy(&w, p, n < 8 ? n : 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

static void pass(stream *t, void *data, size_t n)
{
    if (t->s || !n)
        return;
    if (t->p) {
        t->writes ? memcpy(t->p, data, n) : memcpy(data, t->p, n);
        t->p += n;
    } else if (t->writes ? fwrite(data, 1, n, t->f) != n : fread(data, 1, n, t->f) != n) {
        t->s = t->writes || ferror(t->f)
                   ? oriel_fail(ORIEL_E_IO, "kv: %s: %s", t->writes ? "write" : "read", strerror(errno))
                   : oriel_fail(ORIEL_E_FORMAT, "kv: the file is cut short");
        return;
    }
    t->hash = mix(t->hash, data, n);
}

/* Write the hash so far, or compare with it; and begin another. */
static void seal(stream *t, const char *what)
{
    uint64_t h = t->hash, found = h;
    pass(t, &found, sizeof found);
    if (!t->s && found != h)
        t->s = oriel_fail(ORIEL_E_FORMAT, "kv: %s damaged: its checksum is wrong", what);
    t->hash = 0;
}

/* ---- the head ----------------------------------------------------------------------------- */

static void number(stream *t, int *v)
{
    int32_t n = *v;
    pass(t, &n, sizeof n);
    *v = n;
}

/* The numbers of the head, both ways. */
static void numbers(stream *t, oriel_kv *kv)
{
    oriel_kv_config *c = &kv->c;
    int dtype = c->dtype == ORIEL_F32 ? 0 : c->dtype == ORIEL_F16 ? 1 : c->dtype == ORIEL_BF16 ? 2 : 3;
    int position = (int)c->position, rope = (int)c->rope, stored = c->ema_stored;
    int *n[] = {&c->layers, &c->batch, &c->heads, &c->dim,   &c->dim_v, &c->rows, &c->columns, &c->window,
                &c->sink,   &dtype,    &position, &rope,     &stored,   &kv->held, &kv->chunk};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        number(t, n[i]);
    pass(t, &kv->end, 8);
    pass(t, &kv->unwritten, 8);
    pass(t, &kv->pin, 8);
    pass(t, &c->theta, 8);
    pass(t, &c->scale, 8);
    pass(t, &c->ema, 8);
    pass(t, &kv->jump, 8);
    if (!t->writes) {
        static const oriel_dtype types[] = {ORIEL_F32, ORIEL_F16, ORIEL_BF16, ORIEL_I8};
        c->dtype = dtype >= 0 && dtype < 4 ? types[dtype] : ORIEL_DTYPE_COUNT;
        c->position = (oriel_kv_position)position;
        c->rope = (oriel_kv_rope)rope;
        c->ema_stored = stored != 0;
    }
}

static uint32_t head_size(int held)
{
    return (uint32_t)(FIXED + NUMBERS + held * SLOT + HASH);
}

static void block_sizes(const oriel_kv *kv, int i, size_t part[4])
{
    const oriel_kv_config *c = &kv->c;
    oriel_dtype            t = i < c->sink ? kv->master : c->dtype;
    size_t n = (size_t)c->batch * (size_t)c->heads * (size_t)kv->tokens, size = oriel_dtype_size(t);
    part[0] = n * (size_t)c->dim * size;
    part[1] = n * (size_t)c->dim_v * size;
    part[2] = part[3] = t == ORIEL_I8 ? n * sizeof(float) : 0;
}

static size_t body_size(const oriel_kv *kv)
{
    size_t n = HASH;
    for (int i = 0; i < kv->held; i++) {
        size_t part[4];
        block_sizes(kv, i, part);
        n += (part[0] + part[1] + part[2] + part[3]) * (size_t)kv->c.layers;
    }
    return n;
}

size_t oriel_kv_encoded_size(const oriel_kv *kv)
{
    return head_size(kv->held) + body_size(kv);
}

static void body(stream *t, oriel_kv *kv)
{
    for (int layer = 0; layer < kv->c.layers; layer++)
        for (int i = 0; i < kv->held; i++) {
            kv_block        *b = kv_at(kv, layer, &kv->slot[i]);
            const kv_layout *l = kv_layout_of(kv, b);
            size_t           part[4], at[4] = {0, l->v, l->k_scale, l->v_scale};
            block_sizes(kv, i, part);
            for (int k = 0; k < 4; k++)
                pass(t, b->data + at[k], part[k]);
        }
    seal(t, "the frames are");
}

/* ---- writing ------------------------------------------------------------------------------ */

static void write_all(stream *t, const oriel_kv *from)
{
    oriel_kv copy = *from; /* the stream goes both ways, and so takes it as something to change */
    uint32_t version = VERSION, size = head_size(copy.held);
    char     name[8];
    memcpy(name, magic, sizeof name);
    pass(t, name, sizeof name);
    pass(t, &version, 4);
    pass(t, &size, 4);
    numbers(t, &copy);
    for (int i = 0; i < copy.held; i++) {
        pass(t, &copy.slot[i].frame, 8);
        pass(t, &copy.slot[i].at, 8);
    }
    seal(t, "");
    body(t, &copy);
}

static oriel_status check_whole(const oriel_kv *kv)
{
    if (!kv)
        return oriel_fail(ORIEL_E_ARG, "kv: no cache");
    for (int l = 0; l < kv->c.layers && kv->chunk; l++)
        if (!kv->written[l])
            return oriel_fail(ORIEL_E_ARG, "kv: layer %d has not written frame %lld", l,
                              (long long)kv->unwritten);
    return ORIEL_OK;
}

oriel_status oriel_kv_encode(const oriel_kv *kv, void *bytes, size_t size)
{
    oriel_status s;
    if ((s = check_whole(kv)))
        return s;
    if (!bytes || size < oriel_kv_encoded_size(kv))
        return oriel_fail(ORIEL_E_ARG, "kv: %zu bytes for %zu", size, oriel_kv_encoded_size(kv));
    stream t = {.p = bytes, .writes = true};
    write_all(&t, kv);
    return t.s;
}

oriel_status oriel_kv_save(const oriel_kv *kv, const char *path)
{
    oriel_status s;
    if ((s = check_whole(kv)))
        return s;
    if (!path)
        return oriel_fail(ORIEL_E_ARG, "kv: no path");
    size_t room = strlen(path) + 32;
    char  *part = oriel_alloc(room);
    int    fd = -1;
    if (!part)
        return ORIEL_E_NOMEM;
    for (int i = 0; i < 100 && fd < 0; i++) {
        snprintf(part, room, "%s.part%ld.%d", path, (long)getpid(), i);
        fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    stream t = {.f = fd >= 0 ? fdopen(fd, "wb") : NULL, .writes = true};
    if (!t.f) {
        s = oriel_fail(ORIEL_E_IO, "kv: %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    } else {
        write_all(&t, kv);
        s = t.s;
        if (fclose(t.f) && !s)
            s = oriel_fail(ORIEL_E_IO, "kv: %s: %s", path, strerror(errno));
        if (!s && rename(part, path))
            s = oriel_fail(ORIEL_E_IO, "kv: %s: %s", path, strerror(errno));
    }
    if (s && fd >= 0)
        unlink(part);
    oriel_dealloc(part);
    return s;
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool plausible_time(double t)
{
    return fabs(t) <= 0x1p53; /* false for NaN */
}

/* What kv_check() does not see: the state must be one that calls can reach. */
static bool plausible(const oriel_kv *h)
{
    const int64_t far = (int64_t)1 << 53;
    return h->held >= 0 && h->held <= h->c.window && h->chunk >= 0 && h->chunk <= h->held &&
           (h->chunk > 0) == (h->held > 0) && h->end >= 0 && h->end <= far && h->unwritten >= 0 &&
           h->unwritten <= far && h->pin >= -1 && h->pin < far && plausible_time(h->jump);
}

static bool plausible_slots(const oriel_kv *kv)
{
    const kv_slot *s = kv->slot;
    int            sink = kv->c.sink, found = 0;
    for (int i = 0; i < kv->held; i++) {
        if (s[i].frame < 0 || s[i].frame >= kv->end || !plausible_time(s[i].at))
            return false;
        if (i && i != sink && s[i].frame <= s[i - 1].frame)
            return false;
        if (i >= kv->held - kv->chunk && s[i].frame != kv->end - kv->held + i)
            return false;
        found += i >= sink && kv->pin >= 0 && s[i].frame >= kv->pin && s[i].frame - kv->pin < sink;
    }
    return kv->pin < 0 || (sink > 0 && found == sink);
}

static oriel_status read_head(stream *t, oriel_kv *h, uint64_t file_size)
{
    char         name[8] = {0};
    uint32_t     version = 0, size = 0;
    if (file_size < FIXED + NUMBERS + HASH)
        return oriel_fail(ORIEL_E_FORMAT, "kv: %llu bytes are too few for a frame cache",
                          (unsigned long long)file_size);
    pass(t, name, sizeof name);
    pass(t, &version, 4);
    pass(t, &size, 4);
    if (t->s)
        return t->s;
    if (memcmp(name, magic, sizeof name))
        return oriel_fail(ORIEL_E_FORMAT, "kv: this is no frame cache");
    if (size < head_size(0) || size > head_size(65536) || size > file_size ||
        (size - head_size(0)) % SLOT)
        return oriel_fail(ORIEL_E_FORMAT, "kv: a head of %u bytes", size);
    numbers(t, h);
    if (t->s)
        return t->s;
    if (version == VERSION && (h->held < 0 || h->held > 65536 || size != head_size(h->held)))
        return oriel_fail(ORIEL_E_FORMAT, "kv: a head of %u bytes and %d frames", size, h->held);
    int slots = (int)((size - head_size(0)) / SLOT);
    h->slot = oriel_alloc_zero((size_t)slots + 1, sizeof *h->slot);
    if (!h->slot)
        return ORIEL_E_NOMEM;
    for (int i = 0; i < slots; i++) {
        pass(t, &h->slot[i].frame, 8);
        pass(t, &h->slot[i].at, 8);
    }
    seal(t, "the head is");
    if (t->s)
        return t->s;
    if (version != VERSION)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "kv: version %u: this build reads %d", version, VERSION);
    oriel_kv_config c = h->c;
    if (kv_check(&c, &h->c))
        return ORIEL_E_FORMAT; /* in the words of the check */
    if (!plausible(h) || !plausible_slots(h))
        return oriel_fail(ORIEL_E_FORMAT, "kv: frames and counts that contradict each other");
    return ORIEL_OK;
}

static oriel_status read_all(stream *t, oriel_kv **out, oriel_device *dev, uint64_t size,
                             const oriel_kv_load_options *opt, oriel_kv *h)
{
    uint64_t     limit = opt && opt->max_bytes ? opt->max_bytes : (uint64_t)64 << 30;
    size_t       bytes = 0;
    oriel_status s;
    if ((s = device_must_be_cpu(dev, "kv: caches are kept")) || (s = read_head(t, h, size)) || (s = kv_count(&h->c, oriel_device_threads(dev), &bytes)))
        return s == ORIEL_E_ARG ? ORIEL_E_FORMAT : s;
    h->tokens = h->c.rows * h->c.columns;
    h->master = h->c.ema > 0 && !h->c.ema_stored ? ORIEL_F32 : h->c.dtype;
    if (size != oriel_kv_encoded_size(h)) /* a cache of `bytes` was counted, so this is no overflow */
        return oriel_fail(ORIEL_E_FORMAT, "kv: %llu bytes, and %zu are due", (unsigned long long)size,
                          oriel_kv_encoded_size(h));
    if (bytes > limit)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "kv: a cache of %zu bytes: over the limit of %llu", bytes,
                          (unsigned long long)limit);
    oriel_kv *kv = NULL;
    if ((s = oriel_kv_new(&kv, dev, &h->c)))
        return s;
    for (int i = 0; i < h->held; i++) {
        kv->slot[i] = h->slot[i];
        kv->slot[i].place = i;
    }
    kv->held = h->held, kv->chunk = h->chunk, kv->end = h->end, kv->unwritten = h->unwritten;
    kv->pin = h->pin, kv->jump = h->jump;
    memset(kv->written, h->chunk > 0, (size_t)kv->c.layers * sizeof *kv->written);
    body(t, kv);
    if (t->s) {
        oriel_kv_free(&kv);
        return t->s;
    }
    *out = kv;
    return ORIEL_OK;
}

static oriel_status read_from(stream t, oriel_kv **out, oriel_device *dev, uint64_t size,
                              const oriel_kv_load_options *opt)
{
    oriel_kv     h = {0};
    oriel_status s = read_all(&t, out, dev, size, opt, &h);
    oriel_dealloc(h.slot);
    return s;
}

oriel_status oriel_kv_decode(oriel_kv **out, oriel_device *dev, const void *bytes, size_t size,
                             const oriel_kv_load_options *opt)
{
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "kv: nowhere to put the cache");
    *out = NULL;
    if (!dev || !bytes)
        return oriel_fail(ORIEL_E_ARG, "kv: no device or no bytes");
    return read_from((stream){.p = (unsigned char *)(uintptr_t)bytes}, out, dev, size, opt);
}

oriel_status oriel_kv_load(oriel_kv **out, oriel_device *dev, const char *path,
                           const oriel_kv_load_options *opt)
{
    struct stat st;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "kv: nowhere to put the cache");
    *out = NULL;
    if (!dev || !path)
        return oriel_fail(ORIEL_E_ARG, "kv: no device or no path");
    FILE *f = fopen(path, "rb");
    if (!f)
        return oriel_fail(ORIEL_E_IO, "kv: %s: %s", path, strerror(errno));
    oriel_status s;
    if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode))
        s = oriel_fail(ORIEL_E_IO, "kv: %s: not a regular file", path);
    else
        s = read_from((stream){.f = f}, out, dev, (uint64_t)st.st_size, opt);
    fclose(f);
    return s;
}
