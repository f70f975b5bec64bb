/* SPDX-License-Identifier: Apache-2.0 */
/* What this CPU can do and what we were told to leave alone. */
#include <pthread.h>
#include <stdlib.h>

#include "core/internal.h"

static unsigned       found, mask = ~0u;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static unsigned detect(void)
{
    unsigned a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    bool     fma = c & bit_FMA && c & bit_F16C;
    uint64_t os = xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if ((os & 6) == 6 && fma && b & bit_AVX2)
        flags |= ORIEL_CPU_AVX2;
    unsigned need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (flags && (os & 0xe6) == 0xe6 && (b & need) == need)
        flags |= ORIEL_CPU_AVX512;
    bool amx = d & 1u << 22 && d & 1u << 24; /* AMX-BF16, AMX-TILE */
    if (!(flags & ORIEL_CPU_AVX512) || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5))
        return flags;
    flags |= ORIEL_CPU_AVX512_BF16;
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    if (amx && (os & 0x60000) == 0x60000 &&
        syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0)
        flags |= ORIEL_CPU_AMX_BF16;
    return flags;
}
#else
static unsigned detect(void)
{
    return 0;
}
#endif

static void look(void)
{
    static const struct {
        const char *name;
        unsigned    flags;
    } levels[] = {
        {"c", 0},
        {"avx2", ORIEL_CPU_AVX2},
        {"avx512", ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512},
        {"avx512bf16", ORIEL_CPU_AVX2 | ORIEL_CPU_AVX512 | ORIEL_CPU_AVX512_BF16},
        {"amx", ~0u},
    };
    found = detect();
    const char *level = getenv("ORIEL_CPU");
    for (size_t i = 0; level && i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(level, levels[i].name))
            found &= levels[i].flags;
}

unsigned oriel_cpu_flags(void)
{
    pthread_once(&once, look);
    return found & mask;
}

void oriel_cpu_mask(unsigned keep)
{
    mask = keep;
}
