/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first line of YUV4MPEG2: "YUV4MPEG2 W1920 H1080 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED".
 * The tags are those of mjpegtools' yuv4mpeg(5) and, for more than 8 bits and for range, FFmpeg's.
 */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "video/plain.h"

/* A C tag says what chroma is and where; high depths ("420p10", "mono16") do not say where. */
static const struct {
    const char       *name;
    oriel_pixels      pixels; /* depth 0: bits follow */
    oriel_chroma_site site;
} tags[] = {
    {"420jpeg", {ORIEL_PIXELS_YUV, 8, 1, 1, false}, ORIEL_CHROMA_CENTER},
    {"420mpeg2", {ORIEL_PIXELS_YUV, 8, 1, 1, false}, ORIEL_CHROMA_LEFT},
    {"420paldv", {ORIEL_PIXELS_YUV, 8, 1, 1, false}, ORIEL_CHROMA_TOPLEFT},
    {"420", {ORIEL_PIXELS_YUV, 8, 1, 1, false}, ORIEL_CHROMA_CENTER},
    {"422", {ORIEL_PIXELS_YUV, 8, 1, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"444", {ORIEL_PIXELS_YUV, 8, 0, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"440", {ORIEL_PIXELS_YUV, 8, 0, 1, false}, ORIEL_CHROMA_UNKNOWN},
    {"411", {ORIEL_PIXELS_YUV, 8, 2, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"mono", {ORIEL_PIXELS_GREY, 8, 0, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"444alpha", {ORIEL_PIXELS_YUV, 8, 0, 0, true}, ORIEL_CHROMA_UNKNOWN},
    {"420p", {ORIEL_PIXELS_YUV, 0, 1, 1, false}, ORIEL_CHROMA_UNKNOWN},
    {"422p", {ORIEL_PIXELS_YUV, 0, 1, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"444p", {ORIEL_PIXELS_YUV, 0, 0, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"440p", {ORIEL_PIXELS_YUV, 0, 0, 1, false}, ORIEL_CHROMA_UNKNOWN},
    {"411p", {ORIEL_PIXELS_YUV, 0, 2, 0, false}, ORIEL_CHROMA_UNKNOWN},
    {"mono", {ORIEL_PIXELS_GREY, 0, 0, 0, false}, ORIEL_CHROMA_UNKNOWN},
};
enum { TAGS = sizeof tags / sizeof *tags, MAX_PIXELS = 1 << 28 };

static bool number(const char **at, int *v)
{
    int64_t n = 0;
    const char *p = *at;
    for (; isdigit((unsigned char)*p) && n <= INT_MAX; p++)
        n = 10 * n + (*p - '0');
    bool ok = p > *at && n <= INT_MAX;
    *at = p;
    *v = ok ? (int)n : 0;
    return ok;
}

static bool whole(const char *at, int *v)
{
    return number(&at, v) && !*at;
}

static bool ratio(const char *at, int v[2])
{
    return number(&at, &v[0]) && *at++ == ':' && whole(at, &v[1]);
}

/* Upper case is XYSCSS's. */
static bool chroma(y4m_head *h, const char *tag)
{
    for (int k = 0; k < TAGS; k++) {
        size_t n = strlen(tags[k].name);
        int depth = tags[k].pixels.depth;
        if (strncasecmp(tag, tags[k].name, n) != 0 || (depth ? tag[n] != 0 : !whole(tag + n, &depth)) || depth < 8 ||
            depth > 16)
            continue;
        h->pixels = tags[k].pixels;
        h->pixels.depth = depth;
        h->site = tags[k].site;
        return true;
    }
    return false;
}

static bool fields(y4m_head *h, const char *value)
{
    h->mixed = *value == 'm';
    h->fields = *value == 't' ? ORIEL_TOP_FIRST : *value == 'b' ? ORIEL_BOTTOM_FIRST : ORIEL_PROGRESSIVE;
    return *value && strchr("ptbm?", *value) && !value[1];
}

/* One parameter. sub: the value of XYSCSS, which counts where there is no C. */
static oriel_status parameter(y4m_head *h, const char *p, const char *name, const char **sub, bool *tagged)
{
    bool ok = true;
    switch (*p) {
    case 'W': ok = whole(p + 1, &h->width); break;
    case 'H': ok = whole(p + 1, &h->height); break;
    case 'F': ok = ratio(p + 1, h->rate); break;
    case 'A': ok = ratio(p + 1, h->aspect); break;
    case 'I': ok = fields(h, p + 1); break;
    case 'C':
        *tagged = true;
        if (!chroma(h, p + 1))
            return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: y4m: colour space \"%s\" is not known", name, p + 1);
        break;
    case 'X':
        if (!strncmp(p, "XYSCSS=", 7))
            *sub = p + 7;
        else if (!strcasecmp(p, "XCOLORRANGE=FULL"))
            h->range = ORIEL_RANGE_FULL;
        else if (!strcasecmp(p, "XCOLORRANGE=LIMITED"))
            h->range = ORIEL_RANGE_LIMITED;
        break;
    default: oriel_logf(ORIEL_LOG_DEBUG, "%s: y4m: \"%s\" means nothing to us", name, p);
    }
    return ok ? ORIEL_OK : oriel_fail(ORIEL_E_FORMAT, "%s: y4m: \"%s\" in the first line", name, p);
}

oriel_status y4m_parse(y4m_head *h, const char *line, const char *name)
{
    char text[Y4M_LINE];
    const char *sub = NULL;
    bool tagged = false;
    *h = (y4m_head){0};
    if (strncmp(line, "YUV4MPEG2", 9) != 0 || (line[9] && line[9] != ' '))
        return oriel_fail(ORIEL_E_FORMAT, "%s: not y4m", name);
    snprintf(text, sizeof text, "%s", line + 9);
    for (char *rest = text, *p; (p = strtok_r(rest, " ", &rest));) {
        oriel_status s = parameter(h, p, name, &sub, &tagged);
        if (s)
            return s;
    }
    if (!tagged && !chroma(h, sub ? sub : "420jpeg"))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: y4m: colour space \"%s\" is not known", name, sub);
    if (!h->width || !h->height)
        return oriel_fail(ORIEL_E_FORMAT, "%s: y4m: %s in the first line", name,
                          h->width || h->height ? "one side alone" : "no size");
    if (oriel_frame_check(h->width, h->height, h->pixels))
        return oriel_fail(ORIEL_E_FORMAT, "%s: y4m: %d x %d pixels", name, h->width, h->height);
    if ((int64_t)h->width * h->height > MAX_PIXELS) /* a pipe does not say how much will come */
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: frames of %d x %d pixels: 2^28 are the most", name, h->width,
                          h->height);
    if (!h->aspect[0] || !h->aspect[1])
        h->aspect[0] = h->aspect[1] = 0;
    return ORIEL_OK;
}

bool y4m_print(const y4m_head *h, char *line, size_t size)
{
    oriel_pixels p = h->pixels;
    /* what nobody said is taken as LEFT */
    oriel_chroma_site site = h->site ? h->site : ORIEL_CHROMA_LEFT;
    for (int k = 0; k < TAGS; k++) {
        oriel_pixels t = tags[k].pixels;
        char bits[8] = "";
        if (t.model != p.model || t.shift_x != p.shift_x || t.shift_y != p.shift_y || t.alpha != p.alpha ||
            (t.depth && t.depth != p.depth) || (t.depth && tags[k].site && tags[k].site != site))
            continue;
        if (!t.depth)
            snprintf(bits, sizeof bits, "%d", p.depth & 31);
        int n = snprintf(line, size, "YUV4MPEG2 W%d H%d F%d:%d I%c A%d:%d C%s%s%s", h->width, h->height, h->rate[0],
                         h->rate[1], "ptb"[h->fields], h->aspect[0], h->aspect[1], tags[k].name, bits,
                         h->range == ORIEL_RANGE_FULL      ? " XCOLORRANGE=FULL"
                         : h->range == ORIEL_RANGE_LIMITED ? " XCOLORRANGE=LIMITED"
                                                           : "");
        return n > 0 && (size_t)n < size;
    }
    return false;
}
