/* SPDX-License-Identifier: Apache-2.0 */
/* Writers of uncompressed frames: y4m and raw, to files, pipes and devices. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "video/plain.h"

typedef struct plain_writer {
    oriel_video_writer w;
    int                fd;
    plain_layout       layout;
    char               head[Y4M_LINE]; /* y4m's first line with its end; "" for raw */
    size_t             frame_bytes;    /* "FRAME\n" included */
    uint8_t           *chunk;          /* bytes on their way */
    size_t             chunk_size, filled;
    int64_t            begun, first; /* frames of this run, pts of its first */
    bool               uneven, made; /* said so; the part file is new */
} plain_writer;

/* ---- bytes -------------------------------------------------------------------------------- */

static const char frame_line[] = "FRAME\n";
enum { FRAME_LINE = sizeof frame_line - 1 };

static oriel_status write_bytes(plain_writer *p, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = write(p->fd, data, size < 1 << 30 ? size : 1 << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){.fd = p->fd, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (n < 0 && errno == EPIPE)
            return oriel_fail(ORIEL_E_IO, "%s: the reader of the pipe is gone", p->w.path);
        if (n <= 0)
            return oriel_fail(ORIEL_E_IO, "%s: %s", p->w.path, strerror(n ? errno : ENOSPC));
        data += n;
        size -= (size_t)n;
    }
    return ORIEL_OK;
}

/* SIGPIPE must neither end the process nor stay behind: it is held back while we write, and the one that
 * we caused is taken away. */
static oriel_status flush(plain_writer *p)
{
    sigset_t pipe_alone, before, pending;
    sigemptyset(&pipe_alone);
    sigaddset(&pipe_alone, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_alone, &before);
    oriel_status s = write_bytes(p, p->chunk, p->filled);
    if (s && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_alone, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->filled = 0;
    return s;
}

static oriel_status put(plain_writer *p, const void *data, size_t size)
{
    oriel_status s = p->filled + size > p->chunk_size ? flush(p) : ORIEL_OK;
    memcpy(p->chunk + p->filled, data, size); /* lines: always smaller than a chunk */
    p->filled += size;
    return s;
}

static oriel_status put_plane(plain_writer *p, const oriel_frame *f, int plane)
{
    oriel_status s = ORIEL_OK;
    size_t row;
    int rows;
    plain_plane(&p->layout, f->width, f->height, plane, &row, &rows);
    for (int y = 0; !s && y < rows; y++) {
        if (p->filled + row > p->chunk_size)
            s = flush(p);
        plain_pack(&p->layout, plane, f, y, p->chunk + p->filled, row);
        p->filled += row;
    }
    return s;
}

/* ---- times -------------------------------------------------------------------------------- */

/* y4m and raw frames have a rate and no times: said once, when a frame is half a frame off. */
static void note_times(plain_writer *p, const oriel_frame *f)
{
    const oriel_video_info *i = &p->w.frames;
    if (!p->begun)
        p->first = f->pts;
    if (p->uneven || !i->rate[0])
        return;
    double unit = (double)i->time_base[0] / i->time_base[1] * i->rate[0] / i->rate[1]; /* frames a unit of pts */
    if (fabs((double)(f->pts - p->first) * unit - (double)p->begun) <= 0.5 + 0.25 * unit) /* pts are rounded */
        return;
    p->uneven = true;
    video_note(&p->w, "frames are not evenly spaced in time, which %s cannot say: they are written one after the "
               "other, as if %g a second", p->w.done.container, (double)i->rate[0] / i->rate[1]);
}

/* ---- the writer --------------------------------------------------------------------------- */

static oriel_status plain_write(oriel_video_writer *w, const oriel_frame *f)
{
    plain_writer *p = (plain_writer *)w;
    oriel_status s = p->head[0] ? put(p, frame_line, FRAME_LINE) : ORIEL_OK;
    note_times(p, f);
    p->begun++;
    for (int k = 0; !s && k < p->layout.planes; k++)
        s = put_plane(p, f, k);
    return s ? s : flush(p); /* whole frames: a pipe's reader waits for none */
}

/* A frame that was cut short, by a full disk perhaps, is taken off. */
static oriel_status plain_finish(oriel_video_writer *w, bool complete)
{
    plain_writer *p = (plain_writer *)w;
    oriel_status s = ORIEL_OK;
    if (w->part && w->failed) {
        off_t whole = (off_t)(strlen(p->head) + (size_t)w->done.frames * p->frame_bytes);
        struct stat st;
        if (!fstat(p->fd, &st) && st.st_size > whole && ftruncate(p->fd, whole))
            s = oriel_fail(ORIEL_E_IO, "%s: %s", w->part, strerror(errno));
    }
    if (p->fd != STDOUT_FILENO && close(p->fd) && !s)
        s = oriel_fail(ORIEL_E_IO, "%s: %s", w->path, strerror(errno));
    p->fd = -1;
    return s || !complete || !w->part ? s : video_publish(w->part, w->path, w->overwrite);
}

static void plain_free(oriel_video_writer *w)
{
    plain_writer *p = (plain_writer *)w;
    oriel_dealloc(p->chunk);
    oriel_dealloc(p);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void discard(plain_writer *p)
{
    if (p->fd > STDOUT_FILENO)
        close(p->fd);
    oriel_dealloc(p->w.notes);
    oriel_dealloc(p->w.path);
    oriel_dealloc(p->w.part);
    plain_free(&p->w);
}

/* What a program that reads the clip will not know. */
static void note_tags(plain_writer *p)
{
    const oriel_colour *c = &p->w.frames.colour;
    oriel_pixels x = p->w.frames.pixels;
    oriel_frame f = {.width = p->w.frames.width, .height = p->w.frames.height, .pixels = x};
    if (x.model != ORIEL_PIXELS_YUV)
        return;
    int guess = oriel_frame_colour(&f).matrix;
    f.colour = *c;
    if (oriel_frame_colour(&f).matrix != guess || c->transfer == 16 || c->transfer == 18) /* PQ, HLG */
        video_note(&p->w, "y4m cannot say matrix %d and transfer %d of H.273: tell them to what reads the clip",
                   c->matrix, c->transfer);
    bool across = x.shift_x && c->site == ORIEL_CHROMA_CENTER, down = x.shift_y && c->site > ORIEL_CHROMA_LEFT;
    if ((across || down) && (x.depth > 8 || !x.shift_x || !x.shift_y))
        video_note(&p->w, "y4m cannot say that chroma of %d bits lies %s: it will be taken as left", x.depth,
                   c->site == ORIEL_CHROMA_CENTER ? "in the centre" : "at the top left");
}

static oriel_status y4m_begin(plain_writer *p)
{
    const oriel_video_info *i = &p->w.frames;
    y4m_head h = {.width = i->width, .height = i->height, .pixels = i->pixels, .site = i->colour.site,
                  .range = i->colour.range, .fields = i->fields, .rate = {i->rate[0], i->rate[1]},
                  .aspect = {i->aspect[0], i->aspect[1]}};
    char name[24];
    if (!h.rate[0]) {
        h.rate[0] = 25;
        h.rate[1] = 1;
        video_note(&p->w, "the frame rate is not known: y4m says 25");
    }
    if (i->pixels.model == ORIEL_PIXELS_RGB)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: y4m holds no RGB: use --pix-fmt yuv444p", p->w.path);
    if (!y4m_print(&h, p->head, sizeof p->head - 1))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: y4m has no tag for %s: use another --pix-fmt, such as yuv444p",
                          p->w.path, oriel_pixels_name(i->pixels, name, sizeof name));
    strcat(p->head, "\n");
    p->frame_bytes += FRAME_LINE;
    return ORIEL_OK;
}

/* What the part file has: the same head, then whole frames. They are kept, the rest is cut off. */
static oriel_status resume(plain_writer *p)
{
    char had[Y4M_LINE], line[FRAME_LINE];
    size_t head = strlen(p->head);
    struct stat st;
    if (fstat(p->fd, &st))
        return oriel_fail(ORIEL_E_IO, "%s: %s", p->w.part, strerror(errno));
    if ((size_t)st.st_size < head) /* stopped before its first line was whole */
        return ftruncate(p->fd, 0) ? oriel_fail(ORIEL_E_IO, "%s: %s", p->w.part, strerror(errno)) : ORIEL_OK;
    if (pread(p->fd, had, head, 0) != (ssize_t)head || memcmp(had, p->head, head) != 0)
        return oriel_fail(ORIEL_E_IO, "%s: is of other settings: it does not begin with \"%.*s\"; remove it, or do not resume",
                          p->w.part, (int)(head ? head - 1 : 0), p->head);
    int64_t frames = (int64_t)(((size_t)st.st_size - head) / p->frame_bytes);
    if (head) /* a machine that lost power may have left a hole */
        for (int64_t i = 0; i < frames; i++)
            if (pread(p->fd, line, sizeof line, (off_t)(head + (size_t)i * p->frame_bytes)) != sizeof line ||
                memcmp(line, frame_line, FRAME_LINE) != 0)
                frames = i;
    off_t whole = (off_t)(head + (size_t)frames * p->frame_bytes);
    if (ftruncate(p->fd, whole) || lseek(p->fd, whole, SEEK_SET) < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", p->w.part, strerror(errno));
    p->w.done.resumed = p->w.done.frames = frames;
    return ORIEL_OK;
}

static oriel_status open_file(plain_writer *p, const char *path, bool again)
{
    struct stat st;
    if (!strcmp(path, "-"))
        p->fd = STDOUT_FILENO;
    else if (video_is_stream(path))
        p->fd = open(path, O_WRONLY | O_CLOEXEC);
    else if (!(p->w.part = video_part_name(path)))
        return ORIEL_E_NOMEM;
    else
        p->fd = open(p->w.part, O_RDWR | O_CREAT | O_CLOEXEC | (again ? 0 : O_TRUNC), 0666);
    if (p->fd < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", p->w.part ? p->w.part : path, strerror(errno));
    p->made = p->w.part && !again;
    if (p->w.part && (fstat(p->fd, &st) || !S_ISREG(st.st_mode)))
        return oriel_fail(ORIEL_E_IO, "%s: is no file", p->w.part);
    return p->w.part && again ? resume(p) : ORIEL_OK;
}

static oriel_status choose_layout(plain_writer *p, const char *pix_fmt)
{
    const oriel_video_info *i = &p->w.frames;
    oriel_pixels a = i->pixels, b;
    char name[24];
    p->layout = plain_planar(a);
    oriel_pixels_name(a, name, sizeof name);
    snprintf(p->w.done.pix_fmt, sizeof p->w.done.pix_fmt, "%s", pix_fmt ? pix_fmt : name);
    if (pix_fmt && !plain_layout_named(&p->layout, pix_fmt))
        return oriel_fail(ORIEL_E_ARG, "%s: pix_fmt \"%s\" is not known", p->w.path, pix_fmt);
    b = p->layout.pixels;
    if (a.model != b.model || a.depth != b.depth || a.shift_x != b.shift_x || a.shift_y != b.shift_y || a.alpha != b.alpha)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: frames of %s are not written as %s without conversion", p->w.path,
                          name, pix_fmt);
    if (a.model == ORIEL_PIXELS_GREY && a.alpha && !pix_fmt)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: grey with alpha has no planar form: name one (ya8, ya16le)", p->w.path);
    p->frame_bytes = plain_frame_bytes(&p->layout, i->width, i->height);
    return ORIEL_OK;
}

static oriel_status begin(plain_writer *p, const char *path, bool y4m, const oriel_video_writer_options *opt)
{
    const oriel_video_info *i = &p->w.frames;
    size_t row, widest = 0;
    int rows;
    if (!(p->w.path = oriel_strdup(path)))
        return ORIEL_E_NOMEM;
    oriel_status s = choose_layout(p, opt->pix_fmt);
    if (!s && y4m)
        s = p->layout.of[0].step > 1 || p->layout.planes != oriel_pixels_planes(i->pixels)
                ? oriel_fail(ORIEL_E_UNSUPPORTED, "%s: y4m holds planes, not %s", path, opt->pix_fmt)
                : y4m_begin(p);
    if (s)
        return s;
    if (y4m)
        note_tags(p);
    for (int k = 0; k < p->layout.planes; k++) {
        plain_plane(&p->layout, i->width, i->height, k, &row, &rows);
        widest = row > widest ? row : widest;
    }
    p->chunk_size = widest > PLAIN_CHUNK ? widest : PLAIN_CHUNK;
    if (!(p->chunk = oriel_alloc(p->chunk_size)))
        return ORIEL_E_NOMEM;
    if ((s = open_file(p, path, opt->resume)))
        return s;
    if (*p->head && !p->w.done.resumed && (s = put(p, p->head, strlen(p->head))))
        return s;
    return flush(p); /* an output that cannot be written is known before the first frame */
}

oriel_status video_plain_create(oriel_video_writer **out, const char *path, const char *container,
                                const oriel_video_info *frames, const oriel_video_writer_options *opt)
{
    static const video_writer_ops ops = {plain_write, plain_finish, plain_free};
    plain_writer *p = oriel_alloc_zero(1, sizeof *p);
    if (!p)
        return ORIEL_E_NOMEM;
    p->fd = -1;
    p->w.ops = &ops;
    p->w.frames = *frames;
    p->w.last = ORIEL_NO_TIME;
    snprintf(p->w.done.container, sizeof p->w.done.container, "%s", container);
    strcpy(p->w.done.codec, "rawvideo");
    oriel_status s = begin(p, path, !strcmp(container, "y4m"), opt);
    if (s) {
        if (p->made)
            unlink(p->w.part);
        discard(p);
        return s;
    }
    *out = &p->w;
    return ORIEL_OK;
}
