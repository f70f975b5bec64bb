/* SPDX-License-Identifier: Apache-2.0 */
/* The FFmpeg reader's clip: opened from a path or from stdin, its video chosen, what it is described. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavutil/display.h>
#include <libavutil/mastering_display_metadata.h>

#include "video/ffmpeg_compat.h"
#include "video/ffmpeg_read.h"

/* The most pixels of a frame, so that a damaged header takes no memory. */
enum { IO_BYTES = 1 << 16, MAX_PIXELS_LOG2 = 28, MAX_PIXELS = 1 << MAX_PIXELS_LOG2 };

/* ---- stdin -------------------------------------------------------------------------------- */

static int read_bytes(void *opaque, uint8_t *to, int size)
{
    ffmpeg_reader *r = opaque;
    size_t got;
    if (video_bytes_some(&r->bytes, to, (size_t)size, &got))
        return AVERROR(errno ? errno : EIO);
    return got ? (int)got : AVERROR_EOF;
}

/* stdin is often a file (oriel ... - < clip.mp4): then it can be sought in like one. */
static int64_t seek_bytes(void *opaque, int64_t to, int whence)
{
    ffmpeg_reader *r = opaque;
    struct stat st;
    if (whence == AVSEEK_SIZE)
        return fstat(r->bytes.fd, &st) ? AVERROR(errno) : st.st_size - r->bytes_begin;
    r->bytes.at = r->bytes.peeked;
    off_t at = lseek(r->bytes.fd, whence == SEEK_SET ? to + r->bytes_begin : to, whence);
    return at < 0 ? AVERROR(errno) : at - r->bytes_begin;
}

oriel_status ffmpeg_open_source(ffmpeg_reader *r, const char *path, video_bytes *b)
{
    struct stat st;
    if (b) {
        r->bytes = *b;
        off_t at = !fstat(b->fd, &st) && S_ISREG(st.st_mode) ? lseek(b->fd, 0, SEEK_CUR) : -1;
        r->bytes_begin = at < 0 ? -1 : at - (off_t)b->peeked;
        return ORIEL_OK;
    }
    /* A file whose name has a colon is no address. */
    size_t n = strlen(path), size = n + sizeof "file:";
    r->bytes.fd = -1;
    snprintf(r->bytes.name, sizeof r->bytes.name, "%s",
             path + (n < sizeof r->bytes.name ? 0 : n - sizeof r->bytes.name + 1));
    if (!(r->path = oriel_alloc(size)))
        return ORIEL_E_NOMEM;
    snprintf(r->path, size, "%s%s", access(path, F_OK) ? "" : "file:", path);
    return ORIEL_OK;
}

/* ---- the demuxer -------------------------------------------------------------------------- */

/* The commonest fault has a name: a recording that was cut short leaves an MP4 without its index. */
static bool is_mp4(const ffmpeg_reader *r)
{
    video_bytes b;
    bool found = false;
    if (!r->path)
        return r->bytes.peeked >= 8 && !memcmp(r->bytes.peek + 4, "ftyp", 4);
    if (!strncmp(r->path, "file:", 5) && !video_bytes_open(&b, r->path + 5)) {
        found = !video_bytes_peek(&b) && b.peeked >= 8 && !memcmp(b.peek + 4, "ftyp", 4);
        video_bytes_close(&b);
    }
    return found;
}

static oriel_status not_opened(const ffmpeg_reader *r, int e)
{
    if (e != AVERROR_INVALIDDATA && e != AVERROR_EOF)
        return video_ffmpeg_fail(e, "%s", r->bytes.name);
    if (is_mp4(r))
        return oriel_fail(ORIEL_E_FORMAT, "%s: an MP4 without its index (moov), which is written last: it was cut short",
                          r->bytes.name);
    return oriel_fail(ORIEL_E_FORMAT, "%s: no clip of a format that FFmpeg knows, or too damaged", r->bytes.name);
}

static oriel_status open_bytes_io(ffmpeg_reader *r)
{
    bool seekable = r->bytes_begin >= 0;
    if (seekable && seek_bytes(r, 0, SEEK_SET) < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", r->bytes.name, strerror(errno));
    uint8_t *buffer = av_malloc(IO_BYTES);
    r->io = buffer ? avio_alloc_context(buffer, IO_BYTES, 0, r, read_bytes, NULL, seekable ? seek_bytes : NULL) : NULL;
    if (!r->io) {
        av_free(buffer);
        return video_ffmpeg_fail(AVERROR(ENOMEM), "%s", r->bytes.name);
    }
    return ORIEL_OK;
}

/* FFmpeg decodes a little to learn what frames are like: no large ones. */
static oriel_status look_into(ffmpeg_reader *r)
{
    unsigned n = r->input->nb_streams;
    for (unsigned i = 0; i < n; i++) {
        const AVCodecParameters *p = r->input->streams[i]->codecpar;
        if ((int64_t)p->width * p->height > MAX_PIXELS)
            return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: frames of %d x %d pixels: 2^%d are the most", r->bytes.name,
                              p->width, p->height, MAX_PIXELS_LOG2);
    }
    AVDictionary **options = oriel_alloc_zero(n + 1, sizeof *options);
    int e = options ? 0 : AVERROR(ENOMEM);
    for (unsigned i = 0; i < n && e >= 0; i++)
        e = av_dict_set_int(&options[i], "max_pixels", MAX_PIXELS, 0);
    if (e >= 0)
        e = avformat_find_stream_info(r->input, options);
    for (unsigned i = 0; i < n && options; i++)
        av_dict_free(&options[i]);
    oriel_dealloc(options);
    return e < 0 ? not_opened(r, e) : ORIEL_OK;
}

static oriel_status open_demuxer(ffmpeg_reader *r)
{
    oriel_status s = ORIEL_OK;
    if (!r->path && (s = open_bytes_io(r)))
        return s;
    if (!(r->input = avformat_alloc_context()))
        return video_ffmpeg_fail(AVERROR(ENOMEM), "%s", r->bytes.name);
    r->input->pb = r->io;
    int e = avformat_open_input(&r->input, r->path ? r->path : "", NULL, NULL); /* frees input if it fails */
    if (e < 0)
        return not_opened(r, e);
    return look_into(r);
}

/* ---- the video ---------------------------------------------------------------------------- */

static bool is_cover(const AVStream *st)
{
    return st->disposition & AV_DISPOSITION_ATTACHED_PIC;
}

static int count(const AVFormatContext *in, enum AVMediaType type)
{
    int n = 0;
    for (unsigned i = 0; i < in->nb_streams; i++)
        n += in->streams[i]->codecpar->codec_type == type && !is_cover(in->streams[i]);
    return n;
}

static int covers(const AVFormatContext *in)
{
    int n = 0;
    for (unsigned i = 0; i < in->nb_streams; i++)
        n += is_cover(in->streams[i]);
    return n;
}

static oriel_status choose_video(ffmpeg_reader *r)
{
    const AVFormatContext *in = r->input;
    r->index = av_find_best_stream(r->input, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (r->index >= 0 && is_cover(in->streams[r->index])) {
        r->index = -1;
        for (unsigned i = 0; i < in->nb_streams && r->index < 0; i++)
            if (in->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !is_cover(in->streams[i]))
                r->index = (int)i;
    }
    if (r->index < 0)
        return oriel_fail(ORIEL_E_FORMAT, "%s: no video stream: %d of audio, %d of subtitles, %d of data, %d covers",
                          r->bytes.name, count(in, AVMEDIA_TYPE_AUDIO), count(in, AVMEDIA_TYPE_SUBTITLE),
                          count(in, AVMEDIA_TYPE_DATA), covers(in));
    return ORIEL_OK;
}

static oriel_status open_decoder(ffmpeg_reader *r)
{
    const AVStream *st = r->input->streams[r->index];
    const AVCodec *codec = avcodec_find_decoder(st->codecpar->codec_id);
    if (!codec)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: FFmpeg %s has no decoder for %s", r->bytes.name, av_version_info(),
                          avcodec_get_name(st->codecpar->codec_id));
    AVCodecContext *d = r->decoder = avcodec_alloc_context3(codec);
    int e = d ? avcodec_parameters_to_context(d, st->codecpar) : AVERROR(ENOMEM);
    if (e >= 0) {
        d->pkt_timebase = st->time_base;
        d->thread_count = r->base.opt.threads;
        d->max_pixels = MAX_PIXELS;
        d->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT; /* and counted */
        e = avcodec_open2(d, codec, NULL);
    }
    return e < 0 ? video_ffmpeg_fail(e, "%s: the decoder %s", r->bytes.name, codec->name) : ORIEL_OK;
}

oriel_status ffmpeg_open_input(ffmpeg_reader *r)
{
    oriel_status s = open_demuxer(r);
    if (!s)
        s = choose_video(r);
    if (!s)
        s = open_decoder(r);
    if (!s && ((!r->packet && !(r->packet = av_packet_alloc())) || (!r->av && !(r->av = av_frame_alloc()))))
        s = video_ffmpeg_fail(AVERROR(ENOMEM), "%s", r->bytes.name);
    return s;
}

void ffmpeg_close_input(ffmpeg_reader *r)
{
    avcodec_free_context(&r->decoder);
    avformat_close_input(&r->input); /* leaves an io that is not its own */
    if (r->io)
        av_freep(&r->io->buffer);
    avio_context_free(&r->io);
}

/* ---- what it is --------------------------------------------------------------------------- */

/* Whether steps between frames differ by more than rounding to the time base. Where the container's index has all
 * frames, by it; else the rate that all times fit into (twice that of frames if fields are timed) is
 * compared with the average. */
static bool is_variable(const AVStream *st)
{
    int n = avformat_index_get_entries_count(st);
    if (n > 2 && n == st->nb_frames) {
        int64_t least = INT64_MAX, most = 0, last = 0;
        for (int i = 0; i < n; i++) {
            int64_t t = avformat_index_get_entry((AVStream *)st, i)->timestamp;
            if (i && t > last) {
                least = oriel_min(least, t - last);
                most = oriel_max(most, t - last);
            }
            last = t;
        }
        return most - least > 1 && most > 0;
    }
    double all = av_q2d(st->r_frame_rate), average = av_q2d(st->avg_frame_rate);
    if (!st->r_frame_rate.num || !st->avg_frame_rate.num || !st->r_frame_rate.den || !st->avg_frame_rate.den)
        return false;
    return fabs(all - average) > 0.01 * average && fabs(all - 2 * average) > 0.02 * average;
}

/* The frames that an edit list leaves out of the index are not counted. */
static int64_t frames_of(const AVStream *st, double seconds, AVRational rate)
{
    int64_t frames = st->nb_frames;
    int n = avformat_index_get_entries_count(st);
    if (frames <= 0)
        return rate.num > 0 && seconds > 0 && seconds < 1e9 ? llrint(seconds * av_q2d(rate)) : 0;
    if (n != frames)
        return frames;
    for (int i = 0; i < n; i++)
        frames -= (avformat_index_get_entry((AVStream *)st, i)->flags & AVINDEX_DISCARD_FRAME) != 0;
    return frames;
}

/* The display matrix turns counter-clockwise. */
static int rotation_of(const ffmpeg_reader *r)
{
    const uint8_t *m = ffmpeg_stream_data(r->input->streams[r->index], AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof(int32_t));
    if (!m)
        return 0;
    int32_t matrix[9];
    memcpy(matrix, m, sizeof matrix);
    double angle = av_display_rotation_get(matrix);
    if (isnan(angle))
        return 0;
    int quarters = (int)lrint(-angle / 90);
    double det = (double)matrix[0] * matrix[4] - (double)matrix[1] * matrix[3];
    if (fabs(-angle - 90 * quarters) > 1 || det < 0)
        oriel_logf(ORIEL_LOG_WARN, "%s: the display matrix %s: taken for a turn by %d degrees", r->bytes.name,
                   det < 0 ? "mirrors" : "is no turn by right angles", (quarters & 3) * 90);
    return (quarters & 3) * 90;
}

static void name_container(const ffmpeg_reader *r, char *name, size_t size)
{
    const char *all = r->input->iformat->name;
    const AVDictionaryEntry *brand = av_dict_get(r->input->metadata, "major_brand", NULL, 0);
    if (!strncmp(all, "mov,mp4", 7))
        all = brand && strcmp(brand->value, "qt  ") != 0 ? "mp4" : "mov";
    snprintf(name, size, "%.*s", (int)strcspn(all, ","), all);
}

/* HDR side data of the stream, for frames that do not repeat it. */
static oriel_status stream_side_data(ffmpeg_reader *r)
{
    static const struct {
        enum AVPacketSideDataType of;
        enum AVFrameSideDataType is;
        size_t size;
    } kinds[] = {
        {AV_PKT_DATA_MASTERING_DISPLAY_METADATA, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA,
         sizeof(AVMasteringDisplayMetadata)},
        {AV_PKT_DATA_CONTENT_LIGHT_LEVEL, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL, sizeof(AVContentLightMetadata)},
    };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const uint8_t *data = ffmpeg_stream_data(r->input->streams[r->index], kinds[k].of, kinds[k].size);
        if (!data)
            continue;
        if (!r->side && !(r->side = av_frame_alloc()))
            return video_ffmpeg_fail(AVERROR(ENOMEM), "side data");
        AVFrameSideData *d = av_frame_new_side_data(r->side, kinds[k].is, kinds[k].size);
        if (!d)
            return video_ffmpeg_fail(AVERROR(ENOMEM), "side data");
        memcpy(d->data, data, kinds[k].size);
    }
    return ORIEL_OK;
}

static oriel_fields fields_of(enum AVFieldOrder order)
{
    switch (order) {
    case AV_FIELD_TT:
    case AV_FIELD_BT: /* coded bottom first, shown top first */
        return ORIEL_TOP_FIRST;
    case AV_FIELD_BB:
    case AV_FIELD_TB:
        return ORIEL_BOTTOM_FIRST;
    default:
        return ORIEL_PROGRESSIVE;
    }
}

oriel_status ffmpeg_describe(ffmpeg_reader *r)
{
    AVStream *st = r->input->streams[r->index];
    oriel_video_info *i = &r->base.info;
    AVRational rate = av_guess_frame_rate(r->input, st, NULL);
    if (st->avg_frame_rate.num > 0 && st->avg_frame_rate.den > 0)
        rate = st->avg_frame_rate;
    bool known = rate.num > 0 && rate.den > 0;
    i->time_base[0] = st->time_base.num;
    i->time_base[1] = st->time_base.den;
    i->rate[0] = known ? rate.num : 0;
    i->rate[1] = known ? rate.den : 0;
    i->variable = is_variable(st);
    i->rotation = rotation_of(r);
    i->fields = fields_of(st->codecpar->field_order);
    i->seconds = st->duration > 0              ? (double)st->duration * av_q2d(st->time_base)
                 : r->input->duration > 0      ? (double)r->input->duration / AV_TIME_BASE
                                               : 0;
    i->frames = frames_of(st, i->seconds, known ? rate : (AVRational){0, 1});
    i->audio = count(r->input, AVMEDIA_TYPE_AUDIO);
    i->subtitles = count(r->input, AVMEDIA_TYPE_SUBTITLE);
    i->attachments = count(r->input, AVMEDIA_TYPE_ATTACHMENT) + covers(r->input);
    i->data = count(r->input, AVMEDIA_TYPE_DATA);
    i->chapters = (int)r->input->nb_chapters;
    name_container(r, i->container, sizeof i->container);
    snprintf(i->codec, sizeof i->codec, "%s", avcodec_get_name(st->codecpar->codec_id));
    if (known)
        r->spacing = av_rescale_q(1, av_inv_q(rate), st->time_base);
    return stream_side_data(r);
}

void ffmpeg_describe_frame(ffmpeg_reader *r, const oriel_frame *f)
{
    oriel_video_info *i = &r->base.info;
    const AVFrame *side = video_ffmpeg_extra(f);
    i->width = f->width;
    i->height = f->height;
    i->pixels = f->pixels;
    i->colour = f->colour;
    i->aspect[0] = f->aspect[0];
    i->aspect[1] = f->aspect[1];
    if (f->fields)
        i->fields = f->fields;
    i->hdr = side && (av_frame_get_side_data(side, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) ||
                      av_frame_get_side_data(side, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL));
}

/* There is no frame, and no damage: what the headers say. */
oriel_status ffmpeg_describe_empty(ffmpeg_reader *r)
{
    if (r->base.damage.packets && !(r->input->pb && r->input->pb->seekable & AVIO_SEEKABLE_NORMAL))
        return oriel_fail(ORIEL_E_FORMAT, "%s: no frame can be decoded: a clip with its index at the end must be a file, not a pipe",
                          r->bytes.name);
    if (r->base.damage.packets)
        return oriel_fail(ORIEL_E_FORMAT, "%s: no frame can be decoded; %lld packets are damaged", r->bytes.name,
                          (long long)r->base.damage.packets);
    const AVCodecParameters *p = r->input->streams[r->index]->codecpar;
    AVFrame *as = r->av;
    as->width = p->width;
    as->height = p->height;
    as->format = p->format;
    as->color_primaries = p->color_primaries;
    as->color_trc = p->color_trc;
    as->colorspace = p->color_space;
    as->color_range = p->color_range;
    as->chroma_location = p->chroma_location;
    oriel_status s = ffmpeg_shape_of(&r->shape, as);
    av_frame_unref(as);
    if (s)
        return oriel_fail(s, "%s: no frame, and the headers do not say what frames would be like", r->bytes.name);
    r->base.info.width = r->shape.width;
    r->base.info.height = r->shape.height;
    r->base.info.pixels = r->shape.pixels;
    r->base.info.colour = r->shape.colour;
    return ORIEL_OK;
}
