/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a y4m clip. What opens has a size that fits what it says, frames of that size in order, and
 * a first line that, written again, says the same. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "video/plain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void head_again(const oriel_video_info *i)
{
    y4m_head h = {.width = i->width, .height = i->height, .pixels = i->pixels, .site = i->colour.site,
                  .range = i->colour.range, .fields = i->fields, .rate = {i->rate[0], i->rate[1]},
                  .aspect = {i->aspect[0], i->aspect[1]}}, again;
    char line[Y4M_LINE];
    check(y4m_print(&h, line, sizeof line));
    check(!y4m_parse(&again, line, "again"));
    check(again.width == h.width && again.height == h.height && again.pixels.model == h.pixels.model &&
          again.pixels.depth == h.pixels.depth && again.pixels.shift_x == h.pixels.shift_x &&
          again.pixels.shift_y == h.pixels.shift_y && again.pixels.alpha == h.pixels.alpha && again.range == h.range &&
          again.fields == h.fields && !memcmp(again.rate, h.rate, sizeof h.rate) &&
          !memcmp(again.aspect, h.aspect, sizeof h.aspect));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const oriel_video_reader_options opt = {0};
    oriel_video_reader *r = NULL;
    oriel_frame f;
    oriel_status s;
    int64_t bytes = 0, frames = 0, rows = 0;
    video_bytes b = {.fd = memfd_create("y4m", 0), .name = "fuzzed"};
    check(b.fd >= 0 && write(b.fd, data, size) == (ssize_t)size && !lseek(b.fd, 0, SEEK_SET));
    if (video_y4m_open(&r, &b, &opt)) {
        check(!r && oriel_error()[0]);
        return 0;
    }
    const oriel_video_info *i = oriel_video_info_of(r);
    check(!oriel_frame_check(i->width, i->height, i->pixels));
    check(i->rate[0] > 0 && i->rate[1] > 0 && i->frames >= 0 && (uint64_t)i->frames <= size);
    head_again(i);
    while (!(s = oriel_video_read(r, &f))) {
        check(f.width == i->width && f.height == i->height && f.pts == frames++);
        for (int k = 0; k < oriel_pixels_planes(f.pixels); k++) {
            int w, h;
            oriel_frame_plane_size(&f, k, &w, &h);
            bytes += (int64_t)w * h;
            rows += f.plane[k][(h - 1) * f.stride[k]] > 0;
        }
        oriel_frame_free(&f);
    }
    check(s == ORIEL_EOF || s == ORIEL_E_FORMAT);
    check(bytes <= (int64_t)size && rows <= bytes && oriel_video_damage_of(r).packets <= 1);
    oriel_video_reader_free(&r);
    return 0;
}
