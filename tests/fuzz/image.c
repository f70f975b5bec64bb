/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a picture file. What decodes must be whole, and the same again after PNM. */
#include <stdlib.h>
#include <string.h>

#include <oriel/vision.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    oriel_image img, again;
    oriel_image_read_options opt = {.max_pixels = 1 << 20, .keep_orientation = size & 1};
    oriel_image zero = {0};
    if (oriel_image_decode(&img, data, size, &opt)) {
        check(!memcmp(&img, &zero, sizeof img) && oriel_error()[0]);
        return 0;
    }
    check(img.width > 0 && img.height > 0 && (uint64_t)img.width * img.height <= opt.max_pixels);
    check(img.channels >= 1 && img.channels <= 4 && (img.depth == 8 || img.depth == 16));
    check(!img.icc == !img.icc_size && !img.exif == !img.exif_size);

    uint8_t *bytes;
    size_t length, pixels = (size_t)img.width * img.height;
    oriel_image_write_options pnm = {.format = ORIEL_IMAGE_PNM};
    check(!oriel_image_encode(&img, &bytes, &length, &pnm));
    check(!oriel_image_decode(&again, bytes, length, NULL));
    check(img.width == again.width && img.channels == again.channels && img.depth == again.depth);
    check(!memcmp(img.data, again.data, pixels * img.channels * (img.depth / 8)));
    check(!oriel_image_copy_metadata(&again, &img));
    oriel_bytes_free(&bytes);
    if (pixels < 1 << 12) { /* libpng is slow */
        oriel_status s = oriel_image_encode(&again, &bytes, &length, NULL);
        check(!s || s == ORIEL_E_UNSUPPORTED); /* a build without PNG */
        oriel_bytes_free(&bytes);
    }
    oriel_image_free(&again);
    oriel_image_free(&img);
    return 0;
}
