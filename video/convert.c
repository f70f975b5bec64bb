/* SPDX-License-Identifier: Apache-2.0 */
#include "video/video.h"

oriel_colour oriel_frame_colour(const oriel_frame *f)
{
    oriel_colour c = f->colour;
    bool rgb = f->pixels.model == ORIEL_PIXELS_RGB;
    int guess = f->height < 720 ? 6 : 1;
    if (rgb)
        c.matrix = 0;
    else if (c.matrix == 2 || c.matrix == 0)
        c.matrix = guess;
    if (!c.range)
        c.range = rgb ? ORIEL_RANGE_FULL : ORIEL_RANGE_LIMITED;
    return c;
}
