/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: their memory and their doors; of CUDA what can be seen without a GPU, and the rest where one is. */
#include <oriel/attn.h>
#include <oriel/kv.h>
#include <oriel/models.h>

#include "core/device.h"
#include "test.h"

/* Sizes on either side of the chunks that copies pass through, one after the other. */
static void test_large(oriel_device *d)
{
    static const size_t sizes[] = {1, (4u << 20) - 1, 4u << 20, (4u << 20) + 1, (13u << 20) + 5, 8u << 20, 3};
    size_t              most = (13u << 20) + 5;
    unsigned char      *there = malloc(most + 1), *back = malloc(most + 1);
    void               *p = NULL;
    CHECK_OK(oriel_memory_alloc(d, &p, most));
    for (size_t k = 0; there && back && k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k];
        for (size_t i = 0; i < n; i++)
            there[i] = (unsigned char)((i * 2654435761u >> 13) + k);
        back[n] = 77;
        CHECK_OK(oriel_memory_upload(d, p, there, n));
        CHECK_OK(oriel_memory_upload(d, p, there, k % 2 ? 0 : n)); /* a second one into chunks in flight */
        CHECK_OK(oriel_memory_download(d, back, p, n));
        CHECK(!memcmp(there, back, n) && back[n] == 77);
    }
    oriel_memory_free(d, &p);
    free(there);
    free(back);
}

/* What is uploaded comes back; bytes beside a copy stay. */
static void test_memory(oriel_device *d)
{
    unsigned char there[1000], back[1000];
    void         *p = NULL, *none = NULL;
    size_t        free_bytes = 0, all = 0;
    CHECK_OK(oriel_memory_info(d, &free_bytes, &all));
    CHECK(free_bytes > 0 && free_bytes <= all);
    CHECK_FAILS(oriel_memory_info(d, NULL, &all), ORIEL_E_ARG);
    for (int i = 0; i < 1000; i++)
        there[i] = (unsigned char)(i * 7);
    CHECK_OK(oriel_memory_alloc(d, &p, sizeof there));
    CHECK(p && (uintptr_t)p % 64 == 0);
    CHECK_OK(oriel_memory_upload(d, p, there, sizeof there));
    CHECK_OK(oriel_memory_upload(d, (char *)p + 10, there, 5));
    CHECK_OK(oriel_memory_upload(d, NULL, NULL, 0));
    CHECK_OK(oriel_memory_download(d, back, p, sizeof back));
    CHECK(!memcmp(back, there, 10) && !memcmp(back + 10, there, 5) && !memcmp(back + 15, there + 15, 985));
    CHECK_OK(oriel_device_sync(d));
    oriel_memory_free(d, &p);
    CHECK(!p);
    oriel_memory_free(d, &p);
    CHECK_OK(oriel_memory_alloc(d, &p, 0));
    CHECK(p != NULL);
    CHECK_FAILS(oriel_memory_upload(d, p, NULL, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_memory_download(d, NULL, p, 1), ORIEL_E_ARG);
    oriel_memory_free(d, &p);
    double flops = 1, rate = 1;
    bool   host = !strncmp(oriel_device_name(d), "cpu", 3); /* whose memory the sanitizers watch */
    CHECK_FAILS(oriel_device_rates(d, &flops, NULL), ORIEL_E_ARG);
    if (host) {
        CHECK_FAILS(oriel_device_rates(d, &flops, &rate), ORIEL_E_UNSUPPORTED);
        CHECK(flops == 0 && rate == 0);
    } else {
        CHECK_OK(oriel_device_rates(d, &flops, &rate));
        CHECK(flops > 1e12 && flops < 1e16 && rate > 1e11 && rate < 1e14);
        printf("bf16 products %.0f TFLOP/s, copies %.2f TB/s\n", flops / 1e12, rate / 1e12);
    }
    oriel_alloc_fail_at(host);
    CHECK_FAILS(oriel_memory_alloc(d, &none, (size_t)1 << 60), ORIEL_E_NOMEM);
    oriel_alloc_fail_at(0);
    CHECK(!none && strstr(oriel_error(), "1152921504606846976 bytes") != NULL);
}

static void test_refused(void)
{
    oriel_device *d = NULL;
    void         *p = &d;
    size_t        bytes;
    CHECK_FAILS(oriel_device_open(NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_device_open(&d, &(oriel_device_options){.index = 1}), ORIEL_E_ARG);
    CHECK_FAILS(oriel_memory_alloc(NULL, &p, 1), ORIEL_E_ARG);
    CHECK(!p);
    CHECK_FAILS(oriel_memory_alloc(NULL, NULL, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_memory_upload(NULL, &p, &p, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_memory_download(NULL, &p, &p, 1), ORIEL_E_ARG);
    CHECK_FAILS(oriel_device_sync(NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_memory_info(NULL, &bytes, &bytes), ORIEL_E_ARG);
    oriel_memory_free(NULL, &p);
}

#if ORIEL_WITH_CUDA
static void test_cuda_doors(oriel_device *d)
{
    oriel_device *other = NULL;
    oriel_model  *m = NULL;
    oriel_kv     *kv = NULL;
    CHECK_INT(oriel_device_threads(d), ==, 1);
    CHECK(!strncmp(oriel_device_name(d), "cuda ", 5));
    CHECK_FAILS(oriel_model_open(&m, d, "x.safetensors", NULL), ORIEL_E_IO);
    CHECK_FAILS(oriel_kv_new(&kv, d, &(oriel_kv_config){.layers = 1}), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), oriel_device_name(d)) != NULL);
    CHECK_FAILS(oriel_device_open(&other, &(oriel_device_options){.kind = ORIEL_CUDA, .index = 1000}), ORIEL_E_DEVICE);
    CHECK(strstr(oriel_error(), "cuda 1000") != NULL);
    CHECK_FAILS(oriel_device_open(&other, &(oriel_device_options){.kind = ORIEL_CUDA, .index = -1}), ORIEL_E_ARG);
    CHECK_FAILS(oriel_device_open(&other, &(oriel_device_options){.kind = ORIEL_CUDA, .threads = 2}), ORIEL_E_ARG);
    for (uint64_t n = 1; n < 100; n++) { /* the n-th allocation fails */
        oriel_alloc_fail_at(n);
        oriel_status s = oriel_device_open(&other, &(oriel_device_options){.kind = ORIEL_CUDA});
        oriel_alloc_fail_at(0);
        if (!s)
            break;
        CHECK_INT(s, ==, ORIEL_E_NOMEM);
        CHECK(!other);
    }
    CHECK(other != NULL); /* two devices at once on one GPU */
    oriel_device_free(&other);
}

static void test_cuda(void)
{
    oriel_device *d = NULL;
    oriel_status  s = oriel_device_open(&d, &(oriel_device_options){.kind = ORIEL_CUDA});
    if (s) {
        printf("no CUDA device: %s\n", oriel_error());
        CHECK_INT(s, ==, ORIEL_E_DEVICE);
        CHECK(!d && oriel_error()[0]);
        test_skipped++;
        return;
    }
    test_memory(d);
    test_large(d);
    test_cuda_doors(d);
    oriel_device_free(&d);
}
#else
static void test_cuda(void)
{
    oriel_device *d = NULL;
    CHECK_FAILS(oriel_device_open(&d, &(oriel_device_options){.kind = ORIEL_CUDA}), ORIEL_E_UNSUPPORTED);
    CHECK(strstr(oriel_error(), "without CUDA") != NULL);
}
#endif

int main(void)
{
    oriel_device *d = NULL;
    test_refused();
    CHECK_OK(oriel_device_open(&d, NULL));
    test_memory(d);
    test_large(d);
    oriel_device_free(&d);
    test_cuda();
    return test_end();
}
