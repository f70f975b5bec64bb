/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)
#include <math.h>

#include "attn2d3d/kv.h"
#include "core/cpu/simd_avx512.h"

#include "attn2d3d/kv_tile.h"

kv_tile_fn *const kv_tile_avx512 = tile;
#else
typedef int kv_avx512_needs_x86;
#endif
