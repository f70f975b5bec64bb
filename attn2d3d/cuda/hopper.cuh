/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hopper's own instructions (sm_90a), one function each: barriers in shared memory, boxes of tensors
 * by the copy engine (TMA), matrix products of a warpgroup (wgmma), registers of a warpgroup.
 *
 * Addresses of shared memory are its own 32 bit ones. Matrices lie there in tiles of rows of 128
 * bytes (64 elements), whose 16-byte parts are swizzled by the row's number modulo 8, as TMA writes
 * them with CU_TENSOR_MAP_SWIZZLE_128B; a tile begins at a multiple of 1024 bytes.
 * Source: PTX ISA 9.0, sections on mbarrier, cp.async.bulk.tensor, wgmma, setmaxnreg.
 */
#ifndef ATTN2D3D_CUDA_HOPPER_CUH
#define ATTN2D3D_CUDA_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

#define HOP static __device__ __forceinline__

HOP uint32_t hop_shared(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---- barriers in shared memory: a phase ends when `count` arrived and all bytes told are there ----- */

HOP void hop_bar_init(uint32_t bar, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}
/* What was initialised is seen by the copy engine; a __syncthreads() follows. */
HOP void hop_bar_init_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
HOP void hop_bar_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
/* Arrive, and expect so many bytes of copies in this phase. */
HOP void hop_bar_expect(uint32_t bar, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
/* Wait for the end of the phase whose number has this parity. The phase before the first has parity 1. */
HOP void hop_bar_wait(uint32_t bar, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra over;\n"
                 "bra again;\n"
                 "over:\n"
                 "}" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}

/* ---- barriers between warps: `threads` in all arrive or wait ---------------------------------------- */

HOP void hop_named_wait(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
HOP void hop_named_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* ---- boxes of tensors ------------------------------------------------------------------------------- */

/* The map's box from element c on (innermost first) to shared memory; its bytes count for bar. What
 * lies outside the tensor becomes 0. */
HOP void hop_load_box(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}
/* The same to the same places of both blocks of a cluster, each of whose barriers counts the bytes. */
HOP void hop_load_box_both(uint32_t dst, const CUtensorMap *map, uint32_t bar, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
                 " [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "h"((uint16_t)3)
                 : "memory");
}

/* A box of shared memory to the tensor, but for what lies outside it; a group of this thread's. Shared memory was
 * written before a hop_fence() of those who wrote. */
HOP void hop_store_box(const CUtensorMap *map, uint32_t src, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];\n"
                 "cp.async.bulk.commit_group;" ::"l"(map),
                 "r"(src), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}
/* What this thread stored has been read from shared memory. */
HOP void hop_stores_read()
{
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
/* What this thread wrote to shared memory is seen by the copy engine. */
HOP void hop_fence()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- clusters of blocks ------------------------------------------------------------------------------ */

HOP uint32_t hop_cluster_rank()
{
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
/* All threads of all blocks of the cluster; what they wrote to shared memory is seen. */
HOP void hop_cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/* The address of the same place in another block's shared memory. */
HOP uint32_t hop_far(uint32_t at, int rank)
{
    uint32_t far;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(far) : "r"(at), "r"(rank));
    return far;
}
HOP void hop_bar_arrive_far(uint32_t far)
{
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(far) : "memory");
}

/* ---- registers of a warpgroup: each of its warps says so --------------------------------------------- */

template <int N> HOP void hop_regs_more()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> HOP void hop_regs_less()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- matrix products of a warpgroup ------------------------------------------------------------------ */

/* Registers written since the last product are seen by the next. */
HOP void hop_mma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/* Products since the last commit become a group. */
HOP void hop_mma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All groups but the last N are done. */
template <int N> HOP void hop_mma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Descriptor of a matrix whose rows (of A: m; of B: n) lie along the 128 bytes of the summed axis;
 * groups of 8 rows are 1024 bytes apart. 16 elements further along the sum: + 32 bytes. */
HOP uint64_t hop_desc_rows(uint32_t at)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 16 | (at & 0x3ffff) >> 4;
}
/* Descriptor of B whose rows are the summed axis: 64 of n lie along 128 bytes, the next 64 of n are
 * `next` bytes on, the next 8 of the sum 1024. 16 further along the sum: + 2048 bytes. */
HOP uint64_t hop_desc_columns(uint32_t at, uint32_t next)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)(next >> 4) << 16 | (at & 0x3ffff) >> 4;
}
/* Descriptor of B by rows in boxes of 8 rows of 16 bytes, one behind the other: first the two of 8 rows and 16
 * elements of the sum, then those of the next 8 rows. */
HOP uint64_t hop_desc_boxes(const void *p)
{
    return (uint64_t)(256 >> 4) << 32 | (uint64_t)(128 >> 4) << 16 | (hop_shared(p) & 0x3ffff) >> 4;
}
HOP uint64_t hop_desc_on(uint64_t desc, uint32_t bytes)
{
    return desc + (bytes >> 4);
}

/*
 * d (64, N) += A (64, 16) B (16, N), or = where keep is 0. Thread t of the warpgroup holds rows
 * r = t / 32 * 16 + t % 32 / 4 and r + 8: d[4 g + i] is row r + 8 (i / 2), column 8 g + t % 4 * 2 + i % 2.
 * A in registers: a[0] is columns t % 4 * 2 and + 1 of row r, a[1] of row r + 8, a[2], a[3] the same 8
 * columns on. The operands must not be touched before the group was waited for.
 */
#define HOP_R0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define HOP_R1 HOP_R0 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define HOP_R2 HOP_R1 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define HOP_R3 HOP_R2 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define HOP_R4 HOP_R3 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define HOP_R5 HOP_R4 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define HOP_R6 HOP_R5 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define HOP_R7 HOP_R6 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define HOP_R8 HOP_R7 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define HOP_R9 HOP_R8 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define HOP_R10 HOP_R9 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define HOP_R11 HOP_R10 ", %88, %89, %90, %91, %92, %93, %94, %95"

#define HOP_F(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define HOP_F1 HOP_F(0), HOP_F(8)
#define HOP_F3 HOP_F(0), HOP_F(8), HOP_F(16), HOP_F(24)
#define HOP_F4 HOP_F3, HOP_F(32)
#define HOP_F5 HOP_F4, HOP_F(40)
#define HOP_F6 HOP_F5, HOP_F(48)
#define HOP_F7 HOP_F6, HOP_F(56)
#define HOP_F8 HOP_F7, HOP_F(64)
#define HOP_F9 HOP_F8, HOP_F(72)
#define HOP_F10 HOP_F9, HOP_F(80)
#define HOP_F11 HOP_F10, HOP_F(88)

/* A and B in shared memory, both by rows. The numbers are those of the operands after d. */
#define HOP_SS(n, type, regs, list, a, b, keep)                                                              \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" keep ", 0;\n"                                          \
                 "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " {" regs "}, %" a ", %" b   \
                 ", p, 1, 1, 0, 0;\n}"                                                                       \
                 : list                                                                                      \
                 : "l"(da), "l"(db), "r"(sum))
/* A in registers, B by rows (turned 0) or columns (1). */
#define HOP_RS(turned, n, type, regs, list, a0, a1, a2, a3, b, keep)                                                 \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" keep ", 0;\n"                                          \
                 "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " {" regs "}, {%" a0 ", %" a1 \
                 ", %" a2 ", %" a3 "}, %" b ", p, 1, 1, " turned ";\n}"                                               \
                 : list                                                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(db), "r"(sum))

#define HOP_SS_OF(type)                                                              \
    if constexpr (N == 64)                                                           \
        HOP_SS("64", type, HOP_R3, HOP_F3, "32", "33", "34");                        \
    else if constexpr (N == 80)                                                      \
        HOP_SS("80", type, HOP_R4, HOP_F4, "40", "41", "42");                        \
    else if constexpr (N == 96)                                                      \
        HOP_SS("96", type, HOP_R5, HOP_F5, "48", "49", "50");                        \
    else if constexpr (N == 112)                                                     \
        HOP_SS("112", type, HOP_R6, HOP_F6, "56", "57", "58");                       \
    else if constexpr (N == 128)                                                     \
        HOP_SS("128", type, HOP_R7, HOP_F7, "64", "65", "66");                       \
    else if constexpr (N == 144)                                                     \
        HOP_SS("144", type, HOP_R8, HOP_F8, "72", "73", "74");                       \
    else if constexpr (N == 160)                                                     \
        HOP_SS("160", type, HOP_R9, HOP_F9, "80", "81", "82");                       \
    else if constexpr (N == 176)                                                     \
        HOP_SS("176", type, HOP_R10, HOP_F10, "88", "89", "90")

#define HOP_RS_OF(turned, type)                                                             \
    if constexpr (N == 16)                                                                  \
        HOP_RS(turned, "16", type, HOP_R0, HOP_F(0), "8", "9", "10", "11", "12", "13");     \
    else if constexpr (N == 32)                                                             \
        HOP_RS(turned, "32", type, HOP_R1, HOP_F1, "16", "17", "18", "19", "20", "21");     \
    else if constexpr (N == 64)                                                                  \
        HOP_RS(turned, "64", type, HOP_R3, HOP_F3, "32", "33", "34", "35", "36", "37");     \
    else if constexpr (N == 80)                                                             \
        HOP_RS(turned, "80", type, HOP_R4, HOP_F4, "40", "41", "42", "43", "44", "45");     \
    else if constexpr (N == 96)                                                             \
        HOP_RS(turned, "96", type, HOP_R5, HOP_F5, "48", "49", "50", "51", "52", "53");     \
    else if constexpr (N == 112)                                                            \
        HOP_RS(turned, "112", type, HOP_R6, HOP_F6, "56", "57", "58", "59", "60", "61");    \
    else if constexpr (N == 128)                                                            \
        HOP_RS(turned, "128", type, HOP_R7, HOP_F7, "64", "65", "66", "67", "68", "69");    \
    else if constexpr (N == 144)                                                            \
        HOP_RS(turned, "144", type, HOP_R8, HOP_F8, "72", "73", "74", "75", "76", "77");    \
    else if constexpr (N == 160)                                                            \
        HOP_RS(turned, "160", type, HOP_R9, HOP_F9, "80", "81", "82", "83", "84", "85");    \
    else if constexpr (N == 176)                                                            \
        HOP_RS(turned, "176", type, HOP_R10, HOP_F10, "88", "89", "90", "91", "92", "93"); \
    else if constexpr (N == 192)                                                            \
        HOP_RS(turned, "192", type, HOP_R11, HOP_F11, "96", "97", "98", "99", "100", "101")

template <bool F16, int N> HOP void hop_mma_rows(float (&d)[N / 2], uint64_t da, uint64_t db, int sum)
{
    static_assert(N == 64 || N == 80 || N == 96 || N == 112 || N == 128 || N == 144 || N == 160 || N == 176, "no such product");
    if constexpr (F16) {
        HOP_SS_OF("f16");
    } else {
        HOP_SS_OF("bf16");
    }
}

template <bool F16, int N> HOP void hop_mma_rows(float (&d)[N / 2], const uint32_t *a, uint64_t db, int sum)
{
    if constexpr (F16) {
        HOP_RS_OF("0", "f16");
    } else {
        HOP_RS_OF("0", "bf16");
    }
}

template <bool F16, int N> HOP void hop_mma_columns(float (&d)[N / 2], const uint32_t *a, uint64_t db, int sum)
{
    static_assert(N == 64 || N == 128, "no such product");
    if constexpr (F16) {
        HOP_RS_OF("1", "f16");
    } else {
        HOP_RS_OF("1", "bf16");
    }
}

/* A (64, 16) of a swizzled tile to registers: rows of 64 elements from `tile` on, elements from 16 i
 * on, i 0 .. 3. The tile's first row is a multiple of 8. */
HOP void hop_load_a(uint32_t *a, uint32_t tile, int i)
{
    uint32_t lane = threadIdx.x & 31, row = (threadIdx.x & 127) / 32 * 16 + (lane & 15), part = 2 * i + (lane >> 4);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(tile + row * 128 + ((part ^ (row & 7)) << 4))
                 : "memory");
}

/* ---- numbers ----------------------------------------------------------------------------------------- */

/* 2^x; results under 2^-126 are 0 */
HOP float hop_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* two numbers, the first in the low half, rounded to even */
template <bool F16> HOP uint32_t hop_pack(float low, float high)
{
    uint32_t y;
    if constexpr (F16)
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    else
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

#endif
