/* SPDX-License-Identifier: Apache-2.0 */
/* oriel compare: how far two pictures, or two folders of pictures, differ. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <oriel/vision.h>

#include "args.h"
#include "inputs.h"
#include "tool.h"

#define MATCH_WORDS "name|order"
enum { MATCH_NAME, MATCH_ORDER };

typedef struct compare {
    oriel_compare_options opt;
    bool mod_crop, json;
    int match;
    int compared, failed;
    oriel_compare_result sum;
} compare;

static const char more[] =
    "A and B are two pictures, or two folders whose pictures are compared in pairs, with the\n"
    "mean at the end. Samples are taken as 0..255 whatever the depth, alpha is ignored;\n"
    "equal pictures have a PSNR of inf (null in JSON). The figures of papers are --y --crop S\n"
    "for a scale of S, with the original as A and --mod-crop.\n"
    "\n"
    "exit codes: 0 all compared, 1 a picture was missing, unreadable or of another size,\n"
    "2 misused\n";

static void print_figures(const compare *c, const oriel_compare_result *r)
{
    if (!c->json) {
        printf("psnr %.4f dB  ssim %.6f  max %.2f\n", r->psnr, r->ssim, r->max_abs);
        return;
    }
    fputs(",\"psnr\":", stdout);
    json_number(stdout, r->psnr, 6);
    fputs(",\"ssim\":", stdout);
    json_number(stdout, r->ssim, 8);
    fputs(",\"max\":", stdout);
    json_number(stdout, r->max_abs, 4);
    printf(",\"equal\":%s}\n", r->max_abs == 0 ? "true" : "false");
}

/* name: what to print before the figures, or NULL; JSON has the paths. */
static void print_pair(const compare *c, const char *a, const char *b, const char *name,
                       const oriel_compare_result *r)
{
    if (c->json) {
        fputs("{\"a\":", stdout);
        json_string(stdout, a);
        fputs(",\"b\":", stdout);
        json_string(stdout, b);
    } else if (name) {
        printf("%s  ", name);
    }
    print_figures(c, r);
}

/* The top left width x height of a picture, without what is beside the pixels. */
static bool crop(oriel_image *img, int width, int height, trouble *why)
{
    oriel_image cut = {0};
    if (oriel_image_new(&cut, width, height, img->channels, img->depth))
        return trouble_set(why, "%s", oriel_error());
    size_t pixel = (size_t)img->channels * (size_t)(img->depth / 8);
    for (int y = 0; y < height; y++)
        memcpy((uint8_t *)cut.data + (size_t)y * (size_t)width * pixel,
               (uint8_t *)img->data + (size_t)y * (size_t)img->width * pixel,
               (size_t)width * pixel);
    oriel_image_free(img);
    *img = cut;
    return true;
}

static bool measure(const compare *c, const char *path_a, const char *path_b,
                    oriel_compare_result *r, trouble *why)
{
    oriel_image a = {0}, b = {0};
    bool ok = true;
    if (oriel_image_read(&a, path_a, NULL))
        ok = trouble_of_file(why, path_a);
    if (ok && oriel_image_read(&b, path_b, NULL))
        ok = trouble_of_file(why, path_b);
    if (ok && (a.width != b.width || a.height != b.height)) {
        bool inside = a.width >= b.width && a.height >= b.height;
        if (c->mod_crop && inside)
            ok = crop(&a, b.width, b.height, why);
        else
            ok = trouble_set(why, "%s is %d x %d, %s is %d x %d%s", path_a, a.width, a.height,
                             path_b, b.width, b.height,
                             c->mod_crop ? ": --mod-crop cuts the first only"
                             : inside    ? ": --mod-crop would cut the first"
                                         : "");
    }
    if (ok && oriel_image_compare(r, &a, &b, &c->opt))
        ok = trouble_set(why, "%s, %s: %s", path_a, path_b, oriel_error());
    oriel_image_free(&a);
    oriel_image_free(&b);
    return ok;
}

static void compare_pair(compare *c, const char *a, const char *b, const char *name)
{
    oriel_compare_result r;
    trouble why = {""};
    if (!measure(c, a, b, &r, &why)) {
        fprintf(stderr, "oriel: %s\n", why.text);
        c->failed++;
        return;
    }
    print_pair(c, a, b, name, &r);
    c->compared++;
    c->sum.psnr += r.psnr;
    c->sum.ssim += r.ssim;
    c->sum.max_abs = fmax(c->sum.max_abs, r.max_abs);
}

static int stem_length(const char *name)
{
    return (int)(strlen(name) - strlen(extension(name)));
}

/* The index of the name in list that is `name`, or else `name` but for its extension; -1. */
static int partner(const char *name, char *const *list, int count)
{
    int n = stem_length(name), found = -1;
    for (int i = 0; i < count; i++) {
        if (!strcmp(list[i], name))
            return i;
        if (found < 0 && stem_length(list[i]) == n && !strncmp(list[i], name, (size_t)n))
            found = i;
    }
    return found;
}

static void free_list(char **list, int count)
{
    for (int i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

static void compare_lists(compare *c, const char *const folder[2], char **const list[2],
                          const int count[2])
{
    for (int i = 0; i < count[0]; i++) {
        int at = c->match == MATCH_ORDER ? i : partner(list[0][i], list[1], count[1]);
        if (at < 0) {
            fprintf(stderr, "oriel: %s has no %.*s\n", folder[1], stem_length(list[0][i]),
                    list[0][i]);
            c->failed++;
            continue;
        }
        char *a = need_text("%s/%s", folder[0], list[0][i]);
        char *b = need_text("%s/%s", folder[1], list[1][at]);
        compare_pair(c, a, b, list[0][i]);
        free(a);
        free(b);
    }
    if (!c->compared)
        return;
    oriel_compare_result mean = {c->sum.psnr / c->compared, c->sum.ssim / c->compared,
                                 c->sum.max_abs};
    printf(c->json ? "{\"mean_of\":%d" : "mean of %d  ", c->compared);
    print_figures(c, &mean);
}

static int compare_folders(compare *c, const char *a, const char *b)
{
    const char *folder[2] = {a, b};
    char **list[2] = {NULL, NULL};
    int count[2] = {0, 0}, code = ARGS_GO_ON;
    trouble why = {""};
    for (int i = 0; i < 2; i++) {
        count[i] = inputs_list(folder[i], &list[i], &why);
        if (count[i] == 0)
            trouble_set(&why, "no pictures in %s", folder[i]);
    }
    if (why.text[0])
        code = args_misused("compare", "%s", why.text);
    else if (c->match == MATCH_ORDER && count[0] != count[1])
        code = args_misused("compare", "--match order: %s has %d pictures, %s has %d", a, count[0],
                            b, count[1]);
    else
        compare_lists(c, folder, list, count);
    for (int i = 0; i < 2; i++)
        free_list(list[i], count[i]);
    return code;
}

int cmd_compare(int argc, char **argv)
{
    compare c = {0};
    const arg_option options[] = {
        ARG_FLAG("y", 'y', &c.opt.y, "compare luma (BT.601) in place of the channels"),
        ARG_INT("crop", 0, &c.opt.crop, "N", 0, 1 << 20, "leave out N pixels at each border"),
        ARG_FLAG("mod-crop", 0, &c.mod_crop,
                 "cut A to B's size, keeping its top left, where it is larger"),
        ARG_CHOICE("match", 0, &c.match, MATCH_WORDS,
                   "pairs of two folders: the same name but for the extension, or\n"
                   "the same place in sorted order (woman.png and woman_x4.png)"),
        ARG_FLAG("json", 0, &c.json, "one JSON object a line; the mean is the last"),
        ARG_END,
    };
    const arg_command self = {
        "compare", "A B",   "Measure how far pictures differ: PSNR, SSIM, the largest difference.",
        more,      options, 2,
        2};
    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON)
        return code;
    bool folders = is_folder(argv[1]);
    if (folders != is_folder(argv[2]))
        return args_misused("compare", "a picture and a folder: two of one kind are needed");
    if (folders)
        code = compare_folders(&c, argv[1], argv[2]);
    else
        compare_pair(&c, argv[1], argv[2], NULL);
    if (code != ARGS_GO_ON)
        return code;
    return c.failed ? EXIT_SOME_FAILED : EXIT_DONE;
}
