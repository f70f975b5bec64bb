/* SPDX-License-Identifier: Apache-2.0 */
/* Read a clip frame by frame, run a model on each, write the larger clip with the sound of the first.
 * usage: 05_upscale_video IN MODEL OUT */
#include <oriel/oriel.h>
#include <oriel/video.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    oriel_device       *device = NULL;
    oriel_model        *model = NULL;
    oriel_video_reader *in = NULL;
    oriel_video_writer *out = NULL;
    oriel_frame         small = {0}, large = {0};
    oriel_model_info    net;
    oriel_plan          plan;
    float              *pixels = NULL, *larger = NULL; /* (Y, X, C) of the model's input and output */
    oriel_status        s;
    if (argc != 4)
        return fprintf(stderr, "usage: %s IN MODEL OUT\n", argv[0]), 2;
    if ((s = oriel_device_open(&device, NULL)) || (s = oriel_model_open(&model, device, argv[2], NULL)) ||
        (s = oriel_video_open(&in, argv[1], NULL)))
        goto done;

    /* The result is as the source is, but for its size. */
    oriel_model_describe(model, &net);
    oriel_video_info like = *oriel_video_info_of(in);
    const int64_t    shape[4] = {1, like.height, like.width, net.channels};
    like.width *= net.scale;
    like.height *= net.scale;
    if ((s = oriel_model_plan(model, shape, &plan)) ||
        (s = oriel_video_create(&out, argv[3], &like, &(oriel_video_writer_options){.overwrite = true, .source = in})))
        goto done;
    oriel_tensor x = oriel_tensor_of(NULL, ORIEL_F32, 4, shape), y = oriel_tensor_of(NULL, ORIEL_F32, 4, plan.shape_out);
    x.data = pixels = malloc((size_t)oriel_tensor_count(&x) * sizeof *pixels);
    y.data = larger = malloc((size_t)oriel_tensor_count(&y) * sizeof *larger);
    s = ORIEL_E_NOMEM;
    if (!pixels || !larger)
        goto done;

    /* Planes become RGB by the clip's own matrix and range, and planes of the same kind again. */
    oriel_tensor rgb = oriel_tensor_of(pixels, ORIEL_F32, 3, shape + 1);
    oriel_tensor more = oriel_tensor_of(larger, ORIEL_F32, 3, plan.shape_out + 1);
    while (!(s = oriel_video_read(in, &small))) {
        if ((s = oriel_frame_to_tensor(&small, rgb)) || (s = oriel_model_run(model, x, y, NULL)) ||
            (s = oriel_frame_new(&large, like.width, like.height, like.pixels)))
            goto done;
        oriel_frame_copy_tags(&large, &small); /* its time, its colours, what HDR needs */
        if ((s = oriel_frame_from_tensor(&large, more)) || (s = oriel_video_write(out, &large)))
            goto done;
        oriel_frame_free(&small);
        oriel_frame_free(&large);
    }
    if (s == ORIEL_EOF && !(s = oriel_video_finish(out)))
        printf("%s: %lld frames of %d x %d, %s\n", argv[3], (long long)oriel_video_written_of(out).frames, like.width,
               like.height, oriel_video_written_of(out).codec);

done:
    if (s)
        fprintf(stderr, "%s: %s\n", oriel_status_name(s), oriel_error());
    free(pixels);
    free(larger);
    oriel_frame_free(&small);
    oriel_frame_free(&large);
    oriel_video_writer_free(&out); /* not finished: what there is stays, and plays, as OUT's .part */
    oriel_video_reader_free(&in);
    oriel_model_free(&model);
    oriel_device_free(&device);
    return s != ORIEL_OK;
}
