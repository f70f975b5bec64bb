/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/video_clips.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/oriel-clips-XXXXXX";

const char *clip_path(const char *name)
{
    static char path[8][256];
    static int turn;
    char *p = path[turn++ & 7];
    snprintf(p, sizeof path[0], "%s/%.200s", folder, name);
    return p;
}

bool clips_begin(void)
{
    char command[256];
    if (!mkdtemp(folder))
        return false;
    snprintf(command, sizeof command, "ffmpeg -v error -encoders >%s/encoders 2>&1", folder);
    if (!system(command))
        return true;
    clips_end();
    return false;
}

void clips_end(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove(clip_path(e->d_name));
    if (d)
        closedir(d);
    rmdir(folder);
}

bool clip_has_encoder(const char *name)
{
    char line[256], word[64];
    FILE *f = fopen(clip_path("encoders"), "r");
    bool has = false;
    while (f && !has && fgets(line, sizeof line, f))
        has = sscanf(line, " %*s %63s", word) == 1 && !strcmp(word, name);
    if (f)
        fclose(f);
    return has;
}

bool clip_ffmpeg(const char *format, ...)
{
    static char command[32768];
    int n = snprintf(command, sizeof command, "cd %s && ffmpeg -v error -nostdin -y ", folder);
    va_list ap;
    va_start(ap, format);
    int m = vsnprintf(command + n, sizeof command - (size_t)n, format, ap);
    va_end(ap);
    if (m >= 0 && (size_t)(n + m) < sizeof command && !system(command))
        return true;
    fprintf(stderr, "failed: %.300s\n", command);
    return false;
}

uint8_t *clip_load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    *size = 0;
    if (!f)
        return NULL;
    if (!fseek(f, 0, SEEK_END) && (bytes = malloc((size_t)ftell(f) + 1))) {
        *size = (size_t)ftell(f);
        rewind(f);
        *size = fread(bytes, 1, *size, f);
    }
    fclose(f);
    return bytes;
}

bool clip_save(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    return f && fwrite(bytes, 1, size, f) == size && !fclose(f);
}

/* ---- reading ------------------------------------------------------------------------------ */

static size_t put_planes(uint8_t *to, const oriel_frame *f)
{
    size_t at = 0, bytes = f->pixels.depth > 8 ? 2 : 1;
    for (int k = 0; k < oriel_pixels_planes(f->pixels); k++) {
        int i = f->pixels.model == ORIEL_PIXELS_RGB && k < 3 ? (k + 1) % 3 : k; /* FFmpeg's: G, B, R */
        int w, h;
        oriel_frame_plane_size(f, i, &w, &h);
        for (int y = 0; y < h; y++, at += (size_t)w * bytes)
            memcpy(to + at, f->plane[i] + y * f->stride[i], (size_t)w * bytes);
    }
    return at;
}

static size_t put_packed(uint8_t *to, const oriel_frame *f)
{
    size_t at = 0, bytes = f->pixels.depth > 8 ? 2 : 1;
    for (int y = 0; y < f->height; y++)
        for (size_t x = 0; x < (size_t)f->width; x++)
            for (int i = 0; i < oriel_pixels_planes(f->pixels); i++, at += bytes)
                memcpy(to + at, f->plane[i] + y * f->stride[i] + x * bytes, bytes);
    return at;
}

static uint64_t hash_of(const uint8_t *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3;
    return h;
}

clip_frames clip_read(const char *path, const oriel_video_reader_options *opt, clip_layout layout)
{
    clip_frames c = {0};
    oriel_video_reader *r = NULL;
    oriel_frame f = {0};
    uint8_t *one = NULL;
    if ((c.status = oriel_video_open(&r, path, opt)))
        return c;
    c.info = *oriel_video_info_of(r);
    while (!(c.status = oriel_video_read(r, &f))) {
        size_t most = (size_t)f.width * (size_t)f.height * 8;
        size_t n = (size_t)c.count + 1;
        one = realloc(one, most);
        size_t size = layout == CLIP_PACKED ? put_packed(one, &f) : put_planes(one, &f);
        c.pts = realloc(c.pts, n * sizeof *c.pts);
        c.duration = realloc(c.duration, n * sizeof *c.duration);
        c.hash = realloc(c.hash, n * sizeof *c.hash);
        c.pts[n - 1] = f.pts;
        c.duration[n - 1] = f.duration;
        c.hash[n - 1] = hash_of(one, size);
        if (layout != CLIP_NO_SAMPLES) {
            c.samples = realloc(c.samples, c.size + size);
            memcpy(c.samples + c.size, one, size);
            c.size += size;
        }
        if (!c.count++)
            c.fields = f.fields;
        oriel_frame_free(&f);
    }
    free(one);
    c.damage = oriel_video_damage_of(r);
    oriel_video_reader_free(&r);
    return c;
}

void clip_free(clip_frames *c)
{
    free(c->pts);
    free(c->duration);
    free(c->hash);
    free(c->samples);
    *c = (clip_frames){0};
}
