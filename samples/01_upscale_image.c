/* SPDX-License-Identifier: Apache-2.0 */
/* Read a picture, run a model on it, write the larger picture.
 * usage: 01_upscale_image IN MODEL OUT */
#include <oriel/oriel.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    oriel_device    *device = NULL;
    oriel_model     *model = NULL;
    oriel_image      in = {0}, out = {0};
    oriel_model_info info;
    oriel_plan       plan;
    float           *pixels = NULL, *larger = NULL; /* (1, Y, X, C), of the input and the output */
    oriel_status     s;
    if (argc != 4)
        return fprintf(stderr, "usage: %s IN MODEL OUT\n", argv[0]), 2;

    /* A device, a model on it, a picture. Which network it is stands in the model's own file. */
    if ((s = oriel_device_open(&device, NULL)) || (s = oriel_model_open(&model, device, argv[2], NULL)) ||
        (s = oriel_image_read(&in, argv[1], NULL)))
        goto done;
    oriel_model_describe(model, &info);
    printf("%s x%d on %s: %d x %d, %d channels\n", info.architecture, info.scale,
           oriel_device_name(device), in.width, in.height, in.channels);

    /* What the run will take, known before it runs. */
    const int64_t shape[4] = {1, in.height, in.width, info.channels};
    if ((s = oriel_model_plan(model, shape, &plan)))
        goto done;
    printf("it takes %.0f MB and %.1f Gflop\n", (double)plan.activation_bytes / 1e6, plan.flops / 1e9);

    /* The caller owns the tensors' memory: samples from 0 to 1, as many as the shape says. */
    oriel_tensor x = oriel_tensor_of(NULL, ORIEL_F32, 4, shape);
    oriel_tensor y = oriel_tensor_of(NULL, ORIEL_F32, 4, plan.shape_out);
    x.data = pixels = malloc((size_t)oriel_tensor_count(&x) * sizeof *pixels);
    y.data = larger = malloc((size_t)oriel_tensor_count(&y) * sizeof *larger);
    s = ORIEL_E_NOMEM;
    if (!pixels || !larger)
        goto done;

    /* (Y, X, C) is the one picture of the batch (1, Y, X, C). */
    oriel_tensor picture_in = oriel_tensor_of(pixels, ORIEL_F32, 3, shape + 1);
    oriel_tensor picture_out = oriel_tensor_of(larger, ORIEL_F32, 3, plan.shape_out + 1);
    if ((s = oriel_image_to_tensor(&in, 0, picture_in)) || (s = oriel_model_run(model, x, y, NULL)) ||
        (s = oriel_image_new(&out, in.width * info.scale, in.height * info.scale, info.channels, 8)) ||
        (s = oriel_image_from_tensor(&out, 0, picture_out)) ||
        (s = oriel_image_copy_metadata(&out, &in)) ||
        (s = oriel_image_write(&out, argv[3], &(oriel_image_write_options){.overwrite = true})))
        goto done;
    printf("%s: %d x %d\n", argv[3], out.width, out.height);

done:
    if (s)
        fprintf(stderr, "%s: %s\n", oriel_status_name(s), oriel_error());
    free(pixels);
    free(larger);
    oriel_image_free(&in);
    oriel_image_free(&out);
    oriel_model_free(&model); /* before the device that it is on */
    oriel_device_free(&device);
    return s != ORIEL_OK;
}
