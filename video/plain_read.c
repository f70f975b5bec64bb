/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of uncompressed frames: y4m, and raw frames whose form the caller says. */
#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

#include "video/plain.h"

typedef struct plain_reader {
    oriel_video_reader r;
    video_bytes        in;
    plain_layout       layout;
    uint8_t           *chunk; /* rows of a plane of the file */
    size_t             chunk_size, frame_bytes;
    int64_t            next; /* frame */
    bool               y4m, mixed;
} plain_reader;

/* Bytes still to come; -1: a pipe. */
static int64_t bytes_left(const video_bytes *b)
{
    struct stat st;
    off_t at = lseek(b->fd, 0, SEEK_CUR);
    if (at < 0 || fstat(b->fd, &st) || !S_ISREG(st.st_mode))
        return -1;
    int64_t left = st.st_size > at ? st.st_size - at : 0;
    return left + (int64_t)(b->peeked - b->at);
}

/* ---- frames ------------------------------------------------------------------------------- */

static oriel_status cut_short(plain_reader *r)
{
    r->r.damage.packets++;
    if (r->r.opt.strict)
        return oriel_fail(ORIEL_E_FORMAT, "%s: frame %lld is cut short", r->in.name, (long long)r->next);
    oriel_logf(ORIEL_LOG_WARN, "%s: frame %lld is cut short and left out", r->in.name, (long long)r->next);
    return ORIEL_EOF;
}

/* ORIEL_EOF: a plane is cut short. *had: bytes read; *over: samples were over what the depth holds. */
static oriel_status read_plane(plain_reader *r, oriel_frame *f, int plane, size_t *had, bool *over)
{
    size_t row, got;
    int rows;
    plain_plane(&r->layout, f->width, f->height, plane, &row, &rows);
    for (int y = 0, n; y < rows; y += n) {
        n = (int)oriel_min((int64_t)(r->chunk_size / row), rows - y);
        oriel_status s = video_bytes_read(&r->in, r->chunk, row * (size_t)n, &got);
        if (s)
            return s;
        *had += got;
        if (got < row * (size_t)n)
            return ORIEL_EOF;
        for (int k = 0; k < n; k++)
            *over |= plain_unpack(&r->layout, plane, f, y + k, r->chunk + row * (size_t)k);
    }
    return ORIEL_OK;
}

/* ORIEL_EOF: nothing more, or a frame that is cut short and is not strictly minded. */
static oriel_status read_planes(plain_reader *r, oriel_frame *f)
{
    const oriel_video_info *i = &r->r.info;
    int64_t left = bytes_left(&r->in);
    size_t had = 0;
    if (!left && !r->y4m)
        return ORIEL_EOF;
    if (left >= 0 && (uint64_t)left < r->frame_bytes) /* no memory for what a header merely claims */
        return cut_short(r);
    oriel_status s = oriel_frame_new(f, i->width, i->height, i->pixels);
    bool over = false;
    for (int p = 0; !s && p < r->layout.planes; p++)
        s = read_plane(r, f, p, &had, &over);
    if (s) {
        oriel_frame_free(f);
        return s != ORIEL_EOF ? s : had || r->y4m ? cut_short(r) : ORIEL_EOF;
    }
    if (over && r->r.opt.strict) {
        oriel_frame_free(f);
        return oriel_fail(ORIEL_E_FORMAT, "%s: frame %lld has samples of more than %d bits", r->in.name,
                          (long long)r->next, i->pixels.depth);
    }
    if (over && !r->r.damage.frames++)
        oriel_logf(ORIEL_LOG_WARN, "%s: frame %lld has samples of more than %d bits; they are cut to that", r->in.name,
                   (long long)r->next, i->pixels.depth);
    f->colour = i->colour;
    f->aspect[0] = i->aspect[0];
    f->aspect[1] = i->aspect[1];
    f->fields = i->fields;
    f->pts = r->next++;
    f->duration = 1;
    return ORIEL_OK;
}

static oriel_status raw_read(oriel_video_reader *face, oriel_frame *f)
{
    return read_planes((plain_reader *)face, f);
}

/* Up to the next line feed, which is dropped; *ended: it was there. Bytes come one by one: lines are rare
 * and short, and what follows them is not theirs to swallow. */
static oriel_status read_line(video_bytes *b, char line[Y4M_LINE], bool *ended)
{
    size_t got;
    *ended = false;
    for (size_t n = 0; n < Y4M_LINE; n++) {
        oriel_status s = video_bytes_read(b, line + n, 1, &got);
        if (s)
            return s;
        *ended = got && line[n] == '\n';
        if (!got || *ended) {
            line[n] = 0;
            return ORIEL_OK;
        }
        if (!line[n])
            break;
    }
    return oriel_fail(ORIEL_E_FORMAT, "%s: y4m: a line of more than %d characters, or no text", b->name, Y4M_LINE - 1);
}

/* "FRAME" and its parameters. Of those, I is looked at: presentation (t, T, b, B, 1, 2, 3), then p or i
 * for how the fields were taken in time. */
static oriel_status frame_line(plain_reader *r, oriel_fields *fields)
{
    char head[6], line[Y4M_LINE], *rest = line;
    size_t got;
    bool ended = true;
    oriel_status s = video_bytes_read(&r->in, head, sizeof head, &got);
    if (s)
        return s;
    if (!got)
        return ORIEL_EOF;
    if (memcmp(head, "FRAME", got < 5 ? got : 5) != 0 || (got == 6 && head[5] != '\n' && head[5] != ' '))
        return oriel_fail(ORIEL_E_FORMAT, "%s: y4m: frame %lld does not begin with FRAME", r->in.name,
                          (long long)r->next);
    line[0] = 0;
    if (got == 6 && head[5] == ' ' && (s = read_line(&r->in, line, &ended)))
        return s;
    if (got < 6 || !ended)
        return cut_short(r);
    for (char *p; (p = strtok_r(rest, " ", &rest));)
        if (r->mixed && *p == 'I' && p[1] && p[2] == 'i')
            *fields = tolower((unsigned char)p[1]) == 't'   ? ORIEL_TOP_FIRST
                      : tolower((unsigned char)p[1]) == 'b' ? ORIEL_BOTTOM_FIRST
                                                            : ORIEL_PROGRESSIVE;
    return ORIEL_OK;
}

static oriel_status y4m_read(oriel_video_reader *face, oriel_frame *f)
{
    plain_reader *r = (plain_reader *)face;
    oriel_fields fields = face->info.fields;
    oriel_status s = frame_line(r, &fields);
    if (s || (s = read_planes(r, f)))
        return s;
    f->fields = fields;
    return ORIEL_OK;
}

static void plain_free(oriel_video_reader *face)
{
    plain_reader *r = (plain_reader *)face;
    video_bytes_close(&r->in);
    oriel_dealloc(r->chunk);
    oriel_dealloc(r);
}

/* ---- opening ------------------------------------------------------------------------------ */

static plain_reader *reader_new(const video_reader_ops *ops, video_bytes *b, bool y4m)
{
    plain_reader *r = oriel_alloc_zero(1, sizeof *r);
    if (!r) {
        video_bytes_close(b);
        return NULL;
    }
    r->r.ops = ops;
    r->in = *b;
    r->y4m = y4m;
    return r;
}

/* What follows from the layout, the size and the rate. r is freed on failure. */
static oriel_status ready(oriel_video_reader **out, plain_reader *r, int width, int height, const int rate[2])
{
    oriel_video_info *i = &r->r.info;
    size_t row, widest = 0;
    int rows;
    i->width = width;
    i->height = height;
    i->pixels = r->layout.pixels;
    i->time_base[0] = i->rate[1] = rate[1];
    i->time_base[1] = i->rate[0] = rate[0];
    strcpy(i->container, r->y4m ? "y4m" : "raw");
    strcpy(i->codec, "rawvideo");
    r->frame_bytes = plain_frame_bytes(&r->layout, width, height);
    int64_t left = bytes_left(&r->in);
    if (left > 0)
        i->frames = left / (int64_t)(r->frame_bytes + (r->y4m ? 6 : 0)); /* "FRAME\n" */
    i->seconds = (double)i->frames * rate[1] / rate[0];
    for (int p = 0; p < r->layout.planes; p++) {
        plain_plane(&r->layout, width, height, p, &row, &rows);
        widest = row > widest ? row : widest;
    }
    r->chunk_size = widest > PLAIN_CHUNK ? widest : PLAIN_CHUNK;
    if (!(r->chunk = oriel_alloc(r->chunk_size))) {
        plain_free(&r->r);
        return ORIEL_E_NOMEM;
    }
    *out = &r->r;
    return ORIEL_OK;
}

oriel_status video_y4m_open(oriel_video_reader **out, video_bytes *b, const oriel_video_reader_options *opt)
{
    static const video_reader_ops ops = {y4m_read, plain_free};
    char line[Y4M_LINE];
    y4m_head h;
    bool ended;
    (void)opt;
    plain_reader *r = reader_new(&ops, b, true);
    if (!r)
        return ORIEL_E_NOMEM;
    oriel_status s = read_line(&r->in, line, &ended);
    if (!s)
        s = y4m_parse(&h, line, r->in.name);
    if (!s && !ended)
        s = oriel_fail(ORIEL_E_FORMAT, "%s: y4m: the first line is cut short", r->in.name);
    if (s) {
        plain_free(&r->r);
        return s;
    }
    if (!h.rate[0] || !h.rate[1]) {
        oriel_logf(ORIEL_LOG_WARN, "%s: no frame rate: taken as 25", r->in.name);
        h.rate[0] = 25;
        h.rate[1] = 1;
    }
    r->layout = plain_planar(h.pixels);
    r->mixed = h.mixed;
    r->r.info.colour.site = h.site;
    r->r.info.colour.range = h.range;
    r->r.info.fields = h.fields;
    r->r.info.aspect[0] = h.aspect[0];
    r->r.info.aspect[1] = h.aspect[1];
    return ready(out, r, h.width, h.height, h.rate);
}

/* ---- "WxH:pix_fmt:fps" -------------------------------------------------------------------- */

/* Digits, at most nine. */
static bool digits(const char **at, int *v)
{
    const char *begin = *at;
    for (*v = 0; isdigit((unsigned char)**at) && *at - begin < 9; (*at)++)
        *v = 10 * *v + (**at - '0');
    return *at > begin && !isdigit((unsigned char)**at);
}

/* "25", "30000/1001", "23.976" */
static bool rate_of(const char *at, int rate[2])
{
    rate[1] = 1;
    if (!digits(&at, &rate[0]))
        return false;
    if (*at == '.' && rate[0] < 100000) {
        for (at++; isdigit((unsigned char)*at) && rate[1] < 10000; at++) {
            rate[0] = 10 * rate[0] + (*at - '0');
            rate[1] *= 10;
        }
        int a = rate[0], b = rate[1];
        while (b) {
            int t = a % b;
            a = b;
            b = t;
        }
        if (a) {
            rate[0] /= a;
            rate[1] /= a;
        }
    } else if (*at == '/') {
        at++;
        if (!digits(&at, &rate[1]))
            return false;
    }
    return !*at && rate[0] > 0 && rate[1] > 0;
}

static oriel_status raw_form(const char *raw, plain_layout *l, int size[2], int rate[2])
{
    char name[24] = "";
    const char *at = raw, *colon;
    if (!digits(&at, &size[0]) || *at++ != 'x' || !digits(&at, &size[1]) || *at++ != ':' || !(colon = strchr(at, ':')))
        return oriel_fail(ORIEL_E_ARG, "raw frames: \"%s\" is not WIDTHxHEIGHT:pix_fmt:fps, as 1920x1080:nv12:25", raw);
    if (colon - at < (ptrdiff_t)sizeof name)
        memcpy(name, at, (size_t)(colon - at));
    if (!plain_layout_named(l, name))
        return oriel_fail(ORIEL_E_ARG, "raw frames: pix_fmt \"%.*s\" is not known (planar formats as FFmpeg names them, "
                          "nv12, p010le, yuyv422, rgb24, bgra, ...)", (int)(colon - at < 64 ? colon - at : 64), at);
    if (!rate_of(colon + 1, rate))
        return oriel_fail(ORIEL_E_ARG, "raw frames: \"%s\" is no frame rate: 25, 23.976, 30000/1001", colon + 1);
    return oriel_frame_check(size[0], size[1], l->pixels);
}

oriel_status video_raw_open(oriel_video_reader **out, video_bytes *b, const oriel_video_reader_options *opt)
{
    static const video_reader_ops ops = {raw_read, plain_free};
    int size[2] = {0}, rate[2] = {0};
    plain_layout l;
    oriel_status s = raw_form(opt->raw, &l, size, rate);
    if (s) {
        video_bytes_close(b);
        return s;
    }
    plain_reader *r = reader_new(&ops, b, false);
    if (!r)
        return ORIEL_E_NOMEM;
    r->layout = l;
    return ready(out, r, size[0], size[1], rate);
}
