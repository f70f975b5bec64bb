/* SPDX-License-Identifier: Apache-2.0 */
/* Which dictionary of the object is the network's state, and under which prefix.
 *
 * Every dictionary with a tensor is a candidate: params, params_ema, an optimiser's... Those that
 * match a fingerprint come first, then the order of `preferred`. */

#include <stdio.h>
#include <stdlib.h>

#include "models/checkpoint/arch.h"
#include "models/checkpoint/torch.h"

enum { MAX_LEVEL = 4, MAX_CANDIDATES = 64, MAX_PATH_TEXT = 256 };

/* Best first; a name with a dot is a whole path, others the last part of one. "" is the root. */
static const char *const preferred[] = {
    "params_ema",     "params-ema",       "ema",         "ema.module",
    "ema_model",      "model_ema",        "params",      "state_dict",
    "state_dict_ema", "model_state_dict", "model_state", "model",
    "net_g_ema",      "generator",        "net",         "",
};

static const char *const prefixes[] = {"module.", "_orig_mod.", "model.",   "net_g.",
                                       "netG.",   "generator.", "backbone."};

typedef struct candidate {
    const pk_node *dict;
    const char *path;
    size_t tensors;
    ckpt_text prefix; /* what is stripped; names without it are left out */
    ckpt_arch arch;
} candidate;

typedef struct search {
    oriel_checkpoint *c;
    candidate found[MAX_CANDIDATES];
    size_t n;
    bool too_many;
    oriel_status status;
    char path[MAX_PATH_TEXT];
} search;

/* ---- prefixes ---------------------------------------------------------------------------------
 */

static bool starts(ckpt_text name, size_t strip, const char *prefix)
{
    size_t n = strlen(prefix);
    return name.n > strip + n && !memcmp(name.s + strip, prefix, n);
}

/* Strip what all names share, until a fingerprint matches or nothing is shared. Between the first
 * and the last of sorted names, all have the prefix that these two have. */
static size_t strip_shared(const ckpt_text *sorted, size_t n, size_t strip, ckpt_arch *arch)
{
    for (bool again = true; again;) {
        again = false;
        if ((*arch = ckpt_detect(sorted, n, strip)))
            break;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && !again; i++)
            if (n && starts(sorted[0], strip, prefixes[i]) &&
                starts(sorted[n - 1], strip, prefixes[i])) {
                strip += strlen(prefixes[i]);
                again = true;
            }
    }
    return strip;
}

/* The prefix of sorted names, and the architecture. One that only some have counts if a fingerprint
 * is below it: the network inside a training program's module. */
static ckpt_text find_prefix(const ckpt_text *sorted, size_t n, ckpt_arch *arch)
{
    size_t strip = strip_shared(sorted, n, 0, arch);
    for (size_t i = 0; !*arch && i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t lo = 0, hi;
        while (lo < n && !starts(sorted[lo], strip, prefixes[i]))
            lo++;
        for (hi = lo; hi < n && starts(sorted[hi], strip, prefixes[i]);)
            hi++;
        size_t more = strip + strlen(prefixes[i]);
        if (lo < hi)
            more = strip_shared(sorted + lo, hi - lo, more, arch);
        if (*arch)
            return (ckpt_text){sorted[lo].s, more};
    }
    return n ? (ckpt_text){sorted[0].s, strip} : (ckpt_text){"", 0};
}

static int by_text(const void *a, const void *b)
{
    const ckpt_text *x = a, *y = b;
    return ckpt_text_cmp(*x, *y);
}

/* ---- candidates -------------------------------------------------------------------------------
 */

static oriel_status check_name(ckpt_text name)
{
    if (name.n && name.n <= CKPT_MAX_NAME && !memchr(name.s, 0, name.n))
        return ORIEL_OK;
    return oriel_fail(ORIEL_E_FORMAT,
                      "a tensor's name that is empty, has a zero byte or is over "
                      "1024 bytes: \"%s\"",
                      SHOWN(name));
}

/* Sort the names, none of which may come twice, and look at them. */
static oriel_status survey(ckpt_text *name, size_t n, ckpt_text *prefix, ckpt_arch *arch)
{
    if (n)
        qsort(name, n, sizeof *name, by_text);
    for (size_t i = 1; i < n; i++)
        if (!by_text(&name[i - 1], &name[i]))
            return oriel_fail(ORIEL_E_FORMAT, "two tensors named %s", SHOWN(name[i]));
    *prefix = find_prefix(name, n, arch);
    return ORIEL_OK;
}

static bool is_named_tensor(const pk_node *key, const pk_node *value)
{
    return key->kind == PK_STR && torch_is_tensor(value);
}

/* A dictionary with tensors in it becomes a candidate. */
static void consider(search *s, const pk_node *dict, size_t tensors)
{
    if (s->n == MAX_CANDIDATES) {
        s->too_many = true;
        return;
    }
    candidate *k = &s->found[s->n];
    *k = (candidate){.dict = dict, .tensors = tensors};
    k->path = ckpt_take_text(&s->c->mem, s->path, strlen(s->path));
    size_t bytes, n = 0, length = 0;
    ckpt_text *name = oriel_mul_ok(tensors, sizeof *name, &bytes) ? oriel_alloc(bytes) : NULL;
    if (!k->path || !name)
        s->status = ORIEL_E_NOMEM;
    for (size_t i = 0; i < dict->n && !s->status; i += 2) {
        if (!is_named_tensor(dict->u.item[i], dict->u.item[i + 1]))
            continue;
        name[n] = pk_text(dict->u.item[i]);
        s->status = check_name(name[n]);
        length += name[n++].n;
        if (!s->status && length > s->c->pickle_bytes)
            s->status = oriel_fail(ORIEL_E_FORMAT, "pickle: more names than the file could hold");
    }
    if (!s->status)
        s->status = survey(name, n, &k->prefix, &k->arch);
    oriel_dealloc(name);
    s->n++;
}

/* Walk dictionaries of dictionaries. Each is seen once, however often it is referred to. */
static void walk(search *s, pk_node *dict, int level)
{
    if (dict->seen || s->status)
        return;
    dict->seen = 1;
    size_t tensors = 0, end = strlen(s->path);
    for (size_t i = 0; i < dict->n; i += 2)
        tensors += is_named_tensor(dict->u.item[i], dict->u.item[i + 1]);
    if (tensors)
        consider(s, dict, tensors);
    for (size_t i = 0; i < dict->n && level < MAX_LEVEL; i += 2) {
        const pk_node *key = dict->u.item[i];
        pk_node *value = dict->u.item[i + 1];
        if (value->kind == PK_OBJECT) /* a subclass of dict */
            value = value->u.obj->items;
        ckpt_text t = pk_text(key);
        if (key->kind != PK_STR || !value || value->kind != PK_DICT || !t.n ||
            memchr(t.s, 0, t.n) || end + t.n + 2 > sizeof s->path)
            continue;
        snprintf(s->path + end, sizeof s->path - end, "%s%.*s", end ? "." : "", (int)t.n, t.s);
        walk(s, value, level + 1);
        s->path[end] = 0;
    }
}

static size_t rank(const char *path)
{
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
    size_t n = sizeof preferred / sizeof *preferred;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(strchr(preferred[i], '.') ? path : last, preferred[i]))
            return i;
    return n;
}

/* A known architecture, then enough tensors, then the better name, then the first. */
static const candidate *choose(const search *s)
{
    size_t most = 0;
    for (size_t i = 0; i < s->n; i++)
        most = s->found[i].tensors > most ? s->found[i].tensors : most;
    const candidate *best = NULL;
    size_t best_score = SIZE_MAX;
    for (size_t i = 0; i < s->n; i++) {
        const candidate *k = &s->found[i];
        size_t score = rank(k->path) + (k->arch ? 0 : 1000) + (k->tensors >= most / 2 ? 0 : 100);
        if (score < best_score) {
            best = k;
            best_score = score;
        }
    }
    return best;
}

/* The paths of the candidates but one, comma separated, cut with "..." */
static const char *list_keys(search *s, const candidate *but)
{
    char buf[1024];
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const candidate *k = &s->found[i];
        const char *path = *k->path ? k->path : "(root)";
        if (k == but)
            continue;
        if (n + strlen(path) + 8 > sizeof buf) {
            n += (size_t)snprintf(buf + n, sizeof buf - n, ", ...");
            break;
        }
        n += (size_t)snprintf(buf + n, sizeof buf - n, "%s%s", n ? ", " : "", path);
    }
    return ckpt_take_text(&s->c->mem, buf, n);
}

/* ---- filling the checkpoint -------------------------------------------------------------------
 */

static oriel_status fill(oriel_checkpoint *c, const torch_source *src, const candidate *k)
{
    c->entry = ckpt_take_array(&c->mem, k->tensors, sizeof *c->entry);
    if (!c->entry)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < k->dict->n; i += 2) {
        const pk_node *key = k->dict->u.item[i], *value = k->dict->u.item[i + 1];
        ckpt_text name = pk_text(key);
        if (key->kind == PK_STR && value->kind == PK_OBJECT && !torch_is_tensor(value))
            oriel_logf(ORIEL_LOG_WARN, "%s is left out: made by %s, which is not read", SHOWN(name),
                       pk_class(value).s);
        if (!is_named_tensor(key, value) || name.n < k->prefix.n ||
            memcmp(name.s, k->prefix.s, k->prefix.n) != 0)
            continue;
        ckpt_entry *e = &c->entry[c->entries];
        const char *why = "";
        e->name = ckpt_take_text(&c->mem, name.s + k->prefix.n, name.n - k->prefix.n);
        if (!e->name)
            return ORIEL_E_NOMEM;
        oriel_status s = torch_resolve(&c->mem, src, value, e->name, &e->tensor, &why);
        if (s == ORIEL_EOF)
            oriel_logf(ORIEL_LOG_WARN, "tensor %s is left out: %s", SHOWN(name), why);
        else if (s)
            return s;
        else
            c->entries++;
    }
    return ORIEL_OK;
}

static oriel_status no_candidate(const search *s)
{
    const pk_node *root = s->c->root;
    if (root->kind == PK_OBJECT && pk_get(root, (ckpt_text){"_modules", 8}))
        return oriel_fail(ORIEL_E_UNSUPPORTED,
                          "a whole pickled module (%s), which only its own program can load: save "
                          "its state_dict()",
                          pk_class(root).s);
    return oriel_fail(ORIEL_E_FORMAT, "no dictionary of tensors in the file%s%s",
                      root->kind == PK_OBJECT ? ", whose object is a " : "",
                      root->kind == PK_OBJECT ? pk_class(root).s : "");
}

static oriel_status unwrap(search *s, const torch_source *src, const char *key)
{
    oriel_checkpoint *c = s->c;
    pk_node *root = (pk_node *)(uintptr_t)c->root; /* walk() marks what it has seen */
    if (root->kind == PK_OBJECT && root->u.obj->items)
        root = root->u.obj->items;
    if (root->kind == PK_DICT)
        walk(s, root, 0);
    if (s->status)
        return s->status;
    if (s->too_many)
        oriel_logf(ORIEL_LOG_WARN, "over 64 dictionaries with tensors; the rest is not looked at");
    const candidate *best = key ? NULL : choose(s);
    for (size_t i = 0; key && i < s->n; i++)
        if (!strcmp(key, s->found[i].path))
            best = &s->found[i];
    const char *others = list_keys(s, best);
    if (!others)
        return ORIEL_E_NOMEM;
    if (!s->n)
        return no_candidate(s);
    if (!best)
        return oriel_fail(ORIEL_E_ARG, "no dictionary %s with tensors; there are: %s",
                          *key ? SHOWN(((ckpt_text){key, strlen(key)})) : "(root)", others);
    c->key = best->path;
    c->other_keys = others;
    c->arch = best->arch;
    return fill(c, src, best);
}

oriel_status ckpt_unwrap(oriel_checkpoint *c, const torch_source *src, const char *key)
{
    search *s = oriel_alloc_zero(1, sizeof *s);
    if (!s)
        return ORIEL_E_NOMEM;
    s->c = c;
    oriel_status st = unwrap(s, src, key);
    oriel_dealloc(s);
    return st;
}

oriel_status ckpt_settle(oriel_checkpoint *c)
{
    size_t bytes;
    ckpt_text *name = oriel_mul_ok(c->entries, sizeof *name, &bytes) ? oriel_alloc(bytes) : NULL;
    if (!name)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < c->entries; i++)
        name[i] = (ckpt_text){c->entry[i].name, strlen(c->entry[i].name)};
    ckpt_text prefix;
    oriel_status s = survey(name, c->entries, &prefix, &c->arch);
    oriel_dealloc(name);
    if (s)
        return s;
    size_t kept = 0;
    for (size_t i = 0; i < c->entries; i++)
        if (!strncmp(c->entry[i].name, prefix.s, prefix.n)) {
            c->entry[kept] = c->entry[i];
            c->entry[kept++].name += prefix.n;
        }
    c->entries = kept;
    return ORIEL_OK;
}
