/* SPDX-License-Identifier: Apache-2.0 */
/* Where model files are: $ORIEL_MODELS, the installed ../share/oriel/models, or models/weights in a
 * folder above the program (the build tree). Never the working directory. */
#ifndef TOOLS_FIND_MODEL_H
#define TOOLS_FIND_MODEL_H

#include "tool.h"

/* The file that `asked` means: a path, or the name of a model without ".safetensors" in those
 * places. NULL and why; else free() it. */
char *find_model(const char *asked, trouble *why);
/* The upscaling model for a scale: of swinir-light-x2 and -x4, whichever are there, the one whose
 * power comes nearest to the scale from above, in the fewest passes. */
char *find_upscaler(double scale, trouble *why);

#endif
