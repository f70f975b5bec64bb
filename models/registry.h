/* SPDX-License-Identifier: Apache-2.0 */
/* What checkpoints ask of the networks. */
#ifndef MODELS_REGISTRY_H
#define MODELS_REGISTRY_H

#include "models/checkpoint/checkpoint.h"

/* Does this build have the network? */
bool oriel_model_runnable(ckpt_arch a);

#endif
