/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODELS_CHECKPOINT_SHA256_H
#define MODELS_CHECKPOINT_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const void *data, size_t size, unsigned char digest[32]);
void sha256_hex(const unsigned char digest[32], char hex[65]);

#endif
