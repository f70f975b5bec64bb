/* SPDX-License-Identifier: Apache-2.0 */
/* Zip archives as torch writes them: the central directory, ZIP64, stored entries in place,
 * deflated ones through zlib. Entries may not share a name or overlap, so what is inflated is
 * bounded by the file: at most 1032 times its bytes, deflate's limit, and never more than an entry
 * says. */

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#include "models/checkpoint/zip.h"

enum { EOCD = 22, EOCD64 = 56, LOCATOR = 20, CENTRAL = 46, LOCAL = 30 };

static oriel_status bad(const char *what, size_t at)
{
    return oriel_fail(ORIEL_E_FORMAT, "zip: %s at byte %zu", what, at);
}

typedef struct directory {
    size_t at, size;
    uint64_t entries;
} directory;

/* The end record, from the back: its comment, of up to 64 KB, ends the file. */
static oriel_status find_directory(const zip_file *z, directory *d)
{
    size_t at = z->size >= EOCD ? z->size - EOCD : 0, steps = 0;
    for (;; at--, steps++) {
        if (z->size < EOCD || steps > UINT16_MAX)
            return bad("no central directory (is the file cut short?)", z->size);
        const unsigned char *p = z->p + at;
        if (ckpt_u32(p) == 0x06054b50 && at + EOCD + ckpt_u16(p + 20) == z->size)
            break;
        if (!at)
            return bad("no central directory (is the file cut short?)", z->size);
    }
    const unsigned char *p = z->p + at;
    uint64_t size = ckpt_u32(p + 12), offset = ckpt_u32(p + 16), end = at;
    d->entries = ckpt_u16(p + 10);
    if (at >= LOCATOR && ckpt_u32(p - LOCATOR) == 0x07064b50) { /* ZIP64 */
        uint64_t at64 = ckpt_u64(p - LOCATOR + 8);
        if (at < LOCATOR + EOCD64 || at64 > at - LOCATOR - EOCD64 ||
            ckpt_u32(z->p + at64) != 0x06064b50)
            return bad("a broken ZIP64 end record", at);
        d->entries = ckpt_u64(z->p + at64 + 32);
        size = ckpt_u64(z->p + at64 + 40);
        offset = ckpt_u64(z->p + at64 + 48);
        end = at64;
    }
    if (offset > end || size > end - offset || d->entries > size / CENTRAL)
        return bad("a central directory that is out of bounds", at);
    d->at = (size_t)offset;
    d->size = (size_t)size;
    return ORIEL_OK;
}

/* ZIP64 sizes stand in an extra field, those that are all ones in the record, in this order. */
static bool read_zip64(const unsigned char *p, size_t n, uint64_t *v[3])
{
    while (n >= 4) {
        size_t len = ckpt_u16(p + 2);
        if (len > n - 4)
            return false;
        if (ckpt_u16(p) == 1) {
            const unsigned char *q = p + 4;
            for (int i = 0; i < 3; i++) {
                if (*v[i] != UINT32_MAX)
                    continue;
                if ((size_t)(p + 4 + len - q) < 8)
                    return false;
                *v[i] = ckpt_u64(q);
                q += 8;
            }
            return true;
        }
        p += 4 + len;
        n -= 4 + len;
    }
    return true; /* all ones may be the truth, and is then out of bounds */
}

static oriel_status read_entry(const zip_file *z, const directory *d, size_t *at, zip_entry *e)
{
    const unsigned char *p = z->p + *at;
    size_t left = d->at + d->size - *at;
    if (left < CENTRAL || ckpt_u32(p) != 0x02014b50)
        return bad("a broken directory entry", *at);
    size_t name = ckpt_u16(p + 28), extra = ckpt_u16(p + 30), comment = ckpt_u16(p + 32);
    if (left - CENTRAL < name + extra + comment)
        return bad("a directory entry that is cut short", *at);
    uint64_t size = ckpt_u32(p + 24), packed = ckpt_u32(p + 20), begin = ckpt_u32(p + 42);
    uint64_t *wide[3] = {&size, &packed, &begin};
    if (!read_zip64(p + CENTRAL + name, extra, wide))
        return bad("a broken ZIP64 field", *at);
    *e = (zip_entry){.name = {(const char *)p + CENTRAL, name},
                     .crc = ckpt_u32(p + 16),
                     .flags = ckpt_u16(p + 8),
                     .method = ckpt_u16(p + 10)};

    if (begin > d->at || d->at - begin < LOCAL || ckpt_u32(z->p + begin) != 0x04034b50)
        return bad("an entry without a local header", *at);
    const unsigned char *q = z->p + begin;
    uint64_t head = LOCAL + (uint64_t)ckpt_u16(q + 26) + ckpt_u16(q + 28);
    if (head > d->at - begin || packed > d->at - begin - head)
        return bad("an entry that is out of bounds", *at);
    if (ckpt_u16(q + 26) != name || memcmp(q + LOCAL, e->name.s, name))
        return bad("two names for one entry", *at);
    if (e->method == 0 ? packed != size : size / 1032 > packed)
        return bad("an entry whose size cannot be true", *at);
    e->begin = (size_t)begin;
    e->data = (size_t)(begin + head);
    e->packed = (size_t)packed;
    e->size = (size_t)size;
    *at += CENTRAL + name + extra + comment;
    return ORIEL_OK;
}

static int by_name(const void *a, const void *b)
{
    const zip_entry *x = a, *y = b;
    return ckpt_text_cmp(x->name, y->name);
}

static int by_place(const void *a, const void *b)
{
    const zip_entry *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

oriel_status zip_open(zip_file *z, ckpt_mem *mem, const void *data, size_t size)
{
    *z = (zip_file){.mem = mem, .p = data, .size = size};
    directory d = {0};
    oriel_status s = find_directory(z, &d);
    if (s)
        return s;
    z->entry = ckpt_take_array(mem, (size_t)d.entries, sizeof *z->entry);
    if (!z->entry)
        return ORIEL_E_NOMEM;
    size_t at = d.at;
    for (; z->entries < d.entries; z->entries++)
        if ((s = read_entry(z, &d, &at, &z->entry[z->entries])))
            return s;

    qsort(z->entry, z->entries, sizeof *z->entry, by_place);
    for (size_t i = 1; i < z->entries; i++)
        if (z->entry[i].begin < z->entry[i - 1].data + z->entry[i - 1].packed)
            return bad("entries that overlap", z->entry[i].begin);
    qsort(z->entry, z->entries, sizeof *z->entry, by_name);
    for (size_t i = 1; i < z->entries; i++)
        if (!by_name(&z->entry[i - 1], &z->entry[i]))
            return oriel_fail(ORIEL_E_FORMAT, "zip: two entries named %s", SHOWN(z->entry[i].name));
    return ORIEL_OK;
}

zip_entry *zip_find(const zip_file *z, ckpt_text name)
{
    zip_entry key = {.name = name};
    return z->entries ? bsearch(&key, z->entry, z->entries, sizeof key, by_name) : NULL;
}

static voidpf zlib_alloc(voidpf user, uInt items, uInt size)
{
    (void)user;
    return oriel_alloc_zero(items, size);
}

static void zlib_free(voidpf user, voidpf p)
{
    (void)user;
    oriel_dealloc(p);
}

static oriel_status inflate_entry(const zip_file *z, const zip_entry *e, unsigned char *to)
{
    z_stream s = {.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
        return oriel_fail(ORIEL_E_NOMEM, "zip: no memory to inflate %s", SHOWN(e->name));
    size_t in = e->packed, out = e->size;
    int r = Z_OK;
    s.next_in = (Bytef *)(uintptr_t)(z->p + e->data); /* zlib's type has no const here */
    s.next_out = to;
    while (r == Z_OK) {
        s.avail_in = in > UINT_MAX ? UINT_MAX : (uInt)in;
        s.avail_out = out > UINT_MAX ? UINT_MAX : (uInt)out;
        in -= s.avail_in;
        out -= s.avail_out;
        r = inflate(&s, Z_NO_FLUSH);
        in += s.avail_in;
        out += s.avail_out;
    }
    inflateEnd(&s);
    if (r == Z_MEM_ERROR)
        return oriel_fail(ORIEL_E_NOMEM, "zip: no memory to inflate %s", SHOWN(e->name));
    if (r != Z_STREAM_END || in || out)
        return oriel_fail(ORIEL_E_FORMAT, "zip: %s does not inflate to its %zu bytes",
                          SHOWN(e->name), e->size);
    return ORIEL_OK;
}

static uint32_t crc_of(const unsigned char *p, size_t n)
{
    uLong crc = crc32(0, NULL, 0);
    for (size_t k; n; n -= k, p += k) {
        k = n > UINT_MAX ? UINT_MAX : n;
        crc = crc32(crc, p, (uInt)k);
    }
    return (uint32_t)crc;
}

oriel_status zip_read(zip_file *z, zip_entry *e, const unsigned char **data, size_t *size)
{
    if (!e->content && (e->flags & 1))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "zip: %s is encrypted", SHOWN(e->name));
    if (!e->content && e->method == 0) {
        e->content = z->p + e->data;
    } else if (!e->content && e->method == 8) {
        unsigned char *to = ckpt_take(z->mem, e->size);
        oriel_status s = to ? inflate_entry(z, e, to) : ORIEL_E_NOMEM;
        if (s)
            return s;
        if (crc_of(to, e->size) != e->crc)
            return oriel_fail(ORIEL_E_FORMAT, "zip: the checksum of %s is wrong", SHOWN(e->name));
        e->content = to;
    } else if (!e->content) {
        return oriel_fail(ORIEL_E_UNSUPPORTED, "zip: %s is packed by method %d", SHOWN(e->name),
                          e->method);
    }
    *data = e->content;
    *size = e->size;
    return ORIEL_OK;
}
