/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of names: globs, pictures that become a clip, pictures that a clip becomes. */
#include <ctype.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inputs.h"
#include "kind.h"

void names_free(names *n)
{
    for (int i = 0; i < n->count; i++)
        free(n->list[i]);
    free(n->list);
    *n = (names){0};
}

void names_add(names *n, const char *name)
{
    if (!(n->count & (n->count - 1))) { /* room is the next power of two */
        char **list = need((size_t)(n->count ? 2 * n->count : 1), sizeof *list);
        if (n->count)
            memcpy(list, n->list, (size_t)n->count * sizeof *list);
        free(n->list);
        n->list = list;
    }
    n->list[n->count++] = need_text("%s", name);
}

bool names_expand(names *n, char *const *operands, int count, trouble *why)
{
    *n = (names){0};
    for (int i = 0; i < count; i++) {
        glob_t found;
        bool pattern =
            strpbrk(operands[i], "*?[") && access(operands[i], F_OK) && !strstr(operands[i], "://");
        if (!pattern) {
            names_add(n, operands[i]);
            continue;
        }
        if (glob(operands[i], 0, NULL, &found))
            return trouble_set(why, "%s: no file has such a name", operands[i]);
        for (size_t k = 0; k < found.gl_pathc; k++)
            names_add(n, found.gl_pathv[k]);
        globfree(&found);
    }
    return true;
}

/* By characters, but numbers by their value: frame2 before frame10. */
static int natural_order(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    while (*x && *y) {
        if (isdigit((unsigned char)*x) && isdigit((unsigned char)*y)) {
            x += strspn(x, "0");
            y += strspn(y, "0");
            size_t m = strspn(x, "0123456789"), n = strspn(y, "0123456789");
            int order = m != n ? (m < n ? -1 : 1) : strncmp(x, y, m);
            if (order)
                return order;
            x += m;
            y += n;
        } else if (*x != *y) {
            break;
        } else {
            x++;
            y++;
        }
    }
    int order = (unsigned char)*x - (unsigned char)*y;
    return order ? order : strcmp(*(char *const *)a, *(char *const *)b);
}

bool series_collect(names *series, const names *operands, trouble *why)
{
    *series = (names){0};
    for (int i = 0; i < operands->count; i++) {
        const char *path = operands->list[i];
        char **inside;
        if (!is_folder(path)) {
            if (kind_of(path) == KIND_CLIP)
                return trouble_set(why,
                                   "%s is a clip: several inputs of which one is a clip go "
                                   "into a folder",
                                   path);
            names_add(series, path);
            continue;
        }
        int n = inputs_list(path, &inside, why);
        if (n < 0)
            return false;
        for (int k = 0; k < n; k++) {
            char *file = need_text("%s/%s", path, inside[k]);
            names_add(series, file);
            free(file);
            free(inside[k]);
        }
        free(inside);
    }
    if (!series->count)
        return trouble_set(why, "no pictures in %s", operands->list[0]);
    qsort(series->list, (size_t)series->count, sizeof *series->list, natural_order);
    return true;
}

char *inputs_part(const char *out)
{
    const char *ending = extension(out);
    return need_text("%.*s.part%s", (int)(strlen(out) - strlen(ending)), out, ending);
}

char *inputs_numbered(const char *out, int64_t number)
{
    const char *percent = strchr(out, '%');
    while (percent[1] == '%')
        percent = strchr(percent + 2, '%');
    char *end;
    bool zeros = percent[1] == '0';
    int width = (int)strtol(percent + 1, &end, 10); /* ends at the d */
    char *name = zeros ? need_text("%.*s%0*lld%s", (int)(percent - out), out, width,
                                   (long long)number, end + 1)
                       : need_text("%.*s%*lld%s", (int)(percent - out), out, width,
                                   (long long)number, end + 1);
    char *to = name; /* %% is one % */
    for (const char *from = name; *from; from++) {
        *to++ = *from;
        from += from[0] == '%' && from[1] == '%';
    }
    *to = 0;
    return name;
}
