/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close a device; its memory. */
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

/* ---- the CPU's kind ----------------------------------------------------------------------- */

static oriel_status cpu_open(oriel_device *d, const oriel_device_options *opt)
{
    oriel_status s;
    if (opt->index)
        return oriel_fail(ORIEL_E_ARG, "device: cpu %d: there is one, number 0", opt->index);
    d->cpu = oriel_cpu_flags();
    d->ops = &ops_cpu;
    if ((s = oriel_pool_new(&d->pool, opt->threads)))
        return s;
    snprintf(d->name, sizeof d->name, "cpu %s x %d", level_name(d->cpu),
             oriel_pool_threads(d->pool));
    return ORIEL_OK;
}

static void cpu_close(oriel_device *d)
{
    oriel_pool_free(&d->pool);
}

static oriel_status cpu_alloc(oriel_device *d, void **p, size_t bytes)
{
    (void)d;
    return (*p = oriel_alloc_aligned(bytes)) ? ORIEL_OK : ORIEL_E_NOMEM;
}

static void cpu_dealloc(oriel_device *d, void *p)
{
    (void)d;
    oriel_dealloc_aligned(p);
}

static oriel_status cpu_copy(oriel_device *d, void *dst, const void *src, size_t bytes)
{
    (void)d;
    memmove(dst, src, bytes);
    return ORIEL_OK;
}

static oriel_status cpu_sync(oriel_device *d)
{
    (void)d;
    return ORIEL_OK;
}

/* MemAvailable: what can be had without swapping, caches of files given back. */
static oriel_status cpu_memory(oriel_device *d, size_t *free_bytes, size_t *all)
{
    char               line[128];
    unsigned long long kib, total = 0, available = 0;
    FILE              *f = fopen("/proc/meminfo", "r");
    (void)d;
    while (f && fgets(line, sizeof line, f)) {
        total = sscanf(line, "MemTotal: %llu kB", &kib) == 1 ? kib : total;
        available = sscanf(line, "MemAvailable: %llu kB", &kib) == 1 ? kib : available;
    }
    if (f)
        fclose(f);
    if (!total)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "memory: /proc/meminfo does not tell how much there is");
    *free_bytes = (size_t)available * 1024;
    *all = (size_t)total * 1024;
    return ORIEL_OK;
}

static oriel_status cpu_rates(oriel_device *d, double *flops, double *bytes)
{
    (void)flops, (void)bytes;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: rates are measured of GPUs", d->name);
}

static bool cpu_reaches(oriel_device *d, const void *p)
{
    (void)d, (void)p;
    return true;
}

static const device_kind device_cpu = {.open = cpu_open, .close = cpu_close, .alloc = cpu_alloc,
                                       .dealloc = cpu_dealloc, .upload = cpu_copy, .download = cpu_copy,
                                       .sync = cpu_sync, .enter = cpu_sync, .memory = cpu_memory,
                                       .rates = cpu_rates, .reaches = cpu_reaches};

/* ---- any kind ----------------------------------------------------------------------------- */

static const device_kind *kind_of(oriel_device_kind kind)
{
    if (kind == ORIEL_CPU)
        return &device_cpu;
#if ORIEL_WITH_CUDA
    if (kind == ORIEL_CUDA)
        return &device_cuda;
#endif
    return NULL;
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
    if (opt->kind != ORIEL_CPU && opt->kind != ORIEL_CUDA)
        return oriel_fail(ORIEL_E_ARG, "device: kind %d is not known", (int)opt->kind);
    const device_kind *is = kind_of(opt->kind);
    if (!is)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "device: this liboriel was built without CUDA");
    oriel_device *d = oriel_alloc_zero(1, sizeof *d);
    if (!d)
        return ORIEL_E_NOMEM;
    d->kind = opt->kind;
    d->is = is;
    if ((s = is->open(d, opt))) {
        oriel_device_free(&d);
        return s;
    }
    *out = d;
    return ORIEL_OK;
}

void oriel_device_free(oriel_device **dev)
{
    if (!dev || !*dev)
        return;
    (*dev)->is->close(*dev);
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

oriel_status device_must_be_cpu(const oriel_device *d, const char *what)
{
    return d->kind == ORIEL_CPU
               ? ORIEL_OK
               : oriel_fail(ORIEL_E_UNSUPPORTED, "%s on CPUs alone, and this device is %s", what, d->name);
}

/* ---- memory ------------------------------------------------------------------------------- */

oriel_status oriel_memory_alloc(oriel_device *dev, void **out, size_t bytes)
{
    if (!out)
        return oriel_fail(ORIEL_E_ARG, "memory: no place for the result");
    *out = NULL;
    if (!dev)
        return oriel_fail(ORIEL_E_ARG, "memory: no device");
    return dev->is->alloc(dev, out, bytes ? bytes : 1);
}

void oriel_memory_free(oriel_device *dev, void **p)
{
    if (!dev || !p || !*p)
        return;
    dev->is->dealloc(dev, *p);
    *p = NULL;
}

static oriel_status check_copy(const oriel_device *dev, const void *dst, const void *src, size_t bytes)
{
    if (!dev)
        return oriel_fail(ORIEL_E_ARG, "memory: no device");
    if (bytes && (!dst || !src))
        return oriel_fail(ORIEL_E_ARG, "memory: no %s to copy %zu bytes", dst ? "source" : "place", bytes);
    return ORIEL_OK;
}

oriel_status oriel_memory_upload(oriel_device *dev, void *dst, const void *src, size_t bytes)
{
    oriel_status s = check_copy(dev, dst, src, bytes);
    return s || !bytes ? s : dev->is->upload(dev, dst, src, bytes);
}

oriel_status oriel_memory_download(oriel_device *dev, void *dst, const void *src, size_t bytes)
{
    oriel_status s = check_copy(dev, dst, src, bytes);
    return s || !bytes ? s : dev->is->download(dev, dst, src, bytes);
}

oriel_status oriel_memory_info(oriel_device *dev, size_t *free_bytes, size_t *all)
{
    if (!dev || !free_bytes || !all)
        return oriel_fail(ORIEL_E_ARG, "memory: no %s", dev ? "place for the numbers" : "device");
    *free_bytes = *all = 0;
    return dev->is->memory(dev, free_bytes, all);
}

oriel_status oriel_device_sync(oriel_device *dev)
{
    return dev ? dev->is->sync(dev) : oriel_fail(ORIEL_E_ARG, "device: no device to wait for");
}

oriel_status oriel_device_rates(oriel_device *dev, double *flops, double *bytes)
{
    if (!dev || !flops || !bytes)
        return oriel_fail(ORIEL_E_ARG, "device: no %s", dev ? "place for the rates" : "device");
    *flops = *bytes = 0;
    oriel_status s = dev->is->enter(dev);
    return s ? s : dev->is->rates(dev, flops, bytes);
}
