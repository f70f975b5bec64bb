/* SPDX-License-Identifier: Apache-2.0 */
#include "swinir_net.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { MAX_TENSORS = 256, FEATURES = 64 };

typedef struct tensor {
    char name[160];
    int  ndim, shape[4];
} tensor;

typedef struct list {
    tensor t[MAX_TENSORS];
    int    n;
} list;

static void add(list *l, const char *prefix, const char *name, int a, int b, int k)
{
    tensor *t = &l->t[l->n++];
    *t = (tensor){.shape = {a, b, k, k}, .ndim = k ? 4 : b ? 2 : 1};
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
}

/* weight (n, k[, kernel, kernel]) and bias (n); k 0: a norm */
static void pair(list *l, const char *prefix, const char *name, int n, int k, int kernel)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    add(l, "", full, n, k, kernel);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    add(l, "", full, n, 0, 0);
}

static void tail(list *l, const char *name, const swinir_net *s)
{
    int  c = s->embed;
    char full[64];
    if (!s->three) {
        pair(l, "", name, c, c, 3);
        return;
    }
    snprintf(full, sizeof full, "%s.", name);
    pair(l, full, "0", c / 4, c, 3);
    pair(l, full, "2", c / 4, c / 4, 1);
    pair(l, full, "4", c, c / 4, 3);
}

static void upsampler(list *l, const swinir_net *s)
{
    int  f = FEATURES, out = s->channels;
    char name[32];
    if (!strcmp(s->up, "pixelshuffledirect")) {
        pair(l, "", "upsample.0", out * s->scale * s->scale, s->embed, 3);
        return;
    }
    if (!strcmp(s->up, "none")) {
        pair(l, "", "conv_last", out, s->embed, 3);
        return;
    }
    pair(l, "", "conv_before_upsample.0", f, s->embed, 3);
    if (!strcmp(s->up, "pixelshuffle")) {
        int r = s->scale == 3 ? 3 : 2;
        for (int left = s->scale, i = 0; left > 1; left /= r, i += 2) {
            snprintf(name, sizeof name, "upsample.%d", i);
            pair(l, "", name, r * r * f, f, 3);
        }
    } else {
        pair(l, "", "conv_up1", f, f, 3);
        if (s->scale == 4)
            pair(l, "", "conv_up2", f, f, 3);
        pair(l, "", "conv_hr", f, f, 3);
    }
    pair(l, "", "conv_last", out, f, 3);
}

static void all(list *l, const swinir_net *s)
{
    int c = s->embed, side = 2 * s->window - 1;
    l->n = 0;
    pair(l, "", "conv_first", c, s->channels, 3);
    pair(l, "", "patch_embed.norm", c, 0, 0);
    for (int g = 0; g < 2; g++) {
        char at[64];
        for (int i = 0; i < s->depth[g]; i++) {
            snprintf(at, sizeof at, "layers.%d.residual_group.blocks.%d.", g, i);
            pair(l, at, "norm1", c, 0, 0);
            add(l, at, "attn.relative_position_bias_table", side * side, s->heads, 0);
            pair(l, at, "attn.qkv", 3 * c, c, 0);
            pair(l, at, "attn.proj", c, c, 0);
            pair(l, at, "norm2", c, 0, 0);
            pair(l, at, "mlp.fc1", s->hidden, c, 0);
            pair(l, at, "mlp.fc2", c, s->hidden, 0);
        }
        snprintf(at, sizeof at, "layers.%d.conv", g);
        tail(l, at, s);
    }
    pair(l, "", "norm", c, 0, 0);
    tail(l, "conv_after_body", s);
    upsampler(l, s);
}

static bool ends(const char *name, const char *with)
{
    size_t a = strlen(name), b = strlen(with);
    return a >= b && !strcmp(name + a - b, with);
}

static int64_t count(const tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static bool write_tensor(FILE *f, const swinir_net *s, const tensor *t)
{
    const char *last = !strcmp(s->up, "pixelshuffledirect") ? "upsample.0.weight" : "conv_last.weight";
    double      range = s->window == 7 ? 255 : 1, scale = 1, base = 0;
    int64_t     n = count(t);
    float      *v = malloc((size_t)n * sizeof *v);
    uint64_t    seed = 2166136261u; /* FNV-1a of the name */
    for (const char *c = t->name; *c; c++)
        seed = (uint32_t)((seed ^ (unsigned char)*c) * 16777619u);
    if (ends(t->name, "bias"))
        scale = 0.2;
    else if (strstr(t->name, "norm"))
        base = 1, scale = 0.3;
    else if (!ends(t->name, "table")) {
        double gain = !strcmp(t->name, "conv_first.weight") ? 1.5 / range
                      : !strcmp(t->name, last)              ? 0.125 * range
                      : strstr(t->name, "qkv")              ? 1.5
                                                            : 1;
        scale = gain * sqrt(3.0 / (double)(n / t->shape[0]));
    }
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)(base + scale * (2.0 * (double)test_unit(seed, (uint64_t)i) - 1));
    bool good = fwrite(v, sizeof *v, (size_t)n, f) == (size_t)n;
    free(v);
    return good;
}

static bool write_header(FILE *f, const list *l)
{
    size_t  size = 0;
    char   *text = NULL;
    int64_t offset = 0;
    FILE   *h = open_memstream(&text, &size);
    if (!h)
        return false;
    fprintf(h, "{");
    for (int i = 0; i < l->n; i++) {
        const tensor *t = &l->t[i];
        int64_t       end = offset + count(t) * (int64_t)sizeof(float);
        fprintf(h, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", t->name);
        for (int k = 0; k < t->ndim; k++)
            fprintf(h, "%s%d", k ? "," : "", t->shape[k]);
        fprintf(h, "],\"data_offsets\":[%lld,%lld]}", (long long)offset, (long long)end);
        offset = end;
    }
    fprintf(h, "}");
    while (ftell(h) % 8)
        fprintf(h, " ");
    fclose(h);
    uint64_t n = size;
    bool     good = fwrite(&n, sizeof n, 1, f) == 1 && fwrite(text, 1, size, f) == size;
    free(text);
    return good;
}

static int find(const list *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->t[i].name, name))
            return i;
    fprintf(stderr, "no tensor %s to break\n", name);
    return -1;
}

static bool spoil(list *l, const swinir_fault *f)
{
    int i;
    if (f->drop) {
        if ((i = find(l, f->drop)) < 0)
            return false;
        memmove(&l->t[i], &l->t[i + 1], (size_t)(--l->n - i) * sizeof *l->t);
    }
    if (f->grow) {
        if ((i = find(l, f->grow)) < 0)
            return false;
        l->t[i].shape[f->grow_axis]++;
    }
    if (f->extra)
        add(l, "", f->extra, 1, 0, 0);
    return true;
}

bool swinir_net_write(const swinir_net *net, const char *path, const swinir_fault *fault)
{
    list *l = calloc(1, sizeof *l);
    FILE *f = fopen(path, "wb");
    bool  good = l && f;
    if (good) {
        all(l, net);
        good = (!fault || spoil(l, fault)) && write_header(f, l);
        for (int i = 0; good && i < l->n; i++)
            good = write_tensor(f, net, &l->t[i]);
    }
    if (f && fclose(f))
        good = false;
    if (!good)
        fprintf(stderr, "%s could not be written\n", path);
    free(l);
    return good;
}

const char *swinir_net_tensor(const swinir_net *net, int index)
{
    static list l;
    all(&l, net);
    return index < l.n ? l.t[index].name : NULL;
}
