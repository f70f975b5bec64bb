/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of bench, each with options of its own; argv[0] is the kind. */
#ifndef TOOLS_CMD_BENCH_H
#define TOOLS_CMD_BENCH_H

int bench_attn(int argc, char **argv);

#endif
