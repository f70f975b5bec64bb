/* SPDX-License-Identifier: Apache-2.0 */
/* What the CPU keeps behind op_conv.packed; for ops_cpu.c and the fused blocks of attn2d3d. */
#ifndef CORE_CPU_OPS_CPU_H
#define CORE_CPU_OPS_CPU_H

#include "core/cpu/panel.h"
#include "core/ops.h"

typedef struct cpu_weights {
    const panel_ops *p;
    panel_weights    w;
} cpu_weights;

/* The panels for such operands; ORIEL_E_UNSUPPORTED: this CPU has none. */
oriel_status cpu_panel(const panel_ops **p, const oriel_device *dev, oriel_dtype operand);

#endif
