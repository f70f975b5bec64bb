/* SPDX-License-Identifier: Apache-2.0 */
/* The oriel command: a table of commands. */
#include <stdio.h>
#include <string.h>

#include <oriel/core.h>
#include <oriel/video.h>

#include "args.h"
#include "tool.h"

typedef struct command {
    const char *name, *args, *what;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"upscale", "IN... -o OUT", "enlarge pictures and clips", cmd_upscale},
    {"restore", "IN... -o OUT", "remove noise or JPEG artefacts from pictures and clips",
     cmd_restore},
    {"compare", "A B", "measure how far pictures differ: PSNR, SSIM", cmd_compare},
    {"info", "FILE...", "describe checkpoints (architecture, parameters, SHA-256) and clips",
     cmd_info},
    {"bench", "upscale|attn", "measure how long a network takes on this machine, or attention",
     cmd_bench},
    {"version", "", "print the version, the CPU's features, the threads, GPUs, FFmpeg",
     cmd_version},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, commands[i].name))
            return &commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = args_nearest(name, names, COMMANDS);
    if (near)
        return args_misused(NULL, "no command '%s'; is '%s' meant?", name, near);
    return args_misused(NULL, "no command '%s'", name);
}

static void list(FILE *to)
{
    fprintf(to, "usage: oriel COMMAND ...\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  oriel %-8s %-14s %s\n", commands[i].name, commands[i].args,
                commands[i].what);
    fprintf(to, "  oriel %-8s %-14s %s\n", "help", "[COMMAND]",
            "print this, or what COMMAND takes");
    fprintf(
        to,
        "\nexit codes: 0 all done, 1 some inputs failed, 2 misused, 3 trouble with the model\n");
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        list(stdout);
        return EXIT_DONE;
    }
    const command *c = find(argv[1]);
    if (!c)
        return unknown(argv[1]);
    char option[] = "--help";
    char *asked[] = {argv[1], option, NULL};
    return c->run(2, asked);
}

/* The GPUs that can be used, or why there is none. */
static void list_gpus(void)
{
    enum { MOST = 16 };
    trouble why = {""};
    int found = 0;
    for (int i = 0; i < MOST; i++) {
        oriel_device_options opt = {ORIEL_CUDA, 0, i};
        oriel_device *device = NULL;
        size_t left, all;
        char text[2][32];
        if (oriel_device_open(&device, &opt) || oriel_memory_info(device, &left, &all)) {
            trouble_set(&why, "%s", oriel_error());
        } else {
            printf("gpu: %s, %s of %s free\n", oriel_device_name(device),
                   bytes_text(left, text[0], sizeof text[0]),
                   bytes_text(all, text[1], sizeof text[1]));
            found++;
        }
        oriel_device_free(&device);
    }
    if (!found)
        printf("gpu: none (%s)\n", why.text);
}

int cmd_version(int argc, char **argv)
{
    const arg_option options[] = {ARG_END};
    const arg_command self = {"version", "", find("version")->what, NULL, options, 0, 0};
    oriel_device *device = NULL;
    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON)
        return code;
    if (oriel_device_open(&device, NULL)) {
        fprintf(stderr, "oriel: %s\n", oriel_error());
        return EXIT_SOME_FAILED;
    }
    printf("oriel %s, %s\n", oriel_version(), oriel_device_name(device));
    list_gpus();
    printf("video: %s\n", oriel_video_backend());
    oriel_device_free(&device);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        list(stderr);
        return EXIT_MISUSED;
    }
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return help(argc - 1, argv + 1);
    if (!strcmp(argv[1], "--version")) {
        printf("oriel %s\n", oriel_version());
        return EXIT_DONE;
    }
    const command *c = find(argv[1]);
    return c ? c->run(argc - 1, argv + 1) : unknown(argv[1]);
}
