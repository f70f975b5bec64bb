/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of the CPU, at every level of this machine, against oracles in double that share
 * no code with the library.
 *
 *     checkops [--op NAME] [--level NAME] [--seed N] [--list] [--bench]
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
    fprintf(stderr, "checkops --op %s --level '%s' --seed %u: %s: ", q->op, q->p->name, q->seed, q->what);
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

float bf16(float v)
{
    int e;
    if (v == 0)
        return v;
    frexpf(v, &e); /* v = f 2^e, 1/2 <= f < 1: 8 bits */
    return ldexpf((float)nearbyint(ldexp((double)v, 8 - e)), e - 8);
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
} level;

static const level levels[] = {
    {&panel_c, 0},
#if defined(__x86_64__)
    {&panel_avx2, ORIEL_CPU_AVX2},
    {&panel_avx512, ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512},
    {&panel_bf16, ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16},
    {&panel_amx_emulated, ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16},
    {&panel_amx, ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16 | ORIEL_CPU_AMX_BF16},
#endif
};
enum { LEVELS = sizeof levels / sizeof *levels, PARTS = 3 };
static const checkop *const parts[PARTS] = {checkops_panel, checkops_core, checkops_block};

typedef struct wanted {
    const char *op, *level;
    unsigned    seed; /* 0: all */
    bool        list, bench;
} wanted;

static bool takes(const checkop *o, const level *l, const wanted *w)
{
    return (!w->op || !strcmp(w->op, o->name)) && (!w->level || !strcmp(w->level, l->p->name)) &&
           (o->kinds & (l->p->bf16 ? HALVES : FLOATS)) &&
           (!(o->kinds & DEVICE) || panel_choose(l->mask, l->p->bf16) == l->p);
}

static bool here(const level *l, unsigned found)
{
    return (found & l->mask) == l->mask;
}

static void check(const checkop *o, const level *l, const wanted *w)
{
    double worst = 0;
    int    seeds = o->seeds, failed = test_failed;
    for (int i = 1; i <= seeds; i++) {
        problem q = {.op = o->name, .p = l->p, .mask = l->mask, .seed = w->seed ? w->seed : (unsigned)i};
        o->check(&q);
        *(q.faults ? &test_failed : &test_passed) += 1;
        worst = fmax(worst, q.worst);
        if (w->seed)
            break;
    }
    printf("%-10s %-12s worst %.2f of its bound%s\n", o->name, l->p->name, worst,
           test_failed > failed ? ", FAILED" : "");
}

static void bench(const checkop *o, const level *l, double peak)
{
    problem q = {.op = o->name, .p = l->p, .mask = l->mask, .seed = 1};
    double  seconds, flops = o->bench(&q, &seconds);
    printf("%-10s %-12s %9.1f us %8.1f GFLOP/s %5.1f %% of the FMA peak\n", o->name, l->p->name,
           1e6 * seconds, 1e-9 * flops / seconds, 100 * flops / seconds / peak);
}

static int usage(void)
{
    fprintf(stderr, "usage: checkops [--op NAME] [--level NAME] [--seed N] [--list] [--bench]\n");
    return 2;
}

int main(int argc, char **argv)
{
    wanted   w = {0};
    unsigned found = oriel_cpu_flags();
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--list"))
            w.list = true;
        else if (!strcmp(argv[i], "--bench"))
            w.bench = true;
        else if (!value)
            return usage();
        else if (!strcmp(argv[i], "--op"))
            w.op = argv[++i];
        else if (!strcmp(argv[i], "--level"))
            w.level = argv[++i];
        else if (!strcmp(argv[i], "--seed"))
            w.seed = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            return usage();
    }
    double peak = w.bench ? 1e9 * bench_peak(1) : 0;
    for (int k = 0; k < PARTS; k++)
        for (const checkop *o = parts[k]; o->name; o++)
            for (int i = 0; i < LEVELS; i++) {
                const level *l = &levels[i];
                if (!takes(o, l, &w))
                    continue;
                if (w.list)
                    printf("%-10s %-12s %d problems%s\n", o->name, l->p->name, o->seeds,
                           here(l, found) ? "" : " (this CPU cannot run it)");
                else if (w.bench && !o->bench)
                    continue;
                else if (!here(l, found))
                    test_skipped++, printf("%-10s %-12s skipped: not on this CPU\n", o->name, l->p->name);
                else if (!w.bench)
                    check(o, l, &w);
                else
                    bench(o, l, peak);
            }
    return w.list || w.bench ? 0 : test_end();
}
