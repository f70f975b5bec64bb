/* SPDX-License-Identifier: Apache-2.0 */
/* cJSON, within limits. Only files that are compiled with ORIEL_JSON include this. */
#ifndef MODELS_CHECKPOINT_JSON_H
#define MODELS_CHECKPOINT_JSON_H

#include <cjson/cJSON.h>

#include "models/checkpoint/format.h"

/* An object from [data, data + size), to be freed with cJSON_Delete(). At most 4 M values and no
 * zero bytes in texts; nothing but white space after it. */
oriel_status json_parse(cJSON **out, const char *who, const void *data, size_t size);
/* A whole number of 0 to 2^53 */
bool json_u64(const cJSON *v, uint64_t *out);

#endif
