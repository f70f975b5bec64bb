/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The marker segments of a JPEG, walked from SOI to EOI before stb_image sees them: for EXIF (APP1)
 * and ICC (APP2), which it does not give, and to refuse what it does not survive. The stb_image of
 * Debian 12 (2.27) writes past its tables for a DHT with more than 256 codes, and decodes by tables
 * that no DHT defined, uninitialised, reading past them. Both of us walk the same bytes: stb_image
 * finds segments where we do, or gives up.
 */
#include "vision/image.h"

enum {
    SOF0 = 0xc0, /* baseline */
    SOF1 = 0xc1, /* extended sequential */
    SOF2 = 0xc2, /* progressive */
    DHT = 0xc4,
    JPG = 0xc8,
    DAC = 0xcc,
    SOF15 = 0xcf,
    RST0 = 0xd0,
    RST7 = 0xd7,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    DQT = 0xdb,
    APP1 = 0xe1,
    APP2 = 0xe2
};
enum { MAX_SCANS = 200 }; /* a progressive file has about ten; each costs a pass over the picture */

typedef struct component {
    uint8_t id, quant;
} component;

typedef struct scanner {
    oriel_jpeg_info *info;
    const uint8_t *data;
    size_t size, at; /* at: the next byte */
    component part[4];
    unsigned dc, ac, quant; /* bit i: table i is defined */
    bool progressive;
    int scans, icc_total; /* icc_total: parts that the profile says it has */
} scanner;

static oriel_status truncated(void)
{
    return oriel_fail(ORIEL_E_FORMAT, "jpeg: the file is truncated");
}

static oriel_status bad(const char *what)
{
    return oriel_fail(ORIEL_E_FORMAT, "jpeg: bad %s", what);
}

/* Bytes that belong to no segment are skipped, as decoders do. */
static oriel_status next_marker(scanner *z, int *marker)
{
    while (z->at < z->size && z->data[z->at] != 0xff)
        z->at++;
    while (z->at < z->size && z->data[z->at] == 0xff)
        z->at++;
    if (z->at == z->size)
        return truncated();
    *marker = z->data[z->at++];
    return *marker ? ORIEL_OK : bad("marker");
}

/* Coded data end at a marker that is neither a stuffed zero nor a restart. */
static void skip_coded_data(scanner *z)
{
    while (z->at < z->size) {
        const uint8_t *p = memchr(z->data + z->at, 0xff, z->size - z->at);
        if (!p) {
            z->at = z->size;
            return;
        }
        size_t next = (size_t)(p - z->data) + 1;
        while (next < z->size && z->data[next] == 0xff)
            next++;
        if (next == z->size || (z->data[next] && (z->data[next] < RST0 || z->data[next] > RST7))) {
            z->at = next - 1;
            return;
        }
        z->at = next + 1;
    }
}

static oriel_status frame(scanner *z, int marker, const uint8_t *p, size_t n)
{
    oriel_jpeg_info *info = z->info;
    if (info->components)
        return bad("second frame");
    if (marker > SOF2)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: %s",
                          marker >= 0xc9 ? "arithmetic coding is not read"
                                         : "lossless and hierarchical files are not read");
    if (n < 6 || n != 6 + 3u * p[5])
        return bad("frame header");
    if (p[0] != 8)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: %d bits a sample are not read", p[0]);
    if (p[5] == 4)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: CMYK is not read; convert it to RGB");
    if (p[5] != 1 && p[5] != 3)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: %d components", p[5]);
    z->progressive = marker == SOF2;
    info->height = (int)oriel_be16(p + 1);
    info->width = (int)oriel_be16(p + 3);
    info->components = p[5];
    for (int i = 0; i < info->components; i++) {
        z->part[i] = (component){p[6 + 3 * i], p[8 + 3 * i]};
        if (z->part[i].quant > 3)
            return bad("frame header");
    }
    return ORIEL_OK;
}

static oriel_status huffman_tables(scanner *z, const uint8_t *p, size_t n)
{
    while (n) {
        unsigned codes = 0, table = p[0] & 15;
        if (n < 17 || p[0] >> 4 > 1 || table > 3)
            return bad("Huffman table");
        for (int i = 1; i <= 16; i++)
            codes += p[i];
        if (codes > 256 || n - 17 < codes)
            return bad("Huffman table");
        *(p[0] >> 4 ? &z->ac : &z->dc) |= 1u << table;
        p += 17 + codes;
        n -= 17 + codes;
    }
    return ORIEL_OK;
}

static oriel_status quant_tables(scanner *z, const uint8_t *p, size_t n)
{
    while (n) {
        size_t size = 1 + (p[0] >> 4 ? 128 : 64);
        if (p[0] >> 4 > 1 || (p[0] & 15) > 3 || n < size)
            return bad("quantisation table");
        z->quant |= 1u << (p[0] & 15);
        p += size;
        n -= size;
    }
    return ORIEL_OK;
}

/* Every table that the scan will use must have been defined. */
static oriel_status scan_header(scanner *z, const uint8_t *p, size_t n)
{
    if (!z->info->components || n < 1 || p[0] < 1 || p[0] > z->info->components ||
        n != 4 + 2u * p[0])
        return bad("scan header");
    if (++z->scans > MAX_SCANS)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: more than %d scans", MAX_SCANS);
    int count = p[0];
    uint8_t first = p[1 + 2 * count], high = p[3 + 2 * count] >> 4;
    for (int i = 0; i < count; i++) {
        unsigned dc = p[2 + 2 * i] >> 4, ac = p[2 + 2 * i] & 15;
        int c = 0;
        while (c < z->info->components && z->part[c].id != p[1 + 2 * i])
            c++;
        if (c == z->info->components || dc > 3 || ac > 3)
            return bad("scan header");
        bool uses_dc = !z->progressive || (first == 0 && high == 0);
        bool uses_ac = !z->progressive || first > 0;
        if ((uses_dc && !(z->dc >> dc & 1)) || (uses_ac && !(z->ac >> ac & 1)) ||
            !(z->quant >> z->part[c].quant & 1))
            return oriel_fail(ORIEL_E_FORMAT, "jpeg: a scan uses a table that is not there");
    }
    return ORIEL_OK;
}

/* "ICC_PROFILE", 0, number from 1, count. Parts that contradict each other leave no profile. */
static void icc_part(scanner *z, const uint8_t *p, size_t n)
{
    unsigned part = p[12], total = p[13];
    if (!part || part > total || (z->icc_total && (int)total != z->icc_total) ||
        z->info->icc[part - 1].at) {
        z->icc_total = 256; /* never reached */
        return;
    }
    z->icc_total = (int)total;
    z->info->icc[part - 1] = (oriel_span){(size_t)(p - z->data) + 14, n - 14};
    z->info->icc_parts++;
}

static bool is_icc(const uint8_t *p, size_t n)
{
    return n >= 14 && !memcmp(p, "ICC_PROFILE", 12);
}

static oriel_status segment(scanner *z, int marker, const uint8_t *p, size_t n)
{
    if (marker >= SOF0 && marker <= SOF15 && marker != DHT && marker != JPG && marker != DAC)
        return frame(z, marker, p, n);
    switch (marker) {
    case DHT:
        return huffman_tables(z, p, n);
    case DQT:
        return quant_tables(z, p, n);
    case SOS:
        return scan_header(z, p, n);
    case APP1:
        if (n > 6 && !memcmp(p, "Exif\0", 6) && !z->info->exif.size)
            z->info->exif = (oriel_span){(size_t)(p - z->data) + 6, n - 6};
        return ORIEL_OK;
    case APP2:
        if (is_icc(p, n))
            icc_part(z, p, n);
        return ORIEL_OK;
    default:
        return ORIEL_OK;
    }
}

oriel_status oriel_jpeg_scan(oriel_jpeg_info *info, const uint8_t *data, size_t size)
{
    scanner z = {.info = info, .data = data, .size = size, .at = 2}; /* SOI: sniffed */
    oriel_status s;
    int marker;
    *info = (oriel_jpeg_info){0};
    for (;;) {
        if ((s = next_marker(&z, &marker)))
            return s;
        if (marker == EOI)
            break;
        if (marker == SOI || (marker >= RST0 && marker <= RST7) || marker == 0x01)
            return bad("marker");
        if (size - z.at < 2)
            return truncated();
        size_t n = oriel_be16(data + z.at);
        if (n < 2)
            return bad("segment");
        if (size - z.at < n)
            return truncated();
        if ((s = segment(&z, marker, data + z.at + 2, n - 2)))
            return s;
        z.at += n;
        if (marker == SOS)
            skip_coded_data(&z);
    }
    if (!z.scans)
        return oriel_fail(ORIEL_E_FORMAT, "jpeg: no picture in the file");
    /* A block of 64 samples takes a bit at least, in the component that has most of them. */
    if ((uint64_t)info->width * info->height / 64 / 16 > (uint64_t)size * 8)
        return truncated();
    if (info->icc_parts != z.icc_total) {
        oriel_logf(ORIEL_LOG_WARN, "jpeg: the ICC profile is incomplete and is left out");
        info->icc_parts = 0;
    }
    return ORIEL_OK;
}
