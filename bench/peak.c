/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen independent FMA chains a thread, no memory. */
#include "peak.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHAINS = 16, STEPS = 4000000, MAX_THREADS = 256, ROUNDS = 5 };

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile float sink; /* what the chains come to, so that they are computed */

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double chains512(void)
{
    __m512 a[CHAINS], b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (int s = 0; s < STEPS; s++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm512_fmadd_ps(a[i], b, c);
#pragma GCC unroll 16
    for (int i = 1; i < CHAINS; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    sink = _mm512_cvtss_f32(a[0]);
    return 2.0 * 16 * CHAINS * STEPS;
}

enum { CHAINS2 = 12 };

__attribute__((target("avx2,fma"))) static double chains256(void)
{
    __m256 a[CHAINS2], b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS2; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (int s = 0; s < STEPS; s++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS2; i++)
            a[i] = _mm256_fmadd_ps(a[i], b, c);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS2; i++)
        a[0] = _mm256_add_ps(a[0], a[i]);
    sink = _mm256_cvtss_f32(a[0]);
    return 2.0 * 8 * CHAINS2 * STEPS;
}
#endif

static double chains1(void)
{
    float a[8] = {0};
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < 8; i++)
            a[i] = a[i] * 0.999f + 0.001f;
    sink = a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
    return 2.0 * 8 * STEPS;
}

static double chains(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") ? chains512()
           : __builtin_cpu_supports("avx2")  ? chains256()
                                             : chains1();
#else
    return chains1();
#endif
}

typedef struct job {
    double             flops, seconds;
    pthread_barrier_t *start;
} job;

static void *run(void *arg)
{
    job *j = arg;
    pthread_barrier_wait(j->start);
    double t = bench_now();
    j->flops = chains();
    j->seconds = bench_now() - t;
    return NULL;
}

double bench_cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_cpu_peak(void)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double t = bench_cpu_now(), rate = chains() / 1e9;
        rate /= bench_cpu_now() - t;
        best = rate > best ? rate : best;
    }
    return best;
}

double bench_peak(int threads)
{
    double            best = 0;
    pthread_t         thread[MAX_THREADS];
    job               jobs[MAX_THREADS];
    pthread_barrier_t start;
    if (threads < 1 || threads > MAX_THREADS)
        return 0;
    for (int round = 0; round < ROUNDS; round++) {
        double rate = 0;
        pthread_barrier_init(&start, NULL, (unsigned)threads);
        for (int i = 0; i < threads; i++) {
            jobs[i].start = &start;
            if (pthread_create(&thread[i], NULL, run, &jobs[i]))
                return 0; /* cannot be measured */
        }
        for (int i = 0; i < threads; i++) {
            pthread_join(thread[i], NULL);
            rate += jobs[i].flops / jobs[i].seconds / 1e9;
        }
        pthread_barrier_destroy(&start);
        best = rate > best ? rate : best;
    }
    return best;
}
