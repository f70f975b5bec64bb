/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of the CPU, at every level of this machine, against oracles in double that share
 * no code with the library. With --device cuda: what a GPU has of them, the same problems.
 *
 *     checkops [--device cuda] [--op NAME] [--level NAME] [--seed N] [--list] [--bench]
 *
 * Bounds come from the rounding of the type. Nothing beside an output is written (red zones), all
 * of it is (poison is NaN, and NaN is the worst error), and a second run gives the same bits. A
 * failure prints the command that repeats it.
 */
#include "checkops.h"

#include <stdarg.h>
#include <time.h>

#include "bench/peak.h"
#include "test.h"

enum { RED = 64 };

static const uint32_t poison = 0x7fc0dead;

int draw(problem *q, int low, int high)
{
    return low + (int)(test_hash(q->seed, q->drawn++) % (uint64_t)(high - low + 1));
}

float draw_sample(problem *q)
{
    return 2 * test_unit(q->seed, q->drawn++) - 1;
}

bool poisoned(float v)
{
    return !memcmp(&v, &poison, sizeof v);
}

float *zone_new(size_t count)
{
    float *p = malloc((count + 2 * RED) * sizeof *p);
    if (!p)
        abort();
    for (size_t i = 0; i < count + 2 * RED; i++)
        memcpy(&p[i], &poison, sizeof *p);
    return p + RED;
}

bool zone_whole(const float *p, size_t count)
{
    bool whole = true;
    for (size_t i = 0; i < RED; i++)
        whole &= poisoned(p[-1 - (ptrdiff_t)i]) && poisoned(p[count + i]);
    return whole;
}

void zone_free(float *p)
{
    free(p - RED);
}

void fault(problem *q, const char *format, ...)
{
    va_list ap;
    if (++q->faults > 3)
        return;
    fprintf(stderr, "checkops%s --op %s --level '%s' --seed %u: %s: ", q->gpu ? " --device cuda" : "", q->op, q->level,
            q->seed, q->what);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void expect(problem *q, double have, double want, double bound, const char *where, int a, int b)
{
    double off = fabs(have - want);
    if (off <= bound) {
        if (bound > 0 && off / bound > q->worst)
            q->worst = off / bound;
        return;
    }
    fault(q, "%s %d, %d is %.9g where %.9g is due, allowed %.3g", where, a, b, have, want, bound);
}

/* v = f 2^e with 1/2 <= f < 1 to so many bits; below 2^least they are fewer. */
static float rounded_to(float v, int bits, int least)
{
    int e;
    if (v == 0)
        return v;
    frexpf(v, &e);
    int step = (e < least ? least : e) - bits;
    return ldexpf((float)nearbyint(ldexp((double)v, -step)), step);
}

float bf16(float v)
{
    return rounded_to(v, 8, -125);
}

float rounded(const problem *q, float v)
{
    return q->operand == ORIEL_BF16 ? bf16(v) : q->operand == ORIEL_F16 ? rounded_to(v, 11, -13) : v;
}

/* ---- where the device is ------------------------------------------------------------------ */

oriel_device *device_of(problem *q)
{
    oriel_device *dev = q->gpu;
    if (dev)
        return dev;
    oriel_cpu_mask(q->mask);
    if (oriel_device_open(&dev, &(oriel_device_options){.threads = 2}))
        abort();
    oriel_cpu_mask(~0u);
    return dev;
}

void device_done(problem *q, oriel_device *dev)
{
    if (dev != q->gpu)
        oriel_device_free(&dev);
}

/* Where a zone begins behind its memory: kernels may take four floats at once only where they lie so. */
static size_t skew(const problem *q)
{
    return RED + (q->aligned ? 0 : q->seed % 8 / 4 * (q->seed % 4));
}

float *there_new(problem *q, float *zone, size_t count)
{
    void *p = NULL;
    if (!q->gpu)
        return zone;
    float *all = zone_new(count + 2 * RED);
    memcpy(all + skew(q) - RED, zone - RED, (count + 2 * RED) * sizeof *zone);
    if (oriel_memory_alloc(q->gpu, &p, (count + 4 * RED) * sizeof *zone) ||
        oriel_memory_upload(q->gpu, p, all, (count + 4 * RED) * sizeof *zone)) {
        fprintf(stderr, "checkops: %s\n", oriel_error());
        exit(1);
    }
    zone_free(all);
    return (float *)p + skew(q);
}

void there_back(problem *q, const float *there, float *zone, size_t count)
{
    if (q->gpu && oriel_memory_download(q->gpu, zone - RED, there - RED, (count + 2 * RED) * sizeof *zone))
        fault(q, "%s", oriel_error());
}

void there_free(problem *q, float *there)
{
    void *p = there - skew(q);
    if (q->gpu)
        oriel_memory_free(q->gpu, &p);
}

double best_of(void (*call)(void *), void *arg)
{
    double best = 1e9;
    int    times = 1;
    for (int round = 0; round < 12; round++) {
        double began = bench_now();
        for (int i = 0; i < times; i++)
            call(arg);
        double took = bench_now() - began;
        if (took < 2e-3)
            times *= 2, round -= round > 0;
        else if (took / times < best)
            best = took / times;
    }
    return best;
}

/* ---- levels ------------------------------------------------------------------------------- */

#if defined(__x86_64__)
extern const panel_ops panel_amx_emulated; /* amx_emulated.c */
#endif

typedef struct level {
    const panel_ops *p;
    unsigned         mask;
    const char      *name; /* of a GPU's */
    oriel_dtype      operand;
} level;

static const level levels[] = {
    {.p = &panel_c},
#if defined(__x86_64__)
    {.p = &panel_avx2, .mask = ORIEL_CPU_AVX2},
    {.p = &panel_avx512, .mask = ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512},
    {.p = &panel_bf16, .mask = ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16},
    {.p = &panel_amx_emulated, .mask = ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16},
    {.p = &panel_amx, .mask = ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16 | ORIEL_CPU_AMX_BF16},
#endif
};
static const level levels_cuda[] = {{.name = "f32", .operand = ORIEL_F32},
                                    {.name = "bf16", .operand = ORIEL_BF16},
                                    {.name = "f16", .operand = ORIEL_F16}};
enum { LEVELS = sizeof levels / sizeof *levels, LEVELS_CUDA = sizeof levels_cuda / sizeof *levels_cuda };
static const checkop *const parts[] = {checkops_panel, checkops_core, checkops_block, NULL};
static const checkop *const parts_cuda[] = {checkops_core, checkops_block, checkops_cuda, NULL};

typedef struct wanted {
    const char *op, *level;
    unsigned    seed; /* 0: all */
    bool        list, bench, cuda;
    oriel_device *gpu;
} wanted;

static const char *name_of(const level *l)
{
    return l->p ? l->p->name : l->name;
}

static bool takes(const checkop *o, const level *l, const wanted *w)
{
    bool half = l->p ? l->p->bf16 : l->operand != ORIEL_F32;
    if ((w->op && strcmp(w->op, o->name) != 0) || (w->level && strcmp(w->level, name_of(l)) != 0))
        return false;
    if (!(o->kinds & (half ? HALVES : FLOATS)) || (l->p && o->kinds & GPU))
        return false;
    return l->p ? !(o->kinds & DEVICE) || panel_choose(l->mask, l->p->bf16) == l->p : (o->kinds & DEVICE) != 0;
}

static bool here(const level *l, unsigned found)
{
    return (found & l->mask) == l->mask;
}

static problem problem_of(const checkop *o, const level *l, const wanted *w, unsigned seed)
{
    return (problem){.op = o->name, .level = name_of(l), .p = l->p, .mask = l->mask, .seed = seed, .gpu = w->gpu,
                     .operand = l->p && l->p->bf16 ? ORIEL_BF16 : l->operand};
}

static void check(const checkop *o, const level *l, const wanted *w)
{
    double worst = 0;
    int    seeds = o->seeds, failed = test_failed;
    for (int i = 1; i <= seeds; i++) {
        problem q = problem_of(o, l, w, w->seed ? w->seed : (unsigned)i);
        o->check(&q);
        if (q.skipped) {
            printf("%-10s %-12s skipped: %s\n", o->name, name_of(l), oriel_error());
            test_skipped++;
            return;
        }
        *(q.faults ? &test_failed : &test_passed) += 1;
        worst = fmax(worst, q.worst);
        if (w->seed)
            break;
    }
    printf("%-10s %-12s worst %.2f of its bound%s\n", o->name, name_of(l), worst,
           test_failed > failed ? ", FAILED" : "");
}

static void bench(const checkop *o, const level *l, const wanted *w, double peak)
{
    problem q = problem_of(o, l, w, 1);
    double  seconds, flops = o->bench(&q, &seconds);
    printf("%-10s %-12s %9.1f us %8.1f GFLOP/s", o->name, name_of(l), 1e6 * seconds, 1e-9 * flops / seconds);
    if (l->p)
        printf(" %5.1f %% of the FMA peak", 100 * flops / seconds / peak);
    putchar('\n');
}

static int usage(void)
{
    fprintf(stderr, "usage: checkops [--device cuda] [--op NAME] [--level NAME] [--seed N] [--list] [--bench]\n");
    return 2;
}

static bool parse(wanted *w, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--list"))
            w->list = true;
        else if (!strcmp(argv[i], "--bench"))
            w->bench = true;
        else if (!value)
            return false;
        else if (!strcmp(argv[i], "--op"))
            w->op = argv[++i];
        else if (!strcmp(argv[i], "--level"))
            w->level = argv[++i];
        else if (!strcmp(argv[i], "--seed"))
            w->seed = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--device") && !strcmp(argv[++i], "cuda"))
            w->cuda = true;
        else
            return false;
    }
    return true;
}

static void each(const checkop *o, const level *l, const wanted *w, unsigned found, double peak)
{
    if (w->list)
        printf("%-10s %-12s %d problems%s\n", o->name, name_of(l), o->seeds,
               here(l, found) ? "" : " (this CPU cannot run it)");
    else if (w->bench && !o->bench)
        return;
    else if (!here(l, found))
        test_skipped++, printf("%-10s %-12s skipped: not on this CPU\n", o->name, name_of(l));
    else if (!w->bench)
        check(o, l, w);
    else
        bench(o, l, w, peak);
}

int main(int argc, char **argv)
{
    wanted   w = {0};
    unsigned found = oriel_cpu_flags();
    if (!parse(&w, argc, argv))
        return usage();
    if (w.cuda && !w.list && oriel_device_open(&w.gpu, &(oriel_device_options){.kind = ORIEL_CUDA})) {
        printf("skipped: %s\n", oriel_error());
        return 77;
    }
    double peak = w.bench && !w.cuda ? 1e9 * bench_peak(1) : 0;
    for (const checkop *const *part = w.cuda ? parts_cuda : parts; *part; part++)
        for (const checkop *o = *part; o->name; o++)
            for (int i = 0; i < (w.cuda ? LEVELS_CUDA : LEVELS); i++) {
                const level *l = w.cuda ? &levels_cuda[i] : &levels[i];
                if (takes(o, l, &w))
                    each(o, l, &w, found, peak);
            }
    oriel_device_free(&w.gpu);
    return w.list || w.bench ? 0 : test_end();
}
