/* SPDX-License-Identifier: Apache-2.0 */
/* The fused window block's kernels for Hopper: products by warpgroups, which read weights once for 64 tokens. */
#define FUSED_HOPPER
#include "attn2d3d/cuda/block_fused_kernel.cuh"

#define KERNEL(CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE)                                                                   \
    {CS, KS, DS, WINDOWS, kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true, false>::THREADS,                           \
     kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true, false>::PITCH, true,                                              \
     memory_bytes<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true, false>>,                                           \
     {(const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true, false>>,                             \
      (const void *)block_fused<kind<CS, KS, DS, MT, WINDOWS, RESIDENT, SPARE, true, true>>}}

extern "C" const fused_kernel fused_kernels_hopper[] = {
    KERNEL(4, 4, 1, 1, 4, true, false),
    KERNEL(8, 8, 2, 1, 2, false, false),
    KERNEL(12, 12, 2, 1, 2, false, false),
    {},
};
