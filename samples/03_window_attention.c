/* SPDX-License-Identifier: Apache-2.0 */
/* Where does a window lie? Neighbourhood attention, 7 x 7, over a map whose values are the coordinates of
 * its tokens: with queries of 0 all keys weigh the same, so what comes out is the middle of the window.
 * usage: 03_window_attention */
#include <oriel/attn.h>

#include <stdio.h>

enum { SIDE = 56, HEADS = 2, DIM = 2, WINDOW = 7 };

static float q[SIDE][SIDE][HEADS][DIM], k[SIDE][SIDE][HEADS][DIM], v[SIDE][SIDE][HEADS][DIM];
static float out[SIDE][SIDE][HEADS][DIM];

int main(void)
{
    const int64_t    shape[6] = {1, 1, SIDE, SIDE, HEADS, DIM}; /* (B, T, Y, X, H, D) */
    const oriel_axis near = {.kind = ORIEL_AXIS_NEIGHBOR, .size = WINDOW};
    const oriel_attn a = {.heads = HEADS, .dim = DIM, .extent = {1, SIDE, SIDE}, .axis = {{0}, near, near}};
    const int        tokens[][2] = {{28, 28}, {0, 0}, {1, 30}, {55, 54}};
    oriel_device    *dev;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int h = 0; h < HEADS; h++) {
                v[y][x][h][0] = (float)y;
                v[y][x][h][1] = (float)x;
            }
    oriel_attn_io io = {.q = oriel_tensor_of(q, ORIEL_F32, 6, shape),
                        .k = oriel_tensor_of(k, ORIEL_F32, 6, shape),
                        .v = oriel_tensor_of(v, ORIEL_F32, 6, shape),
                        .out = oriel_tensor_of(out, ORIEL_F32, 6, shape)};
    if (oriel_device_open(&dev, NULL) || oriel_attn_run(dev, &a, &io))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        const float *middle = out[tokens[i][0]][tokens[i][1]][1];
        printf("token %2d, %2d sees the window about %4.1f, %4.1f\n", tokens[i][0], tokens[i][1],
               (double)middle[0], (double)middle[1]);
    }
    oriel_device_free(&dev);
    return 0;
}
