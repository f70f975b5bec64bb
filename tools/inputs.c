/* SPDX-License-Identifier: Apache-2.0 */
#include "inputs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a folder is searched for: also what the library cannot read, so that it is named as failed
 * and not silently left out. */
static const char *const picture_extensions[] = {
    ".png", ".jpg",  ".jpeg", ".jpe",  ".bmp",  ".tga",  ".pnm", ".ppm", ".pgm", ".pbm", ".pam",
    ".gif", ".webp", ".tif",  ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".psd", ".hdr", ".exr",
};
static const char *const written_extensions[] = {".png", ".pnm", ".ppm", ".pgm", ".pam"};

static bool one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcasecmp(word, list[i]))
            return true;
    return false;
}

#define ONE_OF(word, list) one_of(word, list, sizeof(list) / sizeof(list)[0])

typedef struct walk {
    inputs *in;
    const inputs_options *opt;
    struct stat out;       /* the output folder, which is not walked into; zero if there is none */
    const char *extension; /* of files written into folders */
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

/* A file that goes to OUT/relative, with the extension of what is written. */
static void add_to_folder(walk *w, const char *path, const char *relative)
{
    job *j = add(w->in);
    const char *name = !strcmp(relative, "-") ? "stdin" : relative;
    size_t length = strlen(w->opt->out);
    const char *slash = length && w->opt->out[length - 1] == '/' ? "" : "/";
    j->in = need_text("%s", path);
    j->stem = need_text("%s%s%.*s", w->opt->out, slash,
                        (int)(strlen(name) - strlen(extension(name))), name);
    j->out = need_text("%s%s", j->stem, w->extension);
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

/* Add the pictures of a folder in the order of their names. Folders that are links are not
 * followed: they may lead back. */
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
        } else if (known && S_ISREG(st.st_mode) && ONE_OF(extension(name), picture_extensions)) {
            add_to_folder(w, file, name);
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
    return is_shown(e) && ONE_OF(extension(e->d_name), picture_extensions);
}

int inputs_list(const char *folder, char ***names, trouble *why)
{
    struct dirent **entry;
    int n = scandir(folder, &entry, is_picture, by_name);
    if (n < 0) {
        trouble_set(why, "%s: %s", folder, strerror(errno));
        return -1;
    }
    *names = need((size_t)n, sizeof **names);
    for (int i = 0; i < n; i++) {
        (*names)[i] = need_text("%s", entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return n;
}

/* ---- names -------------------------------------------------------------------------------- */

static int by_stem(const void *a, const void *b)
{
    return strcmp((*(job *const *)a)->stem, (*(job *const *)b)->stem);
}

static int by_out(const void *a, const void *b)
{
    const job *x = *(job *const *)a, *y = *(job *const *)b;
    int order = strcmp(x->out, y->out);
    return order ? order : x < y ? -1 : x > y;
}

/* a.png and a.jpg would both become a.png: the one that is not a PNG becomes a.jpg.png. What is
 * still the same after that (x/a.png and y/a.png) is refused. */
static bool settle_names(inputs *in, const char *written, trouble *why)
{
    job **list = need((size_t)in->count, sizeof(job *));
    bool ok = true;
    for (int i = 0; i < in->count; i++)
        list[i] = &in->list[i];
    qsort(list, (size_t)in->count, sizeof *list, by_stem);
    for (int i = 0, end; i < in->count; i = end) {
        for (end = i + 1; end < in->count && !strcmp(list[i]->stem, list[end]->stem); end++)
            ;
        for (int k = i; k < end && end - i > 1; k++) {
            const char *ending = extension(list[k]->in);
            if (strcasecmp(ending, written)) {
                free(list[k]->out);
                list[k]->out = need_text("%s%s%s", list[k]->stem, ending, written);
            }
        }
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

/* Outputs that exist: refused before hours of work, not after; and never an input. */
static bool check_existing(const inputs *in, const inputs_options *opt, trouble *why)
{
    file_id *ids = need((size_t)in->count, sizeof *ids);
    size_t n = 0;
    int exist = 0;
    const char *first = NULL;
    bool ok = true;
    struct stat st;
    for (int i = 0; i < in->count; i++)
        if (strcmp(in->list[i].in, "-") && !stat(in->list[i].in, &st))
            ids[n++] = (file_id){st.st_dev, st.st_ino};
    qsort(ids, n, sizeof *ids, by_id);
    for (int i = 0; ok && i < in->count; i++) {
        const char *out = in->list[i].out;
        if (!strcmp(out, "-") || stat(out, &st))
            continue;
        file_id id = {st.st_dev, st.st_ino};
        if (S_ISDIR(st.st_mode))
            ok = trouble_set(why, "%s is a folder", out);
        else if (!opt->skip_existing && bsearch(&id, ids, n, sizeof *ids, by_id))
            ok = trouble_set(why, "%s is an input too: give another place to write to", out);
        else if ((!opt->shards || i % opt->shards == opt->shard - 1) && !exist++)
            first = out;
    }
    free(ids);
    if (!ok || !exist || opt->overwrite || opt->skip_existing)
        return ok;
    if (exist == 1)
        return trouble_set(why, "%s exists: -f replaces it, --skip-existing keeps it", first);
    return trouble_set(why,
                       "%d outputs exist (%s is the first): -f replaces, --skip-existing keeps",
                       exist, first);
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
        }
    }
    in->count = kept;
}

/* ---- one output --------------------------------------------------------------------------- */

static bool add_single(inputs *in, const char *path, const inputs_options *opt, trouble *why)
{
    job *j = add(in);
    j->in = need_text("%s", path);
    j->out = need_text("%s", opt->out);
    j->stem = need_text("%s", opt->out);
    if (!strcmp(opt->out, "-"))
        return !isatty(STDOUT_FILENO) ||
               trouble_set(why, "a picture is not written to a terminal: redirect the output");
    if (opt->format == ORIEL_IMAGE_AUTO && !ONE_OF(extension(opt->out), written_extensions))
        return trouble_set(why, "%s: the name of an output ends in .png, .pnm, .ppm, .pgm or .pam",
                           opt->out);
    return true;
}

bool inputs_collect(inputs *in, char *const *operands, int count, const inputs_options *opt,
                    trouble *why)
{
    walk w = {in, opt, {0}, opt->format == ORIEL_IMAGE_PNM ? ".pnm" : ".png", why};
    size_t length = strlen(opt->out);
    bool folder_in = false, pipe_in = false;
    *in = (inputs){0};
    for (int i = 0; i < count; i++) {
        folder_in = folder_in || is_folder(operands[i]);
        pipe_in = pipe_in || !strcmp(operands[i], "-");
    }
    bool exists = !stat(opt->out, &w.out);
    bool folder_out = exists && S_ISDIR(w.out.st_mode);
    if (pipe_in && count > 1)
        return trouble_set(why, "'-' must be the only input");
    if (opt->overwrite && opt->skip_existing)
        return trouble_set(why, "-f and --skip-existing exclude each other");
    in->to_folder = folder_out || folder_in || count > 1 || opt->out[length - 1] == '/';
    if (in->to_folder && !strcmp(opt->out, "-"))
        return trouble_set(why, "one picture at a time goes to stdout");
    if (in->to_folder && exists && !folder_out)
        return trouble_set(why, "%s is not a folder", opt->out);
    if (!in->to_folder && !add_single(in, operands[0], opt, why))
        return false;
    for (int i = 0; in->to_folder && i < count; i++) {
        if (!is_folder(operands[i]))
            add_to_folder(&w, operands[i], base_name(operands[i]));
        else if (!add_folder(&w, operands[i], ""))
            return false;
    }
    if (!in->count)
        return trouble_set(why, "no pictures in %s%s", operands[0],
                           in->folders ? " itself: -r looks into the folders inside" : "");
    if (!settle_names(in, w.extension, why))
        return false;
    if (!check_existing(in, opt, why))
        return false;
    if (opt->shards)
        keep_shard(in, opt->shard, opt->shards);
    return true;
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
    }
    free(in->list);
    *in = (inputs){0};
}
