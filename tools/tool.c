/* SPDX-License-Identifier: Apache-2.0 */
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <oriel/core.h>

bool trouble_set(trouble *t, const char *format, ...)
{
    va_list ap;
    if (t->text[0])
        return false;
    va_start(ap, format);
    vsnprintf(t->text, sizeof t->text, format, ap);
    va_end(ap);
    return false;
}

bool trouble_of_file(trouble *t, const char *path)
{
    const char *text = oriel_error();
    bool named = !strncmp(text, path, strlen(path));
    return trouble_set(t, "%s%s%s", named ? "" : path, named ? "" : ": ", text);
}

/* ---- memory ------------------------------------------------------------------------------- */

static void *needed(void *p)
{
    if (!p) {
        fprintf(stderr, "oriel: out of memory\n");
        exit(1);
    }
    return p;
}

void *need(size_t count, size_t size)
{
    return needed(calloc(count ? count : 1, size ? size : 1));
}

char *need_text(const char *format, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    return needed(text);
}

const char *bytes_text(uint64_t bytes, char *buf, size_t size)
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double x = (double)bytes / 1024;
    int u = 0;
    for (; x >= 1023.95 && u < 5; u++)
        x /= 1024;
    snprintf(buf, size, "%.1f %s", x, unit[u]);
    return buf;
}

/* The first number after `word` in the file ("" is the file's beginning), or UINT64_MAX. */
static uint64_t file_number(const char *path, const char *word)
{
    char line[256];
    uint64_t n = UINT64_MAX;
    FILE *f = fopen(path, "r");
    if (!f)
        return n;
    while (n == UINT64_MAX && fgets(line, sizeof line, f)) {
        unsigned long long x;
        if (!strncmp(line, word, strlen(word)) && sscanf(line + strlen(word), "%llu", &x) == 1)
            n = x;
    }
    fclose(f);
    return n;
}

/* What is left under a control group's limit; files in the page cache can be given back. */
static uint64_t group_left(const char *limit, const char *usage, const char *stat,
                           const char *cache)
{
    uint64_t most = file_number(limit, ""), used = file_number(usage, "");
    uint64_t spare = file_number(stat, cache);
    if (most == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX; /* "max" is not a number */
    if (spare != UINT64_MAX)
        used -= spare < used ? spare : used;
    return most > used ? most - used : 0;
}

uint64_t memory_available(void)
{
    uint64_t left = file_number("/proc/meminfo", "MemAvailable:");
    uint64_t v2 = group_left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                             "/sys/fs/cgroup/memory.stat", "inactive_file ");
    uint64_t v1 = group_left("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                             "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                             "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file ");
    if (left != UINT64_MAX)
        left *= 1024;
    left = v2 < left ? v2 : left;
    return v1 < left ? v1 : left;
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at s, 0 if it is none. */
static int utf8_length(const unsigned char *s)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80             ? 1
            : (s[0] & 0xe0) == 0xc0 ? 2
            : (s[0] & 0xf0) == 0xe0 ? 3
            : (s[0] & 0xf8) == 0xf0 ? 4
                                    : 0;
    uint32_t code = n > 1 ? s[0] & (0x7fu >> n) : s[0];
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return n && code >= least[n] && code <= 0x10ffff && !surrogate ? n : 0;
}

void json_string(FILE *to, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (!s) {
        fputs("null", to);
        return;
    }
    putc('"', to);
    while (*s) {
        int n = utf8_length(s);
        if (*s == '"' || *s == '\\')
            fprintf(to, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(to, "\\u%04x", *s);
        else if (n)
            fwrite(s, 1, (size_t)n, to);
        else
            fputs("\\ufffd", to);
        s += n ? n : 1;
    }
    putc('"', to);
}

void json_number(FILE *to, double x, int decimals)
{
    if (isfinite(x))
        fprintf(to, "%.*f", decimals, x);
    else
        fputs("null", to);
}

/* ---- paths -------------------------------------------------------------------------------- */

bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *extension(const char *path)
{
    const char *name = base_name(path), *dot = strrchr(name, '.');
    return dot && dot > name ? dot : "";
}

bool make_parents(const char *path, trouble *why)
{
    char *copy = need_text("%s", path);
    bool ok = true;
    for (char *p = copy + 1; ok && *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = 0;
        if (mkdir(copy, 0777) && !(errno == EEXIST && is_folder(copy)))
            ok = trouble_set(why, "%s: cannot make the folder: %s", copy, strerror(errno));
        *p = '/';
    }
    free(copy);
    return ok;
}
