/* SPDX-License-Identifier: Apache-2.0 */
#include "inputs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <oriel/video.h>

#include "kind.h"

typedef struct walk {
    inputs *in;
    const inputs_options *opt;
    struct stat out; /* the output folder, which is not walked into; zero if there is none */
    trouble *why;
} walk;

static job *add(inputs *in)
{
    if (in->count == in->room) {
        int room = in->room ? 2 * in->room : 64;
        job *list = need((size_t)room, sizeof *list);
        if (in->count)
            memcpy(list, in->list, (size_t)in->count * sizeof *list);
        free(in->list);
        in->list = list;
        in->room = room;
    }
    return &in->list[in->count++];
}

/* What a clip becomes in a folder: the same, where that can be written as a rule. */
static const char *clip_ending(const inputs_options *opt, const char *name)
{
    static const char *const same[] = {".mp4", ".m4v", ".mov",  ".mkv", ".webm", ".avi",
                                       ".ts",  ".mts", ".m2ts", ".flv", ".3gp",  ".y4m"};
    if (opt->ending)
        return opt->ending;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (!strcasecmp(extension(name), same[i]))
            return same[i];
    if (!strcasecmp(extension(name), ".gif"))
        return ".mp4";
    return oriel_video_has_ffmpeg() ? ".mkv" : ".y4m";
}

/* A file that goes to OUT/relative, with the extension of what is written. */
static void add_to_folder(walk *w, const char *path, const char *relative, bool clip)
{
    job *j = add(w->in);
    const char *name = !strcmp(relative, "-") ? "stdin" : relative;
    size_t length = strlen(w->opt->out);
    const char *slash = length && w->opt->out[length - 1] == '/' ? "" : "/";
    const char *picture = w->opt->format == ORIEL_IMAGE_PNM ? ".pnm" : ".png";
    j->in = need_text("%s", path);
    j->clip = clip;
    j->stem = need_text("%s%s%.*s", w->opt->out, slash,
                        (int)(strlen(name) - strlen(extension(name))), name);
    j->out = need_text("%s%s", j->stem, clip ? clip_ending(w->opt, name) : picture);
}

static bool is_clip(const inputs_options *opt, const char *path)
{
    return opt->raw || kind_of(path) == KIND_CLIP;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_shown(const struct dirent *e)
{
    return e->d_name[0] != '.' && strcasecmp(e->d_name, "desktop.ini") &&
           strcasecmp(e->d_name, "thumbs.db");
}

/* Add the pictures and clips of a folder in the order of their names. Folders that are links are
 * not followed: they may lead back. */
static bool add_folder(walk *w, const char *path, const char *relative)
{
    struct dirent **entry;
    int n = scandir(path, &entry, is_shown, by_name);
    bool ok = true;
    if (n < 0)
        return trouble_set(w->why, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *file = need_text("%s/%s", path, entry[i]->d_name);
        char *name = need_text("%s%s%s", relative, relative[0] ? "/" : "", entry[i]->d_name);
        struct stat st, link;
        bool known = !stat(file, &st) && !lstat(file, &link);
        bool output = known && st.st_dev == w->out.st_dev && st.st_ino == w->out.st_ino;
        if (known && S_ISDIR(st.st_mode) && !output && !S_ISLNK(link.st_mode)) {
            if (!w->opt->recursive)
                w->in->folders++;
            else
                ok = ok && add_folder(w, file, name);
        } else if (known && S_ISREG(st.st_mode) && kind_of_name(name) != KIND_UNKNOWN) {
            add_to_folder(w, file, name, kind_of_name(name) == KIND_CLIP);
        } else if (!output) {
            w->in->others++;
        }
        free(name);
        free(file);
        free(entry[i]);
    }
    free(entry);
    return ok;
}

static int is_picture(const struct dirent *e)
{
    return is_shown(e) && kind_of_name(e->d_name) == KIND_PICTURE;
}

int inputs_list(const char *folder, char ***list, trouble *why)
{
    struct dirent **entry;
    int n = scandir(folder, &entry, is_picture, by_name);
    if (n < 0) {
        trouble_set(why, "%s: %s", folder, strerror(errno));
        return -1;
    }
    *list = need((size_t)n, sizeof **list);
    for (int i = 0; i < n; i++) {
        (*list)[i] = need_text("%s", entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return n;
}

/* ---- names -------------------------------------------------------------------------------- */

static int by_out(const void *a, const void *b)
{
    const job *x = *(job *const *)a, *y = *(job *const *)b;
    int order = strcmp(x->out, y->out);
    return order ? order : x < y ? -1 : x > y;
}

/* a.png and a.jpg would both become a.png: the one that is not a PNG becomes a.jpg.png. What is
 * still the same after that (x/a.png and y/a.png) is refused. */
static bool settle_names(inputs *in, trouble *why)
{
    job **list = need((size_t)in->count, sizeof(job *));
    bool ok = true;
    for (int i = 0; i < in->count; i++)
        list[i] = &in->list[i];
    qsort(list, (size_t)in->count, sizeof *list, by_out);
    for (int i = 0, end; i < in->count; i = end) {
        char *shared = list[i]->out;
        const char *written = extension(shared);
        for (end = i + 1; end < in->count && !strcmp(shared, list[end]->out); end++)
            ;
        bool alone = end - i == 1;
        shared = need_text("%s", shared);
        written = shared + strlen(shared) - strlen(written);
        for (int k = i; k < end && !alone; k++) {
            const char *ending = extension(list[k]->in);
            if (strcasecmp(ending, written)) {
                free(list[k]->out);
                list[k]->out = need_text("%s%s%s", list[k]->stem, ending, written);
            }
        }
        free(shared);
    }
    qsort(list, (size_t)in->count, sizeof *list, by_out);
    for (int i = 1; ok && i < in->count; i++)
        if (!strcmp(list[i - 1]->out, list[i]->out))
            ok = trouble_set(why, "%s and %s would both be written to %s", list[i - 1]->in,
                             list[i]->in, list[i]->out);
    free(list);
    return ok;
}

typedef struct file_id {
    dev_t dev;
    ino_t ino;
} file_id;

static int by_id(const void *a, const void *b)
{
    const file_id *x = a, *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Files that the inputs are, sorted. To be freed. */
static file_id *input_ids(const inputs *in, size_t *count)
{
    size_t most = 0, n = 0;
    struct stat st;
    for (int i = 0; i < in->count; i++)
        most += 1 + (size_t)in->list[i].series.count;
    file_id *ids = need(most, sizeof *ids);
    for (int i = 0; i < in->count; i++) {
        const job *j = &in->list[i];
        if (strcmp(j->in, "-") && !stat(j->in, &st))
            ids[n++] = (file_id){st.st_dev, st.st_ino};
        for (int k = 0; k < j->series.count; k++)
            if (!stat(j->series.list[k], &st))
                ids[n++] = (file_id){st.st_dev, st.st_ino};
    }
    qsort(ids, n, sizeof *ids, by_id);
    *count = n;
    return ids;
}

/* A clip that was begun before is neither lost nor gone on with unasked. */
static bool check_part(const job *j, const inputs_options *opt, trouble *why)
{
    struct stat st;
    if (!j->clip || kind_is_numbered(j->out) || opt->resume || opt->overwrite)
        return true;
    char *part = inputs_part(j->out);
    if (!stat(part, &st) && S_ISREG(st.st_mode))
        trouble_set(why,
                    "%s is there, of a run that was stopped: --resume goes on from it, -f "
                    "begins again",
                    part);
    free(part);
    return !why->text[0];
}

/* Outputs that exist: refused before hours of work, not after; and never an input. */
static bool check_existing(const inputs *in, const inputs_options *opt, trouble *why)
{
    size_t n;
    file_id *ids = input_ids(in, &n);
    int exist = 0;
    char *first = NULL;
    bool ok = true, keep = opt->skip_existing || opt->resume;
    struct stat st;
    for (int i = 0; ok && i < in->count; i++) {
        const job *j = &in->list[i];
        if (!strcmp(j->out, "-"))
            continue;
        bool mine = !opt->shards || i % opt->shards == opt->shard - 1;
        char *out = kind_is_numbered(j->out) && j->clip ? inputs_numbered(j->out, 1)
                                                        : need_text("%s", j->out);
        bool there = !stat(out, &st);
        file_id id = {st.st_dev, st.st_ino};
        if (there && S_ISDIR(st.st_mode))
            ok = trouble_set(why, "%s is a folder", out);
        else if (there && S_ISREG(st.st_mode) && !keep && bsearch(&id, ids, n, sizeof *ids, by_id))
            ok = trouble_set(why, "%s is an input too: give another place to write to", out);
        else if (there && (S_ISREG(st.st_mode) || !j->clip) && mine && !exist++)
            first = need_text("%s", out);
        else if (!there && mine)
            ok = check_part(j, opt, why);
        free(out);
    }
    if (ok && exist && !opt->overwrite && !keep) {
        if (exist == 1)
            ok = trouble_set(why, "%s exists: -f replaces it, --skip-existing keeps it", first);
        else
            ok = trouble_set(
                why, "%d outputs exist (%s is the first): -f replaces, --skip-existing keeps",
                exist, first);
    }
    free(first);
    free(ids);
    return ok;
}

static void keep_shard(inputs *in, int shard, int shards)
{
    int kept = 0;
    for (int i = 0; i < in->count; i++) {
        job *j = &in->list[i];
        if (i % shards == shard - 1) {
            in->list[kept++] = *j;
        } else {
            free(j->in);
            free(j->out);
            free(j->stem);
            names_free(&j->series);
        }
    }
    in->count = kept;
}

/* ---- one output --------------------------------------------------------------------------- */

static job *add_one(inputs *in, const char *path, const char *out)
{
    job *j = add(in);
    j->in = need_text("%s", path);
    j->out = need_text("%s", out);
    j->stem = need_text("%s", out);
    return j;
}

static bool add_single(inputs *in, const char *path, const inputs_options *opt, trouble *why)
{
    job *j = add_one(in, path, opt->out);
    bool pipe = !strcmp(opt->out, "-");
    j->clip = is_clip(opt, path);
    if (pipe && isatty(STDOUT_FILENO))
        return trouble_set(why, "a %s is not written to a terminal: redirect the output",
                           j->clip ? "clip" : "picture");
    if (j->clip && opt->format != ORIEL_IMAGE_AUTO)
        return trouble_set(why, "%s is a clip: its pictures get names such as out/%%06d.png", path);
    if (pipe || (!j->clip && opt->format != ORIEL_IMAGE_AUTO))
        return true;
    if (j->clip && (kind_is_written(opt->out) || (!opt->container && !extension(opt->out)[0])))
        return trouble_set(why,
                           "%s: %s is a clip, and OUT for it is a name such as out.mp4, for its "
                           "pictures out/%%06d.png, or a folder that exists or ends in /",
                           opt->out, path);
    return j->clip || kind_is_written(opt->out) ||
           trouble_set(why, "%s: the name of an output ends in .png, .pnm, .ppm, .pgm or .pam",
                       opt->out);
}

/* Frames to or from pictures: one job, whatever the operands. */
static bool add_series(inputs *in, const names *operands, const inputs_options *opt, trouble *why)
{
    const char *path = operands->list[0];
    bool one_clip = operands->count == 1 && !is_folder(path) && is_clip(opt, path);
    job *j = add_one(in, path, opt->out);
    j->clip = true;
    if (!strcmp(opt->out, "-") && isatty(STDOUT_FILENO))
        return trouble_set(why, "a clip is not written to a terminal: redirect the output");
    if (kind_is_numbered(opt->out) && opt->container)
        return trouble_set(why, "%s is the name of pictures, --format of a clip", opt->out);
    if (!kind_is_numbered(opt->out) && opt->format != ORIEL_IMAGE_AUTO)
        return trouble_set(why, "%s is the name of a clip, --format of pictures", opt->out);
    return one_clip || series_collect(&j->series, operands, why);
}

static bool collect(inputs *in, const names *operands, const inputs_options *opt, trouble *why)
{
    walk w = {in, opt, {0}, why};
    const char *first = operands->list[0];
    size_t length = strlen(opt->out);
    bool folder_in = false, pipe_in = false, pipe_out = !strcmp(opt->out, "-");
    for (int i = 0; i < operands->count; i++) {
        folder_in = folder_in || is_folder(operands->list[i]);
        pipe_in = pipe_in || !strcmp(operands->list[i], "-");
    }
    bool exists = !stat(opt->out, &w.out);
    bool folder_out = (exists && S_ISDIR(w.out.st_mode)) || opt->out[length - 1] == '/';
    if (pipe_in && operands->count > 1)
        return trouble_set(why, "'-' must be the only input");
    if (!folder_out && (kind_of_name(opt->out) == KIND_CLIP || kind_is_numbered(opt->out) ||
                        (opt->container &&
                         (pipe_out || operands->count > 1 || folder_in || !is_clip(opt, first)))))
        return add_series(in, operands, opt, why);
    in->to_folder = folder_out || folder_in || operands->count > 1;
    if (in->to_folder && pipe_out)
        return trouble_set(why, "one picture at a time goes to stdout");
    if (in->to_folder && exists && !S_ISDIR(w.out.st_mode))
        return trouble_set(why, "%s is not a folder", opt->out);
    if (!in->to_folder)
        return add_single(in, first, opt, why);
    for (int i = 0; i < operands->count; i++) {
        const char *path = operands->list[i];
        if (!is_folder(path))
            add_to_folder(&w, path, base_name(path), is_clip(opt, path));
        else if (!add_folder(&w, path, ""))
            return false;
    }
    return true;
}

bool inputs_collect(inputs *in, char *const *operands, int count, const inputs_options *opt,
                    trouble *why)
{
    names expanded;
    *in = (inputs){0};
    bool ok = names_expand(&expanded, operands, count, why);
    if (ok && opt->overwrite && (opt->skip_existing || opt->resume))
        ok = trouble_set(why, "-f and --%s exclude each other",
                         opt->resume ? "resume" : "skip-existing");
    ok = ok && collect(in, &expanded, opt, why);
    if (ok && !in->count)
        ok = trouble_set(why, "no pictures or clips in %s%s", operands[0],
                         in->folders ? " itself: -r looks into the folders inside" : "");
    ok = ok && settle_names(in, why) && check_existing(in, opt, why);
    if (ok && opt->shards)
        keep_shard(in, opt->shard, opt->shards);
    for (int i = 0; i < in->count; i++) {
        in->clips += in->list[i].clip;
        in->series += in->list[i].series.count > 0;
    }
    names_free(&expanded);
    return ok;
}

void inputs_free(inputs *in)
{
    for (int i = 0; i < in->count; i++) {
        job *j = &in->list[i];
        oriel_image_free(&j->source);
        oriel_image_free(&j->result);
        free(j->in);
        free(j->out);
        free(j->stem);
        free(j->error);
        names_free(&j->series);
    }
    free(in->list);
    *in = (inputs){0};
}
