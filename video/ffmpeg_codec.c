/* SPDX-License-Identifier: Apache-2.0 */
/* Which codec, and what it is told: quality, preset, HDR. Encoders of graphics cards are taken only by
 * name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <libavutil/mastering_display_metadata.h>
#include <libavutil/opt.h>

#include "video/ffmpeg_write.h"

/* ---- choice ------------------------------------------------------------------------------- */

/* MPEG-TS writes what it does not know as private data, and does not say so when asked. */
static bool transport_stream_takes(enum AVCodecID id)
{
    static const enum AVCodecID known[] = {
        AV_CODEC_ID_H264, AV_CODEC_ID_HEVC, AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_MPEG1VIDEO, AV_CODEC_ID_MPEG4,
        AV_CODEC_ID_AAC, AV_CODEC_ID_AC3, AV_CODEC_ID_EAC3, AV_CODEC_ID_MP2, AV_CODEC_ID_MP3, AV_CODEC_ID_DTS,
        AV_CODEC_ID_TRUEHD, AV_CODEC_ID_OPUS, AV_CODEC_ID_DVB_SUBTITLE, AV_CODEC_ID_DVB_TELETEXT, AV_CODEC_ID_SMPTE_KLV,
        AV_CODEC_ID_TIMED_ID3};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == id)
            return true;
    return false;
}

int video_container_takes(const AVOutputFormat *container, enum AVCodecID id)
{
    if (!strcmp(container->name, "mpegts"))
        return transport_stream_takes(id);
    int n = avformat_query_codec(container, id, FF_COMPLIANCE_NORMAL);
    return n < 0 ? -1 : n;
}

/* The encoders for a codec that are good and run on any CPU, best first. */
static const struct {
    enum AVCodecID id;
    const char *names[3];
} good[] = {
    {AV_CODEC_ID_H264, {"libx264", "libopenh264"}},
    {AV_CODEC_ID_HEVC, {"libx265", "libkvazaar"}},
    {AV_CODEC_ID_AV1, {"libsvtav1", "libaom-av1", "librav1e"}},
    {AV_CODEC_ID_VP9, {"libvpx-vp9"}},
    {AV_CODEC_ID_VP8, {"libvpx"}},
    {AV_CODEC_ID_PRORES, {"prores_ks"}},
    {AV_CODEC_ID_MPEG4, {"mpeg4"}},
};

static const AVCodec *encoder_of(enum AVCodecID id)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (int k = 0; good[i].id == id && k < 3 && good[i].names[k]; k++) {
            const AVCodec *c = avcodec_find_encoder_by_name(good[i].names[k]);
            if (c)
                return c;
        }
    if (id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_AV1)
        return NULL; /* what else has these names runs on graphics cards */
    const AVCodec *c = avcodec_find_encoder(id);
    return c && c->type == AVMEDIA_TYPE_VIDEO && !(c->capabilities & AV_CODEC_CAP_HARDWARE) ? c : NULL;
}

static oriel_status named(const AVCodec **out, const AVOutputFormat *container, const char *name)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get_by_name(name);
    const AVCodec *c = avcodec_find_encoder_by_name(name);
    if (d && d->type == AVMEDIA_TYPE_VIDEO && (!c || !(c->capabilities & AV_CODEC_CAP_EXPERIMENTAL)))
        c = encoder_of(d->id) ? encoder_of(d->id) : c;
    if (!c && !d)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "codec %s: this FFmpeg (%s) has none by that name (ffmpeg -encoders lists them)",
                          name, av_version_info());
    if (c ? c->type != AVMEDIA_TYPE_VIDEO : d->type != AVMEDIA_TYPE_VIDEO)
        return oriel_fail(ORIEL_E_ARG, "codec %s is none for video", name);
    if (!c)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "codec %s: this FFmpeg (%s) has no encoder for it that runs on a CPU",
                          name, av_version_info());
    if (!video_container_takes(container, c->id))
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s does not go into %s (matroska takes most codecs)", c->name,
                          container->name);
    *out = c;
    return ORIEL_OK;
}

oriel_status video_choose_codec(const AVCodec **out, oriel_video_writer *w, const AVOutputFormat *container,
                                const char *name)
{
    const enum AVCodecID wanted[] = {AV_CODEC_ID_H264, container->video_codec, AV_CODEC_ID_VP9, AV_CODEC_ID_AV1,
                                     AV_CODEC_ID_MPEG4, AV_CODEC_ID_FFV1, AV_CODEC_ID_MJPEG};
    if (name)
        return named(out, container, name);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const AVCodec *c = encoder_of(wanted[i]);
        if (wanted[i] == AV_CODEC_ID_NONE || !c || video_container_takes(container, wanted[i]) != 1)
            continue;
        if (i)
            video_note(w, "codec %s was chosen: %s", c->name,
                       video_container_takes(container, AV_CODEC_ID_H264) == 1 ? "this FFmpeg has no encoder for H.264"
                                                                               : "the container takes no H.264");
        else if (strcmp(c->name, "libx264") != 0)
            video_note(w, "codec %s was chosen: this FFmpeg has no libx264", c->name);
        *out = c;
        return ORIEL_OK;
    }
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: this FFmpeg (%s) has no video codec for it", container->name,
                      av_version_info());
}

/* ---- quality ------------------------------------------------------------------------------ */

typedef enum quality_kind { BY_CRF, BY_SCALE, BY_RATE, LOSSLESS } quality_kind;

/* Defaults that look like the original; each on its codec's scale. Codecs that are not here: by
 * quantiser scale where they can. */
static const struct {
    const char  *name;
    quality_kind kind;
    double       value;
    const char  *more; /* options, as a=b:c=d */
} qualities[] = {
    {"libx264", BY_CRF, 17, ""},
    {"libx264rgb", BY_CRF, 17, ""},
    {"libx265", BY_CRF, 19, ""},
    {"libsvtav1", BY_CRF, 23, ""},
    {"libaom-av1", BY_CRF, 23, "row-mt=1:cpu-used=4"},
    {"libvpx-vp9", BY_CRF, 24, "row-mt=1:deadline=good:cpu-used=2"},
    {"libvpx", BY_CRF, 10, "deadline=good:cpu-used=2"},
    {"libopenh264", BY_RATE, 0.15, "rc_mode=bitrate:allow_skip_frames=0"},
    {"ffv1", LOSSLESS, 0, "coder=1:slicecrc=1"},
    {"ffvhuff", LOSSLESS, 0, ""},
    {"huffyuv", LOSSLESS, 0, ""},
    {"utvideo", LOSSLESS, 0, ""},
    {"magicyuv", LOSSLESS, 0, ""},
    {"rawvideo", LOSSLESS, 0, ""},
    {"png", LOSSLESS, 0, ""},
    {"v210", LOSSLESS, 0, ""},
    {"prores_ks", LOSSLESS, 0, ""},
    {"prores", LOSSLESS, 0, ""},
    {"mpeg4", BY_SCALE, 3, ""},
    {"mjpeg", BY_SCALE, 3, ""},
    {"mpeg2video", BY_SCALE, 3, ""},
};

static oriel_status set(AVDictionary **options, const char *key, const char *format, ...)
{
    char value[96];
    va_list ap;
    va_start(ap, format);
    vsnprintf(value, sizeof value, format, ap);
    va_end(ap);
    return av_dict_set(options, key, value, 0) < 0 ? oriel_fail(ORIEL_E_NOMEM, "out of memory: options") : ORIEL_OK;
}

static oriel_status set_quality(AVCodecContext *c, AVDictionary **options, oriel_video_writer *w, double crf)
{
    const AVCodec *codec = c->codec;
    quality_kind kind = BY_SCALE;
    double value = 3;
    oriel_status s = ORIEL_OK;
    for (size_t i = 0; i < sizeof qualities / sizeof *qualities; i++)
        if (!strcmp(codec->name, qualities[i].name)) {
            kind = qualities[i].kind;
            value = qualities[i].value;
            if (av_dict_parse_string(options, qualities[i].more, "=", ":", 0) < 0)
                return oriel_fail(ORIEL_E_NOMEM, "out of memory: options");
        }
    if (kind == LOSSLESS && crf > 0)
        video_note(w, "%s has no crf: %g was not used", codec->name, crf);
    if (kind == BY_RATE) { /* bits a pixel; the scale of crf is H.264's: 6 steps halve the bits */
        double rate = c->framerate.num ? av_q2d(c->framerate) : 25;
        value = crf > 0 ? value * exp2((17 - crf) / 6) : value;
        c->bit_rate = (int64_t)(value * c->width * c->height * rate) + 64000;
        video_note(w, "%s has no crf: it gets %lld kbit/s", codec->name, (long long)c->bit_rate / 1000);
    }
    value = crf > 0 && kind != BY_RATE ? crf : value;
    if (kind == BY_CRF) {
        c->bit_rate = 0;
        s = set(options, "crf", "%g", value);
    }
    if (kind == BY_SCALE) {
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = (int)lrint(FF_QP2LAMBDA * (value < 1 ? 1 : value));
    }
    return s;
}

static oriel_status set_preset(AVCodecContext *c, AVDictionary **options, const char *preset)
{
    static const char *const keys[] = {"preset", "cpu-used", "speed"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (c->priv_data && av_opt_find(c->priv_data, keys[i], NULL, 0, 0))
            return set(options, keys[i], "%s", preset);
    return oriel_fail(ORIEL_E_ARG, "codec %s has no presets", c->codec->name);
}

/* ---- HDR ---------------------------------------------------------------------------------- */

/* x264 and x265 write what they are told by these parameters into the stream; others rely on the
 * container. Chromaticities in 1/50000, luminance in 1/10000 cd/m2: the units of SMPTE ST 2086 in SEI. */
static void hdr_text(char *text, size_t size, const AVFrame *hdr, const char *display, const char *light)
{
    const AVFrameSideData *sd = av_frame_get_side_data(hdr, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
    const AVMasteringDisplayMetadata *m = sd ? (const void *)sd->data : NULL;
    int n = 0;
    if (m && m->has_primaries && m->has_luminance) {
        long v[10];
        const AVRational of[10] = {m->display_primaries[1][0], m->display_primaries[1][1], m->display_primaries[2][0],
                                   m->display_primaries[2][1], m->display_primaries[0][0], m->display_primaries[0][1],
                                   m->white_point[0], m->white_point[1], m->max_luminance, m->min_luminance};
        for (int i = 0; i < 10; i++)
            v[i] = lrint(av_q2d(of[i]) * (i < 8 ? 50000 : 10000));
        n = snprintf(text, size, ":%s=G(%ld,%ld)B(%ld,%ld)R(%ld,%ld)WP(%ld,%ld)L(%ld,%ld)", display, v[0], v[1], v[2],
                     v[3], v[4], v[5], v[6], v[7], v[8], v[9]);
    }
    sd = av_frame_get_side_data(hdr, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL);
    if (sd && n >= 0 && (size_t)n < size) {
        const AVContentLightMetadata *l = (const void *)sd->data;
        snprintf(text + n, size - (size_t)n, ":%s=%u,%u", light, l->MaxCLL, l->MaxFALL);
    }
}

oriel_status video_codec_options(AVCodecContext *c, AVDictionary **options, oriel_video_writer *w,
                                 const oriel_video_writer_options *opt, const AVFrame *hdr)
{
    char text[320] = "";
    const char *name = c->codec->name;
    oriel_status s = set_quality(c, options, w, opt->crf);
    if (!s && opt->preset)
        s = set_preset(c, options, opt->preset);
    if (!s && !strcmp(name, "ffv1")) {
        c->level = 3;
        if (!video_format_divides(c->pix_fmt, c->width, c->height)) /* FFmpeg 5.1 loses chroma between slices then */
            s = set(options, "slices", "1");
    }
    if (!s && !strcmp(name, "libx265")) { /* closed groups: a stopped run is cut and continued at their ends */
        snprintf(text, sizeof text, "open-gop=0:log-level=error");
        if (hdr)
            hdr_text(text + strlen(text), sizeof text - strlen(text), hdr, "master-display", "max-cll");
        s = av_dict_set(options, "x265-params", text, 0) < 0 ? oriel_fail(ORIEL_E_NOMEM, "out of memory: options") : ORIEL_OK;
    }
    if (!s && hdr && !strcmp(name, "libx264")) {
        hdr_text(text, sizeof text, hdr, "mastering-display", "cll");
        if (*text && av_dict_set(options, "x264-params", text + 1, 0) < 0)
            s = oriel_fail(ORIEL_E_NOMEM, "out of memory: options");
    }
    return s;
}
