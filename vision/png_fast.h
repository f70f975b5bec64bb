/* SPDX-License-Identifier: Apache-2.0 */
/* PNG's picture data, fast: see png_fast.c. */
#ifndef VISION_PNG_FAST_H
#define VISION_PNG_FAST_H

#include "vision/image.h"

typedef struct png_fast png_fast;

/* For a picture that stays until the end. NULL: no memory. */
png_fast *png_fast_new(const oriel_image *img);
/* The next piece of the zlib stream of its filtered rows, valid until the next call; NULL at the
 * end. */
const uint8_t *png_fast_next(png_fast *f, size_t *size);
void png_fast_free(png_fast **f);

#endif
