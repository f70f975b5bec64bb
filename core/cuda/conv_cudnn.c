/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions by cuDNN's graph API: a graph of one convolution, the heuristics' engines in their order, the first that
 * is allowed becomes the plan.
 *
 * Pixels are cast to the operand's type with channels in multiples of 8, zeros behind the last, which lets halves use
 * tensor cores; weights lie (n, kernel, k) with n and k rounded up likewise. A last kernel adds the bias.
 */
#include "core/cuda/conv.h"

#include "core/cuda/ops_kernels.h"

#if __has_include(<cudnn.h>)

#include <cudnn.h>

#include "core/cuda/library.h"

enum { CHANNELS = 8, ALIGNMENT = 256, WORKSPACE = 32 << 20, ENGINES = 32, DIMS = 5 };

static struct {
    __typeof__(cudnnCreate)                  *create;
    __typeof__(cudnnDestroy)                 *destroy;
    __typeof__(cudnnSetStream)               *set_stream;
    __typeof__(cudnnGetErrorString)          *name;
    __typeof__(cudnnGetLastErrorString)      *last_error;
    __typeof__(cudnnBackendCreateDescriptor) *make;
    __typeof__(cudnnBackendDestroyDescriptor) *destroy_descriptor;
    __typeof__(cudnnBackendSetAttribute)     *set;
    __typeof__(cudnnBackendGetAttribute)     *get;
    __typeof__(cudnnBackendFinalize)         *finalize;
    __typeof__(cudnnBackendExecute)          *execute;
} dnn; /* every thread finds the same */

typedef struct cuda_dnn {
    cudnnHandle_t handle;
} cuda_dnn;

typedef cudnnBackendDescriptor_t descriptor;

struct cuda_conv {
    cuda_conv_shape s;
    int             n, k; /* rounded up */
    void           *w;
    float          *bias; /* (n rounded up), behind w */
    int64_t         x[4], y[4];
    bool            rounds;
    size_t          in_bytes, out_bytes, workspace;
    descriptor      plan;
};

/* ---- the library -------------------------------------------------------------------------- */

static oriel_status dnn_fail(cudnnStatus_t e, const char *what)
{
    char said[256] = "";
    dnn.last_error(said, sizeof said);
    return oriel_fail(e == CUDNN_STATUS_ALLOC_FAILED ? ORIEL_E_NOMEM : ORIEL_E_DEVICE, "cuDNN: %s: %s%s%s", what,
                      dnn.name(e), said[0] ? ": " : "", said);
}

static oriel_status find_library(void)
{
    static const char *const what = "cuda: convolutions of this kind need cuDNN 9 (libcudnn.so.9, NVIDIA's package "
                                    "libcudnn9-cuda-12 or -13)";
    static const char *const names[] = {"libcudnn.so.9", NULL};
    static const cuda_symbol list[] = {{"cudnnCreate", &dnn.create},
                                       {"cudnnDestroy", &dnn.destroy},
                                       {"cudnnSetStream", &dnn.set_stream},
                                       {"cudnnGetErrorString", &dnn.name},
                                       {"cudnnGetLastErrorString", &dnn.last_error},
                                       {"cudnnBackendCreateDescriptor", &dnn.make},
                                       {"cudnnBackendDestroyDescriptor", &dnn.destroy_descriptor},
                                       {"cudnnBackendSetAttribute", &dnn.set},
                                       {"cudnnBackendGetAttribute", &dnn.get},
                                       {"cudnnBackendFinalize", &dnn.finalize},
                                       {"cudnnBackendExecute", &dnn.execute},
                                       {NULL, NULL}};
    void        *handle;
    oriel_status s = cuda_library(&handle, what, names);
    return s ? s : cuda_symbols(handle, what, list);
}

static oriel_status open_library(oriel_device *d)
{
    cuda_device  *c = d->cuda;
    cudnnStatus_t e;
    oriel_status  s;
    if (c->dnn)
        return ORIEL_OK;
    if ((s = find_library()) || (s = cuda_enter(d)))
        return s;
    cuda_dnn *n = oriel_alloc_zero(1, sizeof *n);
    if (!n)
        return ORIEL_E_NOMEM;
    if ((e = dnn.create(&n->handle)) || (e = dnn.set_stream(n->handle, c->stream))) {
        s = dnn_fail(e, "it does not start");
        cuda_dnn_free(n);
        return s;
    }
    c->dnn = n;
    return ORIEL_OK;
}

void cuda_dnn_free(cuda_dnn *n)
{
    if (n && n->handle)
        dnn.destroy(n->handle);
    oriel_dealloc(n);
}

/* ---- weights ------------------------------------------------------------------------------ */

static size_t size_of(oriel_dtype t)
{
    return oriel_dtype_size(t);
}

static void put(void *to, oriel_dtype t, size_t i, float v)
{
    if (t == ORIEL_F32)
        ((float *)to)[i] = v;
    else
        ((uint16_t *)to)[i] = t == ORIEL_BF16 ? oriel_f32_to_bf16(v) : oriel_f32_to_f16(v);
}

static oriel_status upload_weights(oriel_device *d, cuda_conv *c, const float *data, const float *bias)
{
    const cuda_conv_shape *s = &c->s;
    size_t taps = (size_t)s->kernel[0] * (size_t)s->kernel[1] * (size_t)s->kernel[2], n = (size_t)c->n, k = (size_t)c->k;
    size_t weights = (size_t)oriel_round_up((int64_t)(n * taps * k * size_of(s->operand)), ALIGNMENT);
    size_t bytes = weights + n * sizeof(float);
    char  *host = oriel_alloc_zero(1, bytes);
    if (!host)
        return ORIEL_E_NOMEM;
    for (size_t i = 0; i < (size_t)s->n; i++)
        for (size_t t = 0; t < taps; t++)
            for (size_t j = 0; j < (size_t)s->k; j++)
                put(host, s->operand, (i * taps + t) * k + j, data[(i * (size_t)s->k + j) * taps + t]);
    if (bias)
        memcpy(host + weights, bias, (size_t)s->n * sizeof *bias);
    oriel_status st = oriel_memory_alloc(d, &c->w, bytes);
    if (!st)
        st = oriel_memory_upload(d, c->w, host, bytes);
    if (!st)
        c->bias = (float *)(void *)((char *)c->w + weights);
    oriel_dealloc(host);
    return st;
}

oriel_status cuda_conv_pack(oriel_device *d, cuda_conv **out, const cuda_conv_shape *s, const float *data, const float *bias)
{
    oriel_status st;
    *out = NULL;
    if (s->operand != ORIEL_F32 && s->operand != ORIEL_BF16 && s->operand != ORIEL_F16)
        return oriel_fail(ORIEL_E_UNSUPPORTED, "%s: a GPU has f32, bf16 and f16", oriel_dtype_name(s->operand));
    if ((st = open_library(d)))
        return st;
    cuda_conv *c = oriel_alloc_zero(1, sizeof *c);
    if (!c)
        return ORIEL_E_NOMEM;
    c->s = *s;
    c->n = (int)oriel_round_up(s->n, CHANNELS);
    c->k = (int)oriel_round_up(s->k, CHANNELS);
    if ((st = upload_weights(d, c, data, bias)))
        cuda_conv_free(d, &c);
    *out = c;
    return st;
}

void cuda_conv_free(oriel_device *d, cuda_conv **c)
{
    if (!*c)
        return;
    oriel_memory_free(d, &(*c)->w);
    if ((*c)->plan)
        dnn.destroy_descriptor((*c)->plan);
    oriel_dealloc(*c);
    *c = NULL;
}

/* ---- a graph ------------------------------------------------------------------------------ */

/* What a graph is made of; calls after a failure do nothing. */
typedef struct graph {
    cudnnStatus_t e;
    const char   *what; /* failed */
    cudnnHandle_t handle;
    descriptor    all[6];
    int           count;
} graph;

static void check(graph *g, cudnnStatus_t e, const char *what)
{
    if (!g->e && e) {
        g->e = e;
        g->what = what;
    }
}

static descriptor add(graph *g, cudnnBackendDescriptorType_t type, const char *what)
{
    descriptor d = NULL;
    if (g->e)
        return NULL;
    check(g, dnn.make(type, &d), what);
    assert(g->count < (int)(sizeof g->all / sizeof *g->all));
    return g->all[g->count++] = d;
}

static void set(graph *g, descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
                const void *v, const char *what)
{
    if (!g->e)
        check(g, dnn.set(d, name, type, n, v), what);
}

static void finish(graph *g, descriptor d, const char *what)
{
    if (!g->e)
        check(g, dnn.finalize(d), what);
}

static cudnnDataType_t type_of(oriel_dtype t)
{
    return t == ORIEL_BF16 ? CUDNN_DATA_BFLOAT16 : t == ORIEL_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

/* A tensor of cuDNN's order (N, C, D, H, W) whose channels lie side by side. */
static descriptor tensor(graph *g, char id, oriel_dtype t, const int64_t dim[DIMS])
{
    descriptor      d = add(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor");
    cudnnDataType_t type = type_of(t);
    int64_t         unique = id, align = 16, stride[DIMS] = {0, 1};
    stride[4] = dim[1];
    stride[3] = stride[4] * dim[4];
    stride[2] = stride[3] * dim[3];
    stride[0] = stride[2] * dim[2];
    set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, "tensor's type");
    set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, DIMS, dim, "tensor's sizes");
    set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, DIMS, stride, "tensor's strides");
    set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &unique, "tensor's name");
    set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align, "tensor's alignment");
    finish(g, d, "tensor");
    return d;
}

static descriptor convolution(graph *g, const cuda_conv_shape *s)
{
    descriptor             d = add(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "convolution");
    cudnnDataType_t        sums = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t                dims = 3, one[3] = {1, 1, 1}, stride[3], before[3], after[3];
    for (int i = 0; i < 3; i++)
        stride[i] = s->stride[i], before[i] = s->before[i], after[i] = s->after[i];
    set(g, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums, "type of sums");
    set(g, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, "mode");
    set(g, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims, "number of axes");
    set(g, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, one, "dilations");
    set(g, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3, stride, "strides");
    set(g, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3, before, "zeros before");
    set(g, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3, after, "zeros after");
    finish(g, d, "convolution");
    return d;
}

/* The graph of y = x * w, its sums left in type `out`. */
static descriptor build(graph *g, const cuda_conv *c, oriel_dtype out)
{
    const cuda_conv_shape *s = &c->s;
    const float            one = 1, zero = 0;
    const int64_t xs[DIMS] = {c->x[0], c->k, c->x[1], c->x[2], c->x[3]};
    const int64_t ys[DIMS] = {c->y[0], c->n, c->y[1], c->y[2], c->y[3]};
    const int64_t ws[DIMS] = {c->n, c->k, s->kernel[0], s->kernel[1], s->kernel[2]};
    descriptor    x = tensor(g, 'x', s->operand, xs), w = tensor(g, 'w', s->operand, ws), y = tensor(g, 'y', out, ys);
    descriptor    conv = convolution(g, s), op = add(g, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, "operation");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x, "x");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w, "w");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y, "y");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv, "its convolution");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one, "alpha");
    set(g, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero, "beta");
    finish(g, op, "operation");
    descriptor all = add(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "graph");
    set(g, all, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle, "graph's handle");
    set(g, all, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &op, "graph's operation");
    finish(g, all, "graph");
    return all;
}

static void graph_free(graph *g)
{
    while (g->count)
        if (g->all[--g->count])
            dnn.destroy_descriptor(g->all[g->count]);
}

/* ---- engines ------------------------------------------------------------------------------ */

/* Does the engine do as we must? f32 is f32: no tf32, no sums of transforms. */
static bool allowed(descriptor config, oriel_dtype operand)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t  how[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    descriptor                  engine = NULL;
    int64_t                     n = 0;
    bool                        fine = false;
    if (dnn.make(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) ||
        dnn.get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) ||
        dnn.get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n,
                note))
        goto done;
    fine = true;
    for (int i = 0; i < (int)n; i++) {
        bool sums = note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || note[i] == CUDNN_NUMERICAL_NOTE_FFT ||
                    note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD ||
                    note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
        fine = fine && !sums && (operand != ORIEL_F32 || note[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    }
    if (dnn.get(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &n, how))
        n = 0;
    for (int i = 0; i < (int)n; i++)
        fine = fine && how[i] != CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
done:
    if (engine)
        dnn.destroy_descriptor(engine);
    return fine;
}

/* A plan of an engine; NULL if it cannot, or takes too much. */
static descriptor plan_of(const graph *g, descriptor config, size_t *workspace)
{
    descriptor p = NULL;
    int64_t    n = 0, bytes = 0;
    if (dnn.make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p))
        return NULL;
    if (dnn.set(p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle) ||
        dnn.set(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config) || dnn.finalize(p) ||
        dnn.get(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &bytes) || bytes > WORKSPACE) {
        dnn.destroy_descriptor(p);
        return NULL;
    }
    *workspace = (size_t)bytes;
    return p;
}

/* The first engine of a list of the heuristics' that gives a plan. */
static descriptor choose(const graph *g, descriptor all, cudnnBackendHeurMode_t mode, const cuda_conv *c, size_t *workspace)
{
    descriptor list = NULL, config[ENGINES] = {0}, plan = NULL;
    int64_t    n = 0;
    if (dnn.make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &list))
        return NULL;
    for (int i = 0; i < ENGINES; i++)
        if (dnn.make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]))
            goto done;
    if (dnn.set(list, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &all) ||
        dnn.set(list, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) || dnn.finalize(list) ||
        dnn.get(list, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &n, config))
        goto done;
    for (int i = 0; i < (int)oriel_min(n, ENGINES) && !plan; i++)
        if (allowed(config[i], c->s.operand))
            plan = plan_of(g, config[i], workspace);
done:
    for (int i = 0; i < ENGINES; i++)
        if (config[i])
            dnn.destroy_descriptor(config[i]);
    dnn.destroy_descriptor(list);
    return plan;
}

/* A plan that leaves sums in type `out`; c->plan stays NULL where there is no engine. */
static oriel_status plan_for(oriel_device *d, cuda_conv *c, oriel_dtype out)
{
    static const cudnnBackendHeurMode_t mode[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    graph        g = {.handle = d->cuda->dnn->handle};
    oriel_status s = ORIEL_OK;
    descriptor   all = build(&g, c, out);
    if (g.e)
        s = dnn_fail(g.e, g.what);
    for (int i = 0; !s && i < 2 && !c->plan; i++)
        c->plan = choose(&g, all, mode[i], c, &c->workspace);
    graph_free(&g);
    c->rounds = c->plan && out != ORIEL_F32;
    return s;
}

/* ---- runs --------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes)
{
    return (size_t)oriel_round_up((int64_t)bytes, ALIGNMENT);
}

/* y's sizes; false if the kernel fits nowhere */
static bool sizes_of(cuda_conv *c, const int64_t x[4])
{
    const cuda_conv_shape *s = &c->s;
    memcpy(c->x, x, sizeof c->x);
    c->y[0] = x[0];
    for (int i = 0; i < 3; i++) {
        int64_t room = x[i + 1] + s->before[i] + s->after[i] - s->kernel[i];
        if (room < 0 || x[0] < 1)
            return false;
        c->y[i + 1] = room / s->stride[i] + 1;
    }
    return true;
}

oriel_status cuda_conv_plan(oriel_device *d, cuda_conv *c, const int64_t x[4], int64_t y[4], size_t *scratch)
{
    oriel_status s = ORIEL_OK;
    if (!c->plan || memcmp(c->x, x, sizeof c->x) != 0) {
        if (c->plan)
            dnn.destroy_descriptor(c->plan);
        c->plan = NULL;
        if (!sizes_of(c, x))
            return oriel_fail(ORIEL_E_ARG, "convolution: a map of %lld x %lld x %lld is smaller than the kernel",
                              (long long)x[1], (long long)x[2], (long long)x[3]);
        if ((s = cuda_enter(d)) || (s = plan_for(d, c, ORIEL_F32)))
            return s;
        if (!c->plan && c->s.operand != ORIEL_F32 && (s = plan_for(d, c, c->s.operand)))
            return s;
        if (!c->plan)
            return oriel_fail(ORIEL_E_UNSUPPORTED, "cuDNN: no engine for a convolution %d -> %d of %d x %d x %d in %s",
                              c->s.k, c->s.n, c->s.kernel[0], c->s.kernel[1], c->s.kernel[2],
                              oriel_dtype_name(c->s.operand));
        c->in_bytes = aligned((size_t)(x[0] * x[1] * x[2] * x[3]) * (size_t)c->k * size_of(c->s.operand));
        c->out_bytes = aligned((size_t)(c->y[0] * c->y[1] * c->y[2] * c->y[3]) * (size_t)c->n *
                               size_of(c->rounds ? c->s.operand : ORIEL_F32));
    }
    memcpy(y, c->y, sizeof c->y);
    *scratch = c->in_bytes + c->out_bytes + c->workspace;
    return s;
}

static oriel_status execute(oriel_device *d, const cuda_conv *c, void *in, void *out, void *workspace)
{
    const int64_t ids[3] = {'x', 'w', 'y'};
    void         *data[3] = {in, c->w, out};
    graph         g = {.handle = d->cuda->dnn->handle};
    descriptor    pack = add(&g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "pointers");
    set(&g, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids, "pointers' names");
    set(&g, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data, "pointers");
    set(&g, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace, "workspace");
    finish(&g, pack, "pointers");
    if (!g.e)
        check(&g, dnn.execute(g.handle, c->plan, pack), "convolution");
    graph_free(&g);
    return g.e ? dnn_fail(g.e, g.what) : ORIEL_OK;
}

oriel_status cuda_conv_run(oriel_device *d, const cuda_conv *c, float *y, const float *x, void *scratch)
{
    char        *in = scratch, *out = in + c->in_bytes;
    cudaStream_t stream = d->cuda->stream;
    oriel_status s;
    assert(c->plan);
    if ((s = cast_kernel(in, c->k, c->s.operand, x, c->s.k, c->x[0] * c->x[1] * c->x[2] * c->x[3], stream)) ||
        (s = execute(d, c, in, out, out + c->out_bytes)))
        return s;
    return bias_kernel(y, c->s.n, out, c->n, c->rounds ? c->s.operand : ORIEL_F32, c->bias,
                       c->y[0] * c->y[1] * c->y[2] * c->y[3], stream);
}

bool cuda_conv_rounds(const cuda_conv *c)
{
    return c->rounds;
}

#else /* no cudnn.h */

oriel_status cuda_conv_pack(oriel_device *d, cuda_conv **out, const cuda_conv_shape *s, const float *data, const float *bias)
{
    (void)d, (void)s, (void)data, (void)bias;
    *out = NULL;
    return oriel_fail(ORIEL_E_UNSUPPORTED, "convolutions of this kind need cuDNN, whose header this liboriel "
                                           "was built without");
}

void cuda_conv_free(oriel_device *d, cuda_conv **c)
{
    (void)d, (void)c;
}

oriel_status cuda_conv_plan(oriel_device *d, cuda_conv *c, const int64_t x[4], int64_t y[4], size_t *scratch)
{
    (void)d, (void)c, (void)x, (void)y, (void)scratch;
    return ORIEL_E_UNSUPPORTED;
}

oriel_status cuda_conv_run(oriel_device *d, const cuda_conv *c, float *y, const float *x, void *scratch)
{
    (void)d, (void)c, (void)y, (void)x, (void)scratch;
    return ORIEL_E_UNSUPPORTED;
}

bool cuda_conv_rounds(const cuda_conv *c)
{
    (void)c;
    return false;
}

void cuda_dnn_free(struct cuda_dnn *dnn)
{
    (void)dnn;
}

#endif
