/* SPDX-License-Identifier: Apache-2.0 */
/* Frames and tensors of RGB: what colour says, in numbers that rows are computed with. */
#ifndef VIDEO_CONVERT_H
#define VIDEO_CONVERT_H

#include "video/video.h"

/* Codes of samples are numbers as stored; RGB is nominally 0 to 1.
 * RGB = to (codes - zero); codes = from RGB + zero. Of grey, the first row and column alone. */
typedef struct video_matrix {
    float to[3][3], from[3][3], zero[3];
} video_matrix;

/* colour: all fields known (oriel_frame_colour()). ORIEL_E_UNSUPPORTED */
oriel_status video_matrix_of(video_matrix *m, oriel_pixels p, const oriel_colour *colour);

#endif
