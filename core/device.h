/* SPDX-License-Identifier: Apache-2.0 */
/* A device from inside: its threads and the table of functions that do the work. */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/internal.h"

struct oriel_device {
    oriel_device_kind kind;
    unsigned          cpu; /* ORIEL_CPU_* that this device uses */
    oriel_pool       *pool;
    const struct ops *ops; /* core/ops.h */
    char              name[64];
};

#endif
