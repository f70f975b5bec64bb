/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints as the models see them: tensors by name, what the file says of itself, and which
 * architecture it holds. The public face is oriel/models.h; the readers share format.h. */
#ifndef MODELS_CHECKPOINT_CHECKPOINT_H
#define MODELS_CHECKPOINT_CHECKPOINT_H

#include <oriel/models.h>

typedef enum ckpt_arch {
    CKPT_UNKNOWN = 0,
    CKPT_HAT,
    CKPT_ATD,
    CKPT_SRFORMER,
    CKPT_DRCT,
    CKPT_CRAFT,
    CKPT_HIT_SR,
    CKPT_CAT,
    CKPT_SWIN2SR,
    CKPT_SWINIR,
    CKPT_CAMIXERSR,
    CKPT_NGSWIN,
    CKPT_IMDTN,
    CKPT_MOBILESR,
    CKPT_ELAN,
    CKPT_RFDETR,
    CKPT_LWDETR,
    CKPT_VITDET,
    CKPT_SAM_ENCODER,
    CKPT_SWIN_RCNN,
    CKPT_SWIN_V2,
    CKPT_SWIN_V1,
    CKPT_NAT,
    CKPT_CSWIN,
    CKPT_FASTERVIT,
    CKPT_MVITV2,
    CKPT_ARCH_COUNT
} ckpt_arch;

/* "SwinIR"; NULL for CKPT_UNKNOWN */
const char *ckpt_arch_name(ckpt_arch a);

/* Parse a file that is in memory already; the bytes stay the caller's and must outlive *out.
 * An index of shards names files, so it cannot be parsed this way (ORIEL_E_UNSUPPORTED). */
oriel_status ckpt_parse(oriel_checkpoint **out, const void *data, size_t size,
                        const oriel_checkpoint_options *opt);

/* ---- tensors of the dictionary taken, prefixes such as "module." stripped ------------------- */

ckpt_arch ckpt_architecture(const oriel_checkpoint *c);
/* NULL if absent. The data may be unaligned and of any strides: read it with ckpt_to_f32(). */
const oriel_tensor *ckpt_find(const oriel_checkpoint *c, const char *name);
int64_t ckpt_count(const oriel_checkpoint *c);
const char *ckpt_name(const oriel_checkpoint *c, int64_t i); /* file order */
const oriel_tensor *ckpt_tensor(const oriel_checkpoint *c, int64_t i);
/* Is this the name of a stored buffer (attn_mask, running_mean, ...), not of a parameter? */
bool ckpt_is_buffer(const char *name);
/* All elements in row-major order; dst holds oriel_tensor_count(t) floats. */
void ckpt_to_f32(const oriel_tensor *t, float *dst);

/* ---- values beside the tensors -------------------------------------------------------------- */

/* A Python value of a torch file: number, text, list, dictionary, or an object with fields. */
typedef struct pk_node ckpt_value;

/* The value at a path such as "args.num_windows": keys of dictionaries, fields of objects
 * (argparse.Namespace and the like), indices of lists, joined by '.'. NULL if there is none. */
const ckpt_value *ckpt_value_at(const oriel_checkpoint *c, const char *path);
bool ckpt_value_int(const ckpt_value *v, int64_t *out); /* of int and bool; false if v is neither */
bool ckpt_value_float(const ckpt_value *v, double *out); /* of float, int and bool */
/* Text into buf, cut to fit; false if v is no text. */
bool ckpt_value_text(const ckpt_value *v, char *buf, size_t size);
/* Lists and tuples; 0 and NULL otherwise. */
int64_t ckpt_value_len(const ckpt_value *v);
const ckpt_value *ckpt_value_item(const ckpt_value *v, int64_t i);

/* An entry of safetensors' __metadata__; NULL if there is none. */
const char *ckpt_metadata(const oriel_checkpoint *c, const char *key);

#endif
