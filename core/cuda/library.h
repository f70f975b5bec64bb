/* SPDX-License-Identifier: Apache-2.0 */
/* NVIDIA's libraries, opened when they are first needed, so that programs link none of them. */
#ifndef CORE_CUDA_LIBRARY_H
#define CORE_CUDA_LIBRARY_H

#include <oriel/core.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_symbol {
    const char *name;
    void       *to; /* a pointer to a function, which is set */
} cuda_symbol;

/* Open the first of `names` (which end with NULL) that the loader finds. It stays open as long as the process; a
 * second call gives the same handle. ORIEL_E_DEVICE: "what: what the loader said of the first name". `what` is for
 * people: what needs which library, of which package. */
oriel_status cuda_library(void **handle, const char *what, const char *const names[]);
/* Find functions; the list ends with a NULL name. ORIEL_E_DEVICE names the first that is missing. */
oriel_status cuda_symbols(void *handle, const char *what, const cuda_symbol list[]);

#ifdef __cplusplus
}
#endif
#endif
