/* SPDX-License-Identifier: Apache-2.0 */
/* In place of jpeg.c in a build without stb_image. */
#include "vision/image.h"

oriel_status oriel_jpeg_decode(oriel_image *img, const oriel_source *src)
{
    (void)img, (void)src;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "jpeg: this build has no stb_image; configure with "
                                           "-DORIEL_STB=ON and libstb-dev installed");
}
