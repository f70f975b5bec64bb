/* SPDX-License-Identifier: Apache-2.0 */
/* The pickle machine's hands: making nodes, and saying what a call would have made. */
#ifndef MODELS_CHECKPOINT_PICKLE_CALL_H
#define MODELS_CHECKPOINT_PICKLE_CALL_H

#include "models/checkpoint/pickle.h"

typedef struct pk_maker {
    ckpt_mem *mem;
    oriel_status status; /* sticky; when it is not ORIEL_OK all of these return NULL */
    size_t nodes_left;   /* a node is paid for by a byte of pickle */
    size_t copies_left;  /* and so is an item copied from one container into another */
} pk_maker;

pk_node *pk_new(pk_maker *m, pk_kind kind);
pk_node *pk_new_bool(pk_maker *m, bool b);
pk_node *pk_new_int(pk_maker *m, int64_t i);
pk_node *pk_new_float(pk_maker *m, double f);
pk_node *pk_new_text(pk_maker *m, pk_kind kind, const char *s, size_t n);
pk_node *pk_new_object(pk_maker *m, pk_kind kind, pk_node *cls, pk_node *args);
pk_node *pk_new_global(pk_maker *m, pk_node *module, pk_node *name);

void pk_append(pk_maker *m, pk_node *to, pk_node **item, size_t n);
/* Keys and values by turns into a dict, or into the items of an object that is one. */
void pk_set_items(pk_maker *m, pk_node *to, pk_node **item, size_t n);
/* What callee(*args) would make; level counts calls within calls. */
pk_node *pk_call(pk_maker *m, pk_node *callee, pk_node *args, int level);

#endif
