/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close a device. */
#include <stdio.h>

#include "core/ops.h"

static const char *level_name(unsigned cpu)
{
    return cpu & ORIEL_CPU_AMX_BF16      ? "avx512 amx"
           : cpu & ORIEL_CPU_AVX512_BF16 ? "avx512 bf16"
           : cpu & ORIEL_CPU_AVX512      ? "avx512"
           : cpu & ORIEL_CPU_AVX2        ? "avx2"
                                         : "plain C";
}

oriel_status oriel_device_open(oriel_device **out, const oriel_device_options *opt)
{
    static const oriel_device_options defaults;
    oriel_status                      s;
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "device: no place for the result");
    *out = NULL;
    if (!opt)
        opt = &defaults;
    if (opt->kind != ORIEL_CPU)
        return oriel_fail(ORIEL_E_ARG, "device: kind %d is not known", (int)opt->kind);
    oriel_device *d = oriel_alloc_zero(1, sizeof *d);
    if (!d)
        return ORIEL_E_NOMEM;
    d->cpu = oriel_cpu_flags();
    d->ops = &ops_cpu;
    if ((s = oriel_pool_new(&d->pool, opt->threads))) {
        oriel_device_free(&d);
        return s;
    }
    snprintf(d->name, sizeof d->name, "cpu %s x %d", level_name(d->cpu),
             oriel_pool_threads(d->pool));
    *out = d;
    return ORIEL_OK;
}

void oriel_device_free(oriel_device **dev)
{
    if (!dev || !*dev)
        return;
    oriel_pool_free(&(*dev)->pool);
    oriel_dealloc(*dev);
    *dev = NULL;
}

int oriel_device_threads(const oriel_device *dev)
{
    return oriel_pool_threads(dev->pool);
}

const char *oriel_device_name(const oriel_device *dev)
{
    return dev->name;
}
