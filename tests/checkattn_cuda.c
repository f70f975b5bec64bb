/* SPDX-License-Identifier: Apache-2.0 */
/* checkattn on a GPU: tensors there and back, with the poison round about them. */
#include <stdio.h>
#include <stdlib.h>

#include "checkattn.h"
#include "test.h"

#if ORIEL_WITH_CUDA

#include "attn2d3d/cuda/attn_cuda.h"

enum { WALL = 256 };

static oriel_device  *gpu;
static unsigned char *mirror; /* what the GPU's block is to hold, and held */
static void          *block;
static size_t         block_bytes;

int cuda_begin(void)
{
    if (oriel_device_open(&gpu, &(oriel_device_options){.kind = ORIEL_CUDA})) {
        printf("skipped: %s\n", oriel_error());
        return 77;
    }
    printf("%s\n", oriel_device_name(gpu));
    return 0;
}

void cuda_end(void)
{
    oriel_memory_free(gpu, &block);
    free(mirror);
    oriel_device_free(&gpu);
}

const char *cuda_name(int i)
{
    return attn_cuda_impls[i] ? attn_cuda_impls[i]->name : NULL;
}

bool cuda_rounds(int i)
{
    return attn_cuda_impls[i] != &attn_cuda_plain;
}

/* Is this view one of the host's tables? */
static bool on_host(int i)
{
    return i >= SPANS && i < INPUTS;
}

static size_t place_of(const setting *s, int which)
{
    size_t at = WALL;
    for (int i = 0; i < which; i++)
        at += on_host(i) ? 0 : ((s->v[i].bytes + WALL - 1) & ~(size_t)(WALL - 1)) + WALL;
    return at;
}

/* The job of tensors that lie on the GPU, with room made for them. */
static oriel_status job_there(attn_job *j, oriel_attn_io *io, const setting *s)
{
    size_t        bytes = place_of(s, VIEWS);
    oriel_status  st;
    oriel_tensor *to[VIEWS] = {[Q] = &io->q, [K] = &io->k, [V] = &io->v, [EXTRA_K] = &io->extra_k, [EXTRA_V] = &io->extra_v,
                               [TEXT_Q] = &io->text_q, [BIAS] = &io->bias, [SCALES] = &io->scales, [PAD_K] = &io->pad_k,
                               [PAD_V] = &io->pad_v, [OUT] = &io->out, [LSE] = &io->lse, [TEXT_OUT] = &io->text_out,
                               [TEXT_LSE] = &io->text_lse};
    if (bytes > block_bytes) {
        oriel_memory_free(gpu, &block);
        block_bytes = 0;
        if ((st = oriel_memory_alloc(gpu, &block, 2 * bytes)))
            return st;
        block_bytes = 2 * bytes;
        free(mirror);
        if (!(mirror = malloc(block_bytes)))
            abort();
    }
    *io = s->io;
    for (int i = 0; i < VIEWS; i++)
        if (to[i] && s->v[i].memory)
            to[i]->data = (char *)block + place_of(s, i) + ((unsigned char *)s->v[i].t.data - s->v[i].memory);
    return attn_prepare(j, &s->p->a, io);
}

const char *cuda_reject(const setting *s, int i)
{
    attn_job      j;
    oriel_attn_io io;
    return job_there(&j, &io, s) ? oriel_error() : attn_cuda_impls[i]->reject(&j, gpu->cuda);
}

oriel_status cuda_run_on(setting *s, int impl)
{
    attn_job      j;
    oriel_attn_io io;
    oriel_status  st = job_there(&j, &io, s);
    size_t        bytes = place_of(s, VIEWS);
    if (st)
        return st;
    poison_outputs(s);
    memset(mirror, 0xff, bytes); /* NaN */
    for (int i = 0; i < VIEWS; i++)
        if (s->v[i].memory && !on_host(i))
            memcpy(mirror + place_of(s, i), s->v[i].memory, s->v[i].bytes);
    if ((st = oriel_memory_upload(gpu, block, mirror, bytes)) || (st = attn_cuda_impls[impl]->run(&j, gpu)) ||
        (st = oriel_memory_download(gpu, mirror, block, bytes)))
        return st;
    for (int i = 0; i < VIEWS; i++)
        if (s->v[i].memory && !on_host(i))
            memcpy(s->v[i].memory, mirror + place_of(s, i), s->v[i].bytes);
    for (size_t i = place_of(s, VIEWS) - WALL; i < bytes; i++)
        if (mirror[i] != 0xff)
            return oriel_fail(ORIEL_E_DEVICE, "written beyond the last tensor");
    return ORIEL_OK;
}

/* ---- strides past 2^31 elements ----------------------------------------------------------- */

/* Two frames of 3 x 5 tokens, 2 heads of 64, far apart: each implementation gives the bits that it gives
 * on packed tensors. */
enum { FAR_X = 5, FAR_Y = 3, FAR_H = 2, FAR_D = 64, FRAME = FAR_Y * FAR_X * FAR_H * FAR_D };

static oriel_tensor far_tensor(void *base, int64_t between)
{
    const int64_t shape[6] = {1, 2, FAR_Y, FAR_X, FAR_H, FAR_D};
    oriel_tensor  t = oriel_tensor_of(base, ORIEL_BF16, 6, shape);
    t.stride[1] = between;
    return t;
}

static oriel_status far_run(const attn_cuda_impl *impl, void *base, int64_t between, uint16_t out[2 * FRAME], bool *took)
{
    static uint16_t  in[2 * FRAME];
    const oriel_attn a = {.dtype = ORIEL_BF16, .heads = FAR_H, .dim = FAR_D, .extent = {2, FAR_Y, FAR_X},
                          .axis = {{0}, {0}, {.kind = ORIEL_AXIS_NEIGHBOR, .size = 3}}};
    oriel_tensor     t[4];
    oriel_status     s;
    attn_job         j;
    for (int i = 0; i < 4; i++) {
        t[i] = far_tensor((char *)base + (size_t)i * 2 * FRAME, between); /* one after the other in each frame */
        for (int e = 0; e < 2 * FRAME; e++)
            in[e] = oriel_f32_to_bf16((float)((e * 37 + i * 11) % 101) / 64 - 0.75f);
        for (int frame = 0; frame < 2; frame++)
            if ((s = oriel_memory_upload(gpu, (uint16_t *)t[i].data + frame * between, in + frame * FRAME, 2 * FRAME)))
                return s;
    }
    oriel_attn_io io = {.q = t[0], .k = t[1], .v = t[2], .out = t[3]};
    if ((s = attn_prepare(&j, &a, &io)))
        return s;
    *took = !impl->reject(&j, gpu->cuda);
    if (!*took)
        return ORIEL_OK;
    if ((s = impl->run(&j, gpu)))
        return s;
    for (int frame = 0; frame < 2; frame++)
        if ((s = oriel_memory_download(gpu, out + frame * FRAME, (uint16_t *)t[3].data + frame * between, 2 * FRAME)))
            return s;
    return ORIEL_OK;
}

static void test_far(int *failed, int *skipped)
{
    static uint16_t near_out[2 * FRAME], far_out[2 * FRAME];
    const int64_t   between = ((int64_t)1 << 31) + 64;
    void           *base = NULL;
    if (oriel_memory_alloc(gpu, &base, (size_t)(between + 4 * FRAME) * 2)) {
        printf("strides past 2^31 elements: skipped: %s\n", oriel_error());
        *skipped += 1;
        return;
    }
    for (int i = 0; attn_cuda_impls[i]; i++) {
        bool took = false;
        if (far_run(attn_cuda_impls[i], base, 4 * FRAME, near_out, &took) ||
            (took && far_run(attn_cuda_impls[i], base, between, far_out, &took)) ||
            (took && memcmp(near_out, far_out, sizeof far_out) != 0)) {
            fprintf(stderr, "checkattn --device cuda: %s: strides past 2^31 elements\n", attn_cuda_impls[i]->name);
            *failed += 1;
        } else if (took)
            test_passed++;
    }
    oriel_memory_free(gpu, &base);
}

void cuda_doors(int *passed, int *failed, int *skipped)
{
    problem       p;
    setting       s;
    attn_job      j;
    oriel_attn_io io;
    problem_named(&p, 0);
    setting_new(&s, &p);
    CHECK_OK(job_there(&j, &io, &s));
    setenv("ORIEL_ATTN", "nobody", 1);
    CHECK_FAILS(oriel_attn_run(gpu, &p.a, &io), ORIEL_E_ARG);
    CHECK(strstr(oriel_error(), "nobody") != NULL);
    setenv("ORIEL_ATTN", "plain", 1);
    const attn_cuda_impl *chosen = NULL;
    CHECK_OK(attn_cuda_choose(&chosen, &j, gpu->cuda));
    CHECK(chosen == &attn_cuda_plain);
    unsetenv("ORIEL_ATTN");
    int last = 0;
    while (attn_cuda_impls[last] != &attn_cuda_plain)
        last++;
    CHECK_OK(cuda_run_on(&s, last)); /* the tensors are there */
    CHECK_OK(oriel_attn_run(gpu, &p.a, &io));
    CHECK_OK(oriel_device_sync(gpu));
    setting_free(&s);
    test_far(&test_failed, &test_skipped);
    *passed += test_passed;
    *failed += test_failed;
    *skipped += test_skipped;
}

#else

int cuda_begin(void)
{
    puts("skipped: this build has no CUDA");
    return 77;
}
void cuda_end(void)
{
}
const char *cuda_name(int i)
{
    (void)i;
    return NULL;
}
bool cuda_rounds(int i)
{
    (void)i;
    return false;
}
const char *cuda_reject(const setting *s, int i)
{
    (void)s;
    (void)i;
    return "no CUDA";
}
oriel_status cuda_run_on(setting *s, int i)
{
    (void)s;
    (void)i;
    return ORIEL_E_UNSUPPORTED;
}
void cuda_doors(int *passed, int *failed, int *skipped)
{
    (void)passed;
    (void)failed;
    (void)skipped;
}

#endif
