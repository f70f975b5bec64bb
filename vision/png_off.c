/* SPDX-License-Identifier: Apache-2.0 */
/* In place of png.c in a build without libpng. */
#include "vision/image.h"

static oriel_status absent(void)
{
    return oriel_fail(ORIEL_E_UNSUPPORTED, "png: this build has no libpng; configure with "
                                           "-DORIEL_PNG=ON and libpng-dev installed");
}

oriel_status oriel_png_decode(oriel_image *img, const oriel_source *src)
{
    (void)img, (void)src;
    return absent();
}

oriel_status oriel_png_encode(oriel_buffer *out, const oriel_image *img,
                              const oriel_image_write_options *opt)
{
    (void)out, (void)img, (void)opt;
    return absent();
}
