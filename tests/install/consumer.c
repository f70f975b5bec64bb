/* SPDX-License-Identifier: Apache-2.0 */
/* An outside program: opens each default model of the installed tree and runs one.
 * usage: consumer MODEL-DIRECTORY | --version */
#include <oriel/oriel.h>

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Run the model on a small grey ramp; true if the output is finite everywhere. */
static bool try_model(oriel_device *dev, const char *path)
{
    oriel_model     *m = NULL;
    oriel_model_info info;
    oriel_plan       plan;
    float           *in = NULL, *out = NULL;
    bool             good = false;
    if (oriel_model_open(&m, dev, path, NULL))
        goto done;
    oriel_model_describe(m, &info);
    const int64_t shape[4] = {1, 13, 17, info.channels}, count = 13 * 17 * info.channels;
    if (oriel_model_plan(m, shape, &plan))
        goto done;
    const int64_t count_out = plan.shape_out[1] * plan.shape_out[2] * plan.shape_out[3];
    in = calloc((size_t)count, sizeof *in);
    out = calloc((size_t)count_out, sizeof *out);
    if (!in || !out)
        goto done;
    for (int64_t i = 0; i < count; i++)
        in[i] = (float)i / (float)count;
    if (oriel_model_run(m, oriel_tensor_of(in, ORIEL_F32, 4, shape),
                        oriel_tensor_of(out, ORIEL_F32, 4, plan.shape_out), NULL))
        goto done;
    good = plan.shape_out[1] == 13 * info.scale;
    for (int64_t i = 0; i < count_out; i++)
        good = good && isfinite(out[i]);
    printf("%s x%d, %lld parameters\n", info.architecture, info.scale, (long long)info.parameters);
done:
    free(in);
    free(out);
    oriel_model_free(&m);
    return good;
}

int main(int argc, char **argv)
{
    oriel_device *dev = NULL;
    glob_t        files = {0};
    char          pattern[4096];
    int           passed = 0, failed = 0;
    if (argc != 2)
        return 2;
    if (!strcmp(argv[1], "--version"))
        return puts(oriel_version()) < 0;
    if (oriel_device_open(&dev, NULL))
        return fprintf(stderr, "%s\n", oriel_error()), 1;
    snprintf(pattern, sizeof pattern, "%s/*.safetensors", argv[1]);
    glob(pattern, 0, NULL, &files);
    for (size_t i = 0; i < files.gl_pathc; i++)
        if (try_model(dev, files.gl_pathv[i])) {
            passed++;
        } else {
            failed++;
            fprintf(stderr, "%s: %s\n", files.gl_pathv[i], oriel_error());
        }
    globfree(&files);
    oriel_device_free(&dev);
    printf("oriel %s: %d models work, %d do not\n", oriel_version(), passed, failed);
    return failed || !passed;
}
