/* SPDX-License-Identifier: Apache-2.0 */
/* Windows that a network computes from the size of its input. */
#include "attn2d3d/window.h"

#include <math.h>

/* The published rule: counts of windows on an area of 45 x 80 latent tokens and 30 frames; halves round
 * to even; the border of a shifted window lies at the half rounded down. */
void oriel_seedvr_windows(oriel_axis axis[3], const int extent[3], bool shifted)
{
    double scale = sqrt(45.0 * 80.0 / ((double)extent[1] * extent[2]));
    double size[3] = {ceil((extent[0] < 30 ? extent[0] : 30) / 4.0), ceil(rint(extent[1] * scale) / 3.0),
                      ceil(rint(extent[2] * scale) / 3.0)};
    for (int x = 0; x < 3; x++) {
        bool whole = size[x] >= extent[x];
        axis[x] = (oriel_axis){.kind = ORIEL_AXIS_BLOCK, .size = whole ? extent[x] : (int)fmax(size[x], 1)};
        axis[x].shift = shifted && !whole ? axis[x].size / 2 : 0;
    }
}
