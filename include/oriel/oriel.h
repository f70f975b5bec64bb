/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ORIEL_ORIEL_H
#define ORIEL_ORIEL_H

/* All of liboriel; <oriel/video.h> is of liboriel_video, a library of its own. */
#include <oriel/attn.h>
#include <oriel/core.h>
#include <oriel/kv.h>
#include <oriel/models.h>
#include <oriel/vision.h>

#endif
