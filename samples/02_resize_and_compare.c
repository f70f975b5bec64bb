/* SPDX-License-Identifier: Apache-2.0 */
/* Halve a picture, enlarge it again by each filter, and say how much of it came back.
 * usage: 02_resize_and_compare IN */
#include <oriel/core.h>
#include <oriel/vision.h>

#include <stdio.h>

static const struct {
    const char  *name;
    oriel_filter filter;
} filters[] = {
    {"nearest", ORIEL_NEAREST},
    {"bilinear", ORIEL_BILINEAR},
    {"bicubic", ORIEL_BICUBIC},
    {"lanczos3", ORIEL_LANCZOS3},
};

/* Enlarge half to the size of whole and print how near it comes. */
static oriel_status enlarge(const oriel_image *whole, const oriel_image *half, int i)
{
    const oriel_resize_options  how = {.filter = filters[i].filter};
    const oriel_compare_options of = {.y = true, .crop = 2}; /* luma, as papers report it */
    oriel_image                 again = {0};
    oriel_compare_result        r;
    oriel_status                s;
    if ((s = oriel_image_resize(&again, half, whole->width, whole->height, &how)) == ORIEL_OK &&
        (s = oriel_image_compare(&r, &again, whole, &of)) == ORIEL_OK)
        printf("%-9s PSNR %5.2f dB   SSIM %.4f\n", filters[i].name, r.psnr, r.ssim);
    oriel_image_free(&again);
    return s;
}

int main(int argc, char **argv)
{
    /* The rule by which super-resolution papers make their low-resolution pictures. */
    const oriel_resize_options matlab = {.filter = ORIEL_BICUBIC, .rule = ORIEL_RESIZE_MATLAB};
    oriel_image                whole = {0}, half = {0};
    oriel_status               s;
    if (argc != 2)
        return fprintf(stderr, "usage: %s IN\n", argv[0]), 2;
    if ((s = oriel_image_read(&whole, argv[1], NULL)))
        goto done;
    printf("%s: %d x %d, %d channels of %d bits\n", argv[1], whole.width, whole.height,
           whole.channels, whole.depth);
    if ((s = oriel_image_resize(&half, &whole, (whole.width + 1) / 2, (whole.height + 1) / 2, &matlab)))
        goto done;
    for (int i = 0; i < (int)(sizeof filters / sizeof *filters) && !s; i++)
        s = enlarge(&whole, &half, i);
done:
    if (s)
        fprintf(stderr, "%s: %s\n", oriel_status_name(s), oriel_error());
    oriel_image_free(&whole);
    oriel_image_free(&half);
    return s != ORIEL_OK;
}
