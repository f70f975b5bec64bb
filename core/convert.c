/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of one type to another, one at a time. */
#include <math.h>

#include "core/internal.h"

float oriel_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff, u;
    float    f;
    if (e == 31)
        u = sign | 0x7f800000 | m << 13;
    else if (e)
        u = sign | (e + 112) << 23 | m << 13;
    else {
        f = ldexpf((float)m, -24);
        return sign ? -f : f;
    }
    memcpy(&f, &u, 4);
    return f;
}

uint16_t oriel_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return sign | 0x7e00;
    if (u >= 0x477ff000) /* rounds to 65536 or more */
        return sign | 0x7c00;
    if (u < 0x38800000) { /* below 2^-14: subnormal, in steps of 2^-24 */
        memcpy(&f, &u, 4);
        return sign | (uint16_t)nearbyintf(ldexpf(f, 24));
    }
    return sign | (uint16_t)((u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13);
}

static float f8_to_f32(uint8_t b, int ebits, int mbits, int bias, bool has_inf)
{
    int      e = b >> mbits & ((1 << ebits) - 1), m = b & ((1 << mbits) - 1);
    float    v;
    if (has_inf && e == (1 << ebits) - 1)
        v = m ? NAN : INFINITY;
    else if (!has_inf && (b & 0x7f) == 0x7f)
        v = NAN;
    else if (e)
        v = ldexpf((float)(m + (1 << mbits)), e - bias - mbits);
    else
        v = ldexpf((float)m, 1 - bias - mbits);
    return b & 0x80 ? -v : v;
}

float oriel_to_f32(const void *data, oriel_dtype t, int64_t i)
{
    const unsigned char *p = (const unsigned char *)data + i * (int64_t)oriel_dtype_size(t);
    union {
        float    f;
        double   d;
        int64_t  i64;
        int32_t  i32;
        int16_t  i16;
        uint16_t u16;
    } v;
    switch (t) { /* memcpy: safetensors do not promise alignment */
    case ORIEL_F32: return memcpy(&v, p, 4), v.f;
    case ORIEL_F64: return memcpy(&v, p, 8), (float)v.d;
    case ORIEL_F16: return memcpy(&v, p, 2), oriel_f16_to_f32(v.u16);
    case ORIEL_BF16: return memcpy(&v, p, 2), oriel_bf16_to_f32(v.u16);
    case ORIEL_I64: return memcpy(&v, p, 8), (float)v.i64;
    case ORIEL_I32: return memcpy(&v, p, 4), (float)v.i32;
    case ORIEL_I16: return memcpy(&v, p, 2), (float)v.i16;
    case ORIEL_U16: return memcpy(&v, p, 2), (float)v.u16;
    case ORIEL_I8: return (float)(int8_t)*p;
    case ORIEL_U8: return (float)*p;
    case ORIEL_BOOL: return *p ? 1.f : 0.f;
    case ORIEL_F8_E4M3: return f8_to_f32(*p, 4, 3, 7, false);
    case ORIEL_F8_E5M2: return f8_to_f32(*p, 5, 2, 15, true);
    default: return 0.f;
    }
}
