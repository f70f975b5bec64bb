/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on CUDA devices: the table is empty yet; networks are refused before they ask (models/model.c). */
#include "core/ops.h"

const ops ops_cuda = {0};
