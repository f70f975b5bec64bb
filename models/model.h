/* SPDX-License-Identifier: Apache-2.0 */
/* What a network is to the rest: a row of functions (registry.c has them all). */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include "core/ops.h"
#include "models/checkpoint/checkpoint.h"

typedef struct model_kind {
    ckpt_arch arch;
    /* Read the configuration and weights of c; fill in info but for architecture, details and
     * parameters, which come from the checkpoint. *net is NULL on failure. */
    oriel_status (*open)(void **net, oriel_device *dev, const oriel_checkpoint *c,
                         const oriel_model_options *opt, oriel_model_info *info);
    void (*free)(oriel_device *dev, void *net);
    /* out = net(in), (Y, X, C) packed f32; plans, too. */
    void (*forward)(run *r, const void *net, oriel_tensor in, oriel_tensor out);
} model_kind;

extern const model_kind model_swinir;

/* What products' operands are rounded to. */
oriel_dtype model_operand(oriel_precision p);
/* NULL if this build has no such network. */
const model_kind *model_find(ckpt_arch a);

/* Tests: look at feature maps as they are made. */
void model_tap(oriel_model *m, op_tap_fn *fn, void *user);
/* Tests: how many runs were played from a recording (replay.h). */
int model_played(const oriel_model *m);

#endif
