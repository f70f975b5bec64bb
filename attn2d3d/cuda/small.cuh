/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions of sm_80 that the kernels for small windows are made of: cp.async, ldmatrix, mma.
 *
 * Fragments, lane l = 4 r + c (PTX ISA, "Matrix fragments for mma.m16n8k16"):
 *   A (16 x 16): a0 (r, 2c .. 2c+1), a1 (r + 8, same), a2 (r, 2c + 8 ..), a3 (r + 8, 2c + 8 ..)
 *   B (16 x 8):  b0 (2c .. 2c+1, r), b1 (2c + 8 .., r)
 *   C (16 x 8):  c0, c1 (r, 2c .. 2c+1), c2, c3 (r + 8, same)
 * so that two C tiles side by side, packed to 16 bits, are an A.
 */
#ifndef ATTN2D3D_CUDA_SMALL_CUH
#define ATTN2D3D_CUDA_SMALL_CUH

#include "attn2d3d/attn.h"

static __device__ __forceinline__ uint32_t shared_at(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---- global to shared --------------------------------------------------------------------- */

/* W elements of 16 bits, or half of 4; both ends aligned to them. W 1 is a plain copy, done when it returns. */
template <int W> static __device__ __forceinline__ void copy_async(uint32_t dst, const uint16_t *src, bool less = false)
{
    if (W == 4)
        asm volatile("{\n.reg .pred half;\nsetp.ne.b32 half, %2, 0;\n"
                     "@half cp.async.ca.shared.global [%0], [%1], 4;\n@!half cp.async.ca.shared.global [%0], [%1], 8;\n}" ::"r"(dst),
                     "l"(src), "r"((int)less)
                     : "memory");
    else if (W == 1)
        asm volatile("st.shared.u16 [%0], %1;" ::"r"(dst), "h"(__ldg(src)) : "memory");
    else if (W == 8)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(dst), "l"(src), "n"(W == 1 ? 4 : 2 * W)
                     : "memory");
}
static __device__ __forceinline__ void copies_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* All but the last `pending` groups of this thread have arrived. */
static __device__ __forceinline__ void copies_wait(int pending)
{
    if (pending <= 0)
        asm volatile("cp.async.wait_group 0;" ::: "memory");
    else if (pending == 1)
        asm volatile("cp.async.wait_group 1;" ::: "memory");
    else if (pending == 2)
        asm volatile("cp.async.wait_group 2;" ::: "memory");
    else
        asm volatile("cp.async.wait_group 3;" ::: "memory");
}

/* W elements from shared to global memory, or half of 4 */
template <int W> static __device__ __forceinline__ void copy_out(uint16_t *dst, uint32_t src, bool less = false)
{
    if (W == 8) {
        uint4 x;
        asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(src));
        *(uint4 *)dst = x;
    } else if (W == 4 && !less) {
        uint2 x;
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(src));
        *(uint2 *)dst = x;
    } else if (W == 2 || W == 4) {
        uint32_t x;
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(src));
        *(uint32_t *)dst = x;
    } else {
        uint16_t x;
        asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(src));
        *dst = x;
    }
}

/* ---- rows of DK 16-element steps in shared memory ------------------------------------------- */

/* Rows are cut into pieces of 16 bytes. Eight rows at one piece lie in eight different bank groups:
 * by exchanging pieces where their number is a power of two, else by an odd number of them. */
template <int DK> struct rows {
    static constexpr int  PIECES = DK == 3 || DK > 4 ? 2 * DK + 1 : 2 * DK;
    static constexpr int  PITCH = 16 * PIECES; /* bytes */
    static __device__ __forceinline__ int turn(int row)
    {
        return DK == 1 ? row >> 2 & 1 : DK == 2 ? row >> 1 & 3 : DK == 4 ? row & 7 : 0;
    }
    /* byte offset of a piece of a row */
    static __device__ __forceinline__ uint32_t at(int row, int piece)
    {
        return (uint32_t)(row * PITCH + ((piece ^ turn(row)) << 4));
    }
};

/* Four 8 x 8 matrices whose rows begin at the lanes' addresses. */
static __device__ __forceinline__ void load4(uint32_t (&f)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(at));
}
static __device__ __forceinline__ void load4_turned(uint32_t (&f)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(at));
}

/* ---- arithmetic --------------------------------------------------------------------------- */

/* d = a b + c */
template <bool BF16>
static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const float (&c)[4])
{
    if (BF16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%10, %11, %12, %13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%10, %11, %12, %13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

/* Two floats to 16 bits each, round to nearest even; low in the low half. */
template <bool BF16> static __device__ __forceinline__ uint32_t pack(float low, float high)
{
    uint32_t x;
    if (BF16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
    return x;
}

/* 2^x; of very negative x: 0 */
static __device__ __forceinline__ float power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Over the four lanes of a row. */
static __device__ __forceinline__ float row_high(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
static __device__ __forceinline__ float row_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

/* ---- on the host -------------------------------------------------------------------------- */

/* The widest copy, in elements up to `width`, that all rows of t allow. */
static inline int copy_width(const oriel_tensor *t, int width)
{
    uintptr_t all = (uintptr_t)t->data / 2 | (uintptr_t)t->shape[5];
    for (int i = 0; i < 5; i++)
        all |= t->shape[i] > 1 ? (uintptr_t)t->stride[i] : 0;
    while (all % (uintptr_t)width)
        width /= 2;
    return width;
}

/* What these kernels take of no problem; NULL: nothing of that. */
static inline const char *small_reject(const attn_job *j, int dim_max)
{
    const oriel_tensor *t[4] = {&j->io->q, &j->io->k, &j->io->v, &j->io->out};
    const char         *why = attn_plain_fields(j);
    if (why)
        return why;
    if (j->a.dtype != ORIEL_F16 && j->a.dtype != ORIEL_BF16)
        return "not f16 or bf16";
    if (j->a.dim != j->a.dim_v || j->a.dim > dim_max)
        return "D is over 96 or is not Dv";
    if (j->a.extra || j->a.text)
        return "extra keys or text";
    if (j->io->axes)
        return "heads have windows of their own";
    if (j->a.bias == ORIEL_BIAS_DENSE)
        return "a dense bias";
    if (j->a.scale < 1e-6f)
        return "scale is less than 1e-6";
    for (int i = 0; i < 4; i++)
        if (t[i]->shape[5] > 1 && t[i]->stride[5] != 1)
            return "D is not contiguous";
    return NULL;
}

#endif
