/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write a small SwinIR with the official tensor names and seeded weights, as safetensors:
 *
 *     make_tiny_model OUT.safetensors [SCALE [CHANNELS [WINDOW]]]
 *
 * SCALE 2 (default), 3, 4: pixelshuffledirect; 1: the residual network for noise and JPEG. CHANNELS
 * 3 or 1, WINDOW 8. Embed 12, depths 2 2, heads 2, mlp ratio 2. Its pictures mean nothing, but they
 * depend on every weight and on every pixel near by.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { EMBED = 12, HEADS = 2, GROUPS = 2, BLOCKS = 2, HIDDEN = 2 * EMBED, MAX_TENSORS = 128 };

typedef enum fill { WEIGHT, BIAS, ONES } fill;

typedef struct tensor {
    char name[128];
    int ndim, shape[4];
    fill how;
    int64_t count;
} tensor;

static tensor tensors[MAX_TENSORS];
static int tensor_count;

static void add(fill how, const char *name, int a, int b, int c, int d)
{
    tensor *t = &tensors[tensor_count++];
    *t = (tensor){.how = how, .shape = {a, b, c, d}, .count = 1};
    snprintf(t->name, sizeof t->name, "%s", name);
    while (t->ndim < 4 && t->shape[t->ndim])
        t->count *= t->shape[t->ndim++];
}

static void add_pair(const char *prefix, fill how, int a, int b, int c, int d)
{
    char name[128];
    snprintf(name, sizeof name, "%s.weight", prefix);
    add(how, name, a, b, c, d);
    snprintf(name, sizeof name, "%s.bias", prefix);
    add(BIAS, name, a, 0, 0, 0);
}

static void add_conv(const char *prefix, int out, int in)
{
    add_pair(prefix, WEIGHT, out, in, 3, 3);
}

static void add_linear(const char *block, const char *part, int out, int in)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", block, part);
    add_pair(name, in ? WEIGHT : ONES, out, in, 0, 0); /* in 0: a norm */
}

static void add_block(int group, int index, int window)
{
    char block[64], name[128];
    int span = 2 * window - 1;
    snprintf(block, sizeof block, "layers.%d.residual_group.blocks.%d", group, index);
    add_linear(block, "norm1", EMBED, 0);
    snprintf(name, sizeof name, "%s.attn.relative_position_bias_table", block);
    add(BIAS, name, span * span, HEADS, 0, 0);
    add_linear(block, "attn.qkv", 3 * EMBED, EMBED);
    add_linear(block, "attn.proj", EMBED, EMBED);
    add_linear(block, "norm2", EMBED, 0);
    add_linear(block, "mlp.fc1", HIDDEN, EMBED);
    add_linear(block, "mlp.fc2", EMBED, HIDDEN);
}

static void add_all(int scale, int channels, int window)
{
    char name[96];
    add_conv("conv_first", EMBED, channels);
    add_pair("patch_embed.norm", ONES, EMBED, 0, 0, 0);
    for (int g = 0; g < GROUPS; g++) {
        for (int b = 0; b < BLOCKS; b++)
            add_block(g, b, window);
        snprintf(name, sizeof name, "layers.%d.conv", g);
        add_conv(name, EMBED, EMBED);
    }
    add_pair("norm", ONES, EMBED, 0, 0, 0);
    add_conv("conv_after_body", EMBED, EMBED);
    if (scale > 1)
        add_conv("upsample.0", scale * scale * channels, EMBED);
    else
        add_conv("conv_last", channels, EMBED);
}

static void write_tensor(FILE *f, const tensor *t)
{
    uint64_t seed = 2166136261u; /* FNV-1a of the name */
    double fan_in = (double)t->count / t->shape[0], bound = sqrt(1.0 / fan_in);
    for (const char *c = t->name; *c; c++)
        seed = (uint32_t)((seed ^ (unsigned char)*c) * 16777619u);
    for (int64_t i = 0; i < t->count; i++) {
        double x = 2 * test_unit(seed, (uint64_t)i) - 1;
        float v = (float)(t->how == WEIGHT ? x * bound : t->how == ONES ? 1 + 0.1 * x : 0.02 * x);
        fwrite(&v, sizeof v, 1, f);
    }
}

static void write_header(FILE *f)
{
    char *text = NULL;
    size_t size = 0;
    int64_t offset = 0;
    FILE *header = open_memstream(&text, &size);
    if (!header)
        exit(1);
    fprintf(header, "{");
    for (int i = 0; i < tensor_count; i++) {
        const tensor *t = &tensors[i];
        int64_t end = offset + t->count * (int64_t)sizeof(float);
        fprintf(header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", t->name);
        for (int k = 0; k < t->ndim; k++)
            fprintf(header, "%s%d", k ? "," : "", t->shape[k]);
        fprintf(header, "],\"data_offsets\":[%lld,%lld]}", (long long)offset, (long long)end);
        offset = end;
    }
    fprintf(header, "}");
    while (ftell(header) % 8)
        fprintf(header, " ");
    fclose(header);
    uint64_t n = size;
    fwrite(&n, sizeof n, 1, f); /* little-endian, as all machines that run this */
    fwrite(text, 1, size, f);
    free(text);
}

int main(int argc, char **argv)
{
    int scale = argc > 2 ? atoi(argv[2]) : 2, channels = argc > 3 ? atoi(argv[3]) : 3;
    int window = argc > 4 ? atoi(argv[4]) : 8;
    if (argc < 2 || scale < 1 || scale > 4 || (channels != 1 && channels != 3) || window < 1) {
        fprintf(stderr, "usage: make_tiny_model OUT.safetensors [SCALE [CHANNELS [WINDOW]]]\n");
        return 2;
    }
    FILE *f = fopen(argv[1], "wb");
    if (!f) {
        perror(argv[1]);
        return 1;
    }
    add_all(scale, channels, window);
    write_header(f);
    for (int i = 0; i < tensor_count; i++)
        write_tensor(f, &tensors[i]);
    if (fclose(f)) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
