/* SPDX-License-Identifier: Apache-2.0 */
/* The pickle machine and what follows it, without a container: every storage is there. */
#include <stdlib.h>

#include "models/checkpoint/torch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static oriel_status find(void *user, ckpt_text key, size_t item, const unsigned char **data,
                         size_t *size)
{
    static const unsigned char zeros[4096];
    (void)user, (void)key, (void)item;
    *data = zeros;
    *size = sizeof zeros;
    return ORIEL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    oriel_checkpoint *c = oriel_alloc_zero(1, sizeof *c);
    pk_result r;
    if (c && !pk_parse(&c->mem, data, size, &r)) {
        c->root = r.root;
        c->pickle_bytes = r.used;
        if (!ckpt_unwrap(c, &(torch_source){find, NULL}, NULL))
            check(c->entries <= size);
        ckpt_value_at(c, "model.args.0.me.num_windows");
    }
    oriel_checkpoint_free(&c);
    return 0;
}
