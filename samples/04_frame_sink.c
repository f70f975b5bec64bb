/* SPDX-License-Identifier: Apache-2.0 */
/* A stream without an end on a memory without growth: chunks of two frames, each seen by three passes,
 * over a cache of eight frames of which two are a sink. The "model" is a layer of attention whose keys,
 * values and queries are sawteeth; what it shows is the cache's part of a rollout.
 * usage: 04_frame_sink [CHUNKS] */
#include <oriel/core.h>
#include <oriel/kv.h>

#include <stdio.h>
#include <stdlib.h>

enum { HEADS = 2, DIM = 24, ROWS = 4, COLUMNS = 6, FRAMES = 2, TOKENS = FRAMES * ROWS * COLUMNS };

/* What a network would compute from the noisy frames of this pass: the calmer the cleaner. */
static void project(float *x, int64_t start, int pass, int phase)
{
    for (int i = 0; i < TOKENS * HEADS * DIM; i++)
        x[i] = (float)((i * 37 + start * 5 + phase * 31) % 97 - 48) / (float)(48 * (pass + 1));
}

static oriel_status chunk(oriel_kv *kv, int64_t start)
{
    static float       data[4][TOKENS * HEADS * DIM];
    const int64_t      shape[] = {1, TOKENS, HEADS, DIM}; /* B, N, H, D */
    const oriel_tensor q = oriel_tensor_of(data[0], ORIEL_F32, 4, shape);
    const oriel_tensor k = oriel_tensor_of(data[1], ORIEL_F32, 4, shape);
    const oriel_tensor v = oriel_tensor_of(data[2], ORIEL_F32, 4, shape);
    const oriel_tensor out = oriel_tensor_of(data[3], ORIEL_F32, 4, shape);
    oriel_status       s = ORIEL_OK;
    for (int pass = 0; pass < 3 && !s; pass++) { /* each overwrites the keys of the one before */
        for (int i = 0; i < 3; i++)
            project(data[i], start, pass, i);
        if ((s = oriel_kv_begin(kv, start, FRAMES)) == ORIEL_OK &&
            (s = oriel_kv_write(kv, 0, &k, &v)) == ORIEL_OK)
            s = oriel_kv_attend(kv, 0, &q, &out, NULL);
    }
    int64_t frame[8];
    double  position[8];
    int     n = oriel_kv_frames(kv, frame, position);
    printf("%3d frames seen:", n);
    for (int i = 0; i < n; i++)
        printf(" %lld@%g", (long long)frame[i], position[i]);
    printf("   out %.5f\n", (double)data[3][0]);
    return s;
}

int main(int argc, char **argv)
{
    const oriel_kv_config config = {.heads = HEADS, .dim = DIM, .rows = ROWS, .columns = COLUMNS,
                                    .window = 8, .sink = 2, .dtype = ORIEL_BF16,
                                    .position = ORIEL_KV_ANCHOR};
    int           chunks = argc > 1 ? atoi(argv[1]) : 6;
    size_t        bytes = 0;
    oriel_device *dev = NULL;
    oriel_kv     *kv = NULL;
    oriel_status  s;
    if ((s = oriel_device_open(&dev, NULL)) || (s = oriel_kv_bytes(&config, oriel_device_threads(dev), &bytes)) ||
        (s = oriel_kv_new(&kv, dev, &config)))
        goto done;
    printf("%zu bytes, whatever the length\n", bytes);
    for (int i = 0; i < chunks && !s; i++)
        s = chunk(kv, (int64_t)i * FRAMES);
done:
    if (s)
        fprintf(stderr, "%s: %s\n", oriel_status_name(s), oriel_error());
    oriel_kv_free(&kv);
    oriel_device_free(&dev);
    return s != ORIEL_OK;
}
