/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODELS_CHECKPOINT_ARCH_H
#define MODELS_CHECKPOINT_ARCH_H

#include "models/checkpoint/format.h"

/* The architecture whose fingerprint is among these names, sorted, of each of which the first
 * `strip` bytes do not count. */
ckpt_arch ckpt_detect(const ckpt_text *sorted, size_t n, size_t strip);

/* "x4, embed 60, depths 6 6 6 6, ..." of c's tensors into buf; "" if nothing is known. */
void ckpt_details(const oriel_checkpoint *c, char *buf, size_t size);

#endif
