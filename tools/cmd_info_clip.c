/* SPDX-License-Identifier: Apache-2.0 */
/* oriel info of a clip. */
#include <stdarg.h>

#include <oriel/video.h>

#include "cmd_info_clip.h"
#include "tool.h"

static const char *fields_name(oriel_fields f)
{
    return f == ORIEL_TOP_FIRST      ? "interlaced, top field first"
           : f == ORIEL_BOTTOM_FIRST ? "interlaced, bottom field first"
                                     : "progressive";
}

static const char *range_name(oriel_range r)
{
    return r == ORIEL_RANGE_LIMITED ? "limited" : r == ORIEL_RANGE_FULL ? "full" : "unknown";
}

static void print_row(const char *what, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_row(const char *what, const char *format, ...)
{
    va_list ap;
    printf("  %-14s", what);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
}

/* Of ITU-T H.273, the usual ones. */
static const char *code_name(int code, const char *const *names, int count, char buf[16])
{
    if (code == 0 || code == 2)
        return "unknown";
    if (code < count && names[code])
        return names[code];
    snprintf(buf, 16, "%d", code);
    return buf;
}

static void print_colour(const oriel_video_info *i)
{
    static const char *const primaries[] = {
        [1] = "BT.709", [5] = "BT.601 625", [6] = "BT.601 525", [9] = "BT.2020", [12] = "P3"};
    static const char *const transfer[] = {
        [1] = "BT.709",   [6] = "BT.601",   [8] = "linear", [13] = "sRGB",
        [14] = "BT.2020", [15] = "BT.2020", [16] = "PQ",    [18] = "HLG"};
    static const char *const matrix[] = {
        [1] = "BT.709", [5] = "BT.601", [6] = "BT.601", [9] = "BT.2020"};
    char a[16], b[16], c[16];
    if (i->pixels.model == ORIEL_PIXELS_YUV)
        print_row("matrix", "%s", code_name(i->colour.matrix, matrix, 10, a));
    print_row("primaries", "%s", code_name(i->colour.primaries, primaries, 13, b));
    print_row("transfer", "%s%s", code_name(i->colour.transfer, transfer, 19, c),
              i->hdr ? ", with HDR data" : "");
    print_row("range", "%s", range_name(i->colour.range));
}

static double rate_of(const oriel_video_info *i)
{
    return i->rate[1] ? (double)i->rate[0] / i->rate[1] : 0;
}

static void print_beside(const oriel_video_info *i)
{
    const struct {
        int count;
        const char *name;
    } beside[] = {{i->audio, "audio"},
                  {i->subtitles, "subtitles"},
                  {i->attachments, "attachments"},
                  {i->data, "data"},
                  {i->chapters, "chapters"}};
    for (int k = 0; k < 5; k++)
        if (beside[k].count)
            print_row(beside[k].name, "%d", beside[k].count);
}

static void print_for_people(const char *path, const oriel_video_info *i)
{
    char format[24];
    printf("%s\n", path);
    print_row("container", "%s", i->container);
    print_row("codec", "%s", i->codec);
    print_row("size", "%d x %d", i->width, i->height);
    print_row("format", "%s", oriel_pixels_name(i->pixels, format, sizeof format));
    print_colour(i);
    if (i->aspect[0] && i->aspect[0] != i->aspect[1])
        print_row("pixel aspect", "%d : %d", i->aspect[0], i->aspect[1]);
    if (i->rotation)
        print_row("rotation", "%d degrees clockwise", i->rotation);
    print_row("fields", "%s", fields_name(i->fields));
    print_row("rate", "%.6g frames a second (%d/%d)%s", rate_of(i), i->rate[0], i->rate[1],
              i->variable ? ", variable" : "");
    if (i->frames)
        print_row("frames", "%lld", (long long)i->frames);
    if (i->seconds > 0)
        print_row("seconds", "%.3f", i->seconds);
    print_beside(i);
}

static void json_text(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    json_string(stdout, text);
}

static void print_json(const char *path, const oriel_video_info *i)
{
    char format[24];
    printf("{\"file\":");
    json_string(stdout, path);
    json_text("container", i->container);
    json_text("codec", i->codec);
    printf(",\"width\":%d,\"height\":%d", i->width, i->height);
    json_text("pix_fmt", oriel_pixels_name(i->pixels, format, sizeof format));
    printf(",\"primaries\":%d,\"transfer\":%d,\"matrix\":%d", i->colour.primaries,
           i->colour.transfer, i->colour.matrix);
    json_text("range", range_name(i->colour.range));
    printf(",\"hdr\":%s,\"aspect\":\"%d:%d\",\"rotation\":%d", i->hdr ? "true" : "false",
           i->aspect[0], i->aspect[1], i->rotation);
    json_text("fields", fields_name(i->fields));
    printf(",\"rate\":\"%d/%d\",\"fps\":", i->rate[0], i->rate[1]);
    json_number(stdout, rate_of(i), 6);
    printf(",\"variable\":%s,\"frames\":%lld,\"seconds\":", i->variable ? "true" : "false",
           (long long)i->frames);
    json_number(stdout, i->seconds, 3);
    printf(",\"audio\":%d,\"subtitles\":%d,\"attachments\":%d,\"data\":%d,\"chapters\":%d}\n",
           i->audio, i->subtitles, i->attachments, i->data, i->chapters);
}

bool info_clip(const char *path, bool json)
{
    oriel_video_reader *r = NULL;
    if (oriel_video_open(&r, path, NULL))
        return false;
    if (json)
        print_json(path, oriel_video_info_of(r));
    else
        print_for_people(path, oriel_video_info_of(r));
    oriel_video_reader_free(&r);
    return true;
}
