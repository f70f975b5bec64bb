/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fused window block asks of the GPU beside small.cuh: weights that stream through shared memory.
 *
 * A barrier a stage says that its bytes are there. On sm_90 the copy engine brings them and one arrival is
 * counted; on sm_80 the lanes of a warp do, by cp.async, and 32 are.
 */
#ifndef ATTN2D3D_CUDA_BLOCK_FUSED_CUH
#define ATTN2D3D_CUDA_BLOCK_FUSED_CUH

#include "attn2d3d/cuda/small.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
enum { STREAM_ARRIVALS = 1 };
#else
enum { STREAM_ARRIVALS = 32 };
#endif

/* By one thread, before the block's first __syncthreads(). */
static __device__ __forceinline__ void stream_barrier(uint64_t *barrier)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(barrier)), "r"((int)STREAM_ARRIVALS) : "memory");
}
static __device__ __forceinline__ void stream_barriers_made()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/* By a whole warp: `bytes`, a multiple of 512, from `from` to `to`, then the barrier opens. */
static __device__ __forceinline__ void stream_bring(uint64_t *barrier, void *to, const void *from, int bytes)
{
    uint32_t bar = shared_at(barrier), dst = shared_at(to);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (threadIdx.x % 32 == 0) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
                     "l"(from), "r"(bytes), "r"(bar)
                     : "memory");
    }
#else
    for (int i = 16 * (int)(threadIdx.x % 32); i < bytes; i += 512)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst + (uint32_t)i), "l"((const char *)from + i) : "memory");
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(bar) : "memory");
#endif
}

/* Until the barrier has opened once more after `parity` is odd or even. */
static __device__ __forceinline__ void stream_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
#else
                 "mbarrier.test_wait.parity.shared.b64 done, [%0], %1;\n"
#endif
                 "@!done bra again;\n"
                 "}" ::"r"(shared_at(barrier)), "r"(parity)
                 : "memory");
}

/* By a whole warp that has read what it wanted of a stage: was it the last of `warps`? */
static __device__ __forceinline__ bool stream_leave(uint32_t *count, int warps)
{
    uint32_t before = 0;
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        asm volatile("atom.acq_rel.cta.shared::cta.inc.u32 %0, [%1], %2;" : "=r"(before) : "r"(shared_at(count)), "r"(warps - 1) : "memory");
    }
    return __shfl_sync(~0u, before, 0) == (uint32_t)(warps - 1);
}

/* Barrier `id` of `threads` threads. */
static __device__ __forceinline__ void group_wait(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#endif
