/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

/*
 * Command lines. A command is one table of options: args_parse() fills the values that the table
 * points at, and --help prints the same table.
 *
 *     bool json = false;
 *     int  crop = 0;
 *     const arg_option options[] = {
 *         ARG_FLAG("json", 0, &json, "print JSON"),
 *         ARG_INT("crop", 0, &crop, "N", 0, 4096, "leave out N pixels at each border"),
 *         ARG_END,
 *     };
 *     const arg_command self = {"compare", "A B", "measure ...", NULL, options, 2, 2};
 *     int exit_code = args_parse(&self, &argc, argv);
 *     if (exit_code != ARGS_GO_ON)
 *         return exit_code;
 *     // argv[1] .. argv[argc - 1] are the operands
 */

#include <stdbool.h>

/* What a command returns to the shell. */
enum { EXIT_DONE = 0, EXIT_SOME_FAILED = 1, EXIT_MISUSED = 2, EXIT_MODEL = 3 };

typedef enum arg_kind {
    ARG_KIND_FLAG,
    ARG_KIND_INT,
    ARG_KIND_REAL,
    ARG_KIND_TEXT,
    ARG_KIND_CHOICE
} arg_kind;

typedef struct arg_option {
    const char *name; /* long name without "--"; NULL ends the table */
    char letter;      /* 0: no short name */
    arg_kind kind;
    void *value;      /* bool, int, double, const char *, int (the index of the choice) */
    const char *meta; /* the value in --help; of a choice its words: "auto|bar|json|none" */
    double min, max;  /* of INT and REAL, both allowed */
    const char *help; /* begins in lower case, without a full stop; "\n" breaks a line */
} arg_option;

#define ARG_FLAG(name, letter, value, help)                                                        \
    {                                                                                              \
        name, letter, ARG_KIND_FLAG, value, NULL, 0, 0, help                                       \
    }
#define ARG_INT(name, letter, value, meta, min, max, help)                                         \
    {                                                                                              \
        name, letter, ARG_KIND_INT, value, meta, min, max, help                                    \
    }
#define ARG_REAL(name, letter, value, meta, min, max, help)                                        \
    {                                                                                              \
        name, letter, ARG_KIND_REAL, value, meta, min, max, help                                   \
    }
#define ARG_TEXT(name, letter, value, meta, help)                                                  \
    {                                                                                              \
        name, letter, ARG_KIND_TEXT, value, meta, 0, 0, help                                       \
    }
#define ARG_CHOICE(name, letter, value, words, help)                                               \
    {                                                                                              \
        name, letter, ARG_KIND_CHOICE, value, words, 0, 0, help                                    \
    }
#define ARG_END                                                                                    \
    {                                                                                              \
        NULL, 0, ARG_KIND_FLAG, NULL, NULL, 0, 0, NULL                                             \
    }

typedef struct arg_command {
    const char *name; /* "upscale" */
    const char *args; /* "IN... -o OUT" */
    const char *what; /* one line */
    const char *more; /* text under the options, lines ended by "\n"; or NULL */
    const arg_option *options;
    int least, most; /* operands; most < 0: any number */
} arg_command;

enum { ARGS_GO_ON = -1 };

/* Parse argv[1] .. argv[argc - 1] (argv[0] is the command's name) into the values of c->options and
 * move the operands to argv[1] and on; *argc then counts argv[0] and the operands. "-" is an
 * operand; after "--" all are. Returns ARGS_GO_ON, or the exit code after --help or a misuse, both
 * already told to the user. */
int args_parse(const arg_command *c, int *argc, char **argv);

void args_help(const arg_command *c);

/* "oriel upscale: TEXT" and where to find help, on stderr; returns EXIT_MISUSED. */
int args_misused(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The word of the list nearest to `word`, or NULL if none is near. */
const char *args_nearest(const char *word, const char *const *list, int count);

#endif
