/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CMD_INFO_CLIP_H
#define TOOLS_CMD_INFO_CLIP_H

#include <stdbool.h>

/* Print what a clip is. False: it cannot be read, the library's text says why. */
bool info_clip(const char *path, bool json);

#endif
