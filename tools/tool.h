/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: their entry points and small helpers. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* argv[0] is the command's name. Each returns the exit code (args.h). */
int cmd_upscale(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* Why something did not work, for people; the first reason stays. */
typedef struct trouble {
    char text[1024];
} trouble;

/* Note the reason and return false. */
bool trouble_set(trouble *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with the library's text, which may or may not begin with the file's name. */
bool trouble_of_file(trouble *t, const char *path);

/* Quoted and escaped; bytes that are not UTF-8 become U+FFFD. NULL prints null. */
void json_string(FILE *to, const char *text);
/* A number, or null where it is not finite. */
void json_number(FILE *to, double x, int decimals);

/* malloc() and strdup() of a command: out of memory ends the program with a message. */
void *need(size_t count, size_t size); /* cleared */
char *need_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "3.2 MiB" into buf (32 bytes suffice); returns buf. */
const char *bytes_text(uint64_t bytes, char *buf, size_t size);

/* Bytes that a run may still take: what the machine has free and the limits set on this process
 * group leave; UINT64_MAX if neither is known. */
uint64_t memory_available(void);

double seconds_now(void); /* a clock that only goes forward */

/* Whether path is a folder; false also if it does not exist. */
bool is_folder(const char *path);
/* The file's name inside path: "a.png" of "x/a.png". */
const char *base_name(const char *path);
/* ".png" of "x/a.png", "" if there is none. */
const char *extension(const char *path);
/* Make the folders above the file `path`. */
bool make_parents(const char *path, trouble *why);

#endif
