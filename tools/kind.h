/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is, by its first bytes, and else by its name. */
#ifndef TOOLS_KIND_H
#define TOOLS_KIND_H

#include <stdbool.h>

typedef enum path_kind { KIND_UNKNOWN, KIND_PICTURE, KIND_CLIP } path_kind;

/* Of a name alone: what a folder is searched for, unreadable formats included, so that those are
 * named as failed and not silently left out. */
path_kind kind_of_name(const char *path);
/* Of what is there; "-" is looked at without reading it. Addresses (rtsp://...) are clips. */
path_kind kind_of(const char *path);

/* Whether pictures are written under names like this: .png, .ppm, ... */
bool kind_is_written(const char *path);
/* Whether the name numbers pictures: "out/%06d.png". */
bool kind_is_numbered(const char *path);

#endif
