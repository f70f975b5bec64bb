/* SPDX-License-Identifier: Apache-2.0 */
/* Small SwinIR checkpoints with hash weights, by the rule of golden/make_swinir_golden.py; and ones
 * with a fault. */
#ifndef TESTS_SWINIR_NET_H
#define TESTS_SWINIR_NET_H

#include <stdbool.h>
#include <stddef.h>

typedef struct swinir_net {
    char name[32], up[32]; /* "pixelshuffle", "pixelshuffledirect", "nearest+conv", "none" */
    int  scale, channels, embed, heads, window, hidden, three, depth[2];
} swinir_net;

typedef struct swinir_fault {
    const char *drop;       /* leave out the tensor of this name */
    const char *grow;       /* make this tensor one longer along axis `grow_axis` */
    int         grow_axis;
    const char *extra;      /* add an empty (1) tensor of this name */
} swinir_fault;

/* Write net as safetensors; false (with a message) if the file cannot be written or the fault names
 * no tensor. fault may be NULL. */
bool swinir_net_write(const swinir_net *net, const char *path, const swinir_fault *fault);

/* Names of the tensors, for each fault there is; NULL behind the last. */
const char *swinir_net_tensor(const swinir_net *net, int index);

#endif
