/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SwinIR against PyTorch in float64 (golden/make_swinir_golden.py): every published kind, at every
 * level of this CPU, or on a GPU (--device cuda); the same bits for any number of threads, and twice; bf16 and f16
 * within what their rounding explains.
 */
#include <math.h>
#include <oriel/oriel.h>

#include "hash.h"
#include "models/model.h"
#include "swinir_net.h"
#include "test.h"

enum { MAX_MAPS = 16, MAX_CASES = 12, MAX_NETS = 24 };

typedef struct golden_map {
    char   name[16];
    int    index, shape[3], samples;
    double max, rms;
    size_t at; /* in data: shape[0] row sums, then samples */
} golden_map;

typedef struct golden_case {
    int        height, width, pad, maps;
    unsigned   seed;
    golden_map map[MAX_MAPS];
} golden_case;

typedef struct golden_net {
    swinir_net  net;
    int         cases;
    golden_case c[MAX_CASES];
} golden_net;

static golden_net nets[MAX_NETS];
static int        net_count;
static float     *data;
static size_t     data_count;
static char       path[] = "/tmp/oriel-swinir-XXXXXX";

/* ---- golden files ------------------------------------------------------------------------- */

static bool read_map(FILE *f, golden_map *m)
{
    bool good = fscanf(f, " map %15s %d %d %d %d %d %lf %lf", m->name, &m->index, &m->shape[0],
                       &m->shape[1], &m->shape[2], &m->samples, &m->max, &m->rms) == 8;
    m->at = data_count;
    data_count += good ? (size_t)(m->shape[0] + m->samples) : 0;
    return good;
}

static bool read_text(FILE *f)
{
    char word[8];
    while (fscanf(f, "%7s", word) == 1) {
        if (!strcmp(word, "net")) {
            swinir_net *s = &nets[net_count++].net;
            if (fscanf(f, "%31s %31s %d %d %d %d %d %d %d %d %d", s->name, s->up, &s->scale,
                       &s->channels, &s->embed, &s->heads, &s->window, &s->hidden, &s->three,
                       &s->depth[0], &s->depth[1]) != 11)
                return false;
            continue;
        }
        if (!net_count)
            return false;
        golden_net  *n = &nets[net_count - 1];
        golden_case *c = &n->c[n->cases++];
        if (strcmp(word, "case") ||
            fscanf(f, "%d %d %d %u %d", &c->height, &c->width, &c->pad, &c->seed, &c->maps) != 5)
            return false;
        for (int i = 0; i < c->maps; i++)
            if (!read_map(f, &c->map[i]))
                return false;
    }
    return net_count > 0;
}

static bool read_golden(void)
{
    FILE *f = fopen("tests/golden/swinir.txt", "r");
    bool  good = f && read_text(f);
    if (f)
        fclose(f);
    f = fopen("tests/golden/swinir.bin", "rb");
    data = malloc((data_count + 1) * sizeof *data);
    good = good && f && fread(data, sizeof *data, data_count + 1, f) == data_count; /* and no more */
    if (f)
        fclose(f);
    return good;
}

/* ---- comparing a map ---------------------------------------------------------------------- */

/* Worst of the samples, and worst row sum over sqrt(its terms): errors of one value. */
typedef struct errors {
    double sample, row, square; /* square: mean square of samples */
} errors;

static errors compare(const golden_map *g, unsigned seed, const float *v)
{
    size_t row = (size_t)g->shape[1] * (size_t)g->shape[2], all = row * (size_t)g->shape[0];
    errors e = {0};
    for (int y = 0; y < g->shape[0]; y++) {
        double sum = 0;
        for (size_t i = (size_t)y * row; i < (size_t)(y + 1) * row; i++)
            sum += test_hash(seed + 5, i) >> 63 ? -(double)v[i] : (double)v[i];
        double off = fabs(sum - (double)data[g->at + (size_t)y]) / sqrt((double)row);
        e.row = off <= e.row ? e.row : off; /* NaN counts as worse */
    }
    for (int i = 0; i < g->samples; i++) {
        size_t at = test_hash(seed + 6, (uint64_t)i) % all;
        double off = fabs((double)v[at] - (double)data[g->at + (size_t)(g->shape[0] + i)]);
        e.sample = off <= e.sample ? e.sample : off;
        e.square += off * off / g->samples;
    }
    return e;
}

typedef struct level {
    const char       *name;
    unsigned          mask;
    oriel_precision   precision;
    oriel_device_kind kind;
} level;

typedef struct watch { /* follows a run, map by map */
    const char        *net;
    const level       *level;
    const golden_case *c;
    oriel_device      *dev;
    int                seen;
    double             worst; /* error over bound */
    double             output; /* largest error of a sample of the output */
} watch;

/* Products with rounded operands on the way to a map: four a block, one or three a convolution. A
 * product's relative error is some 2^-9 in each operand of bf16 and 2^-12 of f16, and errors of steps add up as
 * squares. */
static int products(const watch *w, const golden_map *g)
{
    const golden_net *n = nets;
    while (strcmp(n->net.name, w->net))
        n++;
    const swinir_net *s = &n->net;
    int conv = s->three ? 3 : 1, groups = 4 * s->depth[0] + conv;
    if (!strcmp(g->name, "first"))
        return 0;
    if (!strcmp(g->name, "block"))
        return (g->index >= 100 ? groups : 0) + 4 * (g->index % 100 + 1);
    if (!strcmp(g->name, "group"))
        return g->index ? groups + 4 * s->depth[1] + conv : groups;
    int body = groups + 4 * s->depth[1] + 2 * conv;
    return !strcmp(g->name, "body") ? body : body + 5;
}

static void check_map(watch *w, const float *v)
{
    const golden_map *g = &w->c->map[w->seen++];
    errors            e = compare(g, w->c->seed, v);
    /* Outputs are of unit range; other maps are held to the same share of their largest value. */
    double bound = 5e-6 * fmax(1, g->max), have = fmax(e.sample, e.row);
    if (w->level->precision && strcmp(g->name, "first")) {
        bound = (w->level->precision == ORIEL_PRECISION_BF16 ? 0x1p-8 : 0x1p-11) * sqrt(products(w, g)) * g->rms;
        have = sqrt(e.square);
    }
    w->worst = fmax(w->worst, have / bound);
    if (!strcmp(g->name, "output"))
        w->output = e.sample;
    if (have <= bound) {
        test_passed++;
        return;
    }
    test_failed++;
    fprintf(stderr, "%s %dx%d pad %d, %s: %s %d: error %.3g (rows %.3g) where %.3g is allowed\n",
            w->net, w->c->height, w->c->width, w->c->pad, w->level->name, g->name, g->index, have, e.row,
            bound);
}

/* A copy on the host; NULL if that failed. */
static float *fetch(oriel_device *dev, const oriel_tensor *t)
{
    size_t       bytes = (size_t)oriel_tensor_count(t) * sizeof(float);
    float       *v = malloc(bytes);
    oriel_status s = oriel_memory_download(dev, v, t->data, bytes);
    CHECK_OK(s);
    if (!s)
        return v;
    free(v);
    return NULL;
}

static void on_tap(void *user, const char *name, int index, oriel_tensor t)
{
    watch            *w = user;
    const golden_map *g = &w->c->map[w->seen];
    if (w->seen + 1 >= w->c->maps) /* no maps between are stored */
        return;
    bool same = !strcmp(name, g->name) && index == g->index && t.shape[0] == g->shape[0] &&
                t.shape[1] == g->shape[1] && t.shape[2] == g->shape[2] && oriel_tensor_packed(&t);
    CHECK(same);
    float *v = same ? fetch(w->dev, &t) : NULL;
    if (v)
        check_map(w, v);
    else
        w->seen++;
    free(v);
}

/* ---- running ------------------------------------------------------------------------------ */

enum {
    AVX512 = ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512,
    AVX512_BF16 = AVX512 | ORIEL_CPU_AVX512_BF16,
    AMX = AVX512_BF16 | ORIEL_CPU_AMX_BF16
};

static const level cpu_levels[] = {
    {"c", 0, ORIEL_PRECISION_F32, ORIEL_CPU},
    {"avx2", ORIEL_CPU_AVX2, ORIEL_PRECISION_F32, ORIEL_CPU},
    {"avx512", AVX512, ORIEL_PRECISION_F32, ORIEL_CPU},
    {"avx512 bf16", AVX512_BF16, ORIEL_PRECISION_BF16, ORIEL_CPU},
    {"amx", AMX, ORIEL_PRECISION_BF16, ORIEL_CPU},
    {0},
};
static const level gpu_levels[] = {
    {"cuda f32", 0, ORIEL_PRECISION_F32, ORIEL_CUDA},
    {"cuda bf16", 0, ORIEL_PRECISION_BF16, ORIEL_CUDA},
    {"cuda f16", 0, ORIEL_PRECISION_F16, ORIEL_CUDA},
    {0},
};
enum { MAX_LEVELS = 5 };
static const level  *levels = cpu_levels; /* ends with one that has no name */
static oriel_device *gpu;                 /* of gpu_levels */

static bool level_use(const level *l)
{
    if (l->kind != ORIEL_CPU)
        return true;
    oriel_cpu_mask(l->mask);
    return oriel_cpu_flags() == l->mask;
}

static float *picture(unsigned seed, size_t n)
{
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = test_unit(seed, i);
    return p;
}

typedef struct setup {
    oriel_device *dev;
    oriel_model  *m;
} setup;

static bool setup_open(setup *s, int threads, const level *l, int pad)
{
    *s = (setup){0};
    oriel_model_options  opt = {.precision = l->precision, .pad = pad ? ORIEL_PAD_SYMMETRIC : ORIEL_PAD_REFLECT};
    if (l->kind == ORIEL_CPU)
        CHECK_OK(oriel_device_open(&s->dev, &(oriel_device_options){.threads = threads}));
    else
        s->dev = gpu;
    CHECK_OK(oriel_model_open(&s->m, s->dev, path, &opt));
    return s->m != NULL;
}

static void setup_free(setup *s)
{
    oriel_model_free(&s->m);
    if (s->dev != gpu)
        oriel_device_free(&s->dev);
}

/* n floats in the device's memory, from v or NaN. */
static float *place(oriel_device *dev, const float *v, size_t n)
{
    void  *p = NULL;
    float *nan = v ? NULL : malloc(n * sizeof *nan);
    for (size_t i = 0; i < n && nan; i++)
        nan[i] = NAN;
    CHECK_OK(oriel_memory_alloc(dev, &p, n * sizeof *v));
    CHECK_OK(oriel_memory_upload(dev, p, v ? v : nan, n * sizeof *v));
    free(nan);
    return p;
}

/* Run a batch of pictures `times` times over; the last result, or NULL if one failed. */
static float *run_net(setup *s, const float *in, int batch, int height, int width, int times)
{
    oriel_model_info about;
    oriel_model_describe(s->m, &about);
    int64_t      from[4] = {batch, height, width, about.channels};
    int64_t      to[4] = {batch, height * about.scale, width * about.scale, about.channels};
    oriel_tensor x = oriel_tensor_of(NULL, ORIEL_F32, 4, from), y = oriel_tensor_of(NULL, ORIEL_F32, 4, to);
    oriel_status st = ORIEL_OK;
    x.data = place(s->dev, in, (size_t)oriel_tensor_count(&x));
    y.data = place(s->dev, NULL, (size_t)oriel_tensor_count(&y));
    for (int i = 0; i < times && !st; i++)
        CHECK_OK(st = oriel_model_run(s->m, x, y, NULL));
    float *out = st ? NULL : fetch(s->dev, &y);
    oriel_memory_free(s->dev, &x.data);
    oriel_memory_free(s->dev, &y.data);
    return out;
}

typedef struct tally {
    double bound, output; /* worst share of a bound, worst error of an output */
} tally;

static void check_case(const golden_net *n, const golden_case *c, const level *l, tally *worst)
{
    setup s;
    watch w = {.net = n->net.name, .level = l, .c = c};
    if (setup_open(&s, 2, l, c->pad)) {
        w.dev = s.dev;
        float *in = picture(c->seed, (size_t)(c->height * c->width * n->net.channels));
        model_tap(s.m, on_tap, &w);
        float *out = run_net(&s, in, 1, c->height, c->width, 1);
        CHECK_INT(w.seen, ==, c->maps - 1);
        if (out && w.seen == c->maps - 1)
            check_map(&w, out);
        free(out);
        free(in);
    }
    setup_free(&s);
    worst->bound = fmax(worst->bound, w.worst);
    worst->output = fmax(worst->output, w.output);
}

static void test_golden(const golden_net *n, tally worst[MAX_LEVELS])
{
    for (int k = 0; levels[k].name; k++) {
        if (!level_use(&levels[k]))
            continue;
        for (int i = 0; i < n->cases; i++)
            check_case(n, &n->c[i], &levels[k], &worst[k]);
    }
}

/* Threads 1 and 3 give the bits of 2 (on a GPU so many runs, of which later ones are recorded and played: the bits
 * of one); a batch gives those of its pictures. */
static void test_same_bits(const golden_net *n, int first)
{
    const golden_case *c = &n->c[n->cases - 1]; /* the largest */
    size_t one = (size_t)(c->height * c->width * n->net.channels);
    size_t bytes = one * (size_t)(n->net.scale * n->net.scale) * sizeof(float);
    float *in = picture(c->seed + 1, 2 * one);
    for (int k = first; levels[k].name; k++) {
        float *out[4] = {NULL};
        bool   cpu = levels[k].kind == ORIEL_CPU;
        if (!level_use(&levels[k]))
            continue;
        for (int threads = 1; threads <= 3; threads++) {
            setup s;
            if (setup_open(&s, threads, &levels[k], 0)) {
                out[threads] = run_net(&s, in, 1, c->height, c->width, cpu ? 1 : threads);
                if (threads == 2)
                    out[0] = run_net(&s, in, 2, c->height, c->width, 1);
            }
            setup_free(&s);
        }
        CHECK(out[1] && out[2] && !memcmp(out[1], out[2], bytes));
        CHECK(out[1] && out[3] && !memcmp(out[1], out[3], bytes));
        CHECK(out[1] && out[0] && !memcmp(out[1], out[0], bytes));
        setup s;
        if (out[0] && setup_open(&s, 3, &levels[k], 0)) {
            float *second = run_net(&s, in + one, 1, c->height, c->width, 1);
            CHECK(second && !memcmp(second, (char *)out[0] + bytes, bytes));
            CHECK(second && memcmp(second, out[1], bytes));
            free(second);
            setup_free(&s);
        }
        for (int i = 0; i < 4; i++)
            free(out[i]);
    }
    free(in);
}

/* "few", for AddressSanitizer: a third of the nets, some of every upsampler. "threads", for ThreadSanitizer:
 * same bits alone, of every net that has them, above AVX2 where the CPU is. "--device cuda": on a GPU. */
int main(int argc, char **argv)
{
    tally worst[MAX_LEVELS] = {{0}};
    bool  few = argc > 1 && !strcmp(argv[1], "few"), threads = argc > 1 && !strcmp(argv[1], "threads");
    int   best = oriel_cpu_flags() & ORIEL_CPU_AVX512 ? 2 : 0;
    if (argc > 2 && !strcmp(argv[1], "--device") && !strcmp(argv[2], "cuda")) {
        if (oriel_device_open(&gpu, &(oriel_device_options){.kind = ORIEL_CUDA}))
            return printf("skipped: %s\n", oriel_error()), 77;
        printf("%s\n", oriel_device_name(gpu));
        levels = gpu_levels;
        few = threads = false;
        best = 0;
    }
    if (!read_golden()) {
        fprintf(stderr, "tests/golden/swinir.txt and swinir.bin: not there or not alike\n");
        return 1;
    }
    int file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    for (int i = 0; i < net_count; i++) {
        CHECK(swinir_net_write(&nets[i].net, path, NULL));
        if (!threads && !(few && i % 3))
            test_golden(&nets[i], worst);
        if (i % 3 == 0) /* one or two of every upsampler */
            test_same_bits(&nets[i], threads ? best : few);
    }
    oriel_cpu_mask(~0u);
    remove(path);
    free(data);
    oriel_device_free(&gpu);
    for (int k = 0; levels[k].name; k++)
        if (worst[k].bound > 0)
            printf("%-12s worst error %.2f of its bound; of an output's sample %.2g\n", levels[k].name,
                   worst[k].bound, worst[k].output);
    return test_end();
}
