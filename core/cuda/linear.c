/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense layers by cuBLASLt: its handle, its plans.
 *
 * cuBLASLt counts matrices by columns: rows of y, x and w are columns of Y (n, m), X (k, m) and W (k, n), and the
 * layer is Y = W^T X + bias. Sums are never split over k: the bits would depend on the number of rows.
 */
#include "core/cuda/linear.h"

#if __has_include(<cublasLt.h>)

#include <cublasLt.h>
#include <stddef.h>

#include "core/cuda/library.h"

enum {
    PLANS = 256,            /* the oldest makes room */
    WORKSPACE = 32 << 20,   /* bytes: what NVIDIA asks for on Hopper */
    ALIGNMENT = 16          /* bytes: what plans are told at most */
};

/* What a plan depends on. */
typedef struct key {
    int64_t m;
    int     n, k, operand, out;
    int     biased, added;
    int     x_align, w_align, y_align; /* bytes */
    int     padding;                   /* 0: keys are compared as bytes */
} key;

typedef struct plan {
    key                    is;
    cublasLtMatmulDesc_t   product;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t   algo;
} plan;

typedef struct cuda_linears {
    cublasLtHandle_t lt;
    void            *workspace;
    int              used, next;
    plan             plans[PLANS];
} cuda_linears;

static struct {
    cublasStatus_t (*create)(cublasLtHandle_t *);
    cublasStatus_t (*destroy)(cublasLtHandle_t);
    cublasStatus_t (*product_create)(cublasLtMatmulDesc_t *, cublasComputeType_t, cudaDataType_t);
    cublasStatus_t (*product_destroy)(cublasLtMatmulDesc_t);
    cublasStatus_t (*product_set)(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void *, size_t);
    cublasStatus_t (*layout_create)(cublasLtMatrixLayout_t *, cudaDataType, uint64_t, uint64_t, int64_t);
    cublasStatus_t (*layout_destroy)(cublasLtMatrixLayout_t);
    cublasStatus_t (*wish_create)(cublasLtMatmulPreference_t *);
    cublasStatus_t (*wish_destroy)(cublasLtMatmulPreference_t);
    cublasStatus_t (*wish_set)(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void *, size_t);
    cublasStatus_t (*choose)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                             cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                             cublasLtMatmulHeuristicResult_t *, int *);
    cublasStatus_t (*matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *, const void *, cublasLtMatrixLayout_t,
                             const void *, cublasLtMatrixLayout_t, const void *, const void *, cublasLtMatrixLayout_t,
                             void *, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t);
    const char *(*name)(cublasStatus_t);
} lt; /* every thread finds the same */

static oriel_status find_library(void)
{
    static const char *const what = "cuda: dense layers need cuBLASLt 12 or 13";
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
    static const cuda_symbol list[] = {{"cublasLtCreate", &lt.create},
                                       {"cublasLtDestroy", &lt.destroy},
                                       {"cublasLtMatmulDescCreate", &lt.product_create},
                                       {"cublasLtMatmulDescDestroy", &lt.product_destroy},
                                       {"cublasLtMatmulDescSetAttribute", &lt.product_set},
                                       {"cublasLtMatrixLayoutCreate", &lt.layout_create},
                                       {"cublasLtMatrixLayoutDestroy", &lt.layout_destroy},
                                       {"cublasLtMatmulPreferenceCreate", &lt.wish_create},
                                       {"cublasLtMatmulPreferenceDestroy", &lt.wish_destroy},
                                       {"cublasLtMatmulPreferenceSetAttribute", &lt.wish_set},
                                       {"cublasLtMatmulAlgoGetHeuristic", &lt.choose},
                                       {"cublasLtMatmul", &lt.matmul},
                                       {"cublasLtGetStatusName", &lt.name},
                                       {NULL, NULL}};
    void        *handle;
    oriel_status s = cuda_library(&handle, what, names);
    return s ? s : cuda_symbols(handle, what, list);
}

static oriel_status failed(cublasStatus_t e, const char *what, const key *is)
{
    oriel_status s = e == CUBLAS_STATUS_ALLOC_FAILED    ? ORIEL_E_NOMEM
                     : e == CUBLAS_STATUS_NOT_SUPPORTED ? ORIEL_E_UNSUPPORTED
                                                        : ORIEL_E_DEVICE;
    return oriel_fail(s, "cuda: cuBLASLt: %s of %lld rows, %d outputs, %d inputs: %s", what, (long long)is->m, is->n,
                      is->k, lt.name(e));
}

static oriel_status linears_of(oriel_device *d, cuda_linears **out)
{
    cuda_linears *l = d->cuda->linears;
    oriel_status  s;
    if (!l) {
        if (cuda_capturing(d))
            return oriel_fail(ORIEL_E_DEVICE, "%s: the first dense layer cannot be captured in a graph", d->name);
        if ((s = find_library()))
            return s;
        if (!(l = oriel_alloc_zero(1, sizeof *l)))
            return ORIEL_E_NOMEM;
        d->cuda->linears = l;
    }
    if (!l->lt) {
        cublasStatus_t e = lt.create(&l->lt);
        if (e)
            return failed(e, "a handle before layers", &(key){0});
    }
    if (!l->workspace && (s = oriel_memory_alloc(d, &l->workspace, WORKSPACE)))
        return s;
    *out = l;
    return ORIEL_OK;
}

static void plan_free(plan *p)
{
    if (p->product)
        lt.product_destroy(p->product);
    cublasLtMatrixLayout_t all[3] = {p->w, p->x, p->y};
    for (int i = 0; i < 3; i++)
        if (all[i])
            lt.layout_destroy(all[i]);
    *p = (plan){0};
}

void cuda_linears_free(cuda_linears *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->used; i++)
        plan_free(&l->plans[i]);
    if (l->lt)
        lt.destroy(l->lt);
    cudaFree(l->workspace);
    oriel_dealloc(l);
}

static cudaDataType_t type_of(int t)
{
    return t == ORIEL_F32 ? CUDA_R_32F : t == ORIEL_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

static cublasStatus_t describe(plan *p)
{
    const key         *is = &p->is;
    cublasOperation_t  turned = CUBLAS_OP_T;
    cublasLtEpilogue_t then = is->biased ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    uint64_t           n = (uint64_t)is->n, k = (uint64_t)is->k, m = (uint64_t)is->m;
    cublasStatus_t     e;
    if ((e = lt.product_create(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
        (e = lt.product_set(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned)) ||
        (e = lt.product_set(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &then, sizeof then)) ||
        (e = lt.layout_create(&p->w, type_of(is->operand), k, n, is->k)) ||
        (e = lt.layout_create(&p->x, type_of(is->operand), k, m, is->k)) ||
        (e = lt.layout_create(&p->y, type_of(is->out), n, m, is->n)))
        return e;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t choose(const cuda_linears *l, plan *p)
{
    cublasLtMatmulPreference_t      wish = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int                             count = 0;
    size_t                          workspace = WORKSPACE;
    uint32_t                        unsplit = CUBLASLT_REDUCTION_SCHEME_NONE;
    uint32_t       w = (uint32_t)p->is.w_align, x = (uint32_t)p->is.x_align, y = (uint32_t)p->is.y_align;
    cublasStatus_t e = lt.wish_create(&wish);
    if (e)
        return e;
    if (!(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace)) &&
        !(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &unsplit, sizeof unsplit)) &&
        !(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &w, sizeof w)) &&
        !(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &x, sizeof x)) &&
        !(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &y, sizeof y)) &&
        !(e = lt.wish_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &y, sizeof y)))
        e = lt.choose(l->lt, p->product, p->w, p->x, p->y, p->y, wish, 1, &found, &count);
    lt.wish_destroy(wish);
    if (e)
        return e;
    if (!count || found.state)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    p->algo = found.algo;
    return CUBLAS_STATUS_SUCCESS;
}

static oriel_status plan_of(cuda_linears *l, const key *is, plan **out)
{
    plan p = {.is = *is};
    for (int i = 0; i < l->used; i++)
        if (!memcmp(&l->plans[i].is, is, sizeof *is)) {
            *out = &l->plans[i];
            return ORIEL_OK;
        }
    cublasStatus_t e = describe(&p);
    if (!e)
        e = choose(l, &p);
    if (e) {
        plan_free(&p);
        return failed(e, "a layer", is);
    }
    *out = &l->plans[l->next];
    plan_free(*out);
    **out = p;
    l->next = (l->next + 1) % PLANS;
    l->used += l->used < PLANS;
    return ORIEL_OK;
}

static int alignment(const void *a, const void *b)
{
    uintptr_t all = (uintptr_t)a | (uintptr_t)b | ALIGNMENT;
    return (int)(all & -all);
}

oriel_status cuda_linear_run(oriel_device *d, const cuda_linear *w, int64_t m, void *y, const void *x, const void *add)
{
    const float   one = 1, added = add ? 1 : 0;
    cuda_linears *l = NULL;
    plan         *p = NULL;
    oriel_status  s = linears_of(d, &l);
    const key     is = {.m = m, .n = w->n, .k = w->k, .operand = (int)w->operand, .out = (int)w->out,
                        .biased = w->bias != NULL, .added = add != NULL, .x_align = alignment(x, NULL),
                        .w_align = alignment(w->w, NULL), .y_align = alignment(y, add)};
    if (s || (s = plan_of(l, &is, &p)))
        return s;
    cublasStatus_t e = CUBLAS_STATUS_SUCCESS;
    if (w->bias)
        e = lt.product_set(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &w->bias, sizeof w->bias);
    if (!e)
        e = lt.matmul(l->lt, p->product, &one, w->w, p->w, x, p->x, &added, add ? add : y, p->y, y, p->y, &p->algo,
                      l->workspace, WORKSPACE, d->cuda->stream);
    return e ? failed(e, "a layer", &is) : ORIEL_OK;
}

#else

oriel_status cuda_linear_run(oriel_device *d, const cuda_linear *w, int64_t m, void *y, const void *x, const void *add)
{
    (void)w, (void)m, (void)y, (void)x, (void)add;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: liboriel was built without cuBLASLt's header", d->name);
}

void cuda_linears_free(struct cuda_linears *l)
{
    (void)l;
}

#endif
