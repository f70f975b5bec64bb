/* SPDX-License-Identifier: Apache-2.0 */
/* An outside program: a clip of two frames written, read again and made RGB.
 * usage: clip FILE.y4m */
#include <oriel/video.h>

#include <stdio.h>
#include <string.h>

static oriel_status write_clip(const char *path)
{
    const oriel_video_info info = {.width = 5, .height = 3, .pixels = {.depth = 8, .shift_x = 1, .shift_y = 1},
                                   .time_base = {1, 25}, .rate = {25, 1}};
    oriel_video_writer *w = NULL;
    oriel_frame f = {0};
    oriel_status s = oriel_video_create(&w, path, &info, NULL);
    for (int i = 0; !s && i < 2; i++) {
        if ((s = oriel_frame_new(&f, info.width, info.height, info.pixels)))
            break;
        for (int k = 0; k < oriel_pixels_planes(f.pixels); k++) {
            int width, height;
            oriel_frame_plane_size(&f, k, &width, &height);
            memset(f.plane[k], k ? 128 : 235, (size_t)f.stride[k] * (size_t)height);
        }
        f.pts = i;
        s = oriel_video_write(w, &f);
        oriel_frame_free(&f);
    }
    if (!s)
        s = oriel_video_finish(w);
    oriel_video_writer_free(&w);
    return s;
}

int main(int argc, char **argv)
{
    oriel_video_reader *r = NULL;
    oriel_frame f = {0};
    float rgb[3 * 5 * 3];
    int frames = 0, white = 0;
    oriel_status s = argc == 2 ? write_clip(argv[1]) : ORIEL_E_ARG;
    if (s || (s = oriel_video_open(&r, argv[1], NULL)))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    while (!(s = oriel_video_read(r, &f))) {
        if (oriel_frame_to_tensor(&f, oriel_tensor_of(rgb, ORIEL_F32, 3, (const int64_t[]){3, 5, 3})))
            break;
        for (int i = 0; i < 3 * 5 * 3; i++)
            white += rgb[i] > 0.999f && rgb[i] < 1.001f;
        frames++;
        oriel_frame_free(&f);
    }
    oriel_frame_free(&f);
    oriel_video_reader_free(&r);
    remove(argv[1]);
    printf("%d frames; %s\n", frames, oriel_video_backend());
    return !(s == ORIEL_EOF && frames == 2 && white == 2 * 3 * 5 * 3);
}
