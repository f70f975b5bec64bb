/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EXIF: a TIFF file without a picture. A header (byte order, 42, offset of the first directory),
 * then directories: a count of 16 bits, entries of 12 bytes (tag, type, count, value or its
 * offset), the offset of the next directory. We follow no chain: the first directory, and the EXIF
 * directory that it points to, are all that we look at. Every offset is checked against the block's
 * size.
 */
#include "vision/image.h"

enum { SHORT = 3, LONG = 4 }; /* types of a value */
enum {
    IMAGE_WIDTH = 0x0100,
    IMAGE_LENGTH = 0x0101,
    ORIENTATION = 0x0112,
    EXIF_DIRECTORY = 0x8769,
    PIXEL_X_DIMENSION = 0xa002,
    PIXEL_Y_DIMENSION = 0xa003
};
enum { HEADER_SIZE = 8, ENTRY_SIZE = 12 };

static uint32_t get16(const uint8_t *exif, const uint8_t *p)
{
    return exif[0] == 'I' ? oriel_le16(p) : oriel_be16(p);
}

static uint32_t get32(const uint8_t *exif, const uint8_t *p)
{
    return exif[0] == 'I' ? oriel_le32(p) : oriel_be16(p) << 16 | oriel_be16(p + 2);
}

static void put16(const uint8_t *exif, uint8_t *p, uint32_t v)
{
    bool little = exif[0] == 'I';
    p[little ? 0 : 1] = (uint8_t)v;
    p[little ? 1 : 0] = (uint8_t)(v >> 8);
}

static void put32(const uint8_t *exif, uint8_t *p, uint32_t v)
{
    bool little = exif[0] == 'I';
    put16(exif, p, little ? v & 0xffff : v >> 16);
    put16(exif, p + 2, little ? v >> 16 : v & 0xffff);
}

bool oriel_exif_valid(const uint8_t *exif, size_t size)
{
    if (!exif || size < HEADER_SIZE || size > UINT32_MAX ||
        (memcmp(exif, "II*\0", 4) != 0 && memcmp(exif, "MM\0*", 4) != 0))
        return false;
    uint32_t at = get32(exif, exif + 4);
    return at >= HEADER_SIZE && at <= size - 2;
}

/* The number of entries of the directory at `at` that lie wholly inside the block. */
static uint32_t entries(const uint8_t *exif, size_t size, uint32_t at)
{
    if (at < HEADER_SIZE || at > size - 2)
        return 0;
    uint32_t n = get16(exif, exif + at), room = (uint32_t)((size - 2 - at) / ENTRY_SIZE);
    return n < room ? n : room;
}

/* The offset of the entry with this tag and one value of type SHORT or LONG; 0 if there is none. */
static uint32_t find(const uint8_t *exif, size_t size, uint32_t directory, uint32_t tag)
{
    uint32_t n = entries(exif, size, directory);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = directory + 2 + i * ENTRY_SIZE;
        const uint8_t *e = exif + at;
        uint32_t type = get16(exif, e + 2);
        if (get16(exif, e) == tag && (type == SHORT || type == LONG) && get32(exif, e + 4) == 1)
            return at;
    }
    return 0;
}

static uint32_t value(const uint8_t *exif, uint32_t entry)
{
    const uint8_t *e = exif + entry;
    return get16(exif, e + 2) == SHORT ? get16(exif, e + 8) : get32(exif, e + 8);
}

/* A SHORT becomes a LONG where the value needs it: both live in the entry's last four bytes. */
static void set_value(uint8_t *exif, uint32_t entry, uint32_t v)
{
    uint8_t *e = exif + entry;
    if (get16(exif, e + 2) == SHORT && v > 0xffff)
        put16(exif, e + 2, LONG);
    if (get16(exif, e + 2) == SHORT)
        put16(exif, e + 8, v);
    else
        put32(exif, e + 8, v);
}

static uint32_t first_directory(const uint8_t *exif)
{
    return get32(exif, exif + 4);
}

int oriel_exif_orientation(const uint8_t *exif, size_t size)
{
    if (!oriel_exif_valid(exif, size))
        return 1;
    uint32_t entry = find(exif, size, first_directory(exif), ORIENTATION);
    uint32_t v = entry ? value(exif, entry) : 1;
    return v >= 1 && v <= 8 ? (int)v : 1;
}

void oriel_exif_set_upright(uint8_t *exif, size_t size)
{
    if (!oriel_exif_valid(exif, size))
        return;
    uint32_t directory = first_directory(exif);
    uint32_t entry = find(exif, size, directory, ORIENTATION);
    if (entry)
        set_value(exif, entry, 1);
    /* The next directory is the thumbnail's: it is still lying on its side, so unlink it. */
    size_t next = directory + 2 + (size_t)get16(exif, exif + directory) * ENTRY_SIZE;
    if (next + 4 <= size)
        put32(exif, exif + next, 0);
}

static void set_if_there(uint8_t *exif, size_t size, uint32_t directory, uint32_t tag, uint32_t v)
{
    uint32_t entry = find(exif, size, directory, tag);
    if (entry)
        set_value(exif, entry, v);
}

void oriel_exif_set_size(uint8_t *exif, size_t size, int width, int height)
{
    if (!oriel_exif_valid(exif, size))
        return;
    uint32_t directory = first_directory(exif);
    uint32_t pointer = find(exif, size, directory, EXIF_DIRECTORY);
    /* Read before the first write: in a hostile block the directories may overlap. */
    uint32_t inner = pointer ? value(exif, pointer) : 0;
    set_if_there(exif, size, directory, IMAGE_WIDTH, (uint32_t)width);
    set_if_there(exif, size, directory, IMAGE_LENGTH, (uint32_t)height);
    set_if_there(exif, size, inner, PIXEL_X_DIMENSION, (uint32_t)width);
    set_if_there(exif, size, inner, PIXEL_Y_DIMENSION, (uint32_t)height);
}
