/* SPDX-License-Identifier: Apache-2.0 */
#include "find_model.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *existing(const char *folder, const char *below, const char *name)
{
    char *path = need_text("%s%s/%s.safetensors", folder, below, name);
    if (!access(path, F_OK))
        return path;
    free(path);
    return NULL;
}

/* NULL if the model is in none of the places. */
static char *look(const char *name)
{
    const char *variable = getenv("ORIEL_MODELS");
    char folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    char *found = variable && variable[0] ? existing(variable, "", name) : NULL;
    if (found || length <= 0)
        return found;
    folder[length] = 0;
    *strrchr(folder, '/') = 0;
    found = existing(folder, "/../share/oriel/models", name);
    while (!found) {
        char *slash = strrchr(folder, '/');
        found = existing(folder, "/models/weights", name);
        if (!slash)
            break;
        *slash = 0;
    }
    return found;
}

static const char places[] =
    "$ORIEL_MODELS, ../share/oriel/models and models/weights above the program";

char *find_model(const char *asked, trouble *why)
{
    char *found = NULL;
    if (strchr(asked, '/') || !access(asked, F_OK))
        return need_text("%s", asked);
    found = look(asked);
    if (!found)
        trouble_set(why, "no model '%s': neither a file nor in %s", asked, places);
    return found;
}

char *find_upscaler(double scale, trouble *why)
{
    char *best = NULL;
    double best_reach = 0;
    int best_passes = 0;
    for (int factor = 2; factor <= 4; factor += 2) {
        char name[32];
        double reach = factor;
        int passes = 1;
        for (; reach < scale - 1e-9; passes++)
            reach *= factor;
        snprintf(name, sizeof name, "swinir-light-x%d", factor);
        char *path = look(name);
        if (path &&
            (!best || reach < best_reach || (reach == best_reach && passes < best_passes))) {
            free(best);
            best = path;
            best_reach = reach;
            best_passes = passes;
        } else {
            free(path);
        }
    }
    if (!best)
        trouble_set(why,
                    "no default model: swinir-light-x2 and -x4 are not in %s; --model names a file",
                    places);
    return best;
}
