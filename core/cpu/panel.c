/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a level and packing weights for it. */
#include "core/cpu/panel.h"

const panel_ops *panel_choose(unsigned cpu, bool bf16)
{
#if defined(__x86_64__)
    if (bf16)
        return cpu & ORIEL_CPU_AMX_BF16      ? &panel_amx
               : cpu & ORIEL_CPU_AVX512_BF16 ? &panel_bf16
                                             : NULL;
    return cpu & ORIEL_CPU_AVX512 ? &panel_avx512 : cpu & ORIEL_CPU_AVX2 ? &panel_avx2 : &panel_c;
#else
    (void)cpu;
    return bf16 ? NULL : &panel_c;
#endif
}

/* Where weight (row, tap, c) lies in packed data, in elements. */
static size_t place(const panel_ops *p, int k_padded, int taps, int row, int tap, int c)
{
    size_t block = (size_t)(row / p->n_step), r = (size_t)(row % p->n_step);
    size_t step = (size_t)(c / p->k_step), within = (size_t)(c % p->k_step);
    size_t steps = (size_t)(k_padded / p->k_step);
    return (((block * (size_t)taps + (size_t)tap) * steps + step) * (size_t)p->n_step + r) *
               (size_t)p->k_step +
           within;
}

oriel_status panel_pack(panel_weights *out, const panel_ops *p, const float *w, const float *bias,
                        int n, int k, int taps, const int *row)
{
    int    n_padded = (int)oriel_round_up(n, p->n_step), k_padded = (int)oriel_round_up(k, p->k_step);
    size_t count = (size_t)n_padded * (size_t)taps * (size_t)k_padded;
    size_t size = count * (p->bf16 ? 2 : 4);
    *out = (panel_weights){.n = n, .k = k, .taps = taps};
    out->data = oriel_alloc_aligned(size);
    out->bias = oriel_alloc_aligned((size_t)n_padded * 4);
    if (!out->data || !out->bias) {
        panel_unpack(out);
        return ORIEL_E_NOMEM;
    }
    out->bytes = size + (size_t)n_padded * 4;
    memset(out->data, 0, size);
    memset(out->bias, 0, (size_t)n_padded * 4);
    for (int i = 0; i < n; i++) {
        int from = row ? row[i] : i;
        out->bias[i] = bias ? bias[from] : 0.f;
        for (int c = 0; c < k; c++)
            for (int tap = 0; tap < taps; tap++) {
                float  v = w[((size_t)from * (size_t)k + (size_t)c) * (size_t)taps + (size_t)tap];
                size_t at = place(p, k_padded, taps, i, tap, c);
                if (p->bf16)
                    ((uint16_t *)out->data)[at] = oriel_f32_to_bf16(v);
                else
                    ((float *)out->data)[at] = v;
            }
    }
    return ORIEL_OK;
}

panel_weights panel_rows(const panel_weights *w, const panel_ops *p, int first, int n)
{
    size_t before = (size_t)first * (size_t)w->taps * (size_t)oriel_round_up(w->k, p->k_step);
    assert(first % p->n_step == 0 && first + n <= w->n);
    return (panel_weights){.n = n, .k = w->k, .taps = w->taps, .bias = w->bias + first,
                           .data = (char *)w->data + before * (p->bf16 ? 2 : 4)};
}

void panel_unpack(panel_weights *w)
{
    oriel_dealloc_aligned(w->data);
    oriel_dealloc_aligned(w->bias);
    *w = (panel_weights){0};
}
