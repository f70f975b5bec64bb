/* SPDX-License-Identifier: Apache-2.0 */
/* The fused window block's kernels for sm_80 and all that came after. */
#include "attn2d3d/cuda/block_fused_kernel.cuh"

#define KERNEL(CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE)                                                                   \
    {CS, KS, DS, WINDOWS, kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false, false>::THREADS,                           \
     kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false, false>::PITCH, false,                                              \
     memory_bytes<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false, false>>,                                           \
     {(const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false, false>>,                             \
      (const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, false, true>>}}

extern "C" const fused_kernel fused_kernels[] = {
    KERNEL(4, 4, 1, 1, 4, true, false),
    KERNEL(4, 4, 2, 1, 4, false, false),
    KERNEL(8, 8, 2, 1, 2, false, false),
    KERNEL(12, 12, 2, 1, 2, false, false),
    KERNEL(16, 17, 2, 1, 2, false, true),
    {},
};
