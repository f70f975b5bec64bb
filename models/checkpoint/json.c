/* SPDX-License-Identifier: Apache-2.0 */
#ifdef ORIEL_JSON
#include "models/checkpoint/json.h"

/* A value costs cJSON 64 bytes and may cost the file 2, so that they are counted first. */
static size_t count_values(const char *p, size_t n)
{
    size_t values = 1;
    for (size_t i = 0; i < n; i++)
        values += p[i] == ',' || p[i] == '[' || p[i] == '{';
    return values;
}

oriel_status json_parse(cJSON **out, const char *who, const void *data, size_t size)
{
    enum { MAX_VALUES = 4 << 20 };
    const char *p = data, *end = NULL;
    *out = NULL;
    if (count_values(p, size) > MAX_VALUES)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: JSON of over 4 M values", who);
    if (memchr(p, 0, size) || memmem(p, size, "\\u0000", 6))
        return oriel_fail(ORIEL_E_FORMAT, "%s: a zero byte in the JSON", who);
    cJSON *root = cJSON_ParseWithLengthOpts(p, size, &end, 0);
    size_t at = end && end >= p ? (size_t)(end - p) : 0, stop = at;
    while (root && at < size && strchr(" \t\r\n", p[at]))
        at++;
    if (root && at == size && cJSON_IsObject(root)) {
        *out = root;
        return ORIEL_OK;
    }
    cJSON_Delete(root);
    return oriel_fail(ORIEL_E_FORMAT, "%s: broken JSON at byte %zu of %zu, or no memory for it",
                      who, stop, size);
}

bool json_u64(const cJSON *v, uint64_t *out)
{
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= 9007199254740992.0))
        return false;
    *out = (uint64_t)v->valuedouble;
    return (double)*out == v->valuedouble;
}
#else
typedef int json_is_off; /* ISO C wants a declaration */
#endif
