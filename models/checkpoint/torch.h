/* SPDX-License-Identifier: Apache-2.0 */
/* From a Python object to named tensors: where storages lie, how a tensor views one, which
 * dictionary of the object is the state. */
#ifndef MODELS_CHECKPOINT_TORCH_H
#define MODELS_CHECKPOINT_TORCH_H

#include "models/checkpoint/pickle.h"

/* Where the bytes of storages come from: an entry of a zip, or the tail of a legacy file. */
typedef struct torch_source {
    /* The bytes of storage `key`, whose elements are of `item` bytes (for those files whose bytes
     * must be swapped). */
    oriel_status (*find)(void *user, ckpt_text key, size_t item, const unsigned char **data,
                         size_t *size);
    void *user;
} torch_source;

/* What a persistent id says: ('storage', FloatStorage, '0', 'cpu', 1234) */
typedef struct torch_storage {
    ckpt_text key;
    oriel_dtype dtype; /* ORIEL_DTYPE_COUNT: not one of ours */
    size_t item;       /* bytes an element; 0 if the type is unknown */
    int64_t count;
} torch_storage;
/* false, with no text, if it says anything else */
bool torch_storage_read(const pk_node *storage, torch_storage *s);

/* Is this value a tensor of torch or an array of numpy? */
bool torch_is_tensor(const pk_node *n);

/* The view that a tensor node describes, checked against its storage. ORIEL_EOF: it is well formed,
 * but of a type or of a number of axes that we do not have; *why says so. */
oriel_status torch_resolve(ckpt_mem *mem, const torch_source *src, const pk_node *n,
                           const char *name, oriel_tensor *t, const char **why);
/* The same for an array of numpy, whose bytes are in the pickle. */
oriel_status numpy_resolve(ckpt_mem *mem, const pk_node *n, const char *name, oriel_tensor *t,
                           const char **why);
/* Does [offset, ...) with t's shape and strides stay within count elements? Sets the error text. */
oriel_status torch_check_view(const oriel_tensor *t, int64_t offset, int64_t count,
                              const char *name);

/* Choose the dictionary of c->root that holds the state, and fill c's entries from it. */
oriel_status ckpt_unwrap(oriel_checkpoint *c, const torch_source *src, const char *key);
/* The same for entries that are there already (safetensors): find the prefix, and the architecture.
 */
oriel_status ckpt_settle(oriel_checkpoint *c);

#endif
