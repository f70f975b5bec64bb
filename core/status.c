/* SPDX-License-Identifier: Apache-2.0 */
/* Error text per thread, and the log callback. */
#include <stdio.h>

#include "core/internal.h"

static _Thread_local char error_text[512];

static struct {
    oriel_log_fn   *fn;
    void           *user;
    oriel_log_level level;
} sink;

const char *oriel_error(void)
{
    return error_text;
}

oriel_status oriel_fail(oriel_status s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(error_text, sizeof error_text, format, ap);
    va_end(ap);
    return s;
}

const char *oriel_status_name(oriel_status s)
{
    static const char *const names[] = {"ok",     "end of file", "bad argument", "no memory",
                                        "i/o",    "format",      "unsupported",  "device"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown status";
}

const char *oriel_version(void)
{
    return ORIEL_VERSION;
}

void oriel_log_set(oriel_log_fn *fn, void *user, oriel_log_level level)
{
    sink.fn = fn;
    sink.user = user;
    sink.level = level;
}

void oriel_logf(oriel_log_level level, const char *format, ...)
{
    if (!sink.fn || level > sink.level)
        return;
    char    text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    sink.fn(sink.user, level, text);
}
