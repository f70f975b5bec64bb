/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every implementation of attention on every problem that it takes, against the double oracle
 * (oracle.c), which shares no code with the library.
 *
 *     checkattn [--impl NAME] [--case NAME] [--seed N] [--sweep N] [--from N] [--structs N] [--full] [--list]
 *               [--bench] [--device cuda [--part I/N]]
 *
 * Bounds come from the rounding of the type. All tensors have other strides, their gaps and walls are
 * NaN; nothing beside the outputs is written, all of them is; a second run and any number of threads
 * give the same bits. A failure prints the command that repeats it. Of large problems the oracle does
 * some thousands of queries (--full: all). On a GPU each problem runs on four kinds of strides: any, and
 * rows that begin at multiples of 2, 4 and 8 elements; --part takes every N-th problem.
 */
#include "checkattn.h"

#include <math.h>

#include "bench/peak.h"
#include "core/device.h"
#include "test.h"

static bool on_cuda;

enum { FAULTS_TOLD = 3, FAILURES = 8 /* and no more problems after them */ };

/* ---- implementations of either device ------------------------------------------------------ */

static const char *name_of(int i)
{
    return on_cuda ? cuda_name(i) : attn_impls[i] ? attn_impls[i]->name : NULL;
}

static const char *why_not(const setting *s, int i)
{
    return on_cuda ? cuda_reject(s, i) : attn_impls[i]->reject(&s->job, oriel_cpu_flags());
}

static oriel_status run_it(setting *s, int i, int threads)
{
    return on_cuda ? cuda_run_on(s, i) : run_on(s, attn_impls[i], threads);
}

/* ---- a check ------------------------------------------------------------------------------ */

static void fault(setting *s, const char *format, ...) ORIEL_PRINTF(2, 3);
static void fault(setting *s, const char *format, ...)
{
    va_list ap;
    if (++s->faults > FAULTS_TOLD)
        return;
    fprintf(stderr, "checkattn %s--impl %s ", on_cuda ? "--device cuda " : "", s->impl);
    if (strcmp(s->p->name, "random") != 0)
        fprintf(stderr, "--case '%s': ", s->p->name);
    else
        fprintf(stderr, "--seed %u: ", s->p->seed);
    if (s->p->align)
        fprintf(stderr, "(rows at multiples of %d) ", s->p->align);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void expect(setting *s, double have, double want, double bound, const char *what, int64_t e, int d)
{
    double off = have == want ? 0 : fabs(have - want) / bound; /* both may be -inf */
    if (!(off <= 1))
        fault(s, "%s of query %lld[%d] is %.9g where %.9g is due, allowed %.3g", what, (long long)e, d, have, want, bound);
    else
        s->worst = fmax(s->worst, off);
}

/* Query i of all (raster, then text) of batch b, head h. rounds: as tensor cores and dot products of
 * pairs want it, weights are rounded to the type before they meet the values: in f16 those that are below
 * its least normal number too. */
static void compare(setting *s, int b, int h, int64_t i, bool rounds)
{
    const oriel_attn *a = &s->o.a;
    bool              text = i >= s->tokens;
    double out[ATTN_DIM_MAX], lse, top, size, step = a->dtype == ORIEL_F32 ? 0 : a->dtype == ORIEL_F16 ? 0x1p-11 : 0x1p-8;
    int64_t e = text ? ((int64_t)b * a->text + i - s->tokens) * a->heads + h : (b * s->tokens + i) * a->heads + h;
    long keys = oracle_query(&s->o, b, h, (long)i, out, &lse, &top, &size);
    /* |v| <= 2. A logit is a sum whose parts come to top; a weight is off by as much as its logit. */
    double bound = 4 * 0x1p-23 * (4 + top);
    double weights = rounds ? step * size + (a->dtype == ORIEL_F16 ? 0x1p-25 * 2 * (double)keys : 0) : 0;
    for (int d = 0; d < a->dim_v; d++)
        expect(s, view_get(&s->v[text ? TEXT_OUT : OUT], e * a->dim_v + d), out[d],
               2 * bound + weights + step * fabs(out[d]) * 1.01 + (step > 0 ? 0x1p-25 : 0),
               text ? "text out" : "out", e, d);
    if (s->v[text ? TEXT_LSE : LSE].memory)
        expect(s, view_get(&s->v[text ? TEXT_LSE : LSE], e), lse, bound, "lse", e, 0);
}

static void check_impl(setting *s, int impl, bool full)
{
    const oriel_attn *a = &s->o.a;
    bool              rounds = a->dtype != ORIEL_F32 && (on_cuda ? cuda_rounds(impl) : strstr(name_of(impl), "bf16") != NULL);
    s->impl = name_of(impl);
    if (run_it(s, impl, 2)) {
        fault(s, "failed: %s", oriel_error());
        return;
    }
    uint64_t first = bits(s);
    for (int i = 0; i < VIEWS; i++)
        if (s->v[i].memory && !view_gaps_whole(&s->v[i]))
            fault(s, "tensor %d was written beside its elements", i);
    for (int i = 0; i < INPUTS; i++)
        for (int64_t e = 0, n = s->v[i].memory ? oriel_tensor_count(&s->v[i].t) : 0; e < n; e++)
            if (view_get(&s->v[i], e) != (double)s->v[i].values[e]) {
                fault(s, "input %d was changed", i);
                break;
            }
    int64_t each = s->tokens + a->text, all = each * a->batch * a->heads;
    int64_t most = full || s->work < 2e6 ? all : (int64_t)((double)all * 2e6 / s->work) + 64;
    int64_t step = most >= all ? 1 : all / most + (all / most) % 2; /* and both ends */
    for (int64_t n = 0; n < all; n += n < 24 || n >= all - 24 ? 1 : step)
        compare(s, (int)(n / each / a->heads), (int)(n / each % a->heads), n % each, rounds);
    for (int64_t e = 0, n = oriel_tensor_count(&s->v[OUT].t); e < n; e++)
        if (isnan(view_get(&s->v[OUT], e))) {
            fault(s, "element %lld of out was not written", (long long)e);
            break;
        }
    if (s->work < 5e6)
        for (int threads = 1; threads <= (on_cuda ? 1 : THREADS); threads++)
            if (run_it(s, impl, threads) || bits(s) != first)
                fault(s, "other bits with %d threads", threads);
}

typedef struct wanted {
    const char *impl, *name;
    unsigned    seed, sweep, from; /* sweep: seeds from + 1 and after */
    int         structs;
    bool        full, list;
    unsigned    part, parts;
} wanted;

static void check_strides(problem *p, const wanted *w)
{
    setting s;
    setting_new(&s, p);
    if (attn_prepare(&s.job, &p->a, &s.io)) {
        fault(&s, "refused: %s", oriel_error());
        test_failed++;
    } else
        for (int i = 0; name_of(i); i++) {
            const char *why = why_not(&s, i);
            if (w->impl && strcmp(w->impl, name_of(i)) != 0)
                continue;
            if (w->list)
                printf("%-8s %-24s %s%s\n", name_of(i), p->name, why ? "refuses: " : "takes it", why ? why : "");
            else if (why)
                test_skipped++;
            else {
                s.faults = 0;
                check_impl(&s, i, w->full);
                *(s.faults ? &test_failed : &test_passed) += 1;
            }
        }
    if (w->name && !w->list)
        printf("%s: worst %.3f of its bound, %.3g multiply-adds\n", p->name, s.worst, s.work);
    setting_free(&s);
}

static void check_problem(problem *p, const wanted *w)
{
    static unsigned turn;
    const problem   as_drawn = *p;
    if ((w->name && strcmp(w->name, p->name) != 0) || (w->parts && turn++ % w->parts != w->part))
        return;
    check_strides(p, w);
    for (int align = 2; on_cuda && align <= 8 && !w->list; align *= 2) {
        *p = as_drawn;
        p->align = align;
        p->wide = false;
        check_strides(p, w);
    }
}

static void bench(const wanted *w)
{
    double  peak = 1e9 * bench_peak(1);
    problem p;
    setting s;
    for (int i = 0; problem_na(&p, i) || problem_named(&p, i - 71); i++) {
        if (w->name && strcmp(w->name, p.name) != 0)
            continue;
        setting_new(&s, &p);
        for (int k = 0; attn_impls[k] && !attn_prepare(&s.job, &p.a, &s.io); k++) {
            double best = 1e9;
            if (attn_impls[k]->reject(&s.job, oriel_cpu_flags()) || (w->impl && strcmp(w->impl, attn_impls[k]->name) != 0))
                continue;
            for (int n = 0; n < 5; n++) {
                double began = bench_now();
                if (attn_impls[k]->run(&s.job, checkattn_device[0]->pool))
                    break;
                best = fmin(best, bench_now() - began);
            }
            printf("%-24s %-8s %10.1f us %8.2f GFLOP/s %5.1f %% of the FMA peak\n", p.name, attn_impls[k]->name, 1e6 * best,
                   2e-9 * s.work / best, 200 * s.work / best / peak);
        }
        setting_free(&s);
    }
}

int main(int argc, char **argv)
{
    wanted  w = {.sweep = 200, .structs = 20000};
    problem p;
    bool    timing = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--list"))
            w.list = true;
        else if (!strcmp(argv[i], "--full"))
            w.full = true;
        else if (!strcmp(argv[i], "--bench"))
            timing = true;
        else if (!strcmp(argv[i], "--impl"))
            w.impl = value, i++;
        else if (!strcmp(argv[i], "--case"))
            w.name = value, i++;
        else if (!strcmp(argv[i], "--seed"))
            w.seed = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--sweep"))
            w.sweep = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--from"))
            w.from = (unsigned)strtoul(value, NULL, 10), i++;
        else if (!strcmp(argv[i], "--structs"))
            w.structs = atoi(value), i++;
        else if (!strcmp(argv[i], "--device") && !strcmp(value, "cuda"))
            on_cuda = true, i++;
        else if (!strcmp(argv[i], "--part") && sscanf(value, "%u/%u", &w.part, &w.parts) == 2)
            i++;
        else
            return fprintf(stderr, "usage: checkattn [--impl NAME] [--case NAME] [--seed N] [--sweep N] [--from N] [--structs N] [--full]"
                                   " [--list] [--bench] [--device cuda [--part I/N]]\n"), 2;
    }
    int none = on_cuda ? cuda_begin() : 0;
    if (none)
        return none;
    for (int i = 0; i < THREADS; i++)
        if (oriel_device_open(&checkattn_device[i], &(oriel_device_options){.threads = i + 1}))
            return fprintf(stderr, "%s\n", oriel_error()), 1;
    if (timing)
        bench(&w);
    else if (w.seed) {
        problem_random(&p, w.seed);
        check_problem(&p, &w);
    } else {
        if (!w.name && !w.list && on_cuda && w.part == 0)
            cuda_doors(&test_passed, &test_failed, &test_skipped);
        if (!w.name && !w.list && !on_cuda) {
            check_doors(w.structs, &test_passed, &test_failed);
            check_tables(w.structs, &test_passed, &test_failed);
        }
        for (int i = 0; test_failed < FAILURES && problem_named(&p, i); i++)
            check_problem(&p, &w);
        for (int i = 0; test_failed < FAILURES && problem_na(&p, i); i++)
            check_problem(&p, &w);
        for (unsigned i = 1; test_failed < FAILURES && i <= w.sweep && !w.name && !w.list; i++) {
            problem_random(&p, w.from + i);
            check_problem(&p, &w);
        }
    }
    for (int i = 0; i < THREADS; i++)
        oriel_device_free(&checkattn_device[i]);
    if (on_cuda)
        cuda_end();
    return w.list || timing ? 0 : test_end();
}
