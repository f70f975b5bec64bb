/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_CORE_H
#define ORIEL_CORE_H

/*
 * oriel/core.h - what every other header stands on: status, tensors, devices, log.
 *
 *     oriel_device *dev = NULL;
 *     if (oriel_device_open(&dev, NULL))                  // NULL: a CPU device, all cores
 *         return fprintf(stderr, "%s\n", oriel_error()), 1;
 *     ...
 *     oriel_device_free(&dev);
 *
 * Errors. A function that can fail returns an oriel_status, ORIEL_OK being 0; the sentence for
 * people is oriel_error(), kept per thread until the next failure on that thread. The library never
 * exits, never aborts on input, and prints nothing: what it has to say goes to the log callback.
 *
 * Ownership. Who makes a thing frees it, with oriel_x_free(&x), which accepts NULL and writes NULL.
 * Tensors are views and own nothing.
 *
 * Options. Every options struct means its defaults when it is all zero; NULL stands for {0}.
 *
 * Axes. B batch, T time, Y rows, X columns, C channels, H heads, D head dim, N tokens. Images are
 * (Y, X, C), batches of them (B, Y, X, C): channels last, rows from the top.
 *
 * Threads. Values are free. A device, and what was made on it, is used by one thread at a time;
 * different devices at once are fine.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ORIEL_API __attribute__((visibility("default")))
#define ORIEL_MUST_CHECK __attribute__((warn_unused_result))
#define ORIEL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ORIEL_API
#define ORIEL_MUST_CHECK
#define ORIEL_PRINTF(f, a)
#endif

/* ---- status ------------------------------------------------------------------------------- */

typedef enum oriel_status {
    ORIEL_OK = 0,
    ORIEL_EOF,           /* nothing more to read; not an error */
    ORIEL_E_ARG,         /* an argument is wrong: the program's error */
    ORIEL_E_NOMEM,       /* memory ran out, on the host or the device */
    ORIEL_E_IO,          /* a file or pipe could not be opened, read or written */
    ORIEL_E_FORMAT,      /* the bytes are not what they should be */
    ORIEL_E_UNSUPPORTED, /* well formed, but not something this build or version does */
    ORIEL_E_DEVICE       /* the device or its driver failed, or the run was cancelled */
} oriel_status;

/* The text of the last failure on this thread; "" if there was none. Valid until the next one. */
ORIEL_API const char *oriel_error(void);
/* "ok", "format", "no memory", ...: a name for a status. Never NULL. */
ORIEL_API const char *oriel_status_name(oriel_status s);
/* "0.1.0" */
ORIEL_API const char *oriel_version(void);

/* ---- log ---------------------------------------------------------------------------------- */

typedef enum oriel_log_level { ORIEL_LOG_WARN = 0, ORIEL_LOG_INFO, ORIEL_LOG_DEBUG } oriel_log_level;
typedef void oriel_log_fn(void *user, oriel_log_level level, const char *text);

/* Send messages up to `level` to fn (NULL: nowhere, the default). Process-wide; set it before other
 * threads run. fn may be called from any thread. */
ORIEL_API void oriel_log_set(oriel_log_fn *fn, void *user, oriel_log_level level);

/* ---- values ------------------------------------------------------------------------------- */

typedef enum oriel_dtype {
    ORIEL_F32 = 0,
    ORIEL_F16,
    ORIEL_BF16,
    ORIEL_F64,
    ORIEL_I64,
    ORIEL_I32,
    ORIEL_I16,
    ORIEL_I8,
    ORIEL_U8,
    ORIEL_U16,
    ORIEL_BOOL,
    ORIEL_F8_E4M3,
    ORIEL_F8_E5M2,
    ORIEL_DTYPE_COUNT
} oriel_dtype;

ORIEL_API size_t      oriel_dtype_size(oriel_dtype t); /* bytes an element; 0 if t is not a dtype */
ORIEL_API const char *oriel_dtype_name(oriel_dtype t); /* "f32", "bf16", ... */

enum { ORIEL_MAX_DIMS = 6 };

/* A view of memory that somebody else owns. Strides are in elements and may be negative. */
typedef struct oriel_tensor {
    void       *data;
    oriel_dtype dtype;
    int         ndim;
    int64_t     shape[ORIEL_MAX_DIMS]; /* outermost first */
    int64_t     stride[ORIEL_MAX_DIMS];
} oriel_tensor;

/* A packed view of data with the given shape; ndim 0 to 6 (a tensor with ndim over 6 is all zero). */
ORIEL_API oriel_tensor oriel_tensor_of(void *data, oriel_dtype dtype, int ndim, const int64_t *shape);
/* The same view with [begin, end) of one axis. Out of range: clamped. */
ORIEL_API oriel_tensor oriel_tensor_slice(oriel_tensor t, int axis, int64_t begin, int64_t end);
ORIEL_API int64_t      oriel_tensor_count(const oriel_tensor *t); /* elements; 1 for ndim 0 */
ORIEL_API bool         oriel_tensor_packed(const oriel_tensor *t);
/* "f32 (1, 16, 16, 60)" into buf; returns buf. 128 bytes suffice. */
ORIEL_API const char *oriel_tensor_str(const oriel_tensor *t, char *buf, size_t size);

/* ---- devices ------------------------------------------------------------------------------ */

typedef enum oriel_device_kind {
    ORIEL_CPU = 0,
    ORIEL_CUDA /* an NVIDIA GPU of compute capability 8.0 or more */
} oriel_device_kind;

typedef struct oriel_device oriel_device;

typedef struct oriel_device_options {
    oriel_device_kind kind;
    int               threads; /* CPU: worker threads; 0 means all cores that the process may use */
    int               index;   /* CUDA: which GPU, in CUDA's order (CUDA_VISIBLE_DEVICES) */
} oriel_device_options;

/* Open a device and its threads. Free it after everything that was made on it.
 * ORIEL_E_ARG, ORIEL_E_NOMEM, ORIEL_E_UNSUPPORTED (a build without CUDA), ORIEL_E_DEVICE (threads
 * could not be started; no driver, a driver that is too old, no such GPU: the text says which). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_device_open(oriel_device **out,
                                                          const oriel_device_options *opt);
ORIEL_API void        oriel_device_free(oriel_device **dev);
ORIEL_API int         oriel_device_threads(const oriel_device *dev); /* of the CPU; a GPU has 1 */
ORIEL_API const char *oriel_device_name(const oriel_device *dev); /* "cpu avx512 x 2", "cuda NVIDIA H100 0" */

/* Memory of the device, where the tensors of its runs lie. On a CPU it is the host's, and any other
 * memory of the host serves as well; on a GPU it is the GPU's own, which the host cannot read.
 *
 * A GPU works behind the caller: what runs on a device is queued in order, and so are copies. An
 * upload has read `src` when it returns; a download returns when `dst` is there; oriel_device_sync()
 * waits for all that was queued, and then an error of any of it is seen (ORIEL_E_DEVICE). Calls make
 * the device's GPU the thread's current one. */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_memory_alloc(oriel_device *dev, void **out, size_t bytes); /* not cleared; aligned to 64 bytes. ORIEL_E_NOMEM */
ORIEL_API void oriel_memory_free(oriel_device *dev, void **p); /* what is queued may still use it */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_memory_upload(oriel_device *dev, void *dst, const void *src, size_t bytes);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_memory_download(oriel_device *dev, void *dst, const void *src, size_t bytes);
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_device_sync(oriel_device *dev);
/* Bytes that can be had now, and that there are: of a GPU its own; of a CPU the host's, what can be had
 * without swapping. Other programs take from them, too. ORIEL_E_UNSUPPORTED (a host that does not tell). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_memory_info(oriel_device *dev, size_t *free_bytes, size_t *all);

/* What a GPU reaches now, which kernels can be held to: products of matrices of 8192 x 8192 in bf16 by
 * cuBLASLt, flop/s, and copies inside its memory, bytes read plus written a second; medians of seven on random
 * numbers. Takes some 100 ms and 400 MiB of its memory. ORIEL_E_UNSUPPORTED (CPUs), ORIEL_E_NOMEM, ORIEL_E_DEVICE
 * (no cuBLASLt, too). */
ORIEL_API ORIEL_MUST_CHECK oriel_status oriel_device_rates(oriel_device *dev, double *flops, double *bytes);

/* What the CPU offers, each level implying those that it needs. */
enum {
    ORIEL_CPU_AVX2 = 1,        /* AVX2, FMA and F16C */
    ORIEL_CPU_AVX512 = 2,      /* AVX-512 F, BW, DQ, VL */
    ORIEL_CPU_AVX512_BF16 = 4, /* and its bf16 dot products */
    ORIEL_CPU_AMX_BF16 = 8     /* AMX tiles with bf16, and the kernel lets us use them */
};
/* Flags found, less those hidden. The environment variable ORIEL_CPU (c, avx2, avx512, avx512bf16,
 * amx: the highest level to use) hides levels too; it is read once. */
ORIEL_API unsigned oriel_cpu_flags(void);
/* Hide every flag that is not in mask; for tests and bug reports. Devices opened earlier keep what
 * they chose. */
ORIEL_API void oriel_cpu_mask(unsigned mask);

/* ---- for libraries on top, as liboriel_video is one ---------------------------------------- */

/* Set this thread's error text and return s. The function where it fails says why; callers pass s. */
ORIEL_API oriel_status oriel_fail(oriel_status s, const char *format, ...) ORIEL_PRINTF(2, 3);
ORIEL_API void         oriel_logf(oriel_log_level level, const char *format, ...) ORIEL_PRINTF(2, 3);

/* All memory of oriel comes from here, so that tests can make the n-th request fail. The error text
 * is set on failure. Size 0 gives a pointer that can be freed. */
ORIEL_API void *oriel_alloc(size_t bytes);                   /* not cleared */
ORIEL_API void *oriel_alloc_zero(size_t count, size_t size); /* overflow-safe */
ORIEL_API void *oriel_realloc(void *p, size_t bytes);        /* NULL leaves p as it was */
ORIEL_API void *oriel_alloc_aligned(size_t bytes);           /* 64-byte aligned, not cleared */
ORIEL_API void  oriel_dealloc(void *p);                      /* of oriel_alloc, _zero, _realloc, _strdup */
ORIEL_API void  oriel_dealloc_aligned(void *p);
ORIEL_API char *oriel_strdup(const char *text);

ORIEL_API float oriel_f16_to_f32(uint16_t h); /* the value of fp16 bits */

#ifdef __cplusplus
}
#endif
#endif
