/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read --(2)--> prepare --(1)--> compute --(1)--> ... compute --(1)--> convert --(2)--> write
 *
 * Each lane is a stage, and frames go to them in turn: the others let them pass, so that lanes
 * compute beside each other and frames stay in order. prepare makes floats of planes, convert
 * planes of floats. A frame that is the same as the one before is passed through without floats and
 * gets that one's planes. When somebody asks to stop, read ends early and compute lets nothing more
 * through: what is computed is written.
 */
#include "clip.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clip_ends.h"
#include "clip_format.h"
#include "frame.h"
#include "lanes.h"
#include "stop.h"

typedef struct item {
    oriel_frame in;      /* once the floats are made, kept for what is beside its pixels */
    frame colour, alpha; /* f32 (Y, X, 1 or 3) and (Y, X, 1), or nothing */
    oriel_frame out;
    bool same; /* as the one before: out will be its */
    int lane;  /* that computes it */
} item;

typedef struct clip clip;

typedef struct clip_lane {
    clip *clip;
    network net; /* the lane's, with the clip's tiles */
    int index;
} clip_lane;

struct clip {
    job *job;
    clip_lane lane[LANES_MOST];
    int lanes;
    const batch_options *opt;
    progress *progress;
    clip_source source;
    clip_sink sink;
    clip_format format;
    /* prepare's */
    oriel_frame before; /* the source's last frame, or nothing */
    bool before_computed;
    int64_t skip;      /* frames to come that an earlier run has written */
    int64_t same;      /* as the one before */
    int64_t floats;    /* frames that are computed */
    int64_t read;      /* frames; of the read stage */
    trouble broken;    /* why it could not read on */
    oriel_frame after; /* convert's: the last result */
    size_t told;       /* bytes of the writer's notes */
    atomic_bool cut;   /* frames were left out because somebody asked to stop */
};

static void item_free(void *user, void *what)
{
    item *it = what;
    (void)user;
    oriel_frame_free(&it->in);
    frame_free(&it->colour);
    frame_free(&it->alpha);
    oriel_frame_free(&it->out);
    free(it);
}

/* The stage's failure in the library's terms; the text is what counts. */
static oriel_status failed(const trouble *why)
{
    return oriel_fail(ORIEL_E_FORMAT, "%s", why->text);
}

/* ---- stages ------------------------------------------------------------------------------- */

static oriel_status read_stage(void *user, void **what)
{
    clip *c = user;
    oriel_frame f = {0};
    if (c->read == 0 && !strcmp(c->job->in, "-"))
        stop_ends_stdin();
    oriel_status s = stop_asked() ? ORIEL_EOF : clip_source_read(&c->source, &f);
    if (s && stop_asked()) { /* also where the input was cut off in a frame */
        atomic_store(&c->cut, true);
        return ORIEL_EOF;
    }
    if (s && s != ORIEL_EOF) { /* an end in good order: what was read before is written */
        trouble_set(&c->broken, "%s", oriel_error());
        return ORIEL_EOF;
    }
    if (s)
        return s;
    c->read++;
    item *it = need(1, sizeof *it);
    it->in = f;
    *what = it;
    return ORIEL_OK;
}

static bool same_colour(const oriel_colour *a, const oriel_colour *b)
{
    return a->primaries == b->primaries && a->transfer == b->transfer && a->matrix == b->matrix &&
           a->range == b->range && a->site == b->site;
}

/* The source's planes as floats: colours and alpha apart. */
static bool to_floats(const clip *c, item *it, trouble *why)
{
    const oriel_frame *f = &it->in;
    int colours = c->format.colours, channels = c->format.alpha ? 4 : colours;
    size_t n = (size_t)f->width * (size_t)f->height;
    frame all;
    if (!frame_new(&all, f->width, f->height, channels, why))
        return false;
    if (oriel_frame_to_tensor(f, frame_view(&all))) {
        frame_free(&all);
        return trouble_set(why, "%s", oriel_error());
    }
    if (channels == colours) {
        it->colour = all;
        return true;
    }
    bool ok = frame_new(&it->colour, f->width, f->height, colours, why) &&
              frame_new(&it->alpha, f->width, f->height, 1, why);
    for (size_t i = 0; ok && i < n; i++) {
        memcpy(it->colour.data + i * (size_t)colours, all.data + i * 4,
               (size_t)colours * sizeof(float));
        it->alpha.data[i] = all.data[i * 4 + 3];
    }
    frame_free(&all);
    return ok && frame_bleed(&it->colour, it->alpha.data, why);
}

static oriel_status prepare_stage(void *user, void **what)
{
    clip *c = user;
    item *it = *what;
    trouble why = {""};
    bool same = c->before.width && oriel_frame_same(&c->before, &it->in) &&
                same_colour(&c->before.colour, &it->in.colour);
    c->same += same;
    it->same = same && c->before_computed;
    if (!same) {
        oriel_frame_free(&c->before);
        c->before = oriel_frame_hold(&it->in);
    }
    if (c->skip > 0) { /* an earlier run has written it */
        c->skip--;
        item_free(NULL, it);
        *what = NULL;
        return ORIEL_OK;
    }
    c->before_computed = true;
    if (!it->same)
        it->lane = (int)(c->floats++ % c->lanes);
    return it->same || to_floats(c, it, &why) ? ORIEL_OK : failed(&why);
}

static bool go_on(void *user, double done)
{
    (void)user, (void)done;
    return !stop_asked();
}

static oriel_status compute_stage(void *user, void **what)
{
    clip_lane *l = user;
    clip *c = l->clip;
    item *it = *what;
    const picture_plan *plan = &c->format.plan;
    frame_progress p = {go_on, NULL, 1, 0};
    trouble why = {""};
    if (it->lane != l->index)
        return ORIEL_OK;
    bool ok = !stop_asked();
    if (ok && !it->same)
        ok = frame_run(&it->colour, &l->net, plan, &p, &why) &&
             (!it->alpha.data || frame_resize(&it->alpha, plan->width, plan->height, &why));
    if (ok)
        return ORIEL_OK;
    if (!stop_asked())
        return failed(&why);
    atomic_store(&c->cut, true);
    item_free(NULL, it);
    *what = NULL;
    return ORIEL_OK;
}

/* Colours and alpha as one, (Y, X, 4). */
static bool with_alpha(frame *colour, const frame *alpha, trouble *why)
{
    size_t n = (size_t)colour->width * (size_t)colour->height, c = (size_t)colour->channels;
    frame all;
    if (!frame_new(&all, colour->width, colour->height, 4, why))
        return false;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 3; k++)
            all.data[i * 4 + k] = colour->data[i * c + (c == 3 ? k : 0)];
        all.data[i * 4 + 3] = alpha->data[i];
    }
    frame_free(colour);
    *colour = all;
    return true;
}

static oriel_status convert_stage(void *user, void **what)
{
    clip *c = user;
    item *it = *what;
    const oriel_video_info *out = &c->format.out;
    trouble why = {""};
    oriel_status s = ORIEL_OK;
    if (it->same)
        it->out = oriel_frame_hold(&c->after);
    else
        s = oriel_frame_new(&it->out, out->width, out->height, out->pixels);
    if (s)
        return s;
    oriel_frame_copy_tags(&it->out, &it->in);
    oriel_frame_free(&it->in);
    if (c->format.recoloured)
        it->out.colour = out->colour;
    it->out.fields = out->fields;
    if (it->same)
        return ORIEL_OK;
    if (it->alpha.data && !with_alpha(&it->colour, &it->alpha, &why))
        return failed(&why);
    s = oriel_frame_from_tensor(&it->out, frame_view(&it->colour));
    frame_free(&it->colour);
    frame_free(&it->alpha);
    oriel_frame_free(&c->after);
    c->after = oriel_frame_hold(&it->out);
    return s;
}

static oriel_status write_stage(void *user, void **what)
{
    clip *c = user;
    item *it = *what;
    oriel_status s = clip_sink_write(&c->sink, &it->out);
    item_free(NULL, it);
    *what = NULL;
    if (!s)
        progress_frames(c->progress, c->sink.frames, c->source.info.frames, c->sink.resumed);
    return s;
}

enum { STAGES_BESIDE = 4, STAGES_MOST = STAGES_BESIDE + LANES_MOST };

static oriel_status run_stages(clip *c)
{
    oriel_stage stages[STAGES_MOST] = {{"read", read_stage, c, 0},
                                       {"prepare", prepare_stage, c, 2}};
    oriel_stage_times times[STAGES_MOST];
    int n = 2;
    for (int i = 0; i < c->lanes; i++)
        stages[n++] = (oriel_stage){"compute", compute_stage, &c->lane[i], 1};
    stages[n++] = (oriel_stage){"convert", convert_stage, c, 1};
    stages[n++] = (oriel_stage){"write", write_stage, c, 2};
    c->skip = c->sink.resumed;
    progress_frames(c->progress, c->sink.frames, c->source.info.frames, c->sink.resumed);
    oriel_status s = oriel_pipeline_run(stages, n, item_free, NULL, times);
    for (int i = 0; c->opt->verbose && i < n; i++)
        progress_note(c->progress, "%-7s %8.2f s busy, %8.2f starved, %8.2f blocked, %lld frames",
                      stages[i].name, times[i].busy, times[i].starved, times[i].blocked,
                      (long long)times[i].items);
    return s;
}

/* ---- what there is to tell ---------------------------------------------------------------- */

/* What the writer chose otherwise than asked, and could not copy: what is new since the last call.
 */
static void tell_writer_notes(clip *c)
{
    if (!c->sink.writer)
        return;
    const char *notes = oriel_video_written_of(c->sink.writer).notes;
    while (notes[c->told]) {
        const char *line = notes + c->told + (notes[c->told] == '\n');
        size_t n = strcspn(line, "\n");
        progress_note(c->progress, "%s: %.*s", c->job->out, (int)n, line);
        c->told = (size_t)(line - notes) + n;
    }
}

static void tell_frames(const clip *c)
{
    const char *in = c->job->in;
    oriel_video_damage d = clip_source_damage(&c->source);
    if (c->same)
        progress_note(c->progress,
                      "%s: %lld of %lld frames are the same as the one before, and were computed "
                      "once",
                      in, (long long)c->same, (long long)c->read);
    if (d.packets || d.frames)
        progress_note(c->progress,
                      "%s: damaged: %lld packets could not be decoded, %lld frames have errors", in,
                      (long long)d.packets, (long long)d.frames);
    if (d.resized)
        progress_note(c->progress,
                      "%s: %lld frames of another size or format were brought to the first's", in,
                      (long long)d.resized);
}

static void tell_programs(const clip *c)
{
    oriel_video_damage d = clip_source_damage(&c->source);
    oriel_video_written w = {0};
    char fields[512];
    if (c->sink.writer)
        w = oriel_video_written_of(c->sink.writer);
    snprintf(fields, sizeof fields,
             ",\"frames\":%lld,\"resumed\":%lld,\"same\":%lld,\"damaged_packets\":%lld,"
             "\"damaged_frames\":%lld,\"resized\":%lld,\"container\":\"%s\",\"codec\":\"%s\","
             "\"pix_fmt\":\"%s\"",
             (long long)c->sink.frames, (long long)c->sink.resumed, (long long)c->same,
             (long long)d.packets, (long long)d.frames, (long long)d.resized, w.container, w.codec,
             w.pix_fmt);
    progress_clip(c->progress, c->job->in, c->job->out, fields);
}

/* Where an unfinished clip is, and how to go on; what holds nothing is taken away. */
static void tell_unfinished(const clip *c, const char *how)
{
    const char *part = c->sink.writer ? oriel_video_written_of(c->sink.writer).part : c->job->out;
    char all[32] = "";
    if (c->source.info.frames >= c->sink.frames)
        snprintf(all, sizeof all, " of %lld", (long long)c->source.info.frames);
    if (!c->sink.frames && c->sink.writer && part[0])
        unlink(part);
    if (!c->sink.frames)
        progress_note(c->progress, "%s: no frame was written", how);
    else if (!part[0])
        progress_note(c->progress, "%s: %lld%s frames were written", how, (long long)c->sink.frames,
                      all);
    else
        progress_note(c->progress, "%s: %lld%s frames are in %s; --resume goes on", how,
                      (long long)c->sink.frames, all, part);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static bool finish(clip *c, oriel_status s, trouble *why)
{
    bool stopped = atomic_load(&c->cut);
    if (s)
        trouble_set(why, "%s", oriel_error());
    else if (c->broken.text[0])
        *why = c->broken;
    else if (!stopped && c->skip)
        trouble_set(why, "%lld frames were written before, and the clip has %lld: is it another?",
                    (long long)c->sink.resumed, (long long)c->read);
    bool complete = !stopped && !why->text[0];
    if (clip_sink_end(&c->sink, complete))
        trouble_set(why, "%s", oriel_error());
    c->job->frames = c->sink.frames;
    c->job->same = c->same;
    tell_writer_notes(c);
    tell_frames(c);
    tell_programs(c);
    if (stopped || why->text[0])
        tell_unfinished(c, stopped ? "stopped" : "ended early");
    return !why->text[0];
}

static clip_end run_open(clip *c, trouble *why)
{
    double begun = seconds_now();
    if (!clip_sink_open(&c->sink, c->job, &c->source, &c->format.out, c->opt, why))
        return CLIP_FAILED;
    tell_writer_notes(c);
    bool ok = finish(c, run_stages(c), why);
    c->job->seconds = seconds_now() - begun;
    return !ok ? CLIP_FAILED : atomic_load(&c->cut) ? CLIP_STOPPED : CLIP_DONE;
}

/* The lanes' networks as the clip needs them: in tiles, where a GPU's memory asks for these. */
static void take_lanes(clip *c, const lane_set *l, const network *first)
{
    c->lanes = l->count;
    for (int i = 0; i < l->count; i++) {
        c->lane[i] = (clip_lane){c, l->list[i].net, i};
        c->lane[i].net.tile = first->tile;
        c->lane[i].net.overlap = first->overlap;
    }
}

clip_end clip_run(job *j, lane_set *l, const batch_options *b, progress *p, memory_limit limit,
                  trouble *why)
{
    clip c = {.job = j, .opt = b, .progress = p};
    network first = l->list[0].net;
    trouble cut = {""};
    clip_end end = CLIP_FAILED;
    if (!clip_source_open(&c.source, j, b, why) ||
        !clip_format_make(&c.format, &c.source.info, j, &first, l->count, b, limit, &cut, why))
        goto done;
    take_lanes(&c, l, &first);
    j->width_in = c.source.info.width;
    j->height_in = c.source.info.height;
    j->width_out = c.format.out.width;
    j->height_out = c.format.out.height;
    if (cut.text[0])
        progress_note(p, "%s: %s", j->in, cut.text);
    clip_format_tell(&c.format, &c.source.info, j, b, p);
    if (b->dry_run) {
        end = CLIP_DONE;
        goto done;
    }
    end = run_open(&c, why);
    for (int i = 0; i < l->count; i++)
        if (!first.gpu && c.format.plan.activation_bytes > l->list[i].held)
            l->list[i].held = c.format.plan.activation_bytes;
done:
    oriel_frame_free(&c.before);
    oriel_frame_free(&c.after);
    clip_sink_close(&c.sink);
    clip_source_close(&c.source);
    return end;
}
