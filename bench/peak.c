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

#if defined(__x86_64__)
#define KEEP(a) __asm__ volatile("" : "+v"(a))

__attribute__((target("avx512f"))) static double chains512(void)
{
    __m512 a[CHAINS], b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_fmadd_ps(a[i], b, c);
            KEEP(a[i]);
        }
    return 2.0 * 16 * CHAINS * STEPS;
}

__attribute__((target("avx2,fma"))) static double chains256(void)
{
    __m256 a[CHAINS - 4], b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS - 4; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < CHAINS - 4; i++) {
            a[i] = _mm256_fmadd_ps(a[i], b, c);
            KEEP(a[i]);
        }
    return 2.0 * 8 * (CHAINS - 4) * STEPS;
}
#endif

static double chains1(void)
{
    volatile float sink;
    float          a[8] = {0};
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < 8; i++)
            a[i] = a[i] * 0.999f + 0.001f;
    sink = a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
    (void)sink;
    return 2.0 * 8 * STEPS;
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
#if defined(__x86_64__)
    j->flops = __builtin_cpu_supports("avx512f") ? chains512()
               : __builtin_cpu_supports("avx2")  ? chains256()
                                                 : chains1();
#else
    j->flops = chains1();
#endif
    j->seconds = bench_now() - t;
    return NULL;
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
