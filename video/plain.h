/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that lie uncompressed in a file or pipe: what y4m and raw share. */
#ifndef VIDEO_PLAIN_H
#define VIDEO_PLAIN_H

#include "video/video.h"

/* How a frame's planes lie in the bytes of one frame: one after the other, or interleaved in planes of
 * the file. Samples of two bytes are little-endian. */
typedef struct plain_layout {
    oriel_pixels pixels;
    int          bytes; /* of a sample in the file: 1 or 2 */
    int          low;   /* unused bits below a sample: 6 for p010le */
    int          planes; /* of the file */
    struct {
        int plane, step, offset; /* of the file; samples from one to the next, and before the first */
    } of[ORIEL_PLANES];          /* each of the frame's planes */
} plain_layout;

/* Planes in FFmpeg's order: Y, Cb, Cr, alpha; G, B, R, alpha. */
plain_layout plain_planar(oriel_pixels p);
/* "yuv420p", "nv12", "rgb24", "p010le", ... False for a name that is not known. */
bool plain_layout_named(plain_layout *l, const char *name);

/* One plane of the file: bytes a row, rows. */
void   plain_plane(const plain_layout *l, int width, int height, int plane, size_t *row, int *rows);
size_t plain_frame_bytes(const plain_layout *l, int width, int height);

/* Row y of a plane of the file into f's planes. True if a sample was over what the depth holds; it is
 * cut to that. */
bool plain_unpack(const plain_layout *l, int plane, oriel_frame *f, int y, const uint8_t *row);
/* And out of f's planes; bytes that no plane fills are zero. */
void plain_pack(const plain_layout *l, int plane, const oriel_frame *f, int y, uint8_t *row, size_t size);

/* A stretch of rows small enough to stay in the cache between the kernel's copy and ours. */
enum { PLAIN_CHUNK = 1 << 18 };

/* What the first line of a y4m clip says; site and range are UNKNOWN where it does not. */
typedef struct y4m_head {
    int               width, height, rate[2], aspect[2];
    oriel_pixels      pixels;
    oriel_chroma_site site;
    oriel_range       range;
    oriel_fields      fields;
    bool              mixed; /* each frame says its own fields */
} y4m_head;

enum { Y4M_LINE = 1024 };

/* line: without its end. ORIEL_E_FORMAT, ORIEL_E_UNSUPPORTED (a C tag that is not known) */
oriel_status y4m_parse(y4m_head *h, const char *line, const char *name);
/* The same, written; false if y4m has no tag for the pixels. */
bool y4m_print(const y4m_head *h, char *line, size_t size);

#endif
