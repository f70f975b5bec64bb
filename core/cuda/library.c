/* SPDX-License-Identifier: Apache-2.0 */
#include "core/cuda/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "core/internal.h"

oriel_status cuda_library(void **handle, const char *what, const char *const names[])
{
    char said[256] = "no name for it is known";
    *handle = NULL;
    for (int i = 0; names[i]; i++) {
        if ((*handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL)))
            return ORIEL_OK;
        const char *why = dlerror();
        if (!i && why)
            snprintf(said, sizeof said, "%s", why);
    }
    return oriel_fail(ORIEL_E_DEVICE, "%s: %s", what, said);
}

oriel_status cuda_symbols(void *handle, const char *what, const cuda_symbol list[])
{
    for (; list->name; list++) {
        void *f = dlsym(handle, list->name);
        if (!f)
            return oriel_fail(ORIEL_E_DEVICE, "%s: it has no %s", what, list->name);
        memcpy(list->to, &f, sizeof f); /* a function's address out of an object's */
    }
    return ORIEL_OK;
}
