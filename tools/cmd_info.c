/* SPDX-License-Identifier: Apache-2.0 */
/* oriel info: what is in a checkpoint, or what a clip is. */
#include <inttypes.h>
#include <string.h>

#include <oriel/models.h>

#include "args.h"
#include "cmd_info_clip.h"
#include "kind.h"
#include "tool.h"

typedef struct info {
    oriel_checkpoint_options opt;
    bool json, tensors;
} info;

static const char more[] =
    "FILE is safetensors, an .index.json of several, or what torch.save() wrote (a state_dict, in "
    "a\n"
    "zip or in the older format); - is the standard input. Nothing in a file is executed. A file "
    "may\n"
    "hold several dictionaries of tensors (params and params_ema, say): the one that would be run "
    "is\n"
    "described, --key takes another. Buffers such as attn_mask are no parameters. Of an index, "
    "the\n"
    "SHA-256 is that of its shards' digests, in the order of their names.\n"
    "Of a clip: container, codec, size, format, colour (in JSON code points of ITU-T H.273), rate.\n"
    "\n"
    "exit codes: 0 all described, 1 some files could not be read, 2 misused, 3 none could\n";

/* What a file says may hold anything: a terminal gets no control characters. */
static void print_text(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void print_row(const char *what, const char *text)
{
    printf("  %-14s", what);
    print_text(text);
    putchar('\n');
}

static void print_architecture(const oriel_checkpoint_info *i)
{
    if (!i->architecture) {
        printf("  %-14sunknown, keys look like ", "architecture");
        print_text(i->sample_keys);
        putchar('\n');
        return;
    }
    printf("  %-14s%s (%s)\n", "architecture", i->architecture,
           i->runnable ? "runs" : "this version does not run it");
    if (i->details[0])
        print_row("details", i->details);
}

static bool print_tensors(const oriel_checkpoint *c, const oriel_checkpoint_info *i)
{
    for (int64_t k = 0; k < i->tensors; k++) {
        const char *name;
        char text[256];
        oriel_tensor t;
        if (oriel_checkpoint_tensor(c, k, &name, &t))
            return false;
        printf("  ");
        print_text(name);
        printf("  %s\n", oriel_tensor_str(&t, text, sizeof text));
    }
    return true;
}

static bool print_for_people(const char *path, const oriel_checkpoint *c,
                             const oriel_checkpoint_info *i, bool tensors)
{
    char text[32];
    print_text(path);
    printf("\n");
    print_row("format", i->format);
    print_architecture(i);
    if (i->key[0])
        print_row("dictionary", i->key);
    if (i->other_keys[0])
        print_row("others", i->other_keys);
    printf("  %-14s%" PRId64 "\n", "tensors", i->tensors);
    printf("  %-14s%" PRId64 " (%.3f M)\n", "parameters", i->parameters,
           (double)i->parameters / 1e6);
    printf("  %-14s%" PRIu64 " bytes (%s)\n", "size", i->bytes,
           bytes_text(i->bytes, text, sizeof text));
    if (i->sha256[0])
        print_row("sha256", i->sha256);
    return !tensors || print_tensors(c, i);
}

static void json_field(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    json_string(stdout, text);
}

static bool json_tensors(const oriel_checkpoint *c, const oriel_checkpoint_info *i)
{
    printf(",\"list\":[");
    for (int64_t k = 0; k < i->tensors; k++) {
        const char *name;
        oriel_tensor t;
        if (oriel_checkpoint_tensor(c, k, &name, &t))
            return false;
        printf("%s{\"name\":", k ? "," : "");
        json_string(stdout, name);
        printf(",\"dtype\":\"%s\",\"shape\":[", oriel_dtype_name(t.dtype));
        for (int d = 0; d < t.ndim; d++)
            printf("%s%" PRId64, d ? "," : "", t.shape[d]);
        printf("]}");
    }
    printf("]");
    return true;
}

static bool print_json(const char *path, const oriel_checkpoint *c, const oriel_checkpoint_info *i,
                       bool tensors)
{
    printf("{\"file\":");
    json_string(stdout, path);
    json_field("format", i->format);
    json_field("architecture", i->architecture);
    json_field("details", i->details);
    printf(",\"runnable\":%s", i->runnable ? "true" : "false");
    json_field("key", i->key);
    json_field("other_keys", i->other_keys);
    json_field("sample_keys", i->sample_keys);
    printf(",\"tensors\":%" PRId64 ",\"parameters\":%" PRId64 ",\"bytes\":%" PRIu64, i->tensors,
           i->parameters, i->bytes);
    json_field("sha256", i->sha256[0] ? i->sha256 : NULL);
    bool ok = !tensors || json_tensors(c, i);
    printf("}\n");
    return ok;
}

static bool describe(const info *o, const char *path)
{
    oriel_checkpoint *c = NULL;
    oriel_checkpoint_info i;
    bool clip = kind_of(path) == KIND_CLIP;
    bool ok = clip ? info_clip(path, o->json)
                   : !oriel_checkpoint_open(&c, strcmp(path, "-") ? path : "/dev/stdin", &o->opt);
    if (ok && !clip) {
        oriel_checkpoint_describe(c, &i);
        ok = o->json ? print_json(path, c, &i, o->tensors)
                     : print_for_people(path, c, &i, o->tensors);
    }
    if (!ok) {
        fprintf(stderr, "oriel: %s: %s\n", path, oriel_error());
        if (o->json) {
            printf("{\"file\":");
            json_string(stdout, path);
            json_field("error", oriel_error());
            printf("}\n");
        }
    }
    oriel_checkpoint_free(&c);
    return ok;
}

/* Tensors that are left out are said to be, in the library's words. */
static void tell(void *user, oriel_log_level level, const char *text)
{
    (void)user, (void)level;
    fprintf(stderr, "oriel: %s\n", text);
}

int cmd_info(int argc, char **argv)
{
    info o = {0};
    bool no_hash = false, hash = false;
    const arg_option options[] = {
        ARG_TEXT("key", 'k', &o.opt.key, "KEY",
                 "describe this dictionary of the file, params_ema say"),
        ARG_FLAG("tensors", 't', &o.tensors, "list the tensors too"),
        ARG_FLAG("sha256", 0, &hash, "compute the SHA-256; the default"),
        ARG_FLAG("no-sha256", 0, &no_hash, "do not: it reads the whole file"),
        ARG_FLAG("json", 0, &o.json, "one JSON object a line"),
        ARG_END,
    };
    const arg_command self = {"info", "FILE...", "Describe checkpoints and clips.", more, options,
                              1,      -1};
    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON)
        return code;
    if (hash && no_hash)
        return args_misused("info", "--sha256 and --no-sha256");
    o.opt.sha256 = !no_hash;
    oriel_log_set(tell, NULL, ORIEL_LOG_WARN);
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed += !describe(&o, argv[i]);
    if (!failed)
        return EXIT_DONE;
    return failed == argc - 1 ? EXIT_MODEL : EXIT_SOME_FAILED;
}
