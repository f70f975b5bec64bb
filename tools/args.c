/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 64, MAX_WORD = 32, HELP_COLUMN = 30 };

int args_misused(const char *command, const char *format, ...)
{
    va_list ap;
    fprintf(stderr, "oriel%s%s: ", command ? " " : "", command ? command : "");
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    if (command)
        fprintf(stderr, "\n'oriel %s --help' tells what it takes\n", command);
    else
        fprintf(stderr, "\n'oriel help' lists the commands\n");
    return EXIT_MISUSED;
}

/* Levenshtein's distance of two words, neither longer than MAX_WORD. */
static int edit_distance(const char *a, const char *b)
{
    int row[MAX_WORD + 1];
    int na = (int)strlen(a), nb = (int)strlen(b);
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[nb];
}

const char *args_nearest(const char *word, const char *const *list, int count)
{
    const char *nearest = NULL;
    int least = 1 + (int)strlen(word) / 3; /* "--tread" is near "--threads", "--q" is not */
    if (!word[0] || strlen(word) > MAX_WORD)
        return NULL;
    for (int i = 0; i < count; i++) {
        if (strlen(list[i]) > MAX_WORD)
            continue;
        int d = edit_distance(word, list[i]);
        if (strlen(word) >= 3 && !strncmp(word, list[i], strlen(word)))
            d = 0; /* the beginning of a name */
        if (d < least || (d == least && !nearest)) {
            least = d;
            nearest = list[i];
        }
    }
    return nearest;
}

/* ---- help --------------------------------------------------------------------------------- */

static void print_option(const char *name, char letter, const char *meta, const char *help)
{
    char left[128];
    int n =
        snprintf(left, sizeof left, "  %c%c%c --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
                 letter ? ',' : ' ', name, meta ? " " : "", meta ? meta : "");
    printf("%-*s", HELP_COLUMN, left);
    if (n >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    for (; *help; help++) {
        putchar(*help);
        if (*help == '\n')
            printf("%*s", HELP_COLUMN, "");
    }
    putchar('\n');
}

void args_help(const arg_command *c)
{
    printf("usage: oriel %s [OPTION]...%s%s\n\n%s\n\n", c->name, c->args[0] ? " " : "", c->args,
           c->what);
    for (const arg_option *o = c->options; o->name; o++)
        print_option(o->name, o->letter, o->meta, o->help);
    print_option("help", 'h', NULL, "print this");
    if (c->more)
        printf("\n%s", c->more);
}

/* ---- parsing ------------------------------------------------------------------------------ */

typedef struct parser {
    const arg_command *command;
    int argc, at, operands;
    char **argv;
} parser;

static int unknown_option(const parser *p, const char *name)
{
    const char *names[MAX_OPTIONS];
    int count = 0;
    for (const arg_option *o = p->command->options; o->name && count < MAX_OPTIONS; o++)
        names[count++] = o->name;
    const char *near = args_nearest(name, names, count);
    if (near)
        return args_misused(p->command->name, "no option --%s; is --%s meant?", name, near);
    return args_misused(p->command->name, "no option --%s", name);
}

static int set_choice(const parser *p, const arg_option *o, const char *shown, const char *text)
{
    size_t length = strlen(text);
    int index = 0;
    for (const char *word = o->meta; word; index++) {
        const char *bar = strchr(word, '|');
        size_t n = bar ? (size_t)(bar - word) : strlen(word);
        if (n == length && !memcmp(word, text, n)) {
            *(int *)o->value = index;
            return ARGS_GO_ON;
        }
        word = bar ? bar + 1 : NULL;
    }
    return args_misused(p->command->name, "%s is one of %s, not '%s'", shown, o->meta, text);
}

static int set_number(const parser *p, const arg_option *o, const char *shown, const char *text)
{
    char *end;
    double x;
    errno = 0;
    x = o->kind == ARG_KIND_INT ? (double)strtol(text, &end, 10) : strtod(text, &end);
    if (end == text || *end || errno || !isfinite(x))
        return args_misused(p->command->name, "%s takes a %snumber, not '%s'", shown,
                            o->kind == ARG_KIND_INT ? "whole " : "", text);
    if (x < o->min || x > o->max)
        return args_misused(p->command->name, "%s is from %.10g to %.10g, not %s", shown, o->min,
                            o->max, text);
    if (o->kind == ARG_KIND_INT)
        *(int *)o->value = (int)x;
    else
        *(double *)o->value = x;
    return ARGS_GO_ON;
}

/* Give option o the value that is attached to it ("--tile=64", "-o64"), or else the next argument.
 */
static int set_option(parser *p, const arg_option *o, const char *shown, const char *attached)
{
    if (o->kind == ARG_KIND_FLAG) {
        if (attached)
            return args_misused(p->command->name, "%s takes no value", shown);
        *(bool *)o->value = true;
        return ARGS_GO_ON;
    }
    if (!attached) {
        if (p->at + 1 >= p->argc)
            return args_misused(p->command->name, "%s needs a value: %s", shown, o->meta);
        attached = p->argv[++p->at];
    }
    switch (o->kind) {
    case ARG_KIND_CHOICE:
        return set_choice(p, o, shown, attached);
    case ARG_KIND_TEXT:
        if (!attached[0])
            return args_misused(p->command->name, "%s has an empty value", shown);
        *(const char **)o->value = attached;
        return ARGS_GO_ON;
    default:
        return set_number(p, o, shown, attached);
    }
}

static int parse_long(parser *p, char *arg)
{
    char *name = arg + 2, *equals = strchr(name, '=');
    char shown[MAX_WORD + 4];
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    if (!strcmp(name, "help")) {
        args_help(p->command);
        return EXIT_DONE;
    }
    for (const arg_option *o = p->command->options; o->name; o++) {
        if (strlen(o->name) == length && !memcmp(o->name, name, length)) {
            snprintf(shown, sizeof shown, "--%s", o->name);
            return set_option(p, o, shown, equals ? equals + 1 : NULL);
        }
    }
    if (equals)
        *equals = 0;
    return unknown_option(p, name);
}

/* One or several letters: -r, -rf, -o OUT, -oOUT. */
static int parse_letters(parser *p, char *arg)
{
    for (char *letter = arg + 1; *letter; letter++) {
        const arg_option *o = p->command->options;
        char shown[3] = {'-', *letter, 0};
        if (*letter == 'h') {
            args_help(p->command);
            return EXIT_DONE;
        }
        while (o->name && o->letter != *letter)
            o++;
        if (!o->name)
            return args_misused(p->command->name, "no option %s", shown);
        bool takes_rest = o->kind != ARG_KIND_FLAG;
        int code = set_option(p, o, shown, takes_rest && letter[1] ? letter + 1 : NULL);
        if (code != ARGS_GO_ON || takes_rest)
            return code;
    }
    return ARGS_GO_ON;
}

int args_parse(const arg_command *c, int *argc, char **argv)
{
    parser p = {c, *argc, 1, 0, argv};
    bool all_operands = false;
    for (; p.at < p.argc; p.at++) {
        char *arg = argv[p.at];
        int code = ARGS_GO_ON;
        if (all_operands || arg[0] != '-' || !arg[1])
            argv[1 + p.operands++] = arg;
        else if (!strcmp(arg, "--"))
            all_operands = true;
        else
            code = arg[1] == '-' ? parse_long(&p, arg) : parse_letters(&p, arg);
        if (code != ARGS_GO_ON)
            return code;
    }
    *argc = 1 + p.operands;
    if (p.operands < c->least)
        return args_misused(c->name, p.operands ? "more is needed: %s" : "nothing given: %s",
                            c->args);
    if (c->most >= 0 && p.operands > c->most)
        return args_misused(c->name, "'%s' is one too many: %s", argv[1 + c->most], c->args);
    return ARGS_GO_ON;
}
