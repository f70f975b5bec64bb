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

/* By one thread, before the block's first __syncthreads(): opened by so many arrivals. */
static __device__ __forceinline__ void stream_barrier(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(barrier)), "r"(arrivals) : "memory");
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

/* By a whole warp that has read what it wanted of a stage: one arrival. */
static __device__ __forceinline__ void stream_leave(uint64_t *barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(shared_at(barrier)) : "memory");
}

/* Lane (r, c) has row r, columns 2 c and 2 c + 1 of 8 x 8; then rows 2 c and 2 c + 1 of column r. */
static __device__ __forceinline__ uint32_t turned(uint32_t x)
{
    uint32_t y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

/* Before a barrier: what this thread wrote to shared memory is seen by products of warpgroups after it. */
static __device__ __forceinline__ void shared_written()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/* Barrier `id` of `threads` threads. */
static __device__ __forceinline__ void group_wait(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#endif
